//! A thread for everything about files that may block: preparing, checkpoints, finishing.
//!
//! Jobs run in order, so one part's checkpoint never overtakes its end; complete files that wait
//! together are published together. Preparing (which may hash gigabytes) gets a worker of its own.
//! Jobs and outcomes change hands in batches: waking a thread costs more than a small file's job.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use super::finish::{Finished, Published, finish_batch};
use super::verify::Notify;
use super::{
    ChainingValue, FileKey, FileRequest, Part, Preparation, SMALL_FILE_BYTES, Storage, StorageError,
};

/// Most files that are published together.
const MAX_BATCH: usize = 512;
/// Outcomes of quick jobs that are told together at most.
const TOLD_TOGETHER: usize = 128;

/// Something to do.
#[derive(Debug)]
pub enum Job {
    /// Decide where the file goes and what of it is there.
    Prepare {
        /// Which file.
        key: FileKey,
        /// What the server offers.
        request: FileRequest,
    },
    /// Make these segments durable and remember them.
    Checkpoint {
        /// Which file.
        key: FileKey,
        /// Its part.
        part: Arc<dyn Part>,
        /// Index and value of each segment that is there.
        complete: Vec<(u32, ChainingValue)>,
    },
    /// All segments before `index` are verified.
    Verified {
        /// Which file.
        key: FileKey,
        /// Its part.
        part: Arc<dyn Part>,
        /// First segment that is not.
        index: u32,
    },
    /// Give the file its name.
    Finish(Finished),
}

/// What came of it.
#[derive(Debug)]
pub enum Outcome {
    /// The file can be fetched, was skipped, or has no place.
    Prepared {
        /// Which file.
        key: FileKey,
        /// What was found.
        result: Result<Preparation, StorageError>,
    },
    /// A checkpoint ended; its failure only costs a later resume.
    Checkpointed {
        /// Which file.
        key: FileKey,
        /// How it ended.
        result: Result<(), StorageError>,
    },
    /// Passing bytes on failed.
    Failed {
        /// Which file.
        key: FileKey,
        /// Why.
        error: StorageError,
    },
    /// The file has its name, or why not.
    Finished {
        /// Which file.
        key: FileKey,
        /// Where it is.
        result: Result<PathBuf, StorageError>,
        /// The memory of a small file, to be used again.
        buffer: Option<Vec<u8>>,
    },
    /// A small file's content was not what the sender hashed.
    Mismatch {
        /// Which file.
        key: FileKey,
    },
}

/// The thread. Dropping it waits for the job it is at.
#[derive(Debug)]
pub struct Worker {
    jobs: Option<Sender<Vec<Job>>>,
    /// What [`hand_over`](Self::hand_over) sends.
    gathered: Vec<Job>,
    /// Jobs that were submitted and are not done.
    waiting: Arc<AtomicUsize>,
    capacity: usize,
    outcomes: Receiver<Vec<Outcome>>,
    received: VecDeque<Outcome>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts the thread; at most `capacity` jobs wait. `interrupted` cuts long hashing short.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(
        name: &str,
        storage: Arc<dyn Storage>,
        capacity: usize,
        interrupted: Arc<AtomicBool>,
        notify: Notify,
    ) -> io::Result<Self> {
        let (jobs, given) = channel();
        let (finished, outcomes) = channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let left = Arc::clone(&waiting);
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let mut turn = Turn {
                    storage,
                    given,
                    jobs: VecDeque::new(),
                    left,
                    finished,
                    outcomes: Vec::new(),
                    interrupted,
                    notify,
                };
                turn.run();
            })?;
        Ok(Self {
            jobs: Some(jobs),
            gathered: Vec::new(),
            waiting,
            capacity,
            outcomes,
            received: VecDeque::new(),
            thread: Some(thread),
        })
    }

    /// Takes a job, or gives it back when `capacity` jobs wait already. It begins after
    /// [`hand_over`](Self::hand_over).
    ///
    /// # Errors
    /// The job itself.
    pub fn submit(&mut self, job: Job) -> Result<(), Box<Job>> {
        if self.waiting.load(Ordering::Relaxed) >= self.capacity {
            return Err(Box::new(job));
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        self.gathered.push(job);
        Ok(())
    }

    /// Gives the thread what was submitted.
    pub fn hand_over(&mut self) {
        if self.gathered.is_empty() {
            return;
        }
        if let Some(jobs) = &self.jobs {
            // A worker that panicked has said so; its files stay unfinished.
            let _ = jobs.send(std::mem::take(&mut self.gathered));
        }
    }

    /// The next outcome, if there is one.
    #[must_use]
    pub fn poll(&mut self) -> Option<Outcome> {
        if self.received.is_empty() {
            self.received = self.outcomes.try_recv().ok()?.into();
        }
        self.received.pop_front()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.hand_over();
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A worker that panicked has said so on standard error already.
            let _ = thread.join();
        }
    }
}

struct Turn {
    storage: Arc<dyn Storage>,
    given: Receiver<Vec<Job>>,
    /// Received, not begun.
    jobs: VecDeque<Job>,
    /// Jobs that are not done.
    left: Arc<AtomicUsize>,
    finished: Sender<Vec<Outcome>>,
    /// Not told yet.
    outcomes: Vec<Outcome>,
    interrupted: Arc<AtomicBool>,
    notify: Notify,
}

