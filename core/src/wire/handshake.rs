//! The three packets that open an association.
//!
//! The client proves that it holds the keys granted over control (SYN is sealed), the server proves the same and asks
//! the client's address to echo a cookie (SYN-ACK), the cookie comes back (HANDSHAKE-ACK). Data flows only then, so a
//! replayed or spoofed SYN never draws more bytes than it brought.

use zerocopy::byteorder::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Body of SYN; the rest of the packet is padding (zeros), so that the answer may be as long.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct Syn {
    /// Version of the UDP protocol; must equal [`crate::limits::PROTOCOL_VERSION`].
    pub version: U16,
    /// Largest UDP payload in bytes that the client wants to receive.
    pub max_datagram: U16,
    /// Bytes the server may have in flight at most.
    pub credit: U32,
    /// The client's clock, echoed in SYN-ACK: its first round-trip sample.
    pub time: U64,
}

/// Body of SYN-ACK; padded, never longer than the SYN it answers.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct SynAck {
    /// To be echoed from the address this was sent to.
    pub cookie: U64,
    /// The time in the SYN.
    pub time: U64,
}

/// Body of HANDSHAKE-ACK.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct HandshakeAck {
    /// The cookie of the SYN-ACK.
    pub cookie: U64,
    /// Bytes the server may have in flight at most.
    pub credit: U32,
    /// UDP payload bytes of the SYN-ACK, which the cookie binds: the path carries that much.
    pub bytes: U16,
    /// Zero.
    pub reserved: U16,
}

const _: () = assert!(size_of::<Syn>() == 16);
const _: () = assert!(size_of::<SynAck>() == 16);
const _: () = assert!(size_of::<HandshakeAck>() == 16);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_syn() {
        let syn = Syn {
            version: U16::new(1),
            max_datagram: U16::new(1472),
            credit: U32::new(0x0010_0000),
            time: U64::new(0x0102_0304_0506_0708),
        };
        let bytes = [0, 1, 0x05, 0xc0, 0, 0x10, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!(syn.as_bytes(), bytes);
        assert_eq!(Syn::read_from_prefix(&bytes).map(|(syn, _)| syn), Ok(syn));
        assert!(Syn::read_from_prefix(&bytes[..15]).is_err());
    }

    #[test]
    fn golden_syn_ack_and_handshake_ack() {
        let syn_ack = SynAck {
            cookie: U64::new(0xa1),
            time: U64::new(2),
        };
        assert_eq!(
            syn_ack.as_bytes(),
            [0, 0, 0, 0, 0, 0, 0, 0xa1, 0, 0, 0, 0, 0, 0, 0, 2]
        );
        let ack = HandshakeAck {
            cookie: U64::new(0xa1),
            credit: U32::new(7),
            bytes: U16::new(1472),
            reserved: U16::ZERO,
        };
        assert_eq!(
            ack.as_bytes(),
            [0, 0, 0, 0, 0, 0, 0, 0xa1, 0, 0, 0, 7, 5, 0xc0, 0, 0]
        );
    }
}
