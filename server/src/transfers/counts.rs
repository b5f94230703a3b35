//! What transfers count.

use columba_core::server::ServerAssociation;

/// Counters of finished associations and of the socket.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TransferCounts {
    /// Associations opened.
    pub(crate) opened: u64,
    /// Streams started.
    pub(crate) started: u64,
    /// Files that clients confirmed.
    pub(crate) confirmed: u64,
    /// Streams that ended early.
    pub(crate) ended_early: u64,
    /// Bytes of UDP payload handed to the kernel.
    pub(crate) bytes_sent: u64,
    /// Trains handed to the kernel.
    pub(crate) trains_sent: u64,
    /// Datagrams received.
    pub(crate) datagrams_received: u64,
    /// Trains not sent because a file shrank while they were made.
    pub(crate) trains_dropped: u64,
    /// Counters of associations that are over.
    pub(crate) past: SenderTotals,
}

/// Sums over associations.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SenderTotals {
    pub(crate) data_packets: u64,
    pub(crate) retransmitted_packets: u64,
    pub(crate) lost_packets: u64,
    pub(crate) spurious_losses: u64,
    pub(crate) delivered_bytes: u64,
    pub(crate) dropped_datagrams: u64,
}

impl SenderTotals {
    pub(super) fn add(&mut self, association: &ServerAssociation) {
        let stats = association.stats();
        self.data_packets += stats.data_packets;
        self.retransmitted_packets += stats.retransmitted_packets;
        self.lost_packets += stats.lost_packets;
        self.spurious_losses += stats.spurious_losses;
        self.delivered_bytes += stats.delivered_bytes;
        self.dropped_datagrams += association.drops().total();
    }
}
