//! How much the simulator carries on this machine, and how exact it is: what `columba-loss-sim capacity` measures.
//!
//! `carrier` is what stands between the sender and the receiver, `throughput` sends as fast as everything arrives,
//! `accuracy` sends at a steady rate and compares delay and loss with what was asked for.

mod accuracy;
mod carrier;
mod throughput;

use std::io;
use std::time::Duration;

pub(crate) use accuracy::{Accuracy, measure_accuracy};
pub(crate) use carrier::Over;
pub(crate) use throughput::{Sender, Throughput, measure_throughput};

#[cfg(target_os = "linux")]
use crate::ip_link::IpLinkError;
use crate::proxy::ProxyError;

/// What is measured, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) over: Over,
    pub(crate) payload_bytes: usize,
    /// How long each row takes.
    pub(crate) duration: Duration,
    pub(crate) seed: u64,
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CapacityError {
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    #[cfg(target_os = "linux")]
    #[error(transparent)]
    Link(#[from] IpLinkError),
    #[error("cannot measure: {0}")]
    Socket(#[from] io::Error),
    #[error("cannot measure: nothing arrived")]
    Nothing,
}
