//! The control protocol: what client and server say over TCP (TLS 1.3, or plaintext on request).
//!
//! A frame is `u32 length` (of kind and body, big-endian), `u8 kind`, the body, and in plaintext mode a `u32` CRC32C
//! over all of these. Read [`Frame`] first (what can be said), then [`FrameDecoder`] (bytes in, frames out).
//!
//! - `limits`: every bound of the protocol, asserted against the others.
//! - `error`: the codes of [`Frame::Error`] and [`Frame::Ended`], and what can be wrong with received bytes.
//! - `frame`: the frames, as borrowed types.
//! - `codec`: one frame's body to and from bytes.
//! - `decoder`: a byte stream cut into frames, judged from the header before anything is stored.
//! - `paging`: long lists split over several frames.

mod codec;
mod decoder;
mod error;
mod frame;
pub mod limits;
mod paging;

pub use decoder::{FrameDecoder, Framing};
pub use error::{ControlError, EncodeError, ParseError};
pub use frame::{
    ErrorFrame, FileEntry, Frame, Grant, Hello, Message, OfferEntry, Open, Policy, Purpose,
    SegmentRange, Side, StartEntry, Welcome, Whispered,
};
pub use paging::{WireSize, pages};

/// The version this build speaks; the first frame each way carries it.
pub const PROTOCOL_VERSION: u16 = 1;

/// Optional features this build offers, one bit each. None is defined yet; unknown bits are ignored by both sides.
pub const FEATURES: u32 = 0;

/// The first four bytes of a Hello: anything else is no Columba client.
pub const MAGIC: u32 = u32::from_be_bytes(*b"CLMB");

/// The ALPN name of the control protocol.
pub const ALPN: &[u8] = b"columba/1";

/// TCP and UDP port a server listens on unless told otherwise.
pub const DEFAULT_PORT: u16 = 11_490;
