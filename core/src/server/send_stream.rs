//! One file on its way to one client: which cells were never sent, which are acknowledged.

use std::collections::VecDeque;
use std::ops::Range;

use super::source::SourceKey;
use crate::cell_set::{CellSet, ChunkPool};
use crate::layout::StreamLayout;

/// So many cells at the end of a file wait for its trailer, to share packets with it; before that trailer cells go out
/// as soon as their values are known, so that segments are verified (and count for resuming) early.
const JOINED_CELLS: u32 = 64;

/// Why a stream cannot send now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blocked {
    /// Its bytes are not in memory.
    Source,
    /// Everything is sent but trailer values that are not known yet.
    Hashes,
}

/// The sender's state of a stream.
#[derive(Debug)]
pub struct SendStream {
    /// Number of the stream.
    pub id: u32,
    /// Its file at the shell.
    pub source: SourceKey,
    /// Its arithmetic.
    pub layout: StreamLayout,
    /// Cells acknowledged (or not wanted).
    pub acked: CellSet,
    /// Why it waits.
    pub blocked: Option<Blocked>,
    /// Whether it stands in the association's queue of streams with something new to send.
    pub queued: bool,
    /// Runs to send again once the source is back.
    pub deferred: Vec<Range<u32>>,
    unsent: VecDeque<Range<u32>>,
    trailer_next: u32,
    hashes: u32,
}

impl SendStream {
    /// A stream of which `wanted` cells are to be sent (ascending; the trailer last).
    pub fn new(
        id: u32,
        source: SourceKey,
        layout: StreamLayout,
        wanted: &[Range<u32>],
        pool: &mut ChunkPool,
    ) -> Self {
        let file_cells = layout.file_cells();
        let unsent = wanted
            .iter()
            .map(|range| range.start..range.end.min(file_cells))
            .filter(|range| !range.is_empty())
            .collect();
        Self {
            id,
            source,
            layout,
            acked: CellSet::with_missing(layout.cells(), wanted, pool),
            blocked: None,
            queued: false,
            deferred: Vec::new(),
            unsent,
            trailer_next: file_cells,
            hashes: 0,
        }
    }

    /// The trailer values of the first `hashes` segments are known.
    pub fn set_hashes(&mut self, hashes: u32) {
        self.hashes = self.hashes.max(hashes.min(self.layout.segments()));
    }

    fn trailer_ready(&self) -> Range<u32> {
        self.trailer_next..self.layout.cells_ready(self.hashes).max(self.trailer_next)
    }

    /// Whether every cell was sent at least once.
    #[must_use]
    pub fn is_all_sent(&self) -> bool {
        self.unsent.is_empty() && self.trailer_next == self.layout.cells()
    }

    /// The next at most `max_cells` consecutive cells that were never sent; they count as sent from now on.
    pub fn take_new(&mut self, max_cells: u32) -> Option<Range<u32>> {
        let trailer = self.trailer_ready();
        let file_cells = self.layout.file_cells();
        // The cell at the border ends with the first values: it waits for them.
        let ready = self.layout.cells_ready(self.hashes);
        if let Some(front) = self.unsent.front_mut() {
            let left = front.end - front.start;
            let joins = self.trailer_next == file_cells
                && front.end == file_cells
                && left <= JOINED_CELLS
                && self.hashes == self.layout.segments();
            let mut run = front.start..front.end.min(front.start + max_cells).min(ready);
            if (trailer.is_empty() || joins) && run.start < run.end {
                front.start = run.end;
                if front.start == front.end {
                    self.unsent.pop_front();
                }
                if joins && run.end == file_cells {
                    // The file's end and its hashes in one packet: what most small files are.
                    run.end = trailer.end.min(run.start + max_cells);
                    self.trailer_next = run.end;
                }
                return Some(run);
            }
        }
        if trailer.is_empty() {
            return None;
        }
        let run = trailer.start..trailer.end.min(trailer.start + max_cells);
        self.trailer_next = run.end;
        Some(run)
    }

    /// Takes back a run that could not be sent after all.
    pub fn put_back_new(&mut self, run: Range<u32>) {
        let file_cells = self.layout.file_cells();
        if run.end > file_cells {
            self.trailer_next = self.trailer_next.min(run.start.max(file_cells));
        }
        let file = run.start..run.end.min(file_cells);
        if file.is_empty() {
            return;
        }
        match self.unsent.front_mut() {
            Some(front) if front.start == file.end => front.start = file.start,
            _ => self.unsent.push_front(file),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::SegmentRange;
    use crate::limits::SEGMENT_BYTES;

    fn stream(bytes: u64, missing: &[SegmentRange]) -> SendStream {
        let layout = StreamLayout::new(bytes, 288).expect("fits");
        let wanted = layout.wanted_cells(missing).expect("valid");
        SendStream::new(1, SourceKey(0), layout, &wanted, &mut ChunkPool::default())
    }

    fn drain(stream: &mut SendStream, max: u32) -> Vec<Range<u32>> {
        std::iter::from_fn(|| stream.take_new(max)).collect()
    }

    #[test]
    fn a_small_file_and_its_hash_share_packets() {
        let mut stream = stream(4096, &[]);
        stream.set_hashes(1);
        assert_eq!(drain(&mut stream, 5), [0..5, 5..10, 10..15]);
        assert!(stream.is_all_sent());
    }

    #[test]
    fn without_hashes_only_the_file_goes() {
        let mut stream = stream(4096, &[]);
        assert_eq!(drain(&mut stream, 5), [0..5, 5..10, 10..14]);
        assert!(!stream.is_all_sent());
        stream.set_hashes(1);
        assert_eq!(stream.take_new(5), Some(14..15));
        assert!(stream.is_all_sent());
    }

    #[test]
    fn every_cell_goes_exactly_once_whenever_hashes_come() {
        let mut stream = stream(100 * SEGMENT_BYTES + 17, &[]);
        let mut sent = vec![0_u8; stream.layout.cells() as usize];
        let mut hashes = 0;
        while !stream.is_all_sent() {
            for _ in 0..900 {
                let Some(run) = stream.take_new(5) else { break };
                assert!(
                    run.end <= stream.layout.cells_ready(hashes),
                    "unknown hash sent"
                );
                run.for_each(|cell| sent[cell as usize] += 1);
            }
            hashes += 1;
            stream.set_hashes(hashes);
        }
        assert!(sent.iter().all(|count| *count == 1));
    }

    #[test]
    fn resuming_sends_only_what_is_missing() {
        let missing = SegmentRange { first: 3, count: 2 };
        let mut stream = stream(10 * SEGMENT_BYTES, &[missing]);
        stream.set_hashes(10);
        let cells: u32 = drain(&mut stream, 31)
            .into_iter()
            .map(|run| run.end - run.start)
            .sum();
        assert_eq!(cells, stream.acked.missing());
        assert!(cells < 7500);
    }

    #[test]
    fn a_run_put_back_comes_again() {
        let mut stream = stream(4096, &[]);
        stream.set_hashes(1);
        let first = stream.take_new(5).expect("data");
        stream.put_back_new(first.clone());
        assert_eq!(stream.take_new(5), Some(first));
        stream.take_new(5);
        let last = stream.take_new(5).expect("data and hash");
        stream.put_back_new(last.clone());
        assert_eq!(stream.take_new(5), Some(last));
        assert!(stream.is_all_sent());
    }
}
