//! State of the sending side, its handshake, its path, and the small packets.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use foldhash::fast::RandomState;

use super::limited::LimitClock;
use super::path::{Candidate, token_of};
use super::send_stream::{Blocked, SendStream};
use super::source::SourceKey;
use crate::cell_set::{CHUNK_CELLS, ChunkPool};
use crate::congestion::delivery_rate::DeliveryRate;
use crate::congestion::{Algorithm, CongestionController, Controller};
use crate::endpoint::ServerEvent;
use crate::error::{CloseReason, ConfigError, StreamEnd};
use crate::layout::{SegmentRange, StreamLayout};
use crate::limits::{
    DESERTED_PING_INTERVAL, DESERTED_TIMEOUT, IDLE_TIMEOUT, INITIAL_RTT, KEEP_ALIVE,
    MAX_DATAGRAM_BYTES, MAX_STREAM_CHUNKS, MAX_STREAM_ID, MAX_STREAMS, MIN_DATAGRAM_BYTES,
};
use crate::mtu::Mtu;
use crate::pacing::Pacer;
use crate::packet_number::ReceivedPackets;
use crate::protection::{Opener, Sealer, Secrets};
use crate::recovery::ecn::{EcnPath, EcnState};
use crate::recovery::loss::LossDetector;
use crate::recovery::rtt::RttEstimator;
use crate::recovery::sent_packets::SentPackets;
use crate::stats::{DropCounters, SenderStats};
use crate::units::Timestamp;
use crate::wire::{DATA_HEADER_BYTES, Kind, StreamStatus};

/// Cells per packet that are tried as datagram sizes: about 300, 900, 1200, 1500, 9000 and 65,507 bytes.
pub const CELLS_LADDER: [u16; 6] = [1, 3, 4, 5, 31, 227];
/// A closed association still answers CLOSE for so many probe timeouts.
const LINGER_PTOS: u32 = 3;
/// Probe timeouts without an answer after which a client without a control connection is gone, if that is longer than
/// [`DESERTED_TIMEOUT`].
const DESERTED_PTOS: u32 = 10;
/// Small packets waiting to be sent at most; the peer repeats what is dropped.
const MAX_QUEUED_CONTROL: usize = 32;

/// Who goes first when the server is the bottleneck.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Policy {
    /// An equal share.
    #[default]
    Fair,
    /// Only what the fair ones leave.
    Low,
}

/// What the server granted over control.
#[derive(Debug, Clone)]
pub struct AssociationConfig {
    /// The association's number.
    pub id: u32,
    /// Keys, or plaintext.
    pub secrets: Secrets,
    /// Bytes of a cell.
    pub cell_bytes: u16,
    /// Largest UDP payload the client wants, in bytes.
    pub max_datagram: usize,
    /// Congestion controller.
    pub algorithm: Algorithm,
    /// Round trip of the control connection where it is known.
    pub initial_rtt: Option<Duration>,
    /// Bytes per second at most.
    pub rate_limit: Option<u64>,
    /// Its rank.
    pub policy: Policy,
    /// Secret seed for cookies, tokens and skipped packet numbers.
    pub seed: [u8; 32],
}

/// Where the handshake stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// No valid HANDSHAKE-ACK yet.
    Handshake,
    /// Data may flow.
    Established,
    /// Over; still answers CLOSE until then.
    Closed {
        /// When it is forgotten.
        until: Timestamp,
    },
}

/// A small packet to be sent.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ControlPacket {
    SynAck {
        to: SocketAddr,
        cookie: u64,
        time: u64,
        bytes: usize,
    },
    Echo {
        to: SocketAddr,
        kind: Kind,
        token: u64,
    },
    DoneAck,
    Reset {
        stream: u32,
        code: u16,
    },
    Close {
        kind: Kind,
        code: u16,
    },
}

/// Cells to be sent again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Resend {
    pub(crate) slot: u32,
    pub(crate) stream: u32,
    pub(crate) first: u32,
    pub(crate) count: u16,
    pub(crate) timeout_probe: bool,
}

