//! The sending side of an association: handshake, streams, recovery, trains of packets.
//!
//! [`association`] holds the state and the handshake, [`acks`] what an ACK does, [`transmit`] what goes out,
//! [`limited`] what holds it back, [`timers`] what time does, [`send_stream`] which cells of a file are next. [`source`] is the seam to the files.

mod acks;
pub mod association;
mod limited;
mod packets;
mod path;
mod pick;
pub mod send_stream;
pub mod source;
mod timers;
mod transmit;

pub use association::{AssociationConfig, Policy, ServerAssociation};
pub(crate) use transmit::Train;

pub use source::{Source, SourceBytes, SourceKey, TrainState};

#[cfg(test)]
mod long_lived_tests;
