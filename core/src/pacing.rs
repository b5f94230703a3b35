//! Pacing: a token bucket that spreads packets over time in trains worth one system call.
//!
//! The bucket refills at the controller's pacing rate. It holds a little more than one send
//! quantum. A sender that waited for it and was woken late, because its processor did something
//! else, also gets what it missed: a rate that every late wake-up cuts would be taken for the path's.

use crate::units::Timestamp;
use std::time::Duration;

/// The largest train one system call sends (the largest UDP payload over IPv4).
pub const MAX_TRAIN_BYTES: u64 = 65_507;

/// A send quantum is what the rate allows in this time.
const QUANTUM_SPAN: Duration = Duration::from_millis(1);

/// The bucket holds what the rate allows in this time, and at least two quanta.
const BURST_SPAN: Duration = Duration::from_millis(2);

/// Most lateness that is worth making up for, on any path.
const MAX_LATENESS: Duration = Duration::from_millis(50);

const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// How late a sender may be without losing anything: half a round trip, which a queue of one
/// bandwidth-delay product takes easily, and not too long.
#[must_use]
pub fn most_lateness(smoothed_rtt: Duration) -> Duration {
    (smoothed_rtt / 2).min(MAX_LATENESS)
}

/// Token bucket over UDP payload bytes.
#[derive(Clone, Debug)]
pub struct Pacer {
    /// Bytes per second; `None` sends at once.
    rate: Option<u64>,
    datagram_bytes: u64,
    /// Billionths of a byte, so that refills of a few nanoseconds lose nothing. Negative after
    /// sending more than the budget.
    credit: i64,
    refilled: Timestamp,
    /// When the sender, which waits for nothing else, wants to be woken.
    awaited: Option<Timestamp>,
    /// Most lateness that is made up for.
    most_lateness: Duration,
    /// What the bucket holds beyond its capacity, for lateness; gone once it is sent.
    owed: i64,
}

impl Pacer {
    /// A pacer without a rate, for datagrams of `datagram_bytes` UDP payload.
    #[must_use]
    pub const fn new(now: Timestamp, datagram_bytes: u64) -> Self {
        Self {
            rate: None,
            datagram_bytes,
            credit: 0,
            refilled: now,
            awaited: None,
            most_lateness: Duration::ZERO,
            owed: 0,
        }
    }

    /// The rate in force, bytes per second.
    #[must_use]
    pub const fn rate(&self) -> Option<u64> {
        self.rate
    }

    /// Changes the rate from `now` on; what was saved until now was saved at the old rate.
    ///
    /// Where there was no rate before, the bucket starts with one quantum.
    pub fn set_rate(&mut self, now: Timestamp, rate: Option<u64>) {
        if rate == self.rate {
            return;
        }
        self.owed = self.owed_at(now);
        self.credit = self.credit_at(now);
        self.refilled = self.refilled.max(now);
        let had_none = self.rate.is_none();
        self.rate = rate.map(|rate| rate.max(1));
        if had_none {
            self.credit = to_credit(self.quantum());
        }
        self.credit = self.credit.min(self.capacity().saturating_add(self.owed));
    }

    /// Tells the size of full datagrams, in bytes of UDP payload.
    pub fn set_datagram_bytes(&mut self, bytes: u64) {
        self.datagram_bytes = bytes;
    }

    /// How much is best sent in one go: the rate × 1 ms, at least two datagrams, at most one train.
    #[must_use]
    pub fn quantum(&self) -> u64 {
        let Some(rate) = self.rate else {
            return MAX_TRAIN_BYTES;
        };
        let floor = (2 * self.datagram_bytes).min(MAX_TRAIN_BYTES);
        bytes_in(rate, QUANTUM_SPAN).clamp(floor, MAX_TRAIN_BYTES)
    }

    /// Bytes that may be sent now.
    #[must_use]
    pub fn budget(&self, now: Timestamp) -> u64 {
        if self.rate.is_none() {
            return u64::MAX;
        }
        u64::try_from(self.credit_at(now) / NANOS_PER_SECOND).unwrap_or(0)
    }

    /// Takes bytes that were sent, within the budget or not, out of the bucket.
    pub fn on_sent(&mut self, now: Timestamp, bytes: u64) {
        if self.rate.is_none() {
            return;
        }
        self.credit = self.credit_at(now).saturating_sub(to_credit(bytes));
        self.refilled = self.refilled.max(now);
        self.owed = self.credit.saturating_sub(self.capacity()).max(0);
        self.awaited = None;
    }

