//! Every bound of the core, asserted against the others at compile time.

use std::time::Duration;

use crate::wire::{DATA_HEADER_BYTES, HEADER_BYTES};

/// Version of the UDP protocol, carried in SYN.
pub const PROTOCOL_VERSION: u16 = 1;

/// Bytes of a cell over IPv4 (and v4-mapped IPv6): 4 fill 1184, 5 fill 1472, 31 fill 8960 bytes of UDP payload.
pub const CELL_BYTES_V4: u16 = 288;
/// Bytes of a cell over IPv6, whose header is 20 bytes longer: 5 fill 1452.
pub const CELL_BYTES_V6: u16 = 284;
/// Smallest and largest cell a peer may be granted.
pub const CELL_BYTES_RANGE: std::ops::RangeInclusive<u16> = 64..=1024;

/// Bytes of a segment: the unit of verification and of resuming (an aligned BLAKE3 subtree).
pub const SEGMENT_BYTES: u64 = 1 << 20;
/// Bytes of a BLAKE3 chaining value in a stream's trailer.
pub const HASH_BYTES: usize = 32;

/// Bytes of an AEAD's tag.
pub const AEAD_TAG_BYTES: usize = 16;
/// Bytes of the CRC-32C that stands in a tag's place in plaintext mode.
pub const CRC_TAG_BYTES: usize = 4;

/// Largest UDP payload over IPv4: 65,535 − 20 − 8.
pub const MAX_DATAGRAM_BYTES: usize = 65_507;
/// Smallest UDP payload bound a client may ask for: one cell of any family must fit.
pub const MIN_DATAGRAM_BYTES: usize = 512;
/// Bytes of one GSO train at most: one `sendmsg` carries no more.
pub const MAX_TRAIN_BYTES: usize = MAX_DATAGRAM_BYTES;
/// Segments of one GSO train at most (older kernels refuse more).
pub const MAX_TRAIN_SEGMENTS: usize = 64;
/// UDP payload of the handshake, and the largest size assumed to pass before a probe proved more (RFC 8899 BASE_PLPMTU).
pub const BASE_DATAGRAM_BYTES: usize = 1200;

/// Packets of one association in flight or remembered at most; a power of two.
pub const MAX_WINDOW_PACKETS: usize = 1 << 16;
/// Packet records an association begins with; a power of two.
pub const INITIAL_WINDOW_PACKETS: usize = 256;
/// Lost packets stay remembered for so many packet numbers, so that a late ACK shows the loss to be spurious.
pub const LOST_MEMORY_PACKETS: u64 = 2048;

/// Words of packet numbers in one ACK at most: 4096 packets.
pub const MAX_ACK_WORDS: usize = 64;
/// Stream states in one ACK at most.
pub const MAX_ACK_STREAMS: usize = 8;
/// Entries of one DONE at most.
pub const MAX_DONE_ENTRIES: usize = 128;

/// Streams of one association that are started and not finished, at most.
pub const MAX_STREAMS: usize = 1 << 16;
/// Chunks of 4096 cells that the streams of one association may have together: those of one largest file. Each costs
/// 16 bytes.
pub const MAX_STREAM_CHUNKS: u32 = 1 << 20;
/// Largest stream number.
pub const MAX_STREAM_ID: u32 = (1 << 24) - 1;

/// The client acknowledges after this many packets at the latest.
pub const MAX_ACK_EVERY: u32 = 256;
/// The client delays an acknowledgement no longer than this.
pub const MAX_ACK_DELAY: Duration = Duration::from_millis(25);

/// Handshake and idle: an association that hears nothing for this long is dead.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// The same for an association whose control connection is gone: a client that was killed is missed soon, and one that
/// lost its TCP connection alone answers in time.
pub const DESERTED_TIMEOUT: Duration = Duration::from_secs(5);
/// How often it is asked, so that lost packets alone do not end it.
pub const DESERTED_PING_INTERVAL: Duration = Duration::from_millis(300);
/// A quiet client sends a PING this often, so that NAT bindings live (RFC 4787 REQ-5 has 2 min, practice is 30 s).
pub const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// While data flows, the client samples the round-trip time this often.
pub const PING_INTERVAL: Duration = Duration::from_millis(100);
/// First retransmission timeout without a sample (RFC 6298 has 1 s).
pub const INITIAL_RTT: Duration = Duration::from_millis(333);
/// Longest back-off of any retransmission.
pub const MAX_BACKOFF: Duration = Duration::from_secs(3);
/// An address that has not proved that it receives gets at most this many times the bytes it sent (RFC 9000, 8.1).
pub const AMPLIFICATION_FACTOR: u64 = 3;

/// Packets sealed with one key at most when datagrams are up to 2 KiB (AES-GCM's confidentiality limit, with margin; AEGIS's is far beyond).
pub const KEY_LIFETIME_SMALL_PACKETS: u64 = 1 << 28;
/// Packets sealed with one key at most when datagrams are larger.
pub const KEY_LIFETIME_LARGE_PACKETS: u64 = 1 << 23;
/// Forged packets tolerated under one key before the association ends (RFC 9001, 6.6 has 2^52 for AES-GCM).
pub const MAX_FORGERIES: u64 = 1 << 36;

const _: () = assert!(MAX_WINDOW_PACKETS.is_power_of_two());
const _: () = assert!(INITIAL_WINDOW_PACKETS.is_power_of_two());
const _: () = assert!(INITIAL_WINDOW_PACKETS >= 64 && INITIAL_WINDOW_PACKETS <= MAX_WINDOW_PACKETS);
const _: () = assert!(LOST_MEMORY_PACKETS * 4 <= MAX_WINDOW_PACKETS as u64);
const _: () = assert!(MAX_ACK_WORDS <= u8::MAX as usize);
const _: () = assert!(MAX_ACK_STREAMS <= u8::MAX as usize);
const _: () = assert!(MAX_ACK_WORDS * 64 >= 4 * MAX_ACK_EVERY as usize);
const _: () = assert!(
    HEADER_BYTES + crate::wire::ack::MAX_ACK_BODY_BYTES + AEAD_TAG_BYTES <= BASE_DATAGRAM_BYTES
);
const _: () =
    assert!(HEADER_BYTES + MAX_DONE_ENTRIES * 4 + AEAD_TAG_BYTES <= MIN_DATAGRAM_BYTES + 64);
const _: () =
    assert!(DATA_HEADER_BYTES + CELL_BYTES_V4 as usize + AEAD_TAG_BYTES <= MIN_DATAGRAM_BYTES);
const _: () = assert!(SEGMENT_BYTES.is_power_of_two());
