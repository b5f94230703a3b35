//! The control connection: bytes in and out over TCP, through TLS or in the clear.
//!
//! [`ControlStream`] knows nothing of frames. It reads into the caller's buffer within a budget,
//! queues shared chunks within a bound, and tells apart how a connection ends. `queue` holds
//! what waits, `session` is the TLS state machine.

mod queue;
mod session;
#[cfg(test)]
mod tests;

use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::SystemTime;

use bytes::Bytes;
use mio::net::TcpStream;

pub use queue::QueueError;

use crate::arrival;
use crate::identity::Fingerprint;
use crate::source::forward_source;
use crate::tcp::{self, TcpReport};
use crate::tls::{self, ClientTls, PinCheck, PinMismatch, ServerTls};
use crate::udp::normalise_address;
use queue::{OutgoingQueue, WRITE_SLICES};
use session::TlsSession;

/// First reads are small, for most events bring one message; a full one is followed by larger.
const SMALL_READ_BYTES: usize = 4096;
const LARGE_READ_BYTES: usize = 16_384;

/// Content types that TLS records begin with (RFC 8446, section 5.1).
const TLS_ALERT: u8 = 0x15;
const TLS_HANDSHAKE: u8 = 0x16;

/// Why a control connection failed. Flush once more after any of these (an alert may wait), then
/// drop the stream.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The network or the peer's system ended it.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// This side speaks TLS; what the peer sent is none.
    #[error("the other side does not speak TLS")]
    PeerSpeaksPlaintext,
    /// This side speaks plaintext; the peer began with TLS.
    #[error("the other side speaks TLS")]
    PeerSpeaksTls,
    /// The server has another key than the pinned one. Nothing was sent to it.
    #[error(transparent)]
    PinMismatch(#[from] PinMismatch),
    /// The connection ended before the handshake did: not a Columba server, or one that is full.
    #[error("the connection was closed during the handshake")]
    ClosedInHandshake,
    /// The peer speaks TLS but not Columba.
    #[error("the other side speaks another protocol")]
    WrongProtocol,
    /// The peer broke the rules of TLS, or refused ours.
    #[error("TLS: {0}")]
    Tls(rustls::Error),
}

impl From<rustls::Error> for ControlError {
    fn from(error: rustls::Error) -> Self {
        use rustls::{AlertDescription, Error};
        const REFUSED: Error = Error::AlertReceived(AlertDescription::NoApplicationProtocol);
        match tls::pin_mismatch(&error) {
            Some(mismatch) => Self::PinMismatch(mismatch),
            None if [Error::NoApplicationProtocol, REFUSED].contains(&error) => Self::WrongProtocol,
            None => Self::Tls(error),
        }
    }
}

/// What a read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct ReadOutcome {
    /// Bytes appended to the caller's buffer.
    pub bytes: usize,
    /// Why reading stopped.
    pub stop: ReadStop,
    /// When the last of these bytes came to this system, by its real-time clock. Only after
    /// [`ControlStream::stamp_arrivals`], where the system tells, and where it is sure of the last byte.
    pub arrived: Option<SystemTime>,
}

/// Why a read stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadStop {
    /// Nothing more is there: the next event will tell.
    Drained,
    /// The budget is spent and more may be there: no event will tell, so come back.
    BudgetSpent,
    /// The peer said that it sends no more.
    PeerClosed,
    /// The connection ended without the peer saying so (TLS only): what came last may be missing.
    Truncated,
}

/// What a flush left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Flush {
    /// Everything is on its way.
    Drained,
    /// The socket takes no more: the next writable event will tell.
    Blocked,
    /// Data waits for the handshake to finish or for [`ControlStream::trust_peer`].
    Waiting,
    /// After [`ControlStream::close`]: everything is on its way, the end of the stream included.
    Closed,
}

