//! ACK: what the client has received.
//!
//! Packet numbers are reported as a bitmap, in words aligned to multiples of 64, from the word of the largest packet
//! number downwards. Aligned words cost the sender one AND per 64 packets to find what is new; and a word may be
//! repeated in several ACKs at no cost but its bytes, which is what makes lost ACKs harmless.

use zerocopy::byteorder::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::error::ParseError;
use crate::limits::{MAX_ACK_STREAMS, MAX_ACK_WORDS};

/// The fixed part of an ACK's body.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct AckHeader {
    /// Largest packet number received, all 64 bits.
    pub largest: U64,
    /// Microseconds between the receipt of `largest` and this ACK.
    pub delay_us: U32,
    /// Bytes the server may have in flight at most (flow control).
    pub credit: U32,
    /// Packets received with ECT(0).
    pub ect0: U32,
    /// Packets received with CE.
    pub ce: U32,
    /// Datagrams that the client's kernel dropped because its socket buffer was full.
    pub socket_drops: U32,
    /// Number of bitmap words that follow; at most [`MAX_ACK_WORDS`].
    pub words: u8,
    /// Number of stream states after the words; at most [`MAX_ACK_STREAMS`].
    pub streams: u8,
    /// Zero.
    pub reserved: U16,
}

/// Every cell of `stream` below `lowest_missing` has been received.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct StreamProgress {
    /// Stream number, 24 bits.
    pub stream: U32,
    /// Index of its lowest missing cell; its number of cells when it is complete.
    pub lowest_missing: U32,
}

const _: () = assert!(size_of::<AckHeader>() == 32);
const _: () = assert!(size_of::<StreamProgress>() == 8);

/// Longest body of an ACK in bytes.
pub const MAX_ACK_BODY_BYTES: usize =
    size_of::<AckHeader>() + MAX_ACK_WORDS * 8 + MAX_ACK_STREAMS * size_of::<StreamProgress>();

/// A received ACK, viewed in place.
#[derive(Debug, Clone, Copy)]
pub struct Ack<'a> {
    /// The fixed part.
    pub header: &'a AckHeader,
    /// `words[i]` covers packet numbers `64 * (largest / 64 - i)` and the 63 after it; bit 0 is the lowest.
    pub words: &'a [U64],
    /// Progress of streams that moved lately.
    pub streams: &'a [StreamProgress],
}

impl<'a> Ack<'a> {
    /// Judges the body of an ACK packet.
    ///
    /// # Errors
    /// [`ParseError`] when counts and length disagree or a bound is exceeded.
    pub fn parse(body: &'a [u8]) -> Result<Self, ParseError> {
        let (header, rest) = AckHeader::ref_from_prefix(body).map_err(|_| ParseError::TooShort)?;
        let (words, streams) = (usize::from(header.words), usize::from(header.streams));
        if words == 0 || words > MAX_ACK_WORDS || streams > MAX_ACK_STREAMS {
            return Err(ParseError::BadLength);
        }
        let (words, rest) =
            <[U64]>::ref_from_prefix_with_elems(rest, words).map_err(|_| ParseError::TooShort)?;
        let streams = <[StreamProgress]>::ref_from_bytes_with_elems(rest, streams)
            .map_err(|_| ParseError::BadLength)?;
        Ok(Self {
            header,
            words,
            streams,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let header = AckHeader {
            largest: U64::new(130),
            delay_us: U32::new(25),
            credit: U32::new(1 << 20),
            ect0: U32::new(0),
            ce: U32::new(0),
            socket_drops: U32::new(3),
            words: 2,
            streams: 1,
            reserved: U16::new(0),
        };
        let progress = StreamProgress {
            stream: U32::new(9),
            lowest_missing: U32::new(77),
        };
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend_from_slice(&0b111_u64.to_be_bytes());
        bytes.extend_from_slice(&u64::MAX.to_be_bytes());
        bytes.extend_from_slice(progress.as_bytes());
        bytes
    }

    #[test]
    fn parses_what_was_written() {
        let bytes = sample();
        let ack = Ack::parse(&bytes).expect("valid");
        assert_eq!(ack.header.largest.get(), 130);
        assert_eq!(
            ack.words.iter().map(|word| word.get()).collect::<Vec<_>>(),
            [0b111, u64::MAX]
        );
        assert_eq!(ack.streams[0].lowest_missing.get(), 77);
    }

    #[test]
    fn every_other_length_is_refused() {
        let bytes = sample();
        for len in 0..bytes.len() {
            assert!(Ack::parse(&bytes[..len]).is_err(), "length {len}");
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert_eq!(Ack::parse(&longer).err(), Some(ParseError::BadLength));
        for (position, value) in [(28, 0), (28, 255), (29, 255)] {
            let mut broken = bytes.clone();
            broken[position] = value;
            assert!(Ack::parse(&broken).is_err());
        }
    }
}
