//! What the server and the client both need of the operating system.
//!
//! | module | what it gives |
//! |---|---|
//! | [`clock`] | the only clock; core gets its `now` from here |
//!
//! All sockets are non-blocking and register with a [`mio::Poll`]. What only Linux has stands in
//! one small module behind a plain interface with a portable fallback; the feature `portable-io`
//! selects the fallback on Linux too, so that it is compiled and tested there.
#![deny(unsafe_code)]

pub mod clock;
