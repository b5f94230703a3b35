//! Batched UDP input and output: many datagrams a system call on Linux, one elsewhere.
//!
//! Receive coalescing (`UDP_GRO`) stays off on purpose: each datagram must meet its own fate.

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

/// Datagrams in one batch.
pub(crate) const BATCH: usize = 32;

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

/// Whether packets to an address travel as IPv4, v4-mapped addresses included.
pub(crate) fn travels_as_ipv4(address: SocketAddr) -> bool {
    match address {
        SocketAddr::V4(_) => true,
        SocketAddr::V6(address) => address.ip().to_ipv4_mapped().is_some(),
    }
}

#[cfg(test)]
mod tests;
