//! When the receiver acknowledges, and what.
//!
//! One ACK for a share of a round trip's packets ([`MAX_ACK_EVERY`] at most) or after a quarter of a round trip; a gap
//! is reported at once, at most every eighth of one. Each ACK repeats the words of the last few, so that losing most of
//! them does no harm.

use std::time::Duration;

use crate::limits::{MAX_ACK_DELAY, MAX_ACK_EVERY, MAX_ACK_STREAMS, MAX_ACK_WORDS};
use crate::packet_number::ReceivedPackets;
use crate::units::Timestamp;

/// An ACK waits no shorter than this: timers are no finer.
const MIN_ACK_DELAY: Duration = Duration::from_micros(100);
/// Words of packet numbers repeated from earlier ACKs: those of this many ACKs, one and a half round trips' worth.
const REPEATED_ACKS: usize = 12;

/// The schedule of acknowledgements.
#[derive(Debug)]
pub(crate) struct AckSchedule {
    /// Packets that ask for an ACK and have none yet.
    pending: u32,
    deadline: Option<Timestamp>,
    last_sent: Option<Timestamp>,
    /// When the largest packet number arrived.
    largest_at: Timestamp,
    /// Packets per round trip, measured over the last whole one.
    per_round: u32,
    round_start: Timestamp,
    round_packets: u32,
    /// First word that each of the last ACKs was fresh from.
    fresh_from: [u64; REPEATED_ACKS],
    /// Lowest word that changed since the last ACK: late packets are reported too.
    lowest_touched: u64,
    recent: [u32; MAX_ACK_STREAMS],
}

impl AckSchedule {
    pub(crate) fn new(now: Timestamp) -> Self {
        Self {
            pending: 0,
            deadline: None,
            last_sent: None,
            largest_at: now,
            per_round: 0,
            round_start: now,
            round_packets: 0,
            fresh_from: [0; REPEATED_ACKS],
            lowest_touched: u64::MAX,
            recent: [0; MAX_ACK_STREAMS],
        }
    }

    /// A packet was received; `gap`: it did not follow the largest one, `eliciting`: it asks for an ACK.
    pub(crate) fn on_packet(
        &mut self,
        now: Timestamp,
        rtt: Duration,
        number: u64,
        is_largest: bool,
        gap: bool,
        eliciting: bool,
    ) {
        self.lowest_touched = self.lowest_touched.min(number / 64);
        if is_largest {
            self.largest_at = now;
        }
        if !eliciting {
            return;
        }
        self.round_packets += 1;
        if now - self.round_start >= rtt {
            self.per_round = self.round_packets;
            self.round_packets = 0;
            self.round_start = now;
        }
        self.pending += 1;
        let wait = (rtt / 4).clamp(MIN_ACK_DELAY, MAX_ACK_DELAY);
        let mut deadline = self.deadline.unwrap_or(now + wait);
        if gap {
            let soon = self.last_sent.map_or(now, |last| (last + rtt / 8).max(now));
            deadline = deadline.min(soon);
        }
        if self.pending >= self.every() {
            deadline = now;
        }
        self.deadline = Some(deadline);
    }

    /// Packets per ACK: eight ACKs per round trip, within bounds.
    fn every(&self) -> u32 {
        (self.per_round / 8).clamp(2, MAX_ACK_EVERY)
    }

    /// The next ACK is due at once: it carries news of another kind.
    pub(crate) const fn request(&mut self) {
        self.deadline = Some(Timestamp::ZERO);
    }

    /// When an ACK is due.
    pub(crate) const fn deadline(&self) -> Option<Timestamp> {
        self.deadline
    }

    /// A stream moved: its progress goes into the next ACKs.
    pub(crate) fn on_progress(&mut self, stream: u32) {
        if self.recent[0] == stream {
            return;
        }
        let end = self
            .recent
            .iter()
            .position(|s| *s == stream)
            .unwrap_or(MAX_ACK_STREAMS - 1);
        self.recent[..=end].rotate_right(1);
        self.recent[0] = stream;
    }

    /// Streams that moved lately, the latest first.
    pub(crate) fn recent_streams(&self) -> impl Iterator<Item = u32> {
        self.recent.iter().copied().filter(|stream| *stream != 0)
    }

    /// Delay of the largest packet number at `now`.
    pub(crate) fn delay(&self, now: Timestamp) -> Duration {
        now - self.largest_at
    }

