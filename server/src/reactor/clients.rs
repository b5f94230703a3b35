//! All control connections: their queues, their deadlines, and who needs attention.

use std::collections::HashMap;
use std::net::IpAddr;

use bytes::Bytes;
use columba_core::control::{ControlError, Frame, Framing, Side};
use columba_core::timer_wheel::TimerWheel;
use columba_core::units::Timestamp;
use columba_net::control_stream::{ControlStream, ReadStop};
use mio::{Interest, Registry};

use crate::connection::{Connection, Due, Phase};
use crate::limits::{MAX_STRANGERS, MAX_STRANGERS_PER_ADDRESS};
use crate::lobby::{Post, encode};
use crate::slots::{SlotId, Slots};

/// Connections the wheel begins with.
const INITIAL_TIMERS: u32 = 64;

/// The connections.
pub(crate) struct Clients {
    slots: Slots<Connection>,
    /// One deadline per connection, by its place in the slab.
    wheel: TimerWheel,
    /// Something waits to be sent to these.
    dirty: Vec<SlotId>,
    /// Something may be read from these.
    ready: Vec<SlotId>,
    /// Connections that began to close since the last look: they are out of the chat.
    ended: Vec<SlotId>,
    /// Connections that have not said Hello.
    strangers: usize,
    strangers_by_address: HashMap<IpAddr, usize>,
    framing: Framing,
    now: Timestamp,
    /// Clients cut off because they did not read.
    pub(crate) slow_readers: u64,
    /// Bytes that were no frames.
    pub(crate) bad_frames: u64,
}

impl Post for Clients {
    fn deliver(&mut self, to: SlotId, frame: &Bytes) {
        let now = self.now;
        if let Some(connection) = self.slots.get_mut(to) {
            let was_closing = connection.is_closing();
            connection.push(frame, now);
            if connection.is_closing() && !was_closing {
                self.slow_readers += 1;
                self.ended.push(to);
            }
            self.mark_dirty(to);
        }
    }
}

impl Clients {
    pub(crate) fn new(framing: Framing, now: Timestamp) -> Self {
        Self {
            slots: Slots::default(),
            wheel: TimerWheel::with_capacity(INITIAL_TIMERS, now),
            dirty: Vec::new(),
            ready: Vec::new(),
            ended: Vec::new(),
            strangers: 0,
            strangers_by_address: HashMap::new(),
            framing,
            now,
            slow_readers: 0,
            bad_frames: 0,
        }
    }