#[derive(Debug)]
enum Channel {
    Plain,
    Tls(Box<TlsSession>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closing {
    No,
    Requested,
    Announced,
    Done,
}

/// A non-blocking control connection.
///
/// It does nothing by itself. On a readable event call [`read`](Self::read) until it says
/// [`ReadStop::Drained`] (or come back after [`ReadStop::BudgetSpent`]); after reading, queueing
/// and on a writable event call [`flush`](Self::flush) while [`wants_write`](Self::wants_write).
#[derive(Debug)]
pub struct ControlStream {
    tcp: TcpStream,
    channel: Channel,
    queue: OutgoingQueue,
    max_queued_bytes: usize,
    closing: Closing,
    /// The first byte tells TLS from plaintext.
    heard_peer: bool,
    /// Nothing of the application's leaves before the caller has looked at the peer's key.
    awaiting_trust: bool,
    failed: bool,
    /// The system was asked to tell when bytes came.
    stamped: bool,
}

impl ControlStream {
    /// A connection in the clear. At most `max_queued_bytes` wait to be sent.
    #[must_use]
    pub fn plaintext(tcp: TcpStream, max_queued_bytes: usize) -> Self {
        Self::new(tcp, Channel::Plain, max_queued_bytes)
    }

    /// The server's end of a TLS connection.
    ///
    /// # Errors
    /// [`ControlError::Tls`] if the system gives no randomness.
    pub fn tls_server(
        tcp: TcpStream,
        config: &ServerTls,
        max_queued_bytes: usize,
    ) -> Result<Self, ControlError> {
        let session = Box::new(TlsSession::server(config)?);
        Ok(Self::new(tcp, Channel::Tls(session), max_queued_bytes))
    }

    /// The client's end of a TLS connection; flush to start the handshake.
    ///
    /// Frames may be queued at once. They leave when the server has proved its key, and with
    /// [`PinCheck::AcceptAndReport`] not before [`trust_peer`](Self::trust_peer).
    ///
    /// # Errors
    /// As for [`tls_server`](Self::tls_server).
    pub fn tls_client(
        tcp: TcpStream,
        config: &ClientTls,
        max_queued_bytes: usize,
    ) -> Result<Self, ControlError> {
        let session = Box::new(TlsSession::client(config)?);
        let mut stream = Self::new(tcp, Channel::Tls(session), max_queued_bytes);
        stream.awaiting_trust = config.check == PinCheck::AcceptAndReport;
        Ok(stream)
    }

    fn new(tcp: TcpStream, channel: Channel, max_queued_bytes: usize) -> Self {
        tcp::tune(&tcp);
        Self {
            tcp,
            channel,
            queue: OutgoingQueue::new(),
            max_queued_bytes,
            closing: Closing::No,
            heard_peer: false,
            awaiting_trust: false,
            failed: false,
            stamped: false,
        }
    }

    /// Has reads tell when their last byte came to this system, where that can be known.
    pub fn stamp_arrivals(&mut self) {
        match arrival::request(&self.tcp) {
            Ok(()) => self.stamped = true,
            Err(error) => tracing::trace!(%error, "nobody tells when bytes came"),
        }
    }

    /// The peer's address, never v4-mapped.
    ///
    /// # Errors
    /// The connection is not established yet, or no more.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.peer_addr().map(normalise_address)
    }

    /// Why connecting failed, if it did: ask on the first writable event.
    ///
    /// # Errors
    /// The system cannot say.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.tcp.take_error()
    }

    /// What the kernel knows of the way to the peer; `None` where it does not tell.
    #[must_use]
    pub fn tcp_report(&self) -> Option<TcpReport> {
        tcp::report(&self.tcp)
    }

