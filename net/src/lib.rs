//! What the server and the client both need of the operating system.
//!
//! | module | what it gives |
//! |---|---|
//! | [`clock`] | the only clock; core gets its `now` from here |
//! | [`timer`] | a deadline in the poll that is precise to well below epoll's millisecond |
//! | [`udp`] | whole trains of datagrams, out and in, with one system call each |
//! | [`arrival`] | when bytes came to this system, as its kernel noted |
//! | `option` | socket options that no safe wrapper names (Linux) |
//! | `cmsg` | control messages beside what a socket receives and sends (Linux) |
//! | [`tcp`] | what TCP is told, and asked, where packets are lost |
//! | [`prefetch`] | asks the processor for bytes ahead of their turn |
//! | [`socket`] | how sockets are made: dual stack, buffers, TCP and UDP on one port |
//! | [`identity`] | Ed25519 keys, their files and fingerprints |
//! | [`tls`] | TLS 1.3 with raw public keys |
//! | [`control_stream`] | the control connection over TLS or in the clear |
//!
//! All sockets are non-blocking and register with a [`mio::Poll`]. What only Linux has stands in
//! one small module behind a plain interface with a portable fallback; the feature `portable-io`
//! selects the fallback on Linux too, so that it is compiled and tested there.
#![deny(unsafe_code)]

pub mod arrival;
pub mod clock;
#[cfg(all(target_os = "linux", not(feature = "portable-io")))]
mod cmsg;
pub mod control_stream;
pub mod identity;
#[cfg(target_os = "linux")]
pub mod option;
pub mod prefetch;
pub mod socket;
mod source;
pub mod tcp;
pub mod timer;
pub mod tls;
pub mod udp;
