//! The server's counters, as `stats` and Prometheus show them.

use std::fmt::Write as _;

use serde::Serialize;

use crate::histograms::Summary;

/// Everything that is counted. Counts are since the start unless they say how many there are now.
#[derive(Clone, Debug, Default, Serialize)]
pub struct StatsReport {
    /// The server's name and version.
    pub software: String,
    /// Seconds since the start.
    pub uptime_s: u64,
    /// Control connections now.
    pub clients: usize,
    /// Users in the chat now.
    pub users: usize,
    /// Connections accepted.
    pub accepted: u64,
    /// Connections refused for lack of room or descriptors.
    pub shed: u64,
    /// Clients cut off because they did not read.
    pub slow_readers: u64,
    /// Connections ended because their bytes were no frames.
    pub bad_frames: u64,
    /// Messages and requests dropped because their sender was too fast.
    pub too_fast: u64,
    /// Messages to everybody.
    pub messages: u64,
    /// Whispers.
    pub whispers: u64,
    /// Chat frames put into queues.
    pub deliveries: u64,
    /// Joins.
    pub joins: u64,
    /// Joins refused.
    pub refused: u64,
    /// File transfers.
    pub transfers: TransferReport,
    /// Percentiles by kind, microseconds.
    pub latency_us: std::collections::BTreeMap<&'static str, Summary>,
}

/// File transfers.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct TransferReport {
    /// UDP associations now.
    pub associations: usize,
    /// Streams now.
    pub streams: usize,
    /// Files with streams now.
    pub files: usize,
    /// Files whose hashes are known.
    pub hashed_files: usize,
    /// Associations opened.
    pub opened: u64,
    /// Streams started.
    pub started: u64,
    /// Files that clients verified and stored.
    pub completed: u64,
    /// Streams that ended early.
    pub ended_early: u64,
    /// Bytes of UDP payload sent.
    pub bytes_sent: u64,
    /// Trains of packets sent.
    pub trains_sent: u64,
    /// Datagrams received.
    pub datagrams_received: u64,
    /// DATA packets sent.
    pub data_packets: u64,
    /// Of these, sent again.
    pub retransmitted_packets: u64,
    /// Packets declared lost.
    pub lost_packets: u64,
    /// Of these, acknowledged later after all.
    pub spurious_losses: u64,
    /// Bytes acknowledged.
    pub delivered_bytes: u64,
    /// Received datagrams of associations that were dropped.
    pub dropped_datagrams: u64,
    /// Received datagrams of no association.
    pub foreign_datagrams: u64,
    /// Datagrams the kernel dropped before us, its buffer being full.
    pub kernel_drops: u64,
    /// Trains not sent because a file shrank while they were made.
    pub trains_dropped: u64,
}

impl StatsReport {
    /// As JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|_| "{}".to_owned())
    }

    /// As Prometheus text (exposition format 0.0.4).
    #[must_use]
    pub fn to_prometheus(&self) -> String {
        let mut out = String::new();
        let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(self) else {
            return out;
        };
        let gauges = [
            "uptime_s",
            "clients",
            "users",
            "associations",
            "streams",
            "files",
            "hashed_files",
        ];
        let mut put = |prefix: &str, name: &str, value: &serde_json::Value| {
            let kind = if gauges.contains(&name) {
                "gauge"
            } else {
                "counter"
            };
            let suffix = if kind == "counter" { "_total" } else { "" };
            // Writing to a String cannot fail.
            let _ = write!(
                out,
                "# TYPE columba_{prefix}{name}{suffix} {kind}\ncolumba_{prefix}{name}{suffix} {value}\n"
            );
        };
        for (name, value) in &fields {
            if value.is_number() {
                put("", name, value);
            } else if let (serde_json::Value::Object(inner), "transfers") = (value, name.as_str()) {
                inner
                    .iter()
                    .for_each(|(name, value)| put("transfers_", name, value));
            }
        }
        for (kind, summary) in &self.latency_us {
            let _ = writeln!(out, "# TYPE columba_{kind}_seconds summary");
            for (quantile, micros) in [
                ("0.5", summary.p50),
                ("0.9", summary.p90),
                ("0.99", summary.p99),
                ("0.999", summary.p999),
            ] {
                let _ = writeln!(
                    out,
                    "columba_{kind}_seconds{{quantile=\"{quantile}\"}} {:e}",
                    micros / 1e6
                );
            }
            let _ = writeln!(out, "columba_{kind}_seconds_count {}", summary.count);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_hold_the_counters() {
        let mut report = StatsReport {
            users: 3,
            messages: 7,
            ..StatsReport::default()
        };
        report.transfers.bytes_sent = 9;
        let summary = Summary {
            count: 2,
            p50: 1.0,
            p75: 1.5,
            p90: 2.0,
            p99: 3.0,
            p999: 4.0,
            p9999: 4.5,
            max: 5.0,
        };
        report.latency_us.insert("loop_turn", summary);
        let json: serde_json::Value = serde_json::from_str(&report.to_json()).expect("JSON");
        assert_eq!(json["transfers"]["bytes_sent"], 9);
        assert_eq!(json["latency_us"]["loop_turn"]["count"], 2);
        let text = report.to_prometheus();
        for line in [
            "columba_users 3",
            "columba_messages_total 7",
            "columba_transfers_bytes_sent_total 9",
            "columba_loop_turn_seconds_count 2",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
    }
}
