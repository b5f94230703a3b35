//! Gathers the cells of all files of one client into segments, in memory.
//!
//! The core asks for the place of a run of cells ([`Storage::reserve`]), decrypts straight into it
//! and then says [`Storage::commit`]; each byte is committed once. A segment with all its bytes
//! leaves as one buffer ([`Gathered`]) to be hashed while it is hot and written with one call.
//! Runs that straddle segments or touch what is already there go through a bounce buffer.
//!
//! When buffers run short, the segment that waits longest is parked in its part file; when all are
//! with the hashers, there is one more: bytes that the core counts must not be lost. The credit
//! ([`Assemblies::credit_bytes`]) keeps that rare.

use std::collections::{HashMap, VecDeque};
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

use columba_core::client::Storage;

use super::segment_pool::SegmentPool;
use super::{
    ChainingValue, FileKey, Part, SEGMENT_BYTES, SMALL_FILE_BYTES, StorageError, segment_count,
    segment_len, segment_start,
};

/// What came of the received bytes.
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
    /// Whole content of a small file, until it is taken.
    small: Option<Vec<u8>>,
    segments: Vec<SegmentState>,
    open: Vec<OpenSegment>,
}

/// Where the bytes of a stream go.
#[derive(Clone, Debug)]
struct Route {
    key: FileKey,
    /// The only segments the stream was started for, ascending; `None` for all that are missing.
    /// Its cells at their borders hold bytes of neighbours that another stream brings.
    only: Option<Arc<[u32]>>,
}

impl Route {
    fn takes(&self, index: u32) -> bool {
        self.only
            .as_ref()
            .is_none_or(|only| only.binary_search(&index).is_ok())
    }
}

/// The files that are being received, by stream.
#[derive(Debug)]
pub struct Assemblies {
    pool: SegmentPool,
    files: HashMap<FileKey, Assembly>,
    streams: HashMap<u32, Route>,
    /// The stream of the last packet and its file: packets come in trains.
    current: Option<(u32, Route)>,
    bounce: Vec<u8>,
    bounced: bool,
    turn: u64,
    gathered: VecDeque<Gathered>,
    unplaced: u64,
}

