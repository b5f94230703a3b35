//! The way itself: how long packets travel, and in which order they arrive.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use crate::Nanos;
use crate::impairments::{Distribution, Impairments};
use crate::random::Random;

/// Draws a packet's jitter in nanoseconds: zero, and no draw, when the impairments have none.
pub(crate) fn draw_jitter(impairments: &Impairments, random: &mut Random) -> i64 {
    if impairments.jitter.is_zero() {
        return 0;
    }
    let standardised = match impairments.distribution {
        Distribution::Uniform => random.unit() * 2.0 - 1.0,
        Distribution::Normal => random.standard_normal(),
        Distribution::Pareto => random.standard_pareto(),
    };
    let jitter_ns = standardised * impairments.jitter.as_nanos() as f64;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "at most 30 hours in nanoseconds; the fraction of one is meant to go"
    )]
    let whole = jitter_ns.round() as i64;
    whole
}

/// The time a packet travels: the delay and its jitter, never less than zero.
pub(crate) fn latency(delay: Duration, jitter_ns: i64) -> Nanos {
    duration_nanos(delay).saturating_add_signed(jitter_ns)
}

/// A duration as whole nanoseconds, saturating after 584 years.
pub(crate) fn duration_nanos(duration: Duration) -> Nanos {
    Nanos::try_from(duration.as_nanos()).unwrap_or(Nanos::MAX)
}

/// A packet on its way.
#[derive(Debug, Clone)]
pub(crate) struct Traveller<P> {
    /// When it arrives.
    pub(crate) due: Nanos,
    /// When it left, or leaves, the queue.
    pub(crate) departure: Nanos,
    /// Delay with jitter, and for a packet held back also that time.
    pub(crate) latency: Nanos,
    /// The packet's number; copies share their original's.
    pub(crate) number: u64,
    pub(crate) is_copy: bool,
    pub(crate) payload: P,
}

impl<P> Traveller<P> {
    fn order(&self) -> (Nanos, u64, bool) {
        (self.due, self.number, self.is_copy)
    }
}

impl<P> PartialEq for Traveller<P> {
    fn eq(&self, other: &Self) -> bool {
        self.order() == other.order()
    }
}

impl<P> Eq for Traveller<P> {}

impl<P> PartialOrd for Traveller<P> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<P> Ord for Traveller<P> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order().cmp(&other.order())
    }
}

/// The packets on their way. Those in order stand in a plain queue, since jitter never lets one
/// overtake another; only those held back need sorting.
#[derive(Debug, Clone)]
pub(crate) struct DelayLine<P> {
    in_order: VecDeque<Traveller<P>>,
    held_back: BinaryHeap<Reverse<Traveller<P>>>,
    /// When the latest packet in order arrives; none may arrive earlier after it.
    latest_due: Nanos,
}

impl<P> DelayLine<P> {
    pub(crate) fn new() -> Self {
        Self {
            in_order: VecDeque::new(),
            held_back: BinaryHeap::new(),
            latest_due: 0,
        }
    }

    /// Sends a packet on its way, behind those already there. Its `due` is set here.
    pub(crate) fn insert(&mut self, mut packet: Traveller<P>) {
        packet.due = self.turn(packet.departure, packet.latency);
        self.latest_due = packet.due;
        self.in_order.push_back(packet);
    }

    /// Sends a packet on its way that arrives `hold` after its turn, and makes nobody wait.
    pub(crate) fn insert_held_back(&mut self, mut packet: Traveller<P>, hold: Nanos) {
        packet.due = self
            .turn(packet.departure, packet.latency)
            .saturating_add(hold);
        packet.latency = packet.latency.saturating_add(hold);
        self.held_back.push(Reverse(packet));
    }

    fn turn(&self, departure: Nanos, latency: Nanos) -> Nanos {
        departure.saturating_add(latency).max(self.latest_due)
    }

    /// When the next packet arrives.
    pub(crate) fn next_due(&self) -> Option<Nanos> {
        let held_back = self.held_back.peek().map(|packet| packet.0.due);
        let in_order = self.in_order.front().map(|packet| packet.due);
        match (in_order, held_back) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }

