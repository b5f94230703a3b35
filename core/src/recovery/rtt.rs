//! Round-trip time estimation (RFC 6298, RFC 9002 section 5).

use crate::units::Timestamp;
use std::time::Duration;

/// The timer granularity `kGranularity` (RFC 9002, section 6.1.2).
pub const GRANULARITY: Duration = Duration::from_millis(1);

/// Round trip assumed before the first sample (`kInitialRtt`, RFC 9002, section 6.2.2).
pub const INITIAL_RTT: Duration = Duration::from_millis(333);

/// Span of the windowed minimum (`MinRTTFilterLen`, draft-ietf-ccwg-bbr section 2.14).
pub const MIN_RTT_WINDOW: Duration = Duration::from_secs(10);

/// Smoothed round-trip time, its variation and its minima.
#[derive(Clone, Debug)]
pub struct RttEstimator {
    initial: Duration,
    latest: Option<Duration>,
    srtt: Duration,
    rttvar: Duration,
    min_rtt: Duration,
    windowed: WindowedMin,
}

impl RttEstimator {
    /// An estimator without samples that answers `initial` until the first one comes.
    #[must_use]
    pub fn new(initial: Duration) -> Self {
        Self {
            initial,
            latest: None,
            srtt: initial,
            rttvar: initial / 2,
            min_rtt: initial,
            windowed: WindowedMin::default(),
        }
    }

    /// Takes the time from sending a packet to learning that it arrived.
    ///
    /// `ack_delay` is how long the receiver says it held the acknowledgement back. Only samples
    /// of newly acknowledged packets count, the most recently sent one of each ACK.
    pub fn update(&mut self, now: Timestamp, sample: Duration, ack_delay: Duration) {
        // A zero round trip would turn every rate into infinity.
        let sample = sample.max(Duration::from_nanos(1));
        self.windowed.update(now, sample);
        if self.latest.replace(sample).is_none() {
            self.min_rtt = sample;
            self.srtt = sample;
            self.rttvar = sample / 2;
            return;
        }
        // The minimum disbelieves ack_delay, so that a lying receiver can't push it down
        // (RFC 9002, section 5.2).
        self.min_rtt = self.min_rtt.min(sample);
        let adjusted = if sample >= self.min_rtt + ack_delay {
            sample - ack_delay
        } else {
            sample
        };
        self.rttvar = (self.rttvar * 3 + self.srtt.abs_diff(adjusted)) / 4;
        self.srtt = (self.srtt * 7 + adjusted) / 8;
    }

    /// Whether any sample was taken since the start or the last [`reset`](Self::reset).
    #[must_use]
    pub const fn has_sample(&self) -> bool {
        self.latest.is_some()
    }

    /// The smoothed round-trip time.
    #[must_use]
    pub const fn srtt(&self) -> Duration {
        self.srtt
    }

    /// The mean deviation of the round-trip time.
    #[must_use]
    pub const fn rttvar(&self) -> Duration {
        self.rttvar
    }

    /// The least sample since the start or the last reset.
    #[must_use]
    pub const fn min_rtt(&self) -> Duration {
        self.min_rtt
    }

    /// The least sample of the last [`MIN_RTT_WINDOW`] before the latest one: follows a path that
    /// has become longer.
    #[must_use]
    pub fn windowed_min_rtt(&self) -> Duration {
        self.windowed.min().unwrap_or(self.initial)
    }

    /// The latest sample as measured, acknowledgement delay included.
    #[must_use]
    pub fn latest(&self) -> Duration {
        self.latest.unwrap_or(self.initial)
    }

    /// The probe timeout: how long after sending an acknowledgement is overdue
    /// (RFC 9002, section 6.2.1). Back-off is the caller's.
    #[must_use]
    pub fn pto(&self, max_ack_delay: Duration) -> Duration {
        self.srtt + (self.rttvar * 4).max(GRANULARITY) + max_ack_delay
    }

    /// Forgets everything: the path has changed.
    pub fn reset(&mut self) {
        *self = Self::new(self.initial);
    }
}

impl Default for RttEstimator {
    fn default() -> Self {
        Self::new(INITIAL_RTT)
    }
}

/// Running minimum over [`MIN_RTT_WINDOW`] in constant space: the best of the window, and the best
/// that came after each (the three-candidate filter of Kathleen Nichols).
#[derive(Clone, Debug, Default)]
struct WindowedMin {
    best: Option<[(Timestamp, Duration); 3]>,
}

impl WindowedMin {
    fn min(&self) -> Option<Duration> {
        self.best.map(|best| best[0].1)
    }

