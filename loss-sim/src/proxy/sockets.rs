//! Taking the port: the same number for TCP and UDP.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use mio::net::{TcpListener, UdpSocket};
use socket2::{Domain, Protocol, Socket, Type};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;

/// How often a port that is free for TCP is tried for UDP, when any will do.
const ATTEMPTS: usize = 64;

/// Binds TCP and UDP to the same port of `address`; with port 0 to any that is free for both.
pub(crate) fn listen(address: SocketAddr) -> io::Result<(TcpListener, UdpSocket)> {
    let mut attempts = if address.port() == 0 { ATTEMPTS } else { 1 };
    loop {
        let tcp = bind(address, Type::STREAM, Protocol::TCP)?;
        tcp.listen(BACKLOG)?;
        let tcp = TcpListener::from_std(tcp.into());
        attempts -= 1;
        match bind(tcp.local_addr()?, Type::DGRAM, Protocol::UDP) {
            Ok(udp) => return Ok((tcp, UdpSocket::from_std(udp.into()))),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && attempts > 0 => {}
            Err(error) => return Err(error),
        }
    }
}

/// A UDP socket that talks to `upstream` only, from `local` or whichever address fits.
pub(crate) fn connect_udp(upstream: SocketAddr, local: Option<IpAddr>) -> io::Result<UdpSocket> {
    let any = match upstream {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((local.unwrap_or(any), 0).into())?;
    socket.connect(upstream)?;
    Ok(socket)
}

fn bind(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if address.is_ipv6() {
        // `[::]` is to mean every address, IPv4 too.
        socket.set_only_v6(false)?;
    }
    // On Unix this lets a restarted proxy have its port back at once; elsewhere it would let two
    // programs share a port.
    #[cfg(unix)]
    if kind == Type::STREAM {
        socket.set_reuse_address(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_protocols_get_the_same_port() {
        let (tcp, udp) = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        assert_eq!(tcp.local_addr().unwrap(), udp.local_addr().unwrap());
        let error = listen(udp.local_addr().unwrap()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
