//! What happened on a link, as counters.

use std::time::Duration;

/// Counters of one direction. They always add up:
/// `packets + duplicated = delivered + lost + queue_drops + oversize + queued`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct LinkStats {
    /// Packets offered to the link.
    pub packets: u64,
    /// Payload bytes of the packets offered to the link.
    pub bytes: u64,
    /// Packets dropped on purpose: by chance, in a burst, by number, or in a blackhole.
    pub lost: u64,
    /// Packets (of those in `lost`) that met a blackhole.
    pub blackholed: u64,
    /// Packets that found the queue, or the simulator's memory, full.
    pub queue_drops: u64,
    /// Packets larger than the link's largest datagram.
    pub oversize: u64,
    /// Copies made.
    pub duplicated: u64,
    /// Packets delivered after one that was sent later (RFC 4737, section 3), copies not counted.
    pub reordered: u64,
    /// Packets and copies in which a bit was flipped.
    pub corrupted: u64,
    /// Packets and copies that were cut short.
    pub truncated: u64,
    /// Packets marked Congestion Experienced (RFC 3168).
    pub ecn_marked: u64,
    /// Packets and copies that came out at the far end.
    pub delivered: u64,
    /// Payload bytes that came out at the far end.
    pub delivered_bytes: u64,
    /// Packets and copies (of those in `delivered`) that were taken out more than
    /// [`LATE`](crate::limits::LATE) after their time: whoever runs the link was too slow.
    pub late: u64,
    /// Time that packets spent in the queue and being sent, all packets together, in nanoseconds.
    pub queue_ns: u64,
    /// Most bytes that have waited in the queue.
    pub longest_queue_bytes: u64,
    /// Packets and copies still waiting in the queue or on their way.
    pub queued: u64,
    /// Bytes of TCP streams carried beside the packets (the proxy's TCP relay).
    pub stream_bytes: u64,
}

impl LinkStats {
    /// The share of offered packets that were lost, 0 when there were none. Queue drops are not loss.
    #[must_use]
    pub fn loss_rate(&self) -> f64 {
        if self.packets == 0 {
            return 0.0;
        }
        self.lost as f64 / self.packets as f64
    }

    /// How long packets that were not dropped spent in the queue and being sent, on average.
    #[must_use]
    pub fn mean_queue_delay(&self) -> Duration {
        let dropped = self.queue_drops + self.oversize;
        let queued = self.packets.saturating_sub(dropped);
        Duration::from_nanos(self.queue_ns.checked_div(queued).unwrap_or_default())
    }

    /// Whether the counters account for every packet, as the type promises.
    #[must_use]
    pub fn add_up(&self) -> bool {
        let entered = self.packets + self.duplicated;
        let left = self.delivered + self.lost + self.queue_drops + self.oversize + self.queued;
        entered == left
    }
}
