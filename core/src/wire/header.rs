//! The header common to all packets.
//!
//! ```text
//!  0        1                 4                 8                 12                16
//! ┌────────┬─────────────────┬─────────────────┬─────────────────┬─────────────────┐
//! │ 000P K │ stream (24 bit) │ association     │ packet number   │ first cell      │
//! │        │                 │                 │ (low 32 bit)    │ (DATA only)     │
//! └────────┴─────────────────┴─────────────────┴─────────────────┴─────────────────┘
//! ```
//! `K` is the kind (4 bits), `P` the key phase. The three high bits are zero; a set bit is a [`ParseError`].
//! The stream is zero in all packets but DATA and RESET.

use zerocopy::byteorder::big_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::error::ParseError;

/// Bytes of the header of every packet but DATA.
pub const HEADER_BYTES: usize = size_of::<Header>();
/// Bytes of the header of a DATA packet: the common header and the first cell's index.
pub const DATA_HEADER_BYTES: usize = HEADER_BYTES + 4;

const _: () = assert!(HEADER_BYTES == 12 && DATA_HEADER_BYTES == 16);

const KIND_MASK: u8 = 0x0f;
const PHASE_BIT: u8 = 0x10;
const RESERVED_MASK: u8 = 0xe0;

/// What a packet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// First of the handshake: the client asks the association to begin.
    Syn = 1,
    /// Second of the handshake: the server's cookie for this path.
    SynAck = 2,
    /// Third of the handshake: the cookie comes back; data may flow.
    HandshakeAck = 3,
    /// Consecutive cells of one stream.
    Data = 4,
    /// What the client has received.
    Ack = 5,
    /// A padded packet that searches for the path MTU (RFC 8899).
    Probe = 6,
    /// Asks for a PONG: round-trip time, keep-alive.
    Ping = 7,
    /// Answers a PING.
    Pong = 8,
    /// Asks a new source address to prove that it receives.
    PathChallenge = 9,
    /// Answers a PATH-CHALLENGE.
    PathResponse = 10,
    /// The client has verified and stored (or given up) streams.
    Done = 11,
    /// The server knows that streams are done.
    DoneAck = 12,
    /// The server ended a stream early.
    Reset = 13,
    /// Ends the association.
    Close = 14,
    /// Answers CLOSE.
    CloseAck = 15,
}

impl Kind {
    const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            1 => Self::Syn,
            2 => Self::SynAck,
            3 => Self::HandshakeAck,
            4 => Self::Data,
            5 => Self::Ack,
            6 => Self::Probe,
            7 => Self::Ping,
            8 => Self::Pong,
            9 => Self::PathChallenge,
            10 => Self::PathResponse,
            11 => Self::Done,
            12 => Self::DoneAck,
            13 => Self::Reset,
            14 => Self::Close,
            15 => Self::CloseAck,
            _ => return None,
        })
    }
}

/// The twelve bytes that begin every packet, as they stand on the wire.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Header {
    kind_and_phase: u8,
    stream: [u8; 3],
    association: U32,
    packet_number: U32,
}

/// A header that has been judged: kind known, reserved bits clear, long enough for its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParsedHeader {
    /// What the packet is.
    pub kind: Kind,
    /// Parity of the key phase that sealed it.
    pub key_phase: bool,
    /// Stream of a DATA or RESET packet, else zero; 24 bits.
    pub stream: u32,
    /// Which association, as granted over control.
    pub association: u32,
    /// Low 32 bits of the packet number.
    pub packet_number_low: u32,
    /// Index of the first cell (DATA), else zero.
    pub first_cell: u32,
}

impl ParsedHeader {
    /// Bytes of this header on the wire: what is authenticated but not encrypted.
    #[must_use]
    pub const fn len(&self) -> usize {
        if matches!(self.kind, Kind::Data) {
            DATA_HEADER_BYTES
        } else {
            HEADER_BYTES
        }
    }

