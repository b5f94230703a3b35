//! UDP input and output on Linux: `recvmmsg`, `sendmmsg` with `UDP_SEGMENT`, ECN codepoints, and the
//! kernel's count of datagrams it dropped.
#![expect(
    unsafe_code,
    reason = "recvmmsg, sendmmsg and control messages have no safe wrapper; all of it stands in this file"
)]

use std::io;
use std::mem;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::AsRawFd;
use std::ptr;

use libc::{c_int, c_void};
use mio::net::UdpSocket;

use super::{
    BATCH, MAX_DATAGRAM_BYTES, Outgoing, RECEIVE_BATCH, Received, SOCKET_BUFFER_BYTES, train_len,
};

/// Room for the control messages of one datagram, aligned as `cmsghdr` needs: traffic class of either
/// family takes 24 bytes.
type Control = [u64; 8];

/// The two bits of the traffic class that are ECN.
const ECN_MASK: u8 = 0b11;

fn set_option(socket: &UdpSocket, level: c_int, name: c_int, value: c_int) -> io::Result<()> {
    // SAFETY: the pointer and the length describe `value`, which the kernel only reads.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            ptr::from_ref(&value).cast::<c_void>(),
            SIZE_OF_INT,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[expect(clippy::cast_possible_truncation, reason = "it is 4")]
const SIZE_OF_INT: libc::socklen_t = size_of::<c_int>() as libc::socklen_t;
#[expect(clippy::cast_possible_truncation, reason = "it is 2")]
const SIZE_OF_SEGMENT: libc::socklen_t = size_of::<u16>() as libc::socklen_t;

/// Asks for large buffers and for the ECN codepoint of each datagram.
pub(crate) fn prepare(socket: &UdpSocket) {
    let bytes = c_int::try_from(SOCKET_BUFFER_BYTES).unwrap_or(c_int::MAX);
    for (forced, ordinary) in [
        (libc::SO_RCVBUFFORCE, libc::SO_RCVBUF),
        (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF),
    ] {
        // The first needs CAP_NET_ADMIN; the second gives what the system's limits allow.
        if set_option(socket, libc::SOL_SOCKET, forced, bytes).is_err() {
            let _ = set_option(socket, libc::SOL_SOCKET, ordinary, bytes);
        }
    }
    // Each fails harmlessly on a socket of the other family.
    let _ = set_option(socket, libc::SOL_IP, libc::IP_RECVTOS, 1);
    let _ = set_option(socket, libc::SOL_IPV6, libc::IPV6_RECVTCLASS, 1);
}

/// How many datagrams the kernel has dropped because the socket's receive buffer was full: the counter
/// that `SO_RXQ_OVFL` reports with the next datagram, here without waiting for one.
pub(crate) fn kernel_drops(socket: &UdpSocket) -> u32 {
    let mut values = [0_u32; 16];
    let mut len = libc::socklen_t::try_from(size_of_val(&values)).unwrap_or(0);
    // SAFETY: `len` is the size of `values`, which the kernel fills with at most that many bytes.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_MEMINFO,
            values.as_mut_ptr().cast::<c_void>(),
            &raw mut len,
        )
    };
    let index = usize::try_from(libc::SK_MEMINFO_DROPS).unwrap_or(usize::MAX);
    match values.get(index) {
        Some(drops) if result == 0 => *drops,
        _ => 0,
    }
}

/// `SO_MEMINFO` of `asm-generic/socket.h`, which the libc crate has only for some targets.
const SO_MEMINFO: c_int = 55;

/// Buffers for a batch of input, and what is known about output.
#[derive(Debug)]
pub(crate) struct UdpIo {
    buffers: Vec<u8>,
    /// Datagrams up to this size go out in trains: less than at first once the system refused one.
    largest_segment_bytes: usize,
}

impl UdpIo {
    pub(crate) fn new() -> Self {
        Self {
            buffers: vec![0; RECEIVE_BATCH * MAX_DATAGRAM_BYTES],
            largest_segment_bytes: MAX_DATAGRAM_BYTES,
        }
    }

    /// One that sends larger datagrams than this one by one, as after the system has refused trains.
    pub(crate) fn with_largest_segment(largest_segment_bytes: usize) -> Self {
        Self {
            largest_segment_bytes,
            ..Self::new()
        }
    }

