//! Gathers the cells of all files of one download into segments, in memory.
//!
//! A stream's bytes are the file followed by its trailer of chaining values. The receiver asks for
//! the place of a run of cells with [`Assemblies::reserve`], decrypts straight into it and then says
//! [`Assemblies::commit`]; each byte is committed once. A segment with all its bytes leaves as one
//! buffer ([`Gathered::Segment`]) to be hashed while it is hot and written with one call.
//! Runs that straddle segments or touch what is already there go through a bounce buffer.

use std::collections::{HashMap, VecDeque};
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::segment_pool::SegmentPool;
use super::{
    CHAINING_VALUE_BYTES, ChainingValue, FileKey, Part, SMALL_FILE_BYTES, StorageError,
    segment_count, segment_len, segment_start,
};

/// What became complete.
#[derive(Debug)]
pub enum Gathered {
    /// All bytes of a segment; the buffer goes back with [`Assemblies::recycle`].
    Segment {
        /// Which file.
        key: FileKey,
        /// Which of its segments.
        index: u32,
        /// 1 MiB, of which the segment's length counts.
        buffer: Box<[u8]>,
        /// Length of the segment in bytes.
        len: u32,
    },
    /// The sender's chaining value of a segment.
    Value {
        /// Which file.
        key: FileKey,
        /// Which of its segments.
        index: u32,
        /// The value.
        value: ChainingValue,
    },
    /// A whole small file with its root hash as the sender has it.
    Small {
        /// Which file.
        key: FileKey,
        /// The content.
        data: Vec<u8>,
        /// The sender's root hash.
        root: ChainingValue,
    },
    /// The part file failed under memory pressure.
    Failed {
        /// Which file.
        key: FileKey,
        /// Why.
        error: StorageError,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SegmentState {
    /// No byte of it is wanted (any more).
    Done,
    /// Wanted; no byte is here.
    Missing,
    /// Wanted; in an open buffer.
    Open,
    /// Wanted; this many bytes lie in the part file, for want of memory.
    Parked(u32),
}

#[derive(Debug)]
struct OpenSegment {
    index: u32,
    received_bytes: u32,
    touched: u64,
    buffer: Box<[u8]>,
}

#[derive(Debug)]
struct Assembly {
    part: Arc<dyn Part>,
    size_bytes: u64,
    /// Whole content of a small file; empty for others and once it has left.
    small: Option<Small>,
    segments: Vec<SegmentState>,
    open: Vec<OpenSegment>,
    trailer: Vec<u8>,
    /// Received bytes of each value of the trailer.
    value_bytes: Vec<u8>,
    values_missing: u32,
}

#[derive(Debug)]
struct Small {
    data: Vec<u8>,
    missing_bytes: u32,
}

/// Which part of a stream an offset lies in, and where that part begins and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Zone {
    Segment { index: u32, start: u64, end: u64 },
    Trailer { start: u64, end: u64 },
}

impl Zone {
    const fn end(self) -> u64 {
        match self {
            Self::Segment { end, .. } | Self::Trailer { end, .. } => end,
        }
    }
}

/// The files that are being received, by stream.
#[derive(Debug)]
pub struct Assemblies {
    pool: SegmentPool,
    files: HashMap<FileKey, Assembly>,
    streams: HashMap<u32, FileKey>,
    /// The stream of the last packet and its file: packets come in trains.
    current: Option<(u32, FileKey)>,
    bounce: Vec<u8>,
    bounced: Option<(u32, u64, usize)>,
    turn: u64,
    gathered: VecDeque<Gathered>,
    reserve_failures: u64,
}

impl Assemblies {
    /// At most `segment_buffers` MiB are held at any time, those with the hashers included.
    #[must_use]
    pub fn new(segment_buffers: usize) -> Self {
        Self {
            pool: SegmentPool::new(segment_buffers.max(2)),
            files: HashMap::new(),
            streams: HashMap::new(),
            current: None,
            bounce: Vec::new(),
            bounced: None,
            turn: 0,
            gathered: VecDeque::with_capacity(segment_buffers),
            reserve_failures: 0,
        }
    }

