//! The frames, as borrowed types: a decoded frame points into the buffer it came from.

use super::ControlError;
use crate::stats::PathReport;

/// Who sends a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The client: kinds below 0x80.
    Client,
    /// The server: kinds from 0x80.
    Server,
}

/// Everything that can be said over the control connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// 0x01: the first frame of a client.
    Hello(Hello<'a>),
    /// 0x02: a message to everybody in the chat.
    Say {
        /// The message.
        text: &'a str,
    },
    /// 0x03: a message to one user.
    Whisper {
        /// The recipient's name.
        to: &'a str,
        /// The message.
        text: &'a str,
    },
    /// 0x04: who is in the chat?
    Users,
    /// 0x05: which files are shared?
    Files {
        /// Number that the answers carry.
        request: u32,
        /// Only names that start like this; empty for all.
        prefix: &'a str,
    },
    /// 0x06: the server's counters.
    Stats,
    /// 0x07: asks for a UDP association.
    Open(Open),
    /// 0x08: asks for files or folders by name.
    Get {
        /// Number that the answers carry.
        request: u32,
        /// Paths as listed; a folder's name means its tree.
        names: Vec<&'a str>,
    },
    /// 0x09: starts streams of offered files.
    Start {
        /// The streams, in the order in which they should come.
        entries: Vec<StartEntry>,
    },
    /// 0x0a: ends streams.
    Cancel {
        /// Their ids.
        streams: Vec<u32>,
    },
    /// 0x0b or 0x8c: asks for a Pong.
    Ping {
        /// Who sends it.
        from: Side,
        /// Comes back in the Pong.
        nonce: u64,
    },
    /// 0x0c or 0x8d: answers a Ping.
    Pong {
        /// Who sends it.
        from: Side,
        /// The Ping's.
        nonce: u64,
    },
    /// 0x0d: the client leaves.
    Leave,
    /// 0x81: the server's answer to Hello.
    Welcome(Welcome<'a>),
    /// 0x82: something was refused or has gone wrong.
    Error(ErrorFrame<'a>),
    /// 0x83: a message to everybody, its sender included.
    Message(Message<'a>),
    /// 0x84: a whisper, to its recipient and back to its sender as confirmation.
    Whispered(Whispered<'a>),
    /// 0x85: who came and went since the last one.
    Presence {
        /// When it was sent, milliseconds since the Unix epoch.
        time_ms: u64,
        /// Names that joined.
        joined: Vec<&'a str>,
        /// Names that left.
        left: Vec<&'a str>,
    },
    /// 0x86: a page of the answer to Users.
    UserList {
        /// No page follows.
        last: bool,
        /// Names, sorted.
        names: Vec<&'a str>,
    },
    /// 0x87: a page of the answer to Files.
    FileList {
        /// The request's number.
        request: u32,
        /// No page follows.
        last: bool,
        /// The files, sorted by name.
        entries: Vec<FileEntry<'a>>,
    },
    /// 0x88: the answer to Stats.
    StatsReport {
        /// A JSON object.
        json: &'a str,
    },
    /// 0x89: the answer to Open.
    Grant(Grant),
    /// 0x8a: a page of the answer to Get.
    Offer {
        /// The request's number.
        request: u32,
        /// No page follows.
        last: bool,
        /// The files.
        entries: Vec<OfferEntry<'a>>,
    },
    /// 0x8b: the server ended a stream.
    Ended {
        /// Which one.
        stream: u32,
        /// Why.
        code: ControlError,
        /// One line for the person.
        text: &'a str,
    },
    /// 0x8e: how the server's sending goes; only to clients that offered
    /// [`features::PATH_REPORT`](super::features::PATH_REPORT).
    PathReport(PathReport),
}

/// A client's first frame.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Hello<'a> {
    /// The client's protocol version; any but [`PROTOCOL_VERSION`](super::PROTOCOL_VERSION) is a
    /// [`ParseError::Version`](super::ParseError::Version) when decoded, whatever the rest looks like.
    pub version: u16,
    /// Optional features, one bit each.
    pub features: u32,
    /// What the client comes for.
    pub purpose: Purpose,
    /// The wanted user name; empty for [`Purpose::Headless`].
    pub name: &'a str,
    /// The server's password, or empty.
    pub password: &'a str,
    /// The client's name and version, for logs.
    pub software: &'a str,
    /// What it heard last of a chat it was in before; present exactly with
    /// [`features::RETURNS`](super::features::RETURNS).
    pub returns: Option<Heard>,
}

/// How far somebody has heard a chat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// The chat's number, from [`Welcome::history`].
    pub chat: u64,
    /// The last message of it.
    pub sequence: u64,
}

/// What a server keeps of its chat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct History {
    /// Number of this chat: another one after the server's restart, when messages count from 1 again.
    pub chat: u64,
    /// Messages since the client was there last that are not kept any more; those that are kept follow.
    pub missed: u64,
}

impl std::fmt::Debug for Hello<'_> {
    /// Leaves the password out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hello")
            .field("version", &self.version)
            .field("features", &self.features)
            .field("purpose", &self.purpose)
            .field("name", &self.name)
            .field("software", &self.software)
            .field("returns", &self.returns)
            .finish_non_exhaustive()
    }
}

/// What a client comes for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Files, lists or counters: takes no name and hears no chat.
    Headless,
    /// The chat.
    Chat,
}

/// How a client's transfers share the path with others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Policy {
    /// An equal share.
    #[default]
    Fair,
    /// What others leave.
    Low,
}

