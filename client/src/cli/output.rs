//! What scripts read: the JSON objects, with exactly the fields of the contract.

use std::time::Duration;

use serde::Serialize;

use crate::engine::message::{FileInfo, FileReport};

/// One line of `get --json`.
#[derive(Debug, Serialize)]
pub(super) struct GetLine<'a> {
    file: &'a str,
    bytes: u64,
    seconds: f64,
    bytes_per_second: f64,
    blake3: String,
    resumed_bytes: u64,
    packets_received: u64,
    packets_duplicate: u64,
    handshake_ms: f64,
    rtt_ms: RttLine,
}

#[derive(Debug, Serialize)]
struct RttLine {
    p50: f64,
    p99: f64,
}

fn millis(duration: Duration) -> f64 {
    // Three places are what clocks and people tell apart.
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

impl<'a> From<&'a FileReport> for GetLine<'a> {
    fn from(report: &'a FileReport) -> Self {
        Self {
            file: &report.file,
            bytes: report.bytes,
            seconds: (report.elapsed.as_secs_f64() * 1e6).round() / 1e6,
            bytes_per_second: report.bytes_per_second().round(),
            blake3: blake3::Hash::from_bytes(report.blake3).to_hex().to_string(),
            resumed_bytes: report.resumed_bytes,
            packets_received: report.packets_received,
            packets_duplicate: report.packets_duplicate,
            handshake_ms: millis(report.handshake),
            rtt_ms: RttLine {
                p50: millis(report.rtt_p50),
                p99: millis(report.rtt_p99),
            },
        }
    }
}

/// One line of `ls --json`, and one file of a chat's list.
#[derive(Debug, Serialize)]
pub(super) struct FileLine<'a> {
    name: &'a str,
    size: u64,
    mtime: u64,
}

impl<'a> From<&'a FileInfo> for FileLine<'a> {
    fn from(file: &'a FileInfo) -> Self {
        Self {
            name: &file.name,
            size: file.size,
            mtime: file.mtime_s,
        }
    }
}

/// An object as one line.
pub(crate) fn line(value: &impl Serialize) -> String {
    // Plain structs of strings and numbers always serialise.
    let mut line = serde_json::to_string(value).unwrap_or_default();
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_has_exactly_the_fields_of_the_contract() {
        let report = FileReport {
            file: "a\"b".to_owned(),
            target: "x".into(),
            bytes: 3_000_000,
            elapsed: Duration::from_millis(1500),
            blake3: [0xab; 32],
            resumed_bytes: 1 << 20,
            packets_received: 10,
            packets_duplicate: 1,
            handshake: Duration::from_micros(25_300),
            rtt_p50: Duration::from_micros(25_000),
            rtt_p99: Duration::from_micros(31_250),
        };
        let line = line(&GetLine::from(&report));
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        let mut fields: Vec<_> = value.as_object().unwrap().keys().cloned().collect();
        fields.sort();
        assert_eq!(
            fields,
            [
                "blake3",
                "bytes",
                "bytes_per_second",
                "file",
                "handshake_ms",
                "packets_duplicate",
                "packets_received",
                "resumed_bytes",
                "rtt_ms",
                "seconds"
            ]
        );
        assert_eq!(value["seconds"], 1.5);
        assert_eq!(value["handshake_ms"], 25.3);
        assert_eq!(value["rtt_ms"]["p99"], 31.25);
        assert_eq!(value["blake3"], "ab".repeat(32));
        assert_eq!(value["bytes_per_second"], 1_300_949.0);
    }
}
