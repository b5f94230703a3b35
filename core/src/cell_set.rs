//! Which cells of a stream are there: received (client) or acknowledged (server).
//!
//! A table of chunks of 4096 cells. Only a chunk that is partly filled has a bitmap; full and empty chunks cost
//! 16 bytes, so that the bitmaps cover the window and not the file, and a resumed file with holes costs no more.
//! A stream of few cells, as thousands of small files are at the same time, has one word instead of a table.

use std::ops::Range;

/// Cells of one chunk.
pub const CHUNK_CELLS: u32 = 4096;
const CHUNK_WORDS: usize = CHUNK_CELLS as usize / 64;

/// Streams of up to so many cells need no chunks.
const FEW_CELLS: u32 = u64::BITS;

type Bitmap = Box<[u64; CHUNK_WORDS]>;

#[derive(Debug)]
enum Chunk {
    Empty,
    Full,
    Partial(Bitmap, u32),
}

/// Bitmaps that are out of use, kept for the next chunk: in steady state none is allocated.
#[derive(Debug, Default)]
pub struct ChunkPool {
    free: Vec<Bitmap>,
}

/// Bitmaps a pool keeps at most; more are given back to the allocator.
const POOL_BITMAPS: usize = 256;

impl ChunkPool {
    fn take(&mut self) -> Bitmap {
        self.free.pop().map_or_else(
            || Box::new([0; CHUNK_WORDS]),
            |mut bitmap| {
                bitmap.fill(0);
                bitmap
            },
        )
    }

    fn give(&mut self, bitmap: Bitmap) {
        if self.free.len() < POOL_BITMAPS {
            self.free.push(bitmap);
        }
    }
}

/// A set of cell indices below a fixed bound.
#[derive(Debug)]
pub struct CellSet {
    /// Empty for a stream of few cells.
    chunks: Vec<Chunk>,
    /// All of a stream of few cells.
    few: u64,
    cells: u32,
    present: u32,
    lowest_missing: u32,
}

impl CellSet {
    /// The empty set for a stream of `cells` cells.
    #[must_use]
    pub fn new(cells: u32) -> Self {
        let chunks = if cells <= FEW_CELLS {
            0
        } else {
            cells.div_ceil(CHUNK_CELLS) as usize
        };
        Self {
            chunks: std::iter::repeat_with(|| Chunk::Empty)
                .take(chunks)
                .collect(),
            few: 0,
            cells,
            present: 0,
            lowest_missing: 0,
        }
    }

    /// The set for which exactly `wanted` (ascending, disjoint) is missing.
    pub fn with_missing(cells: u32, wanted: &[Range<u32>], pool: &mut ChunkPool) -> Self {
        let mut set = Self::new(cells);
        let mut next = 0;
        for range in wanted {
            set.insert_range(next..range.start, pool);
            next = range.end;
        }
        set.insert_range(next..cells, pool);
        set
    }

    const fn is_few(&self) -> bool {
        self.cells <= FEW_CELLS
    }

