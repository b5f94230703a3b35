//! Packets as they stand on the wire: every UDP datagram of an association.
//!
//! All integers are big-endian, all types unaligned, so that a received buffer is viewed in place.
//! A packet is `Header` · (for DATA: first cell) · body · tag. Header and first cell are authenticated but not
//! encrypted; the body is both. The tag is 16 bytes of an AEAD, or 4 bytes of CRC-32C in plaintext mode.
//!
//! | kind | direction | body |
//! |---|---|---|
//! | SYN | client → server | [`Syn`], padded |
//! | SYN-ACK | server → client | [`SynAck`], padded, never longer than the SYN |
//! | HANDSHAKE-ACK | client → server | [`HandshakeAck`] |
//! | DATA | server → client | consecutive cells of one stream |
//! | ACK | client → server | [`AckHeader`], bitmap words, stream states |
//! | PROBE | server → client | zeros (path MTU probe) |
//! | PING, PONG | both | [`Echo`] |
//! | PATH-CHALLENGE, PATH-RESPONSE | server → client, back | [`Echo`] |
//! | DONE, DONE-ACK | client → server, back | list of [`StreamStatus`] |
//! | RESET | server → client | [`Reset`] |
//! | CLOSE, CLOSE-ACK | both | [`Close`] |
//!
//! Read [`header`] first, then [`ack`].

pub mod ack;
pub mod handshake;
pub mod header;
pub mod message;

pub use ack::{Ack, AckHeader, StreamProgress};
pub use handshake::{HandshakeAck, Syn, SynAck};
pub use header::{DATA_HEADER_BYTES, HEADER_BYTES, Header, Kind, ParsedHeader};
pub use message::{Close, Echo, Reset, StreamStatus, StreamStatuses};
