//! How much the path loses whatever we do: the loss that is not congestion.
//!
//! Random loss doesn't depend on how fast we send; loss by overfilling vanishes when we send a
//! little slower than the path delivers. So the estimate rests on packets sent below the estimated
//! bandwidth, and only while round trips are flat. Packets sent at the estimated bandwidth itself
//! join in as long as they lose no more than those: this is what keeps the estimate from feeding on
//! itself in front of a policer, which drops without a queue.

use crate::units::Timestamp;
use std::time::Duration;

/// The estimate never exceeds this.
const MAX_LOSS: f64 = 0.5;

/// How many packets the past is worth.
const MEMORY_PACKETS: f64 = 3_000.0;

/// How many packets make a good estimate.
const KNOWN_PACKETS: f64 = 1_500.0;

/// Fewest packets sent slowly that a judgement may rest on, and enough to stop collecting them.
const MIN_SLOW_PACKETS: f64 = 16.0;
const ENOUGH_PACKETS: f64 = 64.0;

/// Packets sent at the estimated bandwidth may lose this much more before they count as
/// overfilling; or as many standard deviations more, as far as the numbers don't tell.
const TOLERANCE: f64 = 0.01;
const TOLERANCE_DEVIATIONS: f64 = 2.0;

/// Standard deviations by which they must differ to say so.
const EXCESS_DEVIATIONS: f64 = 4.0;

/// Within a round losses and acknowledgements are not of the same packets: the factor by which the
/// share may exceed the measured one, and standard deviations on top.
const BATCHING: f64 = 1.5;
const USUAL_DEVIATIONS: f64 = 4.0;

/// Trust lost per round with a standing queue, and regained per round without.
const TRUST_LOSS: f64 = 0.875;
const TRUST_GAIN: f64 = 1.25;
const MIN_TRUST: f64 = 0.05;

/// What remains of the estimate for the rest of a cycle that has shown an excess: if the loss is
/// ours, it shrinks now.
const DOUBT: f64 = 0.5;

/// How fast packets are being sent, compared with the estimated bandwidth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speed {
    /// Below it: loss is the path's.
    Slow,
    /// At it.
    Even,
    /// Above it: loss says nothing about the path.
    Fast,
}

#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    acked: f64,
    lost: f64,
}

impl Tally {
    fn packets(self) -> f64 {
        self.acked + self.lost
    }

    fn share(self) -> f64 {
        self.lost / self.packets().max(1.0)
    }

    /// Standard deviation of the share, cautious with small numbers (Agresti and Coull).
    fn deviation(self) -> f64 {
        let packets = self.packets() + 4.0;
        let share = (self.lost + 2.0) / packets;
        (share * (1.0 - share) / packets).sqrt()
    }
}

const HISTORY: usize = 8;

/// See the [module](self).
#[derive(Clone, Debug)]
pub(super) struct PathLoss {
    prior: f64,
    prior_packets: f64,
    slow: Tally,
    even: Tally,
    /// The latest changes of speed, newest first.
    history: [(Timestamp, Speed); HISTORY],
    trust: f64,
    /// This cycle has shown an excess.
    doubted: bool,
}

impl PathLoss {
    pub(super) const fn new(now: Timestamp) -> Self {
        Self {
            prior: 0.0,
            prior_packets: 0.0,
            slow: Tally {
                acked: 0.0,
                lost: 0.0,
            },
            even: Tally {
                acked: 0.0,
                lost: 0.0,
            },
            history: [(now, Speed::Fast); HISTORY],
            trust: 1.0,
            doubted: false,
        }
    }

    /// Packets are sent at another speed from now on.
    pub(super) fn set_speed(&mut self, now: Timestamp, speed: Speed) {
        if self.history[0].1 != speed {
            self.history.rotate_right(1);
            self.history[0] = (now, speed);
        }
    }

