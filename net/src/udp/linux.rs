//! UDP on Linux: `sendmsg` with segmentation offload, `recvmmsg` with receive offload, udp(7).
//!
//! The unsafe code here: three system calls and the addresses they fill in.
#![expect(
    unsafe_code,
    reason = "no safe wrapper offers UDP_SEGMENT and UDP_GRO per message"
)]

use std::io;
use std::mem::{size_of, zeroed};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::AsRawFd;
use std::ptr;

use columba_core::units::Ecn;
use libc::{c_int, c_uint, socklen_t};
use rustix::net::sockopt;

use super::batch::{Received, RecvBatch};
use super::send::SendCall;
use super::{Family, normalise_address};
use crate::cmsg::{self, Control};
use crate::option::set_option;

/// UDP_SEGMENT's `u16` and one `int` for ECN.
const SEND_CONTROL_BYTES: usize = cmsg::space_for(&[2, 4]);

/// IP_TOS or IPV6_TCLASS, UDP_GRO and SO_RXQ_OVFL need 72; room to spare for options of others.
const RECV_CONTROL_BYTES: usize = 128;
const _: () = assert!(cmsg::space_for(&[4, 4, 4]) <= RECV_CONTROL_BYTES);

#[expect(clippy::cast_possible_truncation, reason = "16 fits")]
const SLOT_COUNT: c_uint = RecvBatch::SLOTS as c_uint;

/// `UDP_MAX_SEGMENTS` of linux/udp.h before it was raised to 128 (6.9).
const MAX_SEGMENTS: usize = 64;

/// The Linux half of a [`super::UdpSocket`].
#[derive(Debug)]
pub(super) struct Io {
    family: Family,
    max_segments: usize,
    kernel_drops: u64,
    /// The kernel's counter as last seen: 32 bits that wrap.
    last_drop_count: u32,
    unreadable: u64,
}