    /// Never true; a header has bytes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// Judges the header of a datagram.
    ///
    /// # Errors
    /// [`ParseError`] when the datagram is too short, or its kind or reserved bits are unknown.
    pub fn parse(datagram: &[u8]) -> Result<Self, ParseError> {
        let (header, rest) = Header::ref_from_prefix(datagram).map_err(|_| ParseError::TooShort)?;
        if header.kind_and_phase & RESERVED_MASK != 0 {
            return Err(ParseError::ReservedBits);
        }
        let kind =
            Kind::from_bits(header.kind_and_phase & KIND_MASK).ok_or(ParseError::UnknownKind)?;
        let [high, middle, low] = header.stream;
        let first_cell = if kind == Kind::Data {
            let (cell, _) = U32::ref_from_prefix(rest).map_err(|_| ParseError::TooShort)?;
            cell.get()
        } else {
            0
        };
        Ok(Self {
            kind,
            key_phase: header.kind_and_phase & PHASE_BIT != 0,
            stream: u32::from_be_bytes([0, high, middle, low]),
            association: header.association.get(),
            packet_number_low: header.packet_number.get(),
            first_cell,
        })
    }

    /// Writes the header to the front of `packet`, which must hold [`Self::len`] bytes.
    ///
    /// # Panics
    /// When `packet` is shorter than the header (a bug of the caller).
    pub fn write(&self, packet: &mut [u8]) {
        let [_, high, middle, low] = self.stream.to_be_bytes();
        let phase = if self.key_phase { PHASE_BIT } else { 0 };
        let header = Header {
            kind_and_phase: self.kind as u8 | phase,
            stream: [high, middle, low],
            association: U32::new(self.association),
            packet_number: U32::new(self.packet_number_low),
        };
        packet[..HEADER_BYTES].copy_from_slice(header.as_bytes());
        if self.kind == Kind::Data {
            packet[HEADER_BYTES..DATA_HEADER_BYTES].copy_from_slice(&self.first_cell.to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATA: [u8; 16] = [
        0x14, 0x01, 0x02, 0x03, 0xde, 0xad, 0xbe, 0xef, 0x00, 0x00, 0x00, 0x07, 0x00, 0x00, 0x01,
        0x00,
    ];

    #[test]
    fn golden_data_header() {
        let parsed = ParsedHeader::parse(&DATA).expect("valid");
        assert_eq!(
            parsed,
            ParsedHeader {
                kind: Kind::Data,
                key_phase: true,
                stream: 0x01_02_03,
                association: 0xdead_beef,
                packet_number_low: 7,
                first_cell: 256,
            }
        );
        let mut dirty = [0xaa; 20];
        parsed.write(&mut dirty);
        assert_eq!(dirty[..16], DATA);
        assert_eq!(dirty[16..], [0xaa; 4]);
    }

    #[test]
    fn every_kind_survives_a_round_trip_and_nothing_else_parses() {
        for bits in 0..=255_u8 {
            let mut bytes = [0_u8; 16];
            bytes[0] = bits;
            match ParsedHeader::parse(&bytes) {
                Ok(parsed) => {
                    let mut again = [0_u8; 16];
                    parsed.write(&mut again);
                    assert_eq!(again, bytes);
                }
                Err(ParseError::ReservedBits) => assert_ne!(bits & RESERVED_MASK, 0),
                Err(error) => {
                    assert_eq!(error, ParseError::UnknownKind);
                    assert_eq!(bits & KIND_MASK, 0);
                }
            }
        }
    }

    #[test]
    fn short_headers_are_refused() {
        for len in 0..DATA_HEADER_BYTES {
            assert_eq!(ParsedHeader::parse(&DATA[..len]), Err(ParseError::TooShort));
        }
        let mut ack = DATA;
        ack[0] = Kind::Ack as u8;
        assert!(ParsedHeader::parse(&ack[..HEADER_BYTES]).is_ok());
    }
}
