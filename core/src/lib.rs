//! Sans-I/O core of Columba: no socket, no clock, no thread.
#![forbid(unsafe_code)]

pub mod chat;
pub mod control;
pub mod units;
