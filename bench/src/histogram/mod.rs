//! Interval logs as tables and charts: one file, several side by side, or merged.

mod read;
mod table;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use columba_server::hlog;
use hdrhistogram::Histogram;

pub(crate) use read::{Interval, read};

use crate::plot::{Axis, Distribution, LineChart, PercentileChart, Series, nanoseconds};
use crate::report;
use crate::stage::BadUsage;

/// Options of the histogram command.
#[derive(Debug, Args)]
pub(crate) struct HistogramArgs {
    /// Interval logs (.hlog); several stand side by side, with ratios to the first
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Only this tag; may be given several times
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Add all files up
    #[arg(long)]
    merge: bool,
    /// What the logs' values count
    #[arg(long, value_enum, default_value = "ns")]
    unit: Unit,
    /// Draw percentiles as SVG
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Draw percentiles as PNG
    #[arg(long, value_name = "FILE")]
    png: Option<PathBuf>,
    /// Draw each interval's percentiles over time instead
    #[arg(long)]
    over_time: bool,
    /// Write percentile distributions (.hgrm) into this folder
    #[arg(long, value_name = "DIR")]
    hgrm: Option<PathBuf>,
    /// One JSON object a row on standard output
    #[arg(long)]
    json: bool,
}

/// What values count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Unit {
    Ns,
    Us,
    Ms,
    S,
}

impl Unit {
    const fn nanos(self) -> u64 {
        match self {
            Self::Ns => 1,
            Self::Us => 1_000,
            Self::Ms => 1_000_000,
            Self::S => 1_000_000_000,
        }
    }
}

/// What one file (or all of them) says under one tag.
#[derive(Debug)]
struct Entry {
    file: String,
    nanos: Histogram<u64>,
    intervals: Vec<Interval>,
}

/// By tag, the files in their order.
type Tags = BTreeMap<String, Vec<Entry>>;

/// Runs the command.
pub(crate) fn run(args: &HistogramArgs) -> Result<bool> {
    let tags = gather(args)?;
    if tags.is_empty() {
        bail!(
            "there is nothing to show: no interval{}",
            if args.tags.is_empty() {
                ""
            } else {
                " has such a tag"
            }
        );
    }
    if args.json {
        table::print_json(&tags)?;
    } else {
        report::print(&table::text(&tags))?;
    }
    for (path, extension) in [(&args.svg, "svg"), (&args.png, "png")] {
        let Some(path) = path else {
            continue;
        };
        if path.extension().is_none_or(|found| found != extension) {
            bail!(BadUsage(format!(
                "--{extension} {}: its name must end in .{extension}",
                path.display()
            )));
        }
        draw(&tags, args.over_time, path)?;
    }
    if let Some(folder) = &args.hgrm {
        write_distributions(&tags, folder)?;
    }
    Ok(true)
}

fn gather(args: &HistogramArgs) -> Result<Tags> {
    let names = short_names(&args.files);
    let mut tags = Tags::new();
    for (path, name) in args.files.iter().zip(names) {
        let file = if args.merge {
            format!("{} files", args.files.len())
        } else {
            name
        };
        for mut interval in read(path)? {
            if !args.tags.is_empty() && !args.tags.contains(&interval.tag) {
                continue;
            }
            interval.histogram = in_nanos(&interval.histogram, args.unit)?;
            let entries = tags.entry(interval.tag.clone()).or_default();
            let known = entries.iter().position(|entry| entry.file == file);
            let index = match known {
                Some(index) => index,
                None => {
                    entries.push(Entry {
                        file: file.clone(),
                        nanos: Histogram::new(3).context("three digits are allowed")?,
                        intervals: Vec::new(),
                    });
                    entries.len() - 1
                }
            };
            let added = entries[index].nanos.add(&interval.histogram);
            added.context("the histograms are too different to be added up")?;
            entries[index].intervals.push(interval);
        }
    }
    Ok(tags)
}

fn in_nanos(histogram: &Histogram<u64>, unit: Unit) -> Result<Histogram<u64>> {
    if unit == Unit::Ns {
        return Ok(histogram.clone());
    }
    let mut nanos = Histogram::new(histogram.sigfig()).context("digits of a histogram")?;
    for step in histogram.iter_recorded() {
        let value = step.value_iterated_to().saturating_mul(unit.nanos());
        nanos
            .record_n(value, step.count_at_value())
            .context("a value is too large: is --unit right?")?;
    }
    Ok(nanos)
}

