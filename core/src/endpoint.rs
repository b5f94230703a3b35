//! The server's side: many associations over one socket.
//!
//! [`Endpoint`] finds the association of a datagram, gives each its turn to send (deficit round robin), and keeps one
//! timer per association on the wheel: the earliest of its deadlines, in which every packet in flight has its own.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use foldhash::fast::RandomState;

use crate::cell_set::ChunkPool;
use crate::error::{CloseReason, ConfigError, DropReason, StreamEnd};
use crate::layout::SegmentRange;
use crate::limits::{MAX_DATAGRAM_BYTES, MAX_TRAIN_BYTES};
use crate::server::{AssociationConfig, Policy, ServerAssociation, Source, SourceKey};
use crate::stats::{DropCounters, LimitedBy, PathReport};
use crate::timer_wheel::TimerWheel;
use crate::units::{Ecn, Timestamp};
use crate::wire::ParsedHeader;

/// What one association may send before the next has its turn: one full train.
const QUANTUM_BYTES: i64 = MAX_TRAIN_BYTES as i64;

/// No timer is armed closer than this.
const TIMER_GRANULARITY: Duration = Duration::from_micros(20);

/// A packet or train of packets to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outgoing {
    /// Where to.
    pub to: SocketAddr,
    /// Bytes written to the front of the buffer.
    pub bytes: usize,
    /// Bytes of each packet but the last, which may be shorter; equals `bytes` when there is one packet.
    pub segment_bytes: usize,
    /// A path MTU probe: EMSGSIZE is an answer, not an error.
    pub is_mtu_probe: bool,
    /// ECN codepoint of all its packets: [`Ecn::NotEct`] or [`Ecn::Ect0`].
    pub ecn: Ecn,
}

impl Outgoing {
    pub(crate) const fn single(to: SocketAddr, bytes: usize) -> Self {
        Self {
            to,
            bytes,
            segment_bytes: bytes,
            is_mtu_probe: false,
            ecn: Ecn::NotEct,
        }
    }
}

/// What the shell has to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerEvent {
    /// The handshake is complete; data flows.
    Established {
        /// Number of the association.
        association: u32,
        /// The client's UDP address.
        address: SocketAddr,
    },
    /// The sender needs the file no more: release it.
    StreamFreed {
        /// Number of the association.
        association: u32,
        /// Number of the stream.
        stream: u32,
        /// Its file.
        source: SourceKey,
        /// `None`: every cell was acknowledged or the client said so; else why it ended early.
        end: Option<StreamEnd>,
    },
    /// The client says what became of a stream: 0 = verified and stored.
    StreamConfirmed {
        /// Number of the association.
        association: u32,
        /// Number of the stream.
        stream: u32,
        /// 0 = verified and stored, else given up.
        status: u8,
    },
    /// A round trip was sampled.
    RttSample {
        /// Number of the association.
        association: u32,
        /// The sample.
        rtt: Duration,
    },
    /// The association ended.
    Closed {
        /// Number of the association.
        association: u32,
        /// Why.
        reason: CloseReason,
    },
}

struct Entry {
    association: ServerAssociation,
    deficit: i64,
    /// Stands in one of the rings of those that may have something to send.
    ready: bool,
}

/// All associations of a server.
pub struct Endpoint {
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
    by_id: HashMap<u32, u32, RandomState>,
    wheel: TimerWheel,
    ready_fair: VecDeque<u32>,
    ready_low: VecDeque<u32>,
    events: VecDeque<ServerEvent>,
    pool: ChunkPool,
    scratch: Vec<u8>,
    drops: DropCounters,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Endpoint")
            .field("associations", &self.by_id.len())
            .finish_non_exhaustive()
    }
}

