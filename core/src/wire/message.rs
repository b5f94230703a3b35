//! The small packets: echoes, endings, closing.

use zerocopy::byteorder::big_endian::{U16, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::error::ParseError;
use crate::limits::MAX_DONE_ENTRIES;

/// Body of PING, PONG, PATH-CHALLENGE and PATH-RESPONSE: the answer carries what the question carried.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct Echo {
    /// A time of the asker (PING) or an unpredictable token (PATH-CHALLENGE).
    pub token: U64,
}

/// Body of RESET: why the server ended the stream named in the header.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct Reset {
    /// A [`crate::error::StreamEnd`] code.
    pub code: U16,
}

/// Body of CLOSE and CLOSE-ACK.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct Close {
    /// A [`crate::error::CloseReason`] code.
    pub code: U16,
}

/// One entry of DONE and DONE-ACK.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct StreamStatus {
    stream: [u8; 3],
    /// 0: verified and stored; anything else: given up.
    pub status: u8,
}

impl StreamStatus {
    /// An entry for `stream` (24 bits).
    #[must_use]
    pub const fn new(stream: u32, status: u8) -> Self {
        let [_, high, middle, low] = stream.to_be_bytes();
        Self {
            stream: [high, middle, low],
            status,
        }
    }

    /// The stream's number.
    #[must_use]
    pub const fn stream(&self) -> u32 {
        u32::from_be_bytes([0, self.stream[0], self.stream[1], self.stream[2]])
    }
}

/// The body of DONE or DONE-ACK: one to [`MAX_DONE_ENTRIES`] entries and nothing else.
#[derive(Debug, Clone, Copy)]
pub struct StreamStatuses<'a>(pub &'a [StreamStatus]);

impl<'a> StreamStatuses<'a> {
    /// Judges the body.
    ///
    /// # Errors
    /// [`ParseError`] when it is empty, too long, or cut within an entry.
    pub fn parse(body: &'a [u8]) -> Result<Self, ParseError> {
        let entries = <[StreamStatus]>::ref_from_bytes(body).map_err(|_| ParseError::BadLength)?;
        if entries.is_empty() || entries.len() > MAX_DONE_ENTRIES {
            return Err(ParseError::BadLength);
        }
        Ok(Self(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_statuses() {
        let entries = [StreamStatus::new(0x01_02_03, 0), StreamStatus::new(5, 6)];
        let bytes = [1, 2, 3, 0, 0, 0, 5, 6];
        assert_eq!(entries.as_bytes(), bytes);
        let parsed = StreamStatuses::parse(&bytes).expect("valid");
        assert_eq!(parsed.0[0].stream(), 0x01_02_03);
        assert_eq!(parsed.0[1].status, 6);
        assert!(StreamStatuses::parse(&bytes[..7]).is_err());
        assert!(StreamStatuses::parse(&[]).is_err());
        assert!(StreamStatuses::parse(&[0; 4 * (MAX_DONE_ENTRIES + 1)]).is_err());
    }
}