/// File names, with as many folders before them as it takes to tell them apart.
fn short_names(files: &[PathBuf]) -> Vec<String> {
    let parts: Vec<Vec<String>> = files
        .iter()
        .map(|path| {
            let parts = path.components().rev();
            parts
                .map(|part| part.as_os_str().to_string_lossy().into_owned())
                .collect()
        })
        .collect();
    let name = |parts: &[String], count: usize| {
        let mut kept: Vec<&str> = parts.iter().take(count).map(String::as_str).collect();
        kept.reverse();
        kept.join("/")
    };
    let most = parts.iter().map(Vec::len).max().unwrap_or(1);
    let distinct = |count: &usize| {
        let names: Vec<String> = parts.iter().map(|parts| name(parts, *count)).collect();
        (1..names.len()).all(|index| !names[..index].contains(&names[index]))
    };
    let count = (1..=most).find(distinct).unwrap_or(most);
    let mut names: Vec<String> = parts.iter().map(|parts| name(parts, count)).collect();
    // The same file twice still needs two names.
    for index in 1..names.len() {
        if names[..index].contains(&names[index]) {
            names[index].push_str(&format!(" ({})", index + 1));
        }
    }
    names
}

/// What an entry is called beside others.
fn label(tag: &str, file: &str, tags: &Tags) -> String {
    let several = tags.values().any(|entries| entries.len() > 1);
    match (tags.len() > 1, several) {
        (true, true) => format!("{tag}, {file}"),
        (true, false) if !tag.is_empty() => tag.to_owned(),
        _ => file.to_owned(),
    }
}

fn draw(tags: &Tags, over_time: bool, path: &Path) -> Result<()> {
    let entries = || {
        tags.iter()
            .flat_map(|(tag, entries)| entries.iter().map(move |entry| (tag, entry)))
    };
    if over_time {
        let series =
            entries().flat_map(|(tag, entry)| over_time_of(&label(tag, &entry.file, tags), entry));
        let chart = LineChart {
            title: "Latency over time".to_owned(),
            note: title_of(tags),
            x: Axis::linear("seconds since the log began"),
            y: Axis::log("latency").format(nanoseconds),
            series: series.collect(),
        };
        return chart.save(path);
    }
    let labels: Vec<(String, &Histogram<u64>)> = entries()
        .map(|(tag, entry)| (label(tag, &entry.file, tags), &entry.nanos))
        .collect();
    let chart = PercentileChart {
        title: "Latency by percentile".to_owned(),
        note: title_of(tags),
        distributions: labels
            .iter()
            .map(|(name, nanos)| Distribution { name, nanos })
            .collect(),
    };
    chart.save(path)
}

/// The tag, if there is but one.
fn title_of(tags: &Tags) -> String {
    match tags.keys().next() {
        Some(tag) if tags.len() == 1 => tag.clone(),
        _ => String::new(),
    }
}

fn over_time_of(label: &str, entry: &Entry) -> [Series; 2] {
    let first = entry.intervals.iter().map(|interval| interval.start_s);
    let first = first.fold(f64::INFINITY, f64::min);
    let of = |quantile: f64| {
        let points = entry.intervals.iter().map(|interval| {
            let nanos = interval.histogram.value_at_quantile(quantile);
            #[expect(clippy::cast_precision_loss, reason = "a picture")]
            let value = nanos as f64;
            (interval.start_s - first, value)
        });
        points.collect()
    };
    [
        Series::new(format!("{label}, p50"), of(0.5)),
        Series::new(format!("{label}, p99"), of(0.99)),
    ]
}

fn write_distributions(tags: &Tags, folder: &Path) -> Result<()> {
    let context = || format!("cannot write to {}", folder.display());
    std::fs::create_dir_all(folder).with_context(context)?;
    for (tag, entries) in tags {
        for entry in entries {
            let stem = entry.file.trim_end_matches(".hlog");
            let stem = stem.replace(['/', '\\', ' '], "-");
            let name = if tag.is_empty() {
                format!("{stem}.hgrm")
            } else {
                format!("{stem}-{tag}.hgrm")
            };
            let mut out = Vec::new();
            hlog::write_distribution(&mut out, &entry.nanos)?;
            std::fs::write(folder.join(name), out).with_context(context)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_as_shortly_as_they_can_be() {
        let names = |paths: &[&str]| {
            let paths: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
            short_names(&paths)
        };
        assert_eq!(names(&["x/a.hlog", "y/b.hlog"]), ["a.hlog", "b.hlog"]);
        assert_eq!(names(&["x/a.hlog", "y/a.hlog"]), ["x/a.hlog", "y/a.hlog"]);
        assert_eq!(names(&["a.hlog", "a.hlog"]), ["a.hlog", "a.hlog (2)"]);
    }

    #[test]
    fn units_are_brought_together() {
        let mut millis = Histogram::<u64>::new(3).unwrap();
        millis.record_n(25, 4).unwrap();
        let nanos = in_nanos(&millis, Unit::Ms).unwrap();
        assert_eq!(nanos.len(), 4);
        let value = nanos.value_at_quantile(0.5);
        assert!(value.abs_diff(25_000_000) < 20_000, "{value}");
    }
}