/// The sending side of one association.
pub struct ServerAssociation {
    pub(crate) config: AssociationConfig,
    pub(crate) phase: Phase,
    pub(crate) sealer: Sealer,
    pub(crate) opener: Opener,
    pub(crate) received: ReceivedPackets,
    pub(crate) path: Option<SocketAddr>,
    pub(crate) candidate: Option<Candidate>,
    pub(crate) challenges: u64,
    pub(crate) rtt: RttEstimator,
    pub(crate) loss: LossDetector,
    pub(crate) sent: SentPackets,
    pub(crate) rate: DeliveryRate,
    pub(crate) congestion: Controller,
    pub(crate) pacer: Pacer,
    pub(crate) limiter: Option<Pacer>,
    pub(crate) mtu: Mtu,
    pub(crate) credit: u64,
    pub(crate) largest_ack_number: u64,
    pub(crate) ecn: EcnPath,
    pub(crate) slots: Vec<Option<SendStream>>,
    pub(crate) free_slots: Vec<u32>,
    pub(crate) by_id: HashMap<u32, u32, RandomState>,
    pub(crate) unconfirmed: HashSet<u32, RandomState>,
    /// Streams with something new to send: slot and number. An entry whose stream is gone is skipped.
    pub(crate) queue: VecDeque<(u32, u32)>,
    /// Streams that wait for their source, by slot.
    pub(crate) waiting: BTreeSet<(SourceKey, u32)>,
    /// Streams that ended early, to be told to the client.
    pub(crate) resets: VecDeque<(u32, u16)>,
    /// Chunks of all streams' cell sets, which bounds their memory.
    pub(crate) chunks: u32,
    /// A closed association answers no more often than this.
    pub(crate) close_reply_at: Timestamp,
    pub(crate) resend: VecDeque<Resend>,
    pub(crate) control: VecDeque<ControlPacket>,
    pub(crate) done: Vec<StreamStatus>,
    pub(crate) timeout_count: u32,
    pub(crate) timeout_base: Timestamp,
    pub(crate) probes_left: u32,
    pub(crate) tail_cursor: u64,
    pub(crate) next_skip: u64,
    pub(crate) keep_alive: Timestamp,
    pub(crate) last_received: Timestamp,
    /// Since when the client's control connection is gone.
    pub(crate) deserted: Option<Timestamp>,
    pub(crate) limits: LimitClock,
    pub(crate) stats: SenderStats,
    pub(crate) drops: DropCounters,
}

impl std::fmt::Debug for ServerAssociation {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let waiting = self
            .slots
            .iter()
            .flatten()
            .map(|s| (s.id, s.blocked, s.is_all_sent()));
        formatter
            .debug_struct("ServerAssociation")
            .field("id", &self.config.id)
            .field("phase", &self.phase)
            .field("path", &self.path)
            .field(
                "in_flight",
                &(self.sent.in_flight_packets(), self.sent.in_flight_bytes()),
            )
            .field(
                "queues",
                &(self.queue.len(), self.resend.len(), self.control.len()),
            )
            .field("cwnd_and_credit", &(self.congestion.cwnd(), self.credit))
            .field("pacing_rate", &self.congestion.pacing_rate())
            .field("datagram_bytes", &self.mtu.current())
            .field("ecn", &self.ecn.state())
            .field("timeout_count", &self.timeout_count)
            .field("streams", &waiting.collect::<Vec<_>>())
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}

impl ServerAssociation {
    /// An association that waits for its client's SYN.
    #[must_use]
    pub fn new(now: Timestamp, config: AssociationConfig) -> Self {
        let (sealer, opener) = config.secrets.for_server();
        let tag = config.secrets.tag_bytes();
        let sizes = CELLS_LADDER.map(|cells| {
            DATA_HEADER_BYTES + usize::from(cells) * usize::from(config.cell_bytes) + tag
        });
        let max = config
            .max_datagram
            .clamp(MIN_DATAGRAM_BYTES, MAX_DATAGRAM_BYTES);
        // A client that wants small packets gets them, nobody else starts so low.
        let ladder = if max < sizes[1] { &sizes } else { &sizes[1..] };
        let mtu = Mtu::new(ladder, max);
        let datagram = mtu.current() as u64;
        let first_skip = 64 + token_of(&config.seed, b"skip", 0) % 512;
        Self {
            phase: Phase::Handshake,
            sealer,
            opener,
            received: ReceivedPackets::default(),
            path: None,
            candidate: None,
            challenges: 0,
            rtt: RttEstimator::new(config.initial_rtt.unwrap_or(INITIAL_RTT)),
            loss: LossDetector::default(),
            sent: SentPackets::default(),
            rate: DeliveryRate::new(),
            congestion: Controller::new(config.algorithm, now, datagram),
            pacer: Pacer::new(now, datagram),
            limiter: config.rate_limit.map(|rate| {
                let mut limiter = Pacer::new(now, datagram);
                limiter.set_rate(now, Some(rate));
                limiter
            }),
            mtu,
            credit: 0,
            largest_ack_number: 0,
            ecn: EcnPath::default(),
            slots: Vec::new(),
            free_slots: Vec::new(),
            by_id: HashMap::default(),
            unconfirmed: HashSet::default(),
            queue: VecDeque::new(),
            waiting: BTreeSet::new(),
            resets: VecDeque::new(),
            chunks: 0,
            close_reply_at: now,
            resend: VecDeque::new(),
            control: VecDeque::with_capacity(MAX_QUEUED_CONTROL),
            done: Vec::new(),
            timeout_count: 0,
            timeout_base: now,
            probes_left: 0,
            tail_cursor: 0,
            next_skip: first_skip,
            keep_alive: now + KEEP_ALIVE,
            last_received: now,
            deserted: None,
            limits: LimitClock::new(now),
            stats: SenderStats::default(),
            drops: DropCounters::default(),
            config,
        }
    }

