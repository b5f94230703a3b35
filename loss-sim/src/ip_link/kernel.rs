//! What the kernel must be asked for without a safe wrapper: a namespace, mounts, and a network device.
#![expect(
    unsafe_code,
    reason = "unshare, mount, umount2 and the ioctls of network devices have no safe wrapper; all of it stands in this file"
)]

use std::ffi::{CString, c_char, c_short};
use std::io;
use std::mem;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

use libc::{__c_anonymous_ifr_ifru, c_int, c_ulong};

fn check(result: c_int) -> io::Result<()> {
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

fn c_string(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

/// Moves the calling thread, and no other, into a new network namespace.
pub(super) fn unshare_network() -> io::Result<()> {
    // SAFETY: the network namespace is of no concern to memory, descriptors stay as they are.
    check(unsafe { libc::unshare(libc::CLONE_NEWNET) })
}

/// Shows `from` at `to` as well, with all that is mounted below it.
pub(super) fn bind_mount(from: &Path, to: &Path) -> io::Result<()> {
    mount(from, to, libc::MS_BIND | libc::MS_REC)
}

/// Has mounts below a mount point appear in all mount namespaces that have it.
pub(super) fn share_mount(path: &Path) -> io::Result<()> {
    mount(path, path, libc::MS_SHARED | libc::MS_REC)
}

fn mount(from: &Path, to: &Path, flags: c_ulong) -> io::Result<()> {
    let (from, to) = (c_string(from)?, c_string(to)?);
    // SAFETY: two strings that end with 0 and outlive the call; file system and data are not looked at
    // with these flags.
    check(unsafe {
        libc::mount(
            from.as_ptr(),
            to.as_ptr(),
            c"none".as_ptr(),
            flags,
            ptr::null(),
        )
    })
}

/// Takes a mount away, at once even if it is in use.
pub(super) fn unmount(path: &Path) -> io::Result<()> {
    let path = c_string(path)?;
    // SAFETY: a string that ends with 0 and outlives the call.
    check(unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) })
}

/// A request about the device of this name.
fn request(name: &str, content: __c_anonymous_ifr_ifru) -> io::Result<libc::ifreq> {
    let mut ifr_name: [c_char; libc::IFNAMSIZ] = [0; libc::IFNAMSIZ];
    // The last place stays 0.
    if name.len() >= ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (place, byte) in ifr_name.iter_mut().zip(name.bytes()) {
        *place = byte.cast_signed();
    }
    Ok(libc::ifreq {
        ifr_name,
        ifr_ifru: content,
    })
}

/// Carries out a request that stands in an `ifreq`.
fn ask(fd: BorrowedFd<'_>, operation: libc::Ioctl, request: &mut libc::ifreq) -> io::Result<()> {
    // SAFETY: the operations of this file that come here take an `ifreq`, which is alive and may be
    // written to.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), operation, ptr::from_mut(request)) })
}

/// Makes an open `/dev/net/tun` a device for bare IP packets, in the caller's namespace, that leaves
/// nothing to the reader: packets come with their checksums and no larger than the MTU.
pub(super) fn make_tun(device: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    // Both flags fit: 1 and 0x1000.
    let flags = c_short::try_from(libc::IFF_TUN | libc::IFF_NO_PI).unwrap_or_default();
    let mut request = request(name, __c_anonymous_ifr_ifru { ifru_flags: flags })?;
    ask(device, libc::TUNSETIFF, &mut request)?;
    let no_offload: c_ulong = 0;
    // SAFETY: this operation takes a number.
    check(unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETOFFLOAD, no_offload) })
}

/// Sets a number of a device, such as with `SIOCSIFMTU` or `SIOCSIFTXQLEN`.
fn set_number(
    socket: BorrowedFd<'_>,
    name: &str,
    operation: c_ulong,
    value: c_int,
) -> io::Result<()> {
    let mut request = request(name, __c_anonymous_ifr_ifru { ifru_mtu: value })?;
    ask(socket, operation as libc::Ioctl, &mut request)
}

/// Sets the largest packet, in bytes.
pub(super) fn set_mtu(socket: BorrowedFd<'_>, name: &str, bytes: u16) -> io::Result<()> {
    set_number(socket, name, libc::SIOCSIFMTU, bytes.into())
}

/// Sets how many packets may wait to be read from the device.
pub(super) fn set_queue_packets(
    socket: BorrowedFd<'_>,
    name: &str,
    packets: u16,
) -> io::Result<()> {
    set_number(socket, name, libc::SIOCSIFTXQLEN, packets.into())
}

/// Switches a device on. Its other flags stay: without ARP, as a TUN device is, IPv6 does not look for
/// neighbours or for duplicates of its address.
pub(super) fn bring_up(socket: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    let mut request = request(name, __c_anonymous_ifr_ifru { ifru_flags: 0 })?;
    ask(socket, libc::SIOCGIFFLAGS as libc::Ioctl, &mut request)?;
    let up = c_short::try_from(libc::IFF_UP).unwrap_or_default();
    // SAFETY: the kernel has just filled in this field.
    request.ifr_ifru.ifru_flags = unsafe { request.ifr_ifru.ifru_flags } | up;
    ask(socket, libc::SIOCSIFFLAGS as libc::Ioctl, &mut request)
}

fn ipv4_socket_address(address: Ipv4Addr) -> __c_anonymous_ifr_ifru {
    let family = libc::sa_family_t::try_from(libc::AF_INET).unwrap_or_default();
    // As in `sockaddr_in`: two bytes of port, then the address.
    let mut sa_data: [c_char; 14] = [0; 14];
    for (place, byte) in sa_data.iter_mut().skip(2).zip(address.octets()) {
        *place = byte.cast_signed();
    }
    __c_anonymous_ifr_ifru {
        ifru_addr: libc::sockaddr {
            sa_family: family,
            sa_data,
        },
    }
}

/// Gives a device an IPv4 address and its network.
pub(super) fn set_ipv4(
    socket: BorrowedFd<'_>,
    name: &str,
    address: Ipv4Addr,
    mask: Ipv4Addr,
) -> io::Result<()> {
    for (operation, address) in [(libc::SIOCSIFADDR, address), (libc::SIOCSIFNETMASK, mask)] {
        let mut request = request(name, ipv4_socket_address(address))?;
        ask(socket, operation as libc::Ioctl, &mut request)?;
    }
    Ok(())
}

/// Adds an IPv6 address to a device; needs an IPv6 socket.
pub(super) fn add_ipv6(
    socket: BorrowedFd<'_>,
    name: &str,
    address: Ipv6Addr,
    prefix_len: u8,
) -> io::Result<()> {
    // SAFETY: a union of integers and a pointer, for which zero is a valid value.
    let mut by_name = request(name, unsafe { mem::zeroed() })?;
    ask(socket, libc::SIOCGIFINDEX as libc::Ioctl, &mut by_name)?;
    // SAFETY: the kernel has just filled in this field.
    let index = unsafe { by_name.ifr_ifru.ifru_ifindex };
    let request = libc::in6_ifreq {
        ifr6_addr: libc::in6_addr {
            s6_addr: address.octets(),
        },
        ifr6_prefixlen: prefix_len.into(),
        ifr6_ifindex: index,
    };
    // SAFETY: on an IPv6 socket this operation reads an `in6_ifreq`, which outlives the call.
    check(unsafe {
        libc::ioctl(
            socket.as_raw_fd(),
            libc::SIOCSIFADDR as libc::Ioctl,
            ptr::from_ref(&request),
        )
    })
}
