//! One TLS connection over buffers of our own, so that an idle one holds none.
//!
//! rustls' unbuffered interface is a state machine: each call looks at the received bytes and says
//! what to do next. [`TlsSession::drive`] does it until there is nothing left to do.

use std::sync::Arc;

use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus,
    WriteTraffic,
};
use rustls::{CommonState, Error, InvalidMessage};

use super::queue::OutgoingQueue;
use crate::identity::Fingerprint;
use crate::tls::{self, ClientTls, ServerTls};

/// The most application data in one record (RFC 8446, section 5.1).
const RECORD_BYTES: usize = 16_384;

/// Header, content type and tag around it.
const RECORD_OVERHEAD_BYTES: usize = 5 + 1 + 16;

/// Encrypted bytes that are made ahead of what the socket has taken.
const ENCRYPT_AHEAD_BYTES: usize = 32_768;

/// Received bytes that may wait for the rest of a record or of a handshake message. Ours have
/// less than 4 KiB; a record of a peer has at most 16,640.
const MAX_INCOMING_BYTES: usize = 65_536;

/// A fatal `unexpected_message` alert in the clear (RFC 8446, section 6): what a TLS server says to
/// one that does not speak TLS.
const PLAIN_ALERT: [u8; 7] = [0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x0a];

enum Connection {
    Server(Box<UnbufferedServerConnection>),
    Client(Box<UnbufferedClientConnection>),
}

/// A TLS connection with what it received and could not read yet, and what it has to send.
pub(super) struct TlsSession {
    connection: Connection,
    /// Without memory whenever it is empty and nothing is being read.
    incoming: Vec<u8>,
    /// Encrypted, in order; `sent` bytes of it are gone. Without memory when empty.
    outgoing: Vec<u8>,
    sent: usize,
    peer_closed: bool,
    failed: bool,
}

impl TlsSession {
    pub(super) fn server(config: &ServerTls) -> Result<Self, Error> {
        let connection = UnbufferedServerConnection::new(Arc::clone(&config.config))?;
        Ok(Self::new(Connection::Server(Box::new(connection))))
    }

    /// The first message is in `outgoing` at once.
    pub(super) fn client(config: &ClientTls) -> Result<Self, Error> {
        let name = tls::unused_server_name();
        let connection = UnbufferedClientConnection::new(Arc::clone(&config.config), name)?;
        let mut session = Self::new(Connection::Client(Box::new(connection)));
        session.process(&mut Vec::new())?;
        Ok(session)
    }

    fn new(connection: Connection) -> Self {
        Self {
            connection,
            incoming: Vec::new(),
            outgoing: Vec::new(),
            sent: 0,
            peer_closed: false,
            failed: false,
        }
    }

    pub(super) fn is_server(&self) -> bool {
        matches!(self.connection, Connection::Server(_))
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.common().is_handshaking()
    }

    /// Whether the peer said that it sends no more.
    pub(super) fn peer_closed(&self) -> bool {
        self.peer_closed
    }

    pub(super) fn alpn(&self) -> Option<&[u8]> {
        self.common().alpn_protocol()
    }

    /// The peer's key, once the handshake has proved that it holds the private half.
    pub(super) fn peer(&self) -> Option<Fingerprint> {
        if self.is_handshaking() {
            return None;
        }
        let spki = self.common().peer_certificates()?.first()?;
        Fingerprint::of_spki(spki)
    }

    fn common(&self) -> &CommonState {
        match &self.connection {
            Connection::Server(connection) => connection,
            Connection::Client(connection) => connection,
        }
    }

    /// Where received bytes go; follow with [`process`](Self::process).
    pub(super) fn incoming(&mut self) -> &mut Vec<u8> {
        &mut self.incoming
    }

    /// Whether no part of a record waits for the rest.
    pub(super) fn has_read_all(&self) -> bool {
        self.incoming.is_empty()
    }

    /// Memory in buffers, beyond the connection itself.
    #[cfg(test)]
    pub(super) fn buffer_bytes(&self) -> usize {
        self.incoming.capacity() + self.outgoing.capacity()
    }

    /// Gives back memory that an idle connection does not need.
    pub(super) fn release(&mut self) {
        if self.incoming.is_empty() {
            self.incoming = Vec::new();
        }
    }

