//! The Columba server: one thread, one poll, chat and file transfers.

pub mod limits;
pub mod lobby;
pub mod names;
pub mod outbox;
pub mod rate;
pub mod slots;
