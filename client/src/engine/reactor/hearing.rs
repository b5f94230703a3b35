//! What the server says, and what becomes of the connection.

use std::sync::Arc;

use columba_core::control::{ControlError, Frame, ParseError, Side};
use columba_core::units::Timestamp;

use super::{CONTROL, LAST_PING, MAX_LISTED, Phase, Reactor};
use crate::engine::heard::{Heard, Welcomed};
use crate::engine::link::{Link, LinkNews};
use crate::engine::message::Event;
use crate::exit_code::ClientError;

impl Reactor<'_> {
    pub(super) fn serve_link(&mut self, now: Timestamp) -> Result<(), ClientError> {
        if self.outbox.is_full() {
            return Ok(());
        }
        self.link.advance(now, self.poll.registry());
        if self.link.take_heard() {
            self.heard_at = now;
            self.pinged = false;
        }
        loop {
            match self.link.next_frame() {
                Ok(Some(frame)) => {
                    let heard = Heard::from(frame);
                    self.on_heard(now, heard)?;
                }
                Ok(None) => break,
                Err(error) => {
                    self.on_garbage(error)?;
                    break;
                }
            }
        }
        while let Some(news) = self.link.next_news() {
            self.on_news(now, news)?;
        }
        self.check_life(now);
        Ok(())
    }

    fn on_garbage(&mut self, error: ParseError) -> Result<(), ClientError> {
        if matches!(error, ParseError::Version { .. }) || !self.was_up {
            return Err(ClientError::Connect {
                server: self.config.server.to_string(),
                reason: error.to_string(),
            });
        }
        self.link.lose(error.to_string());
        Ok(())
    }

    fn on_news(&mut self, now: Timestamp, news: LinkNews) -> Result<(), ClientError> {
        let leaving = matches!(self.phase, Phase::Keeping | Phase::Leaving(_));
        match news {
            LinkNews::FirstContact(fingerprint) => {
                self.outbox.tell(Event::FirstContact { fingerprint });
                Ok(())
            }
            LinkNews::Pausing { delay, reason } => {
                self.attempts = self.attempts.saturating_add(1);
                self.outbox.tell(Event::NextAttempt {
                    attempt: self.attempts,
                    delay,
                    reason,
                });
                Ok(())
            }
            LinkNews::Failed(error) if self.was_up && self.transfers.is_busy() => {
                let text = format!("{error}; run the same command again to go on");
                self.link_failure = Some(ClientError::Stalled(text));
                Ok(())
            }
            LinkNews::Failed(error) => Err(error),
            LinkNews::Lost(_) if leaving => Ok(()),
            LinkNews::Lost(reason) => {
                if !self.config.reconnect && !self.transfers.is_busy() {
                    return Err(ClientError::Lost(reason));
                }
                self.reconnect(now, reason)
            }
        }
    }

    fn reconnect(&mut self, now: Timestamp, reason: String) -> Result<(), ClientError> {
        let patient = self.patient && self.config.reconnect;
        let pace = self
            .comebacks
            .on_lost(now, patient, self.config.connect_for);
        self.link = Link::open(
            now,
            self.config.server.clone(),
            self.config.security.clone(),
            CONTROL,
            Arc::clone(&self.notify),
            pace,
            &reason,
        )?;
        self.outbox.tell(Event::Reconnecting { reason });
        self.attempts = 0;
        self.said.on_lost();
        self.users.clear();
        self.files.clear();
        self.greet(&[])
    }

    fn on_welcome(&mut self, now: Timestamp, welcome: Welcomed) -> Result<(), ClientError> {
        self.link.set_up();
        tracing::debug!(software = %welcome.software, "welcome");
        self.comebacks.on_up(now);
        self.attempts = 0;
        self.transfers.on_welcome(welcome.features);
        self.name.clone_from(&welcome.name);
        let again = std::mem::replace(&mut self.was_up, true);
        self.outbox.tell(Event::Welcome {
            name: welcome.name,
            software: welcome.software,
            sequence: welcome.sequence,
            again,
        });
        let missed = self
            .said
            .on_welcome(welcome.sequence, welcome.history, again);
        if let Some(missed) = missed {
            self.outbox.tell(missed);
        }
        self.tell_lost_words();
        for command in std::mem::take(&mut self.held) {
            self.perform(now, &command)?;
        }
        Ok(())
    }

    fn tell_lost_words(&mut self) {
        for event in self.said.lost_words() {
            self.outbox.tell(event);
        }
    }

    /// Passes on what was said, unless it was heard before.
    fn on_event(&mut self, event: Event) {
        if let Event::Message {
            sequence,
            from,
            text,
            ..
        } = &event
        {
            let fresh = self.said.on_message(*sequence);
            if *from == self.name {
                self.said.on_echo(None, text);
            }
            if fresh {
                self.outbox.tell(event);
            }
            self.tell_lost_words();
            return;
        }
        if let Event::Whispered { from, to, text, .. } = &event
            && *from == self.name
        {
            self.said.on_echo(Some(to), text);
        }
        self.outbox.tell(event);
    }

    fn on_heard(&mut self, now: Timestamp, heard: Heard) -> Result<(), ClientError> {
        match heard {
            Heard::Event(event) => self.on_event(event),
            Heard::Welcome(welcome) => return self.on_welcome(now, welcome),
            Heard::Error {
                code,
                fatal,
                request,
                text,
            } => return self.on_error(code, fatal, request, &text),
            Heard::Users { last, names } => {
                let room = MAX_LISTED.saturating_sub(self.users.len());
                self.users.extend(names.into_iter().take(room));
                if last {
                    let users = std::mem::take(&mut self.users);
                    self.outbox.tell(Event::Users(users));
                }
            }
            Heard::Files { last, files } => {
                let room = MAX_LISTED.saturating_sub(self.files.len());
                self.files.extend(files.into_iter().take(room));
                if last {
                    let files = std::mem::take(&mut self.files);
                    self.outbox.tell(Event::Files(files));
                }
            }
            Heard::Grant(grant) => {
                if let Some(peer) = self.link.peer {
                    let rtt = self.link.connect_rtt;
                    tracing::debug!(?rtt, "an association is granted");
                    let registry = self.poll.registry();
                    self.transfers.on_grant(now, &grant, peer, rtt, registry);
                }
            }
            Heard::Offer {
                request,
                last,
                files,
            } => self.transfers.on_offer(now, request, last, files),
            Heard::Ended { stream, code, text } => self.transfers.on_ended(stream, code, &text),
            Heard::Ping(nonce) => self.send(&Frame::Pong {
                from: Side::Client,
                nonce,
            }),
            Heard::Pong(nonce) => {
                if nonce == LAST_PING && matches!(self.phase, Phase::Finishing(_)) {
                    self.phase = Phase::Finishing(None);
                }
            }
            Heard::PathReport(report) => self.transfers.on_path_report(now, report),
            Heard::Nonsense => {}
        }
        Ok(())
    }

    fn on_error(
        &mut self,
        code: ControlError,
        fatal: bool,
        request: u32,
        text: &str,
    ) -> Result<(), ClientError> {
        if fatal {
            self.outbox.tell(Event::Denied {
                code,
                text: columba_core::chat::printable(text).into_owned(),
            });
            if self.may_come_back(code) {
                self.link
                    .lose(columba_core::chat::printable(text).into_owned());
                return Ok(());
            }
            let error = ClientError::from_server(code, text);
            return Err(match (code, self.was_up) {
                (
                    ControlError::ServerFull | ControlError::ShuttingDown | ControlError::Version,
                    false,
                ) => ClientError::Connect {
                    server: self.config.server.to_string(),
                    reason: error.to_string(),
                },
                _ => error,
            });
        }
        let now = self.clock.now();
        if request != 0 && self.transfers.on_refused(now, request, code, text) {
            return Ok(());
        }
        if code == ControlError::TooManyTransfers && self.transfers.open_later(now) {
            return Ok(());
        }
        if self.transfers.is_busy()
            && matches!(code, ControlError::TooManyTransfers | ControlError::Address)
        {
            self.transfers
                .fail_all(|| ClientError::from_server(code, text));
            return Ok(());
        }
        if request == 0 {
            self.said.on_refused(code);
        }
        self.outbox.tell(Event::Refused {
            code,
            text: columba_core::chat::printable(text).into_owned(),
        });
        Ok(())
    }

    /// Whether a connection that the server ended for this reason is worth making anew.
    fn may_come_back(&self, code: ControlError) -> bool {
        let passing = matches!(
            code,
            ControlError::ShuttingDown
                | ControlError::ServerFull
                | ControlError::SlowReader
                | ControlError::Idle
                | ControlError::Internal
        );
        // Without keys the server cannot know that the session it still holds was ours.
        let own_ghost = code == ControlError::NameTaken && !self.config.security.is_encrypted();
        self.config.reconnect && self.was_up && (passing || own_ghost)
    }
}
