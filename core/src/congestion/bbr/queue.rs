//! Evidence of a queue: round trips above the least one.

use crate::units::Timestamp;
use std::time::Duration;

/// A round trip this much above the least one shows a queue: the larger of a quarter of it and
/// four times its usual variation from sample to sample.
const EVIDENCE_DIVISOR: u32 = 4;
const EVIDENCE_JITTER_FACTOR: u32 = 4;

/// While probing a smaller growth is enough: we know who causes it.
const PROBING_DIVISOR: u32 = 8;
const PROBING_JITTER_FACTOR: u32 = 3;

/// Round trips within this part of the least one count as having touched it.
const TOUCH_DIVISOR: u32 = 64;

/// Within this part of it, or the jitter, the queue is empty for practical purposes.
const DRAINED_DIVISOR: u32 = 16;

/// Short paths jitter by the hosts' scheduling.
const SCHEDULING_SLACK: Duration = Duration::from_micros(300);

/// How long the least round trip is believed without being touched (`MinRTTFilterLen`,
/// draft-ietf-ccwg-bbr, section 2.14).
const MIN_RTT_LIFETIME: Duration = Duration::from_secs(10);

/// By how much of itself the floor rises at most when the least round trip is replaced.
const FLOOR_RISE_DIVISOR: u32 = 8;

/// In Startup, where round trips explode once the path is full, clearer evidence is asked for.
const FILLED_DIVISOR: u32 = 2;

/// How many samples the jitter is averaged over.
const JITTER_SAMPLES: u32 = 16;

/// Tracks the least round trip and how far the present ones are above it.
#[derive(Clone, Debug)]
pub(super) struct QueueWatch {
    min_rtt: Option<Duration>,
    /// What evidence is measured against: the least round trip ever, except that each replacement
    /// of `min_rtt` may raise it a little. Others' standing queues soon look like the path itself.
    floor: Duration,
    touched: Timestamp,
    latest: Duration,
    jitter: Duration,
    samples: u32,
    /// Least sample of the present round, and of the previous one.
    round_min: Duration,
    last_round_min: Duration,
    /// Samples in a row that show a beginning queue, and one of half a round trip.
    grown_run: u32,
    filled_run: u32,
}

impl QueueWatch {
    pub(super) const fn new(now: Timestamp) -> Self {
        Self {
            min_rtt: None,
            floor: Duration::MAX,
            touched: now,
            latest: Duration::ZERO,
            jitter: Duration::ZERO,
            samples: 0,
            round_min: Duration::MAX,
            last_round_min: Duration::MAX,
            grown_run: 0,
            filled_run: 0,
        }
    }

    /// Takes a sample; `round_start` tells that it is the first of a round.
    ///
    /// Returns true if the floor turned out to be much lower than believed: what was taken for the
    /// path was a queue.
    pub(super) fn on_sample(&mut self, now: Timestamp, rtt: Duration, round_start: bool) -> bool {
        let believed = self.floor;
        if let Some(min_rtt) = self.min_rtt {
            self.samples = (self.samples + 1).min(JITTER_SAMPLES);
            let change = self.latest.abs_diff(rtt);
            self.jitter = (self.jitter * (self.samples - 1) + change) / self.samples;
            if rtt <= min_rtt + min_rtt / TOUCH_DIVISOR {
                self.touched = now;
            }
        } else {
            self.touched = now;
        }
        self.min_rtt = Some(self.min_rtt.map_or(rtt, |min_rtt| min_rtt.min(rtt)));
        self.floor = self.floor.min(rtt);
        self.latest = rtt;
        if round_start {
            self.last_round_min = self.round_min;
            self.round_min = Duration::MAX;
        }
        self.round_min = self.round_min.min(rtt);
        let grown = rtt > self.threshold(PROBING_DIVISOR, PROBING_JITTER_FACTOR);
        self.grown_run = if grown { self.grown_run + 1 } else { 0 };
        let filled = rtt > self.threshold(FILLED_DIVISOR, EVIDENCE_JITTER_FACTOR);
        self.filled_run = if filled { self.filled_run + 1 } else { 0 };
        believed != Duration::MAX && rtt + rtt / FLOOR_RISE_DIVISOR < believed
    }

    pub(super) const fn min_rtt(&self) -> Option<Duration> {
        self.min_rtt
    }

    /// The usual change from sample to sample.
    pub(super) const fn jitter(&self) -> Duration {
        self.jitter
    }

    pub(super) const fn latest(&self) -> Duration {
        self.latest
    }

