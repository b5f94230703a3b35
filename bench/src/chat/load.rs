//! An open loop of messages, and when each reached whom.
//!
//! Message k is due at a fixed time, whatever became of those before. Each recipient's latency counts from then, so that
//! falling behind shows (no coordinated omission). What never comes counts as the time for which it was waited.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::{Context, Result};
use columba_core::units::Timestamp;
use columba_server::hlog;
use hdrhistogram::Histogram;

use super::crowd::{Crowd, LookAround, Part, Service};
use crate::os;

/// How long deliveries are waited for after the last message was due.
const STRAGGLERS_FOR: Duration = Duration::from_secs(5);
/// Messages sent before members are read again.
const SEND_BUDGET: usize = 256;
/// The slow reader reads nothing for so long, then all that there is.
const SLOW_READER_PAUSE: Duration = Duration::from_secs(10);
/// Hexadecimal digits of a message's number.
const NUMBER_DIGITS: usize = 16;
/// Every message begins with it.
const MARK: &str = "cb";
/// The smallest text that says which one it is.
pub(crate) const MIN_SIZE: usize = MARK.len() + NUMBER_DIGITS;

/// What is said, and to how many.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) subscribers: usize,
    pub(crate) publishers: usize,
    /// Messages per second, of all publishers together.
    pub(crate) rate: f64,
    /// Bytes of a message's text.
    pub(crate) size: usize,
    /// A message leaves only when all have the one before; it is due at its time nevertheless.
    pub(crate) one_at_a_time: bool,
    /// What is due before is not counted.
    pub(crate) warm_up: Duration,
    pub(crate) seconds: Duration,
}

/// What came of it. Warm-up is left out of everything.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) sent: u64,
    pub(crate) delivered: u64,
    pub(crate) expected: u64,
    /// From the first counted message's due time to the last delivery.
    pub(crate) seconds: f64,
    /// Nanoseconds, one value for each recipient of each message.
    pub(crate) latency: Histogram<u64>,
    /// Nanoseconds, one value for each message.
    pub(crate) last_recipient: Histogram<u64>,
    /// How often the slow reader was cut off.
    pub(crate) cut_off: u64,
}

/// A message on its way.
#[derive(Debug, Clone, Copy)]
struct Flight {
    due: Timestamp,
    /// Recipients that have not got it.
    left: usize,
    counts: bool,
}

/// Messages on their way, by number.
struct Flights {
    first: u64,
    flights: VecDeque<Flight>,
    recipients: u64,
    outcome: Outcome,
    last_delivery: Timestamp,
}

impl Flights {
    fn new(recipients: usize) -> Result<Self> {
        Ok(Self {
            first: 0,
            flights: VecDeque::new(),
            recipients: recipients as u64,
            outcome: Outcome {
                sent: 0,
                delivered: 0,
                expected: 0,
                seconds: 0.0,
                latency: hlog::empty()?,
                last_recipient: hlog::empty()?,
                cut_off: 0,
            },
            last_delivery: Timestamp::ZERO,
        })
    }

    fn next_number(&self) -> u64 {
        self.first + self.flights.len() as u64
    }

    fn push(&mut self, due: Timestamp, counts: bool) {
        self.flights.push_back(Flight {
            due,
            left: usize::try_from(self.recipients).unwrap_or(usize::MAX),
            counts,
        });
        if counts {
            self.outcome.sent += 1;
            self.outcome.expected += self.recipients;
        }
    }

    fn arrived(&mut self, number: u64, at: Timestamp) {
        let index = number.checked_sub(self.first).map(usize::try_from);
        let Some(Ok(index)) = index else {
            return;
        };
        let Some(flight) = self.flights.get_mut(index) else {
            return;
        };
        // A recipient too many would be one that got it twice.
        let Some(left) = flight.left.checked_sub(1) else {
            return;
        };
        flight.left = left;
        let latency = at.saturating_duration_since(flight.due);
        if flight.counts {
            self.last_delivery = at;
            self.outcome.delivered += 1;
            hlog::add(&mut self.outcome.latency, latency, 1);
            if flight.left == 0 {
                hlog::add(&mut self.outcome.last_recipient, latency, 1);
            }
        }
        while self.flights.front().is_some_and(|flight| flight.left == 0) {
            self.flights.pop_front();
            self.first += 1;
        }
    }

    /// What is still on its way does not come any more.
    fn give_up(&mut self, now: Timestamp) {
        for flight in self
            .flights
            .drain(..)
            .filter(|flight| flight.counts && flight.left > 0)
        {
            let waited = now.saturating_duration_since(flight.due);
            hlog::add(&mut self.outcome.latency, waited, flight.left as u64);
            hlog::add(&mut self.outcome.last_recipient, waited, 1);
        }
    }
}

/// Members with their plan.
pub(crate) struct Load {
    crowd: Crowd,
    plan: Plan,
    /// The first member that publishes.
    first_publisher: usize,
}

impl Load {
    /// Everybody joins: subscribers, publishers where they are apart, and one slow reader.
    ///
    /// Publishers that have a service of their own reach the same one by another way.
    pub(crate) fn gather(
        service: &Service,
        publishers: Option<&Service>,
        plan: Plan,
        look_around: LookAround<'_>,
    ) -> Result<Self> {
        let mut crowd = Crowd::new()?;
        let joined = &mut |_| {};
        crowd.join(
            service,
            Part::Subscriber,
            plan.subscribers,
            look_around,
            joined,
        )?;
        let mut first_publisher = 0;
        let same = service.has_separate_publishers().then_some(service);
        if let Some(service) = publishers.or(same) {
            first_publisher = plan.subscribers;
            crowd.join(
                service,
                Part::Publisher,
                plan.publishers,
                look_around,
                joined,
            )?;
        }
        crowd.join(service, Part::SlowReader, 1, look_around, joined)?;
        Ok(Self {
            crowd,
            plan,
            first_publisher,
        })
    }

