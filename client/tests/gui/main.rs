//! The window, without a display: every state, and people who use it.
#![expect(clippy::unwrap_used, reason = "a test ends with its first failure")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::wildcard_enum_match_arm,
    clippy::too_many_lines,
    unreachable_pub,
    reason = "in tests the numbers are small and a panic is an answer"
)]

#[cfg(target_os = "linux")]
mod display;
mod people;
mod samples;
mod screens;
mod states;
