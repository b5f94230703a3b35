//! What people are told while files come, and when it is clear that none comes any more.

use std::collections::HashMap;
use std::time::Duration;

use columba_core::units::Timestamp;

use super::Transfers;
use super::download::{Download, Stage};
use crate::engine::message::{GetEvent, GetPhase, GetProgress};
use crate::exit_code::ClientError;

/// Without any progress for so long a download has stalled.
const STALL_AFTER: Duration = Duration::from_secs(60);
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
        if new_bytes != self.new_bytes || self.requests.is_empty() {
            self.new_bytes = new_bytes;
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

    /// Tells how far each request is, a few times a second.
    pub(super) fn tell_progress(&mut self, now: Timestamp) {
        if now < self.progress_at || self.requests.is_empty() {
            return;
        }
        self.progress_at = now + PROGRESS_EVERY;
        let mut all: HashMap<u32, GetProgress> = HashMap::new();
        for (id, request) in &self.requests {
            let progress = GetProgress {
                phase: GetPhase::Active,
                done_bytes: request.ended_bytes,
                total_bytes: request.total_bytes,
                done_files: request.offered.len() - request.unfinished,
                total_files: request.offered.len(),
                current: String::new(),
            };
            all.insert(*id, progress);
        }
        for key in self.by_stream.values() {
            let Some(download) = self.downloads.get(key) else {
                continue;
            };
            let streams = download.streams.iter().filter_map(|stream| {
                let flow = self.flow.as_ref()?;
                Some(flow.association.stream(*stream)?.counters().bytes)
            });
            let here = download.resumed_bytes + download.received_bytes + streams.sum::<u64>();
            if let Some(progress) = all.get_mut(&download.request) {
                progress.done_bytes += here.min(download.size_bytes);
                if progress.current.is_empty() {
                    progress.current.clone_from(&download.name);
                }
            }
        }
        for (id, progress) in all {
            self.tell(id, GetEvent::Progress(progress));
        }
    }
}
