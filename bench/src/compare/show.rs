//! The comparison for people.

use anyhow::Result;

use crate::measured::Row;
use crate::report;

use super::plan::are_comparable;

/// Prints rows as JSON lines, or as tables with ratios below.
pub(super) fn show(rows: &[Row], json: bool) -> Result<()> {
    if json {
        return rows.iter().try_for_each(report::print_json);
    }
    report::print(&text(rows))
}

fn text(rows: &[Row]) -> String {
    let mut text = String::new();
    let mut workload = "";
    for row in rows {
        if row.subject.workload != workload {
            workload = &row.subject.workload;
            text += &format!("\n{}\n", heading(row));
        }
        text += &line(row);
    }
    text += "\nColumba beside the others (ratio of medians):\n";
    for row in rows.iter().filter(|row| !row.ratios.is_empty()) {
        let of = |other: &&Row| are_comparable(row, other) && other.subject.row != row.subject.row;
        for other in rows.iter().filter(of) {
            text += &ratio_line(row, other);
        }
    }
    text += "\nSettings:\n";
    let mut told: Vec<&str> = Vec::new();
    for row in rows.iter() {
        if !told.contains(&row.settings.as_str()) {
            told.push(&row.settings);
            text += &format!("  {}: {}\n", row.subject.row, row.settings);
        }
    }
    let noisy: Vec<&str> = rows
        .iter()
        .filter(|row| row.noisy)
        .map(|row| row.subject.row.as_str())
        .collect();
    if !noisy.is_empty() {
        text += &format!(
            "\nToo noisy to tell small differences, from runs far apart or stolen time: {}.\n",
            noisy.join(", ")
        );
    }
    text
}

fn heading(row: &Row) -> String {
    format!(
        "{} ({} files, {} a run)\n{:<19} {:>8} {:>10} {:>10} {:>21} {:>9} {:>8} {:>8} {:>9}",
        row.subject.workload,
        row.subject.files,
        report::megabytes(report::rate(row.subject.bytes, 1.0)),
        "row",
        "payload",
        "",
        "MB/s",
        "min to max",
        "CPU s/GB",
        "server",
        "client",
        "files/s"
    )
}

fn line(row: &Row) -> String {
    let subject = &row.subject;
    let files = if subject.files > 1 {
        format!("{:.0}", row.files_per_second)
    } else {
        String::new()
    };
    let limit = match subject.payload_limit {
        0 => "any".to_owned(),
        limit => limit.to_string(),
    };
    format!(
        "{:<19} {limit:>8} {:>10} {:>10.0} {:>21} {:>9.3} {:>8.3} {:>8.3} {files:>9}{}\n",
        subject.label(),
        if subject.encrypted {
            "encrypted"
        } else {
            "plaintext"
        },
        row.bytes_per_second / 1e6,
        format!("{:.0} to {:.0}", row.min / 1e6, row.max / 1e6),
        row.cpu_seconds_per_gb,
        row.server_cpu_seconds_per_gb,
        row.client_cpu_seconds_per_gb,
        if row.noisy { "  noisy" } else { "" }
    )
}

fn ratio_line(row: &Row, other: &Row) -> String {
    let unclear = if row.overlaps(other) {
        "  (unclear: their runs overlap)"
    } else {
        ""
    };
    let cpu = row.cpu_seconds_per_gb / other.cpu_seconds_per_gb.max(1e-9);
    format!(
        "  {} {}{} ≤{} {} ÷ {:<18} {:>7.2}, CPU per GB {cpu:.2}{unclear}\n",
        row.subject.row,
        row.subject.workload,
        match row.subject.sent_before {
            None => "",
            Some(false) => ", first",
            Some(true) => ", again",
        },
        row.subject.payload_limit,
        if row.subject.encrypted {
            "encrypted"
        } else {
            "plaintext"
        },
        other.subject.row,
        row.ratio_to(other)
    )
}