impl Io {
    /// Sets all options that a socket needs before it is bound.
    pub(super) fn configure(socket: &socket2::Socket, family: Family) -> io::Result<()> {
        use sockopt::{Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery};
        // A dual-stack socket carries both families: each option is needed for each.
        sockopt::set_ip_mtu_discover(socket, Ipv4PathMtuDiscovery::PROBE)?;
        sockopt::set_ip_recvtos(socket, true)?;
        if family == Family::V6 {
            sockopt::set_ipv6_mtu_discover(socket, Ipv6PathMtuDiscovery::PROBE)?;
            // Without it the kernel fragments what is larger than the interface's MTU.
            set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG, 1)?;
            sockopt::set_ipv6_recvtclass(socket, true)?;
        }
        set_option(socket, libc::SOL_SOCKET, libc::SO_RXQ_OVFL, 1)?;
        // Linux 5.0 has it; without it each datagram arrives alone.
        if let Err(error) = set_option(socket, libc::SOL_UDP, libc::UDP_GRO, 1) {
            tracing::debug!(%error, "no UDP receive offload");
        }
        Ok(())
    }

    pub(super) fn new(socket: &mio::net::UdpSocket, family: Family) -> io::Result<Self> {
        // A kernel before 4.18 would ignore UDP_SEGMENT and send one huge datagram: ask first.
        let segmentation = set_option(socket, libc::SOL_UDP, libc::UDP_SEGMENT, 0).is_ok();
        Ok(Self {
            family,
            max_segments: if segmentation { MAX_SEGMENTS } else { 1 },
            kernel_drops: 0,
            last_drop_count: 0,
            unreadable: 0,
        })
    }

    pub(super) fn kernel_drops(&self) -> u64 {
        self.kernel_drops
    }

    pub(super) fn unreadable(&self) -> u64 {
        self.unreadable
    }

    /// One `recvmmsg`: fills the batch from its first slot on.
    pub(super) fn recv(
        &mut self,
        socket: &mio::net::UdpSocket,
        batch: &mut RecvBatch,
    ) -> io::Result<usize> {
        batch.received.clear();
        let mut names = [Name::empty(); RecvBatch::SLOTS];
        let mut controls = [Control::<RECV_CONTROL_BYTES>::new(); RecvBatch::SLOTS];
        let mut buffers = [libc::iovec {
            iov_base: ptr::null_mut(),
            iov_len: 0,
        }; RecvBatch::SLOTS];
        // SAFETY: `mmsghdr` is integers and pointers, for which all-zero is a valid value; it may
        // have private padding fields, so it cannot be written as a literal.
        let mut headers: [libc::mmsghdr; RecvBatch::SLOTS] = unsafe { zeroed() };
        let slots = batch.buffer.chunks_exact_mut(RecvBatch::SLOT_BYTES);
        for (index, slot) in slots.enumerate() {
            buffers[index].iov_base = slot.as_mut_ptr().cast();
            buffers[index].iov_len = slot.len();
            let header = &mut headers[index].msg_hdr;
            header.msg_name = ptr::from_mut(&mut names[index]).cast();
            header.msg_namelen = Name::BYTES;
            header.msg_iov = &raw mut buffers[index];
            header.msg_iovlen = 1;
            header.msg_control = controls[index].0.as_mut_ptr().cast();
            header.msg_controllen = RECV_CONTROL_BYTES;
        }
        let received = retry_interrupted(|| {
            // SAFETY: `headers` has SLOTS entries; each points to a name, an iovec and a control
            // buffer in arrays of this frame and to its own slot of `batch.buffer`, all of the
            // lengths given and all alive and otherwise unused until the call returns.
            unsafe {
                libc::recvmmsg(
                    socket.as_raw_fd(),
                    headers.as_mut_ptr(),
                    SLOT_COUNT,
                    0,
                    ptr::null_mut(),
                )
            }
        })?;
        for slot in 0..received.min(RecvBatch::SLOTS) {
            let message = Message {
                header: &headers[slot],
                name: &names[slot],
                control: &controls[slot].0,
            };
            self.note(&message, slot, batch);
        }
        Ok(batch.received.len())
    }

    /// Takes down what the kernel said about one filled slot.
    fn note(&mut self, message: &Message<'_>, slot: usize, batch: &mut RecvBatch) {
        let bytes = message.header.msg_len as usize;
        let cut = libc::MSG_TRUNC | libc::MSG_CTRUNC;
        let from = message.name.to_socket_addr();
        let (Some(from), 0) = (from, message.header.msg_hdr.msg_flags & cut) else {
            // A cut train or an unknown segment size cannot be told apart from garbage.
            self.unreadable += 1;
            return;
        };
        let mut segment_bytes = bytes;
        let mut ecn = None;
        let used = message
            .header
            .msg_hdr
            .msg_controllen
            .min(message.control.len());
        for entry in cmsg::messages(&message.control[..used]) {
            match (entry.level, entry.kind) {
                (libc::IPPROTO_IP, libc::IP_TOS) | (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                    let octet = entry
                        .as_int()
                        .and_then(|value| u8::try_from(value & 0xff).ok());
                    ecn = octet.map(Ecn::from_bits);
                }
                (libc::SOL_UDP, libc::UDP_GRO) => {
                    if let Some(size) = entry.as_int().and_then(|size| usize::try_from(size).ok()) {
                        segment_bytes = size;
                    }
                }
                (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => {
                    if let Some(count) = entry.as_int() {
                        self.note_drops(count.cast_unsigned());
                    }
                }
                _ => {}
            }
        }
        batch.received.push(Received {
            from: normalise_address(from),
            ecn,
            segment_bytes,
            slot,
            bytes,
        });
    }

    fn note_drops(&mut self, count: u32) {
        self.kernel_drops += u64::from(count.wrapping_sub(self.last_drop_count));
        self.last_drop_count = count;
    }
}

impl SendCall for Io {
    fn max_segments(&self) -> usize {
        self.max_segments
    }

