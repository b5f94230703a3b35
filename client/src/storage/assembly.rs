//! Gathers the cells of all files of one client into segments, in memory.
//!
//! The core asks for the place of a run of cells ([`Storage::reserve`]), decrypts straight into it
//! and then says [`Storage::commit`]; each byte is committed once. A segment with all its bytes
//! leaves as one buffer ([`Gathered`]) to be hashed while it is hot and written with one call.
//! Runs that straddle segments or touch what is already there go through a bounce buffer.
//!
//! Packets come in order but for the lost ones, so nearly every run lies in the same segment as the
//! one before: that place ([`Spot`]) is kept, and costs no look-up.
//!
//! When buffers run short, the segment that waits longest is parked in its part file; when all are
//! with the hashers, there is one more: bytes that the core counts must not be lost. The credit
//! ([`Assemblies::credit_bytes`]) keeps that rare.

use std::collections::VecDeque;
use std::ops::{Range, RangeInclusive};
use std::path::Path;
use std::sync::Arc;

use columba_core::client::Storage;
use slab::Slab;

use crate::numbered::Numbered;

use super::segment_pool::{SegmentPool, SmallPool};
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
        /// As long as the file, 1 MiB at most; the segment's length of it counts.
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
    /// Wanted; in this one of the open buffers.
    Open(usize),
    /// Wanted; this many bytes lie in the part file, for want of memory.
    Parked(u32),
}

/// A segment some bytes of which are here.
#[derive(Debug)]
struct OpenSegment {
    file: usize,
    index: u32,
    /// Length of the segment in bytes; the last one's buffer is longer.
    len: u32,
    received_bytes: u32,
    touched: u64,
    buffer: Box<[u8]>,
}

#[derive(Debug)]
struct Assembly {
    key: FileKey,
    part: Arc<dyn Part>,
    size_bytes: u64,
    /// Whole content of a small file, from its first byte until it is taken.
    small: Option<Vec<u8>>,
    segments: Vec<SegmentState>,
    streams: Vec<u32>,
}

/// Where the bytes of a stream go.
#[derive(Clone, Debug)]
struct Route {
    file: usize,
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

/// Where the last run went, and so most likely the next.
#[derive(Clone, Debug)]
struct Spot {
    stream: u32,
    /// The bytes of the file that go there.
    range: Range<u64>,
    place: Place,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    /// The whole content of this small file.
    Small(usize),
    /// This open segment.
    Open(usize),
}

/// The files that are being received, by stream.
#[derive(Debug)]
pub struct Assemblies {
    pool: SegmentPool,
    small_pool: SmallPool,
    files: Slab<Assembly>,
    by_key: Numbered<usize>,
    streams: Numbered<Route>,
    open: Slab<OpenSegment>,
    spot: Option<Spot>,
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
            small_pool: SmallPool::default(),
            files: Slab::new(),
            by_key: Numbered::default(),
            streams: Numbered::default(),
            open: Slab::with_capacity(segment_buffers),
            spot: None,
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
        self.remove(key);
        // A file whose segments cannot be counted was refused when it was prepared.
        let count = segment_count(size_bytes).unwrap_or(1);
        let mut segments = vec![SegmentState::Missing; count as usize];
        for (index, _) in have {
            if let Some(state) = segments.get_mut(*index as usize) {
                *state = SegmentState::Done;
            }
        }
        let file = self.files.insert(Assembly {
            key,
            part,
            size_bytes,
            small: None,
            segments,
            streams: Vec::new(),
        });
        self.by_key.insert(key.0, file);
    }

    /// The bytes of `stream` belong to this file from now on; with `only`, those of these segments
    /// (ascending).
    pub fn attach(&mut self, stream: u32, key: FileKey, only: Option<&[u32]>) {
        self.detach(stream);
        if let Some(&file) = self.by_key.get(key.0) {
            let only = only.map(Arc::from);
            self.streams.insert(stream, Route { file, only });
            self.files[file].streams.push(stream);
        }
    }

    /// The stream has ended; late packets of it go nowhere.
    pub fn detach(&mut self, stream: u32) {
        self.spot = None;
        if let Some(route) = self.streams.remove(stream)
            && let Some(file) = self.files.get_mut(route.file)
        {
            file.streams.retain(|other| *other != stream);
        }
    }

    /// Wants these segments once more, from their first byte on.
    pub fn reopen(&mut self, key: FileKey, segments: &[u32]) {
        self.spot = None;
        let Some(file) = self
            .by_key
            .get(key.0)
            .and_then(|&file| self.files.get_mut(file))
        else {
            return;
        };
        for index in segments {
            if let Some(state) = file.segments.get_mut(*index as usize) {
                if let SegmentState::Open(open) = *state {
                    self.pool.give(self.open.remove(open).buffer);
                }
                *state = SegmentState::Missing;
            }
        }
    }