    /// Begins a file: all segments but those in `have` are wanted.
    pub fn add(
        &mut self,
        key: FileKey,
        part: Arc<dyn Part>,
        size_bytes: u64,
        have: &[(u32, ChainingValue)],
    ) {
        // A file whose segments cannot be counted was refused when it was prepared.
        let count = segment_count(size_bytes).unwrap_or(u32::MAX);
        let mut segments = vec![SegmentState::Missing; count as usize];
        for (index, _) in have {
            if let Some(state) = segments.get_mut(*index as usize) {
                *state = SegmentState::Done;
            }
        }
        let small = (size_bytes <= SMALL_FILE_BYTES && have.is_empty())
            .then(|| Small::new(segment_len(size_bytes, 0)));
        let assembly = Assembly {
            part,
            size_bytes,
            small,
            open: Vec::new(),
            trailer: vec![0; count as usize * CHAINING_VALUE_BYTES],
            value_bytes: vec![0; count as usize],
            values_missing: count,
            segments,
        };
        self.files.insert(key, assembly);
    }

    /// The bytes of `stream` belong to this file from now on.
    pub fn attach(&mut self, stream: u32, key: FileKey) {
        self.streams.insert(stream, key);
        self.current = None;
    }

    /// The stream has ended; late packets of it find nothing.
    pub fn detach(&mut self, stream: u32) {
        self.streams.remove(&stream);
        self.current = None;
    }

    /// Wants these segments, and the trailer, once more.
    pub fn reopen(&mut self, key: FileKey, bad: &[u32]) {
        let Some(file) = self.files.get_mut(&key) else {
            return;
        };
        if file.size_bytes <= SMALL_FILE_BYTES {
            file.small = Some(Small::new(segment_len(file.size_bytes, 0)));
        }
        for index in bad {
            if let Some(state) = file.segments.get_mut(*index as usize) {
                *state = SegmentState::Missing;
            }
        }
        file.value_bytes.fill(0);
        file.values_missing = u32::try_from(file.value_bytes.len()).unwrap_or(u32::MAX);
    }

    /// Forgets the file; its buffers return to the pool.
    pub fn remove(&mut self, key: FileKey) {
        if let Some(file) = self.files.remove(&key) {
            for open in file.open {
                self.pool.give(open.buffer);
            }
        }
        self.streams.retain(|_, owner| *owner != key);
        self.current = None;
    }

    /// Takes the buffer of a [`Gathered::Segment`] back.
    pub fn recycle(&mut self, buffer: Box<[u8]>) {
        self.pool.give(buffer);
    }

    /// What became complete since the last call.
    pub fn next_gathered(&mut self) -> Option<Gathered> {
        self.gathered.pop_front()
    }

    /// Bytes that can be taken before buffers run out.
    #[must_use]
    pub fn credit_bytes(&self) -> u64 {
        self.pool.available() as u64 * u64::from(super::SEGMENT_BYTES)
    }

    /// How often there was no place for a packet.
    #[must_use]
    pub const fn reserve_failures(&self) -> u64 {
        self.reserve_failures
    }

    /// Where to put `len` bytes of `stream` from `offset`. `None` (counted) when the stream is
    /// unknown, the run passes the stream's end, or every buffer is in use: drop the packet.
    pub fn reserve(&mut self, stream: u32, offset: u64, len: usize) -> Option<&mut [u8]> {
        self.bounced = None;
        let Some(key) = self.file_of(stream) else {
            self.reserve_failures += 1;
            return None;
        };
        let end = offset.checked_add(len as u64)?;
        let file = self.files.get(&key)?;
        let Some(zone) = file.zone(offset).filter(|_| end <= file.stream_end()) else {
            self.reserve_failures += 1;
            return None;
        };
        let whole = end <= zone.end();
        match zone {
            Zone::Segment { index, start, .. } if whole && file.takes_directly(index) => {
                if !self.open_segment(key, index, index) {
                    self.reserve_failures += 1;
                    return None;
                }
                let place = self.files.get_mut(&key)?.place(index)?;
                let from = usize::try_from(offset - start).ok()?;
                place.get_mut(from..from + len)
            }
            Zone::Segment { .. } | Zone::Trailer { .. } => {
                // Every segment that the run touches must have a buffer before it is promised.
                if !self.open_run(key, offset, end) {
                    self.reserve_failures += 1;
                    return None;
                }
                self.bounced = Some((stream, offset, len));
                if self.bounce.len() < len {
                    self.bounce.resize(len, 0);
                }
                self.bounce.get_mut(..len)
            }
        }
    }

