//! Why a download failed, and what a person may do about it.

use std::io;

use crate::exit_code::{CHANGED_TWICE, ClientError, UDP_BLOCKED};
use crate::storage::StorageError;

/// Why a file could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The server shares no such file (any more).
    NoSuchFile,
    /// It changed on the server while it came, twice.
    SourceChanged,
    /// What came is not what the server has.
    Integrity,
    /// There is no room on the disk.
    DiskFull,
    /// We may not write there.
    NotWritable,
    /// A file of this name is there.
    Exists,
    /// The disk failed otherwise, or the name is impossible here.
    Disk,
    /// UDP does not get through.
    UdpBlocked,
    /// The server cannot be reached, or nothing came for too long.
    Unreachable,
    /// The server refused it.
    Server,
}

/// What a person may do about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Advice {
    /// Try again: it goes on where it stopped.
    Retry,
    /// Make room on the disk, or choose another folder, then try again.
    MakeRoom,
    /// Choose another folder.
    ChooseFolder,
    /// Look at the list of files: it may have another name now.
    LookAtFiles,
    /// Let UDP through the firewall.
    OpenFirewall,
    /// Nothing but asking the server's operator.
    AskOperator,
}

impl Cause {
    /// What a person may do about it.
    #[must_use]
    pub const fn advice(self) -> Advice {
        match self {
            Self::NoSuchFile => Advice::LookAtFiles,
            Self::SourceChanged | Self::Unreachable | Self::Integrity => Advice::Retry,
            Self::DiskFull => Advice::MakeRoom,
            Self::NotWritable | Self::Exists | Self::Disk => Advice::ChooseFolder,
            Self::UdpBlocked => Advice::OpenFirewall,
            Self::Server => Advice::AskOperator,
        }
    }

    /// What an error is.
    #[must_use]
    pub fn of(error: &ClientError) -> Self {
        match error {
            ClientError::NoSuchFile(_) => Self::NoSuchFile,
            ClientError::Integrity { reason, .. } if *reason == CHANGED_TWICE => {
                Self::SourceChanged
            }
            ClientError::Integrity { .. } => Self::Integrity,
            ClientError::Connect { reason, .. } if reason == UDP_BLOCKED => Self::UdpBlocked,
            ClientError::Connect { .. } | ClientError::Stalled(_) | ClientError::Lost(_) => {
                Self::Unreachable
            }
            ClientError::Storage(StorageError::Exists { .. }) => Self::Exists,
            ClientError::Storage(StorageError::Io { source, .. }) => Self::of_disk(source),
            ClientError::Storage(_) | ClientError::State { .. } => Self::Disk,
            ClientError::Usage(_)
            | ClientError::KeyChanged { .. }
            | ClientError::Fingerprint { .. }
            | ClientError::Refused(_)
            | ClientError::Partial { .. }
            | ClientError::Stopped { .. }
            | ClientError::Server(_)
            | ClientError::System { .. } => Self::Server,
        }
    }

    fn of_disk(error: &io::Error) -> Self {
        let full = [
            io::ErrorKind::StorageFull,
            io::ErrorKind::QuotaExceeded,
            io::ErrorKind::FileTooLarge,
        ];
        let closed = [
            io::ErrorKind::PermissionDenied,
            io::ErrorKind::ReadOnlyFilesystem,
        ];
        if full.contains(&error.kind()) {
            Self::DiskFull
        } else if closed.contains(&error.kind()) {
            Self::NotWritable
        } else {
            Self::Disk
        }
    }
}

impl Advice {
    /// One line for the person.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Retry => "Try again: it goes on where it stopped.",
            Self::MakeRoom => "Make room on the disk or choose another folder, then try again.",
            Self::ChooseFolder => "Choose another folder and try again.",
            Self::LookAtFiles => "Look at the list of files: it may have another name now.",
            Self::OpenFirewall => {
                "Let UDP through the firewall, on the same port number as the server's address."
            }
            Self::AskOperator => "Ask the server's operator.",
        }
    }
}
