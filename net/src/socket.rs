//! How sockets are made: dual stack, large buffers, TCP and UDP on one port number.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::tcp;
use crate::udp::{UdpOptions, UdpSocket};

/// Connections that may wait to be accepted; the kernel caps it (`net.core.somaxconn`).
const LISTEN_BACKLOG: i32 = 4096;

/// How often a port that TCP got is given back because UDP could not have it.
const PAIR_ATTEMPTS: usize = 64;

/// Where a server listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindAddress {
    /// All addresses, IPv6 and IPv4; IPv4 alone on a machine without IPv6.
    Any {
        /// The port; 0 lets the kernel choose.
        port: u16,
    },
    /// This address, or an error.
    Exactly(SocketAddr),
}

/// A TCP listener and a UDP socket on the same address and port.
#[derive(Debug)]
pub struct BoundPair {
    /// Takes the control connections; already listening.
    pub tcp: mio::net::TcpListener,
    /// Carries the file data.
    pub udp: UdpSocket,
}

impl BoundPair {
    /// The address both have in common.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.udp.local_addr()
    }
}

/// Binds TCP and UDP to the same port. For port 0 it tries until both get the same one.
///
/// # Errors
/// Those of `socket` and `bind`; `AddrInUse` says that one of the two is taken.
pub fn bind_pair(address: BindAddress, options: &UdpOptions) -> io::Result<BoundPair> {
    match address {
        BindAddress::Exactly(addr) => bind_pair_at(addr, options),
        BindAddress::Any { port } => {
            match bind_pair_at((Ipv6Addr::UNSPECIFIED, port).into(), options) {
                Err(error) if is_missing_family(&error) => {
                    tracing::info!(%error, "no IPv6 here; listening on IPv4 only");
                    bind_pair_at((Ipv4Addr::UNSPECIFIED, port).into(), options)
                }
                result => result,
            }
        }
    }
}

fn bind_pair_at(addr: SocketAddr, options: &UdpOptions) -> io::Result<BoundPair> {
    // Kept until the end, so that the kernel does not offer a refused port again.
    let mut refused = Vec::new();
    loop {
        let tcp = listen(addr)?;
        let port = tcp.local_addr()?.port();
        let mut same_port = addr;
        same_port.set_port(port);
        match UdpSocket::bind(same_port, options) {
            Ok(udp) => return Ok(BoundPair { tcp, udp }),
            Err(error)
                if error.kind() == io::ErrorKind::AddrInUse
                    && addr.port() == 0
                    && refused.len() < PAIR_ATTEMPTS =>
            {
                refused.push(tcp);
            }
            Err(error) => return Err(error),
        }
    }
}

/// A listening TCP socket; dual stack when `addr` is the unspecified IPv6 address.
///
/// # Errors
/// Those of `socket`, `bind` and `listen`.
pub fn listen(addr: SocketAddr) -> io::Result<mio::net::TcpListener> {
    let socket = new_socket(addr, Type::STREAM, Protocol::TCP)?;
    // A restarted server must not wait for old connections to time out. On Windows the option
    // would let another process take the port.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.bind(&SockAddr::from(addr))?;
    socket.listen(LISTEN_BACKLOG)?;
    let listener = mio::net::TcpListener::from_std(socket.into());
    tcp::tune_listener(&listener);
    Ok(listener)
}

pub(crate) fn new_udp(addr: SocketAddr) -> io::Result<Socket> {
    new_socket(addr, Type::DGRAM, Protocol::UDP)
}

fn new_socket(addr: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), kind, Some(protocol))?;
    if addr.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Asks for the buffers and returns what the kernel granted: receive, send.
pub(crate) fn size_buffers(socket: &Socket, options: &UdpOptions) -> io::Result<(usize, usize)> {
    size_recv_buffer(socket, options.recv_buffer_bytes);
    size_send_buffer(socket, options.send_buffer_bytes);
    Ok((socket.recv_buffer_size()?, socket.send_buffer_size()?))
}

fn size_recv_buffer(socket: &Socket, bytes: usize) {
    // Beyond net.core.rmem_max only with CAP_NET_ADMIN.
    #[cfg(all(target_os = "linux", not(feature = "portable-io")))]
    if rustix::net::sockopt::set_socket_recv_buffer_size_force(socket, bytes).is_ok() {
        return;
    }
    if let Err(error) = socket.set_recv_buffer_size(bytes) {
        tracing::debug!(bytes, %error, "receive buffer stays as it is");
    }
}

fn size_send_buffer(socket: &Socket, bytes: usize) {
    #[cfg(all(target_os = "linux", not(feature = "portable-io")))]
    if rustix::net::sockopt::set_socket_send_buffer_size_force(socket, bytes).is_ok() {
        return;
    }
    if let Err(error) = socket.set_send_buffer_size(bytes) {
        tracing::debug!(bytes, %error, "send buffer stays as it is");
    }
}

/// Whether the machine has no such address family, or has it switched off.
fn is_missing_family(error: &io::Error) -> bool {
    #[cfg(unix)]
    const NO_FAMILY: i32 = libc::EAFNOSUPPORT;
    #[cfg(not(unix))]
    const NO_FAMILY: i32 = 10_047; // WSAEAFNOSUPPORT
    error.raw_os_error() == Some(NO_FAMILY) || error.kind() == io::ErrorKind::AddrNotAvailable
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_shares_its_port() {
        for addr in [BindAddress::Any { port: 0 }, loopback(0)] {
            let pair = bind_pair(addr, &UdpOptions::default()).unwrap();
            let tcp = pair.tcp.local_addr().unwrap();
            assert_ne!(tcp.port(), 0);
            assert_eq!(tcp, pair.local_addr());
        }
    }

    #[test]
    fn a_taken_port_is_an_error_for_either_half() {
        let pair = bind_pair(loopback(0), &UdpOptions::default()).unwrap();
        let port = pair.local_addr().port();
        let error = bind_pair(loopback(port), &UdpOptions::default()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        let BoundPair { tcp, udp } = pair;
        drop(tcp);
        let error = bind_pair(loopback(port), &UdpOptions::default()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        drop(udp);
    }

    #[test]
    fn a_missing_family_is_told_from_other_errors() {
        assert!(is_missing_family(&io::ErrorKind::AddrNotAvailable.into()));
        assert!(!is_missing_family(&io::ErrorKind::AddrInUse.into()));
        #[cfg(unix)]
        assert!(is_missing_family(&io::Error::from_raw_os_error(
            libc::EAFNOSUPPORT
        )));
    }

    #[test]
    fn buffers_are_read_back() {
        let small = UdpOptions {
            recv_buffer_bytes: 1 << 16,
            send_buffer_bytes: 1 << 16,
        };
        let addr = (Ipv4Addr::LOCALHOST, 0).into();
        let small = UdpSocket::bind(addr, &small).unwrap();
        let large = UdpSocket::bind(addr, &UdpOptions::default()).unwrap();
        assert!(small.recv_buffer_bytes() >= 1 << 16);
        assert!(large.recv_buffer_bytes() > small.recv_buffer_bytes());
        assert!(large.send_buffer_bytes() > small.send_buffer_bytes());
    }

    fn loopback(port: u16) -> BindAddress {
        BindAddress::Exactly((Ipv4Addr::LOCALHOST, port).into())
    }
}
