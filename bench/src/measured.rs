//! One measured run, several of them as a row, and the row's JSON.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::report::{Spread, rate, share};
use crate::roles::Usage;

/// A row whose runs differ by more than this share of their median says little.
const NOISY_SPREAD: f64 = 0.25;
/// So much of the machine's time taken by others (the hypervisor) spoils a row.
const NOISY_STEAL: f64 = 0.02;

/// What one run brought and cost.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Run {
    pub(crate) bytes: u64,
    pub(crate) files: u64,
    pub(crate) seconds: f64,
    /// What the server used for it; its peak is that of its life so far.
    pub(crate) server: Usage,
    /// What the clients used, their whole lives.
    pub(crate) client: Usage,
    /// DATA packets received; 0: not known.
    pub(crate) packets: u64,
    /// Of them sent again, as far as known.
    pub(crate) retransmitted: u64,
    /// Share of the machine's CPU time that the hypervisor gave to others meanwhile.
    pub(crate) steal: f64,
}

/// What was measured, without the results.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Subject {
    pub(crate) workload: String,
    pub(crate) row: String,
    /// Largest UDP payload in bytes; 0: as large as the path takes, or no datagrams.
    pub(crate) payload_limit: u16,
    pub(crate) encrypted: bool,
    pub(crate) sink: String,
    /// Files of one run.
    pub(crate) files: u64,
    /// Bytes of one run.
    pub(crate) bytes: u64,
    /// Separate client processes.
    pub(crate) clients: u32,
    /// Downloads at once in each of them.
    pub(crate) parallel: u32,
    /// Whether the server had sent these small files just before, and so held them in memory. `None`: it makes no
    /// difference, or (small files of Columba in old rows) it had, and nobody said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sent_before: Option<bool>,
}

impl Subject {
    /// The row's name, and which download of the same files it is.
    pub(crate) fn label(&self) -> String {
        let row = &self.row;
        match self.sent_before {
            None => row.clone(),
            Some(false) => format!("{row}, first"),
            Some(true) => format!("{row}, again"),
        }
    }
}

/// A row for scripts: medians, and the spread of `bytes_per_second`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Row {
    #[serde(flatten)]
    pub(crate) subject: Subject,
    pub(crate) bytes_per_second: f64,
    /// User and system time of both ends.
    pub(crate) cpu_seconds_per_gb: f64,
    pub(crate) runs: usize,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) server_cpu_seconds_per_gb: f64,
    pub(crate) client_cpu_seconds_per_gb: f64,
    pub(crate) files_per_second: f64,
    /// Largest memory of the server process and of the largest client process, what they map included.
    pub(crate) server_peak_bytes: u64,
    pub(crate) client_peak_bytes: u64,
    /// DATA packets of a run; absent where nobody counts them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) packets: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) retransmitted_packets: Option<u64>,
    /// Heap allocations of both ends, the client's whole life included: a share that falls with the file's size is
    /// start and end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) allocations_per_packet: Option<f64>,
    /// Largest share of CPU time that the hypervisor took during a run.
    pub(crate) steal: f64,
    /// Whether the runs are too far apart, or too much time was stolen, to tell small differences.
    pub(crate) noisy: bool,
    /// Version and settings.
    pub(crate) settings: String,
    /// This row's median ÷ another row's, by that row's name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) ratios: BTreeMap<String, f64>,
}

