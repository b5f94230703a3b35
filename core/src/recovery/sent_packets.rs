//! What was sent and is not settled: one record per transmission, in a ring indexed by packet number.
//!
//! Packet numbers ascend with time, so the ring is in the order of sending: time-based loss detection (RFC 8985) walks
//! it from the oldest packet in flight and stops at the first that is too young. The same order makes the oldest packet
//! in flight the one whose retransmission deadline comes first.

use crate::congestion::delivery_rate::Snapshot;
use crate::limits::{INITIAL_WINDOW_PACKETS, LOST_MEMORY_PACKETS, MAX_WINDOW_PACKETS};
use crate::units::Timestamp;

/// What a packet carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Cells of a stream.
    Cells {
        /// The stream's slot at the sender.
        slot: u32,
        /// The stream's number, which tells whether the slot still means the same stream.
        stream: u32,
        /// First cell.
        first: u32,
        /// Number of cells.
        count: u16,
    },
    /// A path MTU probe.
    Probe,
    /// The early end of a stream, to be repeated when lost.
    Reset {
        /// The stream's number.
        stream: u32,
        /// Code of the reason.
        code: u16,
    },
    /// A packet number left out on purpose: who acknowledges it lies.
    Skipped,
}

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Neither acknowledged nor given up.
    InFlight,
    /// Acknowledged.
    Acked,
    /// Declared lost; what it carried is queued again. Kept for a while to notice a late acknowledgement.
    Lost,
    /// Never sent.
    Skipped,
}

/// The record of one transmission.
#[derive(Debug, Clone, Copy)]
pub struct SentPacket {
    /// When it was really sent.
    pub sent: Timestamp,
    /// Delivery state at that moment.
    pub snapshot: Snapshot,
    /// What it carried.
    pub content: Content,
    /// UDP payload in bytes.
    pub bytes: u32,
    /// What became of it.
    pub state: State,
    /// Sent again before it was lost, because nothing else was to send.
    pub tail_copied: bool,
}

const EMPTY: SentPacket = SentPacket {
    sent: Timestamp::ZERO,
    snapshot: Snapshot {
        delivered: 0,
        delivered_time: Timestamp::ZERO,
        first_sent_time: Timestamp::ZERO,
        lost: 0,
        tx_in_flight: 0,
        app_limited: false,
    },
    content: Content::Skipped,
    bytes: 0,
    state: State::Skipped,
    tail_copied: false,
};

/// Where a ring of `len` places, a power of two, keeps what is numbered `number`.
#[expect(
    clippy::cast_possible_truncation,
    reason = "truncation keeps the low bits that the mask wants"
)]
const fn ring_slot(number: u64, len: usize) -> usize {
    (number as usize) & (len - 1)
}

/// The ring of records from `head` to `next`.
#[derive(Debug)]
pub struct SentPackets {
    records: Vec<SentPacket>,
    /// Bit per record: acknowledged. Same ring, 64 packet numbers a word.
    acked: Vec<u64>,
    head: u64,
    next: u64,
    /// No packet below this one is in flight.
    oldest: u64,
    in_flight_bytes: u64,
    in_flight_packets: u32,
}

impl Default for SentPackets {
    fn default() -> Self {
        Self {
            records: vec![EMPTY; INITIAL_WINDOW_PACKETS],
            acked: vec![0; INITIAL_WINDOW_PACKETS / 64],
            head: 0,
            next: 0,
            oldest: 0,
            in_flight_bytes: 0,
            in_flight_packets: 0,
        }
    }
}

impl SentPackets {
    /// As after `number` packets, all of them settled long since.
    #[cfg(test)]
    pub(crate) fn starting_at(number: u64) -> Self {
        Self {
            head: number,
            next: number,
            oldest: number,
            ..Self::default()
        }
    }

    /// The packet number of the next transmission.
    #[must_use]
    pub const fn next_number(&self) -> u64 {
        self.next
    }

    /// Bytes in flight.
    #[must_use]
    pub const fn in_flight_bytes(&self) -> u64 {
        self.in_flight_bytes
    }

    /// Packets in flight.
    #[must_use]
    pub const fn in_flight_packets(&self) -> u32 {
        self.in_flight_packets
    }

    /// Bytes of memory the records take.
    #[must_use]
    pub const fn memory_bytes(&self) -> usize {
        self.records.len() * size_of::<SentPacket>() + self.acked.len() * 8
    }

    const fn index(&self, number: u64) -> usize {
        ring_slot(number, self.records.len())
    }

