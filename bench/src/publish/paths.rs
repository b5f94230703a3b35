//! Lossy paths: one flow on each, whole downloads, reordering, small files, flows that share.

use std::path::Path;

use anyhow::Result;
use serde_json::Value;

use super::collect::Collection;
use super::fields::{self, judged, loss, name, number, percentage, shown, text};
use super::plots;
use super::table::Table;

/// What makes two rows of `path` measure the same.
const IDENTITY: &[&str] = &[
    "part",
    "row",
    "over",
    "rate_mbit",
    "rtt_ms",
    "loss",
    "queue_bdp",
    "flows",
    "bytes",
    "files",
    "reorder_ms",
];

/// The newest rows of a part.
pub(super) fn rows<'c>(collection: &'c Collection, part: &str) -> Vec<&'c Value> {
    let mut rows = collection.newest_values("path", IDENTITY);
    rows.retain(|row| text(row, "part") == part);
    rows
}

/// All sections.
pub(super) fn sections(collection: &Collection, plots: &Path) -> Result<String> {
    let mut body = String::new();
    let matrix = rows(collection, "matrix");
    if !matrix.is_empty() {
        body += &one_flow(&matrix);
        let mut lasted = matrix.clone();
        lasted.retain(|row| text(row, "gave_up").is_empty());
        body += &plots::paths(&lasted, plots)?;
        body += &details(&matrix);
        body += &plots::queues(&lasted, plots)?;
    }
    body += &whole(&rows(collection, "whole"));
    body += &reordering(&rows(collection, "reorder"));
    body += &small_files(&rows(collection, "small-files"));
    body += &sharing(&rows(collection, "sharing"));
    if body.is_empty() {
        return Ok(body);
    }
    Ok(format!(
        "\n## Lossy paths\n\n`columba-bench path`: server and client a process each, a path of one rate, round trip, loss \
         (each way) and queue (1 BDP) between them, packet by packet. *Link*: whole IP packets between two network \
         namespaces; *relay*: UDP through a proxy. *Bound*: link rate × (1 − loss) × the payload's share of a 1500-byte \
         packet, 0.96; TCP has a larger share of its packets for payload, so it may have up to 1.006. Where a range stands beside \
         a figure, it is the middle of several runs, each with other losses.\n{body}"
    ))
}

/// Values of a number, each once, ascending.
fn distinct(rows: &[&Value], field: &str) -> Vec<f64> {
    let mut values: Vec<f64> = rows.iter().filter_map(|row| number(row, field)).collect();
    values.sort_by(f64::total_cmp);
    values.dedup();
    values
}

fn contender(row: &Value) -> String {
    format!("{} ({})", name(row), text(row, "over"))
}

/// A table for each path: who gets which share of the bound at which loss.
fn one_flow(rows: &[&Value]) -> String {
    let mut body = String::from("\n### One flow\n\nGoodput ÷ bound from the fifth second on.\n");
    for rate in distinct(rows, "rate_mbit") {
        for rtt in distinct(rows, "rtt_ms") {
            let here: Vec<&Value> = rows
                .iter()
                .copied()
                .filter(|row| {
                    number(row, "rate_mbit") == Some(rate) && number(row, "rtt_ms") == Some(rtt)
                })
                .collect();
            let Some(first) = here.first() else { continue };
            let losses = distinct(&here, "loss");
            let mut headings = vec![fields::path(first)];
            headings.extend(losses.iter().map(|loss| format!("{} %", loss * 100.0)));
            let headings: Vec<&str> = headings.iter().map(String::as_str).collect();
            let mut table = Table::new(&headings);
            let mut told: Vec<String> = Vec::new();
            for row in &here {
                let who = contender(row);
                if told.contains(&who) {
                    continue;
                }
                let cell = |loss: &f64| {
                    let found = here
                        .iter()
                        .find(|row| contender(row) == who && number(row, "loss") == Some(*loss));
                    found.map_or_else(String::new, |row| {
                        if text(row, "gave_up").is_empty() {
                            shown(row, "ratio", 3)
                        } else {
                            "gave up".to_owned()
                        }
                    })
                };
                let mut cells = vec![who.clone()];
                cells.extend(losses.iter().map(cell));
                table.row(cells);
                told.push(who);
            }
            body += &format!("\n{}", table.text());
        }
    }
    body += &given_up(rows);
    body
}

/// Why some ended before their time.
fn given_up(rows: &[&Value]) -> String {
    let mut body = String::new();
    for row in rows.iter().filter(|row| !text(row, "gave_up").is_empty()) {
        body += &format!(
            "\n{} at {}, {} loss: {}.\n",
            contender(row),
            fields::path(row),
            loss(row),
            text(row, "gave_up").trim_start_matches("error: ")
        );
    }
    body
}

/// What Columba did besides.
fn details(rows: &[&Value]) -> String {
    let mut table = Table::new(&[
        "Columba",
        "loss",
        "over",
        "Mbit/s",
        "÷ bound",
        "from the first packet on",
        "standing queue, ms",
        "dropped by the queue",
        "sent again",
        "needlessly",
    ]);
    for row in rows.iter().filter(|row| text(row, "row") == "columba") {
        let rtt = number(row, "rtt_ms").unwrap_or(0.0);
        table.row(vec![
            fields::path(row),
            loss(row),
            text(row, "over").to_owned(),
            shown(row, "goodput_mbit", 1),
            judged(row, "ratio", 3),
            shown(row, "whole_ratio", 3),
            fields::scaled(row, "standing_queue_bdp", rtt, 1),
            percentage(row, "queue_drop_rate", 2),
            percentage(row, "retransmit_rate", 1),
            percentage(row, "spurious_rate", 3),
        ]);
    }
    format!("\n{}", table.text())
}

