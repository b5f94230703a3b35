//! Rows of throughput: limits and peers, single workloads.

use std::path::Path;

use anyhow::Result;

use crate::compare::{are_comparable, is_ours};
use crate::measured::Row;
use crate::report::megabytes;

use super::collect::Collection;
use super::plots;
use super::small_files;
use super::table::Table;

/// All sections of these rows.
pub(super) fn sections(collection: &Collection, plots: &Path) -> Result<String> {
    let mut text = String::new();
    let compared = collection.measured("compare");
    if !compared.is_empty() {
        text += &comparison(&compared, plots)?;
    }
    let small = collection.measured("small-files");
    if !small.is_empty() {
        text += &small_files::section(&small, plots)?;
    }
    let bulk = collection.newest("bulk");
    if !bulk.is_empty() {
        text += &workloads(&bulk);
    }
    Ok(text)
}

fn comparison(rows: &[&Row], plots: &Path) -> Result<String> {
    let mut text = String::from(
        "\n## Loopback: limits, peers, Columba\n\n\
         One file into memory, server and client a process each, the same bytes from the same map, runs interleaved \
         (A B A B …). The limit rows do Columba's work per byte with no protocol at all; Columba and they hash every \
         byte with BLAKE3 at the receiver, the others drop what comes. CPU is user and system time of both ends.\n\n",
    );
    let mut table = Table::new(&[
        "row",
        "UDP payload",
        "",
        "MB/s",
        "min to max",
        "CPU s/GB",
        "server",
        "client",
        "runs",
    ]);
    for row in rows {
        table.row(vec![
            strong(row),
            limit(row),
            protection(row).to_owned(),
            format!("{:.0}", row.bytes_per_second / 1e6),
            format!("{:.0} to {:.0}{}", row.min / 1e6, row.max / 1e6, noisy(row)),
            format!("{:.2}", row.cpu_seconds_per_gb),
            format!("{:.2}", row.server_cpu_seconds_per_gb),
            format!("{:.2}", row.client_cpu_seconds_per_gb),
            row.runs.to_string(),
        ]);
    }
    text += &table.text();
    text += "\n† runs too far apart, or too much time stolen by the hypervisor, to tell small differences.\n";
    text += &plots::throughput(rows, plots)?;
    text += "\n### Ratios\n\n";
    text += &ratios(rows);
    text += "\n### Settings\n\n";
    text += &settings(rows);
    Ok(text)
}

/// Columba's medians by everybody else's.
fn ratios(rows: &[&Row]) -> String {
    let mut table = Table::new(&["row", "÷", "throughput", "CPU per GB", ""]);
    for row in rows.iter().filter(|row| is_ours(row)) {
        for other in rows.iter().filter(|other| are_comparable(row, other)) {
            let cpu = row.cpu_seconds_per_gb / other.cpu_seconds_per_gb.max(1e-9);
            table.row(vec![
                format!("{}: {}, {}", row.subject.row, limit(row), protection(row)),
                other.subject.row.clone(),
                format!("{:.2}", row.ratio_to(other)),
                format!("{cpu:.2}"),
                if row.overlaps(other) {
                    "unclear: runs overlap".to_owned()
                } else {
                    String::new()
                },
            ]);
        }
    }
    table.text()
}

pub(super) fn settings(rows: &[&Row]) -> String {
    let mut text = String::new();
    let mut told: Vec<&str> = Vec::new();
    for row in rows {
        if !told.contains(&row.settings.as_str()) {
            told.push(&row.settings);
            text += &format!("- `{}`: {}\n", row.subject.row, row.settings);
        }
    }
    text
}

fn workloads(rows: &[&Row]) -> String {
    let text = String::from(
        "\n## Single workloads\n\n`columba-bench bulk`, the newest run of each. `limit-write` is what the sink takes from one \
         thread that writes from memory and does nothing else.\n\n",
    );
    let mut table = Table::new(&[
        "row",
        "MB",
        "clients × files",
        "sink",
        "UDP payload",
        "",
        "MB/s",
        "min to max",
        "CPU s/GB",
        "packets sent again",
        "allocations per packet",
        "peak memory server, client",
    ]);
    for row in rows {
        let subject = &row.subject;
        table.row(vec![
            strong(row),
            format!("{:.0}", bytes_of(row) / 1e6),
            format!("{} × {}", subject.clients, subject.parallel),
            subject.sink.clone(),
            limit(row),
            protection(row).to_owned(),
            format!("{:.0}", row.bytes_per_second / 1e6),
            format!("{:.0} to {:.0}{}", row.min / 1e6, row.max / 1e6, noisy(row)),
            format!("{:.2}", row.cpu_seconds_per_gb),
            row.retransmitted_packets
                .zip(row.packets)
                .map_or_else(String::new, |(again, all)| {
                    format!("{:.3} %", crate::report::share(again, all) * 100.0)
                }),
            row.allocations_per_packet
                .map_or_else(String::new, |count| format!("{count:.4}")),
            if row.client_peak_bytes == 0 {
                String::new()
            } else {
                format!(
                    "{}, {}",
                    megabytes(crate::report::rate(row.server_peak_bytes, 1.0)),
                    megabytes(crate::report::rate(row.client_peak_bytes, 1.0))
                )
            },
        ]);
    }
    text + &table.text()
}

pub(super) fn bytes_of(row: &Row) -> f64 {
    crate::report::rate(row.subject.bytes, 1.0)
}

pub(super) fn files_of(row: &Row) -> f64 {
    crate::report::rate(row.subject.files.max(1), 1.0)
}

pub(super) fn strong(row: &Row) -> String {
    if row.subject.row == "columba" {
        "**columba**".to_owned()
    } else {
        row.subject.row.clone()
    }
}

/// `≤ 1472`, or what stands for no limit.
pub(super) fn limit(row: &Row) -> String {
    match (row.subject.payload_limit, row.subject.row.as_str()) {
        (0, "columba" | "limit-udp" | "limit-udp-aead" | "limit-udp-crc") => {
            "as large as it goes".to_owned()
        }
        (0, _) => "–".to_owned(),
        (limit, _) => format!("≤ {limit}"),
    }
}

/// Whether anybody could read it.
pub(super) fn protection(row: &Row) -> &'static str {
    if row.subject.encrypted {
        "encrypted"
    } else {
        "plaintext"
    }
}

pub(super) fn noisy(row: &Row) -> &'static str {
    if row.noisy { " †" } else { "" }
}
