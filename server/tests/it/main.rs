//! The server over real sockets, TLS and plaintext.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "tests pick the frames they look for"
)]

mod access;
mod chat;
mod download;
mod hostile;
mod support;
mod transfers;