    /// The reserved bytes are authentic and in place.
    pub fn commit(&mut self, stream: u32, offset: u64, len: usize) {
        let Some(key) = self.file_of(stream) else {
            return;
        };
        let bounced = self.bounced.take() == Some((stream, offset, len));
        let bounce = std::mem::take(&mut self.bounce);
        self.turn += 1;
        if let Some(file) = self.files.get_mut(&key) {
            let source = if bounced { bounce.get(..len) } else { None };
            file.commit(key, offset, len, source, self.turn, &mut self.gathered);
        }
        self.bounce = bounce;
    }

    fn file_of(&mut self, stream: u32) -> Option<FileKey> {
        if let Some((current, key)) = self.current
            && current == stream
        {
            return Some(key);
        }
        let key = *self.streams.get(&stream)?;
        self.current = Some((stream, key));
        Some(key)
    }

    /// Gives each segment that the run touches a buffer.
    fn open_run(&mut self, key: FileKey, offset: u64, end: u64) -> bool {
        let Some(file) = self.files.get(&key) else {
            return false;
        };
        let last_byte = end.min(file.size_bytes);
        if offset >= last_byte {
            return true;
        }
        let segment_of = |at: u64| u32::try_from(at / u64::from(super::SEGMENT_BYTES));
        let (Ok(first), Ok(last)) = (segment_of(offset), segment_of(last_byte - 1)) else {
            return false;
        };
        (first..=last).all(|index| {
            let wanted = self
                .files
                .get(&key)
                .is_some_and(|file| file.takes_directly(index));
            !wanted || self.open_segment(key, index, first)
        })
    }

    /// Gives the segment a buffer, unless it has one. Those from `run_start` on up to it stay open.
    fn open_segment(&mut self, key: FileKey, index: u32, run_start: u32) -> bool {
        let Some(file) = self.files.get_mut(&key) else {
            return false;
        };
        if file.small.is_some() {
            return true;
        }
        let state = file.segments.get(index as usize).copied();
        let received_bytes = match state {
            Some(SegmentState::Open) => return true,
            Some(SegmentState::Missing) => 0,
            Some(SegmentState::Parked(received)) => received,
            Some(SegmentState::Done) | None => return false,
        };
        let Some(mut buffer) = self.take_buffer(key, run_start..=index) else {
            return false;
        };
        let turn = self.turn;
        let Some(file) = self.files.get_mut(&key) else {
            self.pool.give(buffer);
            return false;
        };
        if received_bytes > 0 {
            let len = segment_len(file.size_bytes, index) as usize;
            if let Err(source) = file.part.read_at(segment_start(index), &mut buffer[..len]) {
                self.pool.give(buffer);
                self.fail(key, "read back", source);
                return false;
            }
        }
        file.segments[index as usize] = SegmentState::Open;
        file.open.push(OpenSegment {
            index,
            received_bytes,
            touched: turn,
            buffer,
        });
        true
    }

    /// A buffer from the pool, or the one of the segment that waits longest.
    fn take_buffer(&mut self, for_file: FileKey, run: RangeInclusive<u32>) -> Option<Box<[u8]>> {
        if let Some(buffer) = self.pool.take() {
            return Some(buffer);
        }
        let (key, position) = self
            .files
            .iter()
            .flat_map(|(key, file)| {
                let open = file.open.iter().enumerate();
                open.map(move |(position, open)| (open.touched, *key, position, open.index))
            })
            .filter(|(_, key, _, index)| *key != for_file || !run.contains(index))
            .min()
            .map(|(_, key, position, _)| (key, position))?;
        let file = self.files.get_mut(&key)?;
        let open = file.open.swap_remove(position);
        let len = segment_len(file.size_bytes, open.index) as usize;
        let written = file
            .part
            .write_at(segment_start(open.index), &open.buffer[..len]);
        file.segments[open.index as usize] = SegmentState::Parked(open.received_bytes);
        if let Err(source) = written {
            self.fail(key, "write", source);
        }
        Some(open.buffer)
    }

    fn fail(&mut self, key: FileKey, action: &'static str, source: std::io::Error) {
        let error = StorageError::io(action, std::path::Path::new("the part file"), source);
        self.gathered.push_back(Gathered::Failed { key, error });
    }
}

impl Small {
    fn new(len: u32) -> Self {
        Self {
            data: vec![0; len as usize],
            missing_bytes: len,
        }
    }
}

impl Assembly {
    const fn stream_end(&self) -> u64 {
        self.size_bytes + self.trailer.len() as u64
    }

