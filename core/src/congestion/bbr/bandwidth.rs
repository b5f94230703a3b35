//! The bandwidth model: a maximum that falls, and what acknowledgements come bundled.

use crate::units::Timestamp;
use std::time::Duration;

/// Maximum over the present and the previous probing cycle (`MaxBwFilter`, draft-ietf-ccwg-bbr,
/// section 5.5.5): a peak is forgotten after two cycles.
#[derive(Clone, Debug, Default)]
pub(super) struct MaxFilter {
    previous: u64,
    present: u64,
}

impl MaxFilter {
    pub(super) fn update(&mut self, sample: u64) {
        self.present = self.present.max(sample);
    }

    /// Ends a cycle, unless it had no samples.
    pub(super) fn advance(&mut self) {
        if self.present > 0 {
            self.previous = self.present;
            self.present = 0;
        }
    }

    pub(super) fn max(&self) -> u64 {
        self.previous.max(self.present)
    }

    /// Forgets every sample but this one.
    pub(super) fn replace(&mut self, sample: u64) {
        if sample > 0 {
            self.previous = sample;
            self.present = 0;
        }
    }
}

/// Rounds a maximum of [`ExtraAcked`] is kept at least.
const BUCKET_ROUNDS: u64 = 5;

/// Bytes acknowledged beyond what the bandwidth explains (`BBRUpdateACKAggregation`, section
/// 5.5.9). Acknowledgements come once per quarter of a round trip, so the window must hold that
/// much more than a bandwidth-delay product to keep the path busy.
#[derive(Clone, Debug, Default)]
pub(super) struct ExtraAcked {
    epoch_start: Timestamp,
    epoch_acked: u64,
    filter: MaxFilter,
    bucket_since: u64,
}

impl ExtraAcked {
    pub(super) fn on_ack(&mut self, now: Timestamp, acked: u64, bandwidth: u64, round: u64) {
        if round >= self.bucket_since + BUCKET_ROUNDS {
            self.bucket_since = round;
            self.filter.advance();
        }
        let expected = bytes_over(bandwidth, now - self.epoch_start);
        if self.epoch_acked <= expected {
            self.epoch_start = now;
            self.epoch_acked = 0;
            self.epoch_acked += acked;
            self.filter.update(acked);
            return;
        }
        self.epoch_acked += acked;
        self.filter.update(self.epoch_acked - expected);
    }

    /// After a silence the old epoch would hide what comes.
    pub(super) fn restart(&mut self, now: Timestamp) {
        self.epoch_start = now;
        self.epoch_acked = 0;
    }

    pub(super) fn max(&self) -> u64 {
        self.filter.max()
    }
}

/// What `rate` bytes per second amount to in `span`, saturating.
pub(super) fn bytes_over(rate: u64, span: Duration) -> u64 {
    let bytes = u128::from(rate) * span.as_nanos() / 1_000_000_000;
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// Growth per round that says the pipe is not full yet, and rounds without it that say it is
/// (`BBRCheckFullBWReached`, section 5.3.1.2).
const FULL_PIPE_GROWTH_NUMERATOR: u64 = 5;
const FULL_PIPE_GROWTH_DENOMINATOR: u64 = 4;
const FULL_PIPE_ROUNDS: u32 = 3;

/// Whether bandwidth has stopped growing although the sender keeps sending faster.
#[derive(Clone, Debug, Default)]
pub(super) struct FullPipe {
    bandwidth: u64,
    flat_rounds: u32,
    slowing: bool,
}

impl FullPipe {
    /// Takes the maximum bandwidth at a round's beginning.
    pub(super) fn on_round(&mut self, bandwidth: u64) {
        self.slowing = bandwidth < self.bandwidth.saturating_mul(3) / 2;
        let grown = u128::from(self.bandwidth) * u128::from(FULL_PIPE_GROWTH_NUMERATOR)
            / u128::from(FULL_PIPE_GROWTH_DENOMINATOR);
        if u128::from(bandwidth) >= grown {
            self.bandwidth = bandwidth;
            self.flat_rounds = 0;
        } else {
            self.flat_rounds += 1;
        }
    }

    /// A round with marks counts as one without growth: what comes next would be lost.
    pub(super) const fn on_marked_round(&mut self) {
        self.flat_rounds += 1;
    }

    /// The last round grew by less than a half, where sending grew by more than that.
    pub(super) const fn is_slowing(&self) -> bool {
        self.slowing
    }

    pub(super) const fn flat_rounds(&self) -> u32 {
        self.flat_rounds
    }

    pub(super) const fn is_full(&self) -> bool {
        self.flat_rounds >= FULL_PIPE_ROUNDS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_maximum_falls_after_two_cycles() {
        let mut filter = MaxFilter::default();
        filter.update(100);
        filter.update(20);
        filter.advance();
        filter.advance();
        assert_eq!(filter.max(), 100, "a cycle without samples doesn't count");
        filter.update(30);
        filter.advance();
        assert_eq!(filter.max(), 30);
    }

    #[test]
    fn bundles_show_as_extra() {
        let mut extra = ExtraAcked::default();
        // 1 MB/s, acknowledged in bundles of 10 ms.
        for bundle in 1..100_u32 {
            let now = Timestamp::ZERO + MS * 10 * bundle;
            extra.on_ack(now, 10_000, 1_000_000, u64::from(bundle) / 4);
        }
        assert!((10_000..=11_000).contains(&extra.max()), "{}", extra.max());
    }

    #[test]
    fn extra_is_forgotten() {
        let mut extra = ExtraAcked::default();
        extra.on_ack(Timestamp::ZERO, 500_000, 1_000_000, 0);
        for ms in 1..1_000_u32 {
            let now = Timestamp::ZERO + MS * (500 + ms);
            extra.on_ack(now, 1_000, 1_000_000, u64::from(ms) / 10);
        }
        assert!(extra.max() < 3_000, "{}", extra.max());
    }

    #[test]
    fn three_flat_rounds_fill_the_pipe() {
        let mut pipe = FullPipe::default();
        for bandwidth in [100, 200, 400, 450, 460, 499] {
            assert!(!pipe.is_full());
            pipe.on_round(bandwidth);
        }
        assert!(pipe.is_full());
    }
}
