//! One direction of a path.

use std::collections::VecDeque;

use crate::Nanos;
use crate::decision::{Decider, Decision, Handling};
use crate::delay::{DelayLine, Traveller, duration_nanos, latency};
use crate::impairments::{Blackhole, ImpairmentError, Impairments};
use crate::limits;
use crate::payload::Payload;
use crate::queue::Bottleneck;
use crate::record::Scripted;
use crate::stats::LinkStats;

/// What a link did with a packet that was offered to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is on its way, perhaps with a copy.
    Sent,
    /// Lost by chance, in a burst or by its number.
    Lost,
    /// Lost because the link was silent.
    Blackholed,
    /// The queue, or the simulator's memory, was full.
    QueueDrop,
    /// Larger than what passes.
    Oversize,
}

/// A packet that came out at the far end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery<P> {
    /// When it arrived; at most the `now` of the call.
    pub due: Nanos,
    /// The packet, perhaps damaged.
    pub payload: P,
}

/// One direction of a path, without sockets, clock or threads: the caller offers packets with
/// [`push`](Self::push), waits until [`next_delivery`](Self::next_delivery), and takes out what has
/// arrived with [`poll_deliver`](Self::poll_deliver) until that gives `None`.
///
/// Timestamps are nanoseconds since any start the caller likes; they must not go back. Everything that
/// chance decides follows from the seed and the order of the packets; see [`Impairments`] for the stages.
///
/// ```
/// use columba_loss_sim::{Impairments, Link};
/// use std::time::Duration;
///
/// let impairments = Impairments { delay: Duration::from_millis(10), ..Impairments::default() };
/// let mut link = Link::new(impairments, 42)?;
/// link.push(0, b"coo".to_vec());
/// assert_eq!(link.next_delivery(), Some(10_000_000));
/// assert_eq!(link.poll_deliver(9_999_999), None);
/// assert_eq!(link.poll_deliver(10_000_000).unwrap().payload, b"coo");
/// # Ok::<(), columba_loss_sim::ImpairmentError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Link<P> {
    impairments: Impairments,
    decider: Decider,
    /// What is to become of the next packets, instead of what chance decides.
    script: VecDeque<Scripted>,
    bottleneck: Bottleneck,
    delay_line: DelayLine<P>,
    held_bytes: u64,
    /// Counts the packets offered.
    offered: u64,
    /// Numbers whatever passes the bottleneck, packets and stream bytes alike.
    last_number: u64,
    /// The highest number delivered so far, to tell reordering.
    highest_delivered: u64,
    /// When the blackhole's first phase began.
    blackhole_origin: Nanos,
    stats: LinkStats,
}

impl<P: Payload> Link<P> {
    /// A link with these impairments, all its decisions following from `seed`.
    ///
    /// # Errors
    /// An impairment out of its range.
    pub fn new(impairments: Impairments, seed: u64) -> Result<Self, ImpairmentError> {
        impairments.validate()?;
        Ok(Self {
            decider: Decider::new(seed),
            script: VecDeque::new(),
            bottleneck: Bottleneck::new(&impairments),
            delay_line: DelayLine::new(),
            held_bytes: 0,
            offered: 0,
            last_number: 0,
            highest_delivered: 0,
            blackhole_origin: 0,
            stats: LinkStats::default(),
            impairments,
        })
    }

    /// The impairments in force.
    #[must_use]
    pub fn impairments(&self) -> &Impairments {
        &self.impairments
    }

    /// What has happened so far.
    #[must_use]
    pub fn stats(&self) -> &LinkStats {
        &self.stats
    }

    /// Changes the impairments from now on. Packets still in the queue leave at the new rate; packets on
    /// their way keep their delay, and nobody overtakes because the delay became shorter. A changed
    /// blackhole starts its first phase now. Random streams go on where they are.
    ///
    /// # Errors
    /// An impairment out of its range; nothing is changed then.
    pub fn set_impairments(
        &mut self,
        now: Nanos,
        impairments: Impairments,
    ) -> Result<(), ImpairmentError> {
        impairments.validate()?;
        self.bottleneck.reconfigure(now, &impairments);
        self.delay_line
            .reschedule(|number| self.bottleneck.departure_of(number));
        if impairments.blackhole != self.impairments.blackhole {
            self.blackhole_origin = now;
        }
        self.impairments = impairments;
        Ok(())
    }

    /// Repeats what a log tells of the first packets: which were dropped, damaged, duplicated, held back,
    /// and their jitter. The log's drops stand for those of a full queue and a blackhole too; delay and
    /// rate still are as configured. Packets after the log's end meet what the seed has for them.
    pub(crate) fn repeat(&mut self, script: Vec<Scripted>) {
        self.script = script.into();
    }