/// Asks for a UDP association.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    /// Largest UDP payload the client wants to receive, in bytes; 0 for as large as the path takes.
    pub max_datagram: u16,
    /// How its transfers share the path.
    pub policy: Policy,
    /// Bytes per second over all its transfers; 0 for no limit.
    pub rate_limit: u64,
}

/// One stream to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartEntry {
    /// The stream's id, chosen by the client, 24 bits, counted up, never used twice in an association.
    pub stream: u32,
    /// The file, as numbered in the Offer.
    pub file: u32,
    /// Segments (of 1 MiB) that the client lacks; empty means all of them.
    pub missing: Vec<SegmentRange>,
}

/// Consecutive segments of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentRange {
    /// Index of the first one.
    pub first: u32,
    /// How many; never 0.
    pub count: u32,
}

/// The server's answer to Hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Welcome<'a> {
    /// The server's protocol version.
    pub version: u16,
    /// Optional features, one bit each.
    pub features: u32,
    /// The server's name and version.
    pub software: &'a str,
    /// The name the client has in the chat; empty when headless.
    pub name: &'a str,
    /// Number of the last message sent to everybody.
    pub sequence: u64,
    /// The server's time, milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// What it keeps of the chat; present exactly with [`features::HISTORY`](super::features::HISTORY).
    pub history: Option<History>,
}

/// Something was refused or has gone wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorFrame<'a> {
    /// What kind of thing.
    pub code: ControlError,
    /// The connection ends with this frame.
    pub fatal: bool,
    /// The request it answers; 0 for none.
    pub request: u32,
    /// One line that says what happened and what to do.
    pub text: &'a str,
}

/// A message to everybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Its number: one more than that of the message before.
    pub sequence: u64,
    /// When the server took it, milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// The sender's name.
    pub from: &'a str,
    /// The message.
    pub text: &'a str,
}

/// A message to one user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whispered<'a> {
    /// When the server took it, milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// The sender's name.
    pub from: &'a str,
    /// The recipient's name.
    pub to: &'a str,
    /// The message.
    pub text: &'a str,
}

/// A shared file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileEntry<'a> {
    /// Path with `/`, relative to the shared folder.
    pub name: &'a str,
    /// Bytes.
    pub size: u64,
    /// Last change, seconds since the Unix epoch.
    pub mtime_s: u64,
}

/// A UDP association granted to the client.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// Its id in every packet.
    pub association: u32,
    /// Where the server receives; zero: on the same port number as this connection goes to, which is what lets a relay
    /// or a port forwarding in between move both together.
    pub udp_port: u16,
    /// Bytes of a cell.
    pub cell_bytes: u16,
    /// Secret from which the keys of packets to the client come.
    pub secret_down: [u8; 32],
    /// Secret from which the keys of packets to the server come.
    pub secret_up: [u8; 32],
    /// The association ends after that many milliseconds of silence.
    pub idle_ms: u32,
}

impl std::fmt::Debug for Grant {
    /// Leaves the secrets out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Grant")
            .field("association", &self.association)
            .field("udp_port", &self.udp_port)
            .field("cell_bytes", &self.cell_bytes)
            .field("idle_ms", &self.idle_ms)
            .finish_non_exhaustive()
    }
}

/// A file the client may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OfferEntry<'a> {
    /// Its number in Start.
    pub file: u32,
    /// Path with `/`, relative to the shared folder.
    pub name: &'a str,
    /// Bytes.
    pub size: u64,
    /// Changes whenever the file does.
    pub version: [u8; 16],
}

impl Frame<'_> {
    /// Who sends this frame.
    #[must_use]
    pub fn sender(&self) -> Side {
        if self.kind() < 0x80 {
            Side::Client
        } else {
            Side::Server
        }
    }

    /// The kind byte.
    #[must_use]
    pub fn kind(&self) -> u8 {
        use super::codec::kind;
        match self {
            Self::Hello(_) => kind::HELLO,
            Self::Say { .. } => kind::SAY,
            Self::Whisper { .. } => kind::WHISPER,
            Self::Users => kind::USERS,
            Self::Files { .. } => kind::FILES,
            Self::Stats => kind::STATS,
            Self::Open(_) => kind::OPEN,
            Self::Get { .. } => kind::GET,
            Self::Start { .. } => kind::START,
            Self::Cancel { .. } => kind::CANCEL,
            Self::Ping {
                from: Side::Client, ..
            } => kind::CLIENT_PING,
            Self::Ping {
                from: Side::Server, ..
            } => kind::SERVER_PING,
            Self::Pong {
                from: Side::Client, ..
            } => kind::CLIENT_PONG,
            Self::Pong {
                from: Side::Server, ..
            } => kind::SERVER_PONG,
            Self::Leave => kind::LEAVE,
            Self::Welcome(_) => kind::WELCOME,
            Self::Error(_) => kind::ERROR,
            Self::Message(_) => kind::MESSAGE,
            Self::Whispered(_) => kind::WHISPERED,
            Self::Presence { .. } => kind::PRESENCE,
            Self::UserList { .. } => kind::USER_LIST,
            Self::FileList { .. } => kind::FILE_LIST,
            Self::StatsReport { .. } => kind::STATS_REPORT,
            Self::Grant(_) => kind::GRANT,
            Self::Offer { .. } => kind::OFFER,
            Self::Ended { .. } => kind::ENDED,
            Self::PathReport(_) => kind::PATH_REPORT,
        }
    }
}
