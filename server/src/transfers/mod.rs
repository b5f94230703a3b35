//! File transfers: the core's endpoint over the one UDP socket, and the files behind it.
//!
//! A client's Open makes an association, its Start makes streams. From then on the association lives on UDP alone: it
//! outlives the control connection until the client closes it or falls silent.

mod counts;
mod load;
mod reports;
pub(crate) mod share;
pub(crate) mod store;

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use columba_core::congestion::Algorithm;
use columba_core::control::limits::MAX_MISSING_RANGES;
use columba_core::control::{ControlError, Grant, Open, Policy, StartEntry};
use columba_core::endpoint::{Endpoint, Outgoing, ServerEvent};
use columba_core::error::{CloseReason, StreamEnd};
use columba_core::layout::SegmentRange;
use columba_core::limits::{
    CELL_BYTES_V4, CELL_BYTES_V6, IDLE_TIMEOUT, MAX_DATAGRAM_BYTES, MAX_TRAIN_BYTES,
    MIN_DATAGRAM_BYTES,
};
use columba_core::protection::Secrets;
use columba_core::server::{self, AssociationConfig};
use columba_core::stats::{LimitedBy, PathReport};
use columba_core::units::Timestamp;
use columba_net::udp::{RecvBatch, SendOutcome, SendTrain, UdpSocket};

use crate::files::catalog::SharedEntry;
use crate::lobby::Refusal;
use crate::slots::SlotId;
use counts::{SenderTotals, TransferCounts};
use share::Allowance;
use store::{FileStore, Woken};

/// Trains sent in one turn of the loop.
const TRAIN_BUDGET: usize = 16;

/// Batches of received trains handled in one turn of the loop.
const RECV_BUDGET: usize = 8;

/// How long to wait when the kernel has no memory for packets.
const NO_BUFFERS_PAUSE: Duration = Duration::from_millis(1);

/// What clients have to be told.
#[derive(Debug)]
pub(crate) enum Notice {
    /// How the sending to a client goes.
    Report { client: SlotId, report: PathReport },
    /// A stream ended before it was complete.
    Ended {
        /// The client, if its control connection is still there.
        client: SlotId,
        stream: u32,
        end: StreamEnd,
    },
    /// The client's association is over.
    Closed { client: SlotId, association: u32 },
    /// A round trip was sampled.
    Rtt(Duration),
    /// A client confirmed a file, so long after its start.
    Confirmed(Duration),
}

/// What the shell knows of an association.
#[derive(Debug)]
struct Known {
    client: SlotId,
    /// When each stream was started that the client has not confirmed.
    streams: HashMap<u32, Timestamp>,
    /// Streams that are still being sent.
    sending: usize,
    /// The client wants to be told how the sending goes.
    reports: bool,
}

/// What transfers are told at the start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TransferOptions {
    pub(crate) plaintext: bool,
    pub(crate) congestion: Algorithm,
    pub(crate) max_transfers: usize,
    /// Bytes per second over all.
    pub(crate) rate_limit: Option<u64>,
}

/// All transfers.
pub(crate) struct Transfers {
    endpoint: Endpoint,
    pub(crate) store: FileStore,
    pub(crate) socket: UdpSocket,
    batch: RecvBatch,
    buffer: Box<[u8]>,
    /// A train that the socket did not take yet, and how many bytes of it are gone already.
    held: Option<(Outgoing, usize)>,
    /// The socket said that it is full; an event will tell.
    blocked: bool,
    /// The kernel had no memory; try again then.
    retry_at: Option<Timestamp>,
    /// The socket may have more to read.
    pub(crate) readable: bool,
    known: HashMap<u32, Known>,
    allowance: Option<Allowance>,
    options: TransferOptions,
    counts: TransferCounts,
    /// When clients are told next how the sending goes.
    report_at: Timestamp,
    /// How long the batches of this turn took.
    pub(crate) batch_spans: Vec<Duration>,
}

impl Transfers {
    pub(crate) fn new(
        now: Timestamp,
        socket: UdpSocket,
        store: FileStore,
        options: TransferOptions,
    ) -> Self {
        let associations = u32::try_from(options.max_transfers.min(64)).unwrap_or(64);
        Self {
            endpoint: Endpoint::new(now, associations),
            store,
            socket,
            batch: RecvBatch::new(),
            buffer: vec![0; MAX_TRAIN_BYTES].into(),
            held: None,
            blocked: false,
            retry_at: None,
            readable: true,
            known: HashMap::new(),
            allowance: options.rate_limit.map(|rate| Allowance::new(rate, now)),
            options,
            counts: TransferCounts::default(),
            report_at: now,
            batch_spans: Vec::with_capacity(RECV_BUDGET),
        }
    }

