//! The table of impairments as people name them: one row for each, from which the command line makes
//! `--NAME`, `--up-NAME` and `--down-NAME`.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use columba_values::{
    ValueError, parse_bit_rate, parse_probability, parse_size, parse_time_with_unit,
};

use crate::impairments::{
    Blackhole, BurstLoss, Distribution, DropRule, ImpairmentError, Impairments, Reorder,
};
use crate::path::Direction;
use crate::trace::Trace;

/// How long packets are held back when nothing else is said.
const DEFAULT_REORDER_DELAY: Duration = Duration::from_millis(5);

/// One impairment that can be set by name.
#[derive(Debug, Clone, Copy)]
pub struct Knob {
    /// Its name for both directions, towards the server, and towards the client.
    pub names: [&'static str; 3],
    /// The environment variables for the same.
    pub variables: [&'static str; 3],
    /// What stands for the value in the help.
    pub value_name: &'static str,
    /// What it does, for the help.
    pub help: &'static str,
    read: fn(&mut Impairments, &str) -> Result<(), ValueError>,
    clear: fn(&mut Impairments),
}

impl Knob {
    /// Reads a value into the impairments; `off` gives back the default.
    ///
    /// # Errors
    /// A value that can't be read.
    pub fn set(&self, impairments: &mut Impairments, text: &str) -> Result<(), ValueError> {
        if text.trim() == "off" {
            (self.clear)(impairments);
            Ok(())
        } else {
            (self.read)(impairments, text)
        }
    }

    /// Finds a knob by one of its names, and the directions that the name acts on.
    #[must_use]
    pub fn find(name: &str) -> Option<(&'static Self, &'static [Direction])> {
        const DIRECTIONS: [&[Direction]; 3] =
            [&Direction::BOTH, &[Direction::Up], &[Direction::Down]];
        KNOBS.iter().find_map(|knob| {
            let mut names = knob.names.iter().zip(DIRECTIONS);
            let (_, directions) = names.find(|(known, _)| **known == name)?;
            Some((knob, directions))
        })
    }
}

/// Why a change of impairments is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ChangeError {
    /// No such impairment.
    #[error("there is no impairment called '{0}'")]
    Unknown(String),
    /// A value that can't be read.
    #[error("{name}: {error}")]
    Value {
        /// Which impairment.
        name: String,
        /// What is wrong.
        #[source]
        error: ValueError,
    },
    /// The whole makes no sense.
    #[error("{}-{error}", direction.name())]
    Impairment {
        /// In which direction.
        direction: Direction,
        /// What is wrong.
        #[source]
        error: ImpairmentError,
    },
}

/// Changes the impairments that are named in `settings`: first in both directions, then in one.
///
/// # Errors
/// A name or value that makes no sense; the impairments may have been changed in part then.
pub fn change(
    settings: &BTreeMap<String, String>,
    up: &mut Impairments,
    down: &mut Impairments,
) -> Result<(), ChangeError> {
    for both_at_once in [true, false] {
        for (name, text) in settings {
            let (knob, directions) =
                Knob::find(name).ok_or_else(|| ChangeError::Unknown(name.clone()))?;
            if (directions.len() > 1) != both_at_once {
                continue;
            }
            for direction in directions {
                let impairments = match direction {
                    Direction::Up => &mut *up,
                    Direction::Down => &mut *down,
                };
                knob.set(impairments, text)
                    .map_err(|error| ChangeError::Value {
                        name: name.clone(),
                        error,
                    })?;
            }
        }
    }
    for (direction, impairments) in [(Direction::Up, up), (Direction::Down, down)] {
        impairments
            .validate()
            .map_err(|error| ChangeError::Impairment { direction, error })?;
    }
    Ok(())
}

/// One row: the names, what the help says, the field that is set, and how its value is read.
macro_rules! knob {
    ($name:literal, $variable:literal, $value_name:literal, $help:literal, $field:ident, $read:expr) => {
        Knob {
            names: [$name, concat!("up-", $name), concat!("down-", $name)],
            variables: [
                concat!("COLUMBA_LOSS_SIM_", $variable),
                concat!("COLUMBA_LOSS_SIM_UP_", $variable),
                concat!("COLUMBA_LOSS_SIM_DOWN_", $variable),
            ],
            value_name: $value_name,
            help: $help,
            read: |impairments, text| {
                impairments.$field = $read(text)?;
                Ok(())
            },
            clear: |impairments| impairments.$field = Impairments::default().$field,
        }
    };
}

/// Every impairment, in the order of the help.
#[rustfmt::skip]
pub const KNOBS: [Knob; 18] = [
    knob!("loss", "LOSS", "P",
        "Lose packets with this probability",
        loss, parse_probability),
    knob!("burst-loss", "BURST_LOSS", "P,R[,1-H[,1-K]]",
        "Lose packets in bursts (Gilbert-Elliott): P good to bad, R bad to good, 1-H loss in bad (100%), 1-K in good (0%)",
        burst_loss, parse_burst_loss),
    knob!("max-burst", "MAX_BURST", "N",
        "Never lose, nor corrupt, more than N in a row by chance",
        max_burst, optional(parse_number)),
    knob!("drop-nth", "DROP_NTH", "LIST",
        "Drop packets by number, from 1: 3, 7-9 or 5n (each fifth), comma-separated",
        drop_nth, parse_drop_nth),
    knob!("delay", "DELAY", "TIME",
        "Delay packets by this time, one way",
        delay, parse_time_with_unit),
    knob!("jitter", "JITTER", "TIME",
        "Vary the delay by this much, keeping the order",
        jitter, parse_time_with_unit),
    knob!("distribution", "DISTRIBUTION", "NAME",
        "How jitter is distributed: uniform, normal or pareto [default: uniform]",
        distribution, parse_distribution),
    knob!("rate", "RATE", "RATE",
        "Limit the rate, IP and UDP headers included",
        rate_bits_per_second, optional(parse_bit_rate)),
    knob!("trace", "TRACE", "FILE",
        "Let packets leave at the times in this file (mahimahi format)",
        trace, read_trace),
    knob!("queue", "QUEUE", "BYTES",
        "Room for packets that wait for the rate [default: rate x 2 x delay, at least 64k]",
        queue_bytes, optional(parse_size)),
    knob!("overhead", "OVERHEAD", "BYTES",
        "Bytes that each packet adds on the wire [default: 28, IP and UDP headers; 0 on a link, where they count anyway]",
        overhead_bytes, optional(parse_number)),
    knob!("duplicate", "DUPLICATE", "P",
        "Deliver packets twice with this probability",
        duplicate, parse_probability),
    knob!("reorder", "REORDER", "P[,DELAY]",
        "Hold packets back for DELAY with this probability, so that later ones overtake [default DELAY: 5ms]",
        reorder, parse_reorder),
    knob!("corrupt", "CORRUPT", "P",
        "Flip one bit of packets with this probability",
        corrupt, parse_probability),
    knob!("truncate", "TRUNCATE", "P",
        "Cut packets short with this probability",
        truncate, parse_probability),
    knob!("max-datagram", "MAX_DATAGRAM", "BYTES",
        "Drop larger datagrams (UDP payloads; on a link, IP packets)",
        max_datagram_bytes, optional(parse_length)),
    knob!("blackhole", "BLACKHOLE", "ON,OFF",
        "Work for ON, swallow everything for OFF, and so on",
        blackhole, parse_blackhole),
    knob!("ecn-mark", "ECN_MARK", "P",
        "Mark ECN-capable packets Congestion Experienced with this probability",
        ecn_mark, parse_probability),
];

/// Makes a reader of an optional field of the reader of its value.
fn optional<T>(
    read: impl Fn(&str) -> Result<T, ValueError>,
) -> impl Fn(&str) -> Result<Option<T>, ValueError> {
    move |text| read(text).map(Some)
}

fn parse_length(text: &str) -> Result<usize, ValueError> {
    Ok(usize::try_from(parse_size(text)?).unwrap_or(usize::MAX))
}

fn parse_number(text: &str) -> Result<u32, ValueError> {
    let wrong = |_| ValueError::new(format!("'{text}' is not a whole number"));
    text.trim().parse().map_err(wrong)
}

fn read_trace(text: &str) -> Result<Option<Arc<Trace>>, ValueError> {
    let unreadable =
        |why: &dyn std::fmt::Display| ValueError::new(format!("cannot use '{text}': {why}"));
    let content = fs::read_to_string(text).map_err(|error| unreadable(&error))?;
    let trace = Trace::parse(&content).map_err(|error| unreadable(&error))?;
    Ok(Some(Arc::new(trace)))
}

fn parse_burst_loss(text: &str) -> Result<Option<BurstLoss>, ValueError> {
    let parts = text
        .split(',')
        .map(parse_probability)
        .collect::<Result<Vec<_>, _>>()?;
    let [good_to_bad, bad_to_good, rest @ ..] = parts.as_slice() else {
        return Err(ValueError::new("needs at least P and R, such as 1%,25%"));
    };
    let mut model = BurstLoss::gilbert(*good_to_bad, *bad_to_good);
    match rest {
        [] => {}
        [loss_in_bad] => model.loss_in_bad = *loss_in_bad,
        [loss_in_bad, loss_in_good] => {
            model.loss_in_bad = *loss_in_bad;
            model.loss_in_good = *loss_in_good;
        }
        _ => return Err(ValueError::new("has more than four values")),
    }
    Ok(Some(model))
}

fn parse_drop_nth(text: &str) -> Result<Vec<DropRule>, ValueError> {
    let rule = |item: &str| {
        let item = item.trim();
        let parse = |digits: &str| {
            digits
                .trim()
                .parse::<u64>()
                .ok()
                .filter(|number| *number > 0)
        };
        let rule = if let Some(step) = item.strip_suffix('n') {
            parse(step).map(DropRule::Every)
        } else if let Some((first, last)) = item.split_once('-') {
            parse(first)
                .zip(parse(last))
                .filter(|(first, last)| first <= last)
                .map(|(first, last)| DropRule::Numbers(first..=last))
        } else {
            parse(item).map(|number| DropRule::Numbers(number..=number))
        };
        rule.ok_or_else(|| {
            ValueError::new(format!("'{item}' is not a packet number such as 3, a range such as 7-9, or 5n for each fifth"))
        })
    };
    text.split(',').map(rule).collect()
}

fn parse_distribution(text: &str) -> Result<Distribution, ValueError> {
    Ok(match text.trim().to_ascii_lowercase().as_str() {
        "uniform" => Distribution::Uniform,
        "normal" => Distribution::Normal,
        "pareto" => Distribution::Pareto,
        _ => {
            return Err(ValueError::new(format!(
                "'{text}' is not uniform, normal or pareto"
            )));
        }
    })
}

fn parse_reorder(text: &str) -> Result<Option<Reorder>, ValueError> {
    let (probability, delay) = match text.split_once(',') {
        Some((probability, delay)) => (probability, parse_time_with_unit(delay)?),
        None => (text, DEFAULT_REORDER_DELAY),
    };
    Ok(Some(Reorder {
        probability: parse_probability(probability)?,
        delay,
    }))
}

fn parse_blackhole(text: &str) -> Result<Option<Blackhole>, ValueError> {
    let Some((on, off)) = text.split_once(',') else {
        return Err(ValueError::new("needs two times, such as 5s,2s"));
    };
    Ok(Some(Blackhole {
        on: parse_time_with_unit(on)?,
        off: parse_time_with_unit(off)?,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(name: &str, text: &str) -> Result<Impairments, ValueError> {
        let mut impairments = Impairments::default();
        let knob = KNOBS
            .iter()
            .find(|knob| knob.names[0] == name)
            .expect("a known knob");
        knob.set(&mut impairments, text)?;
        Ok(impairments)
    }

    #[test]
    fn every_knob_reads_its_value() {
        type Change = fn(&mut Impairments);
        let cases: [(&str, &str, Change); 13] = [
            ("loss", "5%", |it| it.loss = 0.05),
            ("max-burst", "3", |it| it.max_burst = Some(3)),
            ("delay", "25ms", |it| it.delay = Duration::from_millis(25)),
            ("jitter", "1ms", |it| it.jitter = Duration::from_millis(1)),
            ("distribution", "pareto", |it| {
                it.distribution = Distribution::Pareto;
            }),
            ("rate", "10mbit", |it| {
                it.rate_bits_per_second = Some(10_000_000);
            }),
            ("queue", "64k", |it| it.queue_bytes = Some(65_536)),
            ("overhead", "0", |it| it.overhead_bytes = Some(0)),
            ("duplicate", "0.5", |it| it.duplicate = 0.5),
            ("corrupt", "1%", |it| it.corrupt = 0.01),
            ("truncate", "1%", |it| it.truncate = 0.01),
            ("max-datagram", "1200", |it| {
                it.max_datagram_bytes = Some(1200);
            }),
            ("ecn-mark", "1%", |it| it.ecn_mark = 0.01),
        ];
        for (name, text, change) in cases {
            let mut expected = Impairments::default();
            change(&mut expected);
            assert_ne!(expected, Impairments::default());
            let mut impairments = set(name, text).unwrap();
            assert_eq!(impairments, expected, "{name}");
            let (knob, directions) = Knob::find(name).unwrap();
            assert_eq!(directions, Direction::BOTH);
            knob.set(&mut impairments, "off").unwrap();
            assert_eq!(impairments, Impairments::default(), "{name}");
        }
    }

    #[test]
    fn traces_come_from_files() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "1\n2\n").unwrap();
        let path = file.path().to_str().unwrap();
        let trace = set("trace", path).unwrap().trace.unwrap();
        assert_eq!(trace.mean_bits_per_second(), 12_000_000);
        fs::write(file.path(), "x").unwrap();
        let error = set("trace", path).unwrap_err().to_string();
        assert!(error.contains("line 1 is not a time"), "{error}");
        assert!(set("trace", "").is_err());
    }

    #[test]
    fn bursts_take_two_to_four_values() {
        let model = |text| set("burst-loss", text).map(|it| it.burst_loss);
        assert_eq!(model("1%,25%"), Ok(Some(BurstLoss::gilbert(0.01, 0.25))));
        let full = BurstLoss {
            good_to_bad: 0.01,
            bad_to_good: 0.25,
            loss_in_bad: 0.5,
            loss_in_good: 0.1,
        };
        assert_eq!(model("1%,25%,50%,10%"), Ok(Some(full)));
        assert!(model("1%").is_err());
        assert!(model("1%,1%,1%,1%,1%").is_err());
    }

    #[test]
    fn packets_to_drop_are_a_list() {
        let rules = |text| set("drop-nth", text).map(|it| it.drop_nth);
        assert_eq!(
            rules("3, 7-9,5n"),
            Ok(vec![
                DropRule::Numbers(3..=3),
                DropRule::Numbers(7..=9),
                DropRule::Every(5)
            ])
        );
        for wrong in ["", "0", "9-7", "n", "x", "3,"] {
            assert!(rules(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn reordering_and_blackholes_take_times() {
        let reorder = |text| set("reorder", text).map(|it| it.reorder);
        let delay = DEFAULT_REORDER_DELAY;
        assert_eq!(
            reorder("5%"),
            Ok(Some(Reorder {
                probability: 0.05,
                delay
            }))
        );
        let delay = Duration::from_millis(8);
        assert_eq!(
            reorder("5%,8ms"),
            Ok(Some(Reorder {
                probability: 0.05,
                delay
            }))
        );
        let blackhole = set("blackhole", "5s,2s").map(|it| it.blackhole);
        let expected = Blackhole {
            on: Duration::from_secs(5),
            off: Duration::from_secs(2),
        };
        assert_eq!(blackhole, Ok(Some(expected)));
        assert!(set("blackhole", "5s").is_err());
    }
}
