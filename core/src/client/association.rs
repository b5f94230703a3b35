//! State of the receiving side, its handshake, its timers, its small packets.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use hdrhistogram::Histogram;
use zerocopy::byteorder::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, IntoBytes};

use super::acks::AckSchedule;
use super::receive_stream::{ReceiveStream, StreamCounters};
use super::storage::Storage;
use crate::cell_set::ChunkPool;
use crate::endpoint::Outgoing;
use crate::error::{CloseReason, ConfigError, DropReason, StreamEnd};
use crate::layout::SegmentRange;
use crate::limits::{
    BASE_DATAGRAM_BYTES, IDLE_TIMEOUT, KEEP_ALIVE, MAX_ACK_STREAMS, MAX_BACKOFF,
    MAX_DATAGRAM_BYTES, MAX_DONE_ENTRIES, MAX_STREAM_ID, MAX_STREAMS, MIN_DATAGRAM_BYTES,
    PING_INTERVAL, PROTOCOL_VERSION,
};
use crate::packet_number::{ReceivedPackets, expand};
use crate::protection::{Opener, Sealer, Secrets};
use crate::recovery::rtt::RttEstimator;
use crate::server::association::CELLS_LADDER;
use crate::stats::ReceiverStats;
use crate::units::{Ecn, Timestamp};
use crate::wire::{
    AckHeader, Close, DATA_HEADER_BYTES, Echo, HEADER_BYTES, HandshakeAck, Kind, ParsedHeader,
    Reset, StreamProgress, StreamStatus, StreamStatuses, Syn, SynAck,
};