    /// Takes the content of a small file of which every byte is there.
    pub fn take_small(&mut self, key: FileKey) -> Option<Vec<u8>> {
        self.spot = None;
        let file = *self.by_key.get(key.0)?;
        let file = self.files.get_mut(file)?;
        if !file.is_small() || !file.wants(0) {
            return None;
        }
        file.segments[0] = SegmentState::Done;
        // No byte comes of an empty one.
        Some(file.small.take().unwrap_or_default())
    }

    /// Takes the memory of a small file back.
    pub fn recycle_small(&mut self, buffer: Vec<u8>) {
        self.small_pool.give(buffer);
    }

    /// Forgets the file; its buffers return to the pool.
    pub fn remove(&mut self, key: FileKey) {
        self.spot = None;
        let Some(file) = self.by_key.remove(key.0) else {
            return;
        };
        let mut file = self.files.remove(file);
        if let Some(buffer) = file.small.take() {
            self.small_pool.give(buffer);
        }
        for state in file.segments {
            if let SegmentState::Open(open) = state {
                self.pool.give(self.open.remove(open).buffer);
            }
        }
        for stream in file.streams {
            self.streams.remove(stream);
        }
        if self.files.is_empty() {
            self.small_pool.clear();
        }
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
        self.pool.available_bytes()
    }

    /// Runs of bytes that nobody wanted: late ones of ended streams.
    #[must_use]
    pub const fn unplaced(&self) -> u64 {
        self.unplaced
    }

    /// The place for the whole run, if its bytes go straight there.
    fn find_spot(&mut self, stream: u32, run: &Range<u64>) -> Option<Spot> {
        let index = u32::try_from(run.start / u64::from(SEGMENT_BYTES)).ok()?;
        let route = self.streams.get(stream).filter(|r| r.takes(index))?;
        let at = route.file;
        let file = self.files.get(at)?;
        let start = segment_start(index);
        let range = start..start + u64::from(segment_len(file.size_bytes, index));
        if run.end > range.end || !file.wants(index) {
            return None;
        }
        let place = if file.is_small() {
            self.hold_small(at);
            Place::Small(at)
        } else {
            Place::Open(self.open_segment(at, index, index..=index)?)
        };
        Some(Spot {
            stream,
            range,
            place,
        })
    }

    /// Gives a small file its memory, unless it has.
    fn hold_small(&mut self, at: usize) {
        if let Some(file) = self.files.get_mut(at)
            && file.small.is_none()
        {
            let bytes = segment_len(file.size_bytes, 0) as usize;
            file.small = Some(self.small_pool.take(bytes));
        }
    }

    /// The segment's open buffer; it gets one unless it has. Those of `run` stay open meanwhile.
    fn open_segment(&mut self, at: usize, index: u32, run: RangeInclusive<u32>) -> Option<usize> {
        let file = self.files.get(at)?;
        let received_bytes = match *file.segments.get(index as usize)? {
            SegmentState::Open(open) => return Some(open),
            SegmentState::Missing => 0,
            SegmentState::Parked(received) => received,
            SegmentState::Done => return None,
        };
        let len = segment_len(file.size_bytes, index);
        // All segments of a file have buffers of one size, so that they can be reused.
        let buffer_bytes = segment_len(file.size_bytes, 0);
        let mut buffer = self.take_buffer(buffer_bytes, at, run);
        let file = self.files.get_mut(at)?;
        if received_bytes > 0 {
            let read = file
                .part
                .read_at(segment_start(index), &mut buffer[..len as usize]);
            if let Err(source) = read {
                self.pool.give(buffer);
                self.fail(at, "read back", source);
                return None;
            }
        }
        let open = self.open.insert(OpenSegment {
            file: at,
            index,
            len,
            received_bytes,
            touched: self.turn,
            buffer,
        });
        file.segments[index as usize] = SegmentState::Open(open);
        Some(open)
    }

    /// A buffer from the pool, or after parking the segment that waits longest, or one beyond.
    fn take_buffer(&mut self, bytes: u32, for_file: usize, run: RangeInclusive<u32>) -> Box<[u8]> {
        if let Some(buffer) = self.pool.take(bytes) {
            return buffer;
        }
        let oldest = self
            .open
            .iter()
            .filter(|(_, open)| open.file != for_file || !run.contains(&open.index))
            .min_by_key(|(_, open)| open.touched)
            .map(|(at, _)| at);
        if let Some(at) = oldest {
            self.park(at);
            if let Some(buffer) = self.pool.take(bytes) {
                return buffer;
            }
        }
        self.pool.take_beyond(bytes)
    }

