//! Socket options for trains, udp(7).
#![expect(unsafe_code, reason = "no safe wrapper sets UDP_SEGMENT and UDP_GRO")]

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

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
    #[expect(clippy::cast_possible_truncation, reason = "4 fits")]
    const INT_BYTES: libc::socklen_t = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the option's value is the `int` that pointer and length describe.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_UDP,
            option,
            (&raw const value).cast(),
            INT_BYTES,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