    /// Receives at most a batch and says how many came; fewer than a batch does not mean that there are
    /// no more. `WouldBlock` when there were none.
    pub(crate) fn receive(
        &mut self,
        socket: &UdpSocket,
        mut each: impl FnMut(Received<'_>),
    ) -> io::Result<usize> {
        let mut controls = [[0; 8]; RECEIVE_BATCH];
        // SAFETY: these C structs consist of integers and pointers, for which zero is a valid value.
        let (mut names, mut slices, mut headers): (
            [libc::sockaddr_storage; RECEIVE_BATCH],
            [libc::iovec; RECEIVE_BATCH],
            [libc::mmsghdr; RECEIVE_BATCH],
        ) = unsafe { (mem::zeroed(), mem::zeroed(), mem::zeroed()) };
        let places = self.buffers.chunks_exact_mut(MAX_DATAGRAM_BYTES);
        let parts = places.zip(&mut slices).zip(&mut names).zip(&mut controls);
        for (header, (((buffer, slice), name), control)) in headers.iter_mut().zip(parts) {
            slice.iov_base = buffer.as_mut_ptr().cast::<c_void>();
            slice.iov_len = buffer.len();
            let header = &mut header.msg_hdr;
            header.msg_name = ptr::from_mut(name).cast::<c_void>();
            header.msg_namelen = libc::socklen_t::try_from(size_of_val(name)).unwrap_or(0);
            header.msg_iov = slice;
            header.msg_iovlen = 1;
            header.msg_control = control.as_mut_ptr().cast::<c_void>();
            header.msg_controllen = size_of_val(control) as _;
        }
        let count = socket.try_io(|| {
            // SAFETY: every header points to a name, an iovec, a buffer and a control buffer of its own,
            // with their true sizes, all of which outlive the call.
            let result = unsafe {
                libc::recvmmsg(
                    socket.as_raw_fd(),
                    headers.as_mut_ptr(),
                    RECEIVE_BATCH.try_into().unwrap_or(0),
                    libc::MSG_DONTWAIT as _,
                    ptr::null_mut(),
                )
            };
            usize::try_from(result).map_err(|_| io::Error::last_os_error())
        })?;
        let buffers = self.buffers.chunks_exact(MAX_DATAGRAM_BYTES);
        for ((header, buffer), name) in headers.iter().zip(buffers).zip(&names).take(count) {
            let len = header.msg_len as usize;
            if let Some(from) = socket_address(name) {
                each(Received {
                    from,
                    ecn: received_ecn(&header.msg_hdr),
                    bytes: buffer.get(..len).unwrap_or_default(),
                });
            }
        }
        Ok(count)
    }

    /// Sends as many as go without an error, at most a batch, and says how many; an error concerns the
    /// first one. Datagrams of one size to one place go out as a train (`UDP_SEGMENT`): the kernel takes
    /// it through its layers once, and cuts it at the end.
    pub(crate) fn send(
        &mut self,
        socket: &UdpSocket,
        packets: &[Outgoing<'_>],
    ) -> io::Result<usize> {
        loop {
            let error = match send_trains(socket, packets, self.largest_segment_bytes) {
                Ok(count) => return Ok(count),
                Err(error) => error,
            };
            let train = train_len(packets, self.largest_segment_bytes);
            let segment_bytes = packets.first().map_or(0, |first| first.bytes.len());
            match error.raw_os_error() {
                // Segments larger than the path's MTU: one by one the kernel would fragment them.
                Some(libc::EINVAL | libc::EMSGSIZE) if train > 1 => {
                    self.largest_segment_bytes = segment_bytes - 1;
                }
                // A device or a policy that can't do with trains.
                Some(libc::EIO | libc::EOPNOTSUPP) if train > 1 => self.largest_segment_bytes = 0,
                _ => return Err(error),
            }
        }
    }
}

/// Sends the first batch of packets, in as few messages as it can, and says how many went.
fn send_trains(
    socket: &UdpSocket,
    packets: &[Outgoing<'_>],
    largest_segment_bytes: usize,
) -> io::Result<usize> {
    let packets = packets.get(..BATCH).unwrap_or(packets);
    let mut controls: [Control; BATCH] = [[0; 8]; BATCH];
    let mut lengths = [0; BATCH];
    // SAFETY: these C structs consist of integers and pointers, for which zero is a valid value.
    let (mut slices, mut headers): ([libc::iovec; BATCH], [libc::mmsghdr; BATCH]) =
        unsafe { (mem::zeroed(), mem::zeroed()) };
    for (slice, packet) in slices.iter_mut().zip(packets) {
        // sendmmsg takes what it only reads as a mutable pointer.
        slice.iov_base = packet.bytes.as_ptr().cast_mut().cast::<c_void>();
        slice.iov_len = packet.bytes.len();
    }
    let (mut rest, mut free_slices) = (packets, &mut slices[..]);
    let mut messages = 0;
    let places = headers.iter_mut().zip(&mut controls).zip(&mut lengths);
    for ((header, control), length) in places {
        let Some(first) = rest.first() else { break };
        *length = train_len(rest, largest_segment_bytes);
        let (train_slices, others) = mem::take(&mut free_slices).split_at_mut(*length);
        let header = &mut header.msg_hdr;
        header.msg_iov = train_slices.as_mut_ptr();
        header.msg_iovlen = *length as _;
        if let Some(to) = first.to {
            header.msg_name = to.as_ptr().cast_mut().cast::<c_void>();
            header.msg_namelen = to.len();
        }
        attach_control(header, control, first, *length);
        (rest, free_slices) = (rest.get(*length..).unwrap_or_default(), others);
        messages += 1;
    }
    let sent = socket.try_io(|| {
        // SAFETY: the first `messages` headers point to as many iovecs as they say and, where set, an
        // address and control messages of their own, with their true sizes, all of which outlive the call.
        let result = unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                messages,
                libc::MSG_DONTWAIT as _,
            )
        };
        usize::try_from(result).map_err(|_| io::Error::last_os_error())
    })?;
    Ok(lengths.iter().take(sent).sum())
}

/// Adds to a message what is not in its bytes: the ECN codepoint, and the size of a train's datagrams.
fn attach_control(
    header: &mut libc::msghdr,
    control: &mut Control,
    first: &Outgoing<'_>,
    datagrams: usize,
) {
    let ecn_option = if first.is_ipv4 {
        (libc::SOL_IP, libc::IP_TOS)
    } else {
        (libc::SOL_IPV6, libc::IPV6_TCLASS)
    };
    let ecn = (first.ecn != 0).then(|| (ecn_option, c_int::from(first.ecn & ECN_MASK)));
    let segment_bytes = u16::try_from(first.bytes.len()).unwrap_or(u16::MAX);
    let segment = (datagrams > 1).then_some(segment_bytes);
    if ecn.is_none() && segment.is_none() {
        return;
    }
    header.msg_control = control.as_mut_ptr().cast::<c_void>();
    header.msg_controllen = size_of_val(control) as _;
    let mut used = 0;
    // SAFETY: the control buffer is aligned for `cmsghdr` and, with 64 bytes, has room for one message with
    // an int and one with a u16, 24 bytes each; it is zero, so that CMSG_NXTHDR finds the second's place.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(header);
        if let Some(((level, kind), value)) = ecn {
            (*message).cmsg_level = level;
            (*message).cmsg_type = kind;
            (*message).cmsg_len = libc::CMSG_LEN(SIZE_OF_INT) as _;
            ptr::write_unaligned(libc::CMSG_DATA(message).cast::<c_int>(), value);
            used += libc::CMSG_SPACE(SIZE_OF_INT);
            message = libc::CMSG_NXTHDR(header, message);
        }
        if let Some(bytes) = segment {
            (*message).cmsg_level = libc::SOL_UDP;
            (*message).cmsg_type = libc::UDP_SEGMENT;
            (*message).cmsg_len = libc::CMSG_LEN(SIZE_OF_SEGMENT) as _;
            ptr::write_unaligned(libc::CMSG_DATA(message).cast::<u16>(), bytes);
            used += libc::CMSG_SPACE(SIZE_OF_SEGMENT);
        }
    }
    header.msg_controllen = used as _;
}