    /// Whether every cell is there.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.present == self.cells
    }

    /// Number of cells that are not there.
    #[must_use]
    pub const fn missing(&self) -> u32 {
        self.cells - self.present
    }

    /// Lowest cell that is not there; the number of cells when complete.
    #[must_use]
    pub const fn lowest_missing(&self) -> u32 {
        self.lowest_missing
    }

    /// Whether `cell` is there.
    #[must_use]
    pub fn contains(&self, cell: u32) -> bool {
        if self.is_few() {
            return self.few & word_mask(&(cell..cell.saturating_add(1))) != 0;
        }
        match self.chunks.get((cell / CHUNK_CELLS) as usize) {
            None | Some(Chunk::Empty) => false,
            Some(Chunk::Full) => true,
            Some(Chunk::Partial(bitmap, _)) => {
                let bit = cell % CHUNK_CELLS;
                bitmap[(bit / 64) as usize] >> (bit % 64) & 1 == 1
            }
        }
    }

    /// How many of the cells of `range` are there.
    #[must_use]
    pub fn count_in(&self, range: Range<u32>) -> u32 {
        if self.is_few() {
            return (self.few & word_mask(&range)).count_ones();
        }
        if let Some((chunk, word, mask)) = one_word(&range) {
            return match &self.chunks[chunk] {
                Chunk::Empty => 0,
                Chunk::Full => range.end - range.start,
                Chunk::Partial(bitmap, _) => (bitmap[word] & mask).count_ones(),
            };
        }
        pieces(range)
            .map(|(chunk, bits)| match &self.chunks[chunk] {
                Chunk::Empty => 0,
                Chunk::Full => bits.end - bits.start,
                Chunk::Partial(bitmap, _) => masks(bits)
                    .map(|(word, mask)| (bitmap[word] & mask).count_ones())
                    .sum(),
            })
            .sum()
    }

    /// Whether all cells of `range` are there.
    #[must_use]
    pub fn contains_range(&self, range: Range<u32>) -> bool {
        let len = range.end.saturating_sub(range.start);
        self.count_in(range) == len
    }

    /// First run of missing cells within `range`.
    #[must_use]
    pub fn first_missing_run(&self, range: Range<u32>) -> Option<Range<u32>> {
        let start = range.clone().find(|cell| !self.contains(*cell))?;
        let end = (start + 1..range.end)
            .find(|cell| self.contains(*cell))
            .unwrap_or(range.end);
        Some(start..end)
    }

    /// Adds `range`; returns how many cells were new.
    ///
    /// # Panics
    /// When the range goes beyond the stream (the caller has judged it).
    pub fn insert_range(&mut self, range: Range<u32>, pool: &mut ChunkPool) -> u32 {
        if range.is_empty() {
            return 0;
        }
        assert!(range.end <= self.cells, "cells beyond the stream");
        if self.is_few() {
            return self.insert_in_few(&range);
        }
        let start = range.start;
        if let Some(new) = self.insert_in_word(&range) {
            return new;
        }
        let mut new = 0;
        for (index, bits) in pieces(range) {
            new += self.insert_in_chunk(index, bits, pool);
        }
        self.present += new;
        if start <= self.lowest_missing {
            self.advance_lowest_missing();
        }
        new
    }

    fn insert_in_few(&mut self, range: &Range<u32>) -> u32 {
        let mask = word_mask(range);
        let new = (mask & !self.few).count_ones();
        self.few |= mask;
        self.present += new;
        self.lowest_missing = self.few.trailing_ones();
        new
    }

    /// The usual case, fast: a few cells in one word of a chunk that stays partly filled.
    fn insert_in_word(&mut self, range: &Range<u32>) -> Option<u32> {
        let (index, word, mask) = one_word(range)?;
        let len = self.chunk_len(index);
        let Chunk::Partial(bitmap, filled) = &mut self.chunks[index] else {
            return None;
        };
        let new = (mask & !bitmap[word]).count_ones();
        if *filled + new >= len {
            return None;
        }
        bitmap[word] |= mask;
        *filled += new;
        self.present += new;
        if range.start <= self.lowest_missing {
            self.advance_lowest_missing();
        }
        Some(new)
    }

    fn chunk_len(&self, index: usize) -> u32 {
        // The index is below the number of chunks, which came from a u32.
        let first = u32::try_from(index)
            .unwrap_or(u32::MAX)
            .saturating_mul(CHUNK_CELLS);
        (self.cells - first).min(CHUNK_CELLS)
    }

    fn insert_in_chunk(&mut self, index: usize, bits: Range<u32>, pool: &mut ChunkPool) -> u32 {
        let len = self.chunk_len(index);
        let chunk = &mut self.chunks[index];
        if matches!(chunk, Chunk::Empty) {
            if bits.end - bits.start == len {
                *chunk = Chunk::Full;
                return len;
            }
            *chunk = Chunk::Partial(pool.take(), 0);
        }
        let Chunk::Partial(bitmap, filled) = chunk else {
            return 0;
        };
        let mut new = 0;
        for (word, mask) in masks(bits) {
            new += (mask & !bitmap[word]).count_ones();
            bitmap[word] |= mask;
        }
        *filled += new;
        if *filled == len
            && let Chunk::Partial(bitmap, _) = std::mem::replace(chunk, Chunk::Full)
        {
            pool.give(bitmap);
        }
        new
    }

    fn advance_lowest_missing(&mut self) {
        while self.lowest_missing < self.cells {
            let index = (self.lowest_missing / CHUNK_CELLS) as usize;
            match &self.chunks[index] {
                Chunk::Full => {
                    self.lowest_missing = (self.lowest_missing / CHUNK_CELLS + 1)
                        .saturating_mul(CHUNK_CELLS)
                        .min(self.cells);
                }
                Chunk::Empty => return,
                Chunk::Partial(bitmap, _) => {
                    let bit = self.lowest_missing % CHUNK_CELLS;
                    let word = (bit / 64) as usize;
                    let ones = (bitmap[word] >> (bit % 64)).trailing_ones();
                    self.lowest_missing += ones;
                    if ones + bit % 64 < 64 {
                        return;
                    }
                }
            }
        }
    }

    /// Gives the bitmaps back; the set is empty afterwards and must not be used.
    pub fn release(&mut self, pool: &mut ChunkPool) {
        for chunk in self.chunks.drain(..) {
            if let Chunk::Partial(bitmap, _) = chunk {
                pool.give(bitmap);
            }
        }
    }
}