impl Endpoint {
    /// An endpoint for up to `associations`; the wheel starts at `start`.
    #[must_use]
    pub fn new(start: Timestamp, associations: u32) -> Self {
        Self {
            entries: Vec::new(),
            free: Vec::new(),
            by_id: HashMap::default(),
            wheel: TimerWheel::with_capacity(associations, start),
            ready_fair: VecDeque::new(),
            ready_low: VecDeque::new(),
            events: VecDeque::new(),
            pool: ChunkPool::default(),
            scratch: vec![0; MAX_DATAGRAM_BYTES],
            drops: DropCounters::default(),
        }
    }

    /// Number of associations, lingering ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Datagrams that belonged to no association, by reason.
    #[must_use]
    pub const fn drops(&self) -> &DropCounters {
        &self.drops
    }

    /// An association, for its statistics.
    #[must_use]
    pub fn association(&self, id: u32) -> Option<&ServerAssociation> {
        let slot = *self.by_id.get(&id)?;
        self.entries[slot as usize]
            .as_ref()
            .map(|entry| &entry.association)
    }

    #[cfg(test)]
    pub(crate) fn association_mut(&mut self, id: u32) -> &mut ServerAssociation {
        let slot = self.by_id[&id] as usize;
        let entry = self.entries[slot].as_mut().expect("in use");
        &mut entry.association
    }

    /// All associations.
    pub fn associations(&self) -> impl Iterator<Item = &ServerAssociation> {
        self.entries
            .iter()
            .flatten()
            .map(|entry| &entry.association)
    }

    /// Whether an association number is in use.
    #[must_use]
    pub fn contains(&self, id: u32) -> bool {
        self.by_id.contains_key(&id)
    }

