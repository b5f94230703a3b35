//! Helper threads for whatever may block: opening, reading ahead, hashing.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Work for a helper thread. It reports by itself.
type Job = Box<dyn FnOnce() + Send>;

/// Which jobs go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// A sender waits for it: opening, reading ahead. One thread does nothing else.
    Urgent,
    /// Hashing.
    Background,
}

#[derive(Default)]
struct Queues {
    urgent: VecDeque<Job>,
    background: VecDeque<Job>,
    /// The thread for urgent jobs waits, and no job has called it yet.
    urgent_waits: bool,
    stopping: bool,
}

/// A job wakes one thread: each needless wake-up takes a processor from the loop.
#[derive(Default)]
struct Shared {
    queues: Mutex<Queues>,
    /// For the thread that does nothing but urgent jobs.
    urgent: Condvar,
    /// For all others.
    general: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queues> {
        // A job that panicked held no lock; the queues are whole.
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn submit(&self, priority: Priority, job: Job) {
        let mut queues = self.lock();
        let who = match priority {
            Priority::Urgent => {
                queues.urgent.push_back(job);
                if std::mem::take(&mut queues.urgent_waits) {
                    &self.urgent
                } else {
                    &self.general
                }
            }
            Priority::Background => {
                queues.background.push_back(job);
                &self.general
            }
        };
        drop(queues);
        who.notify_one();
    }

    fn stop(&self) {
        let mut queues = self.lock();
        queues.stopping = true;
        queues.urgent.clear();
        queues.background.clear();
        drop(queues);
        self.urgent.notify_all();
        self.general.notify_all();
    }
}

/// The threads. Dropping it lets them finish the job at hand and forgets the others.
pub struct Workers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl std::fmt::Debug for Workers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Workers")
            .field("threads", &self.threads.len())
            .finish_non_exhaustive()
    }
}

impl Workers {
    /// One thread for urgent jobs and `general` for all.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(general: usize) -> std::io::Result<Self> {
        let mut workers = Self {
            shared: Arc::default(),
            threads: Vec::new(),
        };
        for index in 0..=general {
            let shared = Arc::clone(&workers.shared);
            let urgent_only = index == 0;
            let name = format!("columba-file-{index}");
            let thread = std::thread::Builder::new()
                .name(name)
                .spawn(move || work(&shared, urgent_only))?;
            workers.threads.push(thread);
        }
        Ok(workers)
    }

    /// Has a job done.
    pub fn submit(&self, priority: Priority, job: impl FnOnce() + Send + 'static) {
        self.shared.submit(priority, Box::new(job));
    }

    /// A handle with which jobs can submit further jobs.
    #[must_use]
    pub fn submitter(&self) -> Submitter {
        Submitter(Arc::clone(&self.shared))
    }
}

/// Submits jobs from within jobs.
#[derive(Clone)]
pub struct Submitter(Arc<Shared>);

impl std::fmt::Debug for Submitter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Submitter").finish_non_exhaustive()
    }
}

impl Submitter {
    /// Has a background job done.
    pub fn submit_background(&self, job: impl FnOnce() + Send + 'static) {
        self.0.submit(Priority::Background, Box::new(job));
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.shared.stop();
        for thread in self.threads.drain(..) {
            // A panic was printed already.
            let _ = thread.join();
        }
    }
}

fn work(shared: &Shared, urgent_only: bool) {
    let mut queues = shared.lock();
    loop {
        if queues.stopping {
            return;
        }
        let job = match queues.urgent.pop_front() {
            None if !urgent_only => queues.background.pop_front(),
            job => job,
        };
        queues = match job {
            Some(job) => {
                drop(queues);
                job();
                shared.lock()
            }
            None => {
                queues.urgent_waits |= urgent_only;
                let called = if urgent_only {
                    &shared.urgent
                } else {
                    &shared.general
                };
                called.wait(queues).unwrap_or_else(PoisonError::into_inner)
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn urgent_jobs_pass_background_jobs_that_hold_every_other_thread() {
        let workers = Workers::start(1).expect("threads");
        let (release, held) = mpsc::channel::<()>();
        let (done, results) = mpsc::channel();
        let later = done.clone();
        workers.submit(Priority::Background, move || {
            // Ends when the sender is dropped.
            let _ = held.recv();
            let _ = later.send("background");
        });
        workers.submit(Priority::Urgent, move || {
            let _ = done.send("urgent");
        });
        assert_eq!(results.recv(), Ok("urgent"));
        drop(release);
        assert_eq!(results.recv(), Ok("background"));
    }

    #[test]
    fn urgent_jobs_are_done_side_by_side() {
        let workers = Workers::start(2).expect("threads");
        let (met, results) = mpsc::channel();
        // Each ends when all three threads are at one.
        let all = std::sync::Arc::new(std::sync::Barrier::new(3));
        for _ in 0..200 {
            for _ in 0..3 {
                let (all, met) = (std::sync::Arc::clone(&all), met.clone());
                workers.submit(Priority::Urgent, move || {
                    all.wait();
                    let _ = met.send(());
                });
            }
            for _ in 0..3 {
                assert_eq!(results.recv(), Ok(()));
            }
        }
    }

    #[test]
    fn jobs_can_submit_jobs_and_dropping_ends_the_threads() {
        let workers = Workers::start(2).expect("threads");
        let (done, results) = mpsc::channel();
        let submitter = workers.submitter();
        workers.submit(Priority::Background, move || {
            submitter.submit_background(move || {
                let _ = done.send(());
            });
        });
        assert_eq!(results.recv(), Ok(()));
        drop(workers);
    }
}