    /// Offers a packet to the link and says what becomes of it.
    pub fn push(&mut self, now: Nanos, payload: P) -> Fate {
        self.push_and_tell(now, payload).0
    }

    /// Offers a packet, and tells also what chance decided and the packet's number.
    pub(crate) fn push_and_tell(&mut self, now: Nanos, payload: P) -> (Fate, Decision, u64) {
        let len = payload.bytes().len();
        self.offered += 1;
        self.last_number += 1;
        self.stats.packets += 1;
        self.stats.bytes += len as u64;
        // Drawn even if a script decides, so that the packets after its end meet the luck of their number.
        let drawn = self.decider.decide(&self.impairments, self.offered, len);
        let (fate, decision) = match self.script.pop_front() {
            None => (self.pass(now, payload, &drawn), drawn),
            Some(Scripted::Dropped(fate)) => (fate, Decision::UNTOUCHED),
            Some(Scripted::Untouched) => {
                let decision = Decision::UNTOUCHED;
                (self.pass_scripted(now, payload, &decision), decision)
            }
            Some(Scripted::Decided(decision)) => {
                (self.pass_scripted(now, payload, &decision), *decision)
            }
        };
        match fate {
            Fate::Sent => {}
            Fate::Lost => self.stats.lost += 1,
            Fate::Blackholed => {
                self.stats.lost += 1;
                self.stats.blackholed += 1;
            }
            Fate::QueueDrop => self.stats.queue_drops += 1,
            Fate::Oversize => self.stats.oversize += 1,
        }
        (fate, decision, self.offered)
    }

    /// Sends a packet that a script lets through: only the simulator's memory can stop it.
    fn pass_scripted(&mut self, now: Nanos, payload: P, decision: &Decision) -> Fate {
        let len = payload.bytes().len();
        if !self.has_memory_for(len) {
            return Fate::QueueDrop;
        }
        let wire_bytes = self.wire_bytes(&payload);
        let departure = self
            .bottleneck
            .enqueue_always(now, self.last_number, wire_bytes);
        self.measure_queue(now, departure);
        self.let_through(departure, payload, decision);
        Fate::Sent
    }

    fn pass(&mut self, now: Nanos, payload: P, decision: &Decision) -> Fate {
        let len = payload.bytes().len();
        if self
            .impairments
            .max_datagram_bytes
            .is_some_and(|largest| len > largest)
        {
            return Fate::Oversize;
        }
        if !self.has_memory_for(len) {
            return Fate::QueueDrop;
        }
        let wire_bytes = self.wire_bytes(&payload);
        let Some(departure) = self.bottleneck.enqueue(now, self.last_number, wire_bytes) else {
            return Fate::QueueDrop;
        };
        self.measure_queue(now, departure);
        if self.blackhole_ends(departure).is_some() {
            return Fate::Blackholed;
        }
        if decision.lost {
            return Fate::Lost;
        }
        self.let_through(departure, payload, decision);
        Fate::Sent
    }

    /// Takes note of what a packet has found before it.
    fn measure_queue(&mut self, now: Nanos, departure: Nanos) {
        let stats = &mut self.stats;
        stats.queue_ns = stats.queue_ns.saturating_add(departure.saturating_sub(now));
        let waiting = self.bottleneck.waiting_bytes();
        stats.longest_queue_bytes = stats.longest_queue_bytes.max(waiting);
    }

    /// What a packet takes of the rate and the queue.
    fn wire_bytes(&self, payload: &P) -> u64 {
        let overhead = self.impairments.overhead_bytes;
        let header_bytes = overhead.unwrap_or_else(|| payload.header_bytes());
        payload.bytes().len() as u64 + u64::from(header_bytes)
    }

    /// Sends a packet, and its copy if there is to be one.
    fn let_through(&mut self, departure: Nanos, mut payload: P, decision: &Decision) {
        let len = payload.bytes().len();
        if decision.marked && payload.mark_congestion_experienced() {
            self.stats.ecn_marked += 1;
        }
        let copy = decision.copy.map(|handling| (handling, payload.clone()));
        self.send(departure, payload, decision.original, false);
        if let Some((handling, payload)) = copy {
            self.stats.duplicated += 1;
            if self.has_memory_for(len) {
                self.send(departure, payload, handling, true);
            } else {
                self.stats.queue_drops += 1;
            }
        }
    }

    fn has_memory_for(&self, len: usize) -> bool {
        self.stats.queued < limits::MAX_HELD_PACKETS as u64
            && self.held_bytes + len as u64 <= limits::MAX_HELD_BYTES
    }

