//! Budgets: how many messages and requests a user may send.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use columba_core::units::Timestamp;

/// What one user may still send, by the generic cell rate algorithm: a token bucket in a single number.
///
/// Each take moves the user's clock on by one interval; it may run ahead of the real one by the burst.
#[derive(Debug)]
pub struct Budgets<K> {
    /// Time that one take costs; zero for no limit.
    interval: Duration,
    /// Each user's clock.
    clocks: HashMap<K, Timestamp>,
}

/// How far a user's clock may run ahead: what may be sent at once after a pause.
const BURST: Duration = Duration::from_secs(2);

/// Clocks are swept of those that stand still when there are more than this.
const SWEEP_AT: usize = 1_024;

impl<K: Copy + Eq + Hash> Budgets<K> {
    /// `rate` takes a second for each user, 0 for no limit; twice that at once after a pause.
    #[must_use]
    pub fn new(rate: u32) -> Self {
        let interval = Duration::from_secs(1).checked_div(rate).unwrap_or_default();
        Self {
            interval,
            clocks: HashMap::new(),
        }
    }

    /// Takes one; `false` when the user has used up its budget.
    pub fn take(&mut self, user: K, now: Timestamp) -> bool {
        if self.interval.is_zero() {
            return true;
        }
        if self.clocks.len() > SWEEP_AT && !self.clocks.contains_key(&user) {
            self.clocks.retain(|_, clock| *clock > now);
        }
        let clock = self.clocks.entry(user).or_insert(now);
        let next = (*clock).max(now) + self.interval;
        let within = next - now <= BURST;
        if within {
            *clock = next;
        }
        within
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_gets_the_burst_and_then_the_rate() {
        let mut budgets = Budgets::new(1_000);
        let mut now = Timestamp::ZERO;
        assert_eq!((0..5_000).filter(|_| budgets.take('a', now)).count(), 2_000);
        let mut taken = 0;
        for _ in 0..1_000 {
            now += Duration::from_millis(1);
            taken += (0..5).filter(|_| budgets.take('a', now)).count();
        }
        assert!((999..=1_001).contains(&taken), "{taken}");
    }

    #[test]
    fn users_do_not_share() {
        let mut budgets = Budgets::new(1);
        while budgets.take('a', Timestamp::ZERO) {}
        assert!(budgets.take('b', Timestamp::ZERO));
    }

    #[test]
    fn slow_rates_are_exact_however_often_they_are_asked() {
        let mut budgets = Budgets::new(3);
        let mut now = Timestamp::ZERO;
        while budgets.take('a', now) {}
        let mut taken = 0;
        for _ in 0..1_000_000 {
            now += Duration::from_micros(10);
            taken += u32::from(budgets.take('a', now));
        }
        assert!((29..=30).contains(&taken), "{taken}");
    }

    #[test]
    fn zero_means_no_limit_and_memory_stays_bounded() {
        let mut unlimited = Budgets::new(0);
        assert!((0..100_000).all(|_| unlimited.take('a', Timestamp::ZERO)));
        let mut budgets = Budgets::new(10);
        let mut now = Timestamp::ZERO;
        for user in 0..100_000u32 {
            now += Duration::from_millis(1);
            budgets.take(user, now);
        }
        assert!(budgets.clocks.len() <= 2 * SWEEP_AT);
    }
}
