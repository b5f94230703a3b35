//! What becomes of received segments: hashed, judged, fetched again, published, reported.

use std::sync::Arc;

use columba_core::control::ControlError;
use columba_core::error::CloseReason;
use columba_core::units::Timestamp;

use super::Transfers;
use super::download::{Download, Stage};
use crate::engine::message::{FileReport, GetEvent};
use crate::exit_code::{CHANGED_TWICE, ClientError, UDP_BLOCKED};
use crate::storage::assembly::Gathered;
use crate::storage::finish::Finished;
use crate::storage::verdict::Judged;
use crate::storage::verify::{SegmentJob, SegmentOutcome, segment_value};
use crate::storage::worker::{Job, Outcome};
use crate::storage::{FileKey, Preparation, StorageError};

/// DONE's status: verified and stored, or given up.
const STATUS_STORED: u8 = 0;
pub(super) const STATUS_GIVEN_UP: u8 = 1;

/// Files up to this size are hashed as soon as they are complete: their bytes were decrypted just now, and fetching them
/// into another processor's cache costs as much as hashing them.
const HASHED_AT_ONCE: usize = 16 << 10;

impl Transfers {
    /// All bytes of a segment and the sender's value are here.
    pub(super) fn on_value(&mut self, now: Timestamp, stream: u32, segment: u32) {
        let value = self
            .flow
            .as_ref()
            .and_then(|flow| flow.association.stream(stream)?.hash(segment));
        let Some((value, &key)) = value.zip(self.by_stream.get(stream)) else {
            return;
        };
        let Some(download) = self.downloads.get_mut(&key) else {
            return;
        };
        if download.stage != Stage::Running {
            return;
        }
        if download.is_small() {
            let Some(data) = self.assemblies.take_small(key) else {
                return;
            };
            let at_once = data.len() <= HASHED_AT_ONCE;
            if at_once && segment_value(0, 1, &data) != value {
                self.assemblies.recycle_small(data);
                self.on_small_mismatch(key);
                return;
            }
            download.root = Some(value);
            download.verified_after = now - download.started;
            self.finish(key, Some((data, (!at_once).then_some(value))));
        } else {
            let judged = download.verdict.sent(segment, value);
            self.act(now, key, segment, judged);
        }
    }

    /// Every cell is here: values of segments that were not asked for are judged now.
    pub(super) fn on_stream_complete(&mut self, now: Timestamp, stream: u32) {
        let Some(download) = self
            .by_stream
            .get(stream)
            .and_then(|key| self.downloads.get(key))
        else {
            return;
        };
        for segment in 0..download.segments() {
            self.on_value(now, stream, segment);
        }
    }

    /// Moves complete segments to the hashers.
    pub(super) fn take_gathered(&mut self) {
        while let Some(gathered) = self.assemblies.next_gathered() {
            match gathered {
                Gathered::Failed { key, error } => self.fail(key, error.into()),
                Gathered::Segment {
                    key,
                    index,
                    buffer,
                    len,
                } => {
                    let download = self.downloads.get_mut(&key);
                    let wanted = download.filter(|download| download.stage == Stage::Running);
                    let Some((download, part)) =
                        wanted.and_then(|file| file.part.clone().map(|part| (file, part)))
                    else {
                        self.assemblies.recycle(buffer);
                        continue;
                    };
                    download.hashing += 1;
                    self.window.hashing += 1;
                    self.unhashed.push_back(SegmentJob {
                        key,
                        index,
                        count: download.segments(),
                        buffer,
                        len,
                        part,
                    });
                }
            }
        }
        let Some(helpers) = &self.helpers else { return };
        while let Some(job) = self.unhashed.pop_front() {
            if let Err(job) = helpers.verifier.submit(job) {
                self.unhashed.push_front(*job);
                return;
            }
        }
    }

    /// Takes what the helpers have done.
    pub(super) fn take_outcomes(&mut self, now: Timestamp) {
        while let Some(outcome) = self.helpers.as_ref().and_then(|all| all.verifier.poll()) {
            self.on_hashed(now, outcome);
        }
        while let Some(outcome) = self.helpers.as_mut().and_then(|all| all.preparer.poll()) {
            self.on_outcome(now, outcome);
        }
        while let Some(outcome) = self.helpers.as_mut().and_then(|all| all.finisher.poll()) {
            self.on_outcome(now, outcome);
        }
    }