impl Row {
    /// Sums up runs.
    pub(crate) fn of(subject: Subject, settings: String, runs: &[Run]) -> Result<Self> {
        let spread = |value: fn(&Run) -> f64| {
            let values: Vec<f64> = runs.iter().map(value).collect();
            Spread::of(&values).with_context(|| format!("{}: no runs", subject.row))
        };
        let rates = spread(|run| rate(run.bytes, run.seconds))?;
        let steal = spread(|run| run.steal)?.max;
        let counts_packets = runs.iter().all(|run| run.packets > 0);
        let largest = |value: fn(&Run) -> u64| runs.iter().map(value).max().unwrap_or(0);
        Ok(Self {
            bytes_per_second: rates.median.round(),
            cpu_seconds_per_gb: spread(|run| per_gb(run, both_cpu(run)))?.median,
            runs: runs.len(),
            min: rates.min.round(),
            max: rates.max.round(),
            server_cpu_seconds_per_gb: spread(|run| per_gb(run, run.server.cpu_seconds))?.median,
            client_cpu_seconds_per_gb: spread(|run| per_gb(run, run.client.cpu_seconds))?.median,
            files_per_second: spread(|run| rate(run.files, run.seconds))?.median,
            server_peak_bytes: largest(|run| run.server.peak_bytes),
            client_peak_bytes: largest(|run| run.client.peak_bytes),
            packets: counts_packets.then(|| largest(|run| run.packets)),
            retransmitted_packets: counts_packets.then(|| largest(|run| run.retransmitted)),
            allocations_per_packet: if counts_packets {
                Some(spread(allocations_per_packet)?.median)
            } else {
                None
            },
            steal,
            noisy: (rates.max - rates.min) > NOISY_SPREAD * rates.median || steal > NOISY_STEAL,
            settings,
            ratios: BTreeMap::new(),
            subject,
        })
    }

    /// How many times as fast as `other` this row is.
    pub(crate) fn ratio_to(&self, other: &Self) -> f64 {
        self.bytes_per_second / other.bytes_per_second.max(1.0)
    }

    /// Whether the runs of the two rows overlap, so that the ratio of medians may be chance.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        self.min <= other.max && other.min <= self.max
    }
}

fn both_cpu(run: &Run) -> f64 {
    run.server.cpu_seconds + run.client.cpu_seconds
}

fn per_gb(run: &Run, seconds: f64) -> f64 {
    seconds / rate(run.bytes, 1e9).max(1e-9)
}

fn allocations_per_packet(run: &Run) -> f64 {
    share(run.server.allocations + run.client.allocations, run.packets)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject() -> Subject {
        Subject {
            workload: "bulk".to_owned(),
            row: "columba".to_owned(),
            payload_limit: 1472,
            encrypted: true,
            sink: "memory".to_owned(),
            files: 1,
            bytes: 1_000_000_000,
            clients: 1,
            parallel: 1,
            sent_before: None,
        }
    }

    fn run(seconds: f64) -> Run {
        Run {
            bytes: 1_000_000_000,
            files: 1,
            seconds,
            server: Usage {
                cpu_seconds: 0.5,
                ..Usage::default()
            },
            client: Usage {
                cpu_seconds: 1.0,
                ..Usage::default()
            },
            ..Run::default()
        }
    }

    #[test]
    fn rows_have_medians_and_say_when_they_are_noisy() {
        let row = Row::of(subject(), String::new(), &[run(1.0), run(0.99), run(1.01)]).unwrap();
        assert_eq!((row.bytes_per_second, row.runs), (1e9, 3));
        assert_eq!(row.cpu_seconds_per_gb, 1.5);
        assert!(!row.noisy && row.packets.is_none());
        let wild = Row::of(subject(), String::new(), &[run(1.0), run(2.0)]).unwrap();
        assert!(wild.noisy && wild.overlaps(&row));
        assert!(Row::of(subject(), String::new(), &[]).is_err());
    }

    #[test]
    fn rows_read_back() {
        let row = Row::of(subject(), "as is".to_owned(), &[run(1.0)]).unwrap();
        let text = serde_json::to_string(&row).unwrap();
        let back: Row = serde_json::from_str(&text).unwrap();
        assert_eq!(back.subject, row.subject);
        assert!(!text.contains("ratios") && !text.contains("packets\""));
        assert!(!text.contains("sent_before"), "old rows lack it");
    }
}
