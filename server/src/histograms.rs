//! The server's latency histograms: kept for reports, and written when asked for.

use std::io;
use std::path::Path;
use std::time::Duration;

use columba_core::units::Timestamp;
use hdrhistogram::Histogram;

use crate::hlog::Recorder;

/// What is measured. All values are nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One turn of the loop, without the waiting.
    LoopTurn,
    /// A message, from when its last byte came to this system to the moment when it had been written to everybody's
    /// socket. Where the system does not tell, and for a message that came together with a later one, from the earliest
    /// moment that the poll leaves possible.
    FanOut,
    /// Round trips of packets.
    PacketRtt,
    /// Handling the datagrams of one batch, which are acknowledgements nearly always.
    AckProcessing,
    /// From a Start frame to the first packet of that file, for the first who waits for it.
    FirstByte,
    /// From a Start frame to the client's confirmation.
    Download,
}

/// All kinds with their tags, in the order of [`Kind`].
const KINDS: [(Kind, &str); 6] = [
    (Kind::LoopTurn, "loop_turn"),
    (Kind::FanOut, "chat_fan_out"),
    (Kind::PacketRtt, "packet_rtt"),
    (Kind::AckProcessing, "ack_processing"),
    (Kind::FirstByte, "first_byte"),
    (Kind::Download, "download"),
];

/// The file's name, without its extension.
const LOG_NAME: &str = "server";

/// All histograms.
#[derive(Debug)]
pub struct Histograms {
    recorder: Recorder,
}

/// The percentiles of one kind for reports, in microseconds.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Summary {
    /// Values.
    pub count: u64,
    /// Median.
    pub p50: f64,
    /// 75th percentile.
    pub p75: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 99th percentile.
    pub p99: f64,
    /// 99.9th percentile.
    pub p999: f64,
    /// 99.99th percentile.
    pub p9999: f64,
    /// Largest.
    pub max: f64,
}

impl Histograms {
    /// Histograms that are kept only.
    ///
    /// # Errors
    /// Never in practice: the bounds are constants.
    pub fn new() -> io::Result<Self> {
        let recorder = Recorder::new(KINDS.map(|(_, tag)| tag))?;
        Ok(Self { recorder })
    }

    /// Writes `server.hlog` in `folder` from now on.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn log_into(&mut self, folder: &Path, now: Timestamp) -> io::Result<()> {
        self.recorder.log_into(folder, LOG_NAME, now)
    }

    /// Adds a value.
    pub fn record(&mut self, kind: Kind, value: Duration) {
        self.recorder.record(kind as usize, value);
    }

    /// When [`write_due`](Self::write_due) has something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.recorder.next_deadline()
    }

    /// Writes the interval if it is over.
    pub fn write_due(&mut self, now: Timestamp) {
        report(self.recorder.write_due(now));
    }

    /// Writes the interval so far; `flush` has everything reach the files.
    pub fn write_now(&mut self, now: Timestamp, flush: bool) {
        report(self.recorder.write_now(now, flush));
    }

    /// The percentiles of every kind that has values, by tag.
    #[must_use]
    pub fn summaries(&self) -> Vec<(&'static str, Summary)> {
        let filled = self.recorder.filled();
        filled
            .map(|(tag, histogram)| (tag, Summary::of(histogram)))
            .collect()
    }
}

fn report(written: io::Result<()>) {
    if let Err(error) = written {
        tracing::error!(%error, "the histograms cannot be written any more");
    }
}

impl Summary {
    fn of(histogram: &Histogram<u64>) -> Self {
        let micros = |nanos: u64| Duration::from_nanos(nanos).as_secs_f64() * 1e6;
        let at = |quantile| micros(histogram.value_at_quantile(quantile));
        Self {
            count: histogram.len(),
            p50: at(0.5),
            p75: at(0.75),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            p9999: at(0.9999),
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
