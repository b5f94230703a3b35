//! The control connection: tries all addresses until one works, checks the key, moves frames.
//!
//! `Link` is a state machine on the engine's poll: `advance` after every event and at `deadline`.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Duration;

use bytes::Bytes;
use columba_core::control::{Frame, FrameDecoder, Framing, ParseError, Side};
use columba_core::units::Timestamp;
use columba_net::control_stream::{ControlError, ControlStream, ReadStop};
use columba_net::identity::Fingerprint;
use columba_net::tls::{ClientTls, PinCheck, client_config};
use mio::{Interest, Registry, Token};

use super::message::{Security, Trust};
use super::resolve::resolve;
use crate::exit_code::ClientError;
use crate::known_servers::Known;
use crate::places::ServerName;
use crate::storage::verify::Notify;

/// Longest try of one address while there are others.
const ADDRESS_FOR: Duration = Duration::from_secs(8);
/// First pause after all addresses failed; doubles up to `MAX_PAUSE`.
const MIN_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(2);
/// Bytes that may wait for a server that does not read.
const MAX_QUEUED_BYTES: usize = 16 << 20;
/// Bytes read before others get their turn.
const READ_BUDGET_BYTES: usize = 256 << 10;

/// What became of the connection.
#[derive(Debug)]
pub(crate) enum LinkNews {
    /// The server's key was seen for the first time.
    FirstContact(Fingerprint),
    /// It is of no use to try again.
    Failed(ClientError),
    /// It was there and ended.
    Lost(String),
}

enum State {
    /// Waiting for the names' addresses.
    Resolving(Receiver<io::Result<Vec<SocketAddr>>>),
    /// All addresses failed; the next round begins then.
    Pausing(Timestamp),
    /// Connecting, in the TLS handshake, or waiting for the server's first frame.
    Trying {
        stream: Box<ControlStream>,
        address: SocketAddr,
        since: Timestamp,
        connected: bool,
    },
    /// The server has answered.
    Up(Box<ControlStream>),
    /// Given up, lost or closed.
    Down,
}

/// The control connection.
pub(crate) struct Link {
    server: ServerName,
    security: Security,
    tls: Option<ClientTls>,
    /// A first contact's key must be remembered before anything is sent.
    pinned: bool,
    token: Token,
    notify: Notify,
    state: State,
    addresses: Vec<SocketAddr>,
    next_address: usize,
    pause: Duration,
    give_up_at: Timestamp,
    last_failure: String,
    /// Sent first on every new connection.
    greeting: Bytes,
    decoder: FrameDecoder,
    more_to_read: bool,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) connect_rtt: Option<Duration>,
    news: VecDeque<LinkNews>,
}

impl Link {
    /// Begins to connect; `greeting` is sent first, at once when the server's key is trusted.
    pub(crate) fn open(
        server: ServerName,
        security: Security,
        token: Token,
        notify: Notify,
        greeting: Bytes,
        give_up_at: Timestamp,
    ) -> Result<Self, ClientError> {
        let answer = resolve(&server, &notify).map_err(|source| ClientError::System {
            action: "start a thread",
            source,
        })?;
        let state = State::Resolving(answer);
        Self::new(server, security, token, notify, greeting, give_up_at, state)
    }

    /// The same for a server whose addresses are known.
    pub(crate) fn open_at(
        server: ServerName,
        addresses: Vec<SocketAddr>,
        security: Security,
        token: Token,
        notify: Notify,
        greeting: Bytes,
        give_up_at: Timestamp,
    ) -> Result<Self, ClientError> {
        let state = State::Pausing(Timestamp::ZERO);
        let mut link = Self::new(server, security, token, notify, greeting, give_up_at, state)?;
        link.addresses = addresses;
        Ok(link)
    }

    fn new(
        server: ServerName,
        security: Security,
        token: Token,
        notify: Notify,
        greeting: Bytes,
        give_up_at: Timestamp,
        state: State,
    ) -> Result<Self, ClientError> {
        let framing = match &security {
            Security::Plaintext => Framing::Plaintext,
            Security::Tls { .. } => Framing::Tls,
        };
        let (tls, pinned) = prepare_tls(&server, &security)?;
        Ok(Self {
            server,
            security,
            tls,
            pinned,
            token,
            notify,
            state,
            addresses: Vec::new(),
            next_address: 0,
            pause: MIN_PAUSE,
            give_up_at,
            last_failure: "no answer".to_owned(),
            greeting,
            decoder: FrameDecoder::new(framing, Side::Server),
            more_to_read: false,
            peer: None,
            connect_rtt: None,
            news: VecDeque::new(),
        })
    }

    /// What is sent first on connections made from now on.
    pub(crate) fn set_greeting(&mut self, greeting: Bytes) {
        self.greeting = greeting;
    }

