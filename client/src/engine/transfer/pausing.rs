//! What a person stops: a download is paused, goes on, or is given up.
//!
//! A paused file keeps its part open and the values of its complete segments; a resume map on the disk
//! says the same to a later run. Segments that were not complete are fetched again.

use columba_core::units::Timestamp;

use super::Transfers;
use super::download::{Download, Stage};
use super::outcomes::STATUS_GIVEN_UP;
use crate::storage::FileKey;

impl Transfers {
    fn keys_of(&self, request: u32) -> Vec<FileKey> {
        let of = |(key, file): (&FileKey, &Download)| (file.request == request).then_some(*key);
        let mut keys: Vec<FileKey> = self.downloads.iter().filter_map(of).collect();
        keys.sort_unstable();
        keys
    }

    /// Receives no more of a download.
    pub(in crate::engine) fn pause(&mut self, now: Timestamp, id: u32) {
        let Some(request) = self.requests.get_mut(&id) else {
            return;
        };
        if request.cancelled || std::mem::replace(&mut request.paused, true) {
            return;
        }
        // Segments that are complete count.
        self.take_gathered();
        for key in self.keys_of(id) {
            self.pause_one(now, key);
        }
        let downloads = &self.downloads;
        let in_stage =
            |key: &FileKey, stage| downloads.get(key).is_some_and(|file| file.stage == stage);
        self.waiting.retain(|key| in_stage(key, Stage::Waiting));
        self.ready.retain(|key| in_stage(key, Stage::Ready));
        self.progress_at = Timestamp::ZERO;
    }

    fn pause_one(&mut self, now: Timestamp, key: FileKey) {
        let Some(download) = self.downloads.get_mut(&key) else {
            return;
        };
        match download.stage {
            Stage::Waiting => download.stage = Stage::Paused,
            Stage::Ready | Stage::Running => {
                download.stage = Stage::Pausing;
                self.finish_streams(key, STATUS_GIVEN_UP);
                self.leave_window(key);
                self.assemblies.remove(key);
                self.settle_pause(now, key);
            }
            // A helper has it, and looks at the request when it is done.
            Stage::Preparing
            | Stage::Finishing
            | Stage::Pausing
            | Stage::Paused
            | Stage::Failed
            | Stage::StartingOver
            | Stage::AskedAgain => {}
        }
    }

    /// A file that is being paused: when no helper holds anything of it, what is here is kept.
    pub(super) fn settle_pause(&mut self, now: Timestamp, key: FileKey) {
        self.checkpoint(now, key, true);
        let Some(download) = self.downloads.get_mut(&key) else {
            return;
        };
        if download.stage != Stage::Pausing || download.is_held() {
            return;
        }
        download.settle();
        let here = download.part.is_some();
        let Some(request) = self.requests.get_mut(&download.request) else {
            return;
        };
        if here {
            request.parked.insert(key);
        }
        self.enqueue(key);
        self.progress_at = Timestamp::ZERO;
    }

    /// Goes on with a paused download.
    pub(in crate::engine) fn resume(&mut self, now: Timestamp, id: u32) {
        let Some(request) = self.requests.get_mut(&id) else {
            return;
        };
        if !std::mem::replace(&mut request.paused, false) {
            return;
        }
        self.active_at = now;
        self.moved_at = now;
        for key in self.keys_of(id) {
            let stage = self.downloads.get(&key).map(|file| file.stage);
            if stage == Some(Stage::Paused) {
                self.enqueue(key);
            }
        }
        self.progress_at = Timestamp::ZERO;
    }

    /// Gives a download up. Files that are complete still get their names.
    pub(in crate::engine) fn cancel(&mut self, now: Timestamp, id: u32, keep: bool) {
        let Some(request) = self.requests.get_mut(&id) else {
            return;
        };
        request.cancelled = true;
        request.paused = false;
        request.unanswered = 0;
        self.asking.forget(id);
        self.take_gathered();
        for key in self.keys_of(id) {
            self.cancel_one(now, key, keep);
        }
        self.end_if_over(id);
    }

    fn cancel_one(&mut self, now: Timestamp, key: FileKey, keep: bool) {
        let Some(download) = self.downloads.get_mut(&key) else {
            return;
        };
        match download.stage {
            Stage::Finishing | Stage::Failed => return,
            Stage::Preparing if !keep => {
                self.discarding.insert(key);
            }
            Stage::Waiting
            | Stage::Preparing
            | Stage::Ready
            | Stage::Running
            | Stage::Pausing
            | Stage::Paused
            | Stage::StartingOver
            | Stage::AskedAgain => {}
        }
        if keep {
            self.checkpoint(now, key, true);
        } else if let Some(part) = &download.part {
            part.discard();
        }
        self.finish_streams(key, STATUS_GIVEN_UP);
        self.end(key);
    }
}
