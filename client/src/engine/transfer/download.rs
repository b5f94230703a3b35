//! One file on its way, from the offer to its name.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use columba_core::client::StreamCounters;
use columba_core::control::SegmentRange;
use columba_core::control::limits::MAX_MISSING_RANGES;
use columba_core::units::Timestamp;

use crate::storage::verdict::Verdict;
use crate::storage::{
    ChainingValue, Part, SEGMENT_BYTES, SMALL_FILE_BYTES, VersionTag, segment_count, segment_len,
};

/// When the first checkpoint comes, and how long between two.
const FIRST_CHECKPOINT: Duration = Duration::from_millis(500);
const CHECKPOINT_EVERY: Duration = Duration::from_secs(1);

/// How far a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Offered; waits for its turn.
    Waiting,
    /// A helper looks for its place and for what is there.
    Preparing,
    /// Waits for the server to be asked for it.
    Ready,
    /// Comes.
    Running,
    /// It was paused while it came, and helpers still hold something of it.
    Pausing,
    /// It was paused.
    Paused,
    /// All of it is verified, or (small) about to be; a helper gives it its name.
    Finishing,
    /// It failed, but helpers still hold segments of it.
    Failed,
    /// It changed on the server; when the helpers hold nothing of it any more it is asked for again.
    StartingOver,
    /// It was asked for again.
    AskedAgain,
}

/// One file.
#[derive(Debug)]
pub(super) struct Download {
    /// The request it belongs to.
    pub(super) request: u32,
    /// The server's name for it.
    pub(super) name: String,
    /// The server's number for it, on this connection.
    pub(super) file: u32,
    pub(super) relative: PathBuf,
    pub(super) size_bytes: u64,
    pub(super) version: VersionTag,
    pub(super) stage: Stage,
    pub(super) part: Option<Arc<dyn Part>>,
    /// Judges the segments, once it is prepared; a small file is judged as a whole.
    pub(super) verdict: Verdict,
    /// Streams of this file that are not finished.
    pub(super) streams: Vec<u32>,
    /// Segments with the hashers.
    pub(super) hashing: u32,
    /// Segments to ask for once more.
    pub(super) bad: Vec<u32>,
    pub(super) started: Timestamp,
    pub(super) verified_after: Duration,
    pub(super) resumed_bytes: u64,
    /// Bytes of finished streams, for the progress shown.
    pub(super) received_bytes: u64,
    pub(super) counters: StreamCounters,
    /// It changed on the server once already.
    pub(super) started_over: bool,
    /// Root hash of a small file, as sent.
    pub(super) root: Option<ChainingValue>,
    /// A small file failed its check once.
    pub(super) small_mismatch: bool,
    told_prefix: u32,
    checkpoint_at: Timestamp,
    checkpointed: usize,
    pub(super) checkpoint_running: bool,
    /// It counts in the window.
    pub(super) admitted: bool,
}

impl Download {
    pub(super) fn new(
        request: u32,
        name: String,
        file: u32,
        relative: PathBuf,
        size_bytes: u64,
        version: VersionTag,
    ) -> Self {
        Self {
            request,
            name,
            file,
            relative,
            size_bytes,
            version,
            stage: Stage::Waiting,
            part: None,
            verdict: Verdict::none(),
            streams: Vec::new(),
            hashing: 0,
            bad: Vec::new(),
            started: Timestamp::ZERO,
            verified_after: Duration::ZERO,
            resumed_bytes: 0,
            received_bytes: 0,
            counters: StreamCounters::default(),
            started_over: false,
            root: None,
            small_mismatch: false,
            told_prefix: 0,
            checkpoint_at: Timestamp::ZERO,
            checkpointed: 0,
            checkpoint_running: false,
            admitted: false,
        }
    }

    /// Whether it stays in memory until it is complete.
    pub(super) const fn is_small(&self) -> bool {
        self.size_bytes <= SMALL_FILE_BYTES
    }