    /// The latest round trip shows a queue.
    pub(super) fn is_elevated(&self) -> bool {
        self.latest > self.threshold(EVIDENCE_DIVISOR, EVIDENCE_JITTER_FACTOR)
    }

    /// How many samples in a row have grown as they do when we cause a queue.
    pub(super) const fn grown_run(&self) -> u32 {
        self.grown_run
    }

    /// How many samples in a row have shown a queue of half a round trip.
    pub(super) const fn filled_run(&self) -> u32 {
        self.filled_run
    }

    /// Every round trip of the last whole round showed a queue: it stands.
    pub(super) fn is_standing(&self) -> bool {
        let threshold = self.threshold(EVIDENCE_DIVISOR, EVIDENCE_JITTER_FACTOR);
        self.last_round_min != Duration::MAX
            && self.last_round_min > threshold
            && self.round_min > threshold
    }

    /// The latest round trip has grown beyond `base` as it does when we cause a queue.
    pub(super) fn has_grown_since(&self, base: Duration) -> bool {
        let min_rtt = self.min_rtt.unwrap_or(base);
        let growth = (min_rtt / PROBING_DIVISOR)
            .max(self.jitter * PROBING_JITTER_FACTOR)
            .max(SCHEDULING_SLACK);
        self.latest > base.max(min_rtt) + growth
    }

    /// The latest round trip is as good as the least one.
    pub(super) fn is_drained(&self) -> bool {
        self.min_rtt.is_some_and(|min_rtt| {
            self.latest <= min_rtt + (min_rtt / DRAINED_DIVISOR).max(self.jitter)
        })
    }

    /// The least round trip hasn't been touched for so long that the path may have changed.
    pub(super) fn is_stale(&self, now: Timestamp) -> bool {
        now - self.touched > MIN_RTT_LIFETIME
    }

    /// What was measured with a nearly empty pipe is the least round trip from now on.
    ///
    /// What evidence is measured against follows slowly, and only where little is lost (`clean`):
    /// a queue that others keep full, and overflowing, would otherwise pass for the path.
    pub(super) fn replace_min_rtt(
        &mut self,
        now: Timestamp,
        measured: Option<Duration>,
        clean: bool,
    ) {
        self.touched = now;
        if let Some(measured) = measured {
            self.min_rtt = Some(measured);
            if clean {
                self.floor = measured.min(self.floor + self.floor / FLOOR_RISE_DIVISOR);
            }
            self.grown_run = 0;
            self.filled_run = 0;
        }
    }

    /// A silence is no sign that the path has changed.
    pub(super) fn postpone(&mut self, now: Timestamp) {
        self.touched = now;
    }

    fn threshold(&self, divisor: u32, jitter_factor: u32) -> Duration {
        let growth = (self.floor / divisor)
            .max(self.jitter * jitter_factor)
            .max(SCHEDULING_SLACK);
        self.floor.saturating_add(growth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn at(ms: u32) -> Timestamp {
        Timestamp::ZERO + MS * ms
    }

    #[test]
    fn a_queue_shows_when_all_of_a_round_is_slow() {
        let mut queue = QueueWatch::new(at(0));
        for step in 0..64 {
            queue.on_sample(at(step), MS * 50, step % 8 == 0);
        }
        assert!(!queue.is_elevated() && queue.is_drained());
        for step in 64..88 {
            queue.on_sample(at(step), MS * 70, step % 8 == 0);
        }
        assert!(queue.is_elevated() && queue.is_standing() && !queue.is_drained());
        assert_eq!(queue.filled_run(), 0);
        queue.on_sample(at(90), MS * 51, false);
        assert!(!queue.is_elevated() && !queue.is_standing());
    }

    #[test]
    fn jitter_is_no_queue() {
        let mut queue = QueueWatch::new(at(0));
        for step in 0..200 {
            queue.on_sample(at(step), MS * (20 + step * 7 % 11), step % 8 == 0);
            assert!(step < 40 || !queue.is_elevated(), "step {step}");
        }
    }

    #[test]
    fn the_least_round_trip_goes_stale_unless_touched() {
        let mut queue = QueueWatch::new(at(0));
        queue.on_sample(at(0), MS * 50, true);
        queue.on_sample(at(9_000), MS * 101 / 2, true);
        assert!(!queue.is_stale(at(18_000)));
        queue.on_sample(at(18_000), MS * 60, true);
        assert!(queue.is_stale(at(19_001)));
        queue.replace_min_rtt(at(19_001), Some(MS * 60), true);
        assert_eq!(queue.min_rtt(), Some(MS * 60));
        assert!(!queue.is_stale(at(19_002)));
    }
}
