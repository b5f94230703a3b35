//! Sans-I/O core of Columba: no socket, no clock, no thread.
#![forbid(unsafe_code)]

pub mod units;
