//! What goes into the engine and what comes out: the only things others need to know of it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use columba_core::control::{ControlError, Policy};
use columba_core::stats::PathReport;
use columba_net::identity::{Fingerprint, Identity};

use crate::exit_code::ClientError;
use crate::known_servers::KnownServers;
use crate::places::ServerName;
use crate::storage::Storage;

/// How long connecting is tried.
pub const CONNECT_FOR: Duration = Duration::from_secs(30);

/// How the server is known.
#[derive(Clone, Debug)]
pub enum Security {
    /// No TLS and no encryption.
    Plaintext,
    /// TLS 1.3; our key, and what the server's must be.
    Tls {
        /// Our key.
        identity: Identity,
        /// How the server's key is judged.
        trust: Trust,
    },
}

impl Security {
    /// Whether frames and files are encrypted.
    #[must_use]
    pub const fn is_encrypted(&self) -> bool {
        matches!(self, Self::Tls { .. })
    }
}

/// How the server's key is judged.
#[derive(Clone, Debug)]
pub enum Trust {
    /// It must be this one.
    Pinned(Fingerprint),
    /// It must be the known one; an unknown server becomes known.
    FirstUse(KnownServers),
}

/// What an engine is for. Who takes no name gets no chat.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// The server.
    pub server: ServerName,
    /// How it is known.
    pub security: Security,
    /// The server's password, or empty.
    pub password: Arc<str>,
    /// Our name in the chat; `None` to stay out of it.
    pub name: Option<String>,
    /// Where files go.
    pub storage: Arc<dyn Storage>,
    /// How files come.
    pub transfer: TransferOptions,
    /// Whether a lost connection is made anew.
    pub reconnect: bool,
    /// How long connecting is tried; [`CONNECT_FOR`] but in tests.
    pub connect_for: Duration,
}

/// How files come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransferOptions {
    /// Files larger than 1 MiB at the same time.
    pub jobs: u32,
    /// How the path is shared.
    pub policy: Policy,
    /// Bytes per second of all files; 0 for no limit.
    pub rate_limit: u64,
    /// Largest UDP payload in bytes; 0 for as large as the path takes.
    pub max_datagram: u16,
}

impl Default for TransferOptions {
    fn default() -> Self {
        Self {
            jobs: 8,
            policy: Policy::Fair,
            rate_limit: 0,
            max_datagram: 0,
        }
    }
}

/// What the engine is told.
#[derive(Clone, Debug)]
pub enum Command {
    /// Send a message to everybody.
    Say(String),
    /// Send a message to one user.
    Whisper {
        /// The recipient.
        to: String,
        /// The message.
        text: String,
    },
    /// Who is there?
    Users,
    /// Which files are shared?
    Files {
        /// Only names that start like this.
        prefix: String,
    },
    /// The server's counters.
    Stats,
    /// Download files and folders.
    Get {
        /// Comes back in all events about them; not 0.
        request: u32,
        /// Names as listed.
        names: Vec<String>,
        /// What a single file is called here, below the storage's folder; for a folder, where its
        /// tree goes. `None`: files keep their names.
        target: Option<PathBuf>,
        /// Another folder than the storage's; `None` for that one.
        folder: Option<PathBuf>,
        /// The names that decide where files go, when they are not `names`: single files of a folder
        /// that are fetched again belong where the folder's tree went. Empty: the same as `names`.
        roots: Vec<String>,
    },
    /// Receive no more of this download until it is resumed. What is here stays, also when the
    /// engine ends meanwhile.
    Pause {
        /// The download's number.
        request: u32,
    },
    /// Go on with a paused download.
    Resume {
        /// The download's number.
        request: u32,
    },
    /// Give a download up. [`GetEvent::Finished`] follows and nothing else of it.
    Cancel {
        /// The download's number.
        request: u32,
        /// Keep what is here of unfinished files, so that the same download later goes on from there;
        /// else it is removed. Files that are complete stay.
        keep: bool,
    },
    /// Connect at once instead of waiting for the next attempt.
    ConnectNow,
    /// Wait for the answers to all that was asked and for all downloads, say goodbye, and end.
    Finish,
    /// Keep what can be resumed, say goodbye, and end.
    Stop,
}

