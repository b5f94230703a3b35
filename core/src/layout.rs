//! Where the bytes of a file stand in its stream: cells, segments, trailer.
//!
//! A stream's content is the file followed by its *trailer*: one 32-byte BLAKE3 value per segment of 1 MiB. The whole
//! is cut into equal cells (the last may be short), whose index is Selective Repeat's sequence number.

use std::ops::Range;

use crate::error::ConfigError;
use crate::limits::{CELL_BYTES_RANGE, HASH_BYTES, SEGMENT_BYTES};

/// A run of segments a client still misses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentRange {
    /// Index of the first segment.
    pub first: u32,
    /// How many.
    pub count: u32,
}

/// The arithmetic of one stream. Small and `Copy`; both ends compute the same from size and cell size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamLayout {
    file_bytes: u64,
    total_bytes: u64,
    cell_bytes: u16,
    segments: u32,
    cells: u32,
}

impl StreamLayout {
    /// Layout of a file of `file_bytes` in cells of `cell_bytes`.
    ///
    /// # Errors
    /// [`ConfigError`] when the cell size is out of range or the file needs more than 2³² − 1 cells.
    pub fn new(file_bytes: u64, cell_bytes: u16) -> Result<Self, ConfigError> {
        if !CELL_BYTES_RANGE.contains(&cell_bytes) {
            return Err(ConfigError::CellBytes(cell_bytes));
        }
        let too_large = || ConfigError::FileTooLarge {
            bytes: file_bytes,
            limit: Self::largest_file(cell_bytes),
        };
        let segments =
            u32::try_from(file_bytes.div_ceil(SEGMENT_BYTES).max(1)).map_err(|_| too_large())?;
        let total_bytes = file_bytes
            .checked_add(u64::from(segments) * HASH_BYTES as u64)
            .ok_or_else(too_large)?;
        let cells = u32::try_from(total_bytes.div_ceil(u64::from(cell_bytes)))
            .ok()
            .filter(|cells| *cells < u32::MAX)
            .ok_or_else(too_large)?;
        Ok(Self {
            file_bytes,
            total_bytes,
            cell_bytes,
            segments,
            cells,
        })
    }

    /// Largest file in bytes that cells of `cell_bytes` can carry (a little less than 2³² cells).
    #[must_use]
    pub const fn largest_file(cell_bytes: u16) -> u64 {
        let total = (u32::MAX as u64 - 1) * cell_bytes as u64;
        total / (SEGMENT_BYTES + HASH_BYTES as u64) * SEGMENT_BYTES
    }

    /// Bytes of the file.
    #[must_use]
    pub const fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// Bytes of file and trailer.
    #[must_use]
    pub const fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    /// Bytes of a cell.
    #[must_use]
    pub const fn cell_bytes(&self) -> u16 {
        self.cell_bytes
    }

    /// Number of segments, at least one (an empty file has one empty segment).
    #[must_use]
    pub const fn segments(&self) -> u32 {
        self.segments
    }

    /// Number of cells.
    #[must_use]
    pub const fn cells(&self) -> u32 {
        self.cells
    }

    /// Bytes of the trailer.
    #[must_use]
    pub const fn trailer_bytes(&self) -> u64 {
        self.total_bytes - self.file_bytes
    }

    /// Offset in the stream of a cell's first byte.
    #[must_use]
    pub const fn cell_offset(&self, cell: u32) -> u64 {
        cell as u64 * self.cell_bytes as u64
    }

    /// Bytes of `count` cells from `first` on; less than full where the stream ends.
    #[must_use]
    pub fn run_bytes(&self, first: u32, count: u32) -> usize {
        let start = self.cell_offset(first).min(self.total_bytes);
        let end = (start + u64::from(count) * u64::from(self.cell_bytes)).min(self.total_bytes);
        usize::try_from(end - start).unwrap_or(usize::MAX)
    }

    /// How many cells a payload of `bytes` beginning at cell `first` holds, or `None` when it does not end where a cell
    /// ends, is empty, or begins beyond the stream. What follows the stream's last cell is padding.
    #[must_use]
    pub fn cells_in(&self, first: u32, bytes: usize) -> Option<u32> {
        let count = u32::try_from(bytes)
            .ok()?
            .div_ceil(u32::from(self.cell_bytes));
        let count = count.min(self.cells.checked_sub(first)?);
        let held = self.run_bytes(first, count);
        let ends = held == bytes || held < bytes && first + count == self.cells;
        (count > 0 && ends).then_some(count)
    }