    /// The sender has data and a window for it, and waits for the bucket alone, `until` it is to be
    /// woken; or for something else (`None`). If it comes back later than that, it is owed what it
    /// could have sent meanwhile.
    ///
    /// What is missed beyond `most_lateness` is lost: a host that was away for long would come back
    /// with a burst that no queue holds.
    pub fn wait(&mut self, now: Timestamp, until: Option<Timestamp>, most_lateness: Duration) {
        if until.is_some_and(|until| until <= now) {
            // Just woken: what it is owed is still to be sent.
            return;
        }
        self.owed = self.owed_at(now);
        self.awaited = until;
        self.most_lateness = most_lateness;
    }

    /// When [`budget`](Self::budget) will reach `want_bytes` (or the most the bucket holds, if
    /// that is less); `now` if it does already.
    #[must_use]
    pub fn next_release(&self, now: Timestamp, want_bytes: u64) -> Timestamp {
        let Some(rate) = self.rate else {
            return now;
        };
        let want = to_credit(want_bytes).min(self.capacity());
        let missing = want.saturating_sub(self.credit_at(now));
        match u64::try_from(missing) {
            Ok(missing) if missing > 0 => now + Duration::from_nanos(missing.div_ceil(rate)),
            _ => now,
        }
    }

    /// Most the bucket holds, in billionths of a byte.
    fn capacity(&self) -> i64 {
        let burst = self.rate.map_or(0, |rate| bytes_in(rate, BURST_SPAN));
        // A datagram near 64 KiB must fit twice, or sending one would always wait for the other.
        to_credit(burst.max(2 * self.quantum()).max(2 * self.datagram_bytes))
    }

    fn credit_at(&self, now: Timestamp) -> i64 {
        let elapsed = now - self.refilled;
        let rate = i128::from(self.rate.unwrap_or(0));
        let refill = rate.saturating_mul(i128::from(
            u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX),
        ));
        let credit = refill.saturating_add(i128::from(self.credit));
        i64::try_from(credit)
            .unwrap_or(i64::MAX)
            .min(self.capacity().saturating_add(self.owed_at(now)))
    }

    fn owed_at(&self, now: Timestamp) -> i64 {
        let (Some(rate), Some(awaited)) = (self.rate, self.awaited) else {
            return self.owed;
        };
        let late = (now - awaited).min(self.most_lateness);
        self.owed.max(to_credit(bytes_in(rate, late)))
    }
}

/// What `rate` bytes per second amount to in `span`.
fn bytes_in(rate: u64, span: Duration) -> u64 {
    u64::try_from(u128::from(rate) * span.as_nanos() / 1_000_000_000).unwrap_or(u64::MAX)
}

