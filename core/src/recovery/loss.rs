//! Time-based loss detection (RACK, RFC 8985) with an adaptive reordering window; no packet-count threshold.
//!
//! A packet is lost when one sent later was acknowledged and a round trip plus the reordering window has passed since
//! it was sent. The window starts at a quarter of the minimum RTT, widens by as much with each spurious loss (up to one
//! smoothed RTT) and narrows again after sixteen recoveries without one.

use std::time::Duration;

use super::rtt::RttEstimator;
use super::sent_packets::SentPackets;
use crate::units::Timestamp;

/// The reordering window is never below this: timers and batches are no finer.
const MIN_REORDERING_WINDOW: Duration = Duration::from_micros(500);
/// Recoveries without a spurious loss after which the window narrows (RFC 8985, 6.2 step 4).
const PERSIST_RECOVERIES: u32 = 16;

/// State of loss detection.
#[derive(Debug, Default)]
pub struct LossDetector {
    /// Send time of the most recently sent packet that was acknowledged (`RACK.xmit_ts`).
    newest_acked_sent: Timestamp,
    /// Its packet number.
    newest_acked: Option<u64>,
    /// Round trip of that packet (`RACK.rtt`).
    rtt: Duration,
    /// Widening of the reordering window in quarters of the minimum RTT, beyond the first.
    extra_quarters: u32,
    recoveries_left: u32,
    /// Recoveries and spurious losses each count once a round trip.
    recovery_end: Timestamp,
    spurious_end: Timestamp,
}

impl LossDetector {
    /// A packet was acknowledged for the first time while in flight.
    pub fn on_acked(&mut self, now: Timestamp, number: u64, sent: Timestamp) {
        if self.newest_acked.is_none_or(|newest| number > newest) {
            self.newest_acked = Some(number);
            self.newest_acked_sent = sent;
            self.rtt = now - sent;
        }
    }

    /// A packet that was declared lost has been acknowledged after all; once per ACK is enough.
    pub fn on_spurious(&mut self, now: Timestamp) {
        if now < self.spurious_end {
            return;
        }
        self.spurious_end = now + self.rtt;
        self.extra_quarters = (self.extra_quarters + 1).min(64);
        self.recoveries_left = PERSIST_RECOVERIES;
    }

    /// Packets were declared lost; counted once per round trip.
    pub fn on_recovery(&mut self, now: Timestamp) {
        if now < self.recovery_end {
            return;
        }
        self.recovery_end = now + self.rtt;
        self.recoveries_left = self.recoveries_left.saturating_sub(1);
        if self.recoveries_left == 0 {
            self.extra_quarters = 0;
        }
    }

    /// How much later than expected a packet may be before it is lost.
    #[must_use]
    pub fn reordering_window(&self, rtt: &RttEstimator) -> Duration {
        let quarter = rtt.min_rtt() / 4;
        let window = quarter * (1 + self.extra_quarters);
        window.min(rtt.srtt()).max(MIN_REORDERING_WINDOW)
    }

    /// The oldest packet in flight when it is lost by now; call until `None`.
    pub fn next_lost(
        &self,
        now: Timestamp,
        sent: &mut SentPackets,
        rtt: &RttEstimator,
    ) -> Option<u64> {
        let newest = self.newest_acked?;
        let patience = self.rtt + self.reordering_window(rtt);
        let (number, record) = sent.oldest_in_flight()?;
        (number < newest && record.sent + patience <= now).then_some(number)
    }

    /// When the oldest packet in flight will be lost unless it is acknowledged before.
    pub fn next_deadline(&self, sent: &mut SentPackets, rtt: &RttEstimator) -> Option<Timestamp> {
        let newest = self.newest_acked?;
        let patience = self.rtt + self.reordering_window(rtt);
        let (number, record) = sent.oldest_in_flight()?;
        (number < newest).then(|| record.sent + patience)
    }

    /// Forgets the path.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::congestion::delivery_rate::Snapshot;
    use crate::recovery::sent_packets::Content;

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_nanos(ms * 1_000_000)
    }

    fn path(ms: u64) -> RttEstimator {
        let mut rtt = RttEstimator::default();
        rtt.update(at(0), Duration::from_millis(ms), Duration::ZERO);
        rtt
    }

    fn send(sent: &mut SentPackets, now: Timestamp) -> u64 {
        assert!(sent.reserve(1));
        sent.push(now, Snapshot::default(), Content::Probe, 1000)
    }

    #[test]
    fn a_gap_is_lost_a_quarter_of_a_round_trip_later() {
        let (mut sent, rtt, mut detector) =
            (SentPackets::default(), path(40), LossDetector::default());
        let (first, second) = (send(&mut sent, at(0)), send(&mut sent, at(1)));
        sent.acknowledge(second);
        detector.on_acked(at(41), second, at(1));
        assert_eq!(detector.next_lost(at(41), &mut sent, &rtt), None);
        let deadline = detector.next_deadline(&mut sent, &rtt).expect("armed");
        assert_eq!(deadline, at(50));
        assert_eq!(detector.next_lost(deadline, &mut sent, &rtt), Some(first));
    }

    #[test]
    fn packets_sent_after_the_newest_acknowledged_are_never_lost_here() {
        let (mut sent, rtt, mut detector) =
            (SentPackets::default(), path(40), LossDetector::default());
        let first = send(&mut sent, at(0));
        send(&mut sent, at(1));
        sent.acknowledge(first);
        detector.on_acked(at(40), first, at(0));
        assert_eq!(detector.next_lost(at(10_000), &mut sent, &rtt), None);
        assert_eq!(detector.next_deadline(&mut sent, &rtt), None);
    }

    #[test]
    fn spurious_losses_widen_the_window_and_quiet_recoveries_narrow_it() {
        let (rtt, mut detector) = (path(40), LossDetector::default());
        detector.on_acked(at(40), 0, at(0));
        let narrow = detector.reordering_window(&rtt);
        detector.on_spurious(at(100));
        detector.on_spurious(at(101));
        assert_eq!(
            detector.reordering_window(&rtt),
            narrow * 2,
            "once per round trip"
        );
        for round in 0..20 {
            detector.on_spurious(at(200 + round * 50));
        }
        assert_eq!(detector.reordering_window(&rtt), rtt.srtt(), "bounded");
        for round in 0..=PERSIST_RECOVERIES {
            detector.on_recovery(at(2_000 + u64::from(round) * 50));
        }
        assert_eq!(detector.reordering_window(&rtt), narrow);
    }
}
