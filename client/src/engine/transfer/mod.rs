//! Downloads: all files of one client in one association.
//!
//! A file passes through [`download::Stage`]s: offered (`on_offer`), admitted into the window and
//! prepared by a helper (`admit`), asked for (`starts`), received ([`flow`]), hashed and judged
//! segment by segment and given its name ([`outcomes`]). `turn` moves everything that can move.

mod download;
mod flow;
mod outcomes;
mod requests;

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use columba_core::client::ClientEvent;
use columba_core::control::limits::{MAX_GET_NAMES, MAX_STREAM_ID};
use columba_core::control::{ControlError, Grant, StartEntry};
use columba_core::units::Timestamp;
use columba_net::clock::Clock;
use mio::{Registry, Token};

use self::download::{Download, Stage};
use self::flow::{Flow, FlowConfig};
use self::requests::Request;
pub use self::requests::split_output;
use super::message::{EngineConfig, Event, GetEvent, GetProgress};
use crate::exit_code::ClientError;
use crate::storage::assembly::Assemblies;
use crate::storage::verify::{Notify, SegmentJob, Verifier};
use crate::storage::worker::{Job, Worker};
use crate::storage::{FileKey, MAX_FILE_BYTES, StorageError, VersionTag};

/// Segment buffers, 1 MiB each.
const SEGMENT_BUFFERS: usize = 64;
/// Files up to 1 MiB that may be asked for and not complete, and their bytes.
const MAX_SMALL_FILES: u32 = 4096;
const MAX_SMALL_BYTES: u64 = 32 << 20;
/// Complete files that may wait for their names.
const MAX_FINISHING: usize = 8192;
/// Jobs that may wait for a helper: more than all windows together.
const HELPER_QUEUE: usize = 32_768;
/// Names in one Get where few are asked for: each then has its own answer.
const NAMES_ONE_BY_ONE: usize = 256;
/// Names in one Get otherwise, and their bytes.
const NAMES_PER_GET: usize = 1024;
const NAME_BYTES_PER_GET: usize = 32 << 10;
/// Without any progress for so long a download has stalled.
const STALL_AFTER: Duration = Duration::from_secs(60);
/// How often progress is told.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);
/// How long closing the association may take.
const LINGER: Duration = Duration::from_millis(300);

/// A file as the server offers it.
#[derive(Clone, Debug)]
pub(super) struct Offered {
    pub(super) file: u32,
    pub(super) name: String,
    pub(super) size: u64,
    pub(super) version: VersionTag,
}

/// A Get to send: its number and names.
pub(super) type Asked = (u32, Vec<String>);

struct Helpers {
    verifier: Verifier,
    preparer: Worker,
    finisher: Worker,
}

/// What counts against the window.
#[derive(Debug, Default)]
struct Window {
    large: u32,
    small: u32,
    small_bytes: u64,
    finishing: usize,
}

/// All downloads of one client.
pub(super) struct Transfers {
    config: Arc<EngineConfig>,
    clock: Clock,
    notify: Notify,
    interrupted: Arc<AtomicBool>,
    token: Token,
    helpers: Option<Helpers>,
    assemblies: Assemblies,
    /// Segments that found the hashers' queue full.
    unhashed: VecDeque<SegmentJob>,
    requests: HashMap<u32, Request>,
    /// Which request a Get's number belongs to, and its only name if it has just one.
    asked: HashMap<u32, (u32, Option<String>)>,
    next_asked: u32,
    downloads: HashMap<FileKey, Download>,
    next_key: u32,
    waiting: VecDeque<FileKey>,
    ready: VecDeque<FileKey>,
    /// Files with segments to fetch again.
    refetch: VecDeque<FileKey>,
    /// Files to ask for again, for they changed.
    ask_again: VecDeque<(u32, String)>,
    by_stream: HashMap<u32, FileKey>,
    next_stream: u32,
    window: Window,
    flow: Option<Flow>,
    /// The connection whose association `flow` is; streams start on no other.
    flow_epoch: u64,
    epoch: u64,
    open_sent: bool,
    stopping: bool,
    closing_since: Option<Timestamp>,
    active_at: Timestamp,
    new_bytes: u64,
    progress_at: Timestamp,
    out: VecDeque<Event>,
}