    /// Works off what was received: decrypted data goes to `sink`, answers to `outgoing`.
    pub(super) fn process(&mut self, sink: &mut Vec<u8>) -> Result<(), Error> {
        let result = self.drive(sink, |_, _| Ok(()));
        if self.peer_closed {
            // RFC 8446, section 6.1: what follows a closure alert is ignored.
            self.incoming.clear();
        }
        if result.is_err() {
            self.take_alert();
            self.fail();
        } else if self.incoming.len() >= MAX_INCOMING_BYTES {
            self.fail();
            return Err(InvalidMessage::HandshakePayloadTooLarge.into());
        }
        result
    }

    /// Nothing is read or encrypted any more; an alert may still leave.
    pub(super) fn fail(&mut self) {
        self.failed = true;
        self.incoming = Vec::new();
    }

    /// Tells a peer that does not speak TLS that this side does.
    pub(super) fn answer_plaintext(&mut self) {
        self.outgoing.extend_from_slice(&PLAIN_ALERT);
        self.fail();
    }

    /// Encrypts from `queue` up to [`ENCRYPT_AHEAD_BYTES`]. Only after the handshake.
    pub(super) fn encrypt(&mut self, queue: &mut OutgoingQueue) -> Result<(), Error> {
        self.write(|traffic, outgoing| {
            while outgoing.len() < ENCRYPT_AHEAD_BYTES {
                let Some(chunk) = queue.front() else {
                    break;
                };
                let record = &chunk[..chunk.len().min(RECORD_BYTES)];
                append(outgoing, record.len() + RECORD_OVERHEAD_BYTES, |room| {
                    traffic.encrypt(record, room)
                })?;
                let sent = record.len();
                queue.advance(sent);
            }
            Ok(())
        })
    }

    /// Announces that nothing more will be sent (`close_notify`). Only after the handshake.
    pub(super) fn close(&mut self) -> Result<(), Error> {
        self.write(|traffic, outgoing| {
            append(outgoing, 2 + RECORD_OVERHEAD_BYTES, |room| {
                traffic.close_notify(room)
            })
        })
    }

    fn write(
        &mut self,
        write: impl FnMut(&mut dyn Encrypt, &mut Vec<u8>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if self.failed {
            return Ok(());
        }
        // No whole record waits in `incoming`: `process` leaves none.
        let mut stray = Vec::new();
        let result = self.drive(&mut stray, write);
        debug_assert!(stray.is_empty(), "a record was left unread");
        if result.is_err() {
            self.fail();
        }
        result
    }

    /// Encrypted bytes that wait for the socket.
    pub(super) fn outgoing(&self) -> &[u8] {
        &self.outgoing[self.sent..]
    }

    /// The socket took `bytes` of [`outgoing`](Self::outgoing).
    pub(super) fn advance(&mut self, bytes: usize) {
        self.sent += bytes;
        if self.sent >= self.outgoing.len() {
            self.sent = 0;
            self.outgoing = Vec::new();
        }
    }

    /// Runs the state machine until it wants more input or lets us write; then `write` may.
    fn drive(
        &mut self,
        sink: &mut Vec<u8>,
        mut write: impl FnMut(&mut dyn Encrypt, &mut Vec<u8>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut start = 0;
        let mut turn = Turn {
            sink,
            outgoing: &mut self.outgoing,
            write: &mut write,
        };
        let result = loop {
            let rest = &mut self.incoming[start..];
            let (discard, step) = match &mut self.connection {
                Connection::Server(connection) => turn.take(connection.process_tls_records(rest)),
                Connection::Client(connection) => turn.take(connection.process_tls_records(rest)),
            };
            start += discard;
            match step {
                Ok(Step::Again) => {}
                Ok(Step::PeerClosed) => self.peer_closed = true,
                Ok(Step::Done) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        self.incoming.drain(..start);
        result
    }

    /// After an error rustls may have an alert for the peer.
    fn take_alert(&mut self) {
        let mut turn = Turn {
            sink: &mut Vec::new(),
            outgoing: &mut self.outgoing,
            write: &mut |_, _| Ok(()),
        };
        // One step yields it; a second one would meet the error again.
        let _ = match &mut self.connection {
            Connection::Server(connection) => {
                turn.take(connection.process_tls_records(&mut self.incoming))
            }
            Connection::Client(connection) => {
                turn.take(connection.process_tls_records(&mut self.incoming))
            }
        };
    }
}

impl std::fmt::Debug for TlsSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsSession")
            .field("server", &self.is_server())
            .field("handshaking", &self.is_handshaking())
            .field("incoming", &self.incoming.len())
            .field("outgoing", &self.outgoing().len())
            .finish_non_exhaustive()
    }
}

enum Step {
    Again,
    PeerClosed,
    Done,
}

/// Where one turn of the state machine reads from and writes to.
struct Turn<'a> {
    sink: &'a mut Vec<u8>,
    outgoing: &'a mut Vec<u8>,
    write: &'a mut Write<'a>,
}

/// Called when the connection may carry application data, with where it goes.
type Write<'a> = dyn FnMut(&mut dyn Encrypt, &mut Vec<u8>) -> Result<(), Error> + 'a;

impl Turn<'_> {
    /// Does what one state asks for; returns how much of the input it used up.
    fn take<Data>(
        &mut self,
        status: UnbufferedStatus<'_, '_, Data>,
    ) -> (usize, Result<Step, Error>) {
        let UnbufferedStatus { mut discard, state } = status;
        let step = match state {
            Err(error) => Err(error),
            Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
                match traffic.next_record() {
                    None => break Ok(Step::Again),
                    Some(Err(error)) => break Err(error),
                    Some(Ok(record)) => {
                        discard += record.discard;
                        self.sink.extend_from_slice(record.payload);
                    }
                }
            },
            Ok(ConnectionState::EncodeTlsData(mut message)) => {
                append(self.outgoing, RECORD_OVERHEAD_BYTES, |room| {
                    message.encode(room).map_err(TooSmall::from)
                })
                .map(|()| Step::Again)
            }
            Ok(ConnectionState::TransmitTlsData(transmit)) => {
                // `outgoing` keeps the order; nothing here waits for the socket.
                transmit.done();
                Ok(Step::Again)
            }
            Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                (self.write)(&mut traffic, self.outgoing).map(|()| Step::Done)
            }
            Ok(ConnectionState::PeerClosed) => Ok(Step::PeerClosed),
            Ok(ConnectionState::BlockedHandshake | ConnectionState::Closed) => Ok(Step::Done),
            Ok(ConnectionState::ReadEarlyData(_)) => {
                Err(Error::General("early data is not offered".into()))
            }
            Ok(_) => Err(Error::General("unknown state of the TLS library".into())),
        };
        (discard, step)
    }
}