fn whole(rows: &[&Value]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&[
        "path", "loss", "over", "MB", "s", "Mbit/s", "÷ bound", "wanted", "",
    ]);
    for row in rows {
        let verdict = match (number(row, "ratio"), number(row, "wanted")) {
            (Some(ratio), Some(wanted)) if ratio >= wanted => "met",
            (Some(_), Some(_)) => "**missed**",
            _ => "",
        };
        table.row(vec![
            fields::path(row),
            loss(row),
            text(row, "over").to_owned(),
            fields::scaled(row, "bytes", 1e-6, 0),
            shown(row, "seconds", 2),
            shown(row, "goodput_mbit", 1),
            judged(row, "ratio", 3),
            shown(row, "wanted", 2),
            verdict.to_owned(),
        ]);
    }
    format!(
        "\n### Whole downloads\n\nFrom the first SYN to the verified end (`--part whole`).\n\n{}",
        table.text()
    )
}

fn reordering(rows: &[&Value]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&[
        "row",
        "path",
        "late by, ms",
        "clean, Mbit/s",
        "Mbit/s",
        "of the clean rate",
    ]);
    for row in rows {
        table.row(vec![
            contender(row),
            fields::path(row),
            shown(row, "reorder_ms", 0),
            shown(row, "clean_mbit", 1),
            shown(row, "goodput_mbit", 1),
            // Where nothing came without reordering, there is nothing to compare with.
            match number(row, "clean_mbit") {
                Some(clean) if clean < 0.01 => "–".to_owned(),
                Some(_) | None => percentage(row, "clean_share", 1),
            },
        ]);
    }
    format!(
        "\n### Reordering\n\nA tenth of all packets comes late, and so after others (`--part reorder`).\n\n{}",
        table.text()
    )
}

fn small_files(rows: &[&Value]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&[
        "path",
        "over",
        "files",
        "s",
        "files/s",
        "as one file, s",
        "of the bulk rate",
    ]);
    for row in rows {
        table.row(vec![
            fields::path(row),
            text(row, "over").to_owned(),
            shown(row, "files", 0),
            shown(row, "seconds", 2),
            shown(row, "files_per_second", 0),
            shown(row, "bulk_seconds", 2),
            percentage(row, "bulk_share", 1),
        ]);
    }
    format!(
        "\n### Small files on a path\n\nBeside one file of the same bytes (`--part small-files`).\n\n{}",
        table.text()
    )
}

fn sharing(rows: &[&Value]) -> String {
    let (beside, ours): (Vec<&Value>, Vec<&Value>) = rows
        .iter()
        .partition(|row| number(row, "cubic_share").is_some());
    let mut body = String::new();
    if !ours.is_empty() {
        let mut table = Table::new(&[
            "flows",
            "path",
            "loss",
            "over",
            "÷ bound, together",
            "Jain's index",
            "smallest to largest share",
            "the late one",
        ]);
        for row in ours {
            table.row(vec![
                shown(row, "flows", 0),
                fields::path(row),
                loss(row),
                text(row, "over").to_owned(),
                shown(row, "ratio", 3),
                shown(row, "jain", 3),
                format!(
                    "{} to {}",
                    shown(row, "least_share", 2),
                    shown(row, "largest_share", 2)
                ),
                late(row),
            ]);
        }
        body += &format!(
            "\n### Flows that share a path\n\nEach a client of its own (`--part sharing`), for half a minute; compared over the \
             last ten seconds. A share of 1 is an equal one. A late one comes after 8 s and has its share once it has four \
             fifths of it for a second.\n\n{}",
            table.text()
        );
    }
    if !beside.is_empty() {
        let mut table = Table::new(&["path", "queue, BDP", "together ÷ bound", "CUBIC kept"]);
        for row in beside {
            table.row(vec![
                fields::path(row),
                shown(row, "queue_bdp", 0),
                shown(row, "ratio", 3),
                percentage(row, "cubic_share", 0),
            ]);
        }
        body += &format!(
            "\n### Beside TCP CUBIC\n\nOne flow of Columba comes to one of the kernel's after five seconds (`--part sharing`).\n\n{}",
            table.text()
        );
    }
    body
}

fn late(row: &Value) -> String {
    let Some(share) = number(row, "late_share") else {
        return String::new();
    };
    number(row, "share_after_seconds").map_or_else(
        || format!("never; {share:.2} at the end"),
        |seconds| format!("after {seconds:.1} s; {share:.2} at the end"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_a_column_for_each_loss() {
        let row = |row: &str, loss: f64, ratio: f64| {
            serde_json::json!({
                "row": row, "over": "link", "rate_mbit": 100.0, "rtt_ms": 50.0, "loss": loss, "ratio": ratio
            })
        };
        let rows = [
            row("columba", 0.1, 0.5),
            row("columba", 0.0, 1.0),
            row("tcp-bbr", 0.1, 0.25),
        ];
        let text = one_flow(&rows.iter().collect::<Vec<_>>());
        for line in [
            "| 100 Mbit/s, 50 ms | 0 % | 10 % |",
            "| **columba** (link) | 1.000 | 0.500 |",
            "| tcp-bbr (link) |  | 0.250 |",
        ] {
            assert!(text.contains(line), "{text}");
        }
    }
}
