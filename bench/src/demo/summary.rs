//! What the demo shows at the end: one JSON object, or a short table.

use serde::Serialize;

use super::Downloads;
use super::chat::Transcript;
use crate::report::{Percentiles, megabytes, rate, share};
use crate::session::{PathCounters, TransferCounters};

/// The row for scripts.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    ok: bool,
    files: usize,
    bytes: u64,
    /// Bytes of files over the time from starting the client to the last verified file.
    goodput_bytes_per_second: f64,
    /// Share of the datagrams towards the client that the network lost.
    loss_seen: f64,
    /// DATA packets that were sent again because they were lost.
    retransmitted: u64,
    /// From one user's keyboard to the other's screen.
    chat_ms: Percentiles,
    packet_rtt_ms: Percentiles,
}

/// Everything that was measured.
#[derive(Debug)]
pub(crate) struct Summary {
    row: Row,
    seconds: f64,
    messages: u64,
    data_packets: u64,
    path: PathCounters,
}

impl Summary {
    pub(crate) fn new(
        ok: bool,
        downloads: &Downloads,
        chat: &Transcript,
        counters: TransferCounters,
        path: PathCounters,
    ) -> Self {
        let (bytes, seconds) = (downloads.bytes(), downloads.elapsed.as_secs_f64());
        // The client's histogram covers the whole association, so the last report has all of it.
        let last = downloads.files.last();
        Self {
            row: Row {
                ok,
                files: downloads.files.len(),
                bytes,
                goodput_bytes_per_second: rate(bytes, seconds).round(),
                loss_seen: path.down.loss_rate,
                retransmitted: counters.retransmitted_packets,
                chat_ms: chat.latency,
                packet_rtt_ms: Percentiles {
                    p50: last.map_or(0.0, |file| file.rtt_p50_ms),
                    p99: last.map_or(0.0, |file| file.rtt_p99_ms),
                },
            },
            seconds,
            messages: chat.sent,
            data_packets: counters.data_packets,
            path,
        }
    }

    pub(crate) const fn row(&self) -> &Row {
        &self.row
    }

    pub(crate) fn table(&self) -> String {
        let row = &self.row;
        let again = share(row.retransmitted, self.data_packets);
        let lines = [
            (
                "files",
                format!(
                    "{}, {}",
                    row.files,
                    if row.ok {
                        "every hash is right"
                    } else {
                        "NOT all right"
                    }
                ),
            ),
            (
                "goodput",
                format!(
                    "{}/s ({} in {:.1} s)",
                    megabytes(row.goodput_bytes_per_second),
                    megabytes(rate(row.bytes, 1.0)),
                    self.seconds
                ),
            ),
            (
                "loss seen",
                format!(
                    "{:.2} % to the client, {:.2} % to the server",
                    self.path.down.loss_rate * 100.0,
                    self.path.up.loss_rate * 100.0
                ),
            ),
            (
                "retransmitted",
                format!(
                    "{} of {} packets ({:.2} %)",
                    row.retransmitted,
                    self.data_packets,
                    again * 100.0
                ),
            ),
        ];
        let mut table = lines.iter().fold(String::new(), |table, (name, text)| {
            table + &format!("{name:<16}{text}\n")
        });
        table += &format!("{:<24}{:>8}  {:>8}\n", "latency in ms", "p50", "p99");
        let chat = format!("chat ({} messages)", self.messages);
        for (name, percentiles) in [("packets", row.packet_rtt_ms), (chat.as_str(), row.chat_ms)] {
            table += &format!(
                "  {name:<22}{:>8.1}  {:>8.1}\n",
                percentiles.p50, percentiles.p99
            );
        }
        table
    }
}