    /// How frames stand in the stream.
    pub(crate) fn framing(&self) -> Framing {
        match self.security {
            Security::Plaintext => Framing::Plaintext,
            Security::Tls { .. } => Framing::Tls,
        }
    }

    /// Whether the server has answered.
    pub(super) const fn is_up(&self) -> bool {
        matches!(self.state, State::Up(_))
    }

    /// What became of it since the last call.
    pub(crate) fn next_news(&mut self) -> Option<LinkNews> {
        self.news.pop_front()
    }

    /// Whether more is to be read, for which no event will come.
    pub(crate) const fn has_more(&self) -> bool {
        self.more_to_read
    }

    /// When `advance` must be called at the latest; now if more is to be read.
    pub(crate) fn deadline(&self, now: Timestamp) -> Option<Timestamp> {
        if self.more_to_read {
            return Some(now);
        }
        match &self.state {
            State::Resolving(_) => Some(self.give_up_at),
            State::Pausing(until) => Some((*until).min(self.give_up_at)),
            State::Trying { since, .. } => Some(self.attempt_deadline(*since)),
            State::Up(_) | State::Down => None,
        }
    }

    fn attempt_deadline(&self, since: Timestamp) -> Timestamp {
        if self.addresses.len() > 1 {
            self.give_up_at.min(since + ADDRESS_FOR)
        } else {
            self.give_up_at
        }
    }

    /// The server's first frame was a welcome.
    pub(crate) fn set_up(&mut self) {
        let state = std::mem::replace(&mut self.state, State::Down);
        self.state = if let State::Trying { stream, .. } = state {
            State::Up(stream)
        } else {
            state
        };
    }

    /// Sends a frame once the connection is up; what cannot be encoded is a bug of the caller.
    pub(crate) fn send(&mut self, frame: &Frame<'_>) -> Result<(), ClientError> {
        let mut bytes = Vec::new();
        frame
            .encode(self.framing(), &mut bytes)
            .map_err(|error| ClientError::Usage(error.to_string()))?;
        let State::Up(stream) = &mut self.state else {
            return Err(ClientError::Lost("there is no connection".to_owned()));
        };
        stream
            .queue(Bytes::from(bytes))
            .map_err(|error| ClientError::Lost(error.to_string()))
    }

    /// Bytes that wait to be sent.
    pub(crate) fn queued_bytes(&self) -> usize {
        match &self.state {
            State::Up(stream) => stream.queued_bytes(),
            State::Resolving(_) | State::Pausing(_) | State::Trying { .. } | State::Down => 0,
        }
    }

