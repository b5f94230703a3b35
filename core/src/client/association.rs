//! State of the receiving side, its handshake, its timers, its small packets.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use foldhash::fast::RandomState;
use hdrhistogram::Histogram;
use slab::Slab;

use super::acks::AckSchedule;
use super::receive_stream::{ReceiveStream, StreamCounters};
use crate::cell_set::ChunkPool;
use crate::error::{CloseReason, ConfigError, StreamEnd};
use crate::layout::SegmentRange;
use crate::limits::{
    BASE_DATAGRAM_BYTES, MAX_DATAGRAM_BYTES, MAX_STREAM_ID, MAX_STREAMS, MIN_DATAGRAM_BYTES,
};
use crate::packet_number::ReceivedPackets;
use crate::protection::{Opener, Sealer, Secrets};
use crate::recovery::rtt::RttEstimator;
use crate::stats::ReceiverStats;
use crate::units::Timestamp;
use crate::wire::{Kind, StreamStatus};

/// CLOSE is sent so often at most; then the association ends without an answer.
pub(super) const CLOSE_TRIES: u32 = 4;

/// How long finished streams wait for others to be told with them.
const MIN_DONE_DELAY: Duration = Duration::from_millis(1);
const MAX_DONE_DELAY: Duration = Duration::from_millis(5);

/// Less credit than this holds the server back whatever the size of its packets.
const SCARCE_CREDIT_BYTES: u32 = 65_507;

/// What control granted, and what the client wants.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// The association's number.
    pub id: u32,
    /// Keys, or plaintext.
    pub secrets: Secrets,
    /// Bytes of a cell.
    pub cell_bytes: u16,
    /// The server's UDP address.
    pub server: SocketAddr,
    /// Largest UDP payload to receive, in bytes.
    pub max_datagram: usize,
    /// Bytes the server may have in flight at most: what the socket's buffer can take.
    pub credit: u32,
    /// Round trip of the control connection.
    pub initial_rtt: Duration,
    /// How long the handshake may take.
    pub handshake_timeout: Duration,
}

/// What the shell has to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientEvent {
    /// The server answered; it sends from now on.
    Established,
    /// All bytes of a segment and its value are there: verify it.
    SegmentComplete {
        /// Number of the stream.
        stream: u32,
        /// Index of the segment.
        segment: u32,
    },
    /// Every cell of a stream is there; all its segments were announced before.
    StreamComplete {
        /// Number of the stream.
        stream: u32,
    },
    /// The server ended a stream early.
    StreamReset {
        /// Number of the stream.
        stream: u32,
        /// Why.
        end: StreamEnd,
    },
    /// The association ended.
    Closed(CloseReason),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// SYN sent (or about to be).
    Connecting,
    /// HANDSHAKE-ACK sent, nothing received behind it yet.
    Confirming,
    /// The server has shown that it knows.
    Open,
    /// CLOSE sent.
    Closing,
    /// Over.
    Closed,
}

/// The receiving side of one association.
pub struct ClientAssociation {
    pub(super) config: ClientConfig,
    pub(super) phase: Phase,
    pub(crate) sealer: Sealer,
    pub(crate) opener: Opener,
    pub(super) received: ReceivedPackets,
    pub(crate) next_number: u64,
    pub(super) rtt: RttEstimator,
    pub(super) rtt_histogram: Histogram<u64>,
    pub(super) acks: AckSchedule,
    pub(super) streams: Slab<ReceiveStream>,
    pub(super) by_id: HashMap<u32, usize, RandomState>,
    pub(super) last_stream: (u32, usize),
    pub(super) pool: ChunkPool,
    pub(super) scratch: Vec<u8>,
    pub(super) done: Vec<StreamStatus>,
    /// Smallest packets waiting to be sent: answers to challenges and pings.
    pub(super) echoes: VecDeque<(Kind, u64)>,
    pub(super) syns_left: u32,
    /// Cookies to echo, with the size of the SYN-ACK that brought each.
    pub(super) cookies: VecDeque<(u64, u16)>,
    pub(super) last_cookie: (u64, u16),
    pub(super) tries: u32,
    /// Next time the handshake or CLOSE is repeated.
    pub(super) repeat_at: Timestamp,
    pub(super) done_at: Option<Timestamp>,
    pub(super) ping_at: Timestamp,
    pub(super) started: Timestamp,
    pub(super) handshake: Option<Duration>,
    pub(super) last_received: Timestamp,
    pub(super) ecn: (u32, u32),
    pub(super) socket_drops: u32,
    pub(super) stats: ReceiverStats,
    pub(super) events: VecDeque<ClientEvent>,
}

impl std::fmt::Debug for ClientAssociation {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("ClientAssociation")
            .field("id", &self.config.id)
            .field("phase", &self.phase)
            .finish_non_exhaustive()
    }
}

impl ClientAssociation {
    /// An association that sends its SYN at the next [`Self::poll_transmit`].
    #[must_use]
    pub fn new(now: Timestamp, config: ClientConfig) -> Self {
        let (sealer, opener) = config.secrets.for_client();
        let mut association = Self {
            phase: Phase::Connecting,
            sealer,
            opener,
            received: ReceivedPackets::default(),
            next_number: 0,
            rtt: RttEstimator::new(config.initial_rtt),
            rtt_histogram: Histogram::new_with_bounds(1, 60_000_000, 2)
                .expect("one microsecond to a minute are bounds"),
            acks: AckSchedule::new(now),
            streams: Slab::new(),
            by_id: HashMap::default(),
            last_stream: (0, 0),
            pool: ChunkPool::default(),
            scratch: vec![0; MAX_DATAGRAM_BYTES],
            done: Vec::new(),
            echoes: VecDeque::new(),
            syns_left: 0,
            cookies: VecDeque::new(),
            last_cookie: (0, 0),
            tries: 0,
            repeat_at: now,
            done_at: None,
            ping_at: now,
            started: now,
            handshake: None,
            last_received: now,
            ecn: (0, 0),
            socket_drops: 0,
            stats: ReceiverStats::default(),
            events: VecDeque::new(),
            config,
        };
        association.schedule_syns(now);
        association
    }

