//! Percentiles as text: a table per tag, with ratios to the first file; or JSON.

use std::fmt::Write as _;

use anyhow::Result;
use hdrhistogram::Histogram;
use serde::Serialize;

use super::{Entry, Tags};
use crate::report;

/// What a table shows, and how scripts call it.
const QUANTILES: [(f64, &str); 6] = [
    (0.5, "50 %"),
    (0.75, "75 %"),
    (0.9, "90 %"),
    (0.99, "99 %"),
    (0.999, "99.9 %"),
    (0.9999, "99.99 %"),
];
const NAME_WIDTH: usize = 32;
const COLUMN_WIDTH: usize = 11;

/// A row for scripts, in microseconds.
#[derive(Debug, Serialize)]
struct Row<'a> {
    file: &'a str,
    tag: &'a str,
    count: u64,
    latency_us: Micros,
}

#[derive(Debug, Serialize)]
struct Micros {
    p50: f64,
    p75: f64,
    p90: f64,
    p99: f64,
    p999: f64,
    p9999: f64,
    max: f64,
}

pub(super) fn print_json(tags: &Tags) -> Result<()> {
    for (tag, entries) in tags {
        for entry in entries {
            let at = |quantile| micros(entry.nanos.value_at_quantile(quantile));
            report::print_json(&Row {
                file: &entry.file,
                tag,
                count: entry.nanos.len(),
                latency_us: Micros {
                    p50: at(0.5),
                    p75: at(0.75),
                    p90: at(0.9),
                    p99: at(0.99),
                    p999: at(0.999),
                    p9999: at(0.9999),
                    max: micros(entry.nanos.max()),
                },
            })?;
        }
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "latencies")]
fn micros(nanos: u64) -> f64 {
    nanos as f64 / 1e3
}

pub(super) fn text(tags: &Tags) -> String {
    let mut text = String::new();
    for (tag, entries) in tags {
        if !text.is_empty() {
            text.push('\n');
        }
        let tag = if tag.is_empty() { "(no tag)" } else { tag };
        head(tag, &mut text);
        for (index, entry) in entries.iter().enumerate() {
            line(entry, &mut text);
            if index > 0 {
                ratios(&entries[0].nanos, &entry.nanos, &mut text);
            }
        }
    }
    text
}

fn head(tag: &str, text: &mut String) {
    let _ = write!(text, "{tag:<NAME_WIDTH$}");
    let names = QUANTILES.iter().map(|(_, name)| *name);
    for name in ["count"].into_iter().chain(names).chain(["max"]) {
        let _ = write!(text, "{name:>COLUMN_WIDTH$}");
    }
    text.push('\n');
}

fn values(nanos: &Histogram<u64>) -> impl Iterator<Item = u64> {
    QUANTILES
        .iter()
        .map(|(quantile, _)| nanos.value_at_quantile(*quantile))
        .chain([nanos.max()])
}

fn line(entry: &Entry, text: &mut String) {
    let name = format!("  {}", entry.file);
    let _ = write!(
        text,
        "{name:<NAME_WIDTH$}{:>COLUMN_WIDTH$}",
        entry.nanos.len()
    );
    for value in values(&entry.nanos) {
        let _ = write!(text, "{:>COLUMN_WIDTH$}", duration(value));
    }
    text.push('\n');
}

/// How many times the first file's value.
fn ratios(first: &Histogram<u64>, this: &Histogram<u64>, text: &mut String) {
    let _ = write!(text, "{:<NAME_WIDTH$}", "    ratio to the first");
    let counts = [(first.len(), this.len())];
    for (first, this) in counts.into_iter().chain(values(first).zip(values(this))) {
        #[expect(clippy::cast_precision_loss, reason = "a ratio")]
        let ratio = this as f64 / first.max(1) as f64;
        let _ = write!(text, "{:>COLUMN_WIDTH$}", format!("×{ratio:.2}"));
    }
    text.push('\n');
}

/// Four digits or so, with their unit.
fn duration(nanos: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a few digits are shown")]
    let value = nanos as f64;
    let (value, unit) = match nanos {
        0..1_000 => return format!("{nanos} ns"),
        1_000..1_000_000 => (value / 1e3, "µs"),
        1_000_000..1_000_000_000 => (value / 1e6, "ms"),
        _ => (value / 1e9, "s"),
    };
    let digits = if value >= 100.0 { 1 } else { 2 };
    format!("{value:.digits$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_ratios_to_the_first() {
        let entry = |file: &str, value: u64| {
            let mut nanos = Histogram::new(3).unwrap();
            nanos.record_n(value, 10).unwrap();
            Entry {
                file: file.to_owned(),
                nanos,
                intervals: Vec::new(),
            }
        };
        let mut tags = Tags::new();
        tags.insert(
            "loop".to_owned(),
            vec![entry("a", 10_000), entry("b", 25_000)],
        );
        let text = text(&tags);
        let lines: Vec<Vec<&str>> = text
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(lines[0][..2], ["loop", "count"]);
        assert_eq!(lines[1][..4], ["a", "10", "10.00", "µs"]);
        assert_eq!(lines[3].last(), Some(&"×2.50"), "{text}");
        let widths: Vec<usize> = text.lines().map(|line| line.chars().count()).collect();
        assert!(widths.iter().all(|width| *width == widths[0]), "{text}");
    }

    #[test]
    fn durations_have_units() {
        let shown = [7, 1_500, 250_000, 1_250_000, 2_000_000_000].map(duration);
        assert_eq!(shown, ["7 ns", "1.50 µs", "250.0 µs", "1.25 ms", "2.00 s"]);
    }
}
