//! Distributions of latencies that were kept as `.hgrm` files, as plots.

use std::path::Path;

use anyhow::{Context, Result};

use super::collect::Collection;
use crate::plot::{Series, save_series};

/// What follows a distribution's name in its file's.
const SUFFIX: &str = "-chat_latency.hgrm";
const TITLE: &str = "Chat: from the moment a message was due to each recipient";

/// A plot for each folder of distributions whose name begins like this.
pub(super) fn section(collection: &Collection, prefix: &str, plots: &Path) -> Result<String> {
    let mut body = String::new();
    for folder in &collection.folders {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        if !name.starts_with(prefix) {
            continue;
        }
        let series = series_in(folder)?;
        if series.is_empty() {
            continue;
        }
        let file = format!("latency-{name}.svg");
        save_series(TITLE, &name, series, &plots.join(&file))?;
        body += &format!("\n![latency by percentile: {name}](plots/{file})\n");
    }
    Ok(body)
}

fn series_in(folder: &Path) -> Result<Vec<Series>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        files.push(entry?.path());
    }
    files.sort();
    let mut series = Vec::new();
    for file in files {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let Some(name) = name.strip_suffix(SUFFIX) else {
            continue;
        };
        let text = std::fs::read_to_string(&file)
            .with_context(|| format!("cannot read {}", file.display()))?;
        series.push(Series::new(name, points(&text)));
    }
    Ok(series)
}

/// 1 in how many values is larger, and nanoseconds, from the lines `Value Percentile TotalCount 1/(1-Percentile)`, values
/// in microseconds. The last one has no such number: it is the largest of all.
fn points(text: &str) -> Vec<(f64, f64)> {
    let mut points: Vec<(f64, f64)> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let numbers: Vec<f64> = line
            .split_whitespace()
            .filter_map(|word| word.parse().ok())
            .collect();
        match numbers.as_slice() {
            [micros, _, _, one_in] => points.push((*one_in, micros * 1e3)),
            [micros, _, total] => {
                let last = points.last().map_or(1.0, |(one_in, _)| *one_in);
                points.push((total.max(last), micros * 1e3));
            }
            _ => {}
        }
    }
    // The last steps stand for less than one value.
    let total = points.last().map_or(1.0, |(one_in, _)| *one_in);
    points.retain(|(one_in, _)| *one_in <= total);
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distribution_is_read() {
        let text = "Value     Percentile TotalCount 1/(1-Percentile)\n\n  1.5 0.0 1 1.00\n  2.0 0.5 5 2.00\n  9.0 1.0 10\n\
                    #[Mean    = 2.0, StdDeviation   = 1.0]\n";
        assert_eq!(points(text), [(1.0, 1500.0), (2.0, 2000.0), (10.0, 9000.0)]);
    }
}