impl Assemblies {
    /// About `segment_buffers` MiB are held at any time, those with the hashers included.
    #[must_use]
    pub fn new(segment_buffers: usize) -> Self {
        Self {
            pool: SegmentPool::new(segment_buffers.max(2)),
            files: HashMap::new(),
            streams: HashMap::new(),
            current: None,
            bounce: Vec::new(),
            bounced: false,
            turn: 0,
            gathered: VecDeque::with_capacity(segment_buffers),
            unplaced: 0,
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
        let count = segment_count(size_bytes).unwrap_or(1);
        let mut segments = vec![SegmentState::Missing; count as usize];
        for (index, _) in have {
            if let Some(state) = segments.get_mut(*index as usize) {
                *state = SegmentState::Done;
            }
        }
        let assembly = Assembly {
            part,
            size_bytes,
            small: small_buffer(size_bytes),
            open: Vec::new(),
            segments,
        };
        self.files.insert(key, assembly);
    }

    /// The bytes of `stream` belong to this file from now on; with `only`, those of these segments
    /// (ascending).
    pub fn attach(&mut self, stream: u32, key: FileKey, only: Option<&[u32]>) {
        let only = only.map(Arc::from);
        self.streams.insert(stream, Route { key, only });
        self.current = None;
    }

    /// The stream has ended; late packets of it go nowhere.
    pub fn detach(&mut self, stream: u32) {
        self.streams.remove(&stream);
        self.current = None;
    }

    /// Wants these segments once more, from their first byte on.
    pub fn reopen(&mut self, key: FileKey, segments: &[u32]) {
        let Some(file) = self.files.get_mut(&key) else {
            return;
        };
        if file.small.is_none() {
            file.small = small_buffer(file.size_bytes);
        }
        for index in segments {
            if let Some(state) = file.segments.get_mut(*index as usize) {
                *state = SegmentState::Missing;
            }
            if let Some(at) = file.open.iter().position(|open| open.index == *index) {
                self.pool.give(file.open.swap_remove(at).buffer);
            }
        }
    }

    /// Takes the content of a small file of which every byte is there.
    pub fn take_small(&mut self, key: FileKey) -> Option<Vec<u8>> {
        self.files.get_mut(&key)?.small.take()
    }

    /// Forgets the file; its buffers return to the pool.
    pub fn remove(&mut self, key: FileKey) {
        if let Some(file) = self.files.remove(&key) {
            for open in file.open {
                self.pool.give(open.buffer);
            }
        }
        self.streams.retain(|_, route| route.key != key);
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
        self.pool.available() as u64 * u64::from(SEGMENT_BYTES)
    }

    /// Runs of bytes that nobody wanted: late ones of ended streams.
    #[must_use]
    pub const fn unplaced(&self) -> u64 {
        self.unplaced
    }

    /// Looks the stream up and makes it the current one.
    fn route(&mut self, stream: u32) -> Option<&Route> {
        if self.current.as_ref().is_none_or(|(id, _)| *id != stream) {
            let route = self.streams.get(&stream)?.clone();
            self.current = Some((stream, route));
        }
        self.current.as_ref().map(|(_, route)| route)
    }

    /// The segment that the whole run lies in, if its bytes go straight there.
    fn direct(&mut self, stream: u32, offset: u64, len: usize) -> Option<(FileKey, u32)> {
        let end = offset.checked_add(len as u64)?;
        let index = u32::try_from(offset / u64::from(SEGMENT_BYTES)).ok()?;
        let route = self.route(stream)?;
        let (key, taken) = (route.key, route.takes(index));
        let file = self.files.get(&key).filter(|_| taken)?;
        let segment_end = segment_start(index) + u64::from(segment_len(file.size_bytes, index));
        let straight = end <= segment_end && file.wants(index);
        straight.then_some((key, index))
    }

    /// Gives the segment a buffer, unless it has one. Those of `run` stay open meanwhile.
    fn open_segment(&mut self, key: FileKey, index: u32, run: RangeInclusive<u32>) -> bool {
        let Some(file) = self.files.get(&key) else {
            return false;
        };
        if file.small.is_some() {
            return true;
        }
        let received_bytes = match file.segments.get(index as usize) {
            Some(SegmentState::Open) => return true,
            Some(SegmentState::Missing) => 0,
            Some(SegmentState::Parked(received)) => *received,
            Some(SegmentState::Done) | None => return false,
        };
        let mut buffer = self.take_buffer(key, run);
        let turn = self.turn;
        let Some(file) = self.files.get_mut(&key) else {
            self.pool.give(buffer);
            return false;
        };
        if received_bytes > 0 {
            let len = segment_len(file.size_bytes, index) as usize;
            let read = file.part.read_at(segment_start(index), &mut buffer[..len]);
            if let Err(source) = read {
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

    /// A buffer from the pool, or of the segment that waits longest, or one beyond.
    fn take_buffer(&mut self, for_file: FileKey, run: RangeInclusive<u32>) -> Box<[u8]> {
        if let Some(buffer) = self.pool.take() {
            return buffer;
        }
        let oldest = self
            .files
            .iter()
            .flat_map(|(key, file)| {
                let open = file.open.iter().enumerate();
                open.map(move |(position, open)| (open.touched, *key, position, open.index))
            })
            .filter(|(_, key, _, index)| *key != for_file || !run.contains(index))
            .min();
        oldest
            .and_then(|(_, key, position, _)| self.park(key, position))
            .unwrap_or_else(|| self.pool.take_beyond())
    }

    fn park(&mut self, key: FileKey, position: usize) -> Option<Box<[u8]>> {
        let file = self.files.get_mut(&key)?;
        let open = file.open.swap_remove(position);
        let len = segment_len(file.size_bytes, open.index) as usize;
        let at = segment_start(open.index);
        let written = file.part.write_at(at, &open.buffer[..len]);
        file.segments[open.index as usize] = SegmentState::Parked(open.received_bytes);
        if let Err(source) = written {
            self.fail(key, "write", source);
        }
        Some(open.buffer)
    }

    fn fail(&mut self, key: FileKey, action: &'static str, source: std::io::Error) {
        let error = StorageError::io(action, Path::new("the part file"), source);
        self.gathered.push_back(Gathered::Failed { key, error });
    }

    /// Books the bounced run piece by piece.
    fn commit_bounced(&mut self, stream: u32, offset: u64, len: usize) {
        let Some(route) = self.route(stream).cloned() else {
            self.unplaced += 1;
            return;
        };
        let Some(size_bytes) = self.files.get(&route.key).map(|file| file.size_bytes) else {
            return;
        };
        let end = offset.saturating_add(len as u64).min(size_bytes);
        let segment_of = |at: u64| u32::try_from(at / u64::from(SEGMENT_BYTES));
        let (Ok(first), Ok(last)) = (segment_of(offset), segment_of(end.saturating_sub(1))) else {
            return;
        };
        let bounce = std::mem::take(&mut self.bounce);
        for index in (first..=last).filter(|index| route.takes(*index)) {
            let at = segment_start(index).max(offset);
            let stop = (segment_start(index) + u64::from(SEGMENT_BYTES)).min(end);
            let from = usize::try_from(at - offset).unwrap_or(len);
            let to = usize::try_from(stop.saturating_sub(offset)).unwrap_or(len);
            let Some(data) = bounce.get(from..to) else {
                continue;
            };
            if self.open_segment(route.key, index, first..=last)
                && let Some(file) = self.files.get_mut(&route.key)
            {
                let within = usize::try_from(at - segment_start(index)).unwrap_or(0);
                file.copy_in(index, within, data);
                file.book(route.key, index, data.len(), self.turn, &mut self.gathered);
            }
        }
        self.bounce = bounce;
    }
}

impl Storage for Assemblies {
    fn reserve(&mut self, stream: u32, offset: u64, bytes: usize) -> &mut [u8] {
        let direct = self
            .direct(stream, offset, bytes)
            .filter(|(key, index)| self.open_segment(*key, *index, *index..=*index));
        self.bounced = direct.is_none();
        if self.bounce.len() < bytes {
            self.bounce.resize(bytes, 0);
        }
        let place = direct.and_then(|(key, index)| {
            let from = usize::try_from(offset - segment_start(index)).ok()?;
            let place = self.files.get_mut(&key)?.place(index)?;
            place.get_mut(from..from + bytes)
        });
        place.unwrap_or(&mut self.bounce[..bytes])
    }

    fn commit(&mut self, stream: u32, offset: u64, bytes: usize) {
        self.turn += 1;
        if self.bounced {
            self.commit_bounced(stream, offset, bytes);
            return;
        }
        let index = u32::try_from(offset / u64::from(SEGMENT_BYTES)).unwrap_or(u32::MAX);
        if let Some(key) = self.route(stream).map(|route| route.key)
            && let Some(file) = self.files.get_mut(&key)
        {
            file.book(key, index, bytes, self.turn, &mut self.gathered);
        }
    }
}

fn small_buffer(size_bytes: u64) -> Option<Vec<u8>> {
    (size_bytes <= SMALL_FILE_BYTES).then(|| vec![0; segment_len(size_bytes, 0) as usize])
}

impl Assembly {
    fn wants(&self, index: u32) -> bool {
        self.segments
            .get(index as usize)
            .is_some_and(|state| *state != SegmentState::Done)
    }

    fn place(&mut self, index: u32) -> Option<&mut [u8]> {
        if let Some(small) = &mut self.small {
            return Some(small);
        }
        let open = self
            .open
            .iter_mut()
            .rev()
            .find(|open| open.index == index)?;
        Some(&mut open.buffer)
    }

    fn copy_in(&mut self, index: u32, within: usize, data: &[u8]) {
        let place = self.place(index);
        if let Some(place) = place.and_then(|place| place.get_mut(within..within + data.len())) {
            place.copy_from_slice(data);
        }
    }

    /// Counts bytes that are in place. The core itself says when a small file is complete.
    fn book(
        &mut self,
        key: FileKey,
        index: u32,
        bytes: usize,
        turn: u64,
        gathered: &mut VecDeque<Gathered>,
    ) {
        let len = segment_len(self.size_bytes, index);
        let Some(position) = self.open.iter().rposition(|open| open.index == index) else {
            return;
        };
        let open = &mut self.open[position];
        open.touched = turn;
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
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
}

#[cfg(test)]
mod tests {
    use super::super::memory::MemoryPart;
    use super::*;
    use std::ops::Range;

    const CELL: usize = 288;
    const KEY: FileKey = FileKey(1);

    fn content(size: usize) -> Vec<u8> {
        (0..size).map(|i| (i * 31 % 251) as u8).collect()
    }

    fn one_file(buffers: usize, size: usize, have: &[(u32, ChainingValue)]) -> Assemblies {
        let mut set = Assemblies::new(buffers);
        let part = Arc::new(MemoryPart::keeping(size as u64));
        set.add(KEY, part, size as u64, have);
        set.attach(1, KEY, None);
        set
    }

    fn deliver(set: &mut Assemblies, data: &[u8], run: Range<usize>) {
        let place = set.reserve(1, run.start as u64, run.len());
        place.copy_from_slice(&data[run.clone()]);
        set.commit(1, run.start as u64, run.len());
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

    /// Moves complete segments into `data`; returns their indices.
    fn collect(set: &mut Assemblies, data: &mut [u8]) -> Vec<u32> {
        let mut indices = Vec::new();
        while let Some(gathered) = set.next_gathered() {
            match gathered {
                Gathered::Segment {
                    index, buffer, len, ..
                } => {
                    let start = segment_start(index) as usize;
                    data[start..start + len as usize].copy_from_slice(&buffer[..len as usize]);
                    set.recycle(buffer);
                    indices.push(index);
                }
                Gathered::Failed { error, .. } => panic!("{error}"),
            }
        }
        indices.sort_unstable();
        indices
    }

    #[test]
    fn any_size_in_any_order_comes_out_whole() {
        let mib = 1 << 20;
        for size in [65_537, mib - 1, mib, mib + 1, 3 * mib + 77] {
            for cells in [1, 5, 227] {
                let data = content(size);
                let mut set = one_file(8, size, &[]);
                for run in runs(size, cells, size as u64) {
                    deliver(&mut set, &data, run);
                }
                let mut got = vec![0xee; size];
                collect(&mut set, &mut got);
                assert!(got == data, "size {size}, {cells} cells a run");
            }
        }
    }

    #[test]
    fn a_small_file_is_taken_whole() {
        for size in [0, 1, 4096, 65_536] {
            let data = content(size);
            let mut set = one_file(2, size, &[]);
            for run in runs(size, 5, 3) {
                deliver(&mut set, &data, run);
            }
            assert!(set.next_gathered().is_none());
            assert_eq!(set.take_small(KEY), Some(data));
            assert_eq!(set.take_small(KEY), None);
        }
    }

    #[test]
    fn with_two_buffers_segments_are_parked_and_read_back() {
        let size = 6 << 20;
        let data = content(size);
        let mut set = one_file(2, size, &[]);
        let mut got = vec![0; size];
        for run in runs(size, 200, 5) {
            deliver(&mut set, &data, run);
            collect(&mut set, &mut got);
        }
        assert!(got == data);
    }

    #[test]
    fn buffers_held_by_the_hashers_cost_credit_but_no_bytes() {
        let mib = 1 << 20;
        let data = content(4 * mib);
        let mut set = one_file(2, 4 * mib, &[]);
        for index in 0..3 {
            deliver(&mut set, &data, index * mib..(index + 1) * mib);
            assert_eq!(set.credit_bytes(), [1 << 20, 0, 0][index]);
        }
        let mut got = vec![0; 4 * mib];
        assert_eq!(collect(&mut set, &mut got), [0, 1, 2]);
        assert!(got[..3 * mib] == data[..3 * mib]);
        assert_eq!(set.credit_bytes(), 2 << 20);
    }

    #[test]
    fn segments_that_are_there_are_not_written_again() {
        let size = 3 << 20;
        let data = content(size);
        let mut set = one_file(4, size, &[(1, [0; 32])]);
        for run in runs(size, 5, 9) {
            deliver(&mut set, &data, run);
        }
        assert_eq!(collect(&mut set, &mut vec![0; size]), [0, 2]);
    }

    #[test]
    fn bytes_of_unknown_streams_and_beyond_the_end_go_nowhere() {
        let mut set = one_file(2, 100, &[]);
        assert_eq!(set.reserve(2, 0, 10).len(), 10);
        set.commit(2, 0, 10);
        assert_eq!(set.unplaced(), 1);
        for offset in [90, 1 << 50, u64::MAX - 3] {
            assert_eq!(set.reserve(1, offset, 20).len(), 20);
            set.commit(1, offset, 20);
        }
        set.detach(1);
        set.reserve(1, 0, 100);
        set.commit(1, 0, 100);
        assert_eq!(set.unplaced(), 2);
    }

    #[test]
    fn a_bad_segment_is_received_again() {
        let size = 2 << 20;
        let data = content(size);
        let mut set = one_file(4, size, &[]);
        for run in runs(size, 50, 1) {
            deliver(&mut set, &data, run);
        }
        let mut got = vec![0; size];
        collect(&mut set, &mut got);
        got.fill(0);
        set.reopen(KEY, &[1]);
        set.attach(1, KEY, Some(&[1]));
        for run in runs(size, 50, 2) {
            deliver(&mut set, &data, run);
        }
        assert_eq!(collect(&mut set, &mut got), [1]);
        assert!(got[1 << 20..] == data[1 << 20..]);
    }

    #[test]
    fn a_stream_for_one_segment_leaves_its_neighbours_to_theirs() {
        let size = 3 << 20;
        let data = content(size);
        let mut set = one_file(4, size, &[(1, [0; 32])]);
        set.reopen(KEY, &[1]);
        set.attach(1, KEY, Some(&[1]));
        // Whole cells around the middle segment.
        let run = (1 << 20) / CELL * CELL..((2 << 20) + CELL) / CELL * CELL;
        for start in run.step_by(CELL) {
            deliver(&mut set, &data, start..start + CELL);
        }
        let mut got = vec![0; size];
        assert_eq!(collect(&mut set, &mut got), [1]);
        set.attach(2, KEY, None);
        for segment in [0, 2] {
            let place = set.reserve(2, segment << 20, 1 << 20);
            place.copy_from_slice(&data[(segment as usize) << 20..][..1 << 20]);
            set.commit(2, segment << 20, 1 << 20);
        }
        assert_eq!(collect(&mut set, &mut got), [0, 2]);
        assert!(got == data);
    }

    #[test]
    fn a_disk_that_fails_under_memory_pressure_is_told() {
        let size = 6 << 20;
        let mut set = Assemblies::new(2);
        let full = std::io::ErrorKind::StorageFull;
        set.add(KEY, Arc::new(MemoryPart::failing_after(0, full)), size, &[]);
        set.attach(1, KEY, None);
        for index in 0..3 {
            let start = index << 20;
            set.reserve(1, start, 288).fill(1);
            set.commit(1, start, 288);
        }
        let told = set.next_gathered();
        assert!(matches!(told, Some(Gathered::Failed { .. })), "{told:?}");
    }
}
