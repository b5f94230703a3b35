//! The whole downloads that the design names: what `path` measures, and what the report judges.

use std::time::Duration;

const MB: u64 = 1_000_000;

/// A download, and the share of the erasure bound that it is to have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Aim {
    pub(crate) rate_mbit: f64,
    pub(crate) rtt: Duration,
    pub(crate) loss: f64,
    pub(crate) bytes: u64,
    pub(crate) wanted: f64,
}

const fn aim(rate_mbit: f64, rtt_ms: u64, loss: f64, megabytes: u64, wanted: f64) -> Aim {
    Aim {
        rate_mbit,
        rtt: Duration::from_millis(rtt_ms),
        loss,
        bytes: megabytes * MB,
        wanted,
    }
}

/// The downloads that the design names.
pub(crate) const AIMS: &[Aim] = &[
    aim(100.0, 50, 0.0, 80, 0.92),
    aim(100.0, 50, 0.01, 80, 0.92),
    aim(100.0, 50, 0.1, 70, 0.90),
    aim(100.0, 50, 0.3, 50, 0.84),
    aim(50.0, 200, 0.02, 80, 0.88),
    aim(500.0, 50, 0.01, 300, 0.85),
];