/// What the engine tells.
#[derive(Debug)]
pub enum Event {
    /// A server's key was seen for the first time and is trusted from now on.
    FirstContact {
        /// Its fingerprint.
        fingerprint: Fingerprint,
    },
    /// The server has let us in.
    Welcome {
        /// The name we have, empty without chat.
        name: String,
        /// The server's software.
        software: String,
        /// Number of the last message sent to everybody.
        sequence: u64,
        /// The connection was lost before, and made anew.
        again: bool,
    },
    /// A message to everybody.
    Message {
        /// Its number.
        sequence: u64,
        /// When, milliseconds since the Unix epoch.
        time_ms: u64,
        /// Who.
        from: String,
        /// What.
        text: String,
    },
    /// A whisper, to us or from us.
    Whispered {
        /// When, milliseconds since the Unix epoch.
        time_ms: u64,
        /// Who.
        from: String,
        /// To whom.
        to: String,
        /// What.
        text: String,
    },
    /// Who came and went.
    Presence {
        /// When, milliseconds since the Unix epoch.
        time_ms: u64,
        /// Names that joined.
        joined: Vec<String>,
        /// Names that left.
        left: Vec<String>,
    },
    /// Everybody who is there.
    Users(Vec<String>),
    /// The shared files.
    Files(Vec<FileInfo>),
    /// The server's counters: a JSON object.
    Stats(String),
    /// The server refused something; the connection goes on.
    Refused {
        /// What kind of thing.
        code: ControlError,
        /// One line for the person.
        text: String,
    },
    /// The server ended the connection or refused it with these words; [`Event::Ended`] or
    /// [`Event::Reconnecting`] follows.
    Denied {
        /// What kind of thing.
        code: ControlError,
        /// One line for the person.
        text: String,
    },
    /// The connection was lost and is being made anew.
    Reconnecting {
        /// Why it was lost.
        reason: String,
    },
    /// An attempt to connect has failed; the next one comes after `delay`.
    NextAttempt {
        /// Which one the next one is, counted from 1.
        attempt: u32,
        /// How long it is until then.
        delay: Duration,
        /// What the last one failed of.
        reason: String,
    },
    /// So many messages to everybody were sent while the connection was lost and are not kept by the
    /// server any more. Those that it kept follow as [`Event::Message`].
    Missed {
        /// How many.
        count: u64,
    },
    /// What we said before the connection was lost may not have arrived.
    Undelivered {
        /// To whom it was whispered; `None` when it was said to everybody.
        to: Option<String>,
        /// What we said.
        text: String,
    },
    /// Whether UDP gets through: the server answers over TCP and not over UDP, or now it does.
    Udp {
        /// It does not.
        blocked: bool,
    },
    /// What the network does; twice a second at most while files come.
    Network(NetworkSample),
    /// Something about a download.
    Get {
        /// The request's number.
        request: u32,
        /// What.
        event: GetEvent,
    },
    /// The engine has ended; the last event.
    Ended(Result<(), ClientError>),
}

/// A shared file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileInfo {
    /// Path with `/`, relative to the shared folder.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Last change, seconds since the Unix epoch.
    pub mtime_s: u64,
}

/// What happens to a download.
#[derive(Debug)]
pub enum GetEvent {
    /// How far all of it is. Sent ten times a second at most.
    Progress(GetProgress),
    /// A file is verified and has its name.
    Done(FileReport),
    /// A file was left out on request, for it exists.
    Skipped {
        /// The server's name for it.
        file: String,
        /// What is there.
        target: PathBuf,
    },
    /// The file changed on the server and starts from zero.
    StartsOver {
        /// The server's name for it.
        file: String,
    },
    /// A file could not be had.
    Failed {
        /// The server's name for it.
        file: String,
        /// Why.
        error: ClientError,
    },
    /// All files of the request were told.
    Finished,
}

