//! What a QUIC client asks of a server, on a stream of its own for each file: a number of bytes.

use std::net::{IpAddr, Ipv4Addr};

use super::Spec;

/// Largest piece handed to a stream at once; the pieces share the source's mapping, nothing is copied before.
pub(super) const PIECE_BYTES: usize = 256 << 10;
/// Flow-control window of a stream and of the connection, and the sender's buffer: more than loopback or a path needs.
pub(super) const WINDOW_BYTES: u32 = 16 << 20;
/// Socket buffers, as Columba asks for.
pub(super) const SOCKET_BYTES: usize = 8 << 20;

/// Which of its congestion controllers a QUIC row uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum QuicCongestion {
    /// The default of both.
    Cubic,
    Bbr,
}

impl QuicCongestion {
    /// As people write it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Cubic => "CUBIC",
            Self::Bbr => "BBR",
        }
    }
}

/// A UDP socket with large buffers, for a server or a client.
pub(super) fn socket(spec: &Spec) -> std::io::Result<std::net::UdpSocket> {
    let is_server = spec.server.is_none();
    let address = if is_server || spec.listen.is_loopback() {
        spec.listen
    } else {
        IpAddr::from(Ipv4Addr::UNSPECIFIED)
    };
    let socket = std::net::UdpSocket::bind((address, 0))?;
    super::limit::enlarge(&socket, SOCKET_BYTES, SOCKET_BYTES);
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// How [`runtime`] is described.
pub(super) const RUNTIME: &str = "tokio with one thread at each end (faster here than several)";

/// The runtime that both libraries do best with on loopback: with several threads they brought a fifth less here.
pub(super) fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}
