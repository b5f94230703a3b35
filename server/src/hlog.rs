//! HdrHistograms by tag: kept in memory, and written as an interval log (`.hlog`) once a second and as percentile
//! distributions (`.hgrm`) at the end, for the tools of the HdrHistogram family.
//!
//! Values are nanoseconds in memory and in the log, microseconds in the distributions.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use columba_core::units::Timestamp;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

/// The largest value kept: one hour.
const MAX_NS: u64 = 3_600_000_000_000;

/// How often an interval is written.
const INTERVAL: Duration = Duration::from_secs(1);

/// Significant decimal digits of a value.
const DIGITS: u8 = 3;

/// Steps of a distribution per halving of the distance to 100 %, as the family's other writers have it.
const TICKS_PER_HALF_DISTANCE: u32 = 5;

/// Nanoseconds in a distribution's unit.
const DISTRIBUTION_UNIT_NS: f64 = 1e3;

/// A histogram of nanoseconds, up to an hour.
///
/// # Errors
/// Never in practice: the bounds are constants.
pub fn empty() -> io::Result<Histogram<u64>> {
    Histogram::new_with_bounds(1, MAX_NS, DIGITS).map_err(io::Error::other)
}

/// Adds a duration `count` times.
pub fn add(histogram: &mut Histogram<u64>, value: Duration, count: u64) {
    histogram.saturating_record_n(nanos(value), count);
}

fn nanos(value: Duration) -> u64 {
    u64::try_from(value.as_nanos())
        .unwrap_or(MAX_NS)
        .clamp(1, MAX_NS)
}

/// One tag: since the start, and since the last interval was written.
#[derive(Debug)]
struct Series {
    tag: &'static str,
    total: Histogram<u64>,
    interval: Histogram<u64>,
}

/// Histograms under fixed tags, known by their index.
pub struct Recorder {
    series: Vec<Series>,
    log: Option<Log>,
}

struct Log {
    file: BufWriter<File>,
    /// Where it is, without the extension.
    stem: PathBuf,
    started: Timestamp,
    interval_began: Timestamp,
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder")
            .field("log", &self.log.as_ref().map(|log| &log.stem))
            .finish_non_exhaustive()
    }
}

impl Recorder {
    /// Empty histograms, kept only.
    ///
    /// # Errors
    /// Never in practice: the bounds are constants.
    pub fn new(tags: impl IntoIterator<Item = &'static str>) -> io::Result<Self> {
        let series = tags.into_iter().map(|tag| {
            Ok(Series {
                tag,
                total: empty()?,
                interval: empty()?,
            })
        });
        Ok(Self {
            series: series.collect::<io::Result<_>>()?,
            log: None,
        })
    }

    /// Writes `NAME.hlog` in `folder` from now on, and `NAME-TAG.hgrm` whenever it is flushed.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn log_into(&mut self, folder: &Path, name: &str, now: Timestamp) -> io::Result<()> {
        std::fs::create_dir_all(folder)?;
        let stem = folder.join(name);
        let file = File::create(folder.join(format!("{name}.hlog")))?;
        let mut file = BufWriter::new(file);
        write_header(&mut file, SystemTime::now())?;
        self.log = Some(Log {
            file,
            stem,
            started: now,
            interval_began: now,
        });
        Ok(())
    }

    /// Adds a value under the tag with this index.
    pub fn record(&mut self, index: usize, value: Duration) {
        self.record_n(index, value, 1);
    }

    /// Adds a value several times.
    pub fn record_n(&mut self, index: usize, value: Duration, count: u64) {
        if let Some(series) = self.series.get_mut(index) {
            add(&mut series.total, value, count);
            if self.log.is_some() {
                add(&mut series.interval, value, count);
            }
        }
    }

    /// When [`write_due`](Self::write_due) has something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.log.as_ref().map(|log| log.interval_began + INTERVAL)
    }

    /// Writes the interval if it is over.
    ///
    /// # Errors
    /// The file takes no more; nothing will be written from now on.
    pub fn write_due(&mut self, now: Timestamp) -> io::Result<()> {
        if self.next_deadline().is_some_and(|deadline| deadline <= now) {
            return self.write_now(now, false);
        }
        Ok(())
    }

    /// Writes the interval so far; `flush` has everything reach the file, and the distributions, too.
    ///
    /// # Errors
    /// As for [`write_due`](Self::write_due).
    pub fn write_now(&mut self, now: Timestamp, flush: bool) -> io::Result<()> {
        let written = self.try_write(now, flush);
        if written.is_err() {
            self.log = None;
        }
        written
    }

    fn try_write(&mut self, now: Timestamp, flush: bool) -> io::Result<()> {
        let Some(log) = &mut self.log else {
            return Ok(());
        };
        let start = log.interval_began - log.started;
        let length = now - log.interval_began;
        for series in &mut self.series {
            if !series.interval.is_empty() {
                write_interval(&mut log.file, series.tag, &series.interval, start, length)?;
                series.interval.reset();
            }
        }
        log.interval_began = now;
        if flush {
            log.file.flush()?;
            let mut name = log.stem.clone().into_os_string();
            name.push("-");
            for series in self.series.iter().filter(|one| !one.total.is_empty()) {
                let mut path = name.clone();
                path.push(format!("{}.hgrm", series.tag));
                let mut file = BufWriter::new(File::create(path)?);
                write_distribution(&mut file, &series.total)?;
                file.flush()?;
            }
        }
        Ok(())
    }

    /// The histogram of the tag with this index, since the start.
    #[must_use]
    pub fn total(&self, index: usize) -> Option<&Histogram<u64>> {
        self.series.get(index).map(|series| &series.total)
    }

    /// Tags with values, and their histograms since the start.
    pub fn filled(&self) -> impl Iterator<Item = (&'static str, &Histogram<u64>)> {
        let filled = self.series.iter().filter(|one| !one.total.is_empty());
        filled.map(|series| (series.tag, &series.total))
    }
}