    fn zone(&self, offset: u64) -> Option<Zone> {
        if offset < self.size_bytes {
            let index = u32::try_from(offset / u64::from(super::SEGMENT_BYTES)).ok()?;
            let start = segment_start(index);
            let end = start + u64::from(segment_len(self.size_bytes, index));
            return Some(Zone::Segment { index, start, end });
        }
        (offset < self.stream_end()).then(|| Zone::Trailer {
            start: self.size_bytes,
            end: self.stream_end(),
        })
    }

    fn takes_directly(&self, index: u32) -> bool {
        self.segments
            .get(index as usize)
            .is_some_and(|state| *state != SegmentState::Done)
    }

    fn place(&mut self, index: u32) -> Option<&mut [u8]> {
        if let Some(small) = &mut self.small {
            return Some(&mut small.data);
        }
        let open = self
            .open
            .iter_mut()
            .rev()
            .find(|open| open.index == index)?;
        Some(&mut open.buffer)
    }

    /// Books a run, copying it out of `source` unless it is in place already.
    fn commit(
        &mut self,
        key: FileKey,
        offset: u64,
        len: usize,
        source: Option<&[u8]>,
        turn: u64,
        gathered: &mut VecDeque<Gathered>,
    ) {
        let end = offset + len as u64;
        let mut at = offset;
        while at < end {
            let Some(zone) = self.zone(at) else { return };
            let stop = zone.end().min(end);
            let bytes = usize::try_from(stop - at).unwrap_or(0);
            let from = usize::try_from(at - offset).unwrap_or(0);
            let data = source.and_then(|source| source.get(from..from + bytes));
            match zone {
                Zone::Segment { index, start, .. } => {
                    let within = usize::try_from(at - start).unwrap_or(0);
                    self.commit_segment(key, index, within, bytes, data, turn, gathered);
                }
                Zone::Trailer { start, .. } => {
                    let within = usize::try_from(at - start).unwrap_or(0);
                    if let Some(data) = data {
                        self.commit_trailer(key, within, data, gathered);
                    }
                }
            }
            at = stop;
        }
        self.finish_small(key, gathered);
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one run within one segment, spelt out"
    )]
    fn commit_segment(
        &mut self,
        key: FileKey,
        index: u32,
        within: usize,
        bytes: usize,
        data: Option<&[u8]>,
        turn: u64,
        gathered: &mut VecDeque<Gathered>,
    ) {
        if !self.takes_directly(index) {
            return;
        }
        if let (Some(data), Some(place)) = (data, self.place(index))
            && let Some(place) = place.get_mut(within..within + bytes)
        {
            place.copy_from_slice(data);
        }
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        if let Some(small) = &mut self.small {
            small.missing_bytes = small.missing_bytes.saturating_sub(bytes);
            return;
        }
        let len = segment_len(self.size_bytes, index);
        let Some(position) = self.open.iter().rposition(|open| open.index == index) else {
            return;
        };
        let open = &mut self.open[position];
        open.touched = turn;
        open.received_bytes = open.received_bytes.saturating_add(bytes);
        if open.received_bytes >= len {
            let open = self.open.swap_remove(position);
            self.segments[index as usize] = SegmentState::Done;
            gathered.push_back(Gathered::Segment {
                key,
                index,
                buffer: open.buffer,
                len,
            });
        }
    }

    fn commit_trailer(
        &mut self,
        key: FileKey,
        within: usize,
        data: &[u8],
        gathered: &mut VecDeque<Gathered>,
    ) {
        let mut at = within;
        let end = within + data.len();
        while at < end {
            let index = at / CHAINING_VALUE_BYTES;
            let start = index * CHAINING_VALUE_BYTES;
            let stop = (start + CHAINING_VALUE_BYTES).min(end);
            let held = usize::from(self.value_bytes[index]);
            if held < CHAINING_VALUE_BYTES {
                self.trailer[at..stop].copy_from_slice(&data[at - within..stop - within]);
                let held = (held + (stop - at)).min(CHAINING_VALUE_BYTES);
                self.value_bytes[index] = u8::try_from(held).unwrap_or(u8::MAX);
                if held == CHAINING_VALUE_BYTES {
                    self.values_missing -= 1;
                    self.announce_value(key, index, gathered);
                }
            }
            at = stop;
        }
    }

