//! UDP input and output with the standard library's means: what runs where there is no `recvmmsg`.
//! ECN codepoints are neither seen nor set, and the kernel's own drops stay unknown.

use std::io;

use mio::net::UdpSocket;
use socket2::SockRef;

use super::{MAX_DATAGRAM_BYTES, Outgoing, RECEIVE_BATCH, Received, SOCKET_BUFFER_BYTES};

/// Asks for large buffers.
pub(crate) fn prepare(socket: &UdpSocket) {
    let socket = SockRef::from(socket);
    // Whatever the system allows is good enough.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER_BYTES);
}

/// How many datagrams the kernel has dropped before they could be received: not known here.
pub(crate) fn kernel_drops(_socket: &UdpSocket) -> u32 {
    0
}

/// The buffer for input.
#[derive(Debug)]
pub(crate) struct UdpIo {
    buffer: Vec<u8>,
}

impl UdpIo {
    pub(crate) fn new() -> Self {
        Self {
            buffer: vec![0; MAX_DATAGRAM_BYTES],
        }
    }

    /// One that sends larger datagrams than this one by one: here it sends all of them so.
    #[cfg(any(not(target_os = "linux"), feature = "portable-io"))]
    pub(crate) fn with_largest_segment(_largest_segment_bytes: usize) -> Self {
        Self::new()
    }

    /// Receives at most a batch and says how many came; fewer than a batch does not mean that there are
    /// no more. `WouldBlock` when there were none.
    pub(crate) fn receive(
        &mut self,
        socket: &UdpSocket,
        mut each: impl FnMut(Received<'_>),
    ) -> io::Result<usize> {
        for count in 0..RECEIVE_BATCH {
            match socket.recv_from(&mut self.buffer) {
                Ok((len, from)) => each(Received {
                    from,
                    ecn: 0,
                    bytes: self.buffer.get(..len).unwrap_or_default(),
                }),
                Err(_) if count > 0 => return Ok(count),
                Err(error) => return Err(error),
            }
        }
        Ok(RECEIVE_BATCH)
    }

    /// Sends as many as go without an error and says how many; an error concerns the first one.
    pub(crate) fn send(
        &mut self,
        socket: &UdpSocket,
        packets: &[Outgoing<'_>],
    ) -> io::Result<usize> {
        for (count, packet) in packets.iter().enumerate() {
            let result = match packet.to.and_then(socket2::SockAddr::as_socket) {
                Some(to) => socket.send_to(packet.bytes, to),
                None => socket.send(packet.bytes),
            };
            match result {
                Ok(_) => {}
                Err(_) if count > 0 => return Ok(count),
                Err(error) => return Err(error),
            }
        }
        Ok(packets.len())
    }
}
