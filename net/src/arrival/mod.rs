//! When bytes came to this system, as its kernel noted.
//!
//! A thread that reads late cannot tell how late. Linux stamps every packet that comes in with its real-time clock, and
//! tells with what is read when the last of it came: [`RealTime`] turns that into time of the loop's own clock. Elsewhere
//! nothing is known.

#[cfg(all(target_os = "linux", not(feature = "portable-io")))]
#[path = "linux.rs"]
mod system;
#[cfg(not(all(target_os = "linux", not(feature = "portable-io"))))]
#[path = "portable.rs"]
mod system;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use columba_core::units::Timestamp;

pub(crate) use system::{read, request};

/// Two samples further apart than this mean that somebody set the clock, or that a sample took long.
const STEADY: Duration = Duration::from_micros(50);

/// What the real-time clock shows beside the loop's. Both run equally fast; but the former is set now and then.
///
/// Take a [`sample`](Self::sample) before each time at which stamps may be made: only what the last two agree on
/// is turned into a [`Timestamp`].
#[derive(Clone, Copy, Debug, Default)]
pub struct RealTime {
    /// Nanoseconds since 1970 at the loop's time zero, by the last sample.
    zero_nanos: Option<i64>,
    steady: bool,
}

impl RealTime {
    /// The clocks as they are now: `now` is read first. A pause between the two readings makes stamps seem older.
    pub fn sample(&mut self, now: Timestamp, real: SystemTime) {
        let zero_nanos =
            nanos_since_1970(real).and_then(|real| real.checked_sub_unsigned(now.as_nanos()));
        self.steady = match (self.zero_nanos, zero_nanos) {
            (Some(before), Some(after)) => u128::from(before.abs_diff(after)) <= STEADY.as_nanos(),
            (None, _) | (_, None) => false,
        };
        self.zero_nanos = zero_nanos;
    }

    /// A stamp as time of the loop's clock; `None` where the real-time clock was set meanwhile, and where the stamp
    /// lies before `earliest` or after `latest`.
    #[must_use]
    pub fn timestamp(
        &self,
        stamp: SystemTime,
        (earliest, latest): (Timestamp, Timestamp),
    ) -> Option<Timestamp> {
        let zero_nanos = self.zero_nanos.filter(|_| self.steady)?;
        let since_zero = nanos_since_1970(stamp)?.checked_sub(zero_nanos)?;
        let at = Timestamp::from_nanos(u64::try_from(since_zero).ok()?);
        (earliest..=latest).contains(&at).then_some(at)
    }
}

fn nanos_since_1970(time: SystemTime) -> Option<i64> {
    i64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_nanos()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: (Timestamp, Timestamp) = (Timestamp::ZERO, Timestamp(u64::MAX));

    fn micros(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }

    fn real(at: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_800_000_000) + micros(at)
    }

    fn at(at: u64) -> Timestamp {
        Timestamp::ZERO + micros(at)
    }

    /// Two samples, of which the second sees the real-time clock set forward by so much.
    fn sampled(step_micros: u64) -> RealTime {
        let mut clocks = RealTime::default();
        clocks.sample(at(100), real(100));
        clocks.sample(at(900), real(900 + step_micros));
        clocks
    }

    #[test]
    fn stamps_become_time_of_the_loops_clock() {
        assert_eq!(sampled(0).timestamp(real(500), ANY), Some(at(500)));
        assert_eq!(sampled(0).timestamp(real(1_000), ANY), Some(at(1_000)));
        let seen_later = sampled(10).timestamp(real(500), ANY);
        assert_eq!(seen_later, Some(at(490)), "a slow sample makes it older");
    }

    #[test]
    fn one_sample_is_not_enough() {
        let mut clocks = RealTime::default();
        assert_eq!(clocks.timestamp(real(0), ANY), None);
        clocks.sample(at(100), real(100));
        assert_eq!(clocks.timestamp(real(100), ANY), None);
    }

    #[test]
    fn a_clock_that_was_set_is_believed_again_after_two_samples() {
        for step in [51, 1_000_000] {
            let mut clocks = sampled(step);
            assert_eq!(clocks.timestamp(real(500), ANY), None);
            clocks.sample(at(1_000), real(1_000 + step));
            let stamp = clocks.timestamp(real(950 + step), ANY);
            assert_eq!(stamp, Some(at(950)));
        }
        let mut clocks = sampled(0);
        clocks.sample(at(1_000), real(0));
        assert_eq!(clocks.timestamp(real(500), ANY), None, "set back");
    }

    #[test]
    fn what_cannot_be_is_not_believed() {
        let clocks = sampled(0);
        let bounds = (at(400), at(600));
        for (stamp, is_believed) in [(399, false), (400, true), (600, true), (601, false)] {
            let believed = clocks.timestamp(real(stamp), bounds);
            assert_eq!(believed, is_believed.then(|| at(stamp)), "{stamp}");
        }
        let before_time = real(0) - Duration::from_secs(1);
        assert_eq!(clocks.timestamp(before_time, ANY), None);
        let before_1970 = UNIX_EPOCH - micros(1);
        assert_eq!(clocks.timestamp(before_1970, ANY), None);
        let mut clocks = clocks;
        clocks.sample(at(1_000), before_1970);
        assert_eq!(clocks.timestamp(real(500), ANY), None);
    }
}
