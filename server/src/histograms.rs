//! Latency histograms: kept for reports, and written as `.hlog` once a second and tag when asked for.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use columba_core::units::Timestamp;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

/// What is measured. All values are nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One turn of the loop, without the waiting.
    LoopTurn,
    /// From reading a message to its last frame being queued.
    FanOut,
    /// Round trips of packets.
    PacketRtt,
    /// Handling one batch of received datagrams.
    UdpBatch,
    /// From a Start frame to the first packet of that file.
    FirstByte,
    /// From a Start frame to the client's confirmation.
    Download,
}

/// All kinds with their tags.
const KINDS: [(Kind, &str); 6] = [
    (Kind::LoopTurn, "loop_turn"),
    (Kind::FanOut, "chat_fan_out"),
    (Kind::PacketRtt, "packet_rtt"),
    (Kind::UdpBatch, "udp_batch"),
    (Kind::FirstByte, "first_byte"),
    (Kind::Download, "download"),
];

/// The largest value kept: one hour.
const MAX_NS: u64 = 3_600_000_000_000;

/// How often an interval is written.
const INTERVAL: Duration = Duration::from_secs(1);

/// One kind: since the start, and since the last interval was written.
#[derive(Debug)]
struct Series {
    total: Histogram<u64>,
    interval: Histogram<u64>,
}

/// All histograms.
pub struct Histograms {
    series: Vec<Series>,
    log: Option<Log>,
}

struct Log {
    file: BufWriter<File>,
    started: Timestamp,
    interval_began: Timestamp,
}

impl std::fmt::Debug for Histograms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Histograms")
            .field("log", &self.log.is_some())
            .finish_non_exhaustive()
    }
}

/// The percentiles of one kind for reports, in microseconds.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Summary {
    /// Values.
    pub count: u64,
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 99th percentile.
    pub p99: f64,
    /// 99.9th percentile.
    pub p999: f64,
    /// Largest.
    pub max: f64,
}

impl Histograms {
    /// Histograms that are kept only.
    ///
    /// # Errors
    /// Never in practice: the bounds are constants.
    pub fn new() -> io::Result<Self> {
        let empty = || {
            Histogram::new_with_bounds(1, MAX_NS, 3)
                .map_err(|error| io::Error::other(error.to_string()))
        };
        let series = KINDS.iter().map(|_| {
            Ok(Series {
                total: empty()?,
                interval: empty()?,
            })
        });
        Ok(Self {
            series: series.collect::<io::Result<_>>()?,
            log: None,
        })
    }

    /// Writes `server.hlog` in `folder` from now on.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn log_into(&mut self, folder: &Path, now: Timestamp) -> io::Result<()> {
        std::fs::create_dir_all(folder)?;
        let mut file = BufWriter::new(File::create(folder.join("server.hlog"))?);
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        writeln!(file, "#[Histogram log format version 1.3]")?;
        writeln!(
            file,
            "#[StartTime: {}.{:03} (seconds since epoch)]",
            since.as_secs(),
            since.subsec_millis()
        )?;
        writeln!(
            file,
            "#[BaseTime: {}.{:03} (seconds since epoch)]",
            since.as_secs(),
            since.subsec_millis()
        )?;
        writeln!(
            file,
            "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\""
        )?;
        self.log = Some(Log {
            file,
            started: now,
            interval_began: now,
        });
        Ok(())
    }

    /// Adds a value.
    pub fn record(&mut self, kind: Kind, value: Duration) {
        let nanos = u64::try_from(value.as_nanos())
            .unwrap_or(MAX_NS)
            .clamp(1, MAX_NS);
        if let Some(series) = self.series.get_mut(kind as usize) {
            series.total.saturating_record(nanos);
            if self.log.is_some() {
                series.interval.saturating_record(nanos);
            }
        }
    }

    /// When [`write_due`](Self::write_due) has something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.log.as_ref().map(|log| log.interval_began + INTERVAL)
    }

    /// Writes the interval if it is over.
    pub fn write_due(&mut self, now: Timestamp) {
        if self.next_deadline().is_some_and(|deadline| deadline <= now) {
            self.write_now(now, false);
        }
    }

    /// Writes the interval so far; `flush` has everything reach the file.
    pub fn write_now(&mut self, now: Timestamp, flush: bool) {
        if let Err(error) = self.try_write(now, flush) {
            tracing::error!(%error, "the histograms cannot be written any more");
            self.log = None;
        }
    }

    fn try_write(&mut self, now: Timestamp, flush: bool) -> io::Result<()> {
        let Some(log) = &mut self.log else {
            return Ok(());
        };
        let start = log.interval_began - log.started;
        let length = now - log.interval_began;
        let mut serializer = V2DeflateSerializer::new();
        let mut text = Vec::new();
        let builder = IntervalLogWriterBuilder::new();
        let mut writer = builder.begin_log_with(&mut text, &mut serializer)?;
        for (series, (_, tag)) in self.series.iter_mut().zip(KINDS) {
            if series.interval.is_empty() {
                continue;
            }
            writer
                .write_histogram(&series.interval, start, length, Tag::new(tag))
                .map_err(|error| io::Error::other(format!("{error:?}")))?;
            series.interval.reset();
        }
        log.file.write_all(&text)?;
        log.interval_began = now;
        if flush {
            log.file.flush()?;
        }
        Ok(())
    }

    /// The percentiles of every kind that has values, by tag.
    #[must_use]
    pub fn summaries(&self) -> Vec<(&'static str, Summary)> {
        let filled = self
            .series
            .iter()
            .zip(KINDS)
            .filter(|(series, _)| !series.total.is_empty());
        filled
            .map(|(series, (_, tag))| (tag, Summary::of(&series.total)))
            .collect()
    }
}

