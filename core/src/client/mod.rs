//! The receiving side of an association: handshake, cells to storage, acknowledgements, endings.
//!
//! [`ClientAssociation`] holds the state and the handshake, [`receive`] what a DATA packet does, [`acks`] when and what
//! is acknowledged, [`receive_stream`] what is known of one file, [`storage`] is the seam to where bytes go.

mod acks;
pub mod association;
mod packets;
mod receive;
pub mod receive_stream;
pub mod storage;
mod timers;
mod transmit;

pub use association::{ClientAssociation, ClientConfig, ClientEvent};
pub use receive_stream::{ReceiveStream, StreamCounters};
pub use storage::Storage;