/// The cells of a range that are among the first 64.
#[inline]
const fn word_mask(range: &Range<u32>) -> u64 {
    below(range.end) & !below(range.start)
}

/// The cells before `cell` that are among the first 64.
#[inline]
const fn below(cell: u32) -> u64 {
    match 1_u64.checked_shl(cell) {
        Some(bit) => bit - 1,
        None => u64::MAX,
    }
}

/// Splits a range of cells at chunk borders: (chunk, bits in it).
fn pieces(range: Range<u32>) -> impl Iterator<Item = (usize, Range<u32>)> {
    let mut next = range.start;
    std::iter::from_fn(move || {
        if next >= range.end {
            return None;
        }
        let chunk = next / CHUNK_CELLS;
        let first = next % CHUNK_CELLS;
        let len = (range.end - next).min(CHUNK_CELLS - first);
        next += len;
        Some((chunk as usize, first..first + len))
    })
}

/// Chunk, word and mask of a range that lies in one word, as most runs of few cells do.
#[inline]
fn one_word(range: &Range<u32>) -> Option<(usize, usize, u64)> {
    if range.is_empty() || range.start / 64 != (range.end - 1) / 64 {
        return None;
    }
    let chunk = (range.start / CHUNK_CELLS) as usize;
    let word = (range.start % CHUNK_CELLS / 64) as usize;
    let len = range.end - range.start;
    Some((chunk, word, (u64::MAX >> (64 - len)) << (range.start % 64)))
}

/// The words a range of bits touches, with the mask in each.
fn masks(bits: Range<u32>) -> impl Iterator<Item = (usize, u64)> {
    let mut next = bits.start;
    std::iter::from_fn(move || {
        if next >= bits.end {
            return None;
        }
        let shift = next % 64;
        let len = (bits.end - next).min(64 - shift);
        let word = (next / 64) as usize;
        next += len;
        Some((word, (u64::MAX >> (64 - len)) << shift))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn behaves_like_a_set(
            cells in prop_oneof![1_u32..20_000, 1_u32..70],
            ranges in prop::collection::vec(prop_oneof![(0_u32..20_000, 1_u32..5_000), (0_u32..70, 1_u32..9)], 0..60),
        ) {
            let mut pool = ChunkPool::default();
            let mut set = CellSet::new(cells);
            let mut model = BTreeSet::new();
            for (start, len) in ranges {
                let range = start.min(cells)..start.saturating_add(len).min(cells);
                let before = model.len();
                model.extend(range.clone());
                let new = set.insert_range(range.clone(), &mut pool);
                prop_assert_eq!(new as usize, model.len() - before);
                prop_assert!(set.contains_range(range));
                let lowest = (0..cells).find(|cell| !model.contains(cell)).unwrap_or(cells);
                prop_assert_eq!(set.lowest_missing(), lowest);
                prop_assert_eq!(set.is_complete(), model.len() == cells as usize);
                let expected = lowest..(lowest..cells).find(|cell| model.contains(cell)).unwrap_or(cells);
                prop_assert_eq!(set.first_missing_run(0..cells), (lowest < cells).then_some(expected));
            }
            prop_assert_eq!(set.missing() as usize, cells as usize - model.len());
        }
    }

    #[test]
    fn only_wanted_cells_are_missing() {
        let mut pool = ChunkPool::default();
        let set = CellSet::with_missing(
            3_000_000_000,
            &[5..9, 2_000_000_000..2_000_000_001],
            &mut pool,
        );
        assert_eq!(set.missing(), 5);
        assert_eq!(set.lowest_missing(), 5);
        assert!(set.contains(4) && !set.contains(8) && set.contains(9));
    }

    #[test]
    fn full_chunks_return_their_bitmap() {
        let mut pool = ChunkPool::default();
        let mut set = CellSet::new(2 * CHUNK_CELLS);
        for cell in 0..2 * CHUNK_CELLS {
            set.insert_range(cell..cell + 1, &mut pool);
            assert!(pool.free.len() <= 1, "one bitmap serves all chunks in turn");
        }
        assert!(set.is_complete());
        assert_eq!(pool.free.len(), 1);
    }
}
