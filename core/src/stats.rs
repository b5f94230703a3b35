//! Counters that both ends keep; every silent drop has one.

use crate::error::{DROP_REASONS, DropReason};

/// Datagrams dropped, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DropCounters([u64; DROP_REASONS]);

impl DropCounters {
    /// Counts one.
    pub const fn count(&mut self, reason: DropReason) {
        self.0[reason as usize] += 1;
    }

    /// How many were dropped for `reason`.
    #[must_use]
    pub const fn get(&self, reason: DropReason) -> u64 {
        self.0[reason as usize]
    }

    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

/// What the sending side of an association has seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SenderStats {
    /// DATA packets sent.
    pub data_packets: u64,
    /// UDP payload bytes of all packets sent.
    pub bytes_sent: u64,
    /// DATA packets that carried cells sent before and declared lost.
    pub retransmitted_packets: u64,
    /// DATA packets sent again early because nothing else was left to send.
    pub tail_packets: u64,
    /// DATA packets sent as probes after a timeout.
    pub timeout_probes: u64,
    /// Packets declared lost.
    pub lost_packets: u64,
    /// Packets declared lost that were acknowledged later.
    pub spurious_losses: u64,
    /// Retransmission timeouts.
    pub timeouts: u64,
    /// ACK packets processed.
    pub acks_received: u64,
    /// Bytes acknowledged.
    pub delivered_bytes: u64,
    /// Packets reported as marked by ECN.
    pub ecn_ce: u64,
    /// Datagrams the client's kernel dropped for want of socket buffer.
    pub socket_drops: u64,
}

/// What the receiving side of an association has seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReceiverStats {
    /// Authentic packets that count for acknowledgement.
    pub packets: u64,
    /// DATA packets of which every cell was there already.
    pub duplicate_packets: u64,
    /// Packet numbers never seen below the largest one: loss on the way here, within a few packets.
    pub missing_packets: u64,
    /// Bytes of new cells.
    pub new_bytes: u64,
    /// UDP payload bytes received.
    pub bytes_received: u64,
    /// ACK packets sent.
    pub acks_sent: u64,
    /// Datagrams dropped, by reason.
    pub drops: DropCounters,
}
