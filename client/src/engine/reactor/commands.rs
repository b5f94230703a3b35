//! What the engine is told to do.

use std::sync::Arc;
use std::sync::mpsc::TryRecvError;

use columba_core::control::{ControlError, Frame, Side, pages};
use columba_core::units::Timestamp;

use super::{LAST_PING, MAX_HELD, Phase, Reactor};
use crate::engine::frames::{get_frame, open_frame, simple_frame};
use crate::engine::message::{Command, Event};
use crate::engine::transfer::{Asked, GetOrder};
use crate::exit_code::ClientError;

impl Reactor<'_> {
    /// Takes what is to go out in the first flight; returns the questions.
    pub(super) fn take_first(
        &mut self,
        now: Timestamp,
        first: Vec<Command>,
    ) -> Result<Vec<Command>, ClientError> {
        let mut questions = Vec::new();
        for command in first {
            match command {
                Command::Get {
                    request,
                    names,
                    target,
                    folder,
                    roots,
                } => {
                    let order = GetOrder::new(&names, &roots, target, folder);
                    self.transfers.request(now, request, order)?;
                }
                // Asked twice, when the first connection fails half-way, they do no harm.
                Command::Users | Command::Files { .. } | Command::Stats => questions.push(command),
                Command::Say(_)
                | Command::Whisper { .. }
                | Command::Pause { .. }
                | Command::Resume { .. }
                | Command::Cancel { .. }
                | Command::ConnectNow
                | Command::Finish
                | Command::Stop => self.held.push_back(command),
            }
        }
        Ok(questions)
    }

    pub(super) fn take_commands(&mut self, now: Timestamp) -> Result<(), ClientError> {
        loop {
            match self.commands.try_recv() {
                Ok(Command::Stop) | Err(TryRecvError::Disconnected) => {
                    self.stop();
                    return Ok(());
                }
                // These need no connection.
                Ok(
                    command @ (Command::Pause { .. }
                    | Command::Resume { .. }
                    | Command::Cancel { .. }
                    | Command::ConnectNow),
                ) => self.perform(now, &command)?,
                Ok(command) if self.link.is_up() => self.perform(now, &command)?,
                Ok(command) => self.hold(now, command)?,
                Err(TryRecvError::Empty) => return Ok(()),
            }
        }
    }

    /// Keeps a command for when there is a connection.
    fn hold(&mut self, now: Timestamp, command: Command) -> Result<(), ClientError> {
        let unneeded = self.was_up && !self.transfers.is_busy() && self.held.is_empty();
        if matches!(command, Command::Finish) && (self.patient || unneeded) {
            // Whoever wants to leave is not kept waiting for a server that is gone.
            self.stop();
            return Ok(());
        }
        if matches!(command, Command::Get { .. }) {
            // It is asked for as soon as there is a connection, and shows as waiting until then.
            return self.perform(now, &command);
        }
        if self.held.len() < MAX_HELD {
            self.held.push_back(command);
            return Ok(());
        }
        self.outbox.tell(Event::Refused {
            code: ControlError::TooFast,
            text: "there is no connection, and too much waits for it already".to_owned(),
        });
        Ok(())
    }

    /// Does what was said.
    pub(super) fn perform(&mut self, now: Timestamp, command: &Command) -> Result<(), ClientError> {
        match command {
            Command::Get {
                request,
                names,
                target,
                folder,
                roots,
            } => {
                let order = GetOrder::new(names, roots, target.clone(), folder.clone());
                return self.transfers.request(now, *request, order);
            }
            Command::Pause { request } => self.transfers.pause(now, *request),
            Command::Resume { request } => self.transfers.resume(now, *request),
            Command::Cancel { request, keep } => self.transfers.cancel(now, *request, *keep),
            Command::ConnectNow => self.link.hurry(),
            Command::Finish => self.begin_to_finish(now),
            Command::Stop => self.stop(),
            Command::Say(text) => {
                self.say(command, None, text);
            }
            Command::Whisper { to, text } => {
                self.say(command, Some(to), text);
            }
            Command::Users | Command::Files { .. } | Command::Stats => {
                self.send_simple(command);
            }
        }
        Ok(())
    }

    fn begin_to_finish(&mut self, now: Timestamp) {
        if self.phase == Phase::Working {
            self.phase = Phase::Finishing(Some(now));
            self.send(&Frame::Ping {
                from: Side::Client,
                nonce: LAST_PING,
            });
        }
    }

    fn say(&mut self, command: &Command, to: Option<&str>, text: &str) {
        if self.send_simple(command) {
            self.said.on_sent(to, text);
        }
    }

    /// Sends a command that is one frame; `false` when the connection does not take it.
    fn send_simple(&mut self, command: &Command) -> bool {
        self.next_request = self.next_request.wrapping_add(1).max(1);
        let Some(frame) = simple_frame(command, self.next_request) else {
            return false;
        };
        let sent = self.link.send(&frame);
        if let Err(error) = &sent {
            self.outbox.tell(Event::Refused {
                code: ControlError::TooFast,
                text: error.to_string(),
            });
        }
        sent.is_ok()
    }

    fn send_asked(&mut self, asked: &[Asked]) {
        let config = Arc::clone(&self.config);
        if self.transfers.wants_open() {
            self.send(&open_frame(&config));
        }
        for one in asked {
            self.send(&get_frame(one));
        }
    }

    /// A connection that takes no frame is lost.
    pub(super) fn send(&mut self, frame: &Frame<'_>) {
        if let Err(error) = self.link.send(frame) {
            self.link.lose(error.to_string());
        }
    }

    pub(super) fn send_starts(&mut self, now: Timestamp) -> Result<(), ClientError> {
        if !self.link.is_up() {
            return Ok(());
        }
        let asked = self.transfers.asks(now);
        self.send_asked(&asked);
        let entries = self.transfers.starts(now);
        if entries.is_empty() {
            return self.flush_link(now);
        }
        for (page, _) in pages(&entries) {
            self.send(&Frame::Start {
                entries: page.to_vec(),
            });
        }
        self.flush_link(now)
    }

    fn flush_link(&mut self, now: Timestamp) -> Result<(), ClientError> {
        if self.link.queued_bytes() > 0 {
            self.serve_link(now)?;
        }
        Ok(())
    }
}
