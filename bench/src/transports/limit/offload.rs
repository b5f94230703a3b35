//! Socket options for trains, udp(7).

use std::io;
use std::net::UdpSocket;

use columba_net::option::set_option;
use rustix::net::sockopt;

/// Every send becomes datagrams of this size.
pub(super) fn send_trains(socket: &UdpSocket, datagram_bytes: usize) -> io::Result<()> {
    set(socket, libc::UDP_SEGMENT, datagram_bytes)
}

/// Every receive may bring a whole train.
pub(super) fn receive_trains(socket: &UdpSocket) -> io::Result<()> {
    set(socket, libc::UDP_GRO, 1)
}

/// Asks for larger buffers, with force where this user may; returns the receive buffer that there is.
pub(in crate::transports) fn enlarge(socket: &UdpSocket, receive: usize, send: usize) -> usize {
    let plain = |_| sockopt::set_socket_recv_buffer_size(socket, receive);
    // Less than asked for is no error; what there is counts.
    let _ = sockopt::set_socket_recv_buffer_size_force(socket, receive).or_else(plain);
    let plain = |_| sockopt::set_socket_send_buffer_size(socket, send);
    let _ = sockopt::set_socket_send_buffer_size_force(socket, send).or_else(plain);
    sockopt::socket_recv_buffer_size(socket).unwrap_or(0)
}

fn set(socket: &UdpSocket, option: libc::c_int, value: usize) -> io::Result<()> {
    let value = libc::c_int::try_from(value).map_err(|_| io::ErrorKind::InvalidInput)?;
    set_option(socket, libc::SOL_UDP, option, value)
}
