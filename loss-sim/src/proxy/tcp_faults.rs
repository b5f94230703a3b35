//! What else may happen to a TCP connection: it is cut, reset, falls silent, or arrives in slices.

use std::str::FromStr;
use std::time::Duration;

use columba_values::{ValueError, parse_probability, parse_time_with_unit};

use crate::Nanos;
use crate::delay::duration_nanos;
use crate::random::Random;

/// When a fault happens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Trigger {
    /// This long after the connection was accepted.
    After(Duration),
    /// With this probability for each piece of data read (at most 16 KiB).
    Chance(f64),
}

impl FromStr for Trigger {
    type Err = ValueError;

    /// Reads `5s` or `1%`; a number without a unit is a probability.
    fn from_str(text: &str) -> Result<Self, ValueError> {
        let neither = || {
            ValueError::new(format!(
                "'{text}' is neither a time such as 5s nor a probability such as 1%"
            ))
        };
        let chance = parse_probability(text).map(Self::Chance);
        chance.or_else(|_| {
            parse_time_with_unit(text)
                .map(Self::After)
                .map_err(|_| neither())
        })
    }
}

/// What happens to each TCP connection, and when.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub struct TcpFaults {
    /// Both sides see an orderly end in the middle of the stream; what was on its way is lost.
    pub cut: Option<Trigger>,
    /// Both sides see a reset.
    pub reset: Option<Trigger>,
    /// Both sides stay connected and hear nothing any more, as if the other had lost its power.
    pub half_open: Option<Trigger>,
    /// Data arrives a few bytes at a time, which makes it very slow.
    pub slice: Option<Trigger>,
}

impl TcpFaults {
    /// The faults of a connection that was accepted now.
    pub(crate) fn begin(&self, now: Nanos, random: Random) -> EndingClock {
        let endings = [
            (Ending::Cut, self.cut),
            (Ending::Reset, self.reset),
            (Ending::HalfOpen, self.half_open),
        ];
        EndingClock {
            endings: endings.map(|(ending, trigger)| (ending, Armed::new(trigger, now))),
            random,
        }
    }

    /// The slicing of one direction of such a connection.
    pub(crate) fn slicer(&self, now: Nanos, random: Random) -> Slicer {
        Slicer {
            armed: Armed::new(self.slice, now),
            random,
        }
    }
}

/// How a connection ends before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Cut,
    Reset,
    HalfOpen,
}

/// A trigger, counted from the start of its connection.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Armed {
    Never,
    From(Nanos),
    Chance(f64),
}

impl Armed {
    fn new(trigger: Option<Trigger>, now: Nanos) -> Self {
        match trigger {
            None => Self::Never,
            Some(Trigger::After(time)) => Self::From(now.saturating_add(duration_nanos(time))),
            Some(Trigger::Chance(probability)) => Self::Chance(probability),
        }
    }
}

/// Waits for a connection's untimely end.
#[derive(Debug)]
pub(crate) struct EndingClock {
    endings: [(Ending, Armed); 3],
    random: Random,
}

impl EndingClock {
    /// When the next end comes by time.
    pub(crate) fn next(&self) -> Option<Nanos> {
        let times = self.endings.iter().filter_map(|(_, armed)| match armed {
            Armed::From(time) => Some(*time),
            Armed::Never | Armed::Chance(_) => None,
        });
        times.min()
    }

    /// The end that has come by now, or by chance with so many pieces of data having been read.
    pub(crate) fn poll(&mut self, now: Nanos, pieces: u32) -> Option<Ending> {
        let Self { endings, random } = self;
        let ended = endings.iter().find(|(_, armed)| match armed {
            Armed::Never => false,
            Armed::From(time) => *time <= now,
            Armed::Chance(probability) => (0..pieces).any(|_| random.chance(*probability)),
        });
        ended.map(|(ending, _)| *ending)
    }
}

/// Decides which pieces of data arrive in slices.
#[derive(Debug)]
pub(crate) struct Slicer {
    armed: Armed,
    random: Random,
}

impl Slicer {
    /// Longest slice, in bytes.
    const MOST_BYTES: u64 = 16;

    /// Time between two slices: enough for a receiver to notice each by itself.
    pub(crate) const GAP: Nanos = 100_000;

    /// Whether a piece of data that is read now is to be sliced.
    pub(crate) fn slices(&mut self, now: Nanos) -> bool {
        match self.armed {
            Armed::Never => false,
            Armed::From(time) => time <= now,
            Armed::Chance(probability) => self.random.chance(probability),
        }
    }

    /// The length of the next slice: at least 1.
    pub(crate) fn length(&mut self) -> usize {
        usize::try_from(1 + self.random.below(Self::MOST_BYTES)).unwrap_or(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn triggers_are_times_or_probabilities() {
        let after = |seconds| Ok(Trigger::After(Duration::from_secs(seconds)));
        assert_eq!("5s".parse(), after(5));
        assert_eq!("1%".parse(), Ok(Trigger::Chance(0.01)));
        assert_eq!("0.5".parse(), Ok(Trigger::Chance(0.5)));
        for wrong in ["", "5", "150%", "soon"] {
            assert!(wrong.parse::<Trigger>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn endings_come_by_time_or_chance() {
        let faults = TcpFaults {
            cut: Some(Trigger::Chance(1.0)),
            reset: Some(Trigger::After(Duration::from_nanos(7))),
            ..TcpFaults::default()
        };
        let mut clock = faults.begin(10, Random::new(1));
        assert_eq!(clock.next(), Some(17));
        assert_eq!(clock.poll(16, 0), None);
        assert_eq!(clock.poll(16, 1), Some(Ending::Cut));
        assert_eq!(clock.poll(17, 0), Some(Ending::Reset));
        let mut never = TcpFaults::default().begin(0, Random::new(1));
        assert_eq!((never.next(), never.poll(Nanos::MAX, 1000)), (None, None));
    }

    #[test]
    fn slices_are_small() {
        let faults = TcpFaults {
            slice: Some(Trigger::After(Duration::from_nanos(5))),
            ..TcpFaults::default()
        };
        let mut slicer = faults.slicer(0, Random::new(1));
        assert!(!slicer.slices(4) && slicer.slices(5));
        assert!((0..1000).all(|_| (1..=16).contains(&slicer.length())));
    }
}
