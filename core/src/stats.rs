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

/// What holds a sender back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum LimitedBy {
    /// There is nothing to send.
    Nothing = 0,
    /// The path: the congestion window is full, or pacing waits.
    Path = 1,
    /// The rate that the client asked for.
    ClientLimit = 2,
    /// The rate that the server's operator allows.
    ServerLimit = 3,
    /// The receiver gives no more credit.
    Receiver = 4,
    /// The file's bytes or hashes are not in memory yet.
    Source = 5,
    /// The sending computer: its processor, its network interface, or other clients' turns.
    Host = 6,
}

/// How many kinds of [`LimitedBy`] there are.
pub const LIMITS: usize = 7;

impl LimitedBy {
    /// All of them, by number.
    pub const ALL: [Self; LIMITS] = [
        Self::Nothing,
        Self::Path,
        Self::ClientLimit,
        Self::ServerLimit,
        Self::Receiver,
        Self::Source,
        Self::Host,
    ];
}

/// What a server tells a client about its sending, about once a second while it sends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PathReport {
    /// Number of the association.
    pub association: u32,
    /// Milliseconds that the counts and shares are about.
    pub interval_ms: u32,
    /// Smoothed round-trip time, microseconds.
    pub srtt_us: u32,
    /// Least round-trip time lately, microseconds.
    pub min_rtt_us: u32,
    /// Congestion window, bytes.
    pub cwnd: u64,
    /// Bytes in flight.
    pub in_flight: u64,
    /// Bytes the receiver lets be in flight.
    pub credit: u64,
    /// Pacing rate, bytes per second; 0 for none.
    pub pacing_rate: u64,
    /// Bytes per second acknowledged in the interval.
    pub delivery_rate: u64,
    /// Bytes per second that the operator allows all clients together; 0 for no limit.
    pub server_limit: u64,
    /// DATA packets sent in the interval.
    pub sent_packets: u32,
    /// Packets declared lost in the interval, those that came after all not counted.
    pub lost_packets: u32,
    /// DATA packets sent again in the interval.
    pub retransmitted_packets: u32,
    /// UDP payload of full packets, bytes.
    pub datagram_bytes: u16,
    /// Thousandths of the interval during which each [`LimitedBy`] held the sender back.
    pub limited: [u16; LIMITS],
}

impl PathReport {
    /// What held the sender back longest, and the share of the time, 0 to 1; nothing to send does not count.
    #[must_use]
    pub fn mostly_limited_by(&self) -> Option<(LimitedBy, f64)> {
        let busy: u32 = self.limited[1..]
            .iter()
            .map(|share| u32::from(*share))
            .sum();
        let by = LimitedBy::ALL
            .into_iter()
            .skip(1)
            .max_by_key(|by| self.limited[*by as usize])?;
        (busy > 0).then(|| (by, f64::from(self.limited[by as usize]) / f64::from(busy)))
    }
}
