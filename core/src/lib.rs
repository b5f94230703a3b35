//! Placeholder.

pub mod chat;
pub mod control;
