//! A thread for everything about files that may block: preparing, checkpoints, finishing.
//!
//! Jobs run in order, so one part's checkpoint never overtakes its end; complete files that wait
//! together are published together. Preparing (which may hash gigabytes) gets a worker of its own.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, Sender, SyncSender, TrySendError, channel, sync_channel};
use std::thread::JoinHandle;

use super::finish::{Finished, Published, finish_batch};
use super::verify::Notify;
use super::{ChainingValue, FileKey, FileRequest, Part, Preparation, Storage, StorageError};

/// Most files that are published together.
const MAX_BATCH: usize = 512;

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
    jobs: Option<SyncSender<Job>>,
    outcomes: Receiver<Outcome>,
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
        let (jobs, waiting) = sync_channel(capacity);
        let (finished, outcomes) = channel();
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let mut turn = Turn {
                    storage,
                    waiting,
                    finished,
                    interrupted,
                    notify,
                };
                turn.run();
            })?;
        Ok(Self {
            jobs: Some(jobs),
            outcomes,
            thread: Some(thread),
        })
    }

    /// Hands a job over, or gives it back when `capacity` jobs wait already.
    ///
    /// # Errors
    /// The job itself.
    pub fn submit(&self, job: Job) -> Result<(), Box<Job>> {
        let Some(jobs) = &self.jobs else {
            return Err(Box::new(job));
        };
        jobs.try_send(job).map_err(|refused| match refused {
            TrySendError::Full(job) | TrySendError::Disconnected(job) => Box::new(job),
        })
    }

    /// The next outcome, if there is one.
    #[must_use]
    pub fn poll(&self) -> Option<Outcome> {
        self.outcomes.try_recv().ok()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A worker that panicked has said so on standard error already.
            let _ = thread.join();
        }
    }
}

struct Turn {
    storage: Arc<dyn Storage>,
    waiting: Receiver<Job>,
    finished: Sender<Outcome>,
    interrupted: Arc<AtomicBool>,
    notify: Notify,
}

impl Turn {
    fn run(&mut self) {
        let mut next = None;
        while let Some(job) = next.take().or_else(|| self.waiting.recv().ok()) {
            let alive = match job {
                Job::Finish(file) => {
                    let (batch, following) = self.gather(file);
                    next = following;
                    self.finish(&batch)
                }
                job @ (Job::Prepare { .. } | Job::Checkpoint { .. } | Job::Verified { .. }) => {
                    self.perform(job)
                }
            };
            if !alive {
                return;
            }
            (self.notify)();
        }
    }

    /// All complete files that wait by now, and the job that came after them.
    fn gather(&self, first: Finished) -> (Vec<Finished>, Option<Job>) {
        let mut batch = vec![first];
        while batch.len() < MAX_BATCH {
            match self.waiting.try_recv() {
                Ok(Job::Finish(file)) => batch.push(file),
                Ok(other) => return (batch, Some(other)),
                Err(_) => break,
            }
        }
        (batch, None)
    }

    fn finish(&self, batch: &[Finished]) -> bool {
        let results = finish_batch(&*self.storage, batch);
        batch.iter().zip(results).all(|(file, result)| {
            let key = file.key;
            self.tell(match result {
                Published::At(path) => Outcome::Finished {
                    key,
                    result: Ok(path),
                },
                Published::Failed(error) => Outcome::Finished {
                    key,
                    result: Err(error),
                },
                Published::Mismatch => Outcome::Mismatch { key },
            })
        })
    }

    fn perform(&self, job: Job) -> bool {
        match job {
            Job::Prepare { key, request } => {
                let result = self.storage.prepare(&request, &self.interrupted);
                self.tell(Outcome::Prepared { key, result })
            }
            Job::Checkpoint {
                key,
                part,
                complete,
            } => {
                let result = part.checkpoint(&complete);
                self.tell(Outcome::Checkpointed { key, result })
            }
            Job::Verified { key, part, index } => match part.verified_up_to(index) {
                Ok(()) => true,
                Err(error) => self.tell(Outcome::Failed { key, error }),
            },
            Job::Finish(file) => self.finish(&[file]),
        }
    }

    fn tell(&self, outcome: Outcome) -> bool {
        self.finished.send(outcome).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::super::disk::DiskStorage;
    use super::super::{Existing, verify::segment_value};
    use super::*;
    use std::sync::mpsc;

    fn next(worker: &Worker, wake: &mpsc::Receiver<()>) -> Outcome {
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
        let worker = Worker::start("test", storage, 2000, interrupted, notify).unwrap();
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
            match next(&worker, &wake) {
                Outcome::Prepared {
                    key,
                    result: Ok(Preparation::Fetch { part, .. }),
                } => {
                    let data = key.0.to_be_bytes().to_vec();
                    let root = segment_value(0, 1, &data);
                    let file = Finished {
                        key,
                        part,
                        whole: Some((data, root)),
                    };
                    worker.submit(Job::Finish(file)).unwrap();
                }
                Outcome::Finished { key, result } => {
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
