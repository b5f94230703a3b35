//! Without offload there are no limit rows.

use std::io;
use std::net::UdpSocket;

pub(super) fn send_trains(_socket: &UdpSocket, _datagram_bytes: usize) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(super) fn receive_trains(_socket: &UdpSocket) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(in crate::transports) fn enlarge(_socket: &UdpSocket, _receive: usize, _send: usize) -> usize {
    0
}
