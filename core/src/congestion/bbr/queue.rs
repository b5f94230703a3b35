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

/// And this shows that someone has begun to probe.
const BEGINNING_DIVISOR: u32 = 16;

/// Round trips within this part of the least one count as having touched it.
const TOUCH_DIVISOR: u32 = 64;

/// Within this part of it, or the jitter, the queue is empty for practical purposes.
const DRAINED_DIVISOR: u32 = 16;

/// What a paced train holds at most, and its end waits in the queue.
const TRAIN: Duration = Duration::from_millis(1);

/// Short paths jitter by the hosts' scheduling.
const SCHEDULING_SLACK: Duration = Duration::from_micros(300);

/// How long the least round trip is believed without being touched (`MinRTTFilterLen`,
/// draft-ietf-ccwg-bbr, section 2.14).
const MIN_RTT_LIFETIME: Duration = Duration::from_secs(10);

/// By how much of itself the floor rises at most when the least round trip is replaced.
const FLOOR_RISE_DIVISOR: u32 = 8;

/// Growth that shows that a queue has room.
const ROOM_DIVISOR: u32 = 32;

/// Growth that shows more than a full queue's trembling.
const CLEAR_ROOM_DIVISOR: u32 = 10;

/// How much the least round trip falls from one round to the next where a queue drains.
const SINKING_DIVISOR: u32 = 32;

/// A queue of this part of the floor is long.
const LONG_DIVISOR: u32 = 4;

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
    /// The sample before it.
    before_latest: Duration,
    jitter: Duration,
    samples: u32,
    /// Least sample of the present round, and of the previous one.
    round_min: Duration,
    last_round_min: Duration,
    /// Samples in a row that show a beginning queue, and one of half a round trip.
    grown_run: u32,
    filled_run: u32,
    /// Highest sample of the present probing cycle and of the one before.
    high: [Duration; 2],
    /// The floor when the present round and the one before it began.
    round_floor: Duration,
    last_round_floor: Duration,
    /// The last whole round's least sample was lower than that of the round before.
    sinking: bool,
}

impl QueueWatch {
    pub(super) const fn new(now: Timestamp) -> Self {
        Self {
            min_rtt: None,
            floor: Duration::MAX,
            touched: now,
            latest: Duration::ZERO,
            before_latest: Duration::ZERO,
            jitter: Duration::ZERO,
            samples: 0,
            round_min: Duration::MAX,
            last_round_min: Duration::MAX,
            grown_run: 0,
            filled_run: 0,
            high: [Duration::ZERO; 2],
            round_floor: Duration::MAX,
            last_round_floor: Duration::MAX,
            sinking: false,
        }
    }

    /// The floor has been falling since the last round began: what was taken for it is a queue.
    pub(super) fn is_falling(&self) -> bool {
        self.floor.saturating_add(self.floor / TOUCH_DIVISOR) < self.last_round_floor
    }

    /// The queue is a quarter of the least round trip or more.
    pub(super) fn is_long(&self) -> bool {
        self.latest > self.floor.saturating_add(self.floor / LONG_DIVISOR) && self.exceeds_trains()
    }

    /// The least round trip of the last whole round was shorter than that of the one before.
    pub(super) const fn is_sinking(&self) -> bool {
        self.sinking
    }

    /// A probing cycle ends.
    pub(super) fn advance(&mut self) {
        self.high = [Duration::ZERO, self.high[0]];
    }

    /// The highest round trip of late.
    fn high(&self) -> Duration {
        self.high[0].max(self.high[1])
    }

    /// Round trips have lately been seen to grow beyond the floor: so at the floor the queue isn't
    /// full.
    pub(super) fn has_room(&self) -> bool {
        self.has_grown_by(ROOM_DIVISOR)
    }

    /// The same by so much that the floor surely isn't that of a full queue, and the queue is empty.
    pub(super) fn is_sound(&self) -> bool {
        self.is_empty() && self.has_grown_by(CLEAR_ROOM_DIVISOR)
    }

    fn has_grown_by(&self, divisor: u32) -> bool {
        let growth = (self.floor / divisor).max(SCHEDULING_SLACK);
        self.high() > self.floor.saturating_add(growth)
    }

    /// The latest round trip is in the lower half of what has been seen lately: whatever the queue
    /// is, it isn't full.
    pub(super) fn is_low(&self) -> bool {
        let range = self.high().saturating_sub(self.floor);
        self.latest <= self.floor.saturating_add(range / 2)
    }

    /// Takes a sample; `round_start` tells that it is the first of a round.
    ///
    /// Returns true if the floor turned out to be much lower than believed: what was taken for the
    /// path was a queue.
    pub(super) fn on_sample(&mut self, now: Timestamp, rtt: Duration, round_start: bool) -> bool {
        let believed = self.floor;
        if let Some(min_rtt) = self.min_rtt {
            self.samples = (self.samples + 1).min(JITTER_SAMPLES);
            // A queue that grows or shrinks steadily is no jitter: the second difference, scaled
            // to what the first one is for independent samples.
            let middle = (self.before_latest + rtt) / 2;
            let change = self.latest.abs_diff(middle) * 15 / 13;
            self.jitter = (self.jitter * (self.samples - 1) + change) / self.samples;
            if rtt <= min_rtt + min_rtt / TOUCH_DIVISOR {
                self.touched = now;
            }
        } else {
            self.touched = now;
        }
        self.min_rtt = Some(self.min_rtt.map_or(rtt, |min_rtt| min_rtt.min(rtt)));
        self.floor = self.floor.min(rtt);
        self.high[0] = self.high[0].max(rtt);
        self.before_latest = if self.samples == 0 { rtt } else { self.latest };
        self.latest = rtt;
        if round_start {
            self.sinking = self.round_min != Duration::MAX
                && self.round_min + self.floor / SINKING_DIVISOR < self.last_round_min;
            self.last_round_min = self.round_min;
            self.round_min = Duration::MAX;
            self.last_round_floor = self.round_floor;
            self.round_floor = believed;
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

    /// The least round trip ever, as far as it is still believed.
    pub(super) const fn floor(&self) -> Duration {
        self.floor
    }

    pub(super) const fn latest(&self) -> Duration {
        self.latest
    }

    /// The latest round trip shows a queue.
    pub(super) fn is_elevated(&self) -> bool {
        self.latest > self.threshold(EVIDENCE_DIVISOR, EVIDENCE_JITTER_FACTOR)
    }

    /// A beginning queue.
    pub(super) fn is_beginning(&self) -> bool {
        self.latest > self.threshold(BEGINNING_DIVISOR, PROBING_JITTER_FACTOR)
            && self.exceeds_trains()
    }

    /// The queue is longer than what one paced train may make.
    fn exceeds_trains(&self) -> bool {
        self.latest > self.floor.saturating_add(TRAIN)
    }

    /// The latest sample shows a queue that is not only a train's.
    pub(super) fn has_grown(&self) -> bool {
        self.grown_run > 0 && self.exceeds_trains()
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

    /// The latest round trip is as good as the floor: the queue is empty, ours and others'.
    pub(super) fn is_empty(&self) -> bool {
        let slack = (self.floor / DRAINED_DIVISOR).max(self.jitter).max(TRAIN);
        self.floor != Duration::MAX && self.latest <= self.floor + slack
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