/// Writes how an interval log begins; the intervals' times count from `start`.
///
/// # Errors
/// The writer's.
pub fn write_header(out: &mut impl Write, start: SystemTime) -> io::Result<()> {
    let since = start.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (seconds, millis) = (since.as_secs(), since.subsec_millis());
    writeln!(out, "#[Histogram log format version 1.3]")?;
    for name in ["StartTime", "BaseTime"] {
        writeln!(
            out,
            "#[{name}: {seconds}.{millis:03} (seconds since epoch)]"
        )?;
    }
    writeln!(
        out,
        "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\""
    )
}

/// Writes one interval's line. A tag must have neither spaces nor commas; one that has is left out.
///
/// # Errors
/// The writer's.
pub fn write_interval(
    out: &mut impl Write,
    tag: &str,
    histogram: &Histogram<u64>,
    start: Duration,
    length: Duration,
) -> io::Result<()> {
    let mut serializer = V2DeflateSerializer::new();
    IntervalLogWriterBuilder::new()
        .begin_log_with(out, &mut serializer)?
        .write_histogram(histogram, start, length, Tag::new(tag))
        .map_err(|error| io::Error::other(format!("{error:?}")))
}

/// Writes a percentile distribution (`.hgrm`), values in microseconds.
///
/// # Errors
/// The writer's.
pub fn write_distribution(out: &mut impl Write, histogram: &Histogram<u64>) -> io::Result<()> {
    #[expect(
        clippy::cast_precision_loss,
        reason = "values of up to an hour in nanoseconds, with three digits"
    )]
    let value_of = |nanos: u64| nanos as f64 / DISTRIBUTION_UNIT_NS;
    writeln!(
        out,
        "{:>12} {:>14} {:>10} {:>14}\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    )?;
    let mut total = 0u64;
    for step in histogram.iter_quantiles(TICKS_PER_HALF_DISTANCE) {
        total += step.count_since_last_iteration();
        let value = value_of(step.value_iterated_to().min(histogram.max()));
        let quantile = step.quantile_iterated_to();
        write!(out, "{value:12.3} {quantile:14.12} {total:10}")?;
        if quantile < 1.0 {
            write!(out, " {:14.2}", 1.0 / (1.0 - quantile))?;
        }
        writeln!(out)?;
    }
    let (mean, deviation) = (histogram.mean(), histogram.stdev());
    writeln!(
        out,
        "#[Mean    = {:12.3}, StdDeviation   = {:12.3}]",
        mean / DISTRIBUTION_UNIT_NS,
        deviation / DISTRIBUTION_UNIT_NS
    )?;
    writeln!(
        out,
        "#[Max     = {:12.3}, Total count    = {:12}]",
        value_of(histogram.max()),
        histogram.len()
    )?;
    // With three digits a bucket has 2048 steps, and each bucket doubles the range.
    let steps = (2 * 10u64.pow(u32::from(histogram.sigfig()))).next_power_of_two();
    let buckets = (histogram.high() / steps)
        .checked_ilog2()
        .map_or(1, |log| log + 2);
    writeln!(
        out,
        "#[Buckets = {buckets:12}, SubBuckets     = {steps:12}]"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distribution_has_its_three_last_lines() {
        let mut histogram = empty().expect("constant bounds");
        for micros in 1..=1_000 {
            add(&mut histogram, Duration::from_micros(micros), 1);
        }
        let mut text = Vec::new();
        write_distribution(&mut text, &histogram).expect("memory takes it");
        let text = String::from_utf8(text).expect("ASCII");
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].contains("1/(1-Percentile)"), "{text}");
        assert_eq!(lines[1], "");
        let last: Vec<&str> = lines[lines.len() - 4].split_whitespace().collect();
        assert_eq!(last[1..], ["1.000000000000", "1000"], "{text}");
        let names = ["#[Mean", "#[Max", "#[Buckets"];
        for (line, name) in lines[lines.len() - 3..].iter().zip(names) {
            assert!(line.starts_with(name) && line.ends_with(']'), "{line}");
        }
        let median = lines
            .iter()
            .find(|line| line.contains(" 0.500000000000 "))
            .expect("the median");
        assert!(median.trim().starts_with("500."), "{median}");
    }

    #[test]
    fn distributions_are_written_with_the_flush() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut recorder = Recorder::new(["a", "b"]).expect("constant bounds");
        let start = Timestamp::ZERO;
        recorder
            .log_into(folder.path(), "run", start)
            .expect("writable");
        recorder.record_n(1, Duration::from_millis(3), 7);
        let later = start + Duration::from_millis(500);
        recorder.write_now(later, true).expect("writable");
        let text = std::fs::read_to_string(folder.path().join("run-b.hgrm")).expect("written");
        assert!(text.contains("Total count    =            7]"), "{text}");
        assert!(!folder.path().join("run-a.hgrm").exists());
        assert_eq!(recorder.filled().count(), 1);
    }
}
