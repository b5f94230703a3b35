//! The control connection: tries all addresses until one works, checks the key, moves frames.
//!
//! `Link` is a state machine on the engine's poll: `advance` after every event and at `deadline`.
//! [`race`] says which attempts to connect begin when, [`racing`] makes them, [`trying`] sees to it
//! that the first one through is trusted and answered; here is what goes on around them.

mod race;
mod racing;
mod trying;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use bytes::Bytes;
use columba_core::control::{Frame, FrameDecoder, Framing, ParseError, Side};
use columba_core::units::Timestamp;
use columba_net::control_stream::{ControlError, ControlStream, ReadStop};
use columba_net::identity::Fingerprint;
use columba_net::tls::ClientTls;
use mio::{Registry, Token};

use self::racing::{Racing, Winner};
use self::trying::prepare_tls;
use super::message::Security;
use super::pace::Pace;
use super::resolve::resolve;
use crate::exit_code::ClientError;
use crate::places::ServerName;
use crate::storage::verify::Notify;

/// Longest try of one address while there are others.
const ADDRESS_FOR: Duration = Duration::from_secs(8);
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
    /// All addresses failed; the next round comes after `delay`.
    Pausing { delay: Duration, reason: String },
}

enum State {
    /// Waiting for the names' addresses.
    Resolving(Receiver<io::Result<Vec<SocketAddr>>>),
    /// All addresses failed; the next round begins then.
    Pausing(Timestamp),
    /// Connecting, or in the TLS handshake, several times perhaps.
    Racing(Box<Racing>),
    /// Waiting for the server's first frame.
    Trying(Box<Winner>),
    /// The server has answered.
    Up(Box<ControlStream>),
    /// Given up, lost or closed.
    Down,
}

/// What a read brought.
#[derive(Clone, Copy)]
struct Read {
    any: bool,
    /// No event will tell that there is more.
    more: bool,
    /// The peer sends no more.
    closed: bool,
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
    pace: Pace,
    last_failure: String,
    /// Sent first on every new connection.
    greeting: Bytes,
    decoder: FrameDecoder,
    more_to_read: bool,
    /// Something was read since it was last asked for.
    heard: bool,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) connect_rtt: Option<Duration>,
    news: VecDeque<LinkNews>,
}

impl Link {
    /// Begins to connect, after the pace's first pause; `reason` is told with that. Set a greeting.
    pub(crate) fn open(
        now: Timestamp,
        server: ServerName,
        security: Security,
        token: Token,
        notify: Notify,
        pace: Pace,
        reason: &str,
    ) -> Result<Self, ClientError> {
        if !pace.first.is_zero() {
            let state = State::Pausing(now + pace.first);
            let mut link = Self::new(server, security, token, notify, pace, state)?;
            link.news.push_back(LinkNews::Pausing {
                delay: pace.first,
                reason: reason.to_owned(),
            });
            return Ok(link);
        }
        let answer = resolve(&server, &notify).map_err(|source| ClientError::System {
            action: "start a thread",
            source,
        })?;
        let state = State::Resolving(answer);
        Self::new(server, security, token, notify, pace, state)
    }

    /// The same, at once, for a server whose addresses are known.
    pub(crate) fn open_at(
        server: ServerName,
        addresses: Vec<SocketAddr>,
        security: Security,
        token: Token,
        notify: Notify,
        pace: Pace,
    ) -> Result<Self, ClientError> {
        let state = State::Pausing(Timestamp::ZERO);
        let mut link = Self::new(server, security, token, notify, pace, state)?;
        link.addresses = addresses;
        Ok(link)
    }

    fn new(
        server: ServerName,
        security: Security,
        token: Token,
        notify: Notify,
        pace: Pace,
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
            pace,
            last_failure: "no answer".to_owned(),
            greeting: Bytes::new(),
            decoder: FrameDecoder::new(framing, Side::Server),
            more_to_read: false,
            heard: false,
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
            State::Resolving(_) => self.pace.give_up_at,
            State::Pausing(until) => Some(self.pace.give_up_at.map_or(*until, |at| at.min(*until))),
            State::Racing(racing) => racing.deadline(self),
            State::Trying(winner) => Some(winner.deadline(self)),
            State::Up(_) | State::Down => None,
        }
    }

    pub(super) fn is_time_to_give_up(&self, now: Timestamp) -> bool {
        self.pace.give_up_at.is_some_and(|at| now >= at)
    }

    /// Tries at once instead of waiting.
    pub(super) const fn hurry(&mut self) {
        if let State::Pausing(until) = &mut self.state {
            *until = Timestamp::ZERO;
            self.pace.restart();
        }
    }

    /// The server's first frame was a welcome.
    pub(crate) fn set_up(&mut self) {
        let state = std::mem::replace(&mut self.state, State::Down);
        self.state = if let State::Trying(winner) = state {
            State::Up(winner.stream)
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
            State::Resolving(_)
            | State::Pausing(_)
            | State::Racing(_)
            | State::Trying(_)
            | State::Down => 0,
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
            State::Resolving(_)
            | State::Pausing(_)
            | State::Racing(_)
            | State::Trying(_)
            | State::Down => {
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
                if self.is_time_to_give_up(now) {
                    self.give_up();
                } else if now >= until {
                    self.begin_round(now, registry);
                } else {
                    self.state = State::Pausing(until);
                }
            }
            State::Racing(racing) => self.on_racing(now, registry, racing),
            State::Trying(winner) => self.on_trying(now, registry, winner),
            State::Up(stream) => self.on_up(stream),
            State::Down => {}
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
        let closed = self.read_frames(stream)?;
        let flushed = stream.flush()?;
        Ok(match flushed {
            Flush::Closed => Some("closed"),
            Flush::Drained | Flush::Blocked | Flush::Waiting if closed => {
                Some("the server hung up")
            }
            Flush::Drained | Flush::Blocked | Flush::Waiting => None,
        })
    }

    /// Reads frames within the budget; whether the peer sends no more.
    fn read_frames(&mut self, stream: &mut ControlStream) -> Result<bool, ControlError> {
        let read = Self::read(stream, &mut self.decoder)?;
        self.more_to_read = read.more;
        self.heard |= read.any;
        Ok(read.closed)
    }

    /// Reads within the budget.
    fn read(stream: &mut ControlStream, decoder: &mut FrameDecoder) -> Result<Read, ControlError> {
        let outcome = stream.read(decoder.sink(), READ_BUDGET_BYTES)?;
        Ok(Read {
            any: outcome.bytes > 0,
            more: outcome.stop == ReadStop::BudgetSpent,
            closed: matches!(outcome.stop, ReadStop::PeerClosed | ReadStop::Truncated),
        })
    }

    /// Whether anything came since this was last asked: a frame may take long to be whole.
    pub(crate) fn take_heard(&mut self) -> bool {
        std::mem::take(&mut self.heard)
    }

    /// The connection is of no use any more.
    pub(crate) fn lose(&mut self, reason: String) {
        if !self.is_closed() {
            self.state = State::Down;
        }
        self.news.push_back(LinkNews::Lost(reason));
    }
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