    /// Packets up to the one sent at `sent` were acknowledged; `spread` is how far apart in time
    /// packets reported together may have been sent.
    pub(super) fn on_acked(&mut self, sent: Timestamp, packets: u32, spread: Duration) {
        if let Some(tally) = self.tally(sent, spread) {
            tally.acked += f64::from(packets);
        }
    }

    /// Packets up to the one sent at `sent` were lost, with no queue in sight.
    pub(super) fn on_lost(&mut self, sent: Timestamp, packets: u32, spread: Duration) {
        if let Some(tally) = self.tally(sent, spread) {
            tally.lost += f64::from(packets);
        }
    }

    fn tally(&mut self, sent: Timestamp, spread: Duration) -> Option<&mut Tally> {
        let entry = self.history.iter().find(|(since, _)| *since <= sent)?;
        match entry {
            // Some of these packets left before the change.
            (since, _) if sent - *since < spread => None,
            (_, Speed::Slow) => Some(&mut self.slow),
            (_, Speed::Even) => Some(&mut self.even),
            (_, Speed::Fast) => None,
        }
    }

    /// What was measured until now had congestion in it.
    pub(super) fn forget(&mut self) {
        self.prior = 0.0;
        self.prior_packets = 0.0;
        self.slow = Tally::default();
        self.even = Tally::default();
    }

    /// Ends a probing cycle: what it showed becomes the past.
    pub(super) fn advance(&mut self) {
        self.doubted = false;
        if self.slow.packets() < MIN_SLOW_PACKETS {
            return;
        }
        let (estimate, packets) = self.combine();
        self.prior = estimate;
        self.prior_packets = packets.min(MEMORY_PACKETS);
        self.slow = Tally::default();
        self.even = Tally::default();
    }

    /// A round has passed, with a queue standing throughout or not.
    pub(super) fn on_round(&mut self, standing: bool) {
        let factor = if standing { TRUST_LOSS } else { TRUST_GAIN };
        self.trust = (self.trust * factor).clamp(MIN_TRUST, 1.0);
    }

    /// The path's own loss as measured.
    pub(super) fn measured(&self) -> f64 {
        self.combine().0
    }

    /// The part of it to make up for by sending faster.
    pub(super) fn compensated(&self) -> f64 {
        let doubt = if self.doubted { DOUBT } else { 1.0 };
        self.measured() * self.trust * doubt
    }

    /// Whether a cycle has been completed.
    pub(super) fn has_past(&self) -> bool {
        self.prior_packets > 0.0
    }

    /// Whether earlier cycles have seen enough packets for a good estimate.
    pub(super) fn is_known(&self) -> bool {
        self.prior_packets >= KNOWN_PACKETS
    }

    /// Whether this cycle has seen enough packets sent slowly.
    pub(super) fn has_enough(&self) -> bool {
        self.slow.packets() >= ENOUGH_PACKETS
    }

    /// The share lost of `packets` that needs no other explanation: acknowledgements and losses
    /// come in batches, and by chance.
    pub(super) fn usual(&self, packets: f64) -> f64 {
        let loss = self.measured();
        let chance = loss.max(1.0 / packets.max(2.0));
        let deviation = (chance * (1.0 - chance) / packets.max(1.0)).sqrt();
        BATCHING * loss + USUAL_DEVIATIONS * deviation
    }

    /// Whether packets sent at the estimated bandwidth lose more than slower ones, by `threshold`
    /// and beyond chance. If so, their count starts anew.
    pub(super) fn take_excess(&mut self, threshold: f64) -> bool {
        let (slow, even) = (self.slow, self.even);
        if slow.packets() < MIN_SLOW_PACKETS || even.packets() < ENOUGH_PACKETS {
            return false;
        }
        let chance = EXCESS_DEVIATIONS * slow.deviation().hypot(even.deviation());
        let excess = even.share() > slow.share() + threshold + chance;
        if excess {
            self.even = Tally::default();
            self.doubted = true;
        }
        excess
    }

