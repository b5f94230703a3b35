//! Chat, idle members, many downloads: rows about people rather than bytes.

use std::path::Path;

use anyhow::Result;
use serde_json::Value;

use super::collect::{Collection, Group};
use super::fields::{name, number, protection, scaled, shown, text};
use super::latency;
use super::table::Table;

/// From microseconds to milliseconds.
const MILLIS: f64 = 1e-3;

/// All sections.
pub(super) fn sections(collection: &Collection, plots: &Path) -> Result<String> {
    let mut body = chat(collection);
    body += &latency::section(collection, "chat", plots)?;
    body += &mixed(collection);
    body += &latency::section(collection, "mixed", plots)?;
    body += &idle(collection);
    body += &many(collection);
    Ok(body)
}

fn chat(collection: &Collection) -> String {
    let identity = [
        "row",
        "tls",
        "subscribers",
        "rate",
        "size",
        "one_at_a_time",
        "p99_bound_us",
    ];
    let rows = collection.newest_values("chat", &identity);
    let (found, played): (Vec<&Value>, Vec<&Value>) = rows
        .iter()
        .partition(|row| number(row, "p99_bound_us").is_some());
    let mut body = String::new();
    if !played.is_empty() {
        body += &latencies(&played);
    }
    if !found.is_empty() {
        body += &format!(
            "\nThe highest rate whose 99th percentile stays below a bound (`--find`):\n\n{}",
            highest_rates(&found)
        );
    }
    if body.is_empty() {
        return body;
    }
    format!(
        "\n## Chat\n\n`columba-bench chat`: messages are due at fixed times (open loop) and go to everybody; each recipient's \
         latency counts from the time a message was due. One more subscriber hardly ever reads. Messages of 100 bytes, one \
         thread that drives all of it.\n\n{body}"
    )
}

/// At one rate.
fn latencies(played: &[&Value]) -> String {
    let mut table = Table::new(&[
        "service",
        "",
        "messages/s × subscribers",
        "",
        "p50, ms",
        "p99, ms",
        "p99.9, ms",
        "max, ms",
        "last recipient p50, p99, ms",
        "delivered",
    ]);
    for row in played {
        let held = row.get("one_at_a_time").and_then(Value::as_bool) == Some(true);
        table.row(vec![
            name(row),
            protection(row),
            format!(
                "{} × {}",
                shown(row, "rate", 0),
                shown(row, "subscribers", 0)
            ),
            if held { "one at a time" } else { "" }.to_owned(),
            scaled(row, "latency_us.p50", MILLIS, 2),
            scaled(row, "latency_us.p99", MILLIS, 2),
            scaled(row, "latency_us.p999", MILLIS, 2),
            scaled(row, "latency_us.max", MILLIS, 2),
            format!(
                "{}, {}",
                scaled(row, "last_recipient_us.p50", MILLIS, 2),
                scaled(row, "last_recipient_us.p99", MILLIS, 2)
            ),
            delivered(row),
        ]);
    }
    table.text()
}

/// What was found.
fn highest_rates(found: &[&Value]) -> String {
    let mut table = Table::new(&[
        "service",
        "",
        "subscribers",
        "p99 at most, ms",
        "messages/s",
        "deliveries/s",
        "p99, ms",
        "too much at, messages/s",
    ]);
    for row in found {
        table.row(vec![
            name(row),
            protection(row),
            shown(row, "subscribers", 0),
            scaled(row, "p99_bound_us", MILLIS, 0),
            shown(row, "rate", 0),
            shown(row, "deliveries_per_second", 0),
            scaled(row, "latency_us.p99", MILLIS, 2),
            shown(row, "too_high_rate", 0),
        ]);
    }
    table.text()
}

fn delivered(row: &Value) -> String {
    match (number(row, "delivered"), number(row, "expected")) {
        (Some(delivered), Some(expected)) if delivered >= expected => format!("all {expected:.0}"),
        (Some(delivered), Some(expected)) => format!("**{delivered:.0} of {expected:.0}**"),
        _ => "–".to_owned(),
    }
}