    /// Plays the plan once. Meanwhile this thread runs before others, where the system lets it: the generator must not be
    /// what is measured.
    pub(crate) fn run(&mut self, look_around: LookAround<'_>) -> Result<Outcome> {
        os::set_urgent(true);
        let outcome = self.play(look_around);
        os::set_urgent(false);
        outcome
    }

    fn play(&mut self, look_around: LookAround<'_>) -> Result<Outcome> {
        let plan = self.plan;
        let start = self.crowd.now();
        let count_from = start + plan.warm_up;
        let end = count_from + plan.seconds;
        let cut_off_before = self.crowd.cut_off;
        let mut flights = Flights::new(plan.subscribers)?;
        // Numbers go on, so that what is left of an earlier run is none of this one's.
        flights.first = start.as_nanos();
        let first = flights.first;
        let mut slow_reader_at = start + SLOW_READER_PAUSE;
        let mut due = Some(start);
        loop {
            let now = self.crowd.now();
            if now >= slow_reader_at {
                slow_reader_at = now + SLOW_READER_PAUSE;
                self.crowd.let_slow_readers_read(true);
            }
            self.send_due(&mut flights, &mut due, (start, count_from, end), first)?;
            let over = now >= end + STRAGGLERS_FOR;
            if over || due.is_none() && flights.flights.is_empty() {
                break;
            }
            let may_send = !plan.one_at_a_time || flights.flights.is_empty();
            let next = due.filter(|_| may_send).unwrap_or(end + STRAGGLERS_FOR);
            self.crowd.turn(next, look_around, &mut |text, at| {
                if let Some(number) = number_of(text) {
                    flights.arrived(number, at);
                }
            })?;
        }
        flights.give_up(self.crowd.now());
        let mut outcome = flights.outcome;
        let last = flights.last_delivery.max(end);
        outcome.seconds = last.saturating_duration_since(count_from).as_secs_f64();
        outcome.cut_off = self.crowd.cut_off - cut_off_before;
        Ok(outcome)
    }

    /// Publishes what is due by now.
    fn send_due(
        &mut self,
        flights: &mut Flights,
        due: &mut Option<Timestamp>,
        (start, count_from, end): (Timestamp, Timestamp, Timestamp),
        first: u64,
    ) -> Result<()> {
        let plan = self.plan;
        let mut wrote = Vec::new();
        for _ in 0..SEND_BUDGET {
            let Some(at) = due.filter(|at| *at <= self.crowd.now()) else {
                break;
            };
            if plan.one_at_a_time && !flights.flights.is_empty() {
                break;
            }
            let number = flights.next_number();
            let text = text_of(number, plan.size);
            let turn = usize::try_from(number - first).unwrap_or(0) % plan.publishers;
            let member = self.first_publisher + turn;
            flights.push(at, at >= count_from);
            // A text that is not taken is one that never arrives.
            self.crowd.publish(member, &text)?;
            if !wrote.contains(&member) {
                wrote.push(member);
            }
            #[expect(clippy::cast_precision_loss, reason = "exact far beyond any run")]
            let seconds = (number + 1 - first) as f64 / plan.rate;
            let after = Duration::try_from_secs_f64(seconds).context("the rate is too small")?;
            *due = start.checked_add(after).filter(|at| *at < end);
        }
        for member in wrote {
            self.crowd.flush(member)?;
        }
        Ok(())
    }
}

fn text_of(number: u64, size: usize) -> String {
    let mut text = format!("{MARK}{number:0NUMBER_DIGITS$x}");
    text.extend(std::iter::repeat_n('.', size.saturating_sub(text.len())));
    text
}

fn number_of(text: &[u8]) -> Option<u64> {
    let digits = text.strip_prefix(MARK.as_bytes())?.get(..NUMBER_DIGITS)?;
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_tell_their_number() {
        let text = text_of(0xdead_beef, 40);
        assert_eq!(
            (text.len(), number_of(text.as_bytes())),
            (40, Some(0xdead_beef))
        );
        assert_eq!(number_of(text_of(7, 0).as_bytes()), Some(7));
        for other in ["", "cb", "hello", "cbzzzzzzzzzzzzzzzz", "cbé"] {
            assert_eq!(number_of(other.as_bytes()), None);
        }
    }

    #[test]
    fn what_never_comes_counts_as_the_time_it_was_waited_for() {
        let start = Timestamp::ZERO;
        let at = |millis| start + Duration::from_millis(millis);
        let mut flights = Flights::new(2).unwrap();
        flights.push(at(0), false);
        flights.push(at(10), true);
        flights.push(at(20), true);
        // The first is of the warm-up; of the second nobody is left in the end; the last was never sent.
        for (number, millis) in [(0, 1), (1, 12), (1, 15), (1, 16), (9, 16)] {
            flights.arrived(number, at(millis));
        }
        flights.give_up(at(1_020));
        let outcome = flights.outcome;
        assert_eq!(
            (outcome.sent, outcome.delivered, outcome.expected),
            (2, 2, 4)
        );
        assert_eq!(
            (outcome.latency.len(), outcome.last_recipient.len()),
            (4, 2)
        );
        let longest = Duration::from_nanos(outcome.latency.max()).as_secs_f64();
        assert!((longest - 1.0).abs() < 0.01, "{longest}");
    }
}
