//! The only clock: it gives core its `now`.
//!
//! On Linux a [`Timestamp`] is exactly `CLOCK_MONOTONIC` minus a constant, so that a deadline of
//! core's can be handed to a timerfd as an absolute time. Elsewhere it comes from [`Instant`].

use std::time::Instant;

use columba_core::units::Timestamp;

/// Turns the machine's monotonic time into [`Timestamp`]s that start near zero.
///
/// Copies of one clock agree; two clocks made by [`Clock::new`] do not.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Instant,
    #[cfg(all(target_os = "linux", not(feature = "portable-io")))]
    monotonic_start_nanos: u64,
}

impl Clock {
    /// A clock whose time starts now.
    #[must_use]
    pub fn new() -> Self {
        Self {
            started: Instant::now(),
            #[cfg(all(target_os = "linux", not(feature = "portable-io")))]
            monotonic_start_nanos: monotonic_nanos(),
        }
    }

    /// The present, never before what this clock said earlier.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        #[cfg(all(target_os = "linux", not(feature = "portable-io")))]
        let nanos = monotonic_nanos().saturating_sub(self.monotonic_start_nanos);
        #[cfg(not(all(target_os = "linux", not(feature = "portable-io"))))]
        let nanos = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        Timestamp::from_nanos(nanos)
    }

    /// The same point in time for the standard library, to within the time of two clock reads;
    /// `None` where an [`Instant`] cannot express it.
    #[must_use]
    pub fn to_instant(&self, at: Timestamp) -> Option<Instant> {
        self.started
            .checked_add(at.saturating_duration_since(Timestamp::ZERO))
    }

    /// The same point in time in nanoseconds of `CLOCK_MONOTONIC`; saturates.
    #[cfg(all(target_os = "linux", not(feature = "portable-io")))]
    pub(crate) fn to_monotonic_nanos(self, at: Timestamp) -> u64 {
        self.monotonic_start_nanos.saturating_add(at.as_nanos())
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(all(target_os = "linux", not(feature = "portable-io")))]
fn monotonic_nanos() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    // CLOCK_MONOTONIC counts up from boot: neither field is ever negative.
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn time_does_not_go_back() {
        let clock = Clock::new();
        let mut last = clock.now();
        for _ in 0..10_000 {
            let now = clock.now();
            assert!(now >= last);
            last = now;
        }
    }

    #[test]
    fn copies_agree() {
        let clock = Clock::new();
        let copy = clock;
        let first = clock.now();
        let second = copy.now();
        assert!(second >= first);
    }

    #[test]
    fn instants_keep_their_distances() {
        let clock = Clock::new();
        let at = Timestamp::from_nanos(5_000_000_000);
        let early = clock.to_instant(at).unwrap();
        let late = clock.to_instant(at + Duration::from_millis(7)).unwrap();
        assert_eq!(late - early, Duration::from_millis(7));
        assert!(clock.to_instant(Timestamp::ZERO).unwrap() <= Instant::now());
    }
}