    /// Opens an association that waits for its client's SYN. False when the number is in use.
    #[must_use]
    pub fn open(&mut self, now: Timestamp, config: AssociationConfig) -> bool {
        if self.by_id.contains_key(&config.id) {
            return false;
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.entries.push(None);
            u32::try_from(self.entries.len() - 1).unwrap_or(u32::MAX)
        });
        if slot as usize >= self.wheel.capacity() {
            let wanted = u32::try_from(self.wheel.capacity() * 2)
                .unwrap_or(u32::MAX)
                .max(slot + 1);
            self.wheel.grow(wanted);
        }
        self.by_id.insert(config.id, slot);
        let association = ServerAssociation::new(now, config);
        self.entries[slot as usize] = Some(Entry {
            association,
            deficit: 0,
            ready: false,
        });
        self.rearm(now, slot);
        true
    }

    fn slot(&self, id: u32) -> Result<u32, ConfigError> {
        self.by_id
            .get(&id)
            .copied()
            .ok_or(ConfigError::UnknownAssociation)
    }

    /// Begins a stream; see [`ServerAssociation::start_stream`].
    ///
    /// # Errors
    /// [`ConfigError`] when there is no such association or the stream is impossible.
    pub fn start_stream(
        &mut self,
        now: Timestamp,
        id: u32,
        stream: u32,
        source: SourceKey,
        file_bytes: u64,
        missing: &[SegmentRange],
    ) -> Result<(), ConfigError> {
        let slot = self.slot(id)?;
        let Some(entry) = &mut self.entries[slot as usize] else {
            return Err(ConfigError::UnknownAssociation);
        };
        entry
            .association
            .start_stream(stream, source, file_bytes, missing, &mut self.pool)?;
        self.touch(now, slot);
        Ok(())
    }

    /// The shell has bytes or hashes of `source` again.
    pub fn source_ready(&mut self, now: Timestamp, id: u32, source: SourceKey) {
        self.with(now, id, |association, _, _| {
            association.source_ready(source);
        });
    }

    /// The shell has bytes or hashes of several sources again.
    pub fn sources_ready(
        &mut self,
        now: Timestamp,
        id: u32,
        sources: impl IntoIterator<Item = SourceKey>,
    ) {
        self.with(now, id, |association, _, _| {
            for source in sources {
                association.source_ready(source);
            }
        });
    }

    /// Ends one stream early; the client is told.
    pub fn end_stream(&mut self, now: Timestamp, id: u32, stream: u32, end: StreamEnd) {
        self.with(now, id, |association, pool, events| {
            association.end_stream(stream, end, pool, events);
        });
    }

    /// Ends every stream of `source` early.
    pub fn end_source(&mut self, now: Timestamp, id: u32, source: SourceKey, end: StreamEnd) {
        self.with(now, id, |association, pool, events| {
            association.end_source(source, end, pool, events);
        });
    }

    /// Closes an association; the client is told once.
    pub fn close(&mut self, now: Timestamp, id: u32, reason: CloseReason) {
        self.with(now, id, |association, pool, events| {
            association.close(now, reason, pool, events);
        });
    }

    /// The control connection of an association's client is gone. If the client is, too, the association ends soon.
    pub fn on_control_lost(&mut self, now: Timestamp, id: u32) {
        self.with(now, id, |association, _, _| {
            association.on_control_lost(now);
        });
    }

    fn with(
        &mut self,
        now: Timestamp,
        id: u32,
        act: impl FnOnce(&mut ServerAssociation, &mut ChunkPool, &mut VecDeque<ServerEvent>),
    ) {
        let Ok(slot) = self.slot(id) else { return };
        if let Some(entry) = &mut self.entries[slot as usize] {
            act(&mut entry.association, &mut self.pool, &mut self.events);
            self.touch(now, slot);
        }
    }

    /// Handles one datagram (not a train: the shell splits it).
    pub fn handle_datagram(
        &mut self,
        now: Timestamp,
        from: SocketAddr,
        ecn: Option<Ecn>,
        datagram: &mut [u8],
    ) {
        if from.port() == 0 {
            return self.drops.count(DropReason::PortZero);
        }
        let Ok(header) = ParsedHeader::parse(datagram) else {
            return self.drops.count(DropReason::Unparsable);
        };
        let Ok(slot) = self.slot(header.association) else {
            return self.drops.count(DropReason::UnknownAssociation);
        };
        let Some(entry) = &mut self.entries[slot as usize] else {
            return;
        };
        let (pool, events) = (&mut self.pool, &mut self.events);
        entry
            .association
            .handle_packet(now, from, ecn, header, datagram, pool, events);
        self.touch(now, slot);
    }

    /// Fires what is due.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        while let Some(slot) = self.wheel.pop_expired(now) {
            let Some(entry) = &mut self.entries[slot as usize] else {
                continue;
            };
            if entry
                .association
                .handle_timeout(now, &mut self.pool, &mut self.events)
            {
                self.forget(slot);
            } else {
                self.touch(now, slot);
            }
        }
    }

    fn forget(&mut self, slot: u32) {
        if let Some(entry) = self.entries[slot as usize].take() {
            self.by_id.remove(&entry.association.id());
            if entry.ready {
                self.ready_fair.retain(|other| *other != slot);
                self.ready_low.retain(|other| *other != slot);
            }
        }
        self.wheel.cancel(slot);
        self.free.push(slot);
    }

    /// Something changed: the association may have something to send, and its deadline may have moved.
    fn touch(&mut self, now: Timestamp, slot: u32) {
        if let Some(entry) = &mut self.entries[slot as usize]
            && !entry.ready
        {
            entry.ready = true;
            match entry.association.config.policy {
                Policy::Fair => self.ready_fair.push_back(slot),
                Policy::Low => self.ready_low.push_back(slot),
            }
        }
        self.rearm(now, slot);
    }

    fn rearm(&mut self, now: Timestamp, slot: u32) {
        let Some(entry) = &mut self.entries[slot as usize] else {
            return;
        };
        let association = &mut entry.association;
        let mut deadline = association.next_timeout();
        if let Some(release) = association.pacing_release(now) {
            deadline = deadline.min(release);
        }
        if let Some(tail) = association.tail_deadline(now) {
            deadline = deadline.min(tail);
        }
        // Whatever is due already was tried just now: a timer in the past would spin.
        let deadline = deadline.max(now + TIMER_GRANULARITY);
        if self.wheel.deadline(slot) != Some(deadline) {
            self.wheel.arm(slot, deadline);
        }
    }

    /// The next packet or train, written to the front of `buffer` ([`MAX_TRAIN_BYTES`] at least). Call until `None`.
    ///
    /// # Panics
    /// When `buffer` is too small (a bug of the caller).
    pub fn poll_transmit<S: Source>(
        &mut self,
        now: Timestamp,
        source: &mut S,
        buffer: &mut [u8],
    ) -> Option<Outgoing> {
        assert!(buffer.len() >= MAX_TRAIN_BYTES, "a train needs room");
        self.poll_ring(now, source, buffer, Policy::Fair)
            .or_else(|| self.poll_ring(now, source, buffer, Policy::Low))
    }

    fn poll_ring<S: Source>(
        &mut self,
        now: Timestamp,
        source: &mut S,
        buffer: &mut [u8],
        policy: Policy,
    ) -> Option<Outgoing> {
        loop {
            let ring = match policy {
                Policy::Fair => &mut self.ready_fair,
                Policy::Low => &mut self.ready_low,
            };
            let slot = *ring.front()?;
            let Some(entry) = &mut self.entries[slot as usize] else {
                ring.pop_front();
                continue;
            };
            if entry.deficit <= 0 {
                entry.deficit += QUANTUM_BYTES;
                ring.rotate_left(1);
                continue;
            }
            let mut train = crate::server::Train {
                source,
                buffer,
                scratch: &mut self.scratch,
                pool: &mut self.pool,
                events: &mut self.events,
                begun: None,
            };
            if let Some(outgoing) = entry.association.poll_transmit(now, &mut train) {
                entry.association.limits.set(now, LimitedBy::Host);
                entry.deficit -= i64::try_from(outgoing.bytes).unwrap_or(QUANTUM_BYTES);
                return Some(outgoing);
            }
            let limit = entry.association.judge_limit(now);
            entry.association.limits.set(now, limit);
            entry.ready = false;
            entry.deficit = 0;
            ring.pop_front();
            self.rearm(now, slot);
        }
    }

    /// The shell lets nothing out for now: that is what all wait for who could send.
    pub fn hold_back(&mut self, now: Timestamp, by: LimitedBy) {
        for slot in self.ready_fair.iter().chain(&self.ready_low) {
            if let Some(entry) = &mut self.entries[*slot as usize] {
                entry.association.limits.set(now, by);
            }
        }
    }

    /// How an association's sending went since the last report; `None` when nothing was sent. For
    /// [`Frame::PathReport`](crate::control::Frame::PathReport); the shell adds its own limit.
    pub fn report(&mut self, now: Timestamp, id: u32) -> Option<PathReport> {
        let slot = self.slot(id).ok()?;
        self.entries[slot as usize]
            .as_mut()?
            .association
            .report(now)
    }

    /// Tells that the kernel refused a datagram of `bytes` to `to` (EMSGSIZE).
    pub fn on_too_large(&mut self, now: Timestamp, to: SocketAddr, bytes: usize) {
        for entry in self.entries.iter_mut().flatten() {
            if entry.association.path() == Some(to) {
                entry.association.on_too_large(now, bytes);
            }
        }
    }

    /// When to call [`Self::handle_timeout`] next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.wheel.next_deadline()
    }

    /// Whether something may be sent right now (transmission stopped because the socket was full or a budget ran out).
    #[must_use]
    pub fn has_ready(&self) -> bool {
        !self.ready_fair.is_empty() || !self.ready_low.is_empty()
    }

    /// The next event. Call until `None`.
    pub fn poll_event(&mut self) -> Option<ServerEvent> {
        self.events.pop_front()
    }
}