    /// The counters, and the sums over all associations.
    pub(crate) fn counts(&self) -> (TransferCounts, SenderTotals) {
        let mut totals = self.counts.past;
        for association in self
            .known
            .keys()
            .filter_map(|&id| self.endpoint.association(id))
        {
            totals.add(association);
        }
        (self.counts, totals)
    }

    /// Datagrams that belonged to no association.
    pub(crate) fn foreign_datagrams(&self) -> u64 {
        self.endpoint.drops().total()
    }

    /// Associations, and streams that are being sent.
    pub(crate) fn active(&self) -> (usize, usize) {
        (
            self.endpoint.len(),
            self.known.values().map(|known| known.sending).sum(),
        )
    }

    /// Grants an association to a client.
    ///
    /// # Errors
    /// Too many transfers run, or the client wants datagrams that hold nothing.
    pub(crate) fn open(
        &mut self,
        now: Timestamp,
        client: SlotId,
        peer: IpAddr,
        open: &Open,
        reports: bool,
    ) -> Result<Grant, Refusal> {
        if self.endpoint.len() >= self.options.max_transfers {
            let text = "as many transfers run as this server admits: try again later";
            return Err(Refusal::new(ControlError::TooManyTransfers, text));
        }
        let config = self.association_config(peer, open)?;
        let (id, cell_bytes) = (config.id, config.cell_bytes);
        let (secret_down, secret_up) = match &config.secrets {
            Secrets::Aead { down, up } => (*down, *up),
            Secrets::Plaintext => ([0; 32], [0; 32]),
        };
        if !self.endpoint.open(now, config) {
            let text = "the association could not be made: try again";
            return Err(Refusal::new(ControlError::Internal, text));
        }
        self.known.insert(
            id,
            Known {
                client,
                streams: HashMap::new(),
                sending: 0,
                reports,
            },
        );
        self.counts.opened += 1;
        Ok(Grant {
            association: id,
            // The same number as control: a relay in between moves both together.
            udp_port: 0,
            cell_bytes,
            secret_down,
            secret_up,
            idle_ms: u32::try_from(IDLE_TIMEOUT.as_millis()).unwrap_or(u32::MAX),
        })
    }

    fn association_config(&self, peer: IpAddr, open: &Open) -> Result<AssociationConfig, Refusal> {
        let internal = |_| Refusal::new(ControlError::Internal, "the server has no randomness");
        let id = loop {
            let id = u32::from_be_bytes(random().map_err(internal)?);
            if id != 0 && !self.endpoint.contains(id) {
                break id;
            }
        };
        let secrets = if self.options.plaintext {
            Secrets::Plaintext
        } else {
            Secrets::Aead {
                down: random().map_err(internal)?,
                up: random().map_err(internal)?,
            }
        };
        Ok(AssociationConfig {
            id,
            secrets,
            cell_bytes: if peer.is_ipv4() {
                CELL_BYTES_V4
            } else {
                CELL_BYTES_V6
            },
            max_datagram: max_datagram(open)?,
            algorithm: self.options.congestion,
            initial_rtt: None,
            rate_limit: (open.rate_limit > 0).then_some(open.rate_limit),
            policy: match open.policy {
                Policy::Fair => server::Policy::Fair,
                Policy::Low => server::Policy::Low,
            },
            seed: random().map_err(internal)?,
        })
    }

    /// Begins a stream.
    ///
    /// # Errors
    /// There is no such association any more, or the stream is impossible.
    pub(crate) fn start(
        &mut self,
        now: Timestamp,
        association: u32,
        start: &StartEntry,
        file: &SharedEntry,
    ) -> Result<(), Refusal> {
        let Some(known) = self.known.get_mut(&association) else {
            return Err(Refusal::new(
                ControlError::Idle,
                "the transfer is over: open another one",
            ));
        };
        if start.missing.len() > MAX_MISSING_RANGES {
            return Err(Refusal::new(
                ControlError::BadFrame,
                "too many missing ranges: merge them",
            ));
        }
        let missing: Vec<SegmentRange> = start
            .missing
            .iter()
            .map(|range| SegmentRange {
                first: range.first,
                count: range.count,
            })
            .collect();
        let source = self.store.acquire(association, file);
        let size = file.version.size;
        if let Err(error) =
            self.endpoint
                .start_stream(now, association, start.stream, source, size, &missing)
        {
            self.store.release(association, source);
            return Err(Refusal::new(ControlError::BadFrame, error.to_string()));
        }
        known.streams.insert(start.stream, now);
        known.sending += 1;
        self.counts.started += 1;
        Ok(())
    }