    /// Takes out the next packet that has arrived by `now`.
    pub(crate) fn pop_due(&mut self, now: Nanos) -> Option<Traveller<P>> {
        let held_back = self.held_back.peek().map(|packet| packet.0.order());
        let in_order = self.in_order.front().map(Traveller::order);
        let (next, is_held_back) = match (in_order, held_back) {
            (Some(one), Some(other)) => (one.min(other), other < one),
            (Some(one), None) => (one, false),
            (None, Some(other)) => (other, true),
            (None, None) => return None,
        };
        if next.0 > now {
            return None;
        }
        if is_held_back {
            self.held_back.pop().map(|packet| packet.0)
        } else {
            self.in_order.pop_front()
        }
    }

    /// Gives packets that had not left the queue a new departure, asked for by packet number, and moves
    /// their arrival accordingly.
    pub(crate) fn reschedule(&mut self, new_departure: impl Fn(u64) -> Option<Nanos>) {
        let mut latest_due = 0;
        for packet in &mut self.in_order {
            if let Some(departure) = new_departure(packet.number) {
                packet.departure = departure;
                packet.due = departure.saturating_add(packet.latency);
            }
            packet.due = packet.due.max(latest_due);
            latest_due = packet.due;
        }
        self.latest_due = latest_due;
        let mut held_back = std::mem::take(&mut self.held_back).into_vec();
        for Reverse(packet) in &mut held_back {
            if let Some(departure) = new_departure(packet.number) {
                packet.departure = departure;
                packet.due = departure.saturating_add(packet.latency);
            }
        }
        self.held_back = BinaryHeap::from(held_back);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: Nanos = 1_000_000;

    fn packet(number: u64, departure: Nanos, latency: Nanos) -> Traveller<u64> {
        Traveller {
            due: 0,
            departure,
            latency,
            number,
            is_copy: false,
            payload: number,
        }
    }

    fn drain(line: &mut DelayLine<u64>) -> Vec<(Nanos, u64)> {
        std::iter::from_fn(|| line.pop_due(Nanos::MAX))
            .map(|packet| (packet.due, packet.number))
            .collect()
    }

    #[test]
    fn jitter_never_lets_a_packet_overtake() {
        let mut line = DelayLine::new();
        line.insert(packet(1, 0, 9));
        line.insert(packet(2, 1, 2));
        line.insert(packet(3, 2, 8));
        assert_eq!(line.next_due(), Some(9));
        assert_eq!(drain(&mut line), [(9, 1), (9, 2), (10, 3)]);
        assert_eq!(line.next_due(), None);
    }

    #[test]
    fn packets_held_back_are_overtaken() {
        let mut line = DelayLine::new();
        line.insert_held_back(packet(1, 0, 5), 10);
        line.insert(packet(2, 1, 5));
        line.insert(packet(3, 11, 5));
        assert!(line.pop_due(5).is_none());
        assert_eq!(drain(&mut line), [(6, 2), (15, 1), (16, 3)]);
    }

    #[test]
    fn jitter_has_its_distribution() {
        let mut random = Random::new(9);
        for (distribution, least, most) in [
            (Distribution::Uniform, -1.0, 1.0),
            (Distribution::Normal, -6.0, 6.0),
            (Distribution::Pareto, -0.71, 30.0),
        ] {
            let impairments = Impairments {
                jitter: Duration::from_millis(1),
                distribution,
                ..Impairments::default()
            };
            for _ in 0..50_000 {
                let jitter = draw_jitter(&impairments, &mut random) as f64 / MILLISECOND as f64;
                assert!(
                    (least..=most).contains(&jitter),
                    "{distribution:?} {jitter}"
                );
            }
        }
    }

    #[test]
    fn latency_is_never_negative() {
        assert_eq!(latency(Duration::from_nanos(5), -9), 0);
        assert_eq!(latency(Duration::from_nanos(5), 4), 9);
    }

    #[test]
    fn rescheduling_moves_what_had_not_left() {
        let mut line = DelayLine::new();
        line.insert(packet(1, 10, 5));
        line.insert(packet(2, 100, 5));
        line.insert_held_back(packet(3, 200, 5), 7);
        line.reschedule(|number| match number {
            2 => Some(20),
            3 => Some(30),
            _ => None,
        });
        assert_eq!(drain(&mut line), [(15, 1), (25, 2), (42, 3)]);
    }
}
