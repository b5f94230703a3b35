//! A link between two network namespaces: the same impairments for whole IP packets, so that kernel TCP and
//! any other program face them. Linux only, and only for root.
//!
//! ```text
//!  namespace columba-PID-left                              namespace columba-PID-right
//!  programs ── columba0 (TUN) ──► up: left to right ──► columba0 (TUN) ── programs
//!              10.77.0.1, fd77::1 ◄── down: right to left ◄── 10.77.0.2, fd77::2
//! ```
//!
//! [`IpLink::create`] makes the namespaces (named where iproute2 finds them) and their devices,
//! [`IpLink::run`] relays packets until it is stopped, and everything is gone afterwards. What a killed
//! process leaves behind, the next [`IpLink::create`] removes.
//!
//! Packets are counted whole, IP header included. The kernel hands them over as they would go on the wire:
//! segmented to the MTU, with their checksums, one at a time. What is cut short or damaged behind its IP
//! header is delivered so, and judged by the kernel at the other end.

mod config;
mod device;
mod end;
mod kernel;
mod namespace;
mod packet;
mod reactor;

pub use config::{DEFAULT_MTU, IpLinkConfig, IpLinkError, MIN_MTU};
pub use end::{End, Side, enter};
pub use reactor::{IpLink, SpawnedIpLink};
