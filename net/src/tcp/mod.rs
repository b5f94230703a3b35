//! What TCP is told, and asked, where packets are lost.
//!
//! A control connection sends little: fast retransmit has nothing to go by, and each loss waits for
//! a timer that is 200 ms above the round trip on Linux and doubles up to two minutes. With [`tune`]
//! the timer is nearer to the round trip and never exceeds a second, a listener's for the answers to
//! SYNs neither. What a system does not have is left out.

#[cfg(all(target_os = "linux", not(feature = "portable-io")))]
mod linux;
#[cfg(not(all(target_os = "linux", not(feature = "portable-io"))))]
mod portable;

use std::time::Duration;

use mio::net::{TcpListener, TcpStream};

#[cfg(all(target_os = "linux", not(feature = "portable-io")))]
use linux as system;
#[cfg(not(all(target_os = "linux", not(feature = "portable-io"))))]
use portable as system;

/// What the kernel knows of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpReport {
    /// Smoothed round trip; `None` before the first sample.
    pub rtt: Option<Duration>,
    /// Segments that were sent again, the SYN included.
    pub resent: u32,
    /// Segments that were sent and are not acknowledged.
    pub unacknowledged: u32,
}

/// Makes a connection quick where packets are lost.
pub(crate) fn tune(tcp: &TcpStream) {
    // Chat lines are small and wait for nobody.
    if let Err(error) = tcp.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY stays off");
    }
    system::tune(tcp);
}

/// Makes a listener answer quickly where packets are lost.
pub(crate) fn tune_listener(tcp: &TcpListener) {
    system::tune_listener(tcp);
}

/// What the kernel knows of a connection; `None` where it does not tell.
pub(crate) fn report(tcp: &TcpStream) -> Option<TcpReport> {
    system::report(tcp)
}
