//! The Columba server: one thread, one poll, chat and file transfers.
//!
//! Read `reactor` first: its loop shows the order of everything. `lobby` is the chat without I/O, `transfers` ties the
//! core's endpoint to the files, `files` keeps whatever may block on helper threads.
//!
//! ```no_run
//! let config = columba_server::config::Config::for_tests("/srv/files");
//! let server = columba_server::Server::spawn(&config)?;
//! println!("{} {}", server.address(), server.fingerprint());
//! server.stop()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod access;
pub mod config;
mod connection;
pub mod files;
pub mod helpers;
pub mod histograms;
pub mod hlog;
pub mod limits;
mod listing;
pub mod lobby;
pub mod names;
pub mod outbox;
pub mod program;
pub mod rate;
mod reactor;
mod server;
pub mod slots;
pub mod stats;
mod transfers;

pub use server::{Ready, Server, ServerError, ServerHandle, run};