    fn send_call(
        &mut self,
        socket: &mio::net::UdpSocket,
        to: SocketAddr,
        segment_bytes: Option<u16>,
        data: &[u8],
        ecn: Option<Ecn>,
    ) -> io::Result<()> {
        let wire_to = self.family.wire_address(to)?;
        let name = socket2::SockAddr::from(wire_to);
        let mut control = Control::<SEND_CONTROL_BYTES>::new();
        let mut writer = cmsg::Writer::new(&mut control.0);
        if let Some(size) = segment_bytes {
            writer.push(libc::SOL_UDP, libc::UDP_SEGMENT, &size.to_ne_bytes());
        }
        if let Some(ecn) = ecn.filter(|ecn| *ecn != Ecn::NotEct) {
            let value = c_int::from(ecn.bits()).to_ne_bytes();
            // The kernel sends to a v4-mapped address as IPv4 and reads IPv4's option then.
            match to {
                SocketAddr::V4(_) => writer.push(libc::IPPROTO_IP, libc::IP_TOS, &value),
                SocketAddr::V6(_) => writer.push(libc::IPPROTO_IPV6, libc::IPV6_TCLASS, &value),
            }
        }
        let control_used = writer.used();
        let mut buffer = libc::iovec {
            iov_base: data.as_ptr().cast_mut().cast(),
            iov_len: data.len(),
        };
        // SAFETY: as for `mmsghdr` above.
        let mut header: libc::msghdr = unsafe { zeroed() };
        header.msg_name = name.as_ptr().cast_mut().cast();
        header.msg_namelen = name.len();
        header.msg_iov = &raw mut buffer;
        header.msg_iovlen = 1;
        if control_used > 0 {
            header.msg_control = control.0.as_mut_ptr().cast();
            header.msg_controllen = control_used;
        }
        retry_interrupted(|| {
            // SAFETY: name, iovec, payload and control buffer outlive the call and have the
            // lengths given; sendmsg only reads through these pointers.
            let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const header, 0) };
            c_int::try_from(sent).unwrap_or(c_int::MAX)
        })?;
        Ok(())
    }
}

/// One filled slot: its header, and the arrays' entries the header points to.
struct Message<'a> {
    header: &'a libc::mmsghdr,
    name: &'a Name,
    control: &'a [u8],
}

/// Room for the sender's address, of either family.
#[derive(Clone, Copy)]
#[repr(C)]
union Name {
    family: libc::sa_family_t,
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

impl Name {
    // An IPv6 address is the largest that an Internet socket yields: 28 bytes.
    #[expect(clippy::cast_possible_truncation, reason = "28 fits")]
    const BYTES: socklen_t = size_of::<Self>() as socklen_t;

    const fn empty() -> Self {
        // SAFETY: all fields are plain integers and arrays of them, for which zero is valid;
        // family 0 (AF_UNSPEC) stands for "not filled in".
        unsafe { zeroed() }
    }

    fn to_socket_addr(self) -> Option<SocketAddr> {
        // SAFETY: every byte was initialised by `empty` or the kernel, every bit pattern is a
        // valid value of every field, and both address types begin with the family.
        unsafe {
            match c_int::from(self.family) {
                libc::AF_INET => {
                    let ip = Ipv4Addr::from(u32::from_be(self.v4.sin_addr.s_addr));
                    let port = u16::from_be(self.v4.sin_port);
                    Some(SocketAddrV4::new(ip, port).into())
                }
                libc::AF_INET6 => {
                    let ip = Ipv6Addr::from(self.v6.sin6_addr.s6_addr);
                    let port = u16::from_be(self.v6.sin6_port);
                    Some(SocketAddrV6::new(ip, port, 0, self.v6.sin6_scope_id).into())
                }
                _ => None,
            }
        }
    }
}

/// Calls until it is not interrupted by a signal; a negative result is the error in `errno`.
fn retry_interrupted(mut call: impl FnMut() -> c_int) -> io::Result<usize> {
    loop {
        if let Ok(done) = usize::try_from(call()) {
            return Ok(done);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drop_counter_survives_its_wrap() {
        let mut io = Io {
            family: Family::V4,
            max_segments: 1,
            kernel_drops: 0,
            last_drop_count: 0,
            unreadable: 0,
        };
        io.note_drops(u32::MAX);
        io.note_drops(4);
        assert_eq!(io.kernel_drops(), u64::from(u32::MAX) + 5);
    }

    #[test]
    fn an_unfilled_name_is_no_address() {
        assert_eq!(Name::empty().to_socket_addr(), None);
    }
}
