//! `SO_TIMESTAMPNS`, socket(7): the time of the last packet that a read took from.
#![expect(unsafe_code, reason = "no wrapper at hand reads this control message")]

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::AsRawFd;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use libc::c_long;
use mio::net::TcpStream;

use crate::cmsg::{self, Control};
use crate::option::set_option;

/// Seconds and nanoseconds. Where a system has 64 bits of seconds in 32-bit words, no stamp is found.
const STAMP_BYTES: usize = 2 * size_of::<c_long>();
const CONTROL_BYTES: usize = cmsg::space_for(&[STAMP_BYTES]);

/// Asks for stamps. Packets that are there already have none.
pub(crate) fn request(tcp: &TcpStream) -> io::Result<()> {
    set_option(tcp, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1)
}

/// One read, and when the last packet came that it took from. Of bytes that TCP put together from several packets the stamp
/// is the last one's, and a read that leaves some of them is told that, too.
pub(crate) fn read(
    tcp: &mut TcpStream,
    buffer: &mut [u8],
) -> io::Result<(usize, Option<SystemTime>)> {
    let mut control = Control::<CONTROL_BYTES>::new();
    let mut slice = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // SAFETY: `msghdr` is integers and pointers, for which all-zero is a valid value; it may have private padding
    // fields, so it cannot be written as a literal.
    let mut header: libc::msghdr = unsafe { zeroed() };
    header.msg_iov = &raw mut slice;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = CONTROL_BYTES;
    // SAFETY: iovec, buffer and control buffer outlive the call, have the lengths given, and nothing else uses them
    // meanwhile.
    let got = unsafe { libc::recvmsg(tcp.as_raw_fd(), &raw mut header, 0) };
    let Ok(got) = usize::try_from(got) else {
        return Err(io::Error::last_os_error());
    };
    let used = header.msg_controllen.min(CONTROL_BYTES);
    let stamp = cmsg::messages(&control.0[..used])
        .find(|message| (message.level, message.kind) == (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS))
        .and_then(|message| parse(message.value));
    Ok((got, stamp))
}

/// A `timespec` since 1970.
fn parse(value: &[u8]) -> Option<SystemTime> {
    const WORD: usize = size_of::<c_long>();
    let (seconds, rest) = value.split_first_chunk::<WORD>()?;
    let nanos: &[u8; WORD] = rest.try_into().ok()?;
    let seconds = u64::try_from(c_long::from_ne_bytes(*seconds)).ok()?;
    let nanos = u32::try_from(c_long::from_ne_bytes(*nanos)).ok()?;
    if nanos >= 1_000_000_000 {
        return None;
    }
    UNIX_EPOCH.checked_add(Duration::new(seconds, nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timespec(seconds: c_long, nanos: c_long) -> Vec<u8> {
        [seconds.to_ne_bytes(), nanos.to_ne_bytes()].concat()
    }

    #[test]
    fn a_timespec_is_time_since_1970() {
        let parsed = parse(&timespec(5, 7));
        assert_eq!(parsed, Some(UNIX_EPOCH + Duration::new(5, 7)));
    }

    #[test]
    fn what_is_no_timespec_is_none() {
        for value in [timespec(-1, 0), timespec(0, -1), timespec(0, 1_000_000_000)] {
            assert_eq!(parse(&value), None, "{value:?}");
        }
        let whole = timespec(5, 7);
        for cut in 0..whole.len() {
            assert_eq!(parse(&whole[..cut]), None, "{cut}");
        }
        assert_eq!(parse(&[whole, vec![0]].concat()), None);
    }
}