impl Transfers {
    pub(super) fn new(
        config: Arc<EngineConfig>,
        clock: Clock,
        notify: Notify,
        interrupted: Arc<AtomicBool>,
        token: Token,
    ) -> Self {
        Self {
            config,
            clock,
            notify,
            interrupted,
            token,
            helpers: None,
            assemblies: Assemblies::new(SEGMENT_BUFFERS),
            unhashed: VecDeque::new(),
            requests: HashMap::new(),
            asked: HashMap::new(),
            next_asked: 1,
            downloads: HashMap::new(),
            next_key: 0,
            waiting: VecDeque::new(),
            ready: VecDeque::new(),
            refetch: VecDeque::new(),
            ask_again: VecDeque::new(),
            by_stream: HashMap::new(),
            next_stream: 1,
            window: Window::default(),
            flow: None,
            flow_epoch: 0,
            epoch: 0,
            open_sent: false,
            stopping: false,
            closing_since: None,
            active_at: Timestamp::ZERO,
            new_bytes: 0,
            progress_at: Timestamp::ZERO,
            out: VecDeque::new(),
        }
    }

    /// What others are to be told.
    pub(super) fn next_event(&mut self) -> Option<Event> {
        self.out.pop_front()
    }

    fn tell(&mut self, request: u32, event: GetEvent) {
        self.out.push_back(Event::Get { request, event });
    }

    /// Whether something is asked for that has not come.
    pub(super) fn is_busy(&self) -> bool {
        !self.requests.is_empty()
    }

    /// Whether files come right now, for which nothing but UDP is needed.
    pub(super) fn is_receiving(&self) -> bool {
        self.flow.is_some() && !self.by_stream.is_empty()
    }

    /// Begins a download; the Gets to send come from `asks`.
    pub(super) fn request(
        &mut self,
        now: Timestamp,
        id: u32,
        names: &[String],
        target: Option<std::path::PathBuf>,
    ) -> Result<(), ClientError> {
        if self.helpers.is_none() {
            self.helpers = Some(self.start_helpers()?);
        }
        self.requests.insert(id, Request::new(names, target));
        self.active_at = now;
        Ok(())
    }

    fn start_helpers(&self) -> Result<Helpers, ClientError> {
        let start = || {
            let worker = |name| {
                let storage = Arc::clone(&self.config.storage);
                let interrupted = Arc::clone(&self.interrupted);
                let notify = Arc::clone(&self.notify);
                Worker::start(name, storage, HELPER_QUEUE, interrupted, notify)
            };
            let threads = Verifier::default_threads();
            Ok(Helpers {
                verifier: Verifier::start(threads, SEGMENT_BUFFERS, &self.notify)?,
                preparer: worker("prepare")?,
                finisher: worker("finish")?,
            })
        };
        start().map_err(|source| ClientError::System {
            action: "start a thread",
            source,
        })
    }

    /// A new connection begins: what was asked on the old one has no answer.
    pub(super) fn on_connecting(&mut self) {
        self.epoch += 1;
        self.open_sent = false;
        self.asked.clear();
        for request in self.requests.values_mut() {
            request.unanswered = 0;
        }
    }

    /// The Gets for a request that was not asked for on this connection.
    pub(super) fn asks(&mut self, id: u32) -> Vec<Asked> {
        let Some(request) = self.requests.get_mut(&id) else {
            return Vec::new();
        };
        let mut gets = Vec::new();
        let one_by_one = request.names().len() <= NAMES_ONE_BY_ONE;
        let limit = if one_by_one { 1 } else { NAMES_PER_GET };
        const { assert!(NAMES_PER_GET <= MAX_GET_NAMES) };
        let mut names: Vec<String> = Vec::new();
        let mut bytes = 0;
        for name in request.names() {
            if names.len() == limit || bytes + name.len() > NAME_BYTES_PER_GET && bytes > 0 {
                gets.push(std::mem::take(&mut names));
                bytes = 0;
            }
            bytes += name.len() + 2;
            names.push(name.to_owned());
        }
        gets.push(names);
        request.unanswered += gets.len();
        gets.into_iter()
            .map(|names| self.number_get(id, names))
            .collect()
    }

    fn number_get(&mut self, id: u32, names: Vec<String>) -> Asked {
        let number = self.next_asked;
        self.next_asked = self.next_asked.wrapping_add(1).max(1);
        let only = match &names[..] {
            [only] => Some(only.clone()),
            _ => None,
        };
        self.asked.insert(number, (id, only));
        (number, names)
    }