    /// The association's number.
    #[must_use]
    pub const fn id(&self) -> u32 {
        self.config.id
    }

    /// Where the client is, once the handshake showed it.
    #[must_use]
    pub const fn path(&self) -> Option<SocketAddr> {
        self.path
    }

    /// What it has seen.
    #[must_use]
    pub const fn stats(&self) -> &SenderStats {
        &self.stats
    }

    /// Datagrams dropped, by reason.
    #[must_use]
    pub const fn drops(&self) -> &DropCounters {
        &self.drops
    }

    /// Its round-trip estimate.
    #[must_use]
    pub const fn rtt(&self) -> &RttEstimator {
        &self.rtt
    }

    /// Congestion window in bytes.
    #[must_use]
    pub fn cwnd(&self) -> u64 {
        self.congestion.cwnd()
    }

    /// Whether packets are sent as capable of ECN.
    #[must_use]
    pub const fn ecn(&self) -> EcnState {
        self.ecn.state()
    }

    /// UDP payload of full packets in bytes.
    #[must_use]
    pub fn datagram_bytes(&self) -> usize {
        self.mtu.current()
    }

    /// Whether the association is over (it may still answer CLOSE).
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed { .. })
    }

    pub(crate) const fn is_established(&self) -> bool {
        matches!(self.phase, Phase::Established)
    }

    /// Bytes of memory held for packets and streams, for statistics.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>()
            + self.sent.memory_bytes()
            + self.slots.capacity() * size_of::<Option<SendStream>>()
    }

    /// Begins to send a file as stream `id`, of which the client misses the `missing` segments (none: all).
    ///
    /// # Errors
    /// [`ConfigError`] when the number, the size or the ranges are impossible.
    pub fn start_stream(
        &mut self,
        id: u32,
        source: SourceKey,
        file_bytes: u64,
        missing: &[SegmentRange],
        pool: &mut ChunkPool,
    ) -> Result<(), ConfigError> {
        if id == 0 || id > MAX_STREAM_ID || self.by_id.contains_key(&id) {
            return Err(ConfigError::StreamId(id));
        }
        if self.is_closed() {
            return Err(ConfigError::UnknownAssociation);
        }
        if self.by_id.len() >= MAX_STREAMS || self.unconfirmed.len() >= 2 * MAX_STREAMS {
            return Err(ConfigError::TooManyStreams);
        }
        let layout = StreamLayout::new(file_bytes, self.config.cell_bytes)?;
        let wanted = layout.wanted_cells(missing)?;
        let chunks = self
            .chunks
            .saturating_add(layout.cells().div_ceil(CHUNK_CELLS));
        if chunks > MAX_STREAM_CHUNKS {
            return Err(ConfigError::TooManyStreams);
        }
        self.chunks = chunks;
        let stream = SendStream::new(id, source, layout, &wanted, pool);
        let slot = self.free_slots.pop().unwrap_or_else(|| {
            self.slots.push(None);
            // At most MAX_STREAMS slots exist.
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        self.slots[slot as usize] = Some(stream);
        self.by_id.insert(id, slot);
        self.unconfirmed.insert(id);
        self.enqueue(slot);
        Ok(())
    }

    /// Puts a stream in the queue of those with something new to send.
    pub(crate) fn enqueue(&mut self, slot: u32) {
        if let Some(stream) = &mut self.slots[slot as usize]
            && !stream.queued
        {
            stream.queued = true;
            self.queue.push_back((slot, stream.id));
        }
    }

    /// The source has bytes or hashes again: streams that waited for it go on.
    pub fn source_ready(&mut self, source: SourceKey) {
        let all = (source, 0)..=(source, u32::MAX);
        while let Some(&(_, slot)) = self.waiting.range(all.clone()).next() {
            self.waiting.remove(&(source, slot));
            let Some(stream) = self.slots[slot as usize].as_mut() else {
                continue;
            };
            stream.blocked = None;
            let id = stream.id;
            let deferred = std::mem::take(&mut stream.deferred);
            for run in deferred {
                self.queue_resend(slot, id, &run, false);
            }
            self.enqueue(slot);
        }
    }

    pub(crate) fn queue_resend(&mut self, slot: u32, stream: u32, run: &Range<u32>, probe: bool) {
        let mut first = run.start;
        while first < run.end {
            let count = u16::try_from(run.end - first).unwrap_or(u16::MAX);
            self.resend.push_back(Resend {
                slot,
                stream,
                first,
                count,
                timeout_probe: probe,
            });
            first += u32::from(count);
        }
    }

    /// Ends a stream early: the client is told by RESET, repeated until it is acknowledged.
    pub fn end_stream(
        &mut self,
        id: u32,
        end: StreamEnd,
        pool: &mut ChunkPool,
        events: &mut VecDeque<ServerEvent>,
    ) {
        if let Some(source) = self.free_stream(id, pool) {
            self.resets.push_back((id, end.code()));
            events.push_back(ServerEvent::StreamFreed {
                association: self.config.id,
                stream: id,
                source,
                end: Some(end),
            });
        }
    }

    pub(crate) fn free_stream(&mut self, id: u32, pool: &mut ChunkPool) -> Option<SourceKey> {
        let slot = self.by_id.remove(&id)?;
        let mut stream = self.slots[slot as usize].take()?;
        stream.acked.release(pool);
        self.chunks -= stream.layout.cells().div_ceil(CHUNK_CELLS);
        if stream.blocked.is_some() {
            self.waiting.remove(&(stream.source, slot));
        }
        self.free_slots.push(slot);
        Some(stream.source)
    }

    /// Ends the association from this side.
    pub fn close(
        &mut self,
        now: Timestamp,
        reason: CloseReason,
        pool: &mut ChunkPool,
        events: &mut VecDeque<ServerEvent>,
    ) {
        if self.is_closed() {
            return;
        }
        if self.is_established() {
            self.push_control(ControlPacket::Close {
                kind: Kind::Close,
                code: reason.code(),
            });
        }
        self.enter_closed(now, reason, pool, events);
    }

    pub(crate) fn enter_closed(
        &mut self,
        now: Timestamp,
        reason: CloseReason,
        pool: &mut ChunkPool,
        events: &mut VecDeque<ServerEvent>,
    ) {
        if self.is_closed() {
            return;
        }
        self.phase = Phase::Closed {
            until: now + self.rtt.pto(Duration::ZERO) * LINGER_PTOS,
        };
        let streams: Vec<u32> = self.by_id.keys().copied().collect();
        for stream in streams {
            if let Some(source) = self.free_stream(stream, pool) {
                let end = Some(StreamEnd::Cancelled);
                events.push_back(ServerEvent::StreamFreed {
                    association: self.config.id,
                    stream,
                    source,
                    end,
                });
            }
        }
        self.resend.clear();
        self.queue.clear();
        self.waiting.clear();
        self.resets.clear();
        events.push_back(ServerEvent::Closed {
            association: self.config.id,
            reason,
        });
    }

    pub(crate) fn push_control(&mut self, packet: ControlPacket) {
        if self.control.len() < MAX_QUEUED_CONTROL {
            self.control.push_back(packet);
        }
    }

    /// The client's control connection is gone. Perhaps it alone, perhaps the client: an answer to a PING tells.
    pub fn on_control_lost(&mut self, now: Timestamp) {
        if self.deserted.is_none() {
            self.deserted = Some(now);
            self.keep_alive = now;
        }
    }

    pub(crate) fn idle_deadline(&self) -> Timestamp {
        let usual = self.last_received + IDLE_TIMEOUT;
        self.deserted.map_or(usual, |since| {
            let silence = DESERTED_TIMEOUT.max(self.rtt.pto(Duration::ZERO) * DESERTED_PTOS);
            usual.min(since.max(self.last_received) + silence)
        })
    }

    /// How often a PING asks whether the client is there.
    pub(crate) fn keep_alive_interval(&self) -> Duration {
        self.deserted.map_or(KEEP_ALIVE, |_| DESERTED_PING_INTERVAL)
    }

    /// Notes that a stream waits, and for what.
    pub(crate) fn block(&mut self, slot: u32, why: Blocked) {
        if let Some(stream) = &mut self.slots[slot as usize]
            && stream.blocked.replace(why).is_none()
        {
            self.waiting.insert((stream.source, slot));
        }
    }
}
