//! Latencies by percentile, the higher ones drawn ever wider, as HdrHistogram's own plots have it.

use std::path::Path;

use anyhow::Result;
use hdrhistogram::Histogram;

use super::axis::{Axis, nanoseconds};
use super::line::{LineChart, Series};

/// Steps per halving of the distance to 100 %.
const TICKS_PER_HALF_DISTANCE: u32 = 8;

/// One line: values in nanoseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Distribution<'h> {
    pub(crate) name: &'h str,
    pub(crate) nanos: &'h Histogram<u64>,
}

/// Distributions of latencies in one picture.
#[derive(Debug, Clone)]
pub(crate) struct PercentileChart<'h> {
    pub(crate) title: String,
    /// A line below the title, may be empty.
    pub(crate) note: String,
    pub(crate) distributions: Vec<Distribution<'h>>,
}

impl PercentileChart<'_> {
    /// Draws it into a file, whose name ends in `.svg` or `.png`.
    ///
    /// # Errors
    /// The name ends otherwise, or the file cannot be written.
    pub(crate) fn save(&self, path: &Path) -> Result<()> {
        let series = self.distributions.iter().map(series_of).collect();
        save_series(&self.title, &self.note, series, path)
    }
}

/// Draws lines that are given as points: 1 in how many values is larger, nanoseconds.
///
/// # Errors
/// The name ends otherwise, or the file cannot be written.
pub(crate) fn save_series(title: &str, note: &str, series: Vec<Series>, path: &Path) -> Result<()> {
    let far = series.iter().flat_map(|series| &series.points);
    let far = far.map(|point| point.0).fold(100.0, f64::max);
    let mut ticks = vec![1.0, 2.0];
    let mut decade = 10.0;
    while decade <= far * 1.01 {
        ticks.push(decade);
        decade *= 10.0;
    }
    let chart = LineChart {
        title: title.to_owned(),
        note: note.to_owned(),
        x: Axis::log("percentile")
            .bounds(1.0, far)
            .ticks(&ticks)
            .format(percentile),
        y: Axis::log("latency").format(nanoseconds),
        series,
    };
    chart.save(path)
}

/// The x coordinate is 1 in how many values are larger.
fn series_of(distribution: &Distribution<'_>) -> Series {
    let mut points = Vec::new();
    let Distribution { name, nanos } = distribution;
    #[expect(clippy::cast_precision_loss, reason = "a picture")]
    let count = nanos.len().max(1) as f64;
    for step in nanos.iter_quantiles(TICKS_PER_HALF_DISTANCE) {
        #[expect(clippy::cast_precision_loss, reason = "a picture")]
        let value = step.value_iterated_to() as f64;
        // Beyond the last value there is nothing to know.
        let one_in = (1.0 / (1.0 - step.quantile_iterated_to()).max(1e-12)).min(count);
        points.push((one_in, value.max(1.0)));
    }
    Series::new(*name, points)
}

/// `99.9 %` for 1 in 1000.
fn percentile(one_in: f64) -> String {
    let share = 1.0 - 1.0 / one_in;
    // As many digits as there are nines beyond 99.
    let digits = (3..).take_while(|nines| 10f64.powi(*nines) <= one_in * 1.01);
    let digits = digits.take(9).count();
    format!("{:.digits$} %", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_written_with_the_digits_they_need() {
        let shown = [1.0, 2.0, 10.0, 100.0, 1e3, 1e4, 1e5].map(percentile);
        assert_eq!(
            shown,
            [
                "0 %", "50 %", "90 %", "99 %", "99.9 %", "99.99 %", "99.999 %"
            ]
        );
    }

    #[test]
    fn the_line_ends_with_the_last_value() {
        let mut nanos = Histogram::<u64>::new(3).unwrap();
        for value in 1..=1000u64 {
            nanos.record(value * 1000).unwrap();
        }
        let series = series_of(&Distribution {
            name: "a",
            nanos: &nanos,
        });
        let last = series.points.last().unwrap();
        assert_eq!(last.0, 1000.0);
        assert!((last.1 - 1e6).abs() < 1e3);
        let folder = tempfile::tempdir().unwrap();
        let chart = PercentileChart {
            title: "t".to_owned(),
            note: String::new(),
            distributions: vec![Distribution {
                name: "a",
                nanos: &nanos,
            }],
        };
        let path = folder.path().join("p.svg");
        chart.save(&path).unwrap();
        let svg = std::fs::read_to_string(path).unwrap();
        assert!(svg.contains("99.9 %") && svg.contains("1 ms"), "{svg}");
    }
}
