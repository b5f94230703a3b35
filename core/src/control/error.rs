//! What can go wrong: the codes peers tell each other, and the ways in which received bytes can be no frame.

use thiserror::Error;

/// Why the server refused something or ended it: the `code` of an Error or Ended frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ControlError {
    /// 1: the peers speak different versions.
    Version,
    /// 2: the bytes were no frame, or the frame made no sense at that point.
    BadFrame,
    /// 3: the user name breaks a rule.
    NameInvalid,
    /// 4: somebody who is in the chat has the name.
    NameTaken,
    /// 5: the name belongs to another key.
    NameOwned,
    /// 6: the password is missing or wrong.
    Password,
    /// 7: the server admits listed keys only, and this is none of them.
    KeyNotAuthorized,
    /// 8: nobody of that name is in the chat.
    NoSuchUser,
    /// 9: the server shares no such file.
    NoSuchFile,
    /// 10: the client sends faster than it may; what it sent was dropped.
    TooFast,
    /// 11: the server has as many clients as it admits.
    ServerFull,
    /// 12: the server is being shut down.
    ShuttingDown,
    /// 13: the client did not read what was sent to it.
    SlowReader,
    /// 14: this needs a name in the chat.
    NotJoined,
    /// 15: the text is too long.
    TextTooLong,
    /// 16: the file changed while it was being sent.
    FileChanged,
    /// 17: the file cannot be read.
    Unreadable,
    /// 18: the same user joined again from elsewhere.
    Replaced,
    /// 19: nothing was heard for too long.
    Idle,
    /// 20: the server has a fault.
    Internal,
    /// 21: as many transfers run as are admitted.
    TooManyTransfers,
    /// 22: the UDP address or its datagrams are not acceptable.
    Address,
    /// A code of a later version.
    Other(u16),
}

/// The codes in their order on the wire, from 1.
const BY_CODE: [ControlError; 22] = [
    ControlError::Version,
    ControlError::BadFrame,
    ControlError::NameInvalid,
    ControlError::NameTaken,
    ControlError::NameOwned,
    ControlError::Password,
    ControlError::KeyNotAuthorized,
    ControlError::NoSuchUser,
    ControlError::NoSuchFile,
    ControlError::TooFast,
    ControlError::ServerFull,
    ControlError::ShuttingDown,
    ControlError::SlowReader,
    ControlError::NotJoined,
    ControlError::TextTooLong,
    ControlError::FileChanged,
    ControlError::Unreadable,
    ControlError::Replaced,
    ControlError::Idle,
    ControlError::Internal,
    ControlError::TooManyTransfers,
    ControlError::Address,
];

impl ControlError {
    /// The code on the wire.
    #[must_use]
    pub fn code(self) -> u16 {
        if let Self::Other(code) = self {
            return code;
        }
        let index = BY_CODE.iter().position(|&error| error == self);
        index.map_or(0, |index| u16::try_from(index + 1).unwrap_or(u16::MAX))
    }

    /// The meaning of a code; an unknown one is kept as it is.
    #[must_use]
    pub fn from_code(code: u16) -> Self {
        let index = usize::from(code).checked_sub(1);
        index
            .and_then(|index| BY_CODE.get(index).copied())
            .unwrap_or(Self::Other(code))
    }
}

/// Received bytes that are no frame. Each of these ends the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ParseError {
    /// The length field is 0.
    #[error("a frame of length 0")]
    Empty,
    /// The length field exceeds [`limits::MAX_FRAME_BYTES`](super::limits::MAX_FRAME_BYTES).
    #[error(
        "a frame of {length} bytes; at most {} are allowed",
        super::limits::MAX_FRAME_BYTES
    )]
    TooLong {
        /// What the length field says.
        length: u32,
    },
    /// The plaintext checksum does not match: the bytes were altered on their way.
    #[error("a frame was damaged on its way (checksum)")]
    Checksum,
    /// No frame of this kind exists in this version.
    #[error("a frame of unknown kind {kind:#04x}")]
    UnknownKind {
        /// The kind byte.
        kind: u8,
    },
    /// The other side of the protocol sends this kind, not this peer.
    #[error("a frame of kind {kind:#04x} from the wrong side")]
    WrongSide {
        /// The kind byte.
        kind: u8,
    },
    /// The body ends before its last field.
    #[error("a frame of kind {kind:#04x} that is too short")]
    Truncated {
        /// The kind byte.
        kind: u8,
    },
    /// Bytes follow the last field.
    #[error("a frame of kind {kind:#04x} with {bytes} bytes too many")]
    Trailing {
        /// The kind byte.
        kind: u8,
        /// How many bytes follow the last field.
        bytes: usize,
    },
    /// A string is not UTF-8.
    #[error("a frame of kind {kind:#04x} whose text is not UTF-8")]
    NotUtf8 {
        /// The kind byte.
        kind: u8,
    },
    /// A field has a value that means nothing.
    #[error("a frame of kind {kind:#04x} with a bad value for {field}")]
    BadValue {
        /// The kind byte.
        kind: u8,
        /// The field's name.
        field: &'static str,
    },
    /// The first frame does not start with [`MAGIC`](super::MAGIC).
    #[error("the peer is no Columba client")]
    NotColumba,
    /// The peer speaks another version.
    #[error(
        "the peer speaks protocol version {theirs}, this program speaks version {}",
        super::PROTOCOL_VERSION
    )]
    Version {
        /// The peer's version.
        theirs: u16,
    },
}

/// A frame that cannot be put on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum EncodeError {
    /// The frame would exceed [`limits::MAX_FRAME_BYTES`](super::limits::MAX_FRAME_BYTES).
    #[error(
        "the frame would take {bytes} bytes; at most {} are allowed",
        super::limits::MAX_FRAME_BYTES
    )]
    FrameTooLong {
        /// What kind and body would take.
        bytes: usize,
    },
    /// A string or list is longer than its 16-bit count can say.
    #[error("a field of {length} bytes or items; at most 65535 are allowed")]
    FieldTooLong {
        /// Its length.
        length: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_protocol() {
        assert_eq!(ControlError::Version.code(), 1);
        assert_eq!(ControlError::NoSuchFile.code(), 9);
        assert_eq!(ControlError::Replaced.code(), 18);
        assert_eq!(ControlError::Address.code(), 22);
        assert_eq!(ControlError::from_code(23), ControlError::Other(23));
        assert_eq!(ControlError::from_code(0), ControlError::Other(0));
    }

    #[test]
    fn every_code_survives_the_round_trip() {
        for code in 0..=u16::MAX {
            assert_eq!(ControlError::from_code(code).code(), code);
        }
    }
}
