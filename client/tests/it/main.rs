//! The client against servers that behave, and servers that do not.
#![allow(
    clippy::cast_possible_truncation,
    clippy::wildcard_enum_match_arm,
    clippy::too_many_lines,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "in tests the numbers are small and a panic is an answer"
)]

mod chat;
mod connecting;
mod get;
mod real;
mod scripted;
mod support;
mod window;