/// CLOSE is sent so often at most; then the association ends without an answer.
const CLOSE_TRIES: u32 = 4;

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
enum Phase {
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
    config: ClientConfig,
    phase: Phase,
    pub(crate) sealer: Sealer,
    pub(crate) opener: Opener,
    received: ReceivedPackets,
    pub(crate) next_number: u64,
    rtt: RttEstimator,
    rtt_histogram: Histogram<u64>,
    pub(crate) acks: AckSchedule,
    pub(crate) streams: Vec<ReceiveStream>,
    by_id: HashMap<u32, usize>,
    last_stream: (u32, usize),
    pub(crate) pool: ChunkPool,
    pub(crate) scratch: Vec<u8>,
    done: Vec<StreamStatus>,
    /// Smallest packets waiting to be sent: answers to challenges and pings.
    echoes: VecDeque<(Kind, u64)>,
    syns_left: u32,
    /// Cookies to echo, with the size of the SYN-ACK that brought each.
    cookies: VecDeque<(u64, u16)>,
    last_cookie: (u64, u16),
    tries: u32,
    /// Next time the handshake or CLOSE is repeated.
    repeat_at: Timestamp,
    done_at: Option<Timestamp>,
    ping_at: Timestamp,
    started: Timestamp,
    handshake: Option<Duration>,
    last_received: Timestamp,
    ecn: (u32, u32),
    socket_drops: u32,
    close_reason: CloseReason,
    pub(crate) stats: ReceiverStats,
    pub(crate) events: VecDeque<ClientEvent>,
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
            streams: Vec::new(),
            by_id: HashMap::new(),
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
            close_reason: CloseReason::Local,
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
        self.by_id.insert(id, self.streams.len());
        self.streams.push(stream);
        self.ping_at = self.ping_at.min(now);
        Ok(())
    }

    /// The shell is done with a stream: `status` 0 = verified and stored, else given up. The server is told, repeatedly
    /// until it answers; success need not wait for that. Events of the stream that were queued before still come.
    pub fn finish_stream(&mut self, now: Timestamp, id: u32, status: u8) -> Option<StreamCounters> {
        let slot = self.by_id.remove(&id)?;
        let mut stream = self.streams.swap_remove(slot);
        stream.cells.release(&mut self.pool);
        if let Some(moved) = self.streams.get(slot) {
            self.by_id.insert(moved.id, slot);
        }
        self.last_stream = (0, 0);
        self.done.push(StreamStatus::new(id, status));
        if self.done_at.is_none() {
            // A little patience puts many small files into one packet.
            self.done_at = Some(now + (self.rtt.srtt() / 8).min(Duration::from_millis(5)));
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
    pub const fn set_credit(&mut self, credit: u32) {
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

    fn end(&mut self, reason: CloseReason) {
        if self.phase != Phase::Closed {
            self.phase = Phase::Closed;
            self.close_reason = reason;
            self.events.push_back(ClientEvent::Closed(reason));
        }
    }

    /// Handles one datagram (not a train: the shell splits it).
    pub fn handle_datagram(
        &mut self,
        now: Timestamp,
        from: SocketAddr,
        ecn: Option<Ecn>,
        packet: &mut [u8],
        storage: &mut impl Storage,
    ) {
        if let Err(reason) = self.try_handle(now, from, ecn, packet, storage) {
            self.stats.drops.count(reason);
        }
    }

    fn try_handle(
        &mut self,
        now: Timestamp,
        from: SocketAddr,
        ecn: Option<Ecn>,
        packet: &mut [u8],
        storage: &mut impl Storage,
    ) -> Result<(), DropReason> {
        let header = ParsedHeader::parse(packet).map_err(|_| DropReason::Unparsable)?;
        if header.association != self.config.id {
            return Err(DropReason::UnknownAssociation);
        }
        if from.port() == 0 {
            return Err(DropReason::PortZero);
        }
        if self.is_closed() {
            return Err(DropReason::Unexpected);
        }
        let expected = self.received.expected();
        let number = expand(header.packet_number_low, expected);
        if self.received.is_replay(number) {
            return Err(DropReason::Replayed);
        }
        let bytes = packet.len();
        let eliciting = matches!(header.kind, Kind::Data | Kind::Probe | Kind::Reset);
        if header.kind == Kind::Data {
            self.on_data(number, header, packet, storage)?;
        } else {
            let opened = self
                .opener
                .open_in_place(number, header.key_phase, packet, header.len());
            let body: &[u8] = opened.ok_or(DropReason::Unauthentic)?;
            self.on_small(now, header, body, bytes)?;
        }
        self.received.insert(number);
        self.note_received(now, ecn, bytes, number, expected, eliciting);
        Ok(())
    }

    fn note_received(
        &mut self,
        now: Timestamp,
        ecn: Option<Ecn>,
        bytes: usize,
        number: u64,
        expected: u64,
        eliciting: bool,
    ) {
        self.last_received = now;
        self.stats.bytes_received += bytes as u64;
        self.stats.packets += u64::from(eliciting);
        self.stats.missing_packets = self.received.expected() - self.received.count();
        match ecn {
            Some(Ecn::Ect0) => self.ecn.0 = self.ecn.0.wrapping_add(1),
            Some(Ecn::Ce) => self.ecn.1 = self.ecn.1.wrapping_add(1),
            Some(Ecn::Ect1 | Ecn::NotEct) | None => {}
        }
        if eliciting && self.phase == Phase::Confirming {
            self.phase = Phase::Open;
        }
        let (largest, gap) = (number >= expected, number != expected);
        self.acks
            .on_packet(now, self.rtt.srtt(), largest, gap, eliciting);
    }

    fn on_small(
        &mut self,
        now: Timestamp,
        header: ParsedHeader,
        body: &[u8],
        bytes: usize,
    ) -> Result<(), DropReason> {
        let echo = || Echo::ref_from_bytes(body).map_err(|_| DropReason::Unparsable);
        match header.kind {
            Kind::SynAck => self.on_syn_ack(now, body, bytes)?,
            Kind::Probe | Kind::Data => {}
            Kind::Ping => self.push_echo(Kind::Pong, echo()?.token.get()),
            Kind::PathChallenge => self.push_echo(Kind::PathResponse, echo()?.token.get()),
            Kind::Pong => {
                let sent = Timestamp::from_nanos(echo()?.token.get());
                self.sample_rtt(now, now - sent);
            }
            Kind::DoneAck => {
                let statuses = StreamStatuses::parse(body).map_err(|_| DropReason::Unparsable)?;
                self.done.retain(|entry| {
                    !statuses
                        .0
                        .iter()
                        .any(|acked| acked.stream() == entry.stream())
                });
                if self.done.is_empty() {
                    self.done_at = None;
                }
            }
            Kind::Reset => {
                let reset = Reset::ref_from_bytes(body).map_err(|_| DropReason::Unparsable)?;
                if self.by_id.contains_key(&header.stream) {
                    let end = StreamEnd::from_code(reset.code.get());
                    self.events.push_back(ClientEvent::StreamReset {
                        stream: header.stream,
                        end,
                    });
                }
            }
            Kind::Close => {
                Close::ref_from_bytes(body).map_err(|_| DropReason::Unparsable)?;
                self.end(CloseReason::Peer);
            }
            Kind::CloseAck => {
                if self.phase == Phase::Closing {
                    self.end(CloseReason::Finished);
                }
            }
            Kind::Syn | Kind::HandshakeAck | Kind::Ack | Kind::PathResponse | Kind::Done => {
                return Err(DropReason::Unexpected);
            }
        }
        Ok(())
    }

    fn push_echo(&mut self, kind: Kind, token: u64) {
        // The peer repeats what is dropped.
        if self.echoes.len() < 16 {
            self.echoes.push_back((kind, token));
        }
    }

    fn sample_rtt(&mut self, now: Timestamp, sample: Duration) {
        self.rtt.update(now, sample, Duration::ZERO);
        let micros = u64::try_from(sample.as_micros()).unwrap_or(u64::MAX).max(1);
        self.rtt_histogram.saturating_record(micros);
    }

    fn on_syn_ack(&mut self, now: Timestamp, body: &[u8], bytes: usize) -> Result<(), DropReason> {
        let (ack, _) = SynAck::ref_from_prefix(body).map_err(|_| DropReason::Unparsable)?;
        if self.phase == Phase::Connecting {
            self.phase = Phase::Confirming;
            self.handshake = Some(now - self.started);
            self.tries = 0;
            self.sample_rtt(now, now - Timestamp::from_nanos(ack.time.get()));
            self.events.push_back(ClientEvent::Established);
        }
        // A datagram has at most 65,507 bytes.
        self.last_cookie = (ack.cookie.get(), u16::try_from(bytes).unwrap_or(u16::MAX));
        if self.cookies.len() < 8 {
            self.cookies.push_back(self.last_cookie);
        }
        self.repeat_at = now + self.rtt.pto(Duration::ZERO);
        Ok(())
    }

    /// Sizes of the SYNs: the largest common datagram and the base size at first, so that a path that carries the
    /// larger is known at once and one that does not still answers; a small one when nothing came back.
    fn syn_sizes(&self) -> [usize; 2] {
        let max = self
            .config
            .max_datagram
            .clamp(MIN_DATAGRAM_BYTES, MAX_DATAGRAM_BYTES);
        let tag = self.sealer.tag_bytes();
        let size = |cells: u16| {
            let bytes = DATA_HEADER_BYTES + usize::from(cells * self.config.cell_bytes) + tag;
            bytes.min(max)
        };
        if self.tries < 2 {
            [size(CELLS_LADDER[2]), size(CELLS_LADDER[1])]
        } else {
            [size(CELLS_LADDER[1]), MIN_DATAGRAM_BYTES]
        }
    }

    fn schedule_syns(&mut self, now: Timestamp) {
        self.syns_left = 2;
        let pto = self
            .rtt
            .pto(Duration::ZERO)
            .saturating_mul(1 << self.tries.min(10));
        self.repeat_at = now + pto.min(MAX_BACKOFF);
    }

    /// When [`Self::handle_timeout`] must be called next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let idle = self.last_received + IDLE_TIMEOUT;
        let mut next = match self.phase {
            Phase::Closed => return None,
            Phase::Connecting => self
                .repeat_at
                .min(self.started + self.config.handshake_timeout),
            Phase::Confirming => self.repeat_at.min(idle).min(self.ping_at),
            Phase::Open => idle.min(self.ping_at),
            Phase::Closing => self.repeat_at,
        };
        if let Some(deadline) = self.acks.deadline() {
            next = next.min(deadline);
        }
        // Before the handshake nobody can be told, so waiting for that moment would spin.
        if let Some(done_at) = self.done_at.filter(|_| self.phase != Phase::Connecting) {
            next = next.min(done_at);
        }
        Some(next)
    }

    /// Does what is due; what it wants to send comes from [`Self::poll_transmit`].
    pub fn handle_timeout(&mut self, now: Timestamp) {
        match self.phase {
            Phase::Closed => {}
            Phase::Connecting => {
                if now >= self.started + self.config.handshake_timeout {
                    self.end(CloseReason::HandshakeTimeout);
                } else if now >= self.repeat_at {
                    self.tries += 1;
                    self.schedule_syns(now);
                }
            }
            Phase::Confirming if now >= self.repeat_at && self.cookies.is_empty() => {
                self.tries += 1;
                let wait = self
                    .rtt
                    .pto(Duration::ZERO)
                    .saturating_mul(1 << self.tries.min(10));
                self.repeat_at = now + wait.min(MAX_BACKOFF);
                self.cookies.push_back(self.last_cookie);
            }
            Phase::Confirming | Phase::Open => {}
            Phase::Closing => {
                if now >= self.repeat_at && self.tries >= CLOSE_TRIES {
                    self.end(CloseReason::Finished);
                }
            }
        }
        if matches!(self.phase, Phase::Confirming | Phase::Open)
            && now >= self.last_received + IDLE_TIMEOUT
        {
            self.end(CloseReason::Idle);
        }
    }

    /// The next packet, written to the front of `buffer` ([`BASE_DATAGRAM_BYTES`] and the largest SYN at least).
    /// Call until `None`.
    pub fn poll_transmit(&mut self, now: Timestamp, buffer: &mut [u8]) -> Option<Outgoing> {
        let bytes = match self.phase {
            Phase::Closed => None,
            Phase::Connecting => self.write_syn(now, buffer),
            Phase::Closing => self
                .write_ack(now, buffer)
                .or_else(|| self.write_done(now, buffer))
                .or_else(|| self.write_close(now, buffer)),
            Phase::Confirming | Phase::Open => self
                .write_handshake_ack(buffer)
                .or_else(|| self.write_echo(buffer))
                .or_else(|| self.write_ack(now, buffer))
                .or_else(|| self.write_done(now, buffer))
                .or_else(|| self.write_ping(now, buffer)),
        }?;
        Some(Outgoing::single(self.config.server, bytes))
    }

    fn write(&mut self, kind: Kind, body: &[u8], padded_to: usize, out: &mut [u8]) -> usize {
        self.sealer.maybe_update();
        let number = self.next_number;
        self.next_number += 1;
        let bytes = (HEADER_BYTES + body.len() + self.sealer.tag_bytes()).max(padded_to);
        let packet = &mut out[..bytes];
        packet.fill(0);
        ParsedHeader {
            kind,
            key_phase: self.sealer.key_phase(),
            stream: 0,
            association: self.config.id,
            packet_number_low: (number & u64::from(u32::MAX)) as u32,
            first_cell: 0,
        }
        .write(packet);
        packet[HEADER_BYTES..HEADER_BYTES + body.len()].copy_from_slice(body);
        self.sealer.seal_in_place(number, packet, HEADER_BYTES);
        bytes
    }

    fn write_syn(&mut self, now: Timestamp, out: &mut [u8]) -> Option<usize> {
        let size = self.syn_sizes()[self.syns_left.checked_sub(1)? as usize];
        self.syns_left -= 1;
        let syn = Syn {
            version: U16::new(PROTOCOL_VERSION),
            // Clamped to 65,507 before.
            max_datagram: U16::new(u16::try_from(self.config.max_datagram).unwrap_or(u16::MAX)),
            credit: U32::new(self.config.credit),
            time: U64::new(now.as_nanos()),
        };
        Some(self.write(Kind::Syn, syn.as_bytes(), size, out))
    }

    fn write_handshake_ack(&mut self, out: &mut [u8]) -> Option<usize> {
        let (cookie, bytes) = self.cookies.pop_front()?;
        let ack = HandshakeAck {
            cookie: U64::new(cookie),
            credit: U32::new(self.config.credit),
            bytes: U16::new(bytes),
            reserved: U16::ZERO,
        };
        Some(self.write(Kind::HandshakeAck, ack.as_bytes(), 0, out))
    }

    fn write_echo(&mut self, out: &mut [u8]) -> Option<usize> {
        let (kind, token) = self.echoes.pop_front()?;
        Some(
            self.write(
                kind,
                Echo {
                    token: U64::new(token),
                }
                .as_bytes(),
                0,
                out,
            ),
        )
    }

    fn write_ack(&mut self, now: Timestamp, out: &mut [u8]) -> Option<usize> {
        if self.acks.deadline().is_none_or(|deadline| deadline > now) {
            return None;
        }
        let largest = self.received.largest()?;
        let words = self.acks.on_ack_sent(now, &self.received);
        let mut body = [0_u8; crate::wire::ack::MAX_ACK_BODY_BYTES];
        let mut at = size_of::<AckHeader>();
        for back in 0..words as u64 {
            let word = (largest / 64)
                .checked_sub(back)
                .map_or(0, |index| self.received.word(index));
            body[at..at + 8].copy_from_slice(&word.to_be_bytes());
            at += 8;
        }
        let mut streams = 0;
        for id in self.acks.recent_streams().take(MAX_ACK_STREAMS) {
            let Some(stream) = self.by_id.get(&id).map(|slot| &self.streams[*slot]) else {
                continue;
            };
            let progress = StreamProgress {
                stream: U32::new(id),
                lowest_missing: U32::new(stream.cells.lowest_missing()),
            };
            body[at..at + 8].copy_from_slice(progress.as_bytes());
            at += 8;
            streams += 1;
        }
        let delay = u32::try_from(self.acks.delay(now).as_micros()).unwrap_or(u32::MAX);
        let header = AckHeader {
            largest: U64::new(largest),
            delay_us: U32::new(delay),
            credit: U32::new(self.config.credit),
            ect0: U32::new(self.ecn.0),
            ce: U32::new(self.ecn.1),
            socket_drops: U32::new(self.socket_drops),
            // Both counts are bounded by constants that fit a byte.
            words: u8::try_from(words).unwrap_or(u8::MAX),
            streams,
            reserved: U16::new(0),
        };
        body[..size_of::<AckHeader>()].copy_from_slice(header.as_bytes());
        self.stats.acks_sent += 1;
        Some(self.write(Kind::Ack, &body[..at], 0, out))
    }

    fn write_done(&mut self, now: Timestamp, out: &mut [u8]) -> Option<usize> {
        let due = self.done_at.is_some_and(|at| at <= now)
            || self.phase == Phase::Closing && self.tries == 0;
        if self.done.is_empty() || !due {
            return None;
        }
        let count = self.done.len().min(MAX_DONE_ENTRIES);
        let body = self.done[..count].as_bytes().to_vec();
        // The rest, and what is not answered, comes in turn.
        self.done.rotate_left(count);
        self.done_at = Some(if self.done.len() > count {
            now + self.rtt.srtt() / 8
        } else {
            now + self.rtt.pto(Duration::ZERO)
        });
        if self.phase == Phase::Closing && self.tries == 0 {
            self.tries = 1;
        }
        Some(self.write(Kind::Done, &body, 0, out))
    }

    fn write_close(&mut self, now: Timestamp, out: &mut [u8]) -> Option<usize> {
        if now < self.repeat_at || self.tries >= CLOSE_TRIES {
            return None;
        }
        self.tries += 1;
        // One late answer may have made the estimate enormous.
        self.repeat_at = now + self.rtt.pto(Duration::ZERO).min(MAX_BACKOFF);
        let close = Close {
            code: U16::new(CloseReason::Finished.code()),
        };
        Some(self.write(Kind::Close, close.as_bytes(), 0, out))
    }

    fn write_ping(&mut self, now: Timestamp, out: &mut [u8]) -> Option<usize> {
        if now < self.ping_at {
            return None;
        }
        let busy = !self.streams.is_empty();
        self.ping_at = now
            + if busy {
                PING_INTERVAL.max(self.rtt.srtt())
            } else {
                KEEP_ALIVE
            };
        Some(
            self.write(
                Kind::Ping,
                Echo {
                    token: U64::new(now.as_nanos()),
                }
                .as_bytes(),
                0,
                out,
            ),
        )
    }

    /// The next event. Call until `None`.
    pub fn poll_event(&mut self) -> Option<ClientEvent> {
        self.events.pop_front()
    }
}

const _: () = assert!(BASE_DATAGRAM_BYTES >= MIN_DATAGRAM_BYTES);
