//! How many files are under way at the same time, and the helpers that work for them.

use super::Transfers;
use super::download::Stage;
use super::requests::Request;
use crate::storage::verify::Verifier;
use crate::storage::worker::{Job, Worker};
use crate::storage::{FileKey, FileRequest, StorageError};

/// Files up to 1 MiB that may be asked for and not complete, and their bytes.
const MAX_SMALL_FILES: u32 = 4096;
const MAX_SMALL_BYTES: u64 = 32 << 20;
/// Complete files that may wait for their names.
const MAX_FINISHING: usize = 8192;

/// Threads for what may block.
pub(super) struct Helpers {
    pub(super) verifier: Verifier,
    pub(super) preparer: Worker,
    pub(super) finisher: Worker,
}

/// What counts against the window.
#[derive(Debug, Default)]
pub(super) struct Window {
    large: u32,
    small: u32,
    small_bytes: u64,
    pub(super) finishing: usize,
    /// Segments with the hashers.
    pub(super) hashing: u64,
}

impl Transfers {
    /// Puts an offered file where it belongs: into the queue, or aside when its download is paused.
    pub(super) fn enqueue(&mut self, key: FileKey) {
        let Some(download) = self.downloads.get_mut(&key) else {
            return;
        };
        let request = self.requests.get(&download.request);
        if request.is_some_and(|request| request.paused) {
            download.stage = Stage::Paused;
        } else {
            download.stage = Stage::Waiting;
            self.waiting.push_back(key);
        }
    }

    /// Lets files that fit the window be prepared.
    pub(super) fn admit(&mut self) {
        while let Some(&key) = self.waiting.front() {
            let Some(download) = self.downloads.get_mut(&key) else {
                self.waiting.pop_front();
                continue;
            };
            let fits = if download.is_large() {
                self.window.large < self.config.transfer.jobs
            } else {
                self.window.small < MAX_SMALL_FILES
                    && self.window.small_bytes + download.size_bytes <= MAX_SMALL_BYTES
            };
            if !fits || self.window.finishing >= MAX_FINISHING || self.stopping {
                return;
            }
            self.waiting.pop_front();
            download.stage = Stage::Preparing;
            download.admitted = true;
            if download.is_large() {
                self.window.large += 1;
            } else {
                self.window.small += 1;
                self.window.small_bytes += download.size_bytes;
            }
            if let Some(part) = download.part.clone() {
                // It was paused: all that a helper could find is known.
                let have: Vec<_> = download.verdict.complete().collect();
                download.stage = Stage::Ready;
                self.assemblies.add(key, part, download.size_bytes, &have);
                self.ready.push_back(key);
                continue;
            }
            let folder = self
                .requests
                .get(&download.request)
                .and_then(Request::folder);
            let request = FileRequest {
                relative: download.relative.clone(),
                folder,
                size_bytes: download.size_bytes,
                version: download.version,
            };
            self.submit_prepare(Job::Prepare { key, request });
        }
    }

    pub(super) fn leave_window(&mut self, key: FileKey) {
        if let Some(download) = self.downloads.get_mut(&key)
            && std::mem::take(&mut download.admitted)
        {
            if download.is_large() {
                self.window.large -= 1;
            } else {
                self.window.small -= 1;
                self.window.small_bytes -= download.size_bytes;
            }
        }
    }

    /// Queues are larger than all windows: a refused job is a fault of ours and fails its file.
    fn submit_prepare(&mut self, job: Job) {
        if let Some(helpers) = &mut self.helpers
            && let Err(job) = helpers.preparer.submit(job)
        {
            self.fail_job(*job);
        }
    }

    pub(super) fn submit_finish(&mut self, job: Job) {
        if let Some(helpers) = &mut self.helpers
            && let Err(job) = helpers.finisher.submit(job)
        {
            self.fail_job(*job);
        }
    }

    /// Gives the helpers what there is to do. Call when nothing is left to do here.
    pub(in crate::engine) fn hand_over(&mut self) {
        if let Some(helpers) = &mut self.helpers {
            helpers.preparer.hand_over();
            helpers.finisher.hand_over();
        }
    }

    fn fail_job(&mut self, job: Job) {
        let key = match job {
            Job::Prepare { key, .. } => key,
            Job::Finish(finished) => finished.key,
            // These only cost a later resume, or come again with the next segment.
            Job::Checkpoint { key, .. } | Job::Verified { key, .. } => {
                if let Some(download) = self.downloads.get_mut(&key) {
                    download.checkpoint_running = false;
                }
                return;
            }
        };
        let path = std::path::Path::new("the file");
        let busy = std::io::Error::other("the disk helper does not keep up");
        self.fail(key, StorageError::io("finish", path, busy).into());
    }
}
