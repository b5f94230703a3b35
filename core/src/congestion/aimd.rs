//! The window of the program Columba descends from: additive increase, multiplicative decrease.
//!
//! The window starts at 4 packets. Each newly acknowledged packet that is the lowest outstanding
//! one, "the expected one", adds one packet. An acknowledgement of another one, or a timeout, halves
//! the window, at most once per round trip, down to 2 packets. There is no pacing.

use super::{AckEvent, CongestionController, LossEvent};
use crate::units::Timestamp;
use std::time::Duration;

const INITIAL_WINDOW_PACKETS: u64 = 4;
const MIN_WINDOW_PACKETS: u64 = 2;

/// Round trip that limits halvings before the first sample.
const INITIAL_RTT: Duration = Duration::from_millis(100);

/// See the [module](self).
#[derive(Clone, Debug)]
pub struct Aimd {
    window_packets: u64,
    datagram_bytes: u64,
    srtt: Duration,
    halved: Option<Timestamp>,
}

impl Aimd {
    /// The starting window, for datagrams of `datagram_bytes` UDP payload.
    #[must_use]
    pub const fn new(datagram_bytes: u64) -> Self {
        Self {
            window_packets: INITIAL_WINDOW_PACKETS,
            datagram_bytes,
            srtt: INITIAL_RTT,
            halved: None,
        }
    }

    /// The window in packets.
    #[must_use]
    pub const fn window_packets(&self) -> u64 {
        self.window_packets
    }

    fn halve(&mut self, now: Timestamp) {
        if self.halved.is_none_or(|halved| now - halved >= self.srtt) {
            self.window_packets = (self.window_packets / 2).max(MIN_WINDOW_PACKETS);
            self.halved = Some(now);
        }
    }
}

impl CongestionController for Aimd {
    fn on_sent(&mut self, _now: Timestamp, _bytes: u64, _in_flight: u64) {}

    fn on_ack(&mut self, ack: &AckEvent) {
        self.srtt = ack.srtt;
        self.window_packets += u64::from(ack.expected_packets);
        // A mark says what a loss says (RFC 3168, section 5).
        if ack.unexpected_packets > 0 || ack.ce_marks > 0 {
            self.halve(ack.now);
        }
    }

    /// A loss is what the original learnt from the packet's timeout.
    fn on_loss(&mut self, loss: &LossEvent) {
        self.halve(loss.now);
    }

    fn on_spurious_loss(&mut self, _now: Timestamp) {}

    fn on_timeout(&mut self, now: Timestamp) {
        self.halve(now);
    }

    fn on_path_change(&mut self, _now: Timestamp) {
        *self = Self::new(self.datagram_bytes);
    }

    fn set_datagram_bytes(&mut self, bytes: u64) {
        self.datagram_bytes = bytes;
    }

    fn cwnd(&self) -> u64 {
        self.window_packets.saturating_mul(self.datagram_bytes)
    }

    fn pacing_rate(&self) -> Option<u64> {
        None
    }

    fn name(&self) -> &'static str {
        "aimd"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ack(now_ms: u64, expected: u32, unexpected: u32) -> AckEvent {
        AckEvent {
            now: Timestamp(now_ms * 1_000_000),
            expected_packets: expected,
            unexpected_packets: unexpected,
            srtt: Duration::from_millis(50),
            ..AckEvent::default()
        }
    }

    #[test]
    fn starts_at_four_and_adds_one_per_expected_packet() {
        let mut aimd = Aimd::new(1_000);
        assert_eq!((aimd.window_packets(), aimd.cwnd()), (4, 4_000));
        aimd.on_ack(&ack(50, 4, 0));
        assert_eq!(aimd.window_packets(), 8);
        aimd.on_ack(&ack(100, 1, 0));
        assert_eq!(aimd.cwnd(), 9_000);
        assert_eq!(aimd.pacing_rate(), None);
    }

    #[test]
    fn an_unexpected_packet_halves_once_per_round_trip() {
        let mut aimd = Aimd::new(1_000);
        aimd.on_ack(&ack(50, 60, 0));
        aimd.on_ack(&ack(100, 0, 1));
        assert_eq!(aimd.window_packets(), 32);
        aimd.on_ack(&ack(149, 0, 7));
        assert_eq!(aimd.window_packets(), 32, "within the same round trip");
        aimd.on_ack(&ack(150, 0, 1));
        assert_eq!(aimd.window_packets(), 16);
    }

    #[test]
    fn a_mark_halves_once_per_round_trip() {
        let mut aimd = Aimd::new(1_000);
        aimd.on_ack(&ack(50, 60, 0));
        for (now_ms, window) in [(100, 32), (120, 32), (150, 16)] {
            let marked = AckEvent {
                ce_marks: 1,
                ..ack(now_ms, 0, 0)
            };
            aimd.on_ack(&marked);
            assert_eq!(aimd.window_packets(), window);
        }
    }

    #[test]
    fn timeouts_and_losses_halve_down_to_two() {
        let mut aimd = Aimd::new(1_000);
        aimd.on_ack(&ack(50, 0, 0));
        aimd.on_timeout(Timestamp(100_000_000));
        assert_eq!(aimd.window_packets(), 2);
        aimd.on_loss(&LossEvent {
            now: Timestamp(900_000_000),
            ..LossEvent::default()
        });
        assert_eq!(aimd.window_packets(), 2);
    }

    #[test]
    fn the_window_counts_packets_whatever_their_size() {
        let mut aimd = Aimd::new(1_000);
        aimd.on_ack(&ack(50, 6, 0));
        aimd.set_datagram_bytes(65_407);
        assert_eq!(aimd.cwnd(), 10 * 65_407);
        aimd.on_path_change(Timestamp(0));
        assert_eq!(aimd.window_packets(), 4);
    }
}
