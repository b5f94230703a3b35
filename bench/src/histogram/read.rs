//! Interval logs (`.hlog`), ours and those of other HdrHistogram tools.

use std::path::Path;

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;

/// One line of a log.
#[derive(Debug, Clone)]
pub(crate) struct Interval {
    /// Empty when it has none.
    pub(crate) tag: String,
    /// Seconds since 1970, when the log says when it began; since then otherwise.
    pub(crate) start_s: f64,
    pub(crate) length_s: f64,
    pub(crate) histogram: Histogram<u64>,
}

impl Interval {
    pub(crate) fn end_s(&self) -> f64 {
        self.start_s + self.length_s
    }
}

/// A start later than this is one since 1970, whatever the log says it counts from: a year.
const SURELY_ABSOLUTE_S: f64 = 31_536_000.0;

/// Reads a log, interval by interval.
///
/// # Errors
/// The file cannot be read, or a line is none of a log's; it is named.
pub(crate) fn read(path: &Path) -> Result<Vec<Interval>> {
    let context = || format!("cannot read {}", path.display());
    let text = std::fs::read_to_string(path).with_context(context)?;
    parse(&text).with_context(context)
}

fn parse(text: &str) -> Result<Vec<Interval>> {
    let mut deserializer = Deserializer::new();
    let mut intervals = Vec::new();
    let (mut start_time, mut base_time) = (None, None);
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if let Some(comment) = line.strip_prefix('#') {
            start_time = time_of(comment, "[StartTime:").or(start_time);
            base_time = time_of(comment, "[BaseTime:").or(base_time);
            continue;
        }
        // The names of the columns stand in quotes.
        if line.is_empty() || line.starts_with('"') {
            continue;
        }
        let interval = interval(line, &mut deserializer);
        let mut interval = interval.with_context(|| format!("line {}", index + 1))?;
        if interval.start_s < SURELY_ABSOLUTE_S {
            interval.start_s += base_time.or(start_time).unwrap_or(0.0);
        }
        intervals.push(interval);
    }
    Ok(intervals)
}

fn time_of(comment: &str, name: &str) -> Option<f64> {
    let rest = comment.trim_start().strip_prefix(name)?;
    rest.split_whitespace().next()?.parse().ok()
}

fn interval(line: &str, deserializer: &mut Deserializer) -> Result<Interval> {
    let (tag, rest) = match line.strip_prefix("Tag=") {
        Some(tagged) => tagged.split_once(',').context("nothing follows the tag")?,
        None => ("", line),
    };
    let fields: Vec<&str> = rest.split(',').collect();
    let [start, length, _max, encoded] = fields[..] else {
        bail!(
            "{} fields instead of start, length, maximum and histogram",
            fields.len()
        );
    };
    let number = |what: &str, field: &str| {
        let number: Option<f64> = field.trim().parse().ok();
        number.with_context(|| format!("the {what} {field:?} is no number"))
    };
    let decoded = base64::engine::general_purpose::STANDARD.decode(encoded.trim());
    let decoded = decoded.context("the histogram is not in base64")?;
    let histogram = deserializer.deserialize(&mut decoded.as_slice());
    Ok(Interval {
        tag: tag.to_owned(),
        start_s: number("start", start)?,
        length_s: number("length", length)?,
        histogram: histogram.context("the histogram cannot be decoded")?,
    })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use columba_server::hlog;

    use super::*;

    fn log() -> String {
        let mut histogram = hlog::empty().unwrap();
        hlog::add(&mut histogram, Duration::from_micros(5), 3);
        let (start, length) = (Duration::from_secs(2), Duration::from_secs(1));
        let mut out = Vec::new();
        let epoch: SystemTime = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        hlog::write_header(&mut out, epoch).unwrap();
        hlog::write_interval(&mut out, "a", &histogram, start, length).unwrap();
        hlog::write_interval(&mut out, "", &histogram, start, length).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_is_written_is_read() {
        let intervals = parse(&log()).unwrap();
        assert_eq!(intervals.len(), 2);
        assert_eq!(
            (intervals[0].tag.as_str(), intervals[0].histogram.len()),
            ("a", 3)
        );
        assert_eq!(intervals[0].start_s, 1_700_000_002.0);
        assert_eq!(intervals[0].end_s(), 1_700_000_003.0);
        assert_eq!(intervals[1].tag, "");
    }

    #[test]
    fn a_broken_line_is_named() {
        for broken in ["1,2,3", "x,1,2,AAAA", "1,1,1,AAAA", "1,1,1,*", "Tag=a"] {
            let error = parse(&format!("{}{broken}\n", log())).unwrap_err();
            assert!(error.to_string().contains("line 7"), "{broken}: {error:#}");
        }
    }
}