/// The ECN codepoint that came with a datagram; 0 when none did.
fn received_ecn(header: &libc::msghdr) -> u8 {
    // SAFETY: the header and its control buffer were filled by recvmmsg; the CMSG functions stay within
    // `msg_controllen`. Of the data only the first byte is read for IPv4 (where the kernel writes one)
    // and an int for IPv6 (where it writes one).
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(header);
        while let Some(current) = message.as_ref() {
            let data = libc::CMSG_DATA(message);
            match (current.cmsg_level, current.cmsg_type) {
                (libc::SOL_IP, libc::IP_TOS) => return ptr::read(data) & ECN_MASK,
                (libc::SOL_IPV6, libc::IPV6_TCLASS) => {
                    let class = ptr::read_unaligned(data.cast::<c_int>());
                    return class.to_le_bytes()[0] & ECN_MASK;
                }
                _ => message = libc::CMSG_NXTHDR(header, message),
            }
        }
    }
    0
}

/// Reads an address as the kernel wrote it; `None` for other families.
fn socket_address(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    let pointer = ptr::from_ref(storage);
    match c_int::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that the storage, which is large and aligned enough for any
            // address, holds a `sockaddr_in`.
            let address = unsafe { &*pointer.cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr));
            Some(SocketAddrV4::new(ip, u16::from_be(address.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above, a `sockaddr_in6`.
            let address = unsafe { &*pointer.cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(address.sin6_addr.s6_addr);
            let port = u16::from_be(address.sin6_port);
            let flow = address.sin6_flowinfo;
            Some(SocketAddrV6::new(ip, port, flow, address.sin6_scope_id).into())
        }
        _ => None,
    }
}