    /// Whether this side speaks TLS.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        matches!(self.channel, Channel::Tls(_))
    }

    /// Whether the TLS handshake is still going on.
    #[must_use]
    pub fn is_handshaking(&self) -> bool {
        match &self.channel {
            Channel::Plain => false,
            Channel::Tls(session) => session.is_handshaking(),
        }
    }

    /// The key the peer has proved to hold; `None` in the clear and during the handshake.
    #[must_use]
    pub fn peer_key_fingerprint(&self) -> Option<Fingerprint> {
        match &self.channel {
            Channel::Plain => None,
            Channel::Tls(session) => session.peer(),
        }
    }

    /// Whether a client's data is held back until [`trust_peer`](Self::trust_peer).
    #[must_use]
    pub fn is_awaiting_trust(&self) -> bool {
        self.awaiting_trust
    }

    /// The caller has looked at the peer's key and accepts it: queued data may leave.
    pub fn trust_peer(&mut self) {
        self.awaiting_trust = false;
    }

    /// Bytes that wait to be sent, encrypted ones included.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.queue.bytes() + self.encrypted().len()
    }

    /// Whether a flush could send something now.
    #[must_use]
    pub fn wants_write(&self) -> bool {
        let data = self.may_send_data() && !self.queue.is_empty();
        let end = matches!(self.closing, Closing::Requested | Closing::Announced);
        data || end || !self.encrypted().is_empty()
    }

    /// Appends a chunk to what is to be sent. It is shared, not copied, and sent by
    /// [`flush`](Self::flush).
    ///
    /// # Errors
    /// The bound is exceeded, or the stream failed or is being closed; the chunk is not queued.
    pub fn queue(&mut self, chunk: Bytes) -> Result<(), QueueError> {
        if self.closing != Closing::No || self.fails_to_send() {
            return Err(QueueError::Closed);
        }
        let queued_bytes = self.queued_bytes();
        if queued_bytes.saturating_add(chunk.len()) > self.max_queued_bytes {
            return Err(QueueError::Full { queued_bytes });
        }
        self.queue.push(chunk);
        Ok(())
    }

    /// Ends this side of the connection once everything queued is sent (`close_notify` and FIN).
    /// Data that may not be sent yet is dropped. Flush until [`Flush::Closed`].
    pub fn close(&mut self) {
        if self.closing == Closing::No {
            if !self.may_send_data() {
                self.queue.clear();
            }
            self.closing = Closing::Requested;
        }
    }

    /// Reads at most `budget` bytes from the socket and appends what they say to `sink`.
    ///
    /// A handshake advances here; flush afterwards. A stream that failed reads and discards, so
    /// that closing it does not tear down what was sent last.
    ///
    /// # Errors
    /// See [`ControlError`]. What `sink` got in a failed call means nothing.
    pub fn read(&mut self, sink: &mut Vec<u8>, budget: usize) -> Result<ReadOutcome, ControlError> {
        let before = sink.len();
        let mut arrived = None;
        let result = self.read_until(sink, budget, &mut arrived);
        if let Channel::Tls(session) = &mut self.channel {
            session.release();
        }
        match result {
            Ok(stop) => Ok(ReadOutcome {
                bytes: sink.len() - before,
                stop,
                arrived,
            }),
            Err(error) => {
                self.failed = true;
                Err(error)
            }
        }
    }

    fn read_until(
        &mut self,
        sink: &mut Vec<u8>,
        budget: usize,
        arrived: &mut Option<SystemTime>,
    ) -> Result<ReadStop, ControlError> {
        let mut left = budget;
        let mut chunk_bytes = SMALL_READ_BYTES;
        while left > 0 {
            let want = chunk_bytes.min(left);
            let mut discarded = Vec::new();
            let buffer = match &mut self.channel {
                _ if self.failed => &mut discarded,
                Channel::Plain => &mut *sink,
                Channel::Tls(session) => session.incoming(),
            };
            let before = buffer.len();
            let (got, stamp) = match read_some(&mut self.tcp, self.stamped, buffer, want) {
                Ok((0, _)) => return self.end_of_stream(),
                Ok(got) => got,
                Err(error) if is_not_now(&error) => return Ok(ReadStop::Drained),
                Err(error) => return Err(error.into()),
            };
            left -= got;
            if got == want {
                chunk_bytes = LARGE_READ_BYTES;
            }
            if self.failed {
                continue;
            }
            if !self.heard_peer {
                self.heard_peer = true;
                let first = buffer[before];
                self.check_first_byte(first)?;
            }
            if self.process(sink)? {
                return Ok(ReadStop::PeerClosed);
            }
            // A read that was cut short may be told of bytes that it left, and of a record that is not complete
            // nothing is in `sink`.
            *arrived = stamp.filter(|_| got < want && self.has_read_all());
        }
        Ok(ReadStop::BudgetSpent)
    }

    /// Whether all that came is what the caller got.
    fn has_read_all(&self) -> bool {
        match &self.channel {
            Channel::Plain => true,
            Channel::Tls(session) => session.has_read_all(),
        }
    }

    /// Lets TLS work on what was read; returns whether the peer closed.
    fn process(&mut self, sink: &mut Vec<u8>) -> Result<bool, ControlError> {
        let Channel::Tls(session) = &mut self.channel else {
            return Ok(false);
        };
        let was_handshaking = session.is_handshaking();
        session.process(sink)?;
        if was_handshaking && !session.is_handshaking() && session.alpn() != Some(tls::ALPN) {
            session.fail();
            return Err(ControlError::WrongProtocol);
        }
        Ok(session.peer_closed())
    }

    /// TLS and our plaintext frames never begin with the same byte: a frame's is 0, the top of a
    /// length below 2²⁴.
    fn check_first_byte(&mut self, first: u8) -> Result<(), ControlError> {
        match &mut self.channel {
            Channel::Plain if first == TLS_HANDSHAKE || first == TLS_ALERT => {
                Err(ControlError::PeerSpeaksTls)
            }
            Channel::Tls(session) if session.is_server() && first != TLS_HANDSHAKE => {
                session.answer_plaintext();
                Err(ControlError::PeerSpeaksPlaintext)
            }
            Channel::Tls(session) if first != TLS_HANDSHAKE && first != TLS_ALERT => {
                session.fail();
                Err(ControlError::PeerSpeaksPlaintext)
            }
            Channel::Plain | Channel::Tls(_) => Ok(()),
        }
    }

    fn end_of_stream(&self) -> Result<ReadStop, ControlError> {
        match &self.channel {
            _ if self.failed => Ok(ReadStop::PeerClosed),
            Channel::Plain => Ok(ReadStop::PeerClosed),
            Channel::Tls(session) if session.peer_closed() => Ok(ReadStop::PeerClosed),
            Channel::Tls(session) if session.is_handshaking() => {
                Err(ControlError::ClosedInHandshake)
            }
            Channel::Tls(_) => Ok(ReadStop::Truncated),
        }
    }

    /// Sends what may be sent until nothing is left or the socket takes no more.
    ///
    /// # Errors
    /// The connection broke.
    pub fn flush(&mut self) -> Result<Flush, ControlError> {
        loop {
            let may_send_data = self.may_send_data();
            // Before the first write: the end of the handshake and what follows it share a segment.
            if let Channel::Tls(session) = &mut self.channel
                && may_send_data
                && !self.queue.is_empty()
            {
                session.encrypt(&mut self.queue)?;
            }
            if !self.write_out()? {
                return Ok(Flush::Blocked);
            }
            match &mut self.channel {
                Channel::Tls(_) if may_send_data && !self.queue.is_empty() => {}
                Channel::Tls(session) if self.closing == Closing::Requested => {
                    self.closing = Closing::Announced;
                    if !session.is_handshaking() {
                        session.close()?;
                    }
                }
                Channel::Plain | Channel::Tls(_) => break,
            }
        }
        match self.closing {
            Closing::No if self.queue.is_empty() => Ok(Flush::Drained),
            Closing::No => Ok(Flush::Waiting),
            Closing::Requested | Closing::Announced => {
                self.closing = Closing::Done;
                match self.tcp.shutdown(Shutdown::Write) {
                    Err(error) if error.kind() != io::ErrorKind::NotConnected => Err(error.into()),
                    _ => Ok(Flush::Closed),
                }
            }
            Closing::Done => Ok(Flush::Closed),
        }
    }

    /// Writes everything that is ready for the wire; false if the socket took only part of it.
    fn write_out(&mut self) -> io::Result<bool> {
        loop {
            let mut slices = [IoSlice::new(&[]); WRITE_SLICES];
            let filled = match &self.channel {
                Channel::Plain => self.queue.slices(&mut slices),
                Channel::Tls(session) => {
                    slices[0] = IoSlice::new(session.outgoing());
                    usize::from(!session.outgoing().is_empty())
                }
            };
            if filled == 0 {
                return Ok(true);
            }
            match self.tcp.write_vectored(&slices[..filled]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(sent) => match &mut self.channel {
                    Channel::Plain => self.queue.advance(sent),
                    Channel::Tls(session) => session.advance(sent),
                },
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_not_now(&error) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether the application's data may leave.
    fn may_send_data(&self) -> bool {
        !self.is_handshaking() && !self.awaiting_trust && !self.fails_to_send()
    }

    /// A TLS connection that failed cannot say anything any more; one in the clear can, and a
    /// plaintext server should tell a TLS client why it hangs up.
    fn fails_to_send(&self) -> bool {
        self.failed && self.is_encrypted()
    }

    fn encrypted(&self) -> &[u8] {
        match &self.channel {
            Channel::Plain => &[],
            Channel::Tls(session) => session.outgoing(),
        }
    }
}

forward_source!(ControlStream, tcp);

/// One read of at most `want` bytes, appended to `buffer`; if it is `stamped`, with what the system tells of their arrival.
fn read_some(
    tcp: &mut TcpStream,
    stamped: bool,
    buffer: &mut Vec<u8>,
    want: usize,
) -> io::Result<(usize, Option<SystemTime>)> {
    let before = buffer.len();
    buffer.resize(before + want, 0);
    let room = &mut buffer[before..];
    let result = loop {
        let result = if stamped {
            arrival::read(tcp, room)
        } else {
            tcp.read(room).map(|got| (got, None))
        };
        match result {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => break result,
        }
    };
    buffer.truncate(before + result.as_ref().map_or(0, |(got, _)| *got));
    result
}

/// Whether an event will tell when to try again; `NotConnected` is what some systems say while a
/// connection is being made.
fn is_not_now(error: &io::Error) -> bool {
    use io::ErrorKind::{NotConnected, WouldBlock};
    [NotConnected, WouldBlock].contains(&error.kind())
}
