//! What a command ends with: a reason in one line that says what to do, and its exit code.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode as ProcessCode;

use columba_core::chat::printable;
use columba_core::control::ControlError;

use crate::storage::{StorageError, paths};

/// The exit codes that scripts rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum ExitCode {
    /// All is well; files that were skipped on request are, too.
    Ok = 0,
    /// None of the others.
    General = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// No connection, over TCP or UDP, within 30 s.
    Connect = 3,
    /// The server's key changed, or it refused our key, password or name.
    Refused = 4,
    /// The server shares no such file.
    NoSuchFile = 5,
    /// What came is not what the server has, twice.
    Integrity = 6,
    /// The local disk, or a local file's name.
    Disk = 7,
    /// Timed out or stalled; the same command goes on where it stopped.
    Stalled = 8,
    /// Some of several files failed.
    Partial = 9,
    /// SIGINT.
    Interrupted = 130,
    /// SIGTERM.
    Terminated = 143,
}

impl From<ExitCode> for ProcessCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code as u8)
    }
}

/// Why downloads cannot begin where chat works.
pub const UDP_BLOCKED: &str = "it answers over TCP but not over UDP; a firewall may drop UDP";
/// Why a file that changes all the time is given up.
pub const CHANGED_TWICE: &str = "it changed on the server twice while it was fetched";

/// Why a command did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The command line makes no sense.
    #[error("{0}")]
    Usage(String),
    /// No connection could be made.
    #[error("cannot connect to {server}: {reason}")]
    Connect {
        /// Host and port as given.
        server: String,
        /// What happened last, and what to check.
        reason: String,
    },
    /// The server has another key than before. Nothing was sent to it.
    #[error(
        "the key of {server} has changed: known is {known}, now it shows {shown}. Somebody may be in \
         between, or the server was set up anew; if you know that it was, remove its line from {}",
        paths::shown(file)
    )]
    KeyChanged {
        /// Host and port as given.
        server: String,
        /// The fingerprint we trust.
        known: String,
        /// The fingerprint it shows.
        shown: String,
        /// Where trusted keys stand.
        file: PathBuf,
    },
    /// The server has another key than `--fingerprint` asks for. Nothing was sent to it.
    #[error("{server} shows the key {shown}, but --fingerprint asks for {wanted}")]
    Fingerprint {
        /// Host and port as given.
        server: String,
        /// The fingerprint asked for.
        wanted: String,
        /// The fingerprint it shows.
        shown: String,
    },
    /// The server refused the key, the password or the name.
    #[error("{0}")]
    Refused(String),
    /// The server shares no such file.
    #[error("{0}")]
    NoSuchFile(String),
    /// What came is not what the server has.
    #[error("{}: {reason}", printable(name))]
    Integrity {
        /// The file.
        name: String,
        /// What does not fit.
        reason: &'static str,
    },
    /// The file could not be kept.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// One of the client's own files cannot be read or written.
    #[error("cannot {action} {}: {source}", paths::shown(path))]
    State {
        /// What was tried, as a verb.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Nothing came for too long.
    #[error("{0}")]
    Stalled(String),
    /// Some of several files failed; each was told by itself.
    #[error("{failed} of {total} files failed")]
    Partial {
        /// How many failed.
        failed: usize,
        /// How many there were.
        total: usize,
    },
    /// A signal asked to stop.
    #[error("stopped; the same command goes on where this one ended")]
    Stopped {
        /// By SIGTERM instead of SIGINT.
        terminated: bool,
    },
    /// The server said that something is wrong.
    #[error("{0}")]
    Server(String),
    /// The connection ended.
    #[error("the connection to the server was lost: {0}")]
    Lost(String),
    /// The system refused something that has nothing to do with files.
    #[error("cannot {action}: {source}")]
    System {
        /// What was tried, as a verb.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl ClientError {
    /// An error frame of the server, as a person reads it.
    #[must_use]
    pub fn from_server(code: ControlError, text: &str) -> Self {
        let text = printable(text).into_owned();
        match code {
            ControlError::NameInvalid
            | ControlError::NameTaken
            | ControlError::NameOwned
            | ControlError::Password
            | ControlError::KeyNotAuthorized => Self::Refused(text),
            ControlError::NoSuchFile => Self::NoSuchFile(text),
            ControlError::Idle => Self::Stalled(text),
            ControlError::Version
            | ControlError::BadFrame
            | ControlError::NoSuchUser
            | ControlError::TooFast
            | ControlError::ServerFull
            | ControlError::ShuttingDown
            | ControlError::SlowReader
            | ControlError::NotJoined
            | ControlError::TextTooLong
            | ControlError::FileChanged
            | ControlError::Unreadable
            | ControlError::Replaced
            | ControlError::Internal
            | ControlError::TooManyTransfers
            | ControlError::Address
            | ControlError::Other(_) => Self::Server(text),
        }
    }

    /// Builds [`ClientError::State`].
    pub fn state(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::State {
            action,
            path: path.to_path_buf(),
            source,
        }
    }

    /// The exit code it stands for.
    #[must_use]
    pub const fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(_) => ExitCode::Usage,
            Self::Connect { .. } => ExitCode::Connect,
            Self::KeyChanged { .. } | Self::Fingerprint { .. } | Self::Refused(_) => {
                ExitCode::Refused
            }
            Self::NoSuchFile(_) => ExitCode::NoSuchFile,
            Self::Integrity { .. } => ExitCode::Integrity,
            Self::Storage(StorageError::Interrupted) | Self::Stopped { terminated: false } => {
                ExitCode::Interrupted
            }
            Self::Storage(_) | Self::State { .. } => ExitCode::Disk,
            Self::Stalled(_) => ExitCode::Stalled,
            Self::Partial { .. } => ExitCode::Partial,
            Self::Stopped { terminated: true } => ExitCode::Terminated,
            Self::Server(_) | Self::Lost(_) | Self::System { .. } => ExitCode::General,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_contract() {
        let cases = [
            (ClientError::Usage(String::new()), 2),
            (ClientError::from_server(ControlError::NameTaken, "x"), 4),
            (ClientError::from_server(ControlError::Password, "x"), 4),
            (ClientError::from_server(ControlError::NoSuchFile, "x"), 5),
            (ClientError::from_server(ControlError::Internal, "x"), 1),
            (ClientError::Storage(StorageError::Interrupted), 130),
            (ClientError::Stopped { terminated: true }, 143),
            (
                ClientError::Partial {
                    failed: 1,
                    total: 2,
                },
                9,
            ),
        ];
        for (error, code) in cases {
            assert_eq!(error.exit_code() as u8, code, "{error}");
        }
    }

    #[test]
    fn what_a_server_says_cannot_drive_the_terminal() {
        let error = ClientError::from_server(ControlError::Internal, "a\x1b[2Jb");
        assert!(!error.to_string().contains('\x1b'));
    }
}