    /// What it has seen.
    #[must_use]
    pub const fn stats(&self) -> &ReceiverStats {
        &self.stats
    }

    /// Its round-trip estimate.
    #[must_use]
    pub const fn rtt(&self) -> &RttEstimator {
        &self.rtt
    }

    /// Round trips in microseconds.
    #[must_use]
    pub const fn rtt_histogram(&self) -> &Histogram<u64> {
        &self.rtt_histogram
    }

    /// From the first SYN to the server's answer.
    #[must_use]
    pub const fn handshake_duration(&self) -> Option<Duration> {
        self.handshake
    }

    /// Share of the packets sent here that did not arrive, within a few packets: 0 to 1.
    #[must_use]
    pub fn loss(&self) -> f64 {
        let expected = self.received.expected();
        if expected == 0 {
            return 0.0;
        }
        #[expect(clippy::cast_precision_loss, reason = "a share, for people")]
        let share = 1.0 - self.received.count() as f64 / expected as f64;
        share.max(0.0)
    }

    /// Whether the association is over.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed)
    }

    /// A stream that is open here.
    #[must_use]
    pub fn stream(&self, id: u32) -> Option<&ReceiveStream> {
        self.by_id.get(&id).map(|slot| &self.streams[*slot])
    }

    /// Number of open streams.
    #[must_use]
    pub fn open_streams(&self) -> usize {
        self.streams.len()
    }

    /// Expects a file as stream `id`; the server is asked for it over control, with the same `missing` segments.
    ///
    /// # Errors
    /// [`ConfigError`] when the number, size or ranges are impossible.
    pub fn start_stream(
        &mut self,
        now: Timestamp,
        id: u32,
        file_bytes: u64,
        missing: &[SegmentRange],
    ) -> Result<(), ConfigError> {
        if id == 0 || id > MAX_STREAM_ID || self.by_id.contains_key(&id) {
            return Err(ConfigError::StreamId(id));
        }
        if self.streams.len() >= MAX_STREAMS {
            return Err(ConfigError::TooManyStreams);
        }
        let cell = self.config.cell_bytes;
        let stream = ReceiveStream::new(id, file_bytes, cell, missing, &mut self.pool)?;
        self.by_id.insert(id, self.streams.insert(stream));
        self.ping_at = self.ping_at.min(now);
        Ok(())
    }

    /// The shell is done with a stream: `status` 0 = verified and stored, else given up. The server is told, repeatedly
    /// until it answers; success need not wait for that. Events of the stream that were queued before still come.
    pub fn finish_stream(&mut self, now: Timestamp, id: u32, status: u8) -> Option<StreamCounters> {
        let slot = self.by_id.remove(&id)?;
        let mut stream = self.streams.remove(slot);
        stream.cells.release(&mut self.pool);
        self.last_stream = (0, 0);
        self.done.push(StreamStatus::new(id, status));
        if self.done_at.is_none() {
            // A little patience puts many small files into one packet.
            self.done_at = Some(now + (self.rtt.srtt() / 8).clamp(MIN_DONE_DELAY, MAX_DONE_DELAY));
        }
        Some(stream.counters)
    }

    pub(crate) fn find_stream(&mut self, id: u32) -> Option<usize> {
        if self.last_stream.0 == id && id != 0 {
            return Some(self.last_stream.1);
        }
        let slot = *self.by_id.get(&id)?;
        self.last_stream = (id, slot);
        Some(slot)
    }

    /// Bytes the server may have in flight from now on (flow control).
    /// When there was next to none before, an ACK tells the server at once.
    pub const fn set_credit(&mut self, credit: u32) {
        let scarce = self.config.credit < SCARCE_CREDIT_BYTES;
        if scarce && credit >= SCARCE_CREDIT_BYTES && matches!(self.phase, Phase::Open) {
            self.acks.request();
        }
        self.config.credit = credit;
    }

    /// Datagrams that the kernel dropped for want of buffer so far.
    pub const fn set_socket_drops(&mut self, drops: u32) {
        self.socket_drops = drops;
    }

    /// Ends the association: CLOSE is sent until it is answered, a few times at most.
    pub fn close(&mut self, now: Timestamp) {
        match self.phase {
            Phase::Connecting => self.end(CloseReason::Local),
            Phase::Confirming | Phase::Open => {
                self.phase = Phase::Closing;
                self.tries = 0;
                self.repeat_at = now;
            }
            Phase::Closing | Phase::Closed => {}
        }
    }

    pub(super) fn end(&mut self, reason: CloseReason) {
        if self.phase != Phase::Closed {
            self.phase = Phase::Closed;
            self.events.push_back(ClientEvent::Closed(reason));
        }
    }

    /// The next event. Call until `None`.
    pub fn poll_event(&mut self) -> Option<ClientEvent> {
        self.events.pop_front()
    }
}

const _: () = assert!(BASE_DATAGRAM_BYTES >= MIN_DATAGRAM_BYTES);
