//! How flows that share a path come to equal shares: additive increase, multiplicative decrease,
//! with the queue as the signal that all of them see.
//!
//! - Up adds to the rate what doubles every round trip from the same few bytes in every flow, so
//!   flows that probe together gain the same, however fast they are, and as much as makes the
//!   common queue show: the step fits any path.
//! - While a queue stands, the delivery rates of all flows add up to the path's. Each takes its own
//!   as its bandwidth: that shrinks all by the same factor, and leaves the path filled, not the queue.
//! - Flows probe at the same moments: when their clock (one for all flows of a server) passes a
//!   multiple of the cycle, when they see a queue begin that they have not made, or again at once
//!   while their share is still changing.
//!
//! Where a queue doesn't drain although we slow down, others keep it filled. The path is
//! *contested* until it has been seen empty: then a yielding flow would starve, and probing follows
//! the draft.

use super::bandwidth::bytes_over;
use super::{Bbr, MIN_MODEL_RTT, ratio, scale};
use crate::congestion::delivery_rate::RateSample;
use crate::units::Timestamp;
use std::time::Duration;

/// Flows of a server probe when its clock passes multiples of this: two to three seconds as in
/// the draft (section 5.3.3.5.1), but together.
pub(super) const CYCLE: Duration = Duration::from_millis(2_500);

/// Not sooner after each other than this: on short paths measurements are too noisy to hurry.
const SHORTEST_CYCLE: Duration = Duration::from_millis(100);

/// What Up adds in its first round trip: two packets of an Ethernet path, whatever our datagrams.
const RAMP_BYTES: f64 = 2.0 * 1_472.0;

/// Doublings after which the ramp is surely at its end.
const MAX_RAMP_ROUNDS: f64 = 40.0;

/// A share that differs by more than this from the last one, or by so many standard deviations of
/// its measurement, is still on its way.
const MOVED: f64 = 0.03;
const MOVED_DEVIATIONS: f64 = 3.0;

/// Most that is granted to the measurement's deviation.
const MAX_DEVIATION: f64 = 0.1;

/// Loss from which our own rate may be what makes a small queue: we pace by an estimate of it.
const LOSSY: f64 = 0.005;

/// Samples in a row that then show others' queue.
const LOSSY_SAMPLES: u32 = 2;

/// What is known of our share of the path.
#[derive(Clone, Debug)]
pub(super) struct Share {
    /// As of the last cycle.
    latest: u64,
    /// When Down began with a queue, until the share has been measured.
    peak: Option<Timestamp>,
    /// Rate over the round trip before that.
    delivered: Option<u64>,
    /// Others keep the queue filled.
    contested: bool,
}

impl Share {
    pub(super) const fn new() -> Self {
        Self {
            latest: 0,
            peak: None,
            delivered: None,
            contested: false,
        }
    }

    pub(super) const fn is_contested(&self) -> bool {
        self.contested
    }

    pub(super) fn set_contested(&mut self, contested: bool) {
        self.contested = contested;
    }

    /// Down begins, with a queue or without.
    pub(super) fn begin_down(&mut self, now: Timestamp, queue: bool) {
        self.delivered = None;
        self.peak = (queue && !self.contested).then_some(now);
    }

    pub(super) const fn is_due(&self) -> bool {
        self.peak.is_some()
    }

    /// Takes a sample, with the rate over those before it: packets sent after the peak are slower.
    pub(super) fn on_sample(&mut self, sample: &RateSample, recent_bw: u64) {
        if self.peak.is_some_and(|peak| sample.sent_time > peak) {
            self.delivered.get_or_insert(recent_bw);
        }
    }
}

impl Bbr {
    /// A round trip after the peak, what was delivered at it is our share of the path.
    pub(super) fn take_share(&mut self, now: Timestamp) {
        let peak = self.share.peak.take().unwrap_or(now);
        let share = self.share.delivered.unwrap_or(self.recent_bw);
        let before = std::mem::replace(&mut self.share.latest, share);
        let deviation = self.deviation().min(MAX_DEVIATION);
        if share.abs_diff(before) > scale(before, MOVED.max(MOVED_DEVIATIONS * deviation)) {
            self.cycle.probe_at(peak + SHORTEST_CYCLE);
        }
        let max = self.bandwidth.max();
        let believed = max.min(scale(share, 1.0 + deviation));
        if believed < max {
            self.bandwidth.replace(believed);
            self.average_bw = self.average_bw.min(believed);
        } else {
            self.bandwidth.advance();
        }
    }

    /// Others have begun to probe: a queue that we have not made.
    pub(super) fn others_probe(&self) -> bool {
        let evident = !self.is_lossy() || self.queue.grown_run() >= LOSSY_SAMPLES;
        evident && self.queue.is_beginning() && !self.share.contested
    }

    /// The path loses so much that making up for it may overshoot.
    pub(super) fn is_lossy(&self) -> bool {
        self.path_loss.measured() > LOSSY
    }

    /// Up's pacing gain, at most `most`.
    pub(super) fn ramp_gain(&self, most: f64) -> f64 {
        let rtt = self.queue.min_rtt().unwrap_or_default().max(MIN_MODEL_RTT);
        let (elapsed, bandwidth) = self.cycle.since_up(self.now);
        let rounds = elapsed.as_secs_f64() / rtt.as_secs_f64();
        let extra = RAMP_BYTES * rounds.min(MAX_RAMP_ROUNDS).exp2();
        (1.0 + extra / ratio(bytes_over(bandwidth, rtt).max(1), 1)).min(most)
    }
}

/// The next moment at which flows act together: a multiple of `period` on their common clock.
pub(super) fn next_common(now: Timestamp, period: Duration) -> Timestamp {
    let elapsed = Duration::from_nanos(now.as_nanos());
    let into = elapsed.as_nanos() % period.as_nanos();
    let into = Duration::from_nanos(u64::try_from(into).unwrap_or(0));
    now + period.saturating_sub(into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_moments_are_multiples_and_lie_ahead() {
        let at = |ms: u64| Timestamp(ms * 1_000_000);
        assert_eq!(next_common(at(0), CYCLE), at(2_500));
        assert_eq!(next_common(at(2_499), CYCLE), at(2_500));
        assert_eq!(next_common(at(2_500), CYCLE), at(5_000));
    }

    #[test]
    fn the_share_is_what_was_delivered_before_slowing_down() {
        let mut share = Share::new();
        let sample = |ms: u64| RateSample {
            sent_time: Timestamp(ms),
            ..RateSample::default()
        };
        share.begin_down(Timestamp(10), true);
        share.on_sample(&sample(9), 100);
        assert_eq!(share.delivered, None);
        share.on_sample(&sample(11), 90);
        share.on_sample(&sample(12), 80);
        assert_eq!(share.delivered, Some(90));
        share.begin_down(Timestamp(20), false);
        assert!(!share.is_due());
        share.set_contested(true);
        share.begin_down(Timestamp(30), true);
        assert!(!share.is_due());
    }
}
