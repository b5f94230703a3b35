//! Decisions as text: what became of each packet, one line for each, to be read and to be repeated.
//!
//! ```text
//! up 17 2500123 1472 sent 0
//! up 18 2500130 1472 lost
//! down 9 2500461 60 sent -1200,held,cut=12,flip=0.25 marked copy 310
//! ```
//!
//! Direction, number of the packet in that direction (from 1), nanoseconds since the start, bytes of
//! payload, fate. For packets that were sent, their jitter in nanoseconds, with `held` if they were held
//! back, the length they were cut to and the place of the flipped bit; `marked` for Congestion
//! Experienced; `copy` and the same again for the copy. Lines that start with `#` are comments.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use crate::Nanos;
use crate::decision::{Decision, Handling};
use crate::link::Fate;
use crate::path::Direction;

/// Most packets of a direction whose fate can be repeated.
const MAX_PACKETS: usize = 1 << 23;

/// One packet and what became of it; shown as a line of a log.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Record {
    pub(crate) direction: Direction,
    pub(crate) number: u64,
    pub(crate) time: Nanos,
    pub(crate) len: usize,
    /// What became of it.
    pub fate: Fate,
    /// What chance decided; of interest only if it was sent.
    pub(crate) decision: Decision,
}

/// What is to become of a packet when a record is repeated.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Scripted {
    /// It is dropped, in this way.
    Dropped(Fate),
    /// It arrives untouched.
    Untouched,
    /// Something else. Boxed, since it is rare.
    Decided(Box<Decision>),
}

/// What is to become of the packets of a path, by their numbers.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Script {
    pub(crate) up: Vec<Scripted>,
    pub(crate) down: Vec<Scripted>,
}

/// A log that can't be repeated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScriptError {
    /// A line that can't be read.
    #[error("line {0} is not a decision")]
    Line(usize),
    /// Numbers count up by one in each direction.
    #[error("line {0}: packets are missing before it")]
    Gap(usize),
    /// A log is held in memory.
    #[error("more than {MAX_PACKETS} packets in one direction")]
    TooLong,
}

fn name_of(fate: Fate) -> &'static str {
    match fate {
        Fate::Sent => "sent",
        Fate::Lost => "lost",
        Fate::Blackholed => "blackholed",
        Fate::QueueDrop => "queue-drop",
        Fate::Oversize => "oversize",
    }
}

impl Display for Handling {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.jitter_ns)?;
        if self.held_back {
            formatter.write_str(",held")?;
        }
        if let Some(len) = self.truncate_to {
            write!(formatter, ",cut={len}")?;
        }
        if let Some(position) = self.flip_at {
            write!(formatter, ",flip={position}")?;
        }
        Ok(())
    }
}

impl Display for Record {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let Self {
            direction,
            number,
            time,
            len,
            fate,
            decision,
        } = self;
        let (direction, name) = (direction.name(), name_of(*fate));
        write!(formatter, "{direction} {number} {time} {len} {name}")?;
        if *fate == Fate::Sent {
            write!(formatter, " {}", decision.original)?;
            if decision.marked {
                formatter.write_str(" marked")?;
            }
            if let Some(copy) = decision.copy {
                write!(formatter, " copy {copy}")?;
            }
        }
        Ok(())
    }
}

/// A line that is no record.
pub(crate) struct Unreadable;

impl FromStr for Handling {
    type Err = Unreadable;

    fn from_str(text: &str) -> Result<Self, Unreadable> {
        let mut parts = text.split(',');
        let mut handling = Self {
            jitter_ns: parse(parts.next())?,
            ..Self::UNTOUCHED
        };
        for part in parts {
            match part.split_once('=') {
                None if part == "held" => handling.held_back = true,
                Some(("cut", len)) => handling.truncate_to = Some(parse(Some(len))?),
                Some(("flip", position)) => {
                    let position: f64 = parse(Some(position))?;
                    if !(0.0..1.0).contains(&position) {
                        return Err(Unreadable);
                    }
                    handling.flip_at = Some(position);
                }
                _ => return Err(Unreadable),
            }
        }
        Ok(handling)
    }
}

fn parse<T: FromStr>(word: Option<&str>) -> Result<T, Unreadable> {
    word.and_then(|word| word.parse().ok()).ok_or(Unreadable)
}

