//! How often a connection is tried.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use columba_core::units::Timestamp;

/// Pauses between two rounds while connecting is tried for a while.
const MIN_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(2);
/// Pauses when it is tried without end.
const MIN_PATIENT_PAUSE: Duration = Duration::from_secs(1);
const MAX_PATIENT_PAUSE: Duration = Duration::from_secs(30);
/// Up to this share is added to a patient pause, so that not all come back at once.
const JITTER_PERCENT: u64 = 20;
/// A connection that lived so long was a good one: the next attempt comes at once.
const GOOD_AFTER: Duration = Duration::from_secs(10);

/// How often, and for how long, a connection is tried.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// When to give up; `None`: never.
    pub(crate) give_up_at: Option<Timestamp>,
    /// Before the first attempt.
    pub(crate) first: Duration,
    pause: Duration,
    max_pause: Duration,
}

impl Pace {
    /// Tries until then, beginning at once.
    pub(crate) const fn until(give_up_at: Timestamp) -> Self {
        Self {
            give_up_at: Some(give_up_at),
            first: Duration::ZERO,
            pause: MIN_PAUSE,
            max_pause: MAX_PAUSE,
        }
    }

    /// Tries without end.
    pub(crate) const fn patient() -> Self {
        Self {
            give_up_at: None,
            first: Duration::ZERO,
            pause: MIN_PATIENT_PAUSE,
            max_pause: MAX_PATIENT_PAUSE,
        }
    }

    /// The next pause; each is twice as long as the one before, up to a bound.
    pub(crate) fn next_pause(&mut self) -> Duration {
        let pause = self.pause;
        self.pause = (pause * 2).min(self.max_pause);
        if self.give_up_at.is_some() {
            return pause;
        }
        let random = RandomState::new().hash_one(pause) % (JITTER_PERCENT * 10);
        let nanos = u64::try_from(pause.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(nanos.saturating_add(nanos / 1000 * random))
    }

    /// Begins with short pauses again.
    pub(crate) const fn restart(&mut self) {
        self.pause = if self.give_up_at.is_some() {
            MIN_PAUSE
        } else {
            MIN_PATIENT_PAUSE
        };
    }
}

/// Remembers whether connections last: a server that welcomes and then falls over is not tried at
/// full speed.
#[derive(Debug, Default)]
pub(super) struct Comebacks {
    short_lived: u32,
    up_since: Option<Timestamp>,
}

impl Comebacks {
    pub(super) const fn on_up(&mut self, now: Timestamp) {
        self.up_since = Some(now);
    }

    /// The connection was lost, or never came: how to try again.
    pub(super) fn on_lost(&mut self, now: Timestamp, patient: bool, try_for: Duration) -> Pace {
        let lived = self.up_since.take().map(|since| now - since);
        if lived.is_some_and(|lived| lived >= GOOD_AFTER) {
            self.short_lived = 0;
        }
        let mut pace = if patient {
            Pace::patient()
        } else {
            Pace::until(now + try_for)
        };
        for _ in 0..self.short_lived.min(16) {
            pace.first = pace.next_pause();
        }
        self.short_lived = self.short_lived.saturating_add(1);
        pace
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn pauses_double_up_to_their_bound() {
        let mut pace = Pace::until(at(30));
        let pauses: Vec<u128> = (0..7).map(|_| pace.next_pause().as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 2000, 2000]);
        let mut pace = Pace::patient();
        let mut expected = MIN_PATIENT_PAUSE;
        for _ in 0..8 {
            let pause = pace.next_pause();
            assert!(pause >= expected && pause <= expected * 6 / 5, "{pause:?}");
            expected = (expected * 2).min(MAX_PATIENT_PAUSE);
        }
        pace.restart();
        assert!(pace.next_pause() < 2 * MIN_PATIENT_PAUSE);
    }

    #[test]
    fn a_good_connection_is_made_anew_at_once_and_a_bad_one_is_not() {
        let mut comebacks = Comebacks::default();
        let try_for = Duration::from_secs(30);
        comebacks.on_up(at(0));
        let pace = comebacks.on_lost(at(20), true, try_for);
        assert_eq!((pace.first, pace.give_up_at), (Duration::ZERO, None));
        let mut first = Duration::ZERO;
        for second in 21..25 {
            comebacks.on_up(at(second));
            let pace = comebacks.on_lost(at(second), true, try_for);
            assert!(pace.first > first);
            first = pace.first;
        }
        comebacks.on_up(at(30));
        let pace = comebacks.on_lost(at(50), false, try_for);
        assert_eq!(
            (pace.first, pace.give_up_at),
            (Duration::ZERO, Some(at(80)))
        );
    }
}
