//! What can go wrong, in kinds: [`ParseError`] and [`DropReason`] (counted, the datagram is dropped),
//! [`ProtocolViolation`] (the association ends), [`StreamEnd`] and [`CloseReason`] (told to the person),
//! [`ConfigError`] (the caller asked for something impossible).

use thiserror::Error;

/// A datagram or frame that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ParseError {
    /// Shorter than its kind needs.
    #[error("too short")]
    TooShort,
    /// A length or count disagrees with the bytes that are there, or exceeds its bound.
    #[error("bad length or count")]
    BadLength,
    /// Kind not known to this version.
    #[error("unknown kind")]
    UnknownKind,
    /// A bit that must be zero is set.
    #[error("reserved bits set")]
    ReservedBits,
    /// Text that is no UTF-8.
    #[error("text is not UTF-8")]
    NotUtf8,
    /// A value outside of what the field allows.
    #[error("value out of range")]
    OutOfRange,
    /// CRC-32C does not match (plaintext mode).
    #[error("checksum does not match")]
    Checksum,
}

/// Why a datagram was dropped without an answer. Each has a counter, see [`crate::stats::DropCounters`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum DropReason {
    /// Not a packet of ours.
    Unparsable,
    /// No such association (any more).
    UnknownAssociation,
    /// Authentication failed: forged, corrupted, or of another key.
    Unauthentic,
    /// This packet number was processed already.
    Replayed,
    /// Kind that makes no sense in this direction or state.
    Unexpected,
    /// DATA for a stream that is not (or no longer) open.
    UnknownStream,
    /// Source port zero.
    PortZero,
}

/// Number of [`DropReason`]s.
pub const DROP_REASONS: usize = DropReason::PortZero as usize + 1;

/// The peer broke the protocol: the association ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ProtocolViolation {
    /// Acknowledged a packet that was never sent.
    #[error("acknowledged a packet that was never sent")]
    AckOfUnsent,
    /// Acknowledged a packet number that was skipped on purpose.
    #[error("acknowledged a packet number that was skipped on purpose")]
    AckOfSkipped,
    /// Claimed cells beyond the end of a stream.
    #[error("named cells beyond the end of the stream")]
    CellOutOfRange,
    /// Speaks another version of the UDP protocol.
    #[error("speaks another version of the protocol")]
    Version,
}

/// Why a stream ended before it was complete. The code travels in RESET and in control's `Ended`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[repr(u16)]
pub enum StreamEnd {
    /// The file changed while it was sent.
    #[error("the file changed on the server while it was being sent")]
    FileChanged = 16,
    /// The file could not be read.
    #[error("the server could not read the file")]
    Unreadable = 17,
    /// The client cancelled.
    #[error("cancelled")]
    Cancelled = 23,
    /// The server is shutting down.
    #[error("the server is shutting down")]
    ShuttingDown = 12,
    /// A code this version does not know.
    #[error("ended by the server for a reason this version does not know")]
    Other = 0,
}

impl StreamEnd {
    /// The code on the wire.
    #[must_use]
    pub const fn code(self) -> u16 {
        self as u16
    }

    /// From a code on the wire.
    #[must_use]
    pub const fn from_code(code: u16) -> Self {
        match code {
            16 => Self::FileChanged,
            17 => Self::Unreadable,
            23 => Self::Cancelled,
            12 => Self::ShuttingDown,
            _ => Self::Other,
        }
    }
}

/// Why an association ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CloseReason {
    /// The client was finished.
    #[error("finished")]
    Finished,
    /// Nothing was heard for [`crate::limits::IDLE_TIMEOUT`].
    #[error("nothing was heard from the other side any more")]
    Idle,
    /// The handshake got no answer.
    #[error("no answer over UDP")]
    HandshakeTimeout,
    /// The peer closed it.
    #[error("closed by the other side")]
    Peer,
    /// The peer broke the protocol.
    #[error("protocol violation: {0}")]
    Violation(#[from] ProtocolViolation),
    /// Closed by this side.
    #[error("closed")]
    Local,
}

impl CloseReason {
    /// The code on the wire.
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::Finished => 0,
            Self::Idle => 1,
            Self::HandshakeTimeout => 2,
            Self::Peer => 3,
            Self::Violation(_) => 4,
            Self::Local => 5,
        }
    }
}

/// The caller asked for something impossible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// File too large for 32-bit cell indices.
    #[error("the file is too large: {bytes} bytes, at most {limit} can be sent")]
    FileTooLarge {
        /// Its size.
        bytes: u64,
        /// The largest possible size.
        limit: u64,
    },
    /// Cell size outside of [`crate::limits::CELL_BYTES_RANGE`].
    #[error("a cell of {0} bytes is out of range")]
    CellBytes(u16),
    /// Stream number zero, beyond 24 bits, or in use.
    #[error("stream number {0} cannot be used")]
    StreamId(u32),
    /// More streams than [`crate::limits::MAX_STREAMS`].
    #[error("too many streams at once")]
    TooManyStreams,
    /// A missing range lies outside of the file.
    #[error("missing range out of the file")]
    MissingRange,
    /// No such association (any more).
    #[error("no such association")]
    UnknownAssociation,
}
