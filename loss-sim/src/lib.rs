//! Bad networks on demand: the engine that loses, delays, reorders and damages packets, and a proxy that
//! puts it between real programs.
//!
//! Start with [`Link`], one direction of a path, and [`Impairments`], what it does to packets; [`Path`] is
//! two links. This engine does no I/O, reads no clock and starts no thread: the caller gives the time, and
//! all chance follows from one seed, so that a run can be repeated exactly. It holds a bounded number of
//! packets ([`limits`]) and counts each one it drops ([`LinkStats`]).
//!
//! One stage per file: `queue` (rate and drop-tail queue) with `trace` (recorded rates), `loss` (independent,
//! bursts, by number), `delay` (delay, jitter, reordering), `decision` (what chance holds for a packet),
//! `record` (decisions as text, to be repeated).
//!
//! With the feature `proxy` (on by default) there are also the modules `proxy`, which relays TCP and UDP
//! through a path, `ip_link` (Linux), which puts one between two network namespaces, `scenario`, impairments that change with time, `knobs`, the impairments by name, and
//! `cli`, the program made of them.

#![deny(unsafe_code)]

mod decision;
mod delay;
mod impairments;
pub mod limits;
mod link;
mod loss;
mod path;
mod payload;
mod queue;
mod random;
mod record;
mod stats;
mod trace;

#[cfg(feature = "proxy")]
mod capacity;
#[cfg(feature = "proxy")]
pub mod cli;
#[cfg(all(feature = "proxy", target_os = "linux"))]
pub mod ip_link;
#[cfg(feature = "proxy")]
pub mod knobs;
#[cfg(feature = "proxy")]
pub mod proxy;
#[cfg(feature = "proxy")]
pub mod scenario;

pub use impairments::{
    Blackhole, BurstLoss, Distribution, DropRule, IPV4_UDP_OVERHEAD_BYTES, ImpairmentError,
    Impairments, Reorder,
};
pub use link::{Delivery, Fate, Link, StreamPassage};
pub use path::{Direction, Path};
pub use payload::Payload;
pub use random::Random;
pub use record::{Record, Script, ScriptError};
pub use stats::LinkStats;
pub use trace::{Trace, TraceError};

/// A point in time, in nanoseconds since a start of the caller's choice.
pub type Nanos = u64;
