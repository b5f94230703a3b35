//! The control protocol: what client and server say over TCP (TLS 1.3, or plaintext on request).
//!
//! A frame is `u32 length` (of kind and body, big-endian), `u8 kind`, the body, and in plaintext mode a `u32` CRC32C
//! over all of these. Read [`Frame`] first (what can be said), then [`FrameDecoder`] (bytes in, frames out).
//!
//! - `limits`: every bound of the protocol, asserted against the others.
//! - `error`: the codes of [`Frame::Error`] and [`Frame::Ended`], and what can be wrong with received bytes.
//! - `frame`: the frames, as borrowed types.
//! - `codec`, `encode`: one frame's body from and to bytes.
//! - `decoder`: a byte stream cut into frames, judged from the header before anything is stored.
//! - `paging`: long lists split over several frames.

mod codec;
mod decoder;
mod encode;
mod error;
mod frame;
pub mod limits;
mod paging;

pub use decoder::{FrameDecoder, Framing};
pub use error::{ControlError, EncodeError, ParseError};
pub use frame::{
    ErrorFrame, FileEntry, Frame, Grant, Heard, Hello, History, Message, OfferEntry, Open, Policy,
    Purpose, SegmentRange, Side, StartEntry, Welcome, Whispered,
};
pub use paging::{WireSize, pages};

use crate::protection::Cipher;

/// The version this build speaks; the first frame each way carries it.
pub const PROTOCOL_VERSION: u16 = 1;

/// Optional features, one bit each, in Hello and Welcome; unknown bits are ignored by both sides.
pub mod features {
    /// The client takes, and the server sends, [`PathReport`](crate::stats::PathReport)s.
    pub const PATH_REPORT: u32 = 1;
    /// The client takes [`History`](super::History) in its Welcome; the server's Welcome holds it.
    pub const HISTORY: u32 = 1 << 1;
    /// The Hello ends with [`Heard`](super::Heard). Only to servers that offered [`HISTORY`] before.
    pub const RETURNS: u32 = 1 << 2;
    /// [`Cipher::Aegis128L`](crate::protection::Cipher::Aegis128L) seals the packets of an association, if both offer it.
    pub const AEGIS_128L: u32 = 1 << 3;
}

/// The optional features this build offers on any processor.
pub const FEATURES: u32 = features::PATH_REPORT | features::HISTORY;

/// The optional features this build offers on this processor.
#[must_use]
pub fn features_here() -> u32 {
    if Cipher::aegis_is_quick() {
        FEATURES | features::AEGIS_128L
    } else {
        FEATURES
    }
}

/// What seals the packets of an association, from the features of both sides.
#[must_use]
pub const fn agreed_cipher(ours: u32, theirs: u32) -> Cipher {
    if ours & theirs & features::AEGIS_128L != 0 {
        Cipher::Aegis128L
    } else {
        Cipher::Aes128Gcm
    }
}

/// The first four bytes of a Hello: anything else is no Columba client.
pub const MAGIC: u32 = u32::from_be_bytes(*b"CLMB");

/// The ALPN name of the control protocol.
pub const ALPN: &[u8] = b"columba/1";

/// TCP and UDP port a server listens on unless told otherwise.
pub const DEFAULT_PORT: u16 = 11_490;