    fn on_hashed(&mut self, now: Timestamp, outcome: SegmentOutcome) {
        self.assemblies.recycle(outcome.buffer);
        self.active_at = now;
        self.window.hashing = self.window.hashing.saturating_sub(1);
        let key = outcome.key;
        let Some(download) = self.downloads.get_mut(&key) else {
            return;
        };
        download.hashing -= 1;
        if !matches!(download.stage, Stage::Running | Stage::Pausing) {
            self.released(now, key);
            return;
        }
        match outcome.value {
            Ok(value) => {
                let judged = download.verdict.received(outcome.index, value);
                self.act(now, key, outcome.index, judged);
            }
            Err(source) => {
                let path = download.relative.clone();
                self.fail(key, StorageError::io("write", &path, source).into());
            }
        }
        self.checkpoint(now, key, false);
        self.released(now, key);
    }

    /// Helpers have let go of a file that failed, starts over or is being paused.
    fn released(&mut self, now: Timestamp, key: FileKey) {
        let Some(download) = self.downloads.get_mut(&key) else {
            return;
        };
        if download.is_held() {
            return;
        }
        match download.stage {
            Stage::Pausing => self.settle_pause(now, key),
            Stage::Failed => {
                self.downloads.remove(&key);
            }
            Stage::StartingOver => {
                download.stage = Stage::AskedAgain;
                let (request, name) = (download.request, download.name.clone());
                self.ask_again(request, &name);
            }
            Stage::Waiting
            | Stage::Preparing
            | Stage::Ready
            | Stage::Running
            | Stage::Paused
            | Stage::Finishing
            | Stage::AskedAgain => {}
        }
    }

    fn act(&mut self, now: Timestamp, key: FileKey, segment: u32, judged: Judged) {
        match judged {
            Judged::Waiting => {}
            Judged::Verified => self.on_verified(now, key),
            Judged::Bad => {
                tracing::warn!(segment, "a segment does not match; fetching it again");
                self.fetch_again(key, segment);
            }
            Judged::BadAgain => {
                self.fail_integrity(key, "a part of it came twice and matched neither time");
            }
        }
    }

    fn fetch_again(&mut self, key: FileKey, segment: u32) {
        self.assemblies.reopen(key, &[segment]);
        if let Some(download) = self.downloads.get_mut(&key) {
            if let Err(at) = download.bad.binary_search(&segment) {
                download.bad.insert(at, segment);
            }
            self.refetch.push_back(key);
        }
    }

    fn on_verified(&mut self, now: Timestamp, key: FileKey) {
        let Some(download) = self.downloads.get_mut(&key) else {
            return;
        };
        let root = download.verdict.root();
        let prefix = download.grown_prefix();
        if let Some(root) = root {
            download.root = Some(root);
            download.verified_after = now - download.started;
            self.finish(key, None);
        } else if let Some((index, part)) = prefix.zip(download.part.clone()) {
            self.submit_finish(Job::Verified { key, part, index });
        }
    }

    /// Hands a file over to be published.
    fn finish(&mut self, key: FileKey, whole: Option<(Vec<u8>, Option<[u8; 32]>)>) {
        self.leave_window(key);
        if let Some(download) = self.downloads.get_mut(&key)
            && let Some(part) = download.part.clone()
        {
            download.stage = Stage::Finishing;
            self.window.finishing += 1;
            self.submit_finish(Job::Finish(Finished { key, part, whole }));
        }
    }

    pub(super) fn checkpoint(&mut self, now: Timestamp, key: FileKey, at_once: bool) {
        if let Some(download) = self.downloads.get_mut(&key)
            && let Some(part) = download.part.clone()
            && let Some(complete) = download.due_checkpoint(now, at_once)
        {
            self.submit_finish(Job::Checkpoint {
                key,
                part,
                complete,
            });
        }
    }

