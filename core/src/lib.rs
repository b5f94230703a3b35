//! Columba's core: no socket, no clock, no thread.
//!
//! **The drain rule.** After every call in (`handle_datagram`, `handle_timeout`, a command), call `poll_transmit` until it
//! returns nothing, then `poll_event` until it returns nothing, then ask `poll_timeout` when to call `handle_timeout`
//! next. Time is a parameter ([`units::Timestamp`]) and so are the buffers: the same calls give the same bytes.
//!
//! Read [`endpoint::Endpoint`] (the server's side, many associations) and [`client::ClientAssociation`] (the side that
//! receives) first; [`wire`] has the packets, [`layout`] says where a file's bytes stand in its stream.
#![forbid(unsafe_code)]

mod aead;
pub mod cell_set;
pub mod chat;
pub mod client;
pub mod congestion;
pub mod control;
pub mod endpoint;
pub mod error;
pub mod layout;
pub mod limits;
pub mod mtu;
pub mod pacing;
pub mod packet_number;
pub mod protection;
pub mod recovery;
pub mod server;
pub mod stats;
pub mod timer_wheel;
pub mod units;
pub mod wire;
