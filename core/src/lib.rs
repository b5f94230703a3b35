//! Sans-I/O core of Columba: no socket, no clock, no thread.
#![forbid(unsafe_code)]

pub mod congestion;
pub mod mtu;
pub mod pacing;
pub mod recovery;
pub mod timer_wheel;
pub mod units;
