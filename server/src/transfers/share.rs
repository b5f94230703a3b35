//! The limit over all transfers: a token bucket.

use std::time::Duration;

use columba_core::limits::MAX_TRAIN_BYTES;
use columba_core::units::Timestamp;

/// What may be sent at once after a pause.
const BURST: Duration = Duration::from_millis(5);

/// Bytes that may be sent now. A train may overdraw it; the next one waits until that is made good.
#[derive(Debug)]
pub(crate) struct Allowance {
    bytes_per_second: u64,
    /// When the bucket will be empty; nothing may be sent while that lies ahead.
    spent_until: Timestamp,
    now: Timestamp,
}

impl Allowance {
    pub(crate) fn new(bytes_per_second: u64, now: Timestamp) -> Self {
        Self {
            bytes_per_second: bytes_per_second.max(1),
            spent_until: now,
            now,
        }
    }

    /// Whether a train may be sent.
    pub(crate) fn may_send(&mut self, now: Timestamp) -> bool {
        self.now = now;
        let earliest = Timestamp::from_nanos(
            now.as_nanos()
                .saturating_sub(u64::try_from(self.burst().as_nanos()).unwrap_or(u64::MAX)),
        );
        self.spent_until = self.spent_until.max(earliest);
        self.spent_until <= now
    }

    /// A train was sent.
    pub(crate) fn spend(&mut self, bytes: usize) {
        let nanos = bytes as u128 * 1_000_000_000 / u128::from(self.bytes_per_second);
        self.spent_until += Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
    }

    /// When the next train may be sent, if that is later than the last time it was asked.
    pub(crate) fn allowed_at(&self) -> Option<Timestamp> {
        (self.spent_until > self.now).then_some(self.spent_until)
    }

    /// At least one train's worth, so that the limit is reached on slow clocks too.
    fn burst(&self) -> Duration {
        let nanos = MAX_TRAIN_BYTES as u128 * 1_000_000_000 / u128::from(self.bytes_per_second);
        BURST.max(
            Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
                .min(Duration::from_secs(1)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_kept_whatever_the_train() {
        for (rate, train) in [
            (1_000_000u64, 65_507),
            (12_500_000, 65_507),
            (125_000_000, 1_472),
            (1_000, 500),
        ] {
            let mut now = Timestamp::ZERO;
            let mut allowance = Allowance::new(rate, now);
            let mut sent = 0u64;
            let end = Timestamp::ZERO + Duration::from_secs(10);
            while now < end {
                while allowance.may_send(now) {
                    allowance.spend(train);
                    sent += train as u64;
                }
                now = allowance.allowed_at().expect("it was spent");
            }
            let expected = rate * 10;
            assert!(
                sent >= expected && sent <= expected + rate / 50 + 2 * MAX_TRAIN_BYTES as u64,
                "{rate}: {sent}"
            );
        }
    }

    #[test]
    fn a_pause_earns_a_burst_only() {
        let mut allowance = Allowance::new(100_000_000, Timestamp::ZERO);
        let later = Timestamp::ZERO + Duration::from_secs(100);
        let mut sent = 0;
        while allowance.may_send(later) {
            allowance.spend(1_000);
            sent += 1_000;
        }
        assert!(sent <= 600_000, "{sent}");
    }
}