    fn update(&mut self, now: Timestamp, sample: Duration) {
        let entry = (now, sample);
        let Some(best) = &mut self.best else {
            self.best = Some([entry; 3]);
            return;
        };
        if sample <= best[0].1 || now - best[2].0 > MIN_RTT_WINDOW {
            *best = [entry; 3];
            return;
        }
        if sample <= best[1].1 {
            best[1] = entry;
            best[2] = entry;
        } else if sample <= best[2].1 {
            best[2] = entry;
        }
        // Candidates age out; a later one succeeds, and refreshes keep the three spread in time.
        let age = now - best[0].0;
        if age > MIN_RTT_WINDOW {
            *best = [best[1], best[2], entry];
            if now - best[0].0 > MIN_RTT_WINDOW {
                *best = [best[1], best[2], entry];
            }
        } else if best[1].0 == best[0].0 && age > MIN_RTT_WINDOW / 4 {
            best[1] = entry;
            best[2] = entry;
        } else if best[2].0 == best[1].0 && age > MIN_RTT_WINDOW / 2 {
            best[2] = entry;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn at(ms: u64) -> Timestamp {
        Timestamp::ZERO + MS * u32::try_from(ms).unwrap()
    }

    #[test]
    fn the_first_sample_sets_everything() {
        let mut rtt = RttEstimator::new(MS * 100);
        assert!(!rtt.has_sample());
        assert_eq!((rtt.srtt(), rtt.rttvar()), (MS * 100, MS * 50));
        rtt.update(at(0), MS * 40, MS * 30);
        assert!(rtt.has_sample());
        assert_eq!((rtt.srtt(), rtt.rttvar()), (MS * 40, MS * 20));
        assert_eq!((rtt.min_rtt(), rtt.windowed_min_rtt()), (MS * 40, MS * 40));
        assert_eq!(rtt.pto(MS * 25), MS * (40 + 80 + 25));
    }

    #[test]
    fn later_samples_smooth_as_rfc_9002_says() {
        let mut rtt = RttEstimator::default();
        rtt.update(at(0), MS * 40, Duration::ZERO);
        rtt.update(at(50), MS * 80, MS * 8);
        // adjusted = 72; rttvar = 3/4·20 + 1/4·32; srtt = 7/8·40 + 1/8·72.
        assert_eq!((rtt.rttvar(), rtt.srtt()), (MS * 23, MS * 44));
        assert_eq!(rtt.latest(), MS * 80);
    }

    #[test]
    fn an_ack_delay_never_pushes_a_sample_below_the_minimum() {
        let mut rtt = RttEstimator::default();
        rtt.update(at(0), MS * 40, Duration::ZERO);
        rtt.update(at(50), MS * 41, MS * 1000);
        assert!(rtt.srtt() >= MS * 40);
        assert_eq!(rtt.min_rtt(), MS * 40);
    }

    #[test]
    fn a_steady_path_has_a_probe_timeout_of_at_least_the_granularity_more() {
        let mut rtt = RttEstimator::default();
        for step in 0..200 {
            rtt.update(at(step), Duration::from_micros(50), Duration::ZERO);
        }
        assert!(rtt.pto(Duration::ZERO) >= Duration::from_micros(50) + GRANULARITY);
    }

    #[test]
    fn the_windowed_minimum_forgets_and_the_lifetime_minimum_does_not() {
        let mut rtt = RttEstimator::default();
        rtt.update(at(0), MS * 10, Duration::ZERO);
        for step in 1..2_400 {
            rtt.update(at(step * 10), MS * 50, Duration::ZERO);
        }
        assert_eq!(rtt.min_rtt(), MS * 10);
        assert_eq!(rtt.windowed_min_rtt(), MS * 50);
    }

    #[test]
    fn the_windowed_minimum_never_exceeds_the_true_one_by_more_than_its_window_allows() {
        let mut rtt = RttEstimator::default();
        let samples: Vec<(u64, u32)> = (0..4_000_u64)
            .map(|step| (step * 10, 20 + u32::try_from(step * 7919 % 101).unwrap()))
            .collect();
        for (index, (ms, sample)) in samples.iter().enumerate() {
            rtt.update(at(*ms), MS * *sample, Duration::ZERO);
            let newest_quarter = samples[..=index]
                .iter()
                .filter(|(then, _)| ms - then <= 2_500)
                .map(|(_, sample)| MS * *sample)
                .min()
                .unwrap();
            assert!(rtt.windowed_min_rtt() <= newest_quarter);
        }
    }

    #[test]
    fn reset_forgets_the_path() {
        let mut rtt = RttEstimator::new(MS * 100);
        rtt.update(at(0), MS * 10, Duration::ZERO);
        rtt.reset();
        assert!(!rtt.has_sample());
        assert_eq!(rtt.srtt(), MS * 100);
        assert_eq!(rtt.windowed_min_rtt(), MS * 100);
    }
}
