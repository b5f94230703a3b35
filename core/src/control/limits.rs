//! Every bound of the control protocol.

/// Largest value of a frame's length field (kind and body). Zero and anything beyond is refused from the header.
pub const MAX_FRAME_BYTES: usize = 65_536;

/// Bytes of the length field and the kind.
pub const HEADER_BYTES: usize = 5;

/// Bytes of the CRC32C that ends a frame in plaintext mode.
pub const CRC_BYTES: usize = 4;

/// Longest user name, in characters.
pub const MAX_NAME_CHARS: usize = 32;

/// Longest user name, in bytes of UTF-8.
pub const MAX_NAME_BYTES: usize = 4 * MAX_NAME_CHARS;

/// Longest message or whisper, in bytes of UTF-8.
pub const MAX_TEXT_BYTES: usize = 4_096;

/// Longest path of a shared file relative to the shared folder, in bytes of UTF-8 (Linux's `PATH_MAX`).
pub const MAX_FILE_NAME_BYTES: usize = 4_096;

/// Longest password, in bytes of UTF-8.
pub const MAX_PASSWORD_BYTES: usize = 1_024;

/// Longest description of the peer's software that is kept, in bytes.
pub const MAX_SOFTWARE_BYTES: usize = 64;

/// Longest text of an error, in bytes; longer ones are cut before sending.
pub const MAX_ERROR_TEXT_BYTES: usize = 1_024;

/// Bytes that a page of a long list may take of one frame's body.
pub const LIST_PAGE_BYTES: usize = 32 * 1_024;

/// Most names in one Get; a client with more sends several Gets.
pub const MAX_GET_NAMES: usize = 8_192;

/// Most streams that a client may have started and not ended.
pub const MAX_QUEUED_STREAMS: usize = 16_384;

/// Most missing ranges one Start entry may list; more are merged by the client into fewer, larger ones.
pub const MAX_MISSING_RANGES: usize = 2_048;

/// Stream ids are 24 bits wide.
pub const MAX_STREAM_ID: u32 = (1 << 24) - 1;

/// Bytes of a segment range on the wire.
pub(crate) const SEGMENT_RANGE_BYTES: usize = 8;

const _: () = assert!(MAX_NAME_BYTES + 2 <= LIST_PAGE_BYTES);
const _: () = assert!(MAX_FILE_NAME_BYTES + 32 <= LIST_PAGE_BYTES);
const _: () = assert!(LIST_PAGE_BYTES + 16 <= MAX_FRAME_BYTES);
const _: () = assert!(MAX_MISSING_RANGES * SEGMENT_RANGE_BYTES + 16 <= LIST_PAGE_BYTES);
const _: () = assert!(MAX_TEXT_BYTES + MAX_NAME_BYTES * 2 + 64 <= MAX_FRAME_BYTES);
const _: () =
    assert!(MAX_PASSWORD_BYTES + MAX_NAME_BYTES + MAX_SOFTWARE_BYTES + 64 <= MAX_FRAME_BYTES);
const _: () = assert!(MAX_QUEUED_STREAMS < MAX_STREAM_ID as usize);
