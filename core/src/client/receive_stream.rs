//! One file on its way here: cells received, segments complete, the trailer's values.

use std::ops::Range;

use crate::cell_set::{CellSet, ChunkPool};
use crate::error::ConfigError;
use crate::layout::{SegmentRange, StreamLayout};
use crate::limits::{CELL_BYTES_RANGE, HASH_BYTES, SEGMENT_BYTES};

/// What was received of one stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StreamCounters {
    /// DATA packets, duplicates included.
    pub packets: u64,
    /// DATA packets of which every cell was there already.
    pub duplicate_packets: u64,
    /// Bytes of new cells.
    pub bytes: u64,
}

/// The receiver's state of a stream.
#[derive(Debug)]
pub struct ReceiveStream {
    pub(crate) id: u32,
    pub(crate) layout: StreamLayout,
    pub(crate) cells: CellSet,
    pub(crate) counters: StreamCounters,
    /// Cells still missing of each segment; [`SETTLED`] once it was announced as complete, and when it was never asked for.
    missing_in_segment: Vec<u16>,
    trailer: Vec<u8>,
    /// Where the last run lay, and most likely the next one does.
    home: Home,
}

/// More cells than any segment has.
const SETTLED: u16 = u16::MAX;

const _: () = assert!(SEGMENT_BYTES / *CELL_BYTES_RANGE.start() as u64 + 2 < SETTLED as u64);

/// The cells that hold bytes of one segment and of nothing else.
#[derive(Debug, Default)]
struct Home {
    segment: u32,
    cells: Range<u32>,
}

impl ReceiveStream {
    /// A stream of which the `missing` segments (none: all) were asked for.
    ///
    /// # Errors
    /// [`ConfigError`] as [`StreamLayout::new`] and [`StreamLayout::wanted_cells`].
    pub fn new(
        id: u32,
        file_bytes: u64,
        cell_bytes: u16,
        missing: &[SegmentRange],
        pool: &mut ChunkPool,
    ) -> Result<Self, ConfigError> {
        let layout = StreamLayout::new(file_bytes, cell_bytes)?;
        let wanted = layout.wanted_cells(missing)?;
        let cells = CellSet::with_missing(layout.cells(), &wanted, pool);
        let all = [SegmentRange {
            first: 0,
            count: layout.segments(),
        }];
        let asked = if missing.is_empty() {
            &all[..]
        } else {
            missing
        };
        let segments = layout.segments() as usize;
        let mut stream = Self {
            id,
            layout,
            cells,
            counters: StreamCounters::default(),
            missing_in_segment: vec![SETTLED; segments],
            // At most 32 bytes per MiB of a file that fits 32-bit cells: below 40 MB.
            trailer: vec![0; usize::try_from(layout.trailer_bytes()).unwrap_or(0)],
            home: Home::default(),
        };
        for range in asked {
            for segment in range.first..range.first + range.count {
                let cells = layout.segment_cells(segment, 1);
                stream.missing_in_segment[segment as usize] =
                    u16::try_from(cells.end - cells.start).unwrap_or(SETTLED - 1);
            }
        }
        Ok(stream)
    }

    /// Number of the stream.
    #[must_use]
    pub const fn id(&self) -> u32 {
        self.id
    }

    /// Its arithmetic.
    #[must_use]
    pub const fn layout(&self) -> &StreamLayout {
        &self.layout
    }

    /// What was received.
    #[must_use]
    pub const fn counters(&self) -> &StreamCounters {
        &self.counters
    }