/// What a run of `mixed` was about.
pub(super) fn mixed_kind(group: &Group<'_>) -> String {
    let rows = group.rows();
    let Some(row) = rows.last() else {
        return String::new();
    };
    let mut kind = format!("{} downloads", shown(row, "downloads", 0));
    if number(row, "downloads") == Some(1.0) {
        kind = "one download".to_owned();
    }
    if number(row, "path_rtt_ms").is_some() {
        kind += &format!(
            " that fills a link of {}, {} ms",
            text(row, "path_rate").replace("mbit", " Mbit/s"),
            shown(row, "path_rtt_ms", 0)
        );
    } else if text(row, "row") == "cold" {
        kind += ", files on disk";
    }
    if row["own_sessions"] == true {
        kind += ", each process in a session of its own";
    }
    if number(row, "server_nice").is_some_and(|nice| nice < 0.0) {
        kind += &format!(
            ", the server preferred by niceness {}",
            shown(row, "server_nice", 0)
        );
    }
    if number(row, "nice").is_some_and(|nice| nice > 0.0) {
        kind += &format!(
            ", the downloading clients put back by niceness {}",
            shown(row, "nice", 0)
        );
    }
    kind
}

fn mixed(collection: &Collection) -> String {
    let groups = collection.groups("mixed");
    if groups.is_empty() {
        return String::new();
    }
    let mut body = String::from(
        "\n## Chat beside downloads\n\n`columba-bench mixed`: the same chat alone and while downloads run. *In the server*: from \
         readable to written to everybody. *At the client*: from the time a message was due. Several runs follow each other.\n",
    );
    for group in groups {
        let mut table = Table::new(&[
            "chat",
            "downloads bring, MB/s",
            "at the client p50, ms",
            "p99",
            "p99.9",
            "in the server p50, ms",
            "p99",
            "p99.9",
            "turn of its loop p99, ms",
            "delivered",
        ]);
        for row in group.rows() {
            table.row(vec![
                match text(row, "row") {
                    "downloads" => "beside downloads".to_owned(),
                    "cold" => "beside downloads from a cold disk".to_owned(),
                    other => other.to_owned(),
                },
                scaled(row, "download_bytes_per_second", 1e-6, 0),
                scaled(row, "client_us.p50", MILLIS, 2),
                scaled(row, "client_us.p99", MILLIS, 2),
                scaled(row, "client_us.p999", MILLIS, 2),
                scaled(row, "server_us.p50", MILLIS, 2),
                scaled(row, "server_us.p99", MILLIS, 2),
                scaled(row, "server_us.p999", MILLIS, 2),
                scaled(row, "server_loop_turn_us.p99", MILLIS, 2),
                delivered(row),
            ]);
        }
        body += &format!("\nWith {}:\n\n{}", mixed_kind(&group), table.text());
    }
    body
}

fn idle(collection: &Collection) -> String {
    let rows = collection.newest_values("idle", &["row", "tls", "clients"]);
    if rows.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&["", "members", "bytes per member", "the whole server, MB"]);
    for row in rows {
        table.row(vec![
            protection(row),
            shown(row, "clients", 0),
            shown(row, "bytes_per_client", 0),
            scaled(row, "server_bytes", 1e-6, 1),
        ]);
    }
    format!(
        "\n## Idle members\n\n`columba-bench idle`: what the server's process has more in memory for each.\n\n{}",
        table.text()
    )
}

fn many(collection: &Collection) -> String {
    let rows = collection.newest_values("many", &["row", "tls", "clients", "bytes"]);
    if rows.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&[
        "",
        "clients × MB",
        "identical",
        "all done after, s",
        "MB/s",
        "KiB per association",
        "of it for the connection",
        "the whole server, MB",
    ]);
    for row in rows {
        table.row(vec![
            protection(row),
            format!(
                "{} × {}",
                shown(row, "clients", 0),
                scaled(row, "bytes", 1e-6, 2)
            ),
            shown(row, "identical", 0),
            shown(row, "seconds", 1),
            scaled(row, "bytes_per_second", 1e-6, 0),
            scaled(row, "bytes_per_association", 1.0 / 1024.0, 1),
            scaled(row, "bytes_per_connection", 1.0 / 1024.0, 1),
            scaled(row, "server_peak_bytes", 1e-6, 1),
        ]);
    }
    format!(
        "\n## Many downloads at once\n\n`columba-bench many`: each client an association of its own, all at the same moment, \
         one server thread.\n\n{}",
        table.text()
    )
}
