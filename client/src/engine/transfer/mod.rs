//! Downloads: all files of one client in one association.
//!
//! A file passes through [`download::Stage`]s: offered (`on_offer`), admitted into the [`window`] and
//! prepared by a helper, asked for (`starts`), received ([`flow`]), hashed and judged segment by
//! segment and given its name ([`outcomes`]). `turn` moves everything that can move. A person may
//! stop some of it ([`pausing`]) and is told how it goes ([`watch`], [`sampling`]).

mod asking;
mod download;
mod downloads;
mod flow;
mod outcomes;
mod pausing;
mod requests;
mod sampling;
mod watch;
mod window;

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use columba_core::client::ClientEvent;
use columba_core::control::limits::MAX_STREAM_ID;
use columba_core::control::{ControlError, Grant, StartEntry, agreed_cipher, features_here};
use columba_core::protection::Cipher;
use columba_core::units::Timestamp;
use columba_net::clock::Clock;
use foldhash::fast::RandomState;
use mio::{Registry, Token};

pub(super) use self::asking::Asked;
use self::asking::Asking;
use self::download::Stage;
use self::downloads::Downloads;
use self::flow::{Flow, FlowConfig};
pub(super) use self::requests::GetOrder;
use self::requests::Request;
pub use self::requests::split_output;
use self::sampling::Sampler;
use self::window::{Helpers, Window};
use super::message::{EngineConfig, Event, GetEvent};
use crate::exit_code::ClientError;
use crate::numbered::Numbered;
use crate::storage::assembly::Assemblies;
use crate::storage::verify::{Notify, SegmentJob, Verifier};
use crate::storage::worker::{Job, Worker};
use crate::storage::{FileKey, VersionTag};