    /// Whether every cell is there.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.cells.is_complete()
    }

    /// The BLAKE3 value of a segment, once it was received: the root hash when the file has one segment, else the
    /// segment's chaining value.
    #[must_use]
    pub fn hash(&self, segment: u32) -> Option<[u8; HASH_BYTES]> {
        if segment >= self.layout.segments()
            || !self.cells.contains_range(self.layout.hash_cells(segment))
        {
            return None;
        }
        let start = segment as usize * HASH_BYTES;
        self.trailer.get(start..start + HASH_BYTES)?.try_into().ok()
    }

    /// Keeps bytes of the trailer; `offset` counts from the trailer's start.
    pub(crate) fn store_trailer(&mut self, offset: u64, bytes: &[u8]) {
        if let Ok(offset) = usize::try_from(offset)
            && let Some(room) = self.trailer.get_mut(offset..offset + bytes.len())
        {
            room.copy_from_slice(bytes);
        }
    }

    /// Notes new cells; calls `complete` for each segment of which all bytes and the value are there now.
    pub(crate) fn insert(
        &mut self,
        run: Range<u32>,
        pool: &mut ChunkPool,
        mut complete: impl FnMut(u32),
    ) {
        let (first, last) = (run.start, run.end - 1);
        if self.home.cells.contains(&first) && self.home.cells.contains(&last) {
            let new = u16::try_from(self.cells.insert_range(run, pool)).unwrap_or(u16::MAX);
            if self.settle_cells(self.home.segment, new) == 0 {
                self.announce(self.home.segment, &mut complete);
            }
            return;
        }
        let touched = self.touched_segments(&run);
        for segment in touched.clone() {
            let cells = self.layout.segment_cells(segment, 1);
            let overlap = run.start.max(cells.start)..run.end.min(cells.end);
            if overlap.is_empty() {
                continue;
            }
            let new = (overlap.end - overlap.start) - self.cells.count_in(overlap);
            self.settle_cells(segment, u16::try_from(new).unwrap_or(u16::MAX));
        }
        self.cells.insert_range(run.clone(), pool);
        if let Some(segment) = touched.clone().last() {
            self.move_home(segment);
        }
        for segment in touched.chain(self.touched_hashes(&run)) {
            self.announce(segment, &mut complete);
        }
    }

    /// New cells of a segment are there; returns how many are still missing, or [`SETTLED`].
    fn settle_cells(&mut self, segment: u32, new: u16) -> u16 {
        let missing = &mut self.missing_in_segment[segment as usize];
        if *missing != SETTLED {
            *missing = missing.saturating_sub(new);
        }
        *missing
    }

    /// Calls `complete` for a segment of which everything is there, once.
    fn announce(&mut self, segment: u32, complete: &mut impl FnMut(u32)) {
        if self.missing_in_segment[segment as usize] == 0
            && self.cells.contains_range(self.layout.hash_cells(segment))
        {
            self.missing_in_segment[segment as usize] = SETTLED;
            complete(segment);
        }
    }

    /// Its first and last cell may hold bytes of its neighbours, or of the trailer.
    fn move_home(&mut self, segment: u32) {
        let cells = self.layout.segment_cells(segment, 1);
        self.home = Home {
            segment,
            cells: cells.start + 1..cells.end.saturating_sub(1),
        };
    }

    fn touched_segments(&self, run: &Range<u32>) -> Range<u32> {
        let file = self.layout.file_bytes();
        let start = self.layout.cell_offset(run.start).min(file);
        let end = self.layout.cell_offset(run.end).min(file);
        if start == end {
            return 0..0;
        }
        let to_segment = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        to_segment(start / SEGMENT_BYTES)..to_segment(end.div_ceil(SEGMENT_BYTES))
    }

    fn touched_hashes(&self, run: &Range<u32>) -> Range<u32> {
        let file = self.layout.file_bytes();
        let end = self
            .layout
            .cell_offset(run.end)
            .min(self.layout.total_bytes());
        if end <= file {
            return 0..0;
        }
        let start = self.layout.cell_offset(run.start).max(file) - file;
        let hash = HASH_BYTES as u64;
        let to_segment = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        to_segment(start / hash)..to_segment((end - file).div_ceil(hash))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stream(bytes: u64, missing: &[SegmentRange]) -> (ReceiveStream, ChunkPool) {
        let mut pool = ChunkPool::default();
        let stream = ReceiveStream::new(1, bytes, 288, missing, &mut pool).expect("valid");
        (stream, pool)
    }

    proptest! {
        #[test]
        fn each_segment_is_announced_once_whatever_the_order(
            bytes in 1_u64..5 * SEGMENT_BYTES,
            order in any::<u64>(),
        ) {
            let (mut stream, mut pool) = stream(bytes, &[]);
            let mut runs: Vec<_> = (0..stream.layout.cells()).step_by(5)
                .map(|first| first..(first + 5).min(stream.layout.cells()))
                .collect();
            let mut state = order;
            for index in (1..runs.len()).rev() {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                runs.swap(index, (state >> 33) as usize % (index + 1));
            }
            let mut announced = Vec::new();
            for run in runs {
                for again in [run.clone(), run] {
                    let before = announced.len();
                    stream.insert(again.clone(), &mut pool, |segment| announced.push(segment));
                    for segment in &announced[before..] {
                        prop_assert!(stream.cells.contains_range(stream.layout.segment_cells(*segment, 1)));
                        prop_assert!(stream.hash(*segment).is_some());
                    }
                }
            }
            announced.sort_unstable();
            prop_assert_eq!(announced, (0..stream.layout.segments()).collect::<Vec<_>>());
            prop_assert!(stream.is_complete());
        }
    }

    #[test]
    fn only_asked_segments_are_announced() {
        let (mut stream, mut pool) =
            stream(4 * SEGMENT_BYTES, &[SegmentRange { first: 2, count: 1 }]);
        let mut announced = Vec::new();
        for cell in 0..stream.layout.cells() {
            if !stream.cells.contains(cell) {
                stream.insert(cell..cell + 1, &mut pool, |segment| announced.push(segment));
            }
        }
        assert_eq!(announced, [2]);
        assert!(stream.is_complete());
    }

    #[test]
    fn an_empty_file_is_complete_with_its_hash() {
        let (mut stream, mut pool) = stream(0, &[]);
        let mut announced = Vec::new();
        stream.store_trailer(0, &[7; 32]);
        stream.insert(0..1, &mut pool, |segment| announced.push(segment));
        assert_eq!(announced, [0]);
        assert_eq!(stream.hash(0), Some([7; 32]));
    }
}