    /// All Gets for a new connection.
    pub(super) fn asks_for_all(&mut self) -> Vec<Asked> {
        let mut ids: Vec<u32> = self.requests.keys().copied().collect();
        ids.sort_unstable();
        ids.into_iter().flat_map(|id| self.asks(id)).collect()
    }

    /// Gets for files that changed.
    pub(super) fn asks_again(&mut self) -> Vec<Asked> {
        let mut gets = Vec::new();
        while let Some((id, name)) = self.ask_again.pop_front() {
            if let Some(request) = self.requests.get_mut(&id) {
                request.unanswered += 1;
                gets.push(self.number_get(id, vec![name]));
            }
        }
        gets
    }

    /// Whether an association should be asked for now.
    pub(super) fn wants_open(&mut self) -> bool {
        let wants = self.is_busy() && self.flow.is_none() && !self.open_sent && !self.stopping;
        self.open_sent |= wants;
        wants
    }

    /// The server grants an association.
    pub(super) fn on_grant(
        &mut self,
        now: Timestamp,
        grant: &Grant,
        server_ip: IpAddr,
        rtt: Option<Duration>,
        registry: &Registry,
    ) {
        if self.flow.is_some() || self.stopping {
            return;
        }
        let config = FlowConfig {
            encrypted: self.config.security.is_encrypted(),
            server_ip,
            initial_rtt: rtt,
            max_datagram: self.config.transfer.max_datagram,
            handshake_timeout: self.config.connect_for,
            token: self.token,
        };
        let credit = self.assemblies.credit_bytes();
        match Flow::open(now, grant, &config, credit, registry) {
            Ok(flow) => {
                self.flow = Some(flow);
                self.flow_epoch = self.epoch;
                self.next_stream = 1;
                self.active_at = now;
            }
            Err(source) => self.fail_all(|| ClientError::System {
                action: "open a UDP socket",
                source: std::io::Error::new(source.kind(), source.to_string()),
            }),
        }
    }

    /// A page of offers.
    pub(super) fn on_offer(&mut self, now: Timestamp, get: u32, last: bool, files: Vec<Offered>) {
        let Some((id, _)) = self.asked.get(&get).cloned() else {
            return;
        };
        self.active_at = now;
        for offered in files {
            self.offer_one(id, &offered);
        }
        if last {
            self.answered(get, id);
        }
    }

    fn answered(&mut self, get: u32, id: u32) {
        self.asked.remove(&get);
        if let Some(request) = self.requests.get_mut(&id) {
            request.unanswered = request.unanswered.saturating_sub(1);
        }
        self.end_if_over(id);
    }

    fn offer_one(&mut self, id: u32, offered: &Offered) {
        let Some(request) = self.requests.get_mut(&id) else {
            return;
        };
        if let Some(key) = request.offered.get(&offered.name).copied() {
            self.offered_again(key, offered);
            return;
        }
        let key = FileKey(self.next_key);
        self.next_key += 1;
        request.offered.insert(offered.name.clone(), key);
        request.unfinished += 1;
        request.total_bytes += offered.size;
        let local = request.local_path(&offered.name);
        let too_large = offered.size > MAX_FILE_BYTES;
        let mut download = Download::new(
            id,
            &offered.name,
            offered.file,
            std::path::PathBuf::new(),
            if too_large { 0 } else { offered.size },
            offered.version,
        );
        let refused = match local {
            Ok(_) if too_large => Some(ClientError::Server(format!(
                "the file is too large: {} bytes, at most {MAX_FILE_BYTES} can be fetched",
                offered.size
            ))),
            Ok(local) => {
                download.relative = local;
                None
            }
            Err(error) => Some(error.into()),
        };
        self.downloads.insert(key, download);
        match refused {
            Some(error) => self.fail(key, error),
            None => self.waiting.push_back(key),
        }
    }

    /// The same name once more: after a reconnect, or because the file changed.
    fn offered_again(&mut self, key: FileKey, offered: &Offered) {
        let Some(download) = self.downloads.get_mut(&key) else {
            return;
        };
        let same = download.version == offered.version && download.size_bytes == offered.size;
        download.file = offered.file;
        match download.stage {
            Stage::AskedAgain => {
                download.reset(
                    offered.file,
                    offered.size.min(MAX_FILE_BYTES),
                    offered.version,
                );
                self.waiting.push_back(key);
            }
            Stage::Waiting => {
                download.size_bytes = offered.size.min(MAX_FILE_BYTES);
                download.version = offered.version;
            }
            Stage::Ready if !same => self.start_over(key),
            Stage::Ready
            | Stage::Preparing
            | Stage::Running
            | Stage::Finishing
            | Stage::Failed
            | Stage::StartingOver => {}
        }
    }