/// [`WriteTraffic`] of either side.
trait Encrypt {
    fn encrypt(&mut self, data: &[u8], room: &mut [u8]) -> Result<usize, TooSmall>;
    fn close_notify(&mut self, room: &mut [u8]) -> Result<usize, TooSmall>;
}

impl<Data> Encrypt for WriteTraffic<'_, Data> {
    fn encrypt(&mut self, data: &[u8], room: &mut [u8]) -> Result<usize, TooSmall> {
        Ok(WriteTraffic::encrypt(self, data, room)?)
    }

    fn close_notify(&mut self, room: &mut [u8]) -> Result<usize, TooSmall> {
        Ok(self.queue_close_notify(room)?)
    }
}

/// Why nothing was written into the room given.
enum TooSmall {
    Needs(usize),
    Never(Error),
}

impl From<EncryptError> for TooSmall {
    fn from(error: EncryptError) -> Self {
        match error {
            EncryptError::InsufficientSize(InsufficientSizeError { required_size }) => {
                Self::Needs(required_size)
            }
            EncryptError::EncryptExhausted => Self::Never(Error::EncryptError),
        }
    }
}

impl From<EncodeError> for TooSmall {
    fn from(error: EncodeError) -> Self {
        match error {
            EncodeError::InsufficientSize(InsufficientSizeError { required_size }) => {
                Self::Needs(required_size)
            }
            EncodeError::AlreadyEncoded => {
                Self::Never(Error::General("a TLS message was encoded twice".into()))
            }
        }
    }
}

/// Lets `write` fill room at the end of `outgoing`, once more if it says that it needs more.
fn append(
    outgoing: &mut Vec<u8>,
    room_bytes: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, TooSmall>,
) -> Result<(), Error> {
    let end = outgoing.len();
    let mut room_bytes = room_bytes;
    for _ in 0..2 {
        outgoing.resize(end + room_bytes, 0);
        match write(&mut outgoing[end..]) {
            Ok(written) => {
                outgoing.truncate(end + written);
                return Ok(());
            }
            Err(TooSmall::Needs(bytes)) => room_bytes = bytes,
            Err(TooSmall::Never(error)) => {
                outgoing.truncate(end);
                return Err(error);
            }
        }
    }
    outgoing.truncate(end);
    Err(Error::General("the TLS library miscounted".into()))
}