    /// Whether few of its kind come at the same time.
    pub(super) const fn is_large(&self) -> bool {
        self.size_bytes > SEGMENT_BYTES as u64
    }

    pub(super) fn segments(&self) -> u32 {
        // More were refused when it was offered.
        segment_count(self.size_bytes).unwrap_or(1)
    }

    /// A helper has prepared it: this part takes the bytes, these segments (ascending) are there.
    /// Returns those that count: when it is all of them, the last one is fetched again, because the
    /// trailer comes with it and is needed to judge the others.
    pub(super) fn prepared(
        &mut self,
        part: Arc<dyn Part>,
        mut have: Vec<(u32, ChainingValue)>,
    ) -> Vec<(u32, ChainingValue)> {
        if have.len() == self.segments() as usize {
            have.pop();
        }
        self.verdict = if self.is_small() {
            Verdict::none()
        } else {
            Verdict::new(self.size_bytes, &have)
        };
        self.resumed_bytes = have
            .iter()
            .map(|(index, _)| u64::from(segment_len(self.size_bytes, *index)))
            .sum();
        self.part = Some(part);
        self.stage = Stage::Ready;
        have
    }

    /// What is here counts, and nothing else: it was paused.
    pub(super) fn settle(&mut self) {
        if let Some(part) = self.part.clone() {
            let have = self.verdict.complete().collect();
            self.prepared(part, have);
            self.received_bytes = 0;
            self.bad.clear();
        }
    }

    /// The segments to ask for; empty for all.
    pub(super) fn missing(&self) -> Vec<SegmentRange> {
        if self.is_small() {
            return Vec::new();
        }
        let count = self.segments();
        let mut here = vec![false; count as usize];
        for (index, _) in self.verdict.complete() {
            here[index as usize] = true;
        }
        if here.iter().all(|here| !here) {
            return Vec::new();
        }
        let missing = (0..count).filter(|index| !here[*index as usize]);
        join_ranges(missing)
    }

    /// A new checkpoint is worth while: what would be in it.
    pub(super) fn due_checkpoint(
        &mut self,
        now: Timestamp,
        at_once: bool,
    ) -> Option<Vec<(u32, ChainingValue)>> {
        let due = at_once || now >= self.checkpoint_at;
        let coming = matches!(self.stage, Stage::Running | Stage::Pausing);
        let running = coming && !self.checkpoint_running;
        if self.is_small() || !due || !running {
            return None;
        }
        self.checkpoint_at = now + CHECKPOINT_EVERY;
        let complete: Vec<_> = self.verdict.complete().collect();
        if complete.len() <= self.checkpointed {
            return None;
        }
        self.checkpointed = complete.len();
        self.checkpoint_running = true;
        Some(complete)
    }

    /// The first checkpoint comes a while after the start.
    pub(super) fn start_checkpoints(&mut self, now: Timestamp) {
        self.checkpoint_at = now + FIRST_CHECKPOINT;
    }

    /// The verified prefix, if it has grown since the last call.
    pub(super) const fn grown_prefix(&mut self) -> Option<u32> {
        let prefix = self.verdict.verified_prefix();
        if prefix == self.told_prefix {
            return None;
        }
        self.told_prefix = prefix;
        Some(prefix)
    }

    /// Whether helpers hold something of it.
    pub(super) const fn is_held(&self) -> bool {
        self.hashing > 0 || self.checkpoint_running
    }

    /// Another state of the file was offered: nothing that is here counts.
    pub(super) fn reset(&mut self, file: u32, size_bytes: u64, version: VersionTag) {
        let started_over = self.started_over;
        *self = Self::new(
            self.request,
            std::mem::take(&mut self.name),
            file,
            std::mem::take(&mut self.relative),
            size_bytes,
            version,
        );
        self.started_over = started_over;
    }