    /// Puts a packet, damaged as was decided, on its way.
    fn send(&mut self, departure: Nanos, mut payload: P, handling: Handling, is_copy: bool) {
        // A script may have been recorded with longer packets.
        if let Some(len) = handling.truncate_to
            && len < payload.bytes().len()
        {
            payload.truncate(len);
            self.stats.truncated += 1;
        }
        if let Some(position) = handling.flip_at
            && flip_bit(payload.bytes_mut(), position)
        {
            self.stats.corrupted += 1;
        }
        self.stats.queued += 1;
        self.held_bytes += payload.bytes().len() as u64;
        let traveller = Traveller {
            due: departure,
            departure,
            latency: latency(self.impairments.delay, handling.jitter_ns),
            number: self.last_number,
            is_copy,
            payload,
        };
        let hold = self.impairments.reorder.map(|reorder| reorder.delay);
        match hold {
            Some(hold) if handling.held_back => self
                .delay_line
                .insert_held_back(traveller, duration_nanos(hold)),
            _ => self.delay_line.insert(traveller),
        }
    }

    /// When the silence of a blackhole ends, if there is one at `time`.
    fn blackhole_ends(&self, time: Nanos) -> Option<Nanos> {
        let Blackhole { on, off } = self.impairments.blackhole?;
        let (on, off) = (duration_nanos(on), duration_nanos(off));
        let period = on.saturating_add(off);
        let elapsed = time.saturating_sub(self.blackhole_origin);
        let phase = elapsed.checked_rem(period)?;
        (phase >= on).then(|| time.saturating_add(period - phase))
    }

    /// When the next packet arrives at the far end; `None` when none is on its way.
    #[must_use]
    pub fn next_delivery(&self) -> Option<Nanos> {
        self.delay_line.next_due()
    }

    /// Takes out the next packet that has arrived by `now`. Call it until it gives `None`.
    #[must_use]
    pub fn poll_deliver(&mut self, now: Nanos) -> Option<Delivery<P>> {
        let traveller = self.delay_line.pop_due(now)?;
        let len = traveller.payload.bytes().len() as u64;
        self.held_bytes -= len;
        self.stats.queued -= 1;
        self.stats.delivered += 1;
        self.stats.delivered_bytes += len;
        self.stats.late +=
            u64::from(now.saturating_sub(traveller.due) > duration_nanos(limits::LATE));
        if traveller.number >= self.highest_delivered {
            self.highest_delivered = traveller.number;
        } else if !traveller.is_copy {
            self.stats.reordered += 1;
        }
        Some(Delivery {
            due: traveller.due,
            payload: traveller.payload,
        })
    }

    /// Sends `wire_bytes` (headers included) of a byte stream over the link: they take their share of the
    /// rate and the delay, but are never dropped, and a blackhole holds them up until it ends, as a
    /// retransmission would. The caller must hold back the stream's sender by the returned times.
    pub fn carry_stream(&mut self, now: Nanos, wire_bytes: u64) -> StreamPassage {
        self.last_number += 1;
        self.stats.stream_bytes += wire_bytes;
        let departure = self
            .bottleneck
            .enqueue_always(now, self.last_number, wire_bytes);
        let sent = self.blackhole_ends(departure).unwrap_or(departure);
        StreamPassage {
            departure,
            due: sent.saturating_add(duration_nanos(self.impairments.delay)),
        }
    }

    /// Counts packets that were dropped before they could be offered, such as by an overflowing receive
    /// buffer: as packets, and as queue drops.
    pub fn record_drops_before(&mut self, packets: u64) {
        self.stats.packets += packets;
        self.stats.queue_drops += packets;
    }

    /// Counts delivered packets that then could not be handed on, such as to a full send buffer: as
    /// queue drops, no longer as delivered.
    pub fn record_drops_after(&mut self, packets: u64, bytes: u64) {
        self.stats.delivered = self.stats.delivered.saturating_sub(packets);
        self.stats.delivered_bytes = self.stats.delivered_bytes.saturating_sub(bytes);
        self.stats.queue_drops += packets;
    }
}

/// When a piece of a stream passes the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamPassage {
    /// When its last bit leaves the queue.
    pub departure: Nanos,
    /// When it arrives at the far end.
    pub due: Nanos,
}

/// Flips the bit at `position` (in `[0, 1)`) of the bytes; there is none when they are empty.
fn flip_bit(bytes: &mut [u8], position: f64) -> bool {
    let bits = bytes.len() * 8;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a packet's length, not negative and far below 2⁵³"
    )]
    let bit = (bits as f64 * position) as usize;
    let Some(byte) = bytes.get_mut(bit / 8) else {
        return false;
    };
    *byte ^= 1 << (bit % 8);
    true
}

#[cfg(test)]
mod tests;
