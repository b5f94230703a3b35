//! Hashes segments on helper threads and writes them where they belong.
//!
//! A segment is hashed while its bytes are still in the cache and then written with one call; the
//! buffer travels back with the outcome. The values follow BLAKE3's own tree (section 2.1 of its
//! paper): segment k is the subtree at input offset k MiB, and merging all of them gives the root.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use blake3::hazmat::{
    HasherExt, Mode, left_subtree_len, merge_subtrees_non_root, merge_subtrees_root,
};
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, unbounded};

use super::{ChainingValue, FileKey, Part, SEGMENT_BYTES, segment_start};

/// Called after each outcome: wakes whoever waits for it.
pub type Notify = Arc<dyn Fn() + Send + std::marker::Sync>;

/// The value of segment `index` among `count`: with a single segment, the root hash.
///
/// `data` is the whole segment: 1 MiB, or less for the last one.
#[must_use]
pub fn segment_value(index: u32, count: u32, data: &[u8]) -> ChainingValue {
    if count <= 1 {
        return *blake3::hash(data).as_bytes();
    }
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(segment_start(index));
    hasher.update(data).finalize_non_root()
}

/// The file's root hash from all its segments' values.
#[must_use]
pub fn root_of(values: &[ChainingValue], size_bytes: u64) -> ChainingValue {
    match values {
        [] => *blake3::hash(&[]).as_bytes(),
        [only] => *only,
        _ => {
            let (left, right) = halves(values, size_bytes);
            *merge_subtrees_root(&left, &right, Mode::Hash).as_bytes()
        }
    }
}

/// Values of the two subtrees below a parent over `bytes` of input.
fn halves(values: &[ChainingValue], bytes: u64) -> (ChainingValue, ChainingValue) {
    let left_bytes = left_subtree_len(bytes);
    let at = usize::try_from(left_bytes / u64::from(SEGMENT_BYTES)).unwrap_or(values.len());
    let (left, right) = values.split_at(at.min(values.len()));
    (
        subtree(left, left_bytes),
        subtree(right, bytes - left_bytes),
    )
}

fn subtree(values: &[ChainingValue], bytes: u64) -> ChainingValue {
    match values {
        [only] => *only,
        [] => ChainingValue::default(),
        _ => {
            let (left, right) = halves(values, bytes);
            merge_subtrees_non_root(&left, &right, Mode::Hash)
        }
    }
}

/// A complete segment for the helpers.
#[derive(Debug)]
pub struct SegmentJob {
    /// Which file.
    pub key: FileKey,
    /// Which of its segments.
    pub index: u32,
    /// How many segments the file has.
    pub count: u32,
    /// The bytes; `len` of them count.
    pub buffer: Box<[u8]>,
    /// Length of the segment in bytes.
    pub len: u32,
    /// Where to write them.
    pub part: Arc<dyn Part>,
}

/// A segment that was hashed and written.
#[derive(Debug)]
pub struct SegmentOutcome {
    /// Which file.
    pub key: FileKey,
    /// Which of its segments.
    pub index: u32,
    /// The buffer, free for other use.
    pub buffer: Box<[u8]>,
    /// The value of what was received, or why it could not be written.
    pub value: io::Result<ChainingValue>,
}

/// The helper threads. Dropping it waits for what they are at.
#[derive(Debug)]
pub struct Verifier {
    jobs: Option<Sender<SegmentJob>>,
    outcomes: Receiver<SegmentOutcome>,
    threads: Vec<JoinHandle<()>>,
}

impl Verifier {
    /// Starts `threads` helpers; at most `capacity` jobs wait.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(threads: usize, capacity: usize, notify: &Notify) -> io::Result<Self> {
        // All helpers wait at one channel, and a segment wakes one of them.
        let (jobs, waiting) = bounded(capacity);
        let (finished, outcomes) = unbounded();
        let threads = (0..threads.max(1))
            .map(|number| {
                let (waiting, finished) = (waiting.clone(), finished.clone());
                let notify = Arc::clone(notify);
                std::thread::Builder::new()
                    .name(format!("verify-{number}"))
                    .spawn(move || work(&waiting, &finished, &notify))
            })
            .collect::<io::Result<_>>()?;
        Ok(Self {
            jobs: Some(jobs),
            outcomes,
            threads,
        })
    }

    /// As many helpers as there are processors, within reason.
    #[must_use]
    pub fn default_threads() -> usize {
        std::thread::available_parallelism().map_or(1, |count| count.get().clamp(1, 4))
    }

    /// Hands a segment over, or gives it back when `capacity` jobs wait already.
    ///
    /// # Errors
    /// The job itself.
    pub fn submit(&self, job: SegmentJob) -> Result<(), Box<SegmentJob>> {
        let Some(jobs) = &self.jobs else {
            return Err(Box::new(job));
        };
        jobs.try_send(job).map_err(|refused| match refused {
            TrySendError::Full(job) | TrySendError::Disconnected(job) => Box::new(job),
        })
    }

    /// The next outcome, if there is one.
    #[must_use]
    pub fn poll(&self) -> Option<SegmentOutcome> {
        self.outcomes.try_recv().ok()
    }
}