fn to_credit(bytes: u64) -> i64 {
    i64::try_from(bytes)
        .unwrap_or(i64::MAX)
        .saturating_mul(NANOS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATAGRAM: u64 = 1_472;
    const MBIT_100: u64 = 12_500_000;

    fn at_micros(micros: u64) -> Timestamp {
        Timestamp::from_nanos(micros * 1_000)
    }

    fn paced(rate: u64) -> Pacer {
        let mut pacer = Pacer::new(Timestamp::ZERO, DATAGRAM);
        pacer.set_rate(Timestamp::ZERO, Some(rate));
        pacer
    }

    #[test]
    fn without_a_rate_nothing_waits() {
        let mut pacer = Pacer::new(Timestamp::ZERO, DATAGRAM);
        pacer.on_sent(Timestamp::ZERO, 1 << 40);
        assert_eq!(pacer.budget(Timestamp::ZERO), u64::MAX);
        assert_eq!(pacer.next_release(at_micros(3), 1 << 40), at_micros(3));
    }

    #[test]
    fn the_quantum_is_a_millisecond_within_bounds() {
        assert_eq!(paced(1_000).quantum(), 2 * DATAGRAM);
        assert_eq!(paced(MBIT_100).quantum(), 12_500);
        assert_eq!(paced(1_250_000_000).quantum(), MAX_TRAIN_BYTES);
        let mut huge = Pacer::new(Timestamp::ZERO, 65_407);
        huge.set_rate(Timestamp::ZERO, Some(1));
        assert_eq!(huge.quantum(), MAX_TRAIN_BYTES);
        assert!(huge.next_release(Timestamp::ZERO, 2 * 65_407) < Timestamp::MAX);
    }

    /// Sends full quanta whenever released, `late` after the time asked for.
    fn sent_in_a_second(rate: u64, late: Duration) -> u64 {
        let mut pacer = paced(rate);
        let (mut now, mut sent) = (Timestamp::ZERO, 0);
        while now < at_micros(1_000_000) {
            let bytes = pacer.budget(now);
            pacer.on_sent(now, bytes);
            sent += bytes;
            now = pacer.next_release(now, pacer.quantum()) + late;
        }
        sent
    }

    #[test]
    fn the_long_run_rate_is_exact_even_when_timers_are_late() {
        for rate in [100_000, MBIT_100, 125_000_000, 1_250_000_000] {
            for late in [Duration::ZERO, Duration::from_micros(400)] {
                let sent = sent_in_a_second(rate, late);
                let slack = rate / 200 + 4 * DATAGRAM;
                assert!(
                    sent.abs_diff(rate) <= slack,
                    "{sent} at {rate}, {late:?} late"
                );
            }
        }
    }

    #[test]
    fn tiny_refills_add_up() {
        let mut pacer = paced(100_000);
        pacer.on_sent(Timestamp::ZERO, pacer.budget(Timestamp::ZERO));
        for nanos in 1..=20_000_000 / 500 {
            pacer.on_sent(Timestamp::from_nanos(nanos * 500), 0);
        }
        assert_eq!(pacer.budget(Timestamp::from_nanos(20_000_000)), 2_000);
    }

    #[test]
    fn idle_time_saves_no_more_than_the_burst() {
        let pacer = paced(MBIT_100);
        assert_eq!(pacer.budget(at_micros(60_000_000)), 25_000);
    }

    /// A bucket that is empty at 0, for a sender that wants to be woken after a millisecond.
    fn waiting(most_lateness: Duration) -> Pacer {
        let mut pacer = paced(MBIT_100);
        pacer.on_sent(Timestamp::ZERO, pacer.budget(Timestamp::ZERO));
        let release = pacer.next_release(Timestamp::ZERO, pacer.quantum());
        assert_eq!(release, at_micros(1_000));
        pacer.wait(Timestamp::ZERO, Some(release), most_lateness);
        pacer
    }

    #[test]
    fn who_is_woken_late_gets_what_was_missed() {
        let mut pacer = waiting(Duration::from_millis(20));
        let late = at_micros(16_000);
        assert_eq!(pacer.budget(late), 200_000);
        // In several trains, whatever happens in between, but only once.
        pacer.wait(late, Some(late), Duration::from_millis(20));
        pacer.on_sent(late, 50_000);
        assert_eq!(pacer.budget(late), 150_000);
        // At another rate, too, though the usual burst is smaller then.
        pacer.set_rate(late, Some(MBIT_100 / 2));
        assert_eq!(pacer.budget(late), 137_500);
        pacer.on_sent(late, 137_500);
        assert_eq!(pacer.budget(late), 0);
        assert_eq!(pacer.budget(at_micros(60_000_000)), 12_500);
    }

    #[test]
    fn lateness_is_bounded() {
        let pacer = waiting(Duration::from_millis(20));
        // The burst of an idle sender, and 20 ms.
        assert_eq!(pacer.budget(at_micros(60_000_000)), 275_000);
        assert_eq!(
            most_lateness(Duration::from_millis(60)),
            Duration::from_millis(30)
        );
        assert_eq!(most_lateness(Duration::from_secs(1)), MAX_LATENESS);
    }

    #[test]
    fn who_waits_for_a_window_is_not_late() {
        let mut pacer = waiting(Duration::from_millis(20));
        pacer.wait(at_micros(500), None, Duration::from_millis(20));
        assert_eq!(pacer.budget(at_micros(60_000_000)), 25_000);
    }

    #[test]
    fn a_new_rate_holds_at_once() {
        let mut pacer = paced(1_000);
        pacer.on_sent(Timestamp::ZERO, pacer.budget(Timestamp::ZERO));
        let slow = pacer.next_release(Timestamp::ZERO, DATAGRAM);
        assert!(slow > at_micros(1_000_000));
        pacer.set_rate(Timestamp::ZERO, Some(MBIT_100));
        let fast = pacer.next_release(Timestamp::ZERO, DATAGRAM);
        assert_eq!(fast, Timestamp::from_nanos(DATAGRAM * 80));
        pacer.set_rate(Timestamp::ZERO, None);
        assert_eq!(pacer.budget(Timestamp::ZERO), u64::MAX);
    }

    #[test]
    fn overdrafts_are_paid_back() {
        let mut pacer = paced(MBIT_100);
        pacer.on_sent(Timestamp::ZERO, pacer.budget(Timestamp::ZERO) + 125_000);
        assert_eq!(pacer.budget(at_micros(9_999)), 0);
        assert_eq!(
            pacer.next_release(Timestamp::ZERO, 1),
            Timestamp::from_nanos(10_000_080)
        );
    }
}
