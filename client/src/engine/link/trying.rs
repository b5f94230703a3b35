//! From names to addresses, and from the first connection that is made to one that is trusted and
//! that the server has answered.

use std::io;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, TryRecvError};

use columba_core::units::Timestamp;
use columba_net::control_stream::{ControlError, ControlStream};
use columba_net::identity::Fingerprint;
use columba_net::tls::{ClientTls, PinCheck, client_config};
use mio::Registry;

use super::racing::Winner;
use super::{Link, LinkNews, State, plain_words};
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
                self.begin_round(now, registry);
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

    pub(super) fn fail(&mut self, error: ClientError) {
        self.state = State::Down;
        self.news.push_back(LinkNews::Failed(error));
    }

    pub(super) fn resolve_again(&mut self, now: Timestamp) {
        match resolve(&self.server, &self.notify) {
            Ok(answer) => self.state = State::Resolving(answer),
            Err(error) => {
                self.last_failure = error.to_string();
                self.pause(now);
            }
        }
    }

    pub(super) fn note_failure(&mut self, address: SocketAddr, failure: &str) {
        tracing::debug!(%address, failure, "connecting failed");
        self.last_failure = format!("{address}: {failure}");
    }

    /// Says who we are and what is asked for, as soon as the server may know.
    pub(super) fn introduce(&mut self, stream: &mut ControlStream) -> Result<(), ControlError> {
        if stream.is_awaiting_trust() {
            self.meet(stream)?;
        }
        // A fresh stream takes what is far below its bound.
        let _ = stream.queue(self.greeting.clone());
        let _ = stream.flush()?;
        Ok(())
    }

    pub(super) fn on_trying(
        &mut self,
        now: Timestamp,
        registry: &Registry,
        mut winner: Box<Winner>,
    ) {
        let moved = self.await_answer(&mut winner.stream);
        self.on_moved(now, registry, winner, moved);
    }

    pub(super) fn on_moved(
        &mut self,
        now: Timestamp,
        registry: &Registry,
        winner: Box<Winner>,
        moved: Result<(), ControlError>,
    ) {
        let failure = match moved {
            Ok(()) if now < winner.deadline(self) => {
                self.state = State::Trying(winner);
                return;
            }
            Ok(()) => "it does not answer".to_owned(),
            Err(error) => match self.judge(error) {
                Ok(failure) => failure,
                Err(error) => return self.fail(*error),
            },
        };
        self.note_failure(winner.address, &failure);
        if self.is_time_to_give_up(now) {
            self.give_up();
        } else {
            self.go_on_without(now, registry, *winner);
        }
    }

    fn await_answer(&mut self, stream: &mut ControlStream) -> Result<(), ControlError> {
        // Errors of the flush are told by the read, and better.
        let flushed = stream.flush().map(drop);
        let closed = self.read_frames(stream)?;
        flushed?;
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
    pub(super) fn judge(&self, error: ControlError) -> Result<String, Box<ClientError>> {
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
