//! UDP in trains: equal datagrams to or from one peer, many per system call.
//!
//! Read [`UdpSocket`] first. `batch` is what a receive call fills, `send` how a train leaves and
//! what happens where segmentation offload is refused. Below them stands one platform module:
//! `linux` (our own system calls) or `portable` (quinn-udp).

mod batch;
#[cfg(all(target_os = "linux", not(feature = "portable-io")))]
#[path = "linux.rs"]
mod platform;
#[cfg(not(all(target_os = "linux", not(feature = "portable-io"))))]
#[path = "portable.rs"]
mod platform;
mod send;
#[cfg(test)]
mod tests;

use std::io;
use std::net::{IpAddr, SocketAddr};

pub use batch::{RecvBatch, RecvTrain};
pub use send::{MAX_TRAIN_BYTES, SendOutcome, SendTrain};

use crate::socket;
use crate::source::forward_source;

/// What to ask of the kernel for a UDP socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpOptions {
    /// Bytes for `SO_RCVBUF`, as the kernel counts them: with its own overhead per packet.
    pub recv_buffer_bytes: usize,
    /// Bytes for `SO_SNDBUF`, counted likewise.
    pub send_buffer_bytes: usize,
}

impl Default for UdpOptions {
    /// Several times what systems give by default; ordinary users may get less (see
    /// [`UdpSocket::recv_buffer_bytes`]).
    fn default() -> Self {
        Self {
            recv_buffer_bytes: 8 << 20,
            send_buffer_bytes: 4 << 20,
        }
    }
}

/// A non-blocking UDP socket that never lets its datagrams be fragmented.
///
/// Bound to an unspecified IPv6 address it serves IPv4 too; addresses in its interface are plain
/// IPv4 then, never v4-mapped. Neither [`recv`](Self::recv) nor [`send`](Self::send) allocates.
#[derive(Debug)]
pub struct UdpSocket {
    socket: mio::net::UdpSocket,
    local_addr: SocketAddr,
    recv_buffer_bytes: usize,
    send_buffer_bytes: usize,
    sender: send::TrainSender,
    platform: platform::Io,
}

impl UdpSocket {
    /// Binds to `addr`; port 0 lets the kernel choose.
    ///
    /// # Errors
    /// Those of `socket`, `setsockopt` and `bind`. A buffer smaller than asked for is none: read
    /// [`recv_buffer_bytes`](Self::recv_buffer_bytes).
    pub fn bind(addr: SocketAddr, options: &UdpOptions) -> io::Result<Self> {
        let family = Family::of(addr);
        let raw = socket::new_udp(addr)?;
        let (recv_buffer_bytes, send_buffer_bytes) = socket::size_buffers(&raw, options)?;
        platform::Io::configure(&raw, family)?;
        raw.bind(&addr.into())?;
        let socket = mio::net::UdpSocket::from_std(raw.into());
        Ok(Self {
            local_addr: socket.local_addr()?,
            recv_buffer_bytes,
            send_buffer_bytes,
            sender: send::TrainSender::default(),
            platform: platform::Io::new(&socket, family)?,
            socket,
        })
    }

    /// The bound address, with the port the kernel chose.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The effective receive buffer, read back from the kernel. Linux doubles what it grants to
    /// make room for its bookkeeping and charges whole pages against this number: a datagram of
    /// 1,472 bytes costs about 2,300 when it arrives alone.
    #[must_use]
    pub fn recv_buffer_bytes(&self) -> usize {
        self.recv_buffer_bytes
    }

    /// The effective send buffer, read back likewise.
    #[must_use]
    pub fn send_buffer_bytes(&self) -> usize {
        self.send_buffer_bytes
    }

    /// Datagrams the kernel dropped so far because the receive buffer was full (`SO_RXQ_OVFL`).
    /// It is told with the next datagram that fits. Always 0 where the platform does not tell.
    #[must_use]
    pub fn kernel_drops(&self) -> u64 {
        self.platform.kernel_drops()
    }

    /// Trains dropped here because the kernel delivered them cut or without an address.
    #[must_use]
    pub fn unreadable_trains(&self) -> u64 {
        self.platform.unreadable()
    }

    /// How often an address turned out to be reached without segmentation offload.
    #[must_use]
    pub fn segmentation_refusals(&self) -> u64 {
        self.sender.refusals()
    }

    /// Receives up to [`RecvBatch::SLOTS`] trains and returns how many.
    ///
    /// Events are edge-triggered: call until it fails with [`io::ErrorKind::WouldBlock`], or
    /// remember to come back. 0 means that what came was unreadable.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is there; others are rare and concern the whole socket.
    pub fn recv(&mut self, batch: &mut RecvBatch) -> io::Result<usize> {
        self.platform.recv(&self.socket, batch)
    }

    /// Sends a train, in one system call where the kernel allows it.
    ///
    /// Where segmentation offload fails for an address, this train and all later ones to that
    /// address go out datagram by datagram.
    ///
    /// # Errors
    /// Failures that concern the address (unreachable, forbidden by a firewall, of a family this
    /// socket does not speak) or the socket, and `InvalidInput` for an empty train. A
    /// full buffer and a datagram beyond the MTU are outcomes, not errors.
    pub fn send(&mut self, train: &SendTrain<'_>) -> io::Result<SendOutcome> {
        self.sender.send(&mut self.platform, &self.socket, train)
    }
}

forward_source!(UdpSocket, socket);

/// The same address without IPv6 dress: `::ffff:192.0.2.1` becomes `192.0.2.1`.
///
/// For peers of dual-stack sockets, TCP ones too.
#[must_use]
pub fn normalise_address(addr: SocketAddr) -> SocketAddr {
    match addr {
        SocketAddr::V4(_) => addr,
        SocketAddr::V6(v6) => match v6.ip().to_ipv4_mapped() {
            Some(ip) => (ip, v6.port()).into(),
            None => addr,
        },
    }
}

/// The address family of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

impl Family {
    fn of(addr: SocketAddr) -> Self {
        if addr.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// `to` as a socket of this family wants it.
    fn wire_address(self, to: SocketAddr) -> io::Result<SocketAddr> {
        match (self, to.ip()) {
            (Self::V6, IpAddr::V4(ip)) => Ok((ip.to_ipv6_mapped(), to.port()).into()),
            (Self::V4, IpAddr::V6(_)) => {
                let text = "an IPv4 socket cannot reach an IPv6 address";
                Err(io::Error::new(io::ErrorKind::Unsupported, text))
            }
            (Self::V4, IpAddr::V4(_)) | (Self::V6, IpAddr::V6(_)) => Ok(to),
        }
    }
}