    /// The next frame; `None` when there is no whole one.
    pub(crate) fn next_frame(&mut self) -> Result<Option<Frame<'_>>, ParseError> {
        self.decoder.next_frame()
    }

    /// Ends the connection after all that is queued; call `advance` until it is gone.
    pub(crate) fn close(&mut self) {
        match &mut self.state {
            State::Up(stream) => stream.close(),
            State::Resolving(_) | State::Pausing(_) | State::Trying { .. } | State::Down => {
                self.state = State::Down;
            }
        }
    }

    /// Whether there is nothing left to send.
    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.state, State::Down)
    }

    /// Does what can be done now.
    pub(crate) fn advance(&mut self, now: Timestamp, registry: &Registry) {
        self.more_to_read = false;
        match std::mem::replace(&mut self.state, State::Down) {
            State::Resolving(answer) => self.on_resolving(now, registry, answer),
            State::Pausing(until) => {
                if now >= self.give_up_at {
                    self.give_up();
                } else if now >= until {
                    self.try_next(now, registry);
                } else {
                    self.state = State::Pausing(until);
                }
            }
            State::Trying {
                stream,
                address,
                since,
                connected,
            } => self.on_trying(now, registry, stream, address, since, connected),
            State::Up(stream) => self.on_up(stream),
            State::Down => {}
        }
    }

    fn on_resolving(
        &mut self,
        now: Timestamp,
        registry: &Registry,
        answer: Receiver<io::Result<Vec<SocketAddr>>>,
    ) {
        match answer.try_recv() {
            Ok(Ok(addresses)) => {
                self.addresses = addresses;
                self.next_address = 0;
                self.try_next(now, registry);
            }
            Ok(Err(error)) => {
                self.last_failure = format!("its name has no address ({error})");
                self.pause_then_resolve(now);
            }
            Err(TryRecvError::Disconnected) => self.pause_then_resolve(now),
            Err(TryRecvError::Empty) if now >= self.give_up_at => {
                self.last_failure = "its name is not answered by the name service".to_owned();
                self.give_up();
            }
            Err(TryRecvError::Empty) => self.state = State::Resolving(answer),
        }
    }

    fn pause_then_resolve(&mut self, now: Timestamp) {
        self.addresses.clear();
        self.pause(now);
    }

    fn pause(&mut self, now: Timestamp) {
        self.next_address = 0;
        self.state = State::Pausing((now + self.pause).min(self.give_up_at));
        self.pause = (self.pause * 2).min(MAX_PAUSE);
    }

    fn give_up(&mut self) {
        let reason = format!(
            "{}; check the address, that the server runs, and that no firewall is in between",
            self.last_failure
        );
        self.fail(ClientError::Connect {
            server: self.server.to_string(),
            reason,
        });
    }

    fn fail(&mut self, error: ClientError) {
        self.state = State::Down;
        self.news.push_back(LinkNews::Failed(error));
    }

    /// Begins with the next address, or pauses when all were tried.
    fn try_next(&mut self, now: Timestamp, registry: &Registry) {
        if self.addresses.is_empty() {
            match resolve(&self.server, &self.notify) {
                Ok(answer) => self.state = State::Resolving(answer),
                Err(error) => {
                    self.last_failure = error.to_string();
                    self.pause(now);
                }
            }
            return;
        }
        while let Some(&address) = self.addresses.get(self.next_address) {
            self.next_address += 1;
            match self.connect(address, registry) {
                Ok(stream) => {
                    self.state = State::Trying {
                        stream: Box::new(stream),
                        address,
                        since: now,
                        connected: false,
                    };
                    return;
                }
                Err(error) => self.last_failure = format!("{address}: {error}"),
            }
        }
        self.pause(now);
    }

    fn connect(
        &mut self,
        address: SocketAddr,
        registry: &Registry,
    ) -> Result<ControlStream, ControlError> {
        let tcp = mio::net::TcpStream::connect(address)?;
        let mut stream = match &self.tls {
            Some(tls) => ControlStream::tls_client(tcp, tls, MAX_QUEUED_BYTES)?,
            None => ControlStream::plaintext(tcp, MAX_QUEUED_BYTES),
        };
        registry.register(
            &mut stream,
            self.token,
            Interest::READABLE | Interest::WRITABLE,
        )?;
        // A fresh stream takes what is far below its bound.
        let _ = stream.queue(self.greeting.clone());
        self.decoder = FrameDecoder::new(self.framing(), Side::Server);
        Ok(stream)
    }

    fn on_trying(
        &mut self,
        now: Timestamp,
        registry: &Registry,
        mut stream: Box<ControlStream>,
        address: SocketAddr,
        since: Timestamp,
        mut connected: bool,
    ) {
        let failure = match self.progress(now, &mut stream, &mut connected, since) {
            Ok(()) if now < self.attempt_deadline(since) => {
                self.peer = Some(address);
                self.state = State::Trying {
                    stream,
                    address,
                    since,
                    connected,
                };
                return;
            }
            Ok(()) if connected => "it does not answer".to_owned(),
            Ok(()) => "no answer".to_owned(),
            Err(error) => match self.judge(error) {
                Ok(failure) => failure,
                Err(error) => {
                    self.fail(*error);
                    return;
                }
            },
        };
        tracing::debug!(%address, %failure, "connecting failed");
        self.last_failure = format!("{address}: {failure}");
        drop(stream);
        if now >= self.give_up_at {
            self.give_up();
        } else {
            self.try_next(now, registry);
        }
    }

    /// Moves a connection that is being made.
    fn progress(
        &mut self,
        now: Timestamp,
        stream: &mut ControlStream,
        connected: &mut bool,
        since: Timestamp,
    ) -> Result<(), ControlError> {
        if let Some(error) = stream.take_error()? {
            return Err(error.into());
        }
        if !*connected {
            if stream.peer_addr().is_err() {
                return Ok(());
            }
            *connected = true;
            self.connect_rtt = Some(now - since);
        }
        // The handshake moves by reading, so errors of the first flush are told by the read.
        let flushed = stream.flush().map(drop);
        let closed = self.read(stream)?;
        flushed?;
        if !stream.is_handshaking() && stream.is_awaiting_trust() {
            self.meet(stream)?;
        }
        let _ = stream.flush()?;
        // What came before the end, an error perhaps, is worth more than the end: come back for it.
        match self.decoder.buffered_bytes() {
            0 if closed => Err(ControlError::ClosedInHandshake),
            _ => {
                self.more_to_read |= closed;
                Ok(())
            }
        }
    }

    /// First contact: the key is written down before anything is sent.
    fn meet(&mut self, stream: &mut ControlStream) -> Result<(), ControlError> {
        let Some(key) = stream.peer_key_fingerprint() else {
            return Err(ControlError::WrongProtocol);
        };
        if !self.pinned {
            if let Security::Tls {
                trust: Trust::FirstUse(known),
                ..
            } = &self.security
            {
                known.remember(&self.server.to_string(), key)?;
            }
            self.pinned = true;
            self.repin(key);
            self.news.push_back(LinkNews::FirstContact(key));
        }
        stream.trust_peer();
        Ok(())
    }

    /// From now on it must be this key.
    fn repin(&mut self, key: Fingerprint) {
        if let Security::Tls { identity, .. } = &self.security
            && let Ok(tls) = client_config(identity, PinCheck::Exactly(key))
        {
            self.tls = Some(tls);
        }
    }

    /// Whether an error is worth another try (then what to say) or final.
    fn judge(&self, error: ControlError) -> Result<String, Box<ClientError>> {
        let server = self.server.to_string();
        let refuse = |reason: &str| {
            Box::new(ClientError::Connect {
                server: server.clone(),
                reason: reason.to_owned(),
            })
        };
        match error {
            ControlError::Io(error) => Ok(plain_words(&error)),
            ControlError::ClosedInHandshake => Ok("it hung up".to_owned()),
            ControlError::PeerSpeaksPlaintext => Err(refuse(
                "it speaks no TLS; if that is meant to be so, add --plaintext",
            )),
            ControlError::PeerSpeaksTls => Err(refuse("it speaks TLS; leave out --plaintext")),
            ControlError::WrongProtocol => Err(refuse("it is no Columba server")),
            ControlError::Tls(error) => Err(refuse(&format!("TLS: {error}"))),
            ControlError::PinMismatch(mismatch) => {
                let (wanted, shown) = (
                    mismatch.expected.to_string(),
                    mismatch.presented.to_string(),
                );
                Err(Box::new(match &self.security {
                    Security::Tls {
                        trust: Trust::FirstUse(known),
                        ..
                    } => ClientError::KeyChanged {
                        server,
                        known: wanted,
                        shown,
                        file: known.path().to_path_buf(),
                    },
                    Security::Tls { .. } | Security::Plaintext => ClientError::Fingerprint {
                        server,
                        wanted,
                        shown,
                    },
                }))
            }
        }
    }

    fn on_up(&mut self, mut stream: Box<ControlStream>) {
        match self.move_bytes(&mut stream) {
            Ok(None) => self.state = State::Up(stream),
            Ok(Some(reason)) => self.lose(reason.to_owned()),
            Err(ControlError::Io(error)) => self.lose(plain_words(&error)),
            Err(error) => self.lose(error.to_string()),
        }
    }

    /// Reads and writes; `Some` when the connection has ended.
    fn move_bytes(
        &mut self,
        stream: &mut ControlStream,
    ) -> Result<Option<&'static str>, ControlError> {
        use columba_net::control_stream::Flush;
        let closed = self.read(stream)?;
        let flushed = stream.flush()?;
        Ok(match flushed {
            Flush::Closed => Some("closed"),
            Flush::Drained | Flush::Blocked | Flush::Waiting if closed => {
                Some("the server hung up")
            }
            Flush::Drained | Flush::Blocked | Flush::Waiting => None,
        })
    }

    /// Reads within the budget; whether the peer sends no more.
    fn read(&mut self, stream: &mut ControlStream) -> Result<bool, ControlError> {
        let outcome = stream.read(self.decoder.sink(), READ_BUDGET_BYTES)?;
        self.more_to_read = outcome.stop == ReadStop::BudgetSpent;
        Ok(matches!(
            outcome.stop,
            ReadStop::PeerClosed | ReadStop::Truncated
        ))
    }

    /// The connection is of no use any more.
    pub(crate) fn lose(&mut self, reason: String) {
        if !self.is_closed() {
            self.state = State::Down;
        }
        self.news.push_back(LinkNews::Lost(reason));
    }
}

