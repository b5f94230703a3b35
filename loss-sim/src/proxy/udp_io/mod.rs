//! Batched UDP input and output: many datagrams a system call on Linux, one elsewhere.
//!
//! Receive coalescing (`UDP_GRO`) stays off on purpose: the kernel counts a coalesced train that finds no
//! room as one drop, and every dropped datagram has to be counted.

use std::net::SocketAddr;

#[cfg(all(target_os = "linux", not(feature = "portable-io")))]
mod linux;
#[cfg(any(not(target_os = "linux"), feature = "portable-io", test))]
mod portable;

#[cfg(all(target_os = "linux", not(feature = "portable-io")))]
pub(crate) use linux::{UdpIo, kernel_drops, prepare};
#[cfg(not(all(target_os = "linux", not(feature = "portable-io"))))]
pub(crate) use portable::{UdpIo, kernel_drops, prepare};

/// The largest datagram there is, with room to spare.
pub(crate) const MAX_DATAGRAM_BYTES: usize = 65_536;

/// Datagrams received at once.
pub(crate) const RECEIVE_BATCH: usize = 32;

/// Datagrams sent at once.
pub(crate) const BATCH: usize = 128;

/// Most datagrams in a train: what every Linux with `UDP_SEGMENT` takes (`UDP_MAX_SEGMENTS`).
#[cfg(any(all(target_os = "linux", not(feature = "portable-io")), test))]
const MAX_TRAIN_DATAGRAMS: usize = 64;

/// Most bytes in a train: it is one IP packet to most of the kernel.
#[cfg(any(all(target_os = "linux", not(feature = "portable-io")), test))]
const MAX_TRAIN_BYTES: usize = 65_000;

/// Kernel buffer to ask for, per socket and direction: some 100 ms at 1 Gbit/s.
pub(crate) const SOCKET_BUFFER_BYTES: usize = 16 * 1024 * 1024;

/// A datagram just received.
pub(crate) struct Received<'a> {
    pub(crate) from: SocketAddr,
    /// ECN codepoint; 0 where the system doesn't tell.
    pub(crate) ecn: u8,
    pub(crate) bytes: &'a [u8],
}

/// A datagram to send.
#[derive(Clone, Copy)]
#[cfg_attr(
    not(all(target_os = "linux", not(feature = "portable-io"))),
    expect(dead_code, reason = "the portable code cannot set ECN codepoints")
)]
pub(crate) struct Outgoing<'a> {
    /// Where to; `None` on a connected socket.
    pub(crate) to: Option<&'a socket2::SockAddr>,
    /// Whether it travels as IPv4 (also from a dual-stack socket), which decides how ECN is given.
    pub(crate) is_ipv4: bool,
    pub(crate) ecn: u8,
    pub(crate) bytes: &'a [u8],
}

/// Up to a batch of datagrams to send, without a heap allocation.
pub(crate) struct OutgoingBatch<'a> {
    packets: [Outgoing<'a>; BATCH],
    len: usize,
}

impl<'a> OutgoingBatch<'a> {
    /// The first batch of what is given; the caller gives no more than that.
    pub(crate) fn from_iter(packets: impl Iterator<Item = Outgoing<'a>>) -> Self {
        let none = Outgoing {
            to: None,
            is_ipv4: true,
            ecn: 0,
            bytes: &[],
        };
        let mut batch = Self {
            packets: [none; BATCH],
            len: 0,
        };
        for (place, packet) in batch.packets.iter_mut().zip(packets) {
            *place = packet;
            batch.len += 1;
        }
        batch
    }

    pub(crate) fn as_slice(&self) -> &[Outgoing<'a>] {
        self.packets.get(..self.len).unwrap_or_default()
    }
}

/// How many of the first packets can go out as one train: to one place, with one ECN codepoint, of one size
/// of at most `largest_segment_bytes`, of which only the last may fall short.
#[cfg(any(all(target_os = "linux", not(feature = "portable-io")), test))]
fn train_len(packets: &[Outgoing<'_>], largest_segment_bytes: usize) -> usize {
    let Some((first, rest)) = packets.split_first() else {
        return 0;
    };
    let segment_bytes = first.bytes.len();
    if segment_bytes == 0 || segment_bytes > largest_segment_bytes {
        return 1;
    }
    let same_place = |to: Option<&socket2::SockAddr>| match (first.to, to) {
        (Some(one), Some(other)) => std::ptr::eq(one, other) || one == other,
        (one, other) => one.is_none() && other.is_none(),
    };
    let (mut len, mut bytes, mut is_whole) = (1, segment_bytes, true);
    for packet in rest.iter().take(MAX_TRAIN_DATAGRAMS - 1) {
        let packet_bytes = packet.bytes.len();
        let fits = (1..=segment_bytes).contains(&packet_bytes)
            && bytes + packet_bytes <= MAX_TRAIN_BYTES
            && packet.ecn == first.ecn
            && same_place(packet.to);
        if !is_whole || !fits {
            break;
        }
        is_whole = packet_bytes == segment_bytes;
        bytes += packet_bytes;
        len += 1;
    }
    len
}

/// Whether packets to an address travel as IPv4, v4-mapped addresses included.
pub(crate) fn travels_as_ipv4(address: SocketAddr) -> bool {
    match address {
        SocketAddr::V4(_) => true,
        SocketAddr::V6(address) => address.ip().to_ipv4_mapped().is_some(),
    }
}

#[cfg(test)]
mod tests;
