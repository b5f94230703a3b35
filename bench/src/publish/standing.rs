//! Where Columba has to stand, line by line, and whether it does.

use crate::measured::Row;

use super::collect::Collection;
use super::small_files::judged;
use super::table::Table;

mod goals;
mod loopback;
mod network;

/// A line: what is wanted, what was seen.
struct Line {
    aim: String,
    wanted: String,
    /// `None`: nobody measured it.
    seen: Option<Seen>,
}

struct Seen {
    text: String,
    is_met: bool,
}

/// Which way a figure has to lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sense {
    AtLeast,
    AtMost,
}

/// How a figure is written.
#[derive(Debug, Clone, Copy)]
struct Unit {
    digits: usize,
    /// From the figure's own unit to the one that is shown.
    factor: f64,
    suffix: &'static str,
}

const RATIO: Unit = unit(2, 1.0, "");
const SHARE: Unit = unit(3, 1.0, "");
const PERCENT: Unit = unit(2, 100.0, " %");
const MILLISECONDS: Unit = unit(2, 1e-3, " ms");
const SECONDS: Unit = unit(1, 1.0, " s");

const fn unit(digits: usize, factor: f64, suffix: &'static str) -> Unit {
    Unit {
        digits,
        factor,
        suffix,
    }
}

impl Unit {
    fn show(self, figure: f64) -> String {
        let Self {
            digits,
            factor,
            suffix,
        } = self;
        format!("{:.digits$}{suffix}", figure * factor)
    }

    /// With no more digits than it needs.
    fn show_bound(self, bound: f64) -> String {
        let rounded = (bound * self.factor * 1e6).round() / 1e6;
        format!("{rounded}{}", self.suffix)
    }
}

impl Line {
    /// A figure that has to lie on one side of a bound; `note` says where it was seen.
    fn new(
        aim: impl Into<String>,
        (sense, bound, unit): (Sense, f64, Unit),
        figure: Option<(f64, String)>,
    ) -> Self {
        let sign = match sense {
            Sense::AtLeast => "≥",
            Sense::AtMost => "≤",
        };
        Self {
            aim: aim.into(),
            wanted: format!("{sign} {}", unit.show_bound(bound)),
            seen: figure.map(|(figure, note)| Seen {
                text: if note.is_empty() {
                    unit.show(figure)
                } else {
                    format!("{} ({note})", unit.show(figure))
                },
                is_met: match sense {
                    Sense::AtLeast => figure >= bound,
                    Sense::AtMost => figure <= bound,
                },
            }),
        }
    }
}

/// Every line with its figure, then where Columba is behind.
pub(super) fn section(collection: &Collection) -> String {
    let groups = [
        (
            "On the loopback, bound by the CPU",
            loopback::lines(collection),
        ),
        ("Lossy paths", network::path_lines(collection)),
        ("A good neighbour", network::neighbour_lines(collection)),
        ("Many, and small files", goals::many_lines(collection)),
        ("Chat beside downloads", goals::chat_lines(collection)),
    ];
    let lines = || groups.iter().flat_map(|(_, lines)| lines);
    if lines().all(|line| line.seen.is_none()) {
        return String::new();
    }
    let mut table = Table::new(&["aim", "wanted", "measured", ""]);
    for (title, lines) in &groups {
        table.row(vec![format!("*{title}*")]);
        for line in lines {
            let (measured, verdict) = match &line.seen {
                None => ("–".to_owned(), "not measured"),
                Some(seen) if seen.is_met => (seen.text.clone(), "met"),
                Some(seen) => (seen.text.clone(), "**missed**"),
            };
            table.row(vec![
                line.aim.clone(),
                line.wanted.clone(),
                measured,
                verdict.to_owned(),
            ]);
        }
    }
    let count = |is: fn(&Seen) -> bool| {
        lines()
            .filter_map(|line| line.seen.as_ref())
            .filter(|seen| is(seen))
            .count()
    };
    let unmeasured = lines().filter(|line| line.seen.is_none()).count();
    let mut summary = format!(
        "{} of {} lines are met, {} missed",
        count(|seen| seen.is_met),
        lines().count(),
        count(|seen| !seen.is_met)
    );
    if unmeasured > 0 {
        summary += &format!(", {unmeasured} not measured");
    }
    format!(
        "\n## Where Columba stands\n\nThe aims of the design for this kind of machine, and what the runs below say of them. \
         {summary}. Where several rows belong to an aim, the worst counts; of repeated runs the median.\n\n{}{}",
        table.text(),
        behind(
            &collection.measured("compare"),
            &collection.measured("small-files")
        )
    )
}

/// Whoever is faster and is no limit.
fn behind(compared: &[&Row], small: &[&Row]) -> String {
    let mut faster = Vec::new();
    for ours in compared.iter().filter(|row| row.subject.row == "columba") {
        let ahead: Vec<String> = ours
            .ratios
            .iter()
            .filter(|(other, ratio)| **ratio < 1.0 && !other.starts_with("limit-"))
            .map(|(other, ratio)| format!("{other} {:.2} times", 1.0 / ratio.max(1e-9)))
            .collect();
        if !ahead.is_empty() {
            faster.push(format!(
                "- {}, {}, others bring more bytes per second: {}.\n",
                super::throughput::limit(ours),
                super::throughput::protection(ours),
                ahead.join(", ")
            ));
        }
    }
    if let Some(ours) = judged(small) {
        for other in small.iter().filter(|other| {
            other.subject.row != "columba" && other.files_per_second > ours.files_per_second
        }) {
            faster.push(format!(
                "- {} brings {:.2} times as many small files per second.\n",
                other.subject.row,
                other.files_per_second / ours.files_per_second.max(1e-9)
            ));
        }
    }
    if faster.is_empty() {
        return String::new();
    }
    format!(
        "\nBehind, on a clean loopback (`tcp` rows neither encrypt nor hash):\n\n{}",
        faster.concat()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_is_wanted_and_whether_it_is_met() {
        let line = Line::new(
            "rate",
            (Sense::AtLeast, 0.97, SHARE),
            Some((0.95, "here".to_owned())),
        );
        assert_eq!(line.wanted, "≥ 0.97");
        let seen = line.seen.expect("it was measured");
        assert_eq!((seen.text.as_str(), seen.is_met), ("0.950 (here)", false));
        let line = Line::new(
            "drops",
            (Sense::AtMost, 0.001, PERCENT),
            Some((0.0005, String::new())),
        );
        assert_eq!(line.wanted, "≤ 0.1 %");
        assert!(
            line.seen
                .is_some_and(|seen| seen.is_met && seen.text == "0.05 %")
        );
    }
}