    /// Number of words for an ACK sent now, and that it is being sent.
    pub(crate) fn on_ack_sent(&mut self, now: Timestamp, received: &ReceivedPackets) -> usize {
        self.pending = 0;
        self.deadline = None;
        self.last_sent = Some(now);
        let last = received.largest().unwrap_or(0) / 64;
        let fresh = self.lowest_touched.min(last);
        self.lowest_touched = u64::MAX;
        self.fresh_from.rotate_right(1);
        self.fresh_from[0] = fresh;
        let oldest = self.fresh_from.iter().copied().min().unwrap_or(last);
        let words = usize::try_from(last.saturating_sub(oldest) + 1).unwrap_or(MAX_ACK_WORDS);
        words.clamp(1, MAX_ACK_WORDS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(40);

    fn at(us: u64) -> Timestamp {
        Timestamp::from_nanos(us * 1000)
    }

    #[test]
    fn the_second_packet_is_acknowledged_at_once_and_one_alone_after_a_quarter() {
        let mut schedule = AckSchedule::new(at(0));
        schedule.on_packet(at(0), RTT, 0, true, false, true);
        assert_eq!(schedule.deadline(), Some(at(10_000)));
        schedule.on_packet(at(5), RTT, 1, true, false, true);
        assert_eq!(schedule.deadline(), Some(at(5)));
    }

    #[test]
    fn many_packets_a_round_mean_fewer_acks() {
        let mut schedule = AckSchedule::new(at(0));
        let mut received = ReceivedPackets::default();
        let (mut acks, mut now) = (0, 0);
        for number in 0..8_000 {
            now += 50; // 800 packets a round trip
            received.insert(number);
            schedule.on_packet(at(now), RTT, number, true, false, true);
            if schedule
                .deadline()
                .is_some_and(|deadline| deadline <= at(now))
            {
                schedule.on_ack_sent(at(now), &received);
                acks += u32::from(number > 1600);
            }
        }
        // Eight rounds were counted; eight ACKs in each.
        assert!((60..=70).contains(&acks), "{acks}");
    }

    #[test]
    fn gaps_are_reported_at_once_but_not_more_often_than_eight_times_a_round() {
        let mut schedule = AckSchedule::new(at(0));
        let mut received = ReceivedPackets::default();
        received.insert(0);
        schedule.on_packet(at(0), RTT, 0, true, true, true);
        assert_eq!(schedule.deadline(), Some(at(0)));
        schedule.on_ack_sent(at(0), &received);
        schedule.on_packet(at(100), RTT, 2, true, true, true);
        assert_eq!(schedule.deadline(), Some(at(5_000)));
    }

    #[test]
    fn words_of_the_last_acks_are_repeated() {
        let mut schedule = AckSchedule::new(at(0));
        let mut received = ReceivedPackets::default();
        let mut words = Vec::new();
        for ack in 1..=16_u64 {
            received.insert(ack * 128);
            schedule.on_packet(at(ack), RTT, ack * 128, true, true, true);
            words.push(schedule.on_ack_sent(at(ack), &received));
        }
        assert_eq!(words[..3], [3, 5, 7]);
        assert_eq!(words[13..], [23, 23, 23]);
    }

    #[test]
    fn a_late_packet_is_reported_however_late_it_is() {
        let mut schedule = AckSchedule::new(at(0));
        let mut received = ReceivedPackets::default();
        for number in 0..4000 {
            if number != 100 {
                received.insert(number);
            }
        }
        for ack in 0..20 {
            schedule.on_packet(at(ack), RTT, 3999, true, false, true);
            schedule.on_ack_sent(at(ack), &received);
        }
        received.insert(100);
        schedule.on_packet(at(30), RTT, 100, false, true, true);
        assert_eq!(
            schedule.on_ack_sent(at(30), &received),
            3999 / 64 - 100 / 64 + 1
        );
    }

    #[test]
    fn the_latest_streams_come_first() {
        let mut schedule = AckSchedule::new(at(0));
        for stream in 1..=10 {
            schedule.on_progress(stream);
        }
        schedule.on_progress(5);
        assert_eq!(
            schedule.recent_streams().collect::<Vec<_>>(),
            [5, 10, 9, 8, 7, 6, 4, 3]
        );
    }
}