    /// First cell that holds a byte of the trailer; it may begin with the file's last bytes.
    #[must_use]
    pub fn first_trailer_cell(&self) -> u32 {
        // Below `cells`, which fits.
        u32::try_from(self.file_bytes / u64::from(self.cell_bytes)).unwrap_or(u32::MAX)
    }

    /// Cells that hold a byte of the file: all below the returned index. The last may end with the trailer's first bytes.
    #[must_use]
    pub fn file_cells(&self) -> u32 {
        u32::try_from(self.file_bytes.div_ceil(u64::from(self.cell_bytes))).unwrap_or(u32::MAX)
    }

    /// Cells that may be sent once the values of the first `ready` segments are known: all below the returned index.
    #[must_use]
    pub fn cells_ready(&self, ready: u32) -> u32 {
        if ready >= self.segments {
            return self.cells;
        }
        if ready == 0 {
            return self.first_trailer_cell();
        }
        let bytes = self.file_bytes + u64::from(ready) * HASH_BYTES as u64;
        u32::try_from(bytes / u64::from(self.cell_bytes)).unwrap_or(u32::MAX)
    }

    /// Byte range in the file of a segment; empty for the only segment of an empty file.
    #[must_use]
    pub fn segment_range(&self, segment: u32) -> Range<u64> {
        let start = u64::from(segment) * SEGMENT_BYTES;
        start.min(self.file_bytes)..(start + SEGMENT_BYTES).min(self.file_bytes)
    }

    /// Cells that hold bytes of `count` segments from `first` on (the cells at both borders are shared).
    #[must_use]
    pub fn segment_cells(&self, first: u32, count: u32) -> Range<u32> {
        let cell = u64::from(self.cell_bytes);
        let start = self.segment_range(first).start;
        let end = self.segment_range(first + count - 1).end;
        let to_cell = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        if start == end {
            return to_cell(start / cell)..to_cell(start / cell);
        }
        to_cell(start / cell)..to_cell(end.div_ceil(cell))
    }

    /// Cells that hold bytes of the trailer's value for `segment`.
    #[must_use]
    pub fn hash_cells(&self, segment: u32) -> Range<u32> {
        let cell = u64::from(self.cell_bytes);
        let start = self.file_bytes + u64::from(segment) * HASH_BYTES as u64;
        let end = start + HASH_BYTES as u64;
        let to_cell = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        to_cell(start / cell)..to_cell(end.div_ceil(cell))
    }

    /// The cells to send when `missing` segments are wanted (empty: all), in order, merged, trailer included.
    ///
    /// # Errors
    /// [`ConfigError::MissingRange`] when a range is empty, out of the file, or not in ascending order.
    pub fn wanted_cells(&self, missing: &[SegmentRange]) -> Result<Vec<Range<u32>>, ConfigError> {
        if missing.is_empty() {
            return Ok(std::iter::once(0..self.cells).collect());
        }
        let mut wanted: Vec<Range<u32>> = Vec::with_capacity(missing.len() + 1);
        let mut next_segment = 0;
        for range in missing {
            let end = range
                .first
                .checked_add(range.count)
                .ok_or(ConfigError::MissingRange)?;
            if range.count == 0 || range.first < next_segment || end > self.segments {
                return Err(ConfigError::MissingRange);
            }
            next_segment = end;
            push_merged(&mut wanted, self.segment_cells(range.first, range.count));
        }
        push_merged(&mut wanted, self.first_trailer_cell()..self.cells);
        Ok(wanted)
    }
}