    fn announce_value(&self, key: FileKey, index: usize, gathered: &mut VecDeque<Gathered>) {
        if self.small.is_some() {
            return;
        }
        let start = index * CHAINING_VALUE_BYTES;
        let mut value = [0; CHAINING_VALUE_BYTES];
        value.copy_from_slice(&self.trailer[start..start + CHAINING_VALUE_BYTES]);
        gathered.push_back(Gathered::Value {
            key,
            index: u32::try_from(index).unwrap_or(u32::MAX),
            value,
        });
    }

    fn finish_small(&mut self, key: FileKey, gathered: &mut VecDeque<Gathered>) {
        let whole = self.values_missing == 0
            && self
                .small
                .as_ref()
                .is_some_and(|small| small.missing_bytes == 0);
        if !whole {
            return;
        }
        if let Some(small) = self.small.take() {
            self.segments.fill(SegmentState::Done);
            let mut root = [0; CHAINING_VALUE_BYTES];
            root.copy_from_slice(&self.trailer);
            gathered.push_back(Gathered::Small {
                key,
                data: small.data,
                root,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::memory::MemoryPart;
    use super::*;
    use std::ops::Range;

    const CELL: usize = 288;

    fn content(size: usize) -> Vec<u8> {
        (0..size).map(|i| (i * 31 % 251) as u8).collect()
    }

    /// Content and trailer as the sender cuts them.
    fn stream_of(data: &[u8]) -> Vec<u8> {
        let count = segment_count(data.len() as u64).unwrap();
        let mut stream = data.to_vec();
        for index in 0..count {
            let start = segment_start(index) as usize;
            let len = segment_len(data.len() as u64, index) as usize;
            stream.extend_from_slice(&super::super::verify::segment_value(
                index,
                count,
                &data[start..start + len],
            ));
        }
        stream
    }

    fn deliver(set: &mut Assemblies, stream: &[u8], run: Range<usize>) -> bool {
        let Some(place) = set.reserve(1, run.start as u64, run.len()) else {
            return false;
        };
        place.copy_from_slice(&stream[run.clone()]);
        set.commit(1, run.start as u64, run.len());
        true
    }

    /// Runs of `cells` cells, in an order shuffled by a small generator.
    fn runs(len: usize, cells: usize, seed: u64) -> Vec<Range<usize>> {
        let step = cells * CELL;
        let mut runs: Vec<_> = (0..len)
            .step_by(step)
            .map(|start| start..(start + step).min(len))
            .collect();
        let mut state = seed;
        for i in (1..runs.len()).rev() {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            runs.swap(i, (state >> 33) as usize % (i + 1));
        }
        runs
    }

    fn collect(set: &mut Assemblies, size: usize) -> (Vec<u8>, Vec<ChainingValue>) {
        let mut data = vec![0xee; size];
        let mut values = vec![[0; 32]; segment_count(size as u64).unwrap() as usize];
        while let Some(gathered) = set.next_gathered() {
            match gathered {
                Gathered::Segment {
                    index, buffer, len, ..
                } => {
                    let start = segment_start(index) as usize;
                    data[start..start + len as usize].copy_from_slice(&buffer[..len as usize]);
                    set.recycle(buffer);
                }
                Gathered::Value { index, value, .. } => values[index as usize] = value,
                Gathered::Small {
                    data: whole, root, ..
                } => {
                    data.copy_from_slice(&whole);
                    values[0] = root;
                }
                Gathered::Failed { error, .. } => panic!("{error}"),
            }
        }
        (data, values)
    }

    #[test]
    fn any_size_in_any_order_comes_out_whole() {
        let mib = 1 << 20;
        for size in [
            0,
            1,
            4096,
            65_536,
            65_537,
            mib - 1,
            mib,
            mib + 1,
            3 * mib + 77,
        ] {
            for cells in [1, 5, 227] {
                let data = content(size);
                let stream = stream_of(&data);
                let mut set = Assemblies::new(8);
                set.add(
                    FileKey(1),
                    Arc::new(MemoryPart::keeping(size as u64)),
                    size as u64,
                    &[],
                );
                set.attach(1, FileKey(1));
                for run in runs(stream.len(), cells, size as u64) {
                    assert!(deliver(&mut set, &stream, run));
                }
                let (got, values) = collect(&mut set, size);
                assert!(got == data, "size {size}, {cells} cells a run");
                assert_eq!(values.concat(), stream[size..]);
            }
        }
    }

    #[test]
    fn with_two_buffers_segments_are_parked_and_read_back() {
        let size = 6 << 20;
        let data = content(size);
        let stream = stream_of(&data);
        let mut set = Assemblies::new(2);
        let part = Arc::new(MemoryPart::keeping(size as u64));
        set.add(FileKey(1), part, size as u64, &[]);
        set.attach(1, FileKey(1));
        let mut got = vec![0; size];
        for run in runs(stream.len(), 200, 5) {
            assert!(deliver(&mut set, &stream, run));
            while let Some(gathered) = set.next_gathered() {
                if let Gathered::Segment {
                    index, buffer, len, ..
                } = gathered
                {
                    let start = segment_start(index) as usize;
                    got[start..start + len as usize].copy_from_slice(&buffer[..len as usize]);
                    set.recycle(buffer);
                }
            }
        }
        assert!(got == data);
        assert_eq!(set.reserve_failures(), 0);
    }

    #[test]
    fn buffers_held_by_the_hashers_are_backpressure_not_growth() {
        let size = 4 << 20;
        let stream = stream_of(&content(size));
        let mut set = Assemblies::new(2);
        set.add(
            FileKey(1),
            Arc::new(MemoryPart::keeping(size as u64)),
            size as u64,
            &[],
        );
        set.attach(1, FileKey(1));
        let mib = 1 << 20;
        for index in 0..2 {
            assert!(deliver(&mut set, &stream, index * mib..(index + 1) * mib));
        }
        assert_eq!(set.credit_bytes(), 0);
        assert!(!deliver(&mut set, &stream, 2 * mib..2 * mib + CELL));
        assert_eq!(set.reserve_failures(), 1);
        let Some(Gathered::Segment { buffer, .. }) = set.next_gathered() else {
            panic!("the first segment is complete");
        };
        set.recycle(buffer);
        assert!(deliver(&mut set, &stream, 2 * mib..2 * mib + CELL));
    }

    #[test]
    fn segments_that_are_there_are_not_written_again() {
        let size = 3 << 20;
        let data = content(size);
        let stream = stream_of(&data);
        let mut set = Assemblies::new(4);
        let part = Arc::new(MemoryPart::keeping(size as u64));
        set.add(FileKey(1), part, size as u64, &[(1, [0; 32])]);
        set.attach(1, FileKey(1));
        for run in runs(stream.len(), 5, 9) {
            assert!(deliver(&mut set, &stream, run));
        }
        let mut indices = Vec::new();
        while let Some(gathered) = set.next_gathered() {
            if let Gathered::Segment { index, .. } = gathered {
                indices.push(index);
            }
        }
        indices.sort_unstable();
        assert_eq!(indices, [0, 2]);
    }

    #[test]
    fn runs_beyond_the_end_and_unknown_streams_find_no_place() {
        let mut set = Assemblies::new(2);
        set.add(FileKey(1), Arc::new(MemoryPart::keeping(100)), 100, &[]);
        set.attach(1, FileKey(1));
        assert!(set.reserve(1, 0, 133).is_none());
        assert!(set.reserve(1, 132, 1).is_none());
        assert!(set.reserve(1, u64::MAX, 1).is_none());
        assert!(set.reserve(2, 0, 1).is_none());
        assert!(set.reserve(1, 0, 132).is_some());
        set.commit(2, 0, 1);
        set.detach(1);
        assert!(set.reserve(1, 0, 132).is_none());
    }

    #[test]
    fn a_bad_segment_is_received_again_with_a_new_trailer() {
        let size = 2 << 20;
        let data = content(size);
        let stream = stream_of(&data);
        let mut set = Assemblies::new(4);
        let part = Arc::new(MemoryPart::keeping(size as u64));
        set.add(FileKey(1), part, size as u64, &[]);
        set.attach(1, FileKey(1));
        for run in runs(stream.len(), 50, 1) {
            deliver(&mut set, &stream, run);
        }
        collect(&mut set, size);
        set.reopen(FileKey(1), &[1]);
        for run in runs(stream.len(), 50, 2) {
            assert!(deliver(&mut set, &stream, run));
        }
        let mut again = 0;
        let mut values = 0;
        while let Some(gathered) = set.next_gathered() {
            match gathered {
                Gathered::Segment { index, .. } => again += u32::from(index == 1),
                Gathered::Value { .. } => values += 1,
                Gathered::Small { .. } | Gathered::Failed { .. } => panic!("not expected"),
            }
        }
        assert_eq!((again, values), (1, 2));
    }
}