impl Turn {
    fn run(&mut self) {
        while let Some(job) = self.next() {
            let (done, quick) = match job {
                Job::Finish(file) => {
                    let batch = self.gather(file);
                    let count = batch.len();
                    self.finish(batch);
                    (count, false)
                }
                job @ (Job::Prepare { .. } | Job::Checkpoint { .. } | Job::Verified { .. }) => {
                    (1, self.perform(job))
                }
            };
            self.left.fetch_sub(done, Ordering::Relaxed);
            let more_to_come =
                quick && !self.jobs.is_empty() && self.outcomes.len() < TOLD_TOGETHER;
            if !more_to_come && !self.tell() {
                return;
            }
        }
    }

    fn next(&mut self) -> Option<Job> {
        while self.jobs.is_empty() {
            self.jobs = self.given.recv().ok()?.into();
        }
        self.jobs.pop_front()
    }

    /// All complete files that wait by now.
    fn gather(&mut self, first: Finished) -> Vec<Finished> {
        let mut batch = vec![first];
        while batch.len() < MAX_BATCH {
            if self.jobs.is_empty()
                && let Ok(jobs) = self.given.try_recv()
            {
                self.jobs = jobs.into();
            }
            match self.jobs.pop_front() {
                Some(Job::Finish(file)) => batch.push(file),
                Some(other) => {
                    self.jobs.push_front(other);
                    break;
                }
                None => break,
            }
        }
        batch
    }

    fn finish(&mut self, batch: Vec<Finished>) {
        let results = finish_batch(&*self.storage, &batch);
        let told = batch.into_iter().zip(results).map(|(file, result)| {
            let key = file.key;
            let buffer = file.whole.map(|(bytes, _)| bytes);
            let result = match result {
                Published::At(path) => Ok(path),
                Published::Failed(error) => Err(error),
                Published::Mismatch => return Outcome::Mismatch { key },
            };
            Outcome::Finished {
                key,
                result,
                buffer,
            }
        });
        self.outcomes.extend(told);
    }

    /// Does a job; returns whether it was a quick one, whose outcome may wait for others.
    fn perform(&mut self, job: Job) -> bool {
        match job {
            Job::Prepare { key, request } => {
                let result = self.storage.prepare(&request, &self.interrupted);
                self.outcomes.push(Outcome::Prepared { key, result });
                request.size_bytes <= SMALL_FILE_BYTES
            }
            Job::Checkpoint {
                key,
                part,
                complete,
            } => {
                let result = part.checkpoint(&complete);
                self.outcomes.push(Outcome::Checkpointed { key, result });
                false
            }
            Job::Verified { key, part, index } => {
                if let Err(error) = part.verified_up_to(index) {
                    self.outcomes.push(Outcome::Failed { key, error });
                }
                false
            }
            Job::Finish(file) => {
                self.finish(vec![file]);
                false
            }
        }
    }

    /// Tells what came of the jobs; `false` when nobody listens any more.
    fn tell(&mut self) -> bool {
        if self.outcomes.is_empty() {
            return true;
        }
        let told = self.finished.send(std::mem::take(&mut self.outcomes));
        (self.notify)();
        told.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::super::disk::DiskStorage;
    use super::super::{Existing, verify::segment_value};
    use super::*;
    use std::sync::mpsc;

    fn next(worker: &mut Worker, wake: &mpsc::Receiver<()>) -> Outcome {
        worker.hand_over();
        loop {
            if let Some(outcome) = worker.poll() {
                return outcome;
            }
            wake.recv().unwrap();
        }
    }

    #[test]
    fn a_thousand_small_files_pass_through() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Arc::new(DiskStorage::new(
            folder.path().to_path_buf(),
            Existing::Refuse,
        ));
        let (woken, wake) = channel();
        let notify: Notify = Arc::new(move || {
            let _ = woken.send(());
        });
        let interrupted = Arc::new(AtomicBool::new(false));
        let mut worker = Worker::start("test", storage, 2000, interrupted, notify).unwrap();
        for number in 0..1000u32 {
            let request = FileRequest {
                folder: None,
                relative: format!("f/{number}").into(),
                size_bytes: 4,
                version: [0; 16],
            };
            let key = FileKey(number);
            worker.submit(Job::Prepare { key, request }).unwrap();
        }
        let mut published = 0;
        while published < 1000 {
            match next(&mut worker, &wake) {
                Outcome::Prepared {
                    key,
                    result: Ok(Preparation::Fetch { part, .. }),
                } => {
                    let data = key.0.to_be_bytes().to_vec();
                    let root = segment_value(0, 1, &data);
                    let file = Finished {
                        key,
                        part,
                        whole: Some((data, Some(root))),
                    };
                    worker.submit(Job::Finish(file)).unwrap();
                }
                Outcome::Finished { key, result, .. } => {
                    let path = result.unwrap();
                    assert_eq!(std::fs::read(path).unwrap(), key.0.to_be_bytes());
                    published += 1;
                }
                other => panic!("{other:?}"),
            }
        }
        let count = std::fs::read_dir(folder.path().join("f")).unwrap().count();
        assert_eq!(count, 1000);
    }
}