    pub(crate) fn set_now(&mut self, now: Timestamp) {
        self.now = now;
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Connections that are admitted.
    pub(crate) fn admitted(&self) -> usize {
        self.slots.len() - self.strangers
    }

    pub(crate) fn ids(&self) -> Vec<SlotId> {
        self.slots.ids().collect()
    }

    pub(crate) fn get_mut(&mut self, id: SlotId) -> Option<&mut Connection> {
        self.slots.get_mut(id)
    }

    pub(crate) fn get(&self, id: SlotId) -> Option<&Connection> {
        self.slots.get(id)
    }

    /// Whether a connection from there may wait for its Hello.
    pub(crate) fn admits_stranger(&self, address: IpAddr) -> bool {
        let from_there = self
            .strangers_by_address
            .get(&address)
            .copied()
            .unwrap_or(0);
        self.strangers < MAX_STRANGERS
            && (address.is_loopback() || from_there < MAX_STRANGERS_PER_ADDRESS)
    }

    /// Takes a new connection.
    ///
    /// # Errors
    /// The poll refuses it.
    pub(crate) fn insert(
        &mut self,
        registry: &Registry,
        mut stream: ControlStream,
        address: std::net::SocketAddr,
    ) -> std::io::Result<SlotId> {
        let (now, framing) = (self.now, self.framing);
        let mut registered = Ok(());
        let id = self.slots.insert_with(|id| {
            // Edge-triggered: once for its whole life.
            registered = registry.register(
                &mut stream,
                id.token(),
                Interest::READABLE | Interest::WRITABLE,
            );
            Connection::new(stream, address, framing, now)
        });
        if let Err(error) = registered {
            self.slots.remove(id);
            return Err(error);
        }
        self.strangers += 1;
        *self.strangers_by_address.entry(address.ip()).or_default() += 1;
        if id.index() >= self.wheel.capacity() {
            let wanted = u32::try_from(id.index().saturating_mul(2)).unwrap_or(u32::MAX);
            self.wheel.grow(wanted);
        }
        self.rearm(id);
        self.mark_ready(id);
        Ok(id)
    }

    /// The client said Hello and is admitted.
    pub(crate) fn admit(&mut self, id: SlotId) {
        let Some(connection) = self.slots.get_mut(id) else {
            return;
        };
        if matches!(connection.phase, Phase::Greeting { .. }) {
            connection.phase = Phase::Open;
            connection.counts_as_stranger = false;
            let address = connection.address.ip();
            self.no_stranger(address);
            self.rearm(id);
        }
    }

    fn no_stranger(&mut self, address: IpAddr) {
        self.strangers = self.strangers.saturating_sub(1);
        if let Some(count) = self.strangers_by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.strangers_by_address.remove(&address);
            }
        }
    }

    /// Forgets a connection; the socket closes.
    pub(crate) fn remove(&mut self, registry: &Registry, id: SlotId) -> Option<Connection> {
        let mut connection = self.slots.remove(id)?;
        if connection.counts_as_stranger {
            self.no_stranger(connection.address.ip());
        }
        if let Ok(timer) = u32::try_from(id.index()) {
            self.wheel.cancel(timer);
        }
        if let Err(error) = registry.deregister(&mut connection.stream) {
            tracing::debug!(%error, "a connection could not be taken out of the poll");
        }
        Some(connection)
    }

    /// Tells a client that something was refused.
    pub(crate) fn refuse(&mut self, id: SlotId, code: ControlError, request: u32, text: &str) {
        let now = self.now;
        if let Some(connection) = self.slots.get_mut(id) {
            connection.refuse(code, request, text, now);
            self.mark_dirty(id);
        }
    }

    /// Ends a connection with these last words.
    pub(crate) fn end(&mut self, id: SlotId, code: ControlError, text: &str) {
        let now = self.now;
        if let Some(connection) = self.slots.get_mut(id) {
            connection.end(code, text, now);
            self.ended.push(id);
            self.mark_dirty(id);
            self.rearm(id);
        }
    }

    /// Ends a connection once everything that waits is sent.
    pub(crate) fn end_after_queue(&mut self, id: SlotId, words: Option<(ControlError, &str)>) {
        let now = self.now;
        if let Some(connection) = self.slots.get_mut(id) {
            connection.end_after_queue(words, now);
            self.ended.push(id);
            self.mark_dirty(id);
            self.rearm(id);
        }
    }

    /// Connections that began to close since the last look.
    pub(crate) fn take_ended(&mut self) -> Vec<SlotId> {
        std::mem::take(&mut self.ended)
    }

    /// Connections on which everything is said, and from which nothing is waiting to be read: closing them now loses
    /// nothing. (Unread bytes would make the close a reset, which may overtake the last words.)
    pub(crate) fn said_goodbye(&self) -> Vec<SlotId> {
        let gone = |id: &SlotId| {
            self.slots
                .get(*id)
                .is_some_and(|connection| connection.all_said && !connection.readable)
        };
        self.slots.ids().filter(gone).collect()
    }

    /// Sends one frame to one client.
    pub(crate) fn send(&mut self, id: SlotId, frame: &Frame<'_>) {
        let frame = encode(frame, self.framing);
        self.deliver(id, &frame);
    }

    pub(crate) fn mark_dirty(&mut self, id: SlotId) {
        if let Some(connection) = self.slots.get_mut(id)
            && !connection.in_dirty
        {
            connection.in_dirty = true;
            self.dirty.push(id);
        }
    }

    pub(crate) fn mark_ready(&mut self, id: SlotId) {
        if let Some(connection) = self.slots.get_mut(id)
            && !connection.in_ready
        {
            connection.in_ready = true;
            self.ready.push(id);
        }
    }

    /// Whether somebody needs attention without a further event.
    pub(crate) fn has_work(&self) -> bool {
        !self.ready.is_empty() || !self.dirty.is_empty()
    }

    /// Those that may be read, once.
    pub(crate) fn take_ready(&mut self) -> Vec<SlotId> {
        let ready = std::mem::take(&mut self.ready);
        for &id in &ready {
            if let Some(connection) = self.slots.get_mut(id) {
                connection.in_ready = false;
            }
        }
        ready
    }

    /// Sends what waits, to all who have something. Returns those whose connection broke or is over.
    pub(crate) fn flush(&mut self) -> Vec<SlotId> {
        let mut gone = Vec::new();
        for id in std::mem::take(&mut self.dirty) {
            let now = self.now;
            let Some(connection) = self.slots.get_mut(id) else {
                continue;
            };
            connection.in_dirty = false;
            match connection.pump(now) {
                Ok(true) => self.mark_dirty(id),
                Ok(false) => {}
                Err(error) => {
                    tracing::debug!(client = %connection.address, %error, "a connection broke");
                    gone.push(id);
                    continue;
                }
            }
            self.rearm(id);
        }
        gone
    }

    /// Reads and drops what a client sends that is on its way out. `true` when it is gone.
    pub(crate) fn discard(&mut self, id: SlotId, budget: usize) -> bool {
        let Some(connection) = self.slots.get_mut(id) else {
            return true;
        };
        let mut sink = Vec::new();
        match connection.stream.read(&mut sink, budget) {
            Ok(outcome) => match outcome.stop {
                ReadStop::PeerClosed | ReadStop::Truncated => true,
                ReadStop::Drained => {
                    connection.readable = false;
                    false
                }
                ReadStop::BudgetSpent => {
                    self.mark_ready(id);
                    false
                }
            },
            Err(_) => true,
        }
    }

    /// Arms the connection's deadline, if it moved.
    fn rearm(&mut self, id: SlotId) {
        let (Some(connection), Ok(timer)) = (self.slots.get(id), u32::try_from(id.index())) else {
            return;
        };
        let deadline = match connection.due(self.now) {
            Due::At(at) => at,
            Due::Ping | Due::End(_) | Due::Drop => self.now,
        };
        if self.wheel.deadline(timer) != Some(deadline) {
            self.wheel.arm(timer, deadline);
        }
    }

    /// The next deadline of any connection.
    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        self.wheel.next_deadline()
    }

    /// Does what is due. Returns those that had time enough to close.
    pub(crate) fn handle_timeouts(&mut self) -> Vec<SlotId> {
        let mut gone = Vec::new();
        while let Some(timer) = self.wheel.pop_expired(self.now) {
            let Some(id) = self.slots.id_at(timer as usize) else {
                continue;
            };
            let due = self
                .slots
                .get(id)
                .map(|connection| connection.due(self.now));
            match due {
                None => continue,
                Some(Due::At(_)) => {}
                Some(Due::Ping) => {
                    if let Some(connection) = self.slots.get_mut(id) {
                        connection.pinged = true;
                    }
                    self.send(
                        id,
                        &Frame::Ping {
                            from: Side::Server,
                            nonce: self.now.as_nanos(),
                        },
                    );
                }
                Some(Due::End(code)) => {
                    self.slow_readers += u64::from(code == ControlError::SlowReader);
                    self.end(id, code, end_text(code));
                }
                Some(Due::Drop) => {
                    gone.push(id);
                    continue;
                }
            }
            self.rearm(id);
        }
        gone
    }
}

fn end_text(code: ControlError) -> &'static str {
    if code == ControlError::SlowReader {
        "you did not read what was sent to you: join again"
    } else {
        "nothing was heard from you for too long: join again"
    }
}
