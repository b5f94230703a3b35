//! The counters, gathered.

use super::Reactor;
use super::frames::SOFTWARE;
use crate::stats::{StatsReport, TransferReport};

impl Reactor {
    /// The counters as they stand.
    pub(super) fn report(&self) -> StatsReport {
        let chat = self.lobby.counts();
        let (counts, totals) = self.transfers.counts();
        let (associations, streams) = self.transfers.active();
        let (files, hashed_files) = self.transfers.store.counts();
        let (accepted, shed) = self.accepted;
        StatsReport {
            software: SOFTWARE.to_owned(),
            uptime_s: self.started.elapsed().as_secs(),
            clients: self.clients.len(),
            users: self.lobby.len(),
            accepted,
            shed,
            slow_readers: self.clients.slow_readers,
            bad_frames: self.clients.bad_frames,
            too_fast: self.too_fast,
            messages: chat.messages,
            whispers: chat.whispers,
            deliveries: chat.deliveries,
            joins: chat.joins,
            refused: chat.refusals,
            transfers: TransferReport {
                associations,
                streams,
                files,
                hashed_files,
                opened: counts.opened,
                started: counts.started,
                completed: counts.confirmed,
                ended_early: counts.ended_early,
                bytes_sent: counts.bytes_sent,
                trains_sent: counts.trains_sent,
                datagrams_received: counts.datagrams_received,
                data_packets: totals.data_packets,
                retransmitted_packets: totals.retransmitted_packets,
                lost_packets: totals.lost_packets,
                spurious_losses: totals.spurious_losses,
                delivered_bytes: totals.delivered_bytes,
                dropped_datagrams: totals.dropped_datagrams,
                foreign_datagrams: self.transfers.foreign_datagrams(),
                kernel_drops: self.transfers.socket.kernel_drops(),
                trains_dropped: counts.trains_dropped,
            },
            latency_us: self.histograms.summaries().into_iter().collect(),
        }
    }
}