fn push_merged(ranges: &mut Vec<Range<u32>>, next: Range<u32>) {
    match ranges.last_mut() {
        Some(last) if next.start <= last.end => last.end = last.end.max(next.end),
        _ if next.is_empty() => {}
        _ => ranges.push(next),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(bytes: u64) -> StreamLayout {
        StreamLayout::new(bytes, 288).expect("fits")
    }

    #[test]
    fn an_empty_file_is_one_hash() {
        let layout = layout(0);
        assert_eq!(
            (layout.segments(), layout.cells(), layout.total_bytes()),
            (1, 1, 32)
        );
        assert_eq!(layout.cells_ready(0), 0);
        assert_eq!(layout.cells_ready(1), 1);
        assert_eq!(layout.segment_cells(0, 1), 0..0);
        assert_eq!(layout.hash_cells(0), 0..1);
    }

    #[test]
    fn borders_around_a_cell_and_a_segment() {
        for (bytes, cells) in [
            (1, 1),
            (255, 1),
            (256, 1),
            (257, 2),
            (287, 2),
            (288, 2),
            (289, 2),
        ] {
            assert_eq!(layout(bytes).cells(), cells, "{bytes}");
        }
        assert_eq!(layout(SEGMENT_BYTES).segments(), 1);
        let layout = layout(SEGMENT_BYTES + 1);
        assert_eq!(layout.segments(), 2);
        assert_eq!(layout.segment_range(1), SEGMENT_BYTES..SEGMENT_BYTES + 1);
        // 1 MiB is no multiple of 288: the border cell belongs to both.
        assert_eq!(
            layout.segment_cells(0, 1).end - 1,
            layout.segment_cells(1, 1).start
        );
    }

    #[test]
    fn payload_lengths_are_judged() {
        let layout = layout(1000); // 1032 bytes: 3 full cells and one of 168
        assert_eq!(layout.cells_in(0, 288 * 3), Some(3));
        assert_eq!(layout.cells_in(0, 1032), Some(4));
        assert_eq!(layout.cells_in(3, 168), Some(1));
        // Padded: nothing but the stream's end may be followed by more.
        for (first, bytes) in [(0, 1033), (0, 1440), (3, 288), (3, 1440)] {
            assert_eq!(
                layout.cells_in(first, bytes),
                Some(4 - first),
                "{first} {bytes}"
            );
        }
        for (first, bytes) in [(0, 0), (0, 287), (3, 167), (4, 1), (u32::MAX, 288)] {
            assert_eq!(layout.cells_in(first, bytes), None, "{first} {bytes}");
        }
    }

    #[test]
    fn wanted_cells_merge_and_refuse() {
        let layout = layout(10 * SEGMENT_BYTES);
        let range = |first, count| SegmentRange { first, count };
        assert_eq!(
            layout.wanted_cells(&[]),
            Ok(std::iter::once(0..layout.cells()).collect())
        );
        let two = layout
            .wanted_cells(&[range(1, 1), range(2, 3)])
            .expect("valid");
        assert_eq!(two.len(), 2);
        assert_eq!(two[0], layout.segment_cells(1, 4));
        assert_eq!(two[1], layout.first_trailer_cell()..layout.cells());
        for bad in [range(0, 0), range(10, 1), range(9, 2), range(1, u32::MAX)] {
            assert_eq!(layout.wanted_cells(&[bad]), Err(ConfigError::MissingRange));
        }
        assert!(layout.wanted_cells(&[range(2, 1), range(1, 1)]).is_err());
    }

    #[test]
    fn cells_beyond_four_gibibytes_and_the_limit() {
        let five = layout(5 << 30);
        assert_eq!(
            five.cell_offset(five.cells() - 1) / 288,
            u64::from(five.cells() - 1)
        );
        let limit = StreamLayout::largest_file(288);
        assert!(limit > 1_200_000_000_000);
        assert!(StreamLayout::new(limit, 288).is_ok());
        assert!(matches!(
            StreamLayout::new(limit + 2 * SEGMENT_BYTES, 288),
            Err(ConfigError::FileTooLarge { .. })
        ));
        assert!(StreamLayout::new(u64::MAX, 288).is_err());
        assert_eq!(StreamLayout::new(1, 0), Err(ConfigError::CellBytes(0)));
    }

    #[test]
    fn hashes_become_sendable_in_order() {
        let layout = layout(40 * SEGMENT_BYTES);
        let mut last = 0;
        for ready in 0..=40 {
            let cells = layout.cells_ready(ready);
            assert!(cells >= last);
            last = cells;
            if ready > 0 {
                assert!(layout.hash_cells(ready - 1).end <= cells + 1);
            }
        }
        assert_eq!(last, layout.cells());
    }
}