/// Segment buffers, 1 MiB each.
const SEGMENT_BUFFERS: usize = 64;
/// Jobs that may wait for a helper: more than all windows together.
const HELPER_QUEUE: usize = 16_384;
/// Starts go out together, at most so often: servers count frames.
const START_EVERY: Duration = Duration::from_millis(5);
/// When a refused Open is repeated.
const OPEN_AGAIN_AFTER: Duration = Duration::from_millis(200);
/// How often it is repeated.
const MAX_OPENS: u32 = 50;
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
    requests: HashMap<u32, Request, RandomState>,
    asking: Asking,
    downloads: Downloads,
    next_key: u32,
    waiting: VecDeque<FileKey>,
    ready: VecDeque<FileKey>,
    /// Files with segments to fetch again.
    refetch: VecDeque<FileKey>,
    by_stream: Numbered<FileKey>,
    next_stream: u32,
    /// What seals the packets of the next association.
    cipher: Cipher,
    window: Window,
    flow: Option<Flow>,
    /// The connection whose association `flow` is; streams start on no other.
    flow_epoch: u64,
    epoch: u64,
    open_sent: bool,
    /// No Open goes out before.
    open_at: Timestamp,
    open_tries: u32,
    stopping: bool,
    closing_since: Option<Timestamp>,
    active_at: Timestamp,
    new_bytes: u64,
    /// When the last new bytes came.
    moved_at: Timestamp,
    progress_at: Timestamp,
    /// Something may have changed since progress was told last.
    progress_due: bool,
    /// Given up while a helper prepared them: what it finds is removed.
    discarding: HashSet<FileKey, RandomState>,
    sampler: Sampler,
    /// No Start goes out before.
    start_at: Timestamp,
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
            requests: HashMap::default(),
            asking: Asking::default(),
            downloads: Downloads::default(),
            next_key: 0,
            waiting: VecDeque::new(),
            ready: VecDeque::new(),
            refetch: VecDeque::new(),
            by_stream: Numbered::default(),
            next_stream: 1,
            cipher: Cipher::Aes128Gcm,
            window: Window::default(),
            flow: None,
            flow_epoch: 0,
            epoch: 0,
            open_sent: false,
            open_at: Timestamp::ZERO,
            open_tries: 0,
            stopping: false,
            closing_since: None,
            active_at: Timestamp::ZERO,
            new_bytes: 0,
            moved_at: Timestamp::ZERO,
            progress_at: Timestamp::ZERO,
            progress_due: false,
            discarding: HashSet::default(),
            sampler: Sampler::default(),
            start_at: Timestamp::ZERO,
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
        order: GetOrder,
    ) -> Result<(), ClientError> {
        if self.helpers.is_none() {
            self.helpers = Some(self.start_helpers()?);
        }
        let mut request = Request::new(order);
        request.unanswered = self.asking.add(id, &request.names());
        self.requests.insert(id, request);
        self.active_at = now;
        self.moved_at = now;
        Ok(())
    }

    /// Whether something is asked for that is not paused.
    fn wants_files(&self) -> bool {
        self.requests.values().any(|request| !request.paused)
    }

    /// Whether anybody wants to hear of this request.
    fn is_told(&self, id: u32) -> bool {
        self.requests
            .get(&id)
            .is_some_and(|request| !request.cancelled)
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

    /// The server has let us in and says what it offers.
    pub(super) fn on_welcome(&mut self, features: u32) {
        self.cipher = agreed_cipher(features_here(), features);
    }

    /// Whether an association should be asked for now.
    pub(super) fn wants_open(&mut self) -> bool {
        let now = self.clock.now();
        let wants = self.wants_files() && self.flow.is_none() && !self.open_sent && !self.stopping;
        let wants = wants && now >= self.open_at;
        self.open_sent |= wants;
        wants
    }

    /// When the server has not forgotten our last association yet, another one is asked for a
    /// little later; `false` when that is not why it refused.
    pub(super) fn open_later(&mut self, now: Timestamp) -> bool {
        let again = self.open_sent && self.flow_epoch == self.epoch && self.open_tries < MAX_OPENS;
        if again {
            self.open_tries += 1;
            self.open_sent = false;
            self.open_at = now + OPEN_AGAIN_AFTER;
        }
        again
    }

    /// The server grants an association.
    pub(super) fn on_grant(
        &mut self,
        now: Timestamp,
        grant: &Grant,
        peer: SocketAddr,
        rtt: Option<Duration>,
        registry: &Registry,
    ) {
        if self.flow.is_some() || self.stopping {
            return;
        }
        let config = FlowConfig {
            cipher: self.config.security.is_encrypted().then_some(self.cipher),
            // UDP has the number that TCP was reached at: the grant's is the server's own, which is
            // another one behind a relay or a forwarded port.
            server: peer,
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
                self.open_tries = 0;
                self.next_stream = 1;
                self.active_at = now;
            }
            Err(source) => self.fail_all(|| ClientError::System {
                action: "open a UDP socket",
                source: std::io::Error::new(source.kind(), source.to_string()),
            }),
        }
    }

    /// Streams to start, in both the association and (by the caller) over control.
    pub(super) fn starts(&mut self, now: Timestamp) -> Vec<StartEntry> {
        let mut entries = Vec::new();
        if !self.may_start() || now < self.start_at {
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
        if !entries.is_empty() {
            self.start_at = now + START_EVERY;
        }
        entries
    }

    /// Whether there is something to start, and an association of this connection to start it in.
    fn may_start(&self) -> bool {
        let wanted = !self.ready.is_empty() || !self.refetch.is_empty();
        let granted = self.flow.is_some() && self.flow_epoch == self.epoch;
        wanted && granted && !self.stopping && self.closing_since.is_none()
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
        if let Some(request) = self.requests.get_mut(&download.request) {
            request.parked.remove(&key);
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
            self.sample(now);
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
                ClientEvent::Established => {
                    tracing::debug!("the association is established");
                    self.active_at = now;
                }
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

    /// An association ends with its last stream when it is of an earlier connection, or when
    /// nothing is asked for; `Closed` follows.
    fn retire_flow(&mut self, now: Timestamp) {
        let unused = self.flow_epoch != self.epoch || !self.wants_files();
        if unused
            && self.by_stream.is_empty()
            && let Some(flow) = &mut self.flow
        {
            flow.association.close(now);
            flow.on_time(now, 0);
        }
    }

    /// When `turn` must be called at the latest.
    pub(super) fn deadline(&self, now: Timestamp) -> Option<Timestamp> {
        let flow = self.flow.as_ref();
        if flow.is_some_and(Flow::has_more) && !self.stopping {
            return Some(now);
        }
        let association = flow.and_then(|flow| flow.association.poll_timeout());
        let moves = self.progress_due || !self.by_stream.is_empty();
        let progress = moves && self.is_busy() && !self.stopping;
        let progress = progress.then(|| self.progress_at.max(now));
        let sample = self.sample_deadline().filter(|_| !self.stopping);
        let starts = self.may_start().then_some(self.start_at);
        let open = (self.wants_files() && self.flow.is_none() && !self.open_sent)
            .then_some(self.open_at)
            .filter(|at| *at > now);
        let ask = self.asking.deadline().filter(|at| *at > now);
        let linger = self.closing_since.map(|since| since + LINGER);
        [association, progress, sample, starts, open, ask, linger]
            .into_iter()
            .flatten()
            .min()
    }

    /// Keeps what can be resumed and receives no more.
    pub(super) fn stop(&mut self) {
        self.stopping = true;
        self.interrupted.store(true, Ordering::Relaxed);
    }

    fn keep_what_is_there(&mut self, now: Timestamp) {
        let mut jobs = Vec::new();
        for (key, download) in self.downloads.iter_mut() {
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
