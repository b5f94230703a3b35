//! The server's frames as owned values, so that handling one does not hold the buffer it came in.

use columba_core::control::{ControlError, Frame, Grant, History, Side};
use columba_core::stats::PathReport;

use super::message::{Event, FileInfo};
use super::transfer::Offered;

/// What the server said.
#[derive(Debug)]
pub(super) enum Heard {
    /// Something to pass on as it is.
    Event(Event),
    Welcome(Welcomed),
    Error {
        code: ControlError,
        fatal: bool,
        request: u32,
        text: String,
    },
    Users {
        last: bool,
        names: Vec<String>,
    },
    Files {
        last: bool,
        files: Vec<FileInfo>,
    },
    Grant(Grant),
    Offer {
        request: u32,
        last: bool,
        files: Vec<Offered>,
    },
    Ended {
        stream: u32,
        code: ControlError,
        text: String,
    },
    Ping(u64),
    Pong(u64),
    PathReport(PathReport),
    /// A frame that servers do not send.
    Nonsense,
}

/// The server has let us in.
#[derive(Debug)]
pub(super) struct Welcomed {
    pub(super) name: String,
    pub(super) software: String,
    pub(super) sequence: u64,
    pub(super) features: u32,
    pub(super) history: Option<History>,
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

impl From<Frame<'_>> for Heard {
    #[expect(clippy::too_many_lines, reason = "a table of all frames")]
    fn from(frame: Frame<'_>) -> Self {
        match frame {
            Frame::Welcome(welcome) => Self::Welcome(Welcomed {
                name: welcome.name.to_owned(),
                software: welcome.software.to_owned(),
                sequence: welcome.sequence,
                features: welcome.features,
                history: welcome.history,
            }),
            Frame::Error(error) => Self::Error {
                code: error.code,
                fatal: error.fatal,
                request: error.request,
                text: error.text.to_owned(),
            },
            Frame::Message(message) => Self::Event(Event::Message {
                sequence: message.sequence,
                time_ms: message.time_ms,
                from: message.from.to_owned(),
                text: message.text.to_owned(),
            }),
            Frame::Whispered(whisper) => Self::Event(Event::Whispered {
                time_ms: whisper.time_ms,
                from: whisper.from.to_owned(),
                to: whisper.to.to_owned(),
                text: whisper.text.to_owned(),
            }),
            Frame::Presence {
                time_ms,
                joined,
                left,
            } => Self::Event(Event::Presence {
                time_ms,
                joined: owned(&joined),
                left: owned(&left),
            }),
            Frame::UserList { last, names } => Self::Users {
                last,
                names: owned(&names),
            },
            Frame::FileList { last, entries, .. } => Self::Files {
                last,
                files: entries
                    .iter()
                    .map(|entry| FileInfo {
                        name: entry.name.to_owned(),
                        size: entry.size,
                        mtime_s: entry.mtime_s,
                    })
                    .collect(),
            },
            Frame::StatsReport { json } => Self::Event(Event::Stats(json.to_owned())),
            Frame::Grant(grant) => Self::Grant(grant),
            Frame::Offer {
                request,
                last,
                entries,
            } => Self::Offer {
                request,
                last,
                files: entries
                    .iter()
                    .map(|entry| Offered {
                        file: entry.file,
                        name: entry.name.to_owned(),
                        size: entry.size,
                        version: entry.version,
                    })
                    .collect(),
            },
            Frame::Ended { stream, code, text } => Self::Ended {
                stream,
                code,
                text: text.to_owned(),
            },
            Frame::Ping {
                from: Side::Server,
                nonce,
            } => Self::Ping(nonce),
            Frame::Pong {
                from: Side::Server,
                nonce,
            } => Self::Pong(nonce),
            // The decoder lets nothing else of the server through; ours mean nothing from it.
            Frame::Pong { .. }
            | Frame::Ping { .. }
            | Frame::Hello(_)
            | Frame::Say { .. }
            | Frame::Whisper { .. }
            | Frame::Users
            | Frame::Files { .. }
            | Frame::Stats
            | Frame::Open(_)
            | Frame::Get { .. }
            | Frame::Start { .. }
            | Frame::Cancel { .. }
            | Frame::Leave => Self::Nonsense,
            Frame::PathReport(report) => Self::PathReport(report),
        }
    }
}
