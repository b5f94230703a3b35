//! The report's plots, as SVG beside it.

use std::path::Path;

use anyhow::Result;
use serde_json::Value;

use crate::measured::Row;
use crate::plot::{Axis, Bar, BarChart, BarGroup, LineChart, Series, bytes, percent};

use super::fields;
use super::throughput::{limit, protection};

/// The link to a plot, in Markdown.
fn link(title: &str, file: &str) -> String {
    format!("\n![{title}](plots/{file})\n")
}

/// Bars of bytes per second and of CPU time, one figure for each.
pub(super) fn throughput(rows: &[&Row], folder: &Path) -> Result<String> {
    let name = |row: &Row| match row.subject.payload_limit {
        0 if row.subject.row != "columba" => row.subject.row.clone(),
        _ => format!("{} {}, {}", row.subject.row, limit(row), protection(row)),
    };
    let group = |row: &&Row, bar: Bar| BarGroup {
        name: name(row),
        bars: vec![Some(bar)],
    };
    let speed = BarChart {
        title: "Bytes per second over loopback, into memory".to_owned(),
        note: "medians; lines from the slowest to the fastest run".to_owned(),
        values: Axis::linear("bytes per second").format(bytes),
        series: vec!["bytes per second".to_owned()],
        groups: rows
            .iter()
            .map(|row| {
                let bar = Bar {
                    value: row.bytes_per_second,
                    spread: Some((row.min, row.max)),
                };
                group(row, bar)
            })
            .collect(),
    };
    speed.save(&folder.join("throughput.svg"))?;
    let cpu = BarChart {
        title: "CPU seconds per GB, server and client".to_owned(),
        note: "user and system time, medians".to_owned(),
        values: Axis::linear("CPU seconds per GB"),
        series: vec!["server".to_owned(), "client".to_owned()],
        groups: rows
            .iter()
            .filter(|row| row.subject.row != "tokio-kcp")
            .map(|row| {
                let bar = |value| {
                    Some(Bar {
                        value,
                        spread: None,
                    })
                };
                BarGroup {
                    name: name(row),
                    bars: vec![
                        bar(row.server_cpu_seconds_per_gb),
                        bar(row.client_cpu_seconds_per_gb),
                    ],
                }
            })
            .collect(),
    };
    cpu.save(&folder.join("cpu.svg"))?;
    Ok(link("bytes per second", "throughput.svg") + &link("CPU seconds per GB", "cpu.svg"))
}

/// Bars of files per second.
pub(super) fn small_files(rows: &[&Row], folder: &Path) -> Result<String> {
    let chart = BarChart {
        title: "Small files per second".to_owned(),
        note: "one after the other where there is one stream per file; medians".to_owned(),
        values: Axis::linear("files per second"),
        series: vec!["files per second".to_owned()],
        groups: rows
            .iter()
            .map(|row| BarGroup {
                name: row.subject.label(),
                bars: vec![Some(Bar {
                    value: row.files_per_second,
                    spread: None,
                })],
            })
            .collect(),
    };
    chart.save(&folder.join("small-files.svg"))?;
    Ok(link("files per second", "small-files.svg"))
}

/// Share of the erasure bound over loss, one chart for each path.
pub(super) fn paths(rows: &[&Value], folder: &Path) -> Result<String> {
    let number = |row: &Value, field: &str| fields::number(row, field).unwrap_or(0.0);
    let path_of = |row: &Value| (number(row, "rate_mbit"), number(row, "rtt_ms"));
    let mut seen: Vec<(f64, f64)> = Vec::new();
    let mut text = String::new();
    for path in rows.iter().map(|row| path_of(row)) {
        if seen.contains(&path) {
            continue;
        }
        seen.push(path);
        let mut series: Vec<Series> = Vec::new();
        for row in rows.iter().filter(|row| path_of(row) == path) {
            let who = fields::text(row, "row");
            let also_by_link = |other: &&Value| {
                fields::text(other, "row") == who
                    && fields::text(other, "over") == "link"
                    && path_of(other) == path
            };
            // The table has both; a line for each would hide the others.
            if fields::text(row, "over") == "relay" && rows.iter().any(also_by_link) {
                continue;
            }
            let name = format!("{who} ({})", fields::text(row, "over"));
            let point = (number(row, "loss"), number(row, "ratio"));
            match series.iter_mut().find(|series| series.name == name) {
                Some(series) => series.points.push(point),
                None => series.push(Series::new(name, vec![point])),
            }
        }
        for series in &mut series {
            series.points.sort_by(|a, b| a.0.total_cmp(&b.0));
        }
        let (rate, rtt) = path;
        let title = format!("Goodput ÷ erasure bound, {rate} Mbit/s, {rtt} ms");
        let file = format!("path-{rate}mbit-{rtt}ms.svg");
        let chart = LineChart {
            title: title.clone(),
            note: String::new(),
            x: Axis::linear("loss").format(percent),
            y: Axis::linear("goodput ÷ bound").bounds(0.0, 1.05),
            series,
        };
        chart.save(&folder.join(&file))?;
        text += &link(&title, &file);
    }
    Ok(text)
}

/// What stands in the queue while nothing is lost: the delay that a flow adds for everybody.
pub(super) fn queues(rows: &[&Value], folder: &Path) -> Result<String> {
    let clean: Vec<&&Value> = rows
        .iter()
        .filter(|row| fields::number(row, "loss") == Some(0.0))
        .collect();
    let mut paths: Vec<String> = Vec::new();
    let mut groups: Vec<BarGroup> = Vec::new();
    for row in &clean {
        let path = fields::path(row);
        if !paths.contains(&path) {
            paths.push(path);
        }
    }
    for row in &clean {
        let name = format!(
            "{} ({})",
            fields::text(row, "row"),
            fields::text(row, "over")
        );
        let at = paths.iter().position(|path| *path == fields::path(row));
        let delay = fields::number(row, "standing_queue_bdp").zip(fields::number(row, "rtt_ms"));
        let (Some(at), Some((queue, rtt))) = (at, delay) else {
            continue;
        };
        let index = groups.iter().position(|group| group.name == name);
        let index = index.unwrap_or_else(|| {
            groups.push(BarGroup {
                name,
                bars: paths.iter().map(|_| None).collect(),
            });
            groups.len() - 1
        });
        groups[index].bars[at] = Some(Bar {
            value: queue * rtt,
            spread: None,
        });
    }
    if groups.is_empty() {
        return Ok(String::new());
    }
    let chart = BarChart {
        title: "Delay that one flow adds for everybody, no loss".to_owned(),
        note: "mean waiting time in a queue of 1 BDP, from the fifth second on".to_owned(),
        values: Axis::linear("milliseconds"),
        series: paths,
        groups,
    };
    chart.save(&folder.join("path-delay.svg"))?;
    Ok(link("delay that a flow adds", "path-delay.svg"))
}
