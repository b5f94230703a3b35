//! TCP on Linux, tcp(7).
#![expect(unsafe_code, reason = "no safe wrapper offers TCP_INFO")]

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use libc::{c_int, socklen_t};
use mio::net::{TcpListener, TcpStream};
use rustix::net::sockopt;

use super::TcpReport;
use crate::option::set_option;

/// Bounds of the retransmission timeout: of linux/tcp.h, since Linux 6.15.
const TCP_RTO_MAX_MS: c_int = 44;
const TCP_RTO_MIN_US: c_int = 45;

/// The least the kernel takes.
const RTO_MAX_MS: c_int = 1_000;
/// What it adds to the round trip at least, 200 ms by default: above the 40 ms for which peers
/// commonly hold an acknowledgement back.
const RTO_MIN_US: c_int = 50_000;

/// A bounded timeout would make the kernel give up after some 15 s (it counts repetitions): it is to
/// be patient for longer than those who use the connection.
const GIVE_UP_AFTER_MS: u32 = 120_000;

/// Linear timeouts of thin streams and shorter delays of acknowledgements were tried, and did nothing
/// beside these.
pub(super) fn tune(tcp: &TcpStream) {
    // Not without the patience.
    if let Err(error) = sockopt::set_tcp_user_timeout(tcp, GIVE_UP_AFTER_MS) {
        tracing::trace!(%error, "TCP_USER_TIMEOUT stays as it is");
        return;
    }
    for (option, value) in [(TCP_RTO_MAX_MS, RTO_MAX_MS), (TCP_RTO_MIN_US, RTO_MIN_US)] {
        if let Err(error) = set(tcp, option, value) {
            tracing::trace!(option, %error, "a TCP timeout stays as it is");
        }
    }
}

/// The answers to SYNs are repeated by the listener's timeouts.
pub(super) fn tune_listener(tcp: &TcpListener) {
    if let Err(error) = set(tcp, TCP_RTO_MAX_MS, RTO_MAX_MS) {
        tracing::trace!(%error, "the listener stays as it is");
    }
}

fn set(socket: &impl AsFd, name: c_int, value: c_int) -> io::Result<()> {
    set_option(socket, libc::IPPROTO_TCP, name, value)
}

pub(super) fn report(tcp: &TcpStream) -> Option<TcpReport> {
    // SAFETY: a `tcp_info` is made of integers, for which zero is a value.
    let mut info: libc::tcp_info = unsafe { zeroed() };
    let mut length = socklen_t::try_from(size_of::<libc::tcp_info>()).ok()?;
    // SAFETY: the kernel writes at most `length` bytes to `info`, which has as many.
    let result = unsafe {
        libc::getsockopt(
            tcp.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut length,
        )
    };
    (result == 0).then(|| TcpReport {
        rtt: (info.tcpi_rtt > 0).then(|| Duration::from_micros(info.tcpi_rtt.into())),
        resent: info.tcpi_total_retrans,
        unacknowledged: info.tcpi_unacked,
    })
}
