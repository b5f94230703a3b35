//! The Columba client.
#![cfg_attr(
    test,
    allow(
        clippy::cast_possible_truncation,
        clippy::wildcard_enum_match_arm,
        reason = "in tests the numbers are small and a panic is an answer"
    )
)]

pub mod cli;
pub mod download;
pub mod engine;
pub mod exit_code;
pub mod keys;
pub mod known_servers;
pub mod places;
pub mod progress;
pub mod storage;
pub mod swarm;
pub mod values;

pub use download::{GetSummary, get};