    /// The server refused a Get, or one name of it.
    pub(super) fn on_refused(&mut self, get: u32, code: ControlError, text: &str) -> bool {
        let Some((id, only)) = self.asked.get(&get).cloned() else {
            return false;
        };
        let error = ClientError::from_server(code, text);
        let file = only.clone().unwrap_or_default();
        // The name may be one that was there and has changed.
        let known = self
            .requests
            .get(&id)
            .and_then(|request| request.offered.get(&file))
            .copied();
        match known {
            Some(key) => self.fail(key, error),
            None => self.tell(id, GetEvent::Failed { file, error }),
        }
        if only.is_some() {
            self.answered(get, id);
        }
        true
    }

    fn end_if_over(&mut self, id: u32) {
        if self.requests.get(&id).is_some_and(Request::is_over) {
            self.requests.remove(&id);
            self.tell(id, GetEvent::Finished);
        }
    }

    /// Lets files that fit the window be prepared.
    fn admit(&mut self) {
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
            let request = crate::storage::FileRequest {
                relative: download.relative.clone(),
                size_bytes: download.size_bytes,
                version: download.version,
            };
            self.submit_prepare(Job::Prepare { key, request });
        }
    }

    fn leave_window(&mut self, key: FileKey) {
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

    /// Streams to start, in both the association and (by the caller) over control.
    pub(super) fn starts(&mut self, now: Timestamp) -> Vec<StartEntry> {
        let mut entries = Vec::new();
        if self.flow.is_none() || self.flow_epoch != self.epoch || self.stopping {
            return entries;
        }
        while let Some(key) = self.refetch.pop_front() {
            let bad = match self.downloads.get_mut(&key) {
                Some(download) if download.stage == Stage::Running => {
                    std::mem::take(&mut download.bad)
                }
                Some(_) | None => continue,
            };
            entries.extend(self.start_one(now, key, Some(&bad)));
        }
        while let Some(key) = self.ready.pop_front() {
            entries.extend(self.start_one(now, key, None));
        }
        entries
    }

    fn start_one(
        &mut self,
        now: Timestamp,
        key: FileKey,
        bad: Option<&[u32]>,
    ) -> Option<StartEntry> {
        let (download, flow) = (self.downloads.get_mut(&key)?, self.flow.as_mut()?);
        let missing = match bad {
            Some(bad) => download::join_ranges(bad.iter().copied()),
            None => download.missing(),
        };
        if bad.is_none() {
            if download.stage != Stage::Ready {
                return None;
            }
            download.stage = Stage::Running;
            download.started = if self.by_stream.is_empty() && self.next_stream == 1 {
                flow.started
            } else {
                now
            };
            download.start_checkpoints(now);
        }
        let stream = self.next_stream;
        let started = if stream > MAX_STREAM_ID {
            Err("this connection has no stream numbers left; run the same command again".to_owned())
        } else {
            flow.association
                .start_stream(now, stream, download.size_bytes, &to_core(&missing))
                .map_err(|error| error.to_string())
        };
        if let Err(error) = started {
            self.fail(key, ClientError::Server(error));
            return None;
        }
        self.next_stream += 1;
        download.streams.push(stream);
        let file = download.file;
        self.by_stream.insert(stream, key);
        self.assemblies.attach(stream, key, bad);
        Some(StartEntry {
            stream,
            file,
            missing,
        })
    }

    /// Moves everything that can move. Call after every event.
    pub(super) fn turn(&mut self, now: Timestamp) {
        if let Some(flow) = &mut self.flow {
            if !self.stopping {
                flow.receive(self.clock, &mut self.assemblies);
            }
            flow.on_time(now, self.assemblies.credit_bytes());
        }
        self.take_flow_events(now);
        self.take_gathered();
        self.take_outcomes(now);
        if self.stopping {
            self.keep_what_is_there(now);
        } else {
            self.watch(now);
            self.admit();
            self.tell_progress(now);
            self.retire_flow(now);
        }
    }

    fn take_flow_events(&mut self, now: Timestamp) {
        while let Some(event) = self
            .flow
            .as_mut()
            .and_then(|flow| flow.association.poll_event())
        {
            match event {
                ClientEvent::Established => self.active_at = now,
                ClientEvent::SegmentComplete { stream, segment } => {
                    self.on_value(now, stream, segment);
                }
                ClientEvent::StreamComplete { stream } => self.on_stream_complete(now, stream),
                ClientEvent::StreamReset { stream, end } => {
                    let code = ControlError::from_code(end.code());
                    self.on_ended(stream, code, &end.to_string());
                }
                ClientEvent::Closed(reason) => {
                    self.on_closed(reason);
                    return;
                }
            }
        }
    }

    /// The association of an earlier connection ends with its last stream.
    fn retire_flow(&mut self, now: Timestamp) {
        let old = self.flow_epoch != self.epoch && self.by_stream.is_empty();
        if old && let Some(flow) = &mut self.flow {
            flow.association.close(now);
            flow.on_time(now, 0);
            self.flow = None;
        }
    }

    /// Notices when nothing moves any more.
    fn watch(&mut self, now: Timestamp) {
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

    fn tell_progress(&mut self, now: Timestamp) {
        if now < self.progress_at || self.requests.is_empty() {
            return;
        }
        self.progress_at = now + PROGRESS_EVERY;
        let mut all: HashMap<u32, GetProgress> = HashMap::new();
        for (id, request) in &self.requests {
            let progress = GetProgress {
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

    /// When `turn` must be called at the latest.
    pub(super) fn deadline(&self, now: Timestamp) -> Option<Timestamp> {
        let flow = self.flow.as_ref();
        if flow.is_some_and(Flow::has_more) && !self.stopping {
            return Some(now);
        }
        let association = flow.and_then(|flow| flow.association.poll_timeout());
        let progress = self.is_busy().then(|| self.progress_at.max(now));
        let linger = self.closing_since.map(|since| since + LINGER);
        [association, progress, linger].into_iter().flatten().min()
    }

    /// Keeps what can be resumed and receives no more.
    pub(super) fn stop(&mut self) {
        self.stopping = true;
        self.interrupted.store(true, Ordering::Relaxed);
    }

    fn keep_what_is_there(&mut self, now: Timestamp) {
        let mut jobs = Vec::new();
        for (key, download) in &mut self.downloads {
            if download.hashing == 0
                && let Some(complete) = download.due_checkpoint(now, true)
                && let Some(part) = &download.part
            {
                jobs.push(Job::Checkpoint {
                    key: *key,
                    part: Arc::clone(part),
                    complete,
                });
            }
        }
        for job in jobs {
            self.submit_finish(job);
        }
    }

    /// After `stop`: whether everything is kept.
    pub(super) fn is_kept(&self) -> bool {
        self.unhashed.is_empty()
            && !self
                .downloads
                .values()
                .any(|file| file.is_held() || file.stage == Stage::Finishing)
    }

    /// Ends the association; returns whether that is done.
    pub(super) fn close(&mut self, now: Timestamp) -> bool {
        let since = *self.closing_since.get_or_insert(now);
        let Some(flow) = &mut self.flow else {
            return true;
        };
        flow.association.close(now);
        flow.receive(self.clock, &mut self.assemblies);
        flow.on_time(now, 0);
        flow.association.is_closed() || now >= since + LINGER
    }

    fn helpers(&self) -> Option<&Helpers> {
        self.helpers.as_ref()
    }

    /// Queues are larger than all windows: a refused job is a fault of ours and fails its file.
    fn submit_prepare(&mut self, job: Job) {
        if let Some(helpers) = self.helpers()
            && let Err(job) = helpers.preparer.submit(job)
        {
            self.fail_job(*job);
        }
    }

    fn submit_finish(&mut self, job: Job) {
        if let Some(helpers) = self.helpers()
            && let Err(job) = helpers.finisher.submit(job)
        {
            self.fail_job(*job);
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

fn to_core(
    missing: &[columba_core::control::SegmentRange],
) -> Vec<columba_core::layout::SegmentRange> {
    missing
        .iter()
        .map(|range| columba_core::layout::SegmentRange {
            first: range.first,
            count: range.count,
        })
        .collect()
}