    const fn acked_word(&self, word: u64) -> usize {
        ring_slot(word, self.acked.len())
    }

    /// The record of `number` when it is still remembered.
    #[must_use]
    pub fn get(&self, number: u64) -> Option<&SentPacket> {
        (self.head..self.next)
            .contains(&number)
            .then(|| &self.records[self.index(number)])
    }

    /// Makes room for `packets` more transmissions; false when the window is at its bound.
    #[must_use]
    pub fn reserve(&mut self, packets: u64) -> bool {
        self.retire();
        // One word of slack: `acked` is cleared by whole words ahead of `next`.
        let wanted = self.next - self.head + packets + 64;
        while wanted > self.records.len() as u64 {
            if self.records.len() >= MAX_WINDOW_PACKETS {
                return false;
            }
            self.grow();
        }
        true
    }

    fn grow(&mut self) {
        let mut larger = Self {
            records: vec![EMPTY; self.records.len() * 2],
            acked: vec![0; self.acked.len() * 2],
            ..*self
        };
        for number in self.head..self.next {
            let index = larger.index(number);
            larger.records[index] = self.records[self.index(number)];
        }
        for word in self.head / 64..self.next.div_ceil(64) {
            let index = larger.acked_word(word);
            larger.acked[index] = self.acked[self.acked_word(word)];
        }
        *self = larger;
    }

    fn push_record(&mut self, record: SentPacket) -> u64 {
        let number = self.next;
        debug_assert!(
            number - self.head < self.records.len() as u64,
            "reserve first"
        );
        if number.is_multiple_of(64) {
            let word = self.acked_word(number / 64);
            self.acked[word] = 0;
        }
        let index = self.index(number);
        self.records[index] = record;
        self.next += 1;
        number
    }

    /// Notes a transmission; [`Self::reserve`] made room for it. Returns its packet number.
    pub fn push(
        &mut self,
        now: Timestamp,
        snapshot: Snapshot,
        content: Content,
        bytes: u32,
    ) -> u64 {
        self.in_flight_bytes += u64::from(bytes);
        self.in_flight_packets += 1;
        self.push_record(SentPacket {
            sent: now,
            snapshot,
            content,
            bytes,
            state: State::InFlight,
            tail_copied: false,
        })
    }

    /// Leaves one packet number out.
    pub fn push_skipped(&mut self) {
        self.push_record(EMPTY);
    }

    /// Gives a number to a packet that asks for no acknowledgement; one that comes anyway means nothing.
    pub fn push_settled(&mut self) {
        self.push_record(SentPacket {
            state: State::Acked,
            ..EMPTY
        });
    }

    /// The bits of `word` (packet numbers from `64 * index`) that are new: remembered and not acknowledged yet.
    #[must_use]
    pub fn new_bits(&self, index: u64, word: u64) -> u64 {
        let first = index * 64;
        if first >= self.next || first + 64 <= self.head {
            return 0;
        }
        let mut mask = u64::MAX;
        if first < self.head {
            mask &= u64::MAX << (self.head - first);
        }
        if self.next - first < 64 {
            mask &= (1 << (self.next - first)) - 1;
        }
        word & mask & !self.acked[self.acked_word(index)]
    }

    /// Marks `number` acknowledged; returns its record as it was before.
    pub fn acknowledge(&mut self, number: u64) -> SentPacket {
        let word = self.acked_word(number / 64);
        self.acked[word] |= 1 << (number % 64);
        let index = self.index(number);
        let before = self.records[index];
        self.records[index].state = State::Acked;
        if before.state == State::InFlight {
            self.settle(before.bytes);
        }
        before
    }

    /// Marks `number` lost; it must be in flight.
    pub fn declare_lost(&mut self, number: u64) -> SentPacket {
        let index = self.index(number);
        let record = &mut self.records[index];
        debug_assert_eq!(record.state, State::InFlight);
        record.state = State::Lost;
        let record = *record;
        self.settle(record.bytes);
        record
    }

    /// Remembers that `number` was sent again as a tail copy.
    pub fn mark_tail_copied(&mut self, number: u64) {
        let index = self.index(number);
        self.records[index].tail_copied = true;
    }

    fn settle(&mut self, bytes: u32) {
        self.in_flight_bytes -= u64::from(bytes);
        self.in_flight_packets -= 1;
    }

    /// Whether `number` is the oldest packet in flight.
    #[must_use]
    pub fn is_oldest(&mut self, number: u64) -> bool {
        self.advance_oldest();
        self.oldest == number
    }