    fn park(&mut self, at: usize) {
        self.spot = None;
        let open = self.open.remove(at);
        if let Some(file) = self.files.get_mut(open.file) {
            let start = segment_start(open.index);
            let data = &open.buffer[..open.len as usize];
            let written = file.part.write_at(start, data);
            file.segments[open.index as usize] = SegmentState::Parked(open.received_bytes);
            if let Err(source) = written {
                self.fail(open.file, "write", source);
            }
        }
        self.pool.give(open.buffer);
    }

    fn fail(&mut self, at: usize, action: &'static str, source: std::io::Error) {
        if let Some(file) = self.files.get(at) {
            let error = StorageError::io(action, Path::new("the part file"), source);
            let key = file.key;
            self.gathered.push_back(Gathered::Failed { key, error });
        }
    }

    /// Books the bounced run piece by piece.
    fn commit_bounced(&mut self, stream: u32, offset: u64, len: usize) {
        let Some(route) = self.streams.get(stream).cloned() else {
            self.unplaced += 1;
            return;
        };
        let Some(size_bytes) = self.files.get(route.file).map(|file| file.size_bytes) else {
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
            let within = usize::try_from(at - segment_start(index)).unwrap_or(0);
            if let Some(data) = bounce.get(from..to) {
                self.copy_in(route.file, index, first..=last, within, data);
            }
        }
        self.bounce = bounce;
    }

    /// Copies one piece of a bounced run to its segment, `within` bytes from its start.
    fn copy_in(
        &mut self,
        at: usize,
        index: u32,
        run: RangeInclusive<u32>,
        within: usize,
        data: &[u8],
    ) {
        let range = within..within + data.len();
        if self.files.get(at).is_some_and(Assembly::is_small) {
            if !self.files[at].wants(index) {
                return;
            }
            self.hold_small(at);
            let small = self.files[at].small.as_mut();
            if let Some(place) = small.and_then(|small| small.get_mut(range)) {
                place.copy_from_slice(data);
            }
        } else if let Some(open) = self.open_segment(at, index, run) {
            if let Some(place) = self.open[open].buffer.get_mut(range) {
                place.copy_from_slice(data);
            }
            self.book(open, data.len());
        }
    }

    /// Counts bytes that are in place. The core itself says when a small file is complete.
    fn book(&mut self, at: usize, bytes: usize) {
        let Some(open) = self.open.get_mut(at) else {
            return;
        };
        open.touched = self.turn;
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        open.received_bytes = open.received_bytes.saturating_add(bytes);
        if open.received_bytes >= open.len {
            self.close(at);
        }
    }

    /// Hands a segment over of which every byte is here.
    fn close(&mut self, at: usize) {
        self.spot = None;
        let open = self.open.remove(at);
        let Some(file) = self.files.get_mut(open.file) else {
            return;
        };
        file.segments[open.index as usize] = SegmentState::Done;
        self.gathered.push_back(Gathered::Segment {
            key: file.key,
            index: open.index,
            buffer: open.buffer,
            len: open.len,
        });
    }

    /// The room for a run at the present spot.
    fn room(&mut self, offset: u64, bytes: usize) -> Option<&mut [u8]> {
        let spot = self.spot.as_ref()?;
        let from = usize::try_from(offset - spot.range.start).ok()?;
        let whole: &mut [u8] = match spot.place {
            Place::Small(file) => self.files.get_mut(file)?.small.as_mut()?,
            Place::Open(open) => &mut self.open.get_mut(open)?.buffer,
        };
        whole.get_mut(from..from + bytes)
    }
}

impl Storage for Assemblies {
    fn reserve(&mut self, stream: u32, offset: u64, bytes: usize) -> &mut [u8] {
        let run = offset..offset.saturating_add(bytes as u64);
        let stays = self.spot.as_ref().is_some_and(|spot| {
            spot.stream == stream && spot.range.start <= run.start && run.end <= spot.range.end
        });
        if !stays {
            self.spot = self.find_spot(stream, &run);
        }
        self.bounced = self.spot.is_none();
        if self.bounced {
            if self.bounce.len() < bytes {
                self.bounce.resize(bytes, 0);
            }
            return &mut self.bounce[..bytes];
        }
        // The run lies within the spot, and a spot within its buffer.
        self.room(offset, bytes).unwrap_or_default()
    }

    fn commit(&mut self, stream: u32, offset: u64, bytes: usize) {
        self.turn += 1;
        if self.bounced {
            self.commit_bounced(stream, offset, bytes);
        } else if let Some(Spot {
            place: Place::Open(open),
            ..
        }) = self.spot
        {
            self.book(open, bytes);
        }
    }
}

impl Assembly {
    /// Whether it stays in memory until it is complete.
    const fn is_small(&self) -> bool {
        self.size_bytes <= SMALL_FILE_BYTES
    }

    fn wants(&self, index: u32) -> bool {
        self.segments
            .get(index as usize)
            .is_some_and(|state| *state != SegmentState::Done)
    }
}

#[cfg(test)]
#[path = "assembly_tests.rs"]
mod tests;