/// What a download does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GetPhase {
    /// It waits: for the connection, the server's answer, or its turn.
    #[default]
    Queued,
    /// What is here of its files is being looked for and checked.
    Preparing,
    /// It comes.
    Active,
    /// It should come, and nothing has for a while.
    Stalled,
    /// It was paused.
    Paused,
    /// All of it is here; the rest is hashed, written and given its name.
    Verifying,
}

/// How far a download is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GetProgress {
    /// What it does.
    pub phase: GetPhase,
    /// Bytes that are here.
    pub done_bytes: u64,
    /// Bytes of all offered files.
    pub total_bytes: u64,
    /// Files that ended, in whatever way.
    pub done_files: usize,
    /// All offered files.
    pub total_files: usize,
    /// One file that is coming.
    pub current: String,
}

/// A file that has arrived.
#[derive(Clone, Debug)]
pub struct FileReport {
    /// The server's name for it.
    pub file: String,
    /// Where it is now.
    pub target: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// From its first request (for the first file: the first SYN) to the verified end.
    pub elapsed: Duration,
    /// BLAKE3 of the content.
    pub blake3: [u8; 32],
    /// Bytes that an earlier run had left.
    pub resumed_bytes: u64,
    /// DATA packets, duplicates included.
    pub packets_received: u64,
    /// DATA packets of which everything was there already.
    pub packets_duplicate: u64,
    /// From the first SYN to the server's answer.
    pub handshake: Duration,
    /// Median round trip.
    pub rtt_p50: Duration,
    /// 99th percentile of round trips.
    pub rtt_p99: Duration,
}

impl FileReport {
    /// Bytes that came over the network, per second.
    #[must_use]
    pub fn bytes_per_second(&self) -> f64 {
        let fetched = self.bytes.saturating_sub(self.resumed_bytes);
        #[expect(clippy::cast_precision_loss, reason = "a rate, for people")]
        let rate = fetched as f64 / self.elapsed.as_secs_f64().max(1e-9);
        rate
    }
}

/// The percentiles of a [`NetworkSample`].
pub const RTT_PERCENTILES: [f64; 7] = [50.0, 75.0, 90.0, 95.0, 99.0, 99.9, 100.0];

/// What the network did since the last sample. Sums are of the interval unless they say otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct NetworkSample {
    /// How long the interval was.
    pub interval: Duration,
    /// Bytes of files that were new.
    pub new_bytes: u64,
    /// Smoothed round trip.
    pub srtt: Duration,
    /// Least round trip lately.
    pub min_rtt: Duration,
    /// Round trips of all packets of this association at [`RTT_PERCENTILES`], in microseconds.
    pub rtt_percentiles_us: [u32; RTT_PERCENTILES.len()],
    /// Packets that came.
    pub packets: u64,
    /// Packets of which everything was here already.
    pub duplicate_packets: u64,
    /// Packets that did not come, those included that may yet.
    pub missing_packets: u64,
    /// Datagrams that our kernel dropped, for want of room in the socket's buffer.
    pub kernel_drops: u64,
    /// Bytes that we let the server have in flight now.
    pub credit_bytes: u64,
    /// The part of that which the buffers for incomplete segments bound; when it is small, the disk or
    /// the processor does not keep up.
    pub storage_credit_bytes: u64,
    /// Bytes that wait to be hashed and written now.
    pub storage_backlog_bytes: u64,
    /// The server's last report on its sending, when there is one of the last seconds.
    pub sender: Option<PathReport>,
}

impl NetworkSample {
    /// Bytes of files per second.
    #[must_use]
    pub fn bytes_per_second(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a rate, for people")]
        let bytes = self.new_bytes as f64;
        bytes / self.interval.as_secs_f64().max(1e-3)
    }

    /// Share of the packets that did not come, 0 to 1.
    #[must_use]
    pub fn loss(&self) -> f64 {
        let sent = self.packets + self.missing_packets;
        #[expect(clippy::cast_precision_loss, reason = "a share, for people")]
        let share = self.missing_packets as f64 / sent.max(1) as f64;
        share
    }
}
