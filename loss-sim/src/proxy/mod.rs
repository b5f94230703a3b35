//! A relay for TCP and UDP that puts a [`Path`](crate::Path) between real programs.
//!
//! [`Proxy::bind`] takes the sockets, [`Proxy::run`] relays until it is stopped, and [`ProxyHandle`] stops
//! it, changes its impairments and reads its counters from another thread. [`Proxy::spawn`] does all of it
//! on a thread of its own, for tests.
//!
//! One thread, one poll. The two [`Link`](crate::Link)s are the path, and all clients share it: each UDP
//! client gets a socket of its own towards the upstream, as behind a NAT, and its datagrams meet every
//! impairment one by one. TCP connections are relayed as byte streams: they share the rate and have the
//! delay, and wait while the link is silent; but what loss would do to them is TCP's business in the
//! kernel and can't be imitated from here.

mod config;
mod control;
pub(crate) mod datagram;
pub(crate) mod handle;
pub(crate) mod log;
pub(crate) mod overload;
mod pipe;
mod reactor;
mod rebind;
mod report;
pub(crate) mod signals;
mod sockets;
pub(crate) mod steering;
mod tcp;
mod tcp_faults;
pub(crate) mod timer;
pub(crate) mod token;
mod udp;
pub(crate) mod udp_io;

pub use config::{ProxyConfig, ProxyError};
pub use control::serve_control;
pub use handle::{PathHandle, ProxyHandle, SpawnedProxy};
pub use reactor::Proxy;
pub use rebind::{RebindTimes, Rebinding};
pub use report::PathReport;
pub use tcp_faults::{TcpFaults, Trigger};