fn prepare_tls(
    server: &ServerName,
    security: &Security,
) -> Result<(Option<ClientTls>, bool), ClientError> {
    let Security::Tls { identity, trust } = security else {
        return Ok((None, true));
    };
    let check = match trust {
        Trust::Pinned(key) => PinCheck::Exactly(*key),
        Trust::FirstUse(known) => {
            let look_up = known.look_up(&server.to_string());
            match look_up.map_err(|error| ClientError::state("use", known.path(), error))? {
                Known::Key(key) => PinCheck::Exactly(key),
                Known::Unknown => PinCheck::AcceptAndReport,
            }
        }
    };
    let tls = client_config(identity, check).map_err(|error| ClientError::System {
        action: "set up TLS",
        source: io::Error::other(error),
    })?;
    Ok((Some(tls), check != PinCheck::AcceptAndReport))
}

fn plain_words(error: &io::Error) -> String {
    let known = [
        (io::ErrorKind::ConnectionRefused, "nothing listens there"),
        (io::ErrorKind::ConnectionReset, "the connection was reset"),
        (io::ErrorKind::TimedOut, "no answer"),
    ];
    known
        .iter()
        .find(|(kind, _)| *kind == error.kind())
        .map_or_else(|| error.to_string(), |(_, words)| (*words).to_owned())
}
