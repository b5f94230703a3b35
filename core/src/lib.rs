//! Placeholder.

pub mod control;
