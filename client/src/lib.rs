//! The Columba client: downloads, chat and swarm, as a library and as the program `columba`.
//!
//! Reading order: [`engine`] is the network side (one thread, commands in, events out), [`storage`]
//! where files go, [`download`] the one call that fetches files, [`model`] what a window shows,
//! [`cli`] the program's commands.
//!
//! ```no_run
//! use std::sync::Arc;
//! use columba_client::engine::message::{CONNECT_FOR, EngineConfig, Security, TransferOptions};
//! use columba_client::places::ServerName;
//! use columba_client::storage::memory::MemoryStorage;
//!
//! let config = EngineConfig {
//!     server: ServerName::parse("localhost")?,
//!     security: Security::Plaintext,
//!     password: Arc::from(""),
//!     name: None,
//!     storage: Arc::new(MemoryStorage::dropping()),
//!     transfer: TransferOptions::default(),
//!     reconnect: false,
//!     connect_for: CONNECT_FOR,
//! };
//! let names = vec!["big.iso".to_owned()];
//! let summary = columba_client::get(config, names, None, |_control| (), |_event| ())?;
//! for report in summary.outcome()? {
//!     assert!(report.bytes_per_second() >= 0.0);
//! }
//! # Ok::<(), columba_client::exit_code::ClientError>(())
//! ```
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
#[cfg(feature = "gui")]
pub mod gui;
pub mod keys;
pub mod known_servers;
pub mod local_time;
pub mod model;
mod numbered;
pub mod places;
pub mod preferences;
pub mod progress;
pub mod storage;
pub mod swarm;

pub use download::{GetSummary, get};