    /// The client wants a stream no more.
    pub(crate) fn cancel(&mut self, now: Timestamp, association: u32, stream: u32) {
        self.endpoint
            .end_stream(now, association, stream, StreamEnd::Cancelled);
    }

    /// Ends everything: the server is being stopped.
    pub(crate) fn close_all(&mut self, now: Timestamp) {
        let ids: Vec<u32> = self.known.keys().copied().collect();
        for id in ids {
            self.endpoint.close(now, id, CloseReason::Local);
        }
    }

    /// Files made progress: their streams may go on.
    pub(crate) fn wake(&mut self, now: Timestamp, woken: Woken) {
        for (association, source) in woken {
            self.endpoint.source_ready(now, association, source);
        }
    }

    /// Fires what is due.
    pub(crate) fn handle_timeout(&mut self, now: Timestamp) {
        if self
            .endpoint
            .poll_timeout()
            .is_some_and(|deadline| deadline <= now)
        {
            self.endpoint.handle_timeout(now);
        }
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) or [`transmit`](Self::transmit) has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        let allowed_at = self
            .allowance
            .as_ref()
            .and_then(Allowance::allowed_at)
            .filter(|_| self.endpoint.has_ready());
        let close_at = self.store.next_close();
        [
            self.endpoint.poll_timeout(),
            self.retry_at,
            allowed_at,
            close_at,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Whether [`transmit`](Self::transmit) could go on at once.
    pub(crate) fn has_more(&self) -> bool {
        let may_send = !self.blocked && self.retry_at.is_none();
        let allowed = self
            .allowance
            .as_ref()
            .is_none_or(|allowance| allowance.allowed_at().is_none());
        self.readable || may_send && (self.held.is_some() || allowed && self.endpoint.has_ready())
    }

    /// The socket may take more.
    pub(crate) fn on_writable(&mut self) {
        self.blocked = false;
    }

    /// Handles received datagrams, within a budget; how long each batch took goes to `batch_spans`.
    pub(crate) fn receive(&mut self, now: Timestamp, clock: impl Fn() -> Timestamp) {
        for _ in 0..RECV_BUDGET {
            if !self.readable {
                return;
            }
            match self.socket.recv(&mut self.batch) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.readable = false;
                    return;
                }
                // An earlier datagram bounced (ICMP): the socket is as good as before.
                Err(error) => {
                    tracing::debug!(%error, "receiving failed");
                    return;
                }
            }
            let began = clock();
            for mut train in self.batch.iter_mut() {
                let (from, ecn) = (train.from, train.ecn);
                for datagram in train.datagrams() {
                    self.counts.datagrams_received += 1;
                    self.endpoint.handle_datagram(now, from, ecn, datagram);
                }
            }
            self.batch_spans.push(clock() - began);
        }
    }

    /// Sends what may be sent, within a budget: a number of trains, of which none but the first begins after `until`.
    /// `clock` gives the time of each train.
    pub(crate) fn transmit(&mut self, until: Option<Timestamp>, clock: impl Fn() -> Timestamp) {
        for train in 0..TRAIN_BUDGET {
            if self.blocked || self.retry_at.is_some() {
                return;
            }
            let now = clock();
            if train > 0 && until.is_some_and(|until| now >= until) {
                return;
            }
            let (outgoing, done) = match self.held.take() {
                Some(held) => held,
                None => {
                    if self
                        .allowance
                        .as_mut()
                        .is_some_and(|allowance| !allowance.may_send(now))
                    {
                        self.endpoint.hold_back(now, LimitedBy::ServerLimit);
                        return;
                    }
                    match self.make_train(now) {
                        Some(outgoing) => (outgoing, 0),
                        None => return,
                    }
                }
            };
            self.send(now, outgoing, done);
        }
    }

    fn make_train(&mut self, now: Timestamp) -> Option<Outgoing> {
        self.store.set_now(now);
        loop {
            let trips = shrunk_maps();
            let outgoing = self
                .endpoint
                .poll_transmit(now, &mut self.store, &mut self.buffer)?;
            if shrunk_maps() == trips {
                return Some(outgoing);
            }
            // A file shrank under the map while its bytes were taken: zeros never leave. The next look at it ends
            // its streams.
            self.counts.trains_dropped += 1;
        }
    }

    /// Sends the bytes of the train from `done` on.
    fn send(&mut self, now: Timestamp, outgoing: Outgoing, done: usize) {
        let Outgoing {
            to,
            bytes,
            segment_bytes,
            ecn,
            ..
        } = outgoing;
        let train = SendTrain {
            to,
            segment_bytes,
            data: &self.buffer[done..bytes],
            ecn: Some(ecn),
        };
        let outcome = match self.socket.send(&train) {
            Ok(outcome) => outcome,
            Err(error) => {
                // As good as lost on the way: recovery sees to it.
                tracing::debug!(%to, %error, "sending failed");
                return;
            }
        };
        let sent_until = |segments: usize| (done + segments * segment_bytes).min(bytes);
        let sent = match outcome {
            SendOutcome::Sent => bytes,
            SendOutcome::WouldBlock { sent_segments } => {
                self.blocked = true;
                self.hold(outgoing, sent_until(sent_segments))
            }
            SendOutcome::NoBuffers { sent_segments } => {
                self.retry_at = Some(now + NO_BUFFERS_PAUSE);
                self.hold(outgoing, sent_until(sent_segments))
            }
            SendOutcome::TooLarge { sent_segments } => {
                self.endpoint.on_too_large(now, to, segment_bytes);
                sent_until(sent_segments)
            }
        };
        let sent = sent - done;
        self.counts.bytes_sent += sent as u64;
        self.counts.trains_sent += 1;
        if let Some(allowance) = &mut self.allowance {
            allowance.spend(sent);
        }
    }

    fn hold(&mut self, outgoing: Outgoing, done: usize) -> usize {
        if done < outgoing.bytes {
            self.held = Some((outgoing, done));
        }
        done
    }

    /// What came of it all, for clients and statistics, appended to `notices`.
    pub(crate) fn take_notices(&mut self, now: Timestamp, notices: &mut Vec<Notice>) {
        while let Some(event) = self.endpoint.poll_event() {
            self.on_event(now, event, notices);
        }
        self.make_reports(now, notices);
    }

    fn on_event(&mut self, now: Timestamp, event: ServerEvent, notices: &mut Vec<Notice>) {
        match event {
            ServerEvent::Established {
                association,
                address,
            } => {
                tracing::debug!(association, %address, "transfers may flow");
            }
            ServerEvent::StreamFreed {
                association,
                stream,
                source,
                end,
            } => {
                self.store.release(association, source);
                let Some(known) = self.known.get_mut(&association) else {
                    return;
                };
                known.sending = known.sending.saturating_sub(1);
                let Some(end) = end else {
                    return;
                };
                known.streams.remove(&stream);
                self.counts.ended_early += 1;
                if end != StreamEnd::Cancelled {
                    notices.push(Notice::Ended {
                        client: known.client,
                        stream,
                        end,
                    });
                }
            }
            ServerEvent::StreamConfirmed {
                association,
                stream,
                status,
            } => {
                let known = self.known.get_mut(&association);
                if let Some(started) = known.and_then(|known| known.streams.remove(&stream))
                    && status == 0
                {
                    self.counts.confirmed += 1;
                    notices.push(Notice::Confirmed(now - started));
                }
            }
            ServerEvent::RttSample { rtt, .. } => notices.push(Notice::Rtt(rtt)),
            ServerEvent::Closed {
                association,
                reason,
            } => {
                tracing::debug!(association, %reason, "the association is over");
                if let Some(ended) = self.endpoint.association(association) {
                    self.counts.past.add(ended);
                }
                self.store.forget_association(association);
                if let Some(known) = self.known.remove(&association) {
                    notices.push(Notice::Closed {
                        client: known.client,
                        association,
                    });
                }
            }
        }
    }
}

/// The largest UDP payload a client wants, in bytes.
fn max_datagram(open: &Open) -> Result<usize, Refusal> {
    match usize::from(open.max_datagram) {
        0 => Ok(MAX_DATAGRAM_BYTES),
        bytes if bytes < MIN_DATAGRAM_BYTES => {
            let text = format!(
                "datagrams of {bytes} bytes are too small: at least {MIN_DATAGRAM_BYTES} are needed"
            );
            Err(Refusal::new(ControlError::Address, text))
        }
        bytes => Ok(bytes.min(MAX_DATAGRAM_BYTES)),
    }
}

/// How often a mapped file shrank under a reader.
#[cfg(unix)]
fn shrunk_maps() -> u64 {
    crate::files::sigbus::trips()
}

/// A mapped file cannot shrink.
#[cfg(not(unix))]
fn shrunk_maps() -> u64 {
    0
}

fn random<const N: usize>() -> Result<[u8; N], aws_lc_rs::error::Unspecified> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes)?;
    Ok(bytes)
}