/// Reads a line into direction, number and what is to become of the packet.
fn read_line(line: &str) -> Result<(Direction, u64, Scripted), Unreadable> {
    let mut words = line.split_ascii_whitespace();
    let direction = words.next();
    let direction = Direction::BOTH
        .into_iter()
        .find(|known| Some(known.name()) == direction)
        .ok_or(Unreadable)?;
    let number = parse(words.next())?;
    let (_time, _len): (Nanos, usize) = (parse(words.next())?, parse(words.next())?);
    let fate = words.next();
    let drops = [
        Fate::Lost,
        Fate::Blackholed,
        Fate::QueueDrop,
        Fate::Oversize,
    ];
    if let Some(drop) = drops.into_iter().find(|drop| Some(name_of(*drop)) == fate) {
        return Ok((direction, number, Scripted::Dropped(drop)));
    }
    if fate != Some(name_of(Fate::Sent)) {
        return Err(Unreadable);
    }
    let mut decision = Decision {
        original: parse(words.next())?,
        ..Decision::UNTOUCHED
    };
    while let Some(word) = words.next() {
        match word {
            "marked" => decision.marked = true,
            "copy" => decision.copy = Some(parse(words.next())?),
            _ => return Err(Unreadable),
        }
    }
    let scripted = if decision == Decision::UNTOUCHED {
        Scripted::Untouched
    } else {
        Scripted::Decided(Box::new(decision))
    };
    Ok((direction, number, scripted))
}

impl FromStr for Script {
    type Err = ScriptError;

    /// Reads a log.
    fn from_str(text: &str) -> Result<Self, ScriptError> {
        let mut script = Self::default();
        for (line_number, line) in (1..).zip(text.lines()) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (direction, number, scripted) =
                read_line(line).map_err(|Unreadable| ScriptError::Line(line_number))?;
            let packets = match direction {
                Direction::Up => &mut script.up,
                Direction::Down => &mut script.down,
            };
            if number != packets.len() as u64 + 1 {
                return Err(ScriptError::Gap(line_number));
            }
            if packets.len() == MAX_PACKETS {
                return Err(ScriptError::TooLong);
            }
            packets.push(scripted);
        }
        Ok(script)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(fate: Fate, decision: Decision) -> Record {
        Record {
            direction: Direction::Up,
            number: 1,
            time: 5,
            len: 100,
            fate,
            decision,
        }
    }

    #[test]
    fn records_survive_the_way_through_text() {
        let full = Decision {
            marked: true,
            original: Handling {
                truncate_to: Some(12),
                flip_at: Some(0.1 + 0.2),
                jitter_ns: -1200,
                held_back: true,
            },
            copy: Some(Handling {
                jitter_ns: 7,
                ..Handling::UNTOUCHED
            }),
            ..Decision::UNTOUCHED
        };
        for decision in [full, Decision::UNTOUCHED] {
            let line = record(Fate::Sent, decision).to_string();
            let script: Script = line.parse().unwrap();
            let expected = match decision == Decision::UNTOUCHED {
                true => Scripted::Untouched,
                false => Scripted::Decided(Box::new(decision)),
            };
            assert_eq!(script.up, [expected], "{line}");
        }
        let line = record(Fate::Blackholed, full).to_string();
        assert_eq!(line, "up 1 5 100 blackholed");
        let script: Script = line.parse().unwrap();
        assert_eq!(script.up, [Scripted::Dropped(Fate::Blackholed)]);
    }

    #[test]
    fn broken_logs_are_refused() {
        for (text, error) in [
            ("up 1 0 9 vanished", ScriptError::Line(1)),
            ("up 1 0 9 sent", ScriptError::Line(1)),
            ("up 1 0 9 sent 0,flip=1.5", ScriptError::Line(1)),
            ("up 1 0 9 sent 0 thrice", ScriptError::Line(1)),
            ("sideways 1 0 9 lost", ScriptError::Line(1)),
            (
                "# seed 1\nup 1 0 9 lost\nup 3 0 9 lost",
                ScriptError::Gap(3),
            ),
        ] {
            assert_eq!(text.parse::<Script>(), Err(error), "{text}");
        }
    }
}