    /// Adds what a finished stream counted.
    pub(super) const fn add_counters(&mut self, counters: StreamCounters) {
        self.counters.packets += counters.packets;
        self.counters.duplicate_packets += counters.duplicate_packets;
        self.counters.bytes += counters.bytes;
        self.received_bytes += counters.bytes;
    }
}

/// Consecutive indices as ranges; when there are more than a frame takes, the narrowest gaps are
/// fetched along.
pub(super) fn join_ranges(indices: impl Iterator<Item = u32>) -> Vec<SegmentRange> {
    let mut ranges: Vec<SegmentRange> = Vec::new();
    for index in indices {
        match ranges.last_mut() {
            Some(last) if last.first + last.count == index => last.count += 1,
            _ => ranges.push(SegmentRange {
                first: index,
                count: 1,
            }),
        }
    }
    if ranges.len() > MAX_MISSING_RANGES {
        let mut gaps: Vec<u32> = ranges
            .windows(2)
            .map(|pair| pair[1].first - (pair[0].first + pair[0].count))
            .collect();
        gaps.sort_unstable();
        let widest_closed = gaps[ranges.len() - MAX_MISSING_RANGES - 1];
        let mut joined: Vec<SegmentRange> = Vec::new();
        for range in ranges {
            match joined.last_mut() {
                Some(last) if range.first - (last.first + last.count) <= widest_closed => {
                    last.count = range.first + range.count - last.first;
                }
                _ => joined.push(range),
            }
        }
        return joined;
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::memory::MemoryPart;

    fn download(segments: u64) -> Download {
        Download::new(1, "a".to_owned(), 1, "a".into(), segments << 20, [0; 16])
    }

    fn range(first: u32, count: u32) -> SegmentRange {
        SegmentRange { first, count }
    }

    #[test]
    fn only_missing_segments_are_asked_for() {
        let mut file = download(6);
        assert_eq!(file.missing(), []);
        let part = Arc::new(MemoryPart::default());
        let have = [0, 2, 3].map(|index| (index, [0; 32]));
        file.prepared(Arc::<MemoryPart>::clone(&part), have.to_vec());
        assert_eq!(file.missing(), [range(1, 1), range(4, 2)]);
        assert_eq!(file.resumed_bytes, 3 << 20);
        let all = [0, 1, 2, 3, 4, 5].map(|index| (index, [0; 32]));
        assert_eq!(file.prepared(part, all.to_vec()).len(), 5);
        assert_eq!(file.missing(), [range(5, 1)]);
    }

    #[test]
    fn too_many_ranges_are_joined_over_the_narrowest_gaps() {
        let holes = (0..3000u32).map(|i| i * 2 + if i >= 2500 { i } else { 0 });
        let wanted: Vec<u32> = holes.collect();
        let ranges = join_ranges(wanted.iter().copied());
        assert!(ranges.len() <= MAX_MISSING_RANGES);
        for index in wanted {
            let within =
                |range: &SegmentRange| (range.first..range.first + range.count).contains(&index);
            assert_eq!(ranges.iter().filter(|range| within(range)).count(), 1);
        }
    }

    #[test]
    fn checkpoints_wait_for_news_and_for_each_other() {
        let mut file = download(4);
        file.stage = Stage::Running;
        file.start_checkpoints(Timestamp::ZERO);
        let later = |seconds| Timestamp::ZERO + Duration::from_secs(seconds);
        let _ = file.verdict.received(0, [1; 32]);
        assert_eq!(file.due_checkpoint(later(0), false), None);
        file.verdict = Verdict::new(4 << 20, &[]);
        assert_eq!(file.due_checkpoint(later(5), false), None);
        let _ = file.verdict.received(1, [1; 32]);
        let due = file.due_checkpoint(later(6), false);
        assert_eq!(due, Some(vec![(1, [1; 32])]));
        let _ = file.verdict.received(2, [1; 32]);
        assert_eq!(file.due_checkpoint(later(20), true), None);
        file.checkpoint_running = false;
        assert!(file.due_checkpoint(later(20), true).is_some());
    }
}