impl Summary {
    fn of(histogram: &Histogram<u64>) -> Self {
        let micros = |nanos: u64| Duration::from_nanos(nanos).as_secs_f64() * 1e6;
        let at = |quantile| micros(histogram.value_at_quantile(quantile));
        Self {
            count: histogram.len(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: micros(histogram.max()),
        }
    }
}

#[cfg(test)]
mod tests {
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    use super::*;

    /// Reads the log back with the library's own reader: tag, start, length.
    fn intervals(log: &[u8]) -> Vec<(String, Duration, Duration)> {
        IntervalLogIterator::new(log)
            .filter_map(|entry| match entry.expect("a well-formed log") {
                LogEntry::Interval(interval) => {
                    let tag = interval
                        .tag()
                        .map(|tag| tag.as_str().to_owned())
                        .unwrap_or_default();
                    Some((tag, interval.start_timestamp(), interval.duration()))
                }
                LogEntry::StartTime(_) | LogEntry::BaseTime(_) => None,
            })
            .collect()
    }

    #[test]
    fn intervals_are_written_per_tag() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut histograms = Histograms::new().expect("constant bounds");
        let start = Timestamp::from_nanos(5_000_000_000);
        histograms.log_into(folder.path(), start).expect("writable");
        for micros in 1..=1_000 {
            histograms.record(Kind::LoopTurn, Duration::from_micros(micros));
        }
        histograms.record(Kind::Download, Duration::from_secs(2));
        histograms.write_due(start + Duration::from_millis(999));
        histograms.write_due(start + Duration::from_secs(1));
        histograms.record(Kind::LoopTurn, Duration::from_micros(7));
        histograms.write_now(start + Duration::from_millis(1_500), true);
        let log = std::fs::read(folder.path().join("server.hlog")).expect("it was written");
        assert!(log.starts_with(b"#[Histogram log format version 1.3]\n"));
        let seen = intervals(&log);
        let second = Duration::from_secs(1);
        assert_eq!(
            seen,
            [
                ("loop_turn".to_owned(), Duration::ZERO, second),
                ("download".to_owned(), Duration::ZERO, second),
                ("loop_turn".to_owned(), second, Duration::from_millis(500)),
            ]
        );
    }

    #[test]
    fn summaries_are_microseconds_since_the_start() {
        let mut histograms = Histograms::new().expect("constant bounds");
        for micros in 1..=1_000 {
            histograms.record(Kind::FanOut, Duration::from_micros(micros));
        }
        let summaries = histograms.summaries();
        assert_eq!(summaries.len(), 1);
        let (tag, summary) = summaries[0];
        assert_eq!((tag, summary.count), ("chat_fan_out", 1_000));
        assert!(
            (summary.p50 - 500.0).abs() < 1.0 && (summary.p99 - 990.0).abs() < 2.0,
            "{summary:?}"
        );
    }
}