    fn on_outcome(&mut self, now: Timestamp, outcome: Outcome) {
        self.active_at = now;
        match outcome {
            Outcome::Prepared { key, result } => self.on_prepared(key, result),
            Outcome::Checkpointed { key, result } => {
                if let Err(error) = result {
                    tracing::warn!(%error, "an interrupted download would start from zero");
                }
                if let Some(download) = self.downloads.get_mut(&key) {
                    download.checkpoint_running = false;
                    self.released(now, key);
                }
            }
            Outcome::Failed { key, error } => self.fail(key, error.into()),
            Outcome::Finished {
                key,
                result,
                buffer,
            } => {
                self.window.finishing -= 1;
                if let Some(buffer) = buffer {
                    self.assemblies.recycle_small(buffer);
                }
                match result {
                    Ok(target) => self.report(key, target),
                    Err(error) => self.fail(key, error.into()),
                }
            }
            Outcome::Mismatch { key } => {
                self.window.finishing -= 1;
                self.on_small_mismatch(key);
            }
        }
    }

    fn on_prepared(&mut self, key: FileKey, result: Result<Preparation, StorageError>) {
        let discard = self.discarding.remove(&key);
        let download = self.downloads.get_mut(&key);
        let Some(download) = download.filter(|file| file.stage == Stage::Preparing) else {
            // It failed meanwhile; dropping the part gives its name back.
            if let Ok(Preparation::Fetch { part, .. }) = result
                && discard
            {
                part.discard();
            }
            return;
        };
        let request = self.requests.get_mut(&download.request);
        match result {
            Ok(Preparation::Fetch { part, have }) if request.as_ref().is_some_and(|r| r.paused) => {
                download.prepared(part, have);
                download.stage = Stage::Paused;
                if let Some(request) = request {
                    request.parked.insert(key);
                }
                self.leave_window(key);
            }
            Ok(Preparation::Fetch { part, have }) => {
                let have = download.prepared(Arc::clone(&part), have);
                let size = download.size_bytes;
                self.assemblies.add(key, part, size, &have);
                self.ready.push_back(key);
            }
            Ok(Preparation::Skip { target }) => {
                let (request, file) = (download.request, download.name.clone());
                self.end(key);
                self.tell(request, GetEvent::Skipped { file, target });
                self.end_if_over(request);
            }
            Err(error) => self.fail(key, error.into()),
        }
    }

    fn on_small_mismatch(&mut self, key: FileKey) {
        let Some(download) = self.downloads.get_mut(&key) else {
            return;
        };
        if std::mem::replace(&mut download.small_mismatch, true) {
            self.fail_integrity(key, "it came twice and matched neither time");
        } else {
            download.stage = Stage::Running;
            self.fetch_again(key, 0);
        }
    }

    fn report(&mut self, key: FileKey, target: std::path::PathBuf) {
        self.finish_streams(key, STATUS_STORED);
        let Some(download) = self.downloads.get_mut(&key) else {
            return;
        };
        let now = self.clock.now();
        let (handshake, rtt_p50, rtt_p99) =
            self.flow.as_mut().map_or_else(Default::default, |flow| {
                let handshake = flow.association.handshake_duration().unwrap_or_default();
                let (p50, p99) = flow.rtt_percentiles(now);
                (handshake, p50, p99)
            });
        let report = FileReport {
            file: std::mem::take(&mut download.name),
            target,
            bytes: download.size_bytes,
            elapsed: download.verified_after,
            blake3: download.root.unwrap_or_default(),
            resumed_bytes: download.resumed_bytes,
            packets_received: download.counters.packets,
            packets_duplicate: download.counters.duplicate_packets,
            handshake,
            rtt_p50,
            rtt_p99,
        };
        let request = download.request;
        self.end(key);
        self.tell(request, GetEvent::Done(report));
        self.end_if_over(request);
    }

    /// Tells the server that the streams of a file are over.
    pub(super) fn finish_streams(&mut self, key: FileKey, status: u8) {
        let now = self.clock.now();
        let Some(download) = self.downloads.get_mut(&key) else {
            return;
        };
        for stream in std::mem::take(&mut download.streams) {
            self.by_stream.remove(stream);
            self.assemblies.detach(stream);
            let counters = self
                .flow
                .as_mut()
                .and_then(|flow| flow.association.finish_stream(now, stream, status));
            if let Some(counters) = counters {
                download.add_counters(counters);
            }
        }
    }

    /// Forgets a file that ended, once no helper holds it.
    pub(super) fn end(&mut self, key: FileKey) {
        self.leave_window(key);
        self.assemblies.remove(key);
        let Some(download) = self.downloads.get_mut(&key) else {
            return;
        };
        if let Some(request) = self.requests.get_mut(&download.request) {
            request.unfinished = request.unfinished.saturating_sub(1);
            request.ended_bytes += download.size_bytes;
            request.parked.remove(&key);
        }
        download.stage = Stage::Failed;
        download.part = None;
        self.released(self.clock.now(), key);
    }