    fn advance_oldest(&mut self) {
        while self.oldest < self.next
            && self.records[self.index(self.oldest)].state != State::InFlight
        {
            self.oldest += 1;
        }
    }

    /// The oldest packet in flight: its deadline is the earliest.
    pub fn oldest_in_flight(&mut self) -> Option<(u64, &SentPacket)> {
        self.advance_oldest();
        (self.oldest < self.next).then(|| (self.oldest, &self.records[self.index(self.oldest)]))
    }

    /// The first packet in flight from `number` on.
    #[must_use]
    pub fn in_flight_from(&self, number: u64) -> Option<(u64, &SentPacket)> {
        (number.max(self.oldest).max(self.head)..self.next)
            .map(|number| (number, &self.records[self.index(number)]))
            .find(|(_, record)| record.state == State::InFlight)
    }

    /// Forgets what is settled: acknowledged packets, and lost ones that are long past.
    fn retire(&mut self) {
        while self.head < self.next {
            match self.records[self.index(self.head)].state {
                State::InFlight => return,
                State::Lost if self.next - self.head < LOST_MEMORY_PACKETS => return,
                State::Lost | State::Acked | State::Skipped => self.head += 1,
            }
        }
        self.oldest = self.oldest.max(self.head);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(sent: &mut SentPackets, bytes: u32) -> u64 {
        assert!(sent.reserve(1));
        sent.push(Timestamp::ZERO, Snapshot::default(), Content::Probe, bytes)
    }

    #[test]
    fn bytes_in_flight_add_up() {
        let mut sent = SentPackets::default();
        for _ in 0..10 {
            push(&mut sent, 100);
        }
        assert_eq!(
            (sent.in_flight_bytes(), sent.in_flight_packets()),
            (1000, 10)
        );
        assert_eq!(sent.acknowledge(3).state, State::InFlight);
        assert_eq!(sent.declare_lost(0).bytes, 100);
        assert_eq!(sent.acknowledge(0).state, State::Lost, "spurious");
        assert_eq!((sent.in_flight_bytes(), sent.in_flight_packets()), (800, 8));
        assert_eq!(sent.oldest_in_flight().map(|(number, _)| number), Some(1));
    }

    #[test]
    fn new_bits_are_those_remembered_and_not_acknowledged() {
        let mut sent = SentPackets::default();
        for _ in 0..70 {
            push(&mut sent, 1);
        }
        assert_eq!(sent.new_bits(0, u64::MAX), u64::MAX);
        assert_eq!(sent.new_bits(1, u64::MAX), 0b11_1111);
        assert_eq!(sent.new_bits(2, u64::MAX), 0);
        sent.acknowledge(5);
        assert_eq!(sent.new_bits(0, 0b110_0000), 0b100_0000);
    }

    #[test]
    fn the_ring_wraps_and_grows_without_losing_records() {
        let mut sent = SentPackets::default();
        let mut acked = 0;
        for number in 0..20_000_u64 {
            assert_eq!(push(&mut sent, 1), number);
            if number % 3 == 0 && number > 500 {
                for _ in 0..3 {
                    assert_ne!(sent.new_bits(acked / 64, 1 << (acked % 64)), 0, "{acked}");
                    sent.acknowledge(acked);
                    assert_eq!(sent.new_bits(acked / 64, 1 << (acked % 64)), 0);
                    acked += 1;
                }
            }
        }
        assert_eq!(u64::from(sent.in_flight_packets()), 20_000 - acked);
        assert!(sent.records.len() <= 1024);
    }

    #[test]
    fn the_window_is_bounded() {
        let mut sent = SentPackets::default();
        let mut pushed = 0;
        while sent.reserve(1) {
            sent.push(Timestamp::ZERO, Snapshot::default(), Content::Probe, 1);
            pushed += 1;
        }
        assert_eq!(pushed, MAX_WINDOW_PACKETS as u64 - 64);
    }

    #[test]
    fn lost_packets_are_remembered_for_a_while() {
        let mut sent = SentPackets::default();
        push(&mut sent, 1);
        sent.declare_lost(0);
        for _ in 0..LOST_MEMORY_PACKETS - 2 {
            let number = push(&mut sent, 1);
            sent.acknowledge(number);
        }
        assert_eq!(sent.new_bits(0, 1), 1);
        for _ in 0..3 {
            let number = push(&mut sent, 1);
            sent.acknowledge(number);
        }
        assert_eq!(sent.new_bits(0, 1), 0);
    }
}
