//! One connection out of addresses, TLS and trust: each address in turn, until the server answers.

use std::io;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, TryRecvError};

use columba_core::control::{FrameDecoder, Side};
use columba_core::units::Timestamp;
use columba_net::control_stream::{ControlError, ControlStream};
use columba_net::identity::Fingerprint;
use columba_net::tls::{ClientTls, PinCheck, client_config};
use mio::{Interest, Registry};

use super::{Link, LinkNews, MAX_QUEUED_BYTES, State, plain_words};
use crate::engine::message::{Security, Trust};
use crate::engine::resolve::resolve;
use crate::exit_code::ClientError;
use crate::known_servers::Known;
use crate::places::ServerName;

impl Link {
    pub(super) fn on_resolving(
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
            Err(TryRecvError::Empty) if self.is_time_to_give_up(now) => {
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

    pub(super) fn pause(&mut self, now: Timestamp) {
        self.next_address = 0;
        if self.pace.give_up_at.is_none() {
            // Whoever tries for hours may move to another network meanwhile.
            self.addresses.clear();
        }
        let delay = self.pace.next_pause();
        self.state = State::Pausing(now + delay);
        self.news.push_back(LinkNews::Pausing {
            delay,
            reason: self.last_failure.clone(),
        });
    }

    pub(super) fn give_up(&mut self) {
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
    pub(super) fn try_next(&mut self, now: Timestamp, registry: &Registry) {
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

    pub(super) fn on_trying(
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
        if self.is_time_to_give_up(now) {
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
}

pub(super) fn prepare_tls(
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
