//! When the messages of a turn came: by the kernel's own stamp where it is known and fits, otherwise at the earliest moment
//! that the poll leaves possible.

use std::time::{Duration, SystemTime};

use columba_core::units::Timestamp;
use columba_net::arrival::RealTime;

/// A poll that took longer was asleep: what it found came just before it ended.
const CERTAINLY_WAITED: Duration = Duration::from_micros(50);

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    clocks: RealTime,
    /// When the last poll was entered, and the one before: that one did not tell of what this turn was told of.
    polled: Timestamp,
    polled_before: Timestamp,
    since: Timestamp,
    /// When this turn's messages came.
    said: Vec<Timestamp>,
    /// The last frame was a message.
    ends_with_message: bool,
    /// When the last bytes came that were read from the connection at hand.
    stamp: Option<SystemTime>,
}

impl Arrivals {
    /// The loop is about to poll.
    pub(super) fn polls(&mut self, now: Timestamp) {
        self.polled_before = self.polled;
        self.polled = now;
    }

    /// A turn begins, after a poll that was allowed to wait or was not; `before` is when the one before began.
    pub(super) fn begin_turn(
        &mut self,
        now: Timestamp,
        real: SystemTime,
        may_have_waited: bool,
        before: Timestamp,
    ) {
        let waited = may_have_waited && now - self.polled >= CERTAINLY_WAITED;
        self.since = if waited { now } else { before };
        self.clocks.sample(now, real);
        self.said.clear();
    }

    /// When what the poll just told of came, for all that is known without a stamp.
    pub(super) fn since(&self) -> Timestamp {
        self.since
    }

    /// Frames of another connection follow.
    pub(super) fn begin_connection(&mut self) {
        self.ends_with_message = false;
        self.stamp = None;
    }

    /// Bytes were read, the last of which came then.
    pub(super) fn read(&mut self, stamp: Option<SystemTime>) {
        self.stamp = stamp;
    }

    /// A frame of the connection at hand is handled.
    pub(super) fn begin_frame(&mut self) {
        self.ends_with_message = false;
    }

    /// It is a message, on a connection whose bytes may have waited since then.
    pub(super) fn say(&mut self, since: Timestamp) {
        self.said.push(since);
        self.ends_with_message = true;
    }

    /// All bytes that were read are used up: if the last of them end a message, their stamp is its. A message that came
    /// together with a later one keeps what the poll left possible.
    pub(super) fn end_of_bytes(&mut self, now: Timestamp) {
        let (Some(stamp), true) = (self.stamp.take(), self.ends_with_message) else {
            return;
        };
        let Some(last) = self.said.last_mut() else {
            return;
        };
        // What waited for its turn came before this turn's poll.
        let earliest = self.polled_before.min(*last);
        if let Some(came) = self.clocks.timestamp(stamp, (earliest, now)) {
            *last = came;
        }
    }

    /// When the messages of this turn came that were not taken yet.
    pub(super) fn take(&mut self) -> impl Iterator<Item = Timestamp> + '_ {
        self.ends_with_message = false;
        self.said.drain(..)
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn at(micros: u64) -> Timestamp {
        Timestamp::ZERO + Duration::from_micros(micros)
    }

    /// The real-time clock is a day ahead.
    fn real(micros: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(86_400) + Duration::from_micros(micros)
    }

    /// In a turn that began at 2,000 after a busy one that began at 1,000, polled for at 900 and 1,900.
    fn busy() -> Arrivals {
        let mut arrivals = Arrivals::default();
        for (polled, began, before) in [(900, 1_000, 100), (1_900, 2_000, 1_000)] {
            arrivals.polls(at(polled));
            arrivals.begin_turn(at(began), real(began), false, at(before));
        }
        arrivals.begin_connection();
        arrivals
    }

    fn say(arrivals: &mut Arrivals) {
        arrivals.begin_frame();
        arrivals.say(arrivals.since());
    }

    fn taken(arrivals: &mut Arrivals) -> Vec<Timestamp> {
        arrivals.take().collect()
    }

    #[test]
    fn a_message_that_ends_what_was_read_came_when_its_stamp_says() {
        let mut arrivals = busy();
        arrivals.read(Some(real(1_500)));
        say(&mut arrivals);
        arrivals.end_of_bytes(at(2_010));
        assert_eq!(taken(&mut arrivals), [at(1_500)]);
        assert_eq!(taken(&mut arrivals), []);
    }

    #[test]
    fn of_several_messages_in_one_read_only_the_last_has_the_stamp() {
        let mut arrivals = busy();
        arrivals.read(Some(real(1_500)));
        say(&mut arrivals);
        say(&mut arrivals);
        arrivals.end_of_bytes(at(2_010));
        arrivals.read(Some(real(2_020)));
        say(&mut arrivals);
        arrivals.end_of_bytes(at(2_030));
        let expected = [at(1_000), at(1_500), at(2_020)];
        assert_eq!(taken(&mut arrivals), expected);
    }

    #[test]
    fn a_message_before_another_frame_or_without_a_stamp_came_at_the_earliest() {
        let mut arrivals = busy();
        arrivals.read(Some(real(1_500)));
        say(&mut arrivals);
        arrivals.begin_frame();
        arrivals.end_of_bytes(at(2_010));
        arrivals.begin_connection();
        say(&mut arrivals);
        arrivals.end_of_bytes(at(2_010));
        assert_eq!(taken(&mut arrivals), [at(1_000), at(1_000)]);
    }

    #[test]
    fn stamps_that_cannot_be_are_not_taken() {
        // Before the poll that did not tell of it, and after it was read.
        for (stamp, came) in [(899, 1_000), (900, 900), (2_010, 2_010), (2_011, 1_000)] {
            let mut arrivals = busy();
            arrivals.read(Some(real(stamp)));
            say(&mut arrivals);
            arrivals.end_of_bytes(at(2_010));
            assert_eq!(taken(&mut arrivals), [at(came)], "{stamp}");
        }
    }

    #[test]
    fn bytes_that_waited_for_their_turn_came_before_this_poll() {
        let mut arrivals = busy();
        arrivals.read(Some(real(600)));
        arrivals.begin_frame();
        arrivals.say(at(500));
        arrivals.end_of_bytes(at(2_010));
        assert_eq!(taken(&mut arrivals), [at(600)]);
    }

    #[test]
    fn a_poll_that_slept_tells_of_what_just_came_and_a_stamp_of_how_late_it_woke() {
        let mut arrivals = busy();
        arrivals.polls(at(2_100));
        arrivals.begin_turn(at(9_000), real(9_000), true, at(2_000));
        say(&mut arrivals);
        arrivals.begin_connection();
        arrivals.read(Some(real(7_000)));
        say(&mut arrivals);
        arrivals.end_of_bytes(at(9_010));
        assert_eq!(taken(&mut arrivals), [at(9_000), at(7_000)]);
    }

    #[test]
    fn a_clock_that_was_set_tells_nothing() {
        let mut arrivals = busy();
        arrivals.polls(at(2_900));
        arrivals.begin_turn(at(3_000), real(3_500), false, at(2_000));
        arrivals.read(Some(real(3_100)));
        say(&mut arrivals);
        arrivals.end_of_bytes(at(3_010));
        assert_eq!(taken(&mut arrivals), [at(2_000)]);
    }
}