    fn combine(&self) -> (f64, f64) {
        if self.slow.packets() < MIN_SLOW_PACKETS {
            return (self.prior, self.prior_packets);
        }
        let tolerance = TOLERANCE.max(TOLERANCE_DEVIATIONS * self.slow.deviation());
        let mut used = self.slow;
        if self.even.share() <= self.slow.share() + tolerance {
            used.acked += self.even.acked;
            used.lost += self.even.lost;
        }
        let packets = self.prior_packets + used.packets();
        let estimate = (self.prior * self.prior_packets + used.lost) / packets;
        (estimate.min(MAX_LOSS), packets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPREAD: Duration = Duration::from_millis(10);

    fn at(ms: u64) -> Timestamp {
        Timestamp(ms * 1_000_000)
    }

    fn feed(loss: &mut PathLoss, sent_ms: u64, acked: u32, lost: u32) {
        loss.on_acked(at(sent_ms), acked, SPREAD);
        loss.on_lost(at(sent_ms), lost, SPREAD);
    }

    #[test]
    fn loss_while_sending_fast_is_ignored() {
        let mut loss = PathLoss::new(at(0));
        feed(&mut loss, 500, 100, 900);
        assert!(loss.measured() < 1e-9);
    }

    #[test]
    fn slow_and_even_packets_agree_on_random_loss() {
        let mut loss = PathLoss::new(at(0));
        loss.set_speed(at(1_000), Speed::Slow);
        feed(&mut loss, 1_005, 0, 1_000);
        assert!(loss.measured() < 1e-9, "too close to the change");
        feed(&mut loss, 1_050, 180, 20);
        assert!((loss.measured() - 0.1).abs() < 1e-9);
        loss.set_speed(at(1_100), Speed::Even);
        feed(&mut loss, 1_500, 890, 110);
        assert!((loss.measured() - 130.0 / 1_200.0).abs() < 1e-9);
        // Late news of slow packets still finds its place.
        feed(&mut loss, 1_050, 180, 20);
        assert!((loss.measured() - 150.0 / 1_400.0).abs() < 1e-9);
    }

    #[test]
    fn a_policer_does_not_feed_the_estimate() {
        let mut loss = PathLoss::new(at(0));
        for cycle in 0..50_u64 {
            let start = 1_000 + cycle * 1_000;
            loss.set_speed(at(start), Speed::Slow);
            feed(&mut loss, start + 50, 400, 0);
            loss.set_speed(at(start + 100), Speed::Even);
            feed(&mut loss, start + 500, 4_000, 200);
            loss.advance();
        }
        assert!(loss.measured() < 1e-9);
    }

    #[test]
    fn the_past_fades() {
        let mut loss = PathLoss::new(at(0));
        loss.set_speed(at(0), Speed::Slow);
        for _ in 0..20 {
            feed(&mut loss, 100, 700, 300);
            loss.advance();
        }
        assert!((loss.measured() - 0.3).abs() < 1e-6);
        for _ in 0..20 {
            feed(&mut loss, 100, 1_000, 0);
            loss.advance();
        }
        assert!(loss.measured() < 0.01);
    }

    #[test]
    fn a_standing_queue_takes_trust_away_for_a_while() {
        let mut loss = PathLoss::new(at(0));
        loss.set_speed(at(0), Speed::Slow);
        feed(&mut loss, 100, 700, 300);
        (0..100).for_each(|_| loss.on_round(true));
        assert!(loss.compensated() < 0.02);
        (0..100).for_each(|_| loss.on_round(false));
        assert!((loss.compensated() - 0.3).abs() < 1e-9);
    }

    #[test]
    fn the_estimate_is_bounded() {
        let mut loss = PathLoss::new(at(0));
        loss.set_speed(at(0), Speed::Slow);
        feed(&mut loss, 100, 1, 999);
        assert!(loss.measured() <= MAX_LOSS);
    }
}