    /// The file cannot be had.
    pub(super) fn fail(&mut self, key: FileKey, error: ClientError) {
        let Some(download) = self.downloads.get(&key) else {
            return;
        };
        if download.stage == Stage::Failed {
            return;
        }
        let (request, file) = (download.request, download.name.clone());
        self.checkpoint(self.clock.now(), key, true);
        self.finish_streams(key, STATUS_GIVEN_UP);
        self.end(key);
        if self.is_told(request) {
            self.tell(request, GetEvent::Failed { file, error });
        }
        self.end_if_over(request);
    }

    fn fail_integrity(&mut self, key: FileKey, reason: &'static str) {
        if let Some(download) = self.downloads.get(&key) {
            let name = download.name.clone();
            self.fail(key, ClientError::Integrity { name, reason });
        }
    }

    /// All that is asked for fails for one reason.
    pub(in crate::engine) fn fail_all(&mut self, error: impl Fn() -> ClientError) {
        let mut keys: Vec<FileKey> = self.downloads.keys().copied().collect();
        keys.sort_unstable();
        for key in keys {
            // Files that are complete need nothing from the network.
            let complete = |file: &Download| file.stage == Stage::Finishing;
            if !self.downloads.get(&key).is_some_and(complete) {
                self.fail(key, error());
            }
        }
        let mut ids: Vec<u32> = self.requests.keys().copied().collect();
        ids.sort_unstable();
        self.asking.clear();
        for id in ids {
            let Some(request) = self.requests.get_mut(&id) else {
                continue;
            };
            if std::mem::take(&mut request.unanswered) > 0 {
                let file = String::new();
                let error = error();
                self.tell(id, GetEvent::Failed { file, error });
            }
            self.end_if_over(id);
        }
    }

    /// The server ended a stream.
    pub(in crate::engine) fn on_ended(&mut self, stream: u32, code: ControlError, text: &str) {
        let Some(&key) = self.by_stream.get(stream) else {
            return;
        };
        let Some(download) = self.downloads.get(&key) else {
            return;
        };
        if download.stage != Stage::Running {
            return;
        }
        if code != ControlError::FileChanged {
            let error = ClientError::from_server(code, text);
            self.fail(key, error);
        } else if download.started_over {
            self.fail_integrity(key, CHANGED_TWICE);
        } else {
            self.start_over(key);
        }
    }

    /// What is here of a file belongs to an older state of it.
    pub(super) fn start_over(&mut self, key: FileKey) {
        self.finish_streams(key, STATUS_GIVEN_UP);
        self.leave_window(key);
        self.assemblies.remove(key);
        let Some(download) = self.downloads.get_mut(&key) else {
            return;
        };
        download.started_over = true;
        download.part = None;
        download.stage = Stage::StartingOver;
        let (request, file) = (download.request, download.name.clone());
        self.tell(request, GetEvent::StartsOver { file });
        if let Some(request) = self.requests.get_mut(&request) {
            request.parked.remove(&key);
        }
        self.released(self.clock.now(), key);
    }

    /// The association is over.
    pub(super) fn on_closed(&mut self, reason: CloseReason) {
        self.flow = None;
        self.open_sent = false;
        // Closed by ourselves: it was not needed any more, or belonged to a lost connection.
        let ours = matches!(reason, CloseReason::Finished | CloseReason::Local);
        if ours || self.requests.is_empty() || self.stopping {
            return;
        }
        let server = self.config.server.to_string();
        let make: Box<dyn Fn() -> ClientError> = match reason {
            CloseReason::HandshakeTimeout => Box::new(move || ClientError::Connect {
                server: server.clone(),
                reason: UDP_BLOCKED.to_owned(),
            }),
            CloseReason::Idle => Box::new(|| {
                let text = "nothing was heard from the server any more; run the same command again to go on";
                ClientError::Stalled(text.to_owned())
            }),
            CloseReason::Violation(_) => Box::new(move || ClientError::Server(reason.to_string())),
            CloseReason::Peer | CloseReason::Finished | CloseReason::Local => Box::new(|| {
                let text = "the server ended the transfer; run the same command again to go on";
                ClientError::Stalled(text.to_owned())
            }),
        };
        self.fail_all(make);
    }
}