impl Drop for Verifier {
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            // A helper that panicked has said so on standard error already.
            let _ = thread.join();
        }
    }
}

fn work(waiting: &Receiver<SegmentJob>, finished: &Sender<SegmentOutcome>, notify: &Notify) {
    for job in waiting {
        if finished.send(perform(job)).is_err() {
            return;
        }
        notify();
    }
}

fn perform(job: SegmentJob) -> SegmentOutcome {
    let data = &job.buffer[..job.len as usize];
    let value = segment_value(job.index, job.count, data);
    let written = job.part.write_at(segment_start(job.index), data);
    SegmentOutcome {
        key: job.key,
        index: job.index,
        buffer: job.buffer,
        value: written.map(|()| value),
    }
}

#[cfg(test)]
mod tests {
    use super::super::memory::MemoryPart;
    use super::super::{segment_count, segment_len};
    use super::*;

    #[test]
    fn the_merge_is_blake3_of_the_whole() {
        let mib = SEGMENT_BYTES as usize;
        for size in [
            0,
            1,
            1025,
            mib - 1,
            mib,
            mib + 1,
            2 * mib,
            3 * mib - 5,
            5 * mib + 17,
            8 * mib,
            9 * mib + 1024,
        ] {
            let data: Vec<u8> = (0..size).map(|i| (i * 7 % 253) as u8).collect();
            let count = segment_count(size as u64).unwrap();
            let values: Vec<_> = (0..count)
                .map(|index| {
                    let start = segment_start(index) as usize;
                    let len = segment_len(size as u64, index) as usize;
                    segment_value(index, count, &data[start..start + len])
                })
                .collect();
            assert_eq!(
                root_of(&values, size as u64),
                *blake3::hash(&data).as_bytes(),
                "{size} bytes"
            );
        }
    }

    #[test]
    fn values_of_hostile_counts_do_not_panic() {
        assert_eq!(root_of(&[], 1 << 40), *blake3::hash(&[]).as_bytes());
    }

    #[test]
    fn segments_are_hashed_and_written_and_the_buffers_return() {
        let (woken, wake) = unbounded();
        let notify: Notify = Arc::new(move || {
            let _ = woken.send(());
        });
        let verifier = Verifier::start(2, 8, &notify).unwrap();
        let size = 3u64 << 20;
        let part = Arc::new(MemoryPart::keeping(size));
        for index in 0..3u32 {
            let buffer =
                vec![u8::try_from(index).unwrap(); SEGMENT_BYTES as usize].into_boxed_slice();
            verifier
                .submit(SegmentJob {
                    key: FileKey(7),
                    index,
                    count: 3,
                    buffer,
                    len: SEGMENT_BYTES,
                    part: Arc::<MemoryPart>::clone(&part),
                })
                .unwrap();
        }
        let mut seen = [false; 3];
        for _ in 0..3 {
            wake.recv().unwrap();
            let outcome = verifier.poll().unwrap();
            let expected = segment_value(
                outcome.index,
                3,
                &vec![outcome.index as u8; SEGMENT_BYTES as usize],
            );
            assert_eq!(outcome.value.unwrap(), expected);
            assert_eq!(outcome.buffer.len(), SEGMENT_BYTES as usize);
            seen[outcome.index as usize] = true;
        }
        assert_eq!(seen, [true; 3]);
        let content = part.content();
        assert!((0..3).all(|k| {
            content[k << 20..(k + 1) << 20]
                .iter()
                .all(|b| *b == k as u8)
        }));
    }

    #[test]
    fn a_failed_write_is_told() {
        let notify: Notify = Arc::new(|| ());
        let verifier = Verifier::start(1, 1, &notify).unwrap();
        let part = Arc::new(MemoryPart::failing_after(100, io::ErrorKind::StorageFull));
        verifier
            .submit(SegmentJob {
                key: FileKey(1),
                index: 0,
                count: 1,
                buffer: vec![0; SEGMENT_BYTES as usize].into_boxed_slice(),
                len: 200,
                part,
            })
            .unwrap();
        let outcome = loop {
            if let Some(outcome) = verifier.poll() {
                break outcome;
            }
            std::thread::yield_now();
        };
        assert_eq!(
            outcome.value.unwrap_err().kind(),
            io::ErrorKind::StorageFull
        );
    }
}
