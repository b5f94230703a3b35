//! Both directions of a path, from one seed.

use crate::Nanos;
use crate::impairments::{ImpairmentError, Impairments};
use crate::link::{Delivery, Fate, Link};
use crate::payload::Payload;
use crate::random::Random;
use crate::record::{Record, Script};

/// A direction of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the client to the server.
    Up,
    /// From the server to the client.
    Down,
}

impl Direction {
    /// Both directions.
    pub const BOTH: [Self; 2] = [Self::Up, Self::Down];

    /// The other one.
    #[must_use]
    pub fn opposite(self) -> Self {
        match self {
            Self::Up => Self::Down,
            Self::Down => Self::Up,
        }
    }

    /// The name used on the command line and in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// Two links that together are a path between a client and a server. Equal seeds give equal decisions,
/// different ones in either direction.
#[derive(Debug, Clone)]
pub struct Path<P> {
    /// From the client to the server.
    pub up: Link<P>,
    /// From the server to the client.
    pub down: Link<P>,
}

impl<P: Payload> Path<P> {
    /// A path with different impairments in its directions.
    ///
    /// # Errors
    /// An impairment out of its range.
    pub fn new(up: Impairments, down: Impairments, seed: u64) -> Result<Self, ImpairmentError> {
        Ok(Self {
            up: Link::new(up, Random::stream(seed, 1).next_u64())?,
            down: Link::new(down, Random::stream(seed, 2).next_u64())?,
        })
    }

    /// A path with the same impairments in both directions.
    ///
    /// # Errors
    /// An impairment out of its range.
    pub fn symmetric(impairments: Impairments, seed: u64) -> Result<Self, ImpairmentError> {
        Self::new(impairments.clone(), impairments, seed)
    }

    /// The link of a direction.
    #[must_use]
    pub fn link(&self, direction: Direction) -> &Link<P> {
        match direction {
            Direction::Up => &self.up,
            Direction::Down => &self.down,
        }
    }

    /// The link of a direction, to use it.
    #[must_use]
    pub fn link_mut(&mut self, direction: Direction) -> &mut Link<P> {
        match direction {
            Direction::Up => &mut self.up,
            Direction::Down => &mut self.down,
        }
    }

    /// Has the first packets of both directions meet the fate that a log tells of them: dropped, damaged,
    /// duplicated, held back, and their jitter. Drops of a full queue or a blackhole are repeated as they
    /// were; delay, rate and the time for which packets are held back are as configured. Packets after the
    /// log's end meet what the seed has for them.
    pub fn repeat(&mut self, script: Script) {
        self.up.repeat(script.up);
        self.down.repeat(script.down);
    }

    /// Offers a packet to the link of a direction.
    pub fn push(&mut self, direction: Direction, now: Nanos, payload: P) -> Fate {
        self.link_mut(direction).push(now, payload)
    }

    /// Offers a packet to the link of a direction, and gives a record of what became of it, to be logged
    /// and repeated.
    pub fn push_recorded(&mut self, direction: Direction, now: Nanos, payload: P) -> Record {
        let len = payload.bytes().len();
        let (fate, decision, number) = self.link_mut(direction).push_and_tell(now, payload);
        Record {
            direction,
            number,
            time: now,
            len,
            fate,
            decision,
        }
    }

    /// When the next packet arrives at either end.
    #[must_use]
    pub fn next_delivery(&self) -> Option<Nanos> {
        match (self.up.next_delivery(), self.down.next_delivery()) {
            (Some(up), Some(down)) => Some(up.min(down)),
            (up, down) => up.or(down),
        }
    }

    /// Takes out the next packet that has arrived at either end by `now`, the earlier one first.
    #[must_use]
    pub fn poll_deliver(&mut self, now: Nanos) -> Option<(Direction, Delivery<P>)> {
        let direction = match (self.up.next_delivery(), self.down.next_delivery()) {
            (Some(up), Some(down)) if down < up => Direction::Down,
            (None, Some(_)) => Direction::Down,
            _ => Direction::Up,
        };
        let delivery = self.link_mut(direction).poll_deliver(now)?;
        Some((direction, delivery))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn delayed(milliseconds: u64) -> Impairments {
        Impairments {
            delay: Duration::from_millis(milliseconds),
            ..Impairments::default()
        }
    }

    #[test]
    fn the_earlier_delivery_comes_first() {
        let mut path = Path::new(delayed(5), delayed(3), 1).unwrap();
        path.push(Direction::Up, 0, vec![1]);
        path.push(Direction::Down, 0, vec![2]);
        assert_eq!(path.next_delivery(), Some(3_000_000));
        let order: Vec<_> = std::iter::from_fn(|| path.poll_deliver(9_000_000))
            .map(|(direction, delivery)| (direction, delivery.due))
            .collect();
        assert_eq!(
            order,
            [(Direction::Down, 3_000_000), (Direction::Up, 5_000_000)]
        );
    }

    #[test]
    fn records_repeat_a_run() {
        let bad = Impairments {
            loss: 0.3,
            corrupt: 0.3,
            ..Impairments::default()
        };
        let run = |path: &mut Path<Vec<u8>>| {
            let mut log = String::new();
            let mut arrived = Vec::new();
            for now in 0..200 {
                let record = path.push_recorded(Direction::Down, now, vec![0; 20]);
                log.push_str(&format!("{record}\n"));
                arrived.extend(path.poll_deliver(now));
            }
            (log, arrived)
        };
        let (log, arrived) = run(&mut Path::symmetric(bad, 1).unwrap());
        let mut again = Path::symmetric(Impairments::default(), 2).unwrap();
        again.repeat(log.parse().unwrap());
        assert_eq!(run(&mut again), (log, arrived));
    }

    #[test]
    fn directions_have_luck_of_their_own() {
        let half = Impairments {
            loss: 0.5,
            ..Impairments::default()
        };
        let fates = |direction| {
            let mut path = Path::symmetric(half.clone(), 11).unwrap();
            (0..64)
                .map(|now| path.push(direction, now, vec![0]))
                .collect::<Vec<_>>()
        };
        assert_ne!(fates(Direction::Up), fates(Direction::Down));
        assert_eq!(fates(Direction::Up), fates(Direction::Up));
    }
}
