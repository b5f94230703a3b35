//! What people are told while files come, and when it is clear that none comes any more.

use std::collections::HashMap;
use std::time::Duration;

use columba_core::units::Timestamp;

use super::Transfers;
use super::download::{Download, Stage};
use super::requests::Request;
use crate::engine::message::{GetEvent, GetPhase, GetProgress};
use crate::exit_code::ClientError;

/// Without any progress for so long a download has stalled.
const STALL_AFTER: Duration = Duration::from_secs(60);
/// Without new bytes for so long a person is told that it hangs.
const HANGS_AFTER: Duration = Duration::from_secs(3);
/// How often progress is told.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

impl Transfers {
    /// Notices when nothing moves any more.
    pub(super) fn watch(&mut self, now: Timestamp) {
        let new_bytes = self
            .flow
            .as_ref()
            .map_or(0, |flow| flow.association.stats().new_bytes);
        let held = |download: &Download| {
            download.is_held() || matches!(download.stage, Stage::Preparing | Stage::Finishing)
        };
        if new_bytes != self.new_bytes {
            self.new_bytes = new_bytes;
            self.moved_at = now;
            self.active_at = now;
        } else if !self.wants_files() {
            self.active_at = now;
        } else if now >= self.active_at + STALL_AFTER {
            if self.downloads.values().any(held) {
                self.active_at = now;
            } else {
                self.fail_all(|| {
                    let text = "nothing has come for a minute; run the same command again to go on";
                    ClientError::Stalled(text.to_owned())
                });
            }
        }
    }

    /// Tells how far each request is, a few times a second while that changes.
    pub(super) fn tell_progress(&mut self, now: Timestamp) {
        if now < self.progress_at || self.requests.is_empty() {
            self.progress_due = true;
            return;
        }
        self.progress_at = now + PROGRESS_EVERY;
        self.progress_due = false;
        let mut all: HashMap<u32, GetProgress> = HashMap::new();
        for (id, request) in &self.requests {
            let parked = request.parked.iter();
            let here = parked.filter_map(|key| self.downloads.get(key));
            let parked_bytes: u64 = here.map(|file| file.resumed_bytes).sum();
            let progress = GetProgress {
                phase: GetPhase::Queued,
                done_bytes: request.ended_bytes + parked_bytes,
                total_bytes: request.total_bytes,
                done_files: request.offered.len() - request.unfinished,
                total_files: request.offered.len(),
                current: String::new(),
            };
            all.insert(*id, progress);
        }
        let hangs = now - self.moved_at >= HANGS_AFTER;
        for key in self.by_stream.values() {
            let Some(download) = self.downloads.get(key) else {
                continue;
            };
            let Some(progress) = all.get_mut(&download.request) else {
                continue;
            };
            let here = self.bytes_here(download);
            progress.done_bytes += here;
            let comes = download.stage == Stage::Running && here < download.size_bytes;
            if comes && hangs {
                progress.phase = GetPhase::Stalled;
            } else if comes {
                progress.phase = GetPhase::Active;
            } else if progress.phase == GetPhase::Queued {
                progress.phase = GetPhase::Verifying;
            }
            if comes && progress.current.is_empty() {
                progress.current.clone_from(&download.name);
            }
        }
        for (id, mut progress) in all {
            let Some(request) = self.requests.get(&id) else {
                continue;
            };
            progress.phase = self.phase_of(id, request, progress.phase);
            let changed = request.told != progress;
            if changed && !request.cancelled {
                if let Some(request) = self.requests.get_mut(&id) {
                    request.told.clone_from(&progress);
                }
                self.tell(id, GetEvent::Progress(progress));
            }
        }
    }

    fn bytes_here(&self, download: &Download) -> u64 {
        let streams = download.streams.iter().filter_map(|stream| {
            let flow = self.flow.as_ref()?;
            Some(flow.association.stream(*stream)?.counters().bytes)
        });
        let here = download.resumed_bytes + download.received_bytes + streams.sum::<u64>();
        here.min(download.size_bytes)
    }

    /// What a request does for which its streams alone do not speak.
    fn phase_of(&self, id: u32, request: &Request, by_streams: GetPhase) -> GetPhase {
        if request.paused {
            return GetPhase::Paused;
        }
        if by_streams != GetPhase::Queued {
            return by_streams;
        }
        let mut of = self.downloads.values().filter(|file| file.request == id);
        let busy = of.find_map(|file| match file.stage {
            Stage::Preparing => Some(GetPhase::Preparing),
            Stage::Finishing => Some(GetPhase::Verifying),
            Stage::Waiting
            | Stage::Ready
            | Stage::Running
            | Stage::Pausing
            | Stage::Paused
            | Stage::Failed
            | Stage::StartingOver
            | Stage::AskedAgain => None,
        });
        busy.unwrap_or(GetPhase::Queued)
    }
}
