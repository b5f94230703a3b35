//! What clients say: reading, and what each frame does.

use columba_core::control::{
    ControlError, Frame, FrameDecoder, PROTOCOL_VERSION, ParseError, Side,
};
use columba_net::control_stream::{ControlError as StreamError, ReadStop};

use super::{BudgetKey, Reactor};
use crate::connection::{Connection, Phase};
use crate::limits::{FRAME_BUDGET, READ_BUDGET_BYTES};
use crate::slots::SlotId;

/// A client is told once in so long that it is too fast.
const TOO_FAST_NOTICE: std::time::Duration = std::time::Duration::from_secs(1);

/// What the server says it is.
pub(crate) const SOFTWARE: &str = concat!("columba-server/", env!("CARGO_PKG_VERSION"));

impl Reactor {
    /// Reads from a client and handles what it says, within budgets.
    pub(super) fn read_client(&mut self, id: SlotId) {
        let Some(connection) = self.clients.get_mut(id) else {
            return;
        };
        if connection.is_closing() {
            if self.clients.discard(id, READ_BUDGET_BYTES) {
                self.drop_client(id);
            }
            return;
        }
        let Some(mut decoder) = connection.decoder.take() else {
            return;
        };
        self.arrivals.begin_connection();
        let mut frames_left = FRAME_BUDGET;
        let mut bytes_left = READ_BUDGET_BYTES;
        loop {
            if frames_left == 0 || self.clients.get(id).is_none_or(Connection::is_closing) {
                // No event will tell that there is more.
                self.clients.mark_ready(id);
                break;
            }
            match decoder.next_frame() {
                Ok(Some(frame)) => {
                    frames_left -= 1;
                    self.arrivals.begin_frame();
                    self.on_frame(id, &frame);
                }
                Ok(None) => {
                    if decoder.buffered_bytes() == 0 {
                        self.arrivals.end_of_bytes(self.clock.now());
                    }
                    if !self.fill(id, &mut decoder, &mut bytes_left) {
                        break;
                    }
                }
                Err(error) => {
                    self.on_bad_frame(id, error);
                    break;
                }
            }
        }
        if let Some(connection) = self.clients.get_mut(id) {
            decoder.release();
            connection.decoder = Some(decoder);
        }
    }

    /// Reads more bytes; `false` when there is nothing more to do for now.
    fn fill(&mut self, id: SlotId, decoder: &mut FrameDecoder, bytes_left: &mut usize) -> bool {
        let now = self.now;
        let Some(connection) = self
            .clients
            .get_mut(id)
            .filter(|connection| connection.readable)
        else {
            return false;
        };
        if *bytes_left == 0 {
            self.clients.mark_ready(id);
            return false;
        }
        match connection.stream.read(decoder.sink(), *bytes_left) {
            Ok(outcome) => {
                if outcome.bytes > 0 {
                    connection.heard(now);
                }
                self.arrivals.read(outcome.arrived);
                *bytes_left = bytes_left.saturating_sub(outcome.bytes);
                match outcome.stop {
                    ReadStop::BudgetSpent => *bytes_left = 0,
                    ReadStop::Drained => connection.readable = false,
                    ReadStop::PeerClosed | ReadStop::Truncated => {
                        connection.readable = false;
                        self.clients.end_after_queue(id, None);
                    }
                }
                // A handshake may have something to send.
                self.clients.mark_dirty(id);
                outcome.bytes > 0
            }
            Err(StreamError::Io(error)) => {
                tracing::debug!(client = %connection.address, %error, "a connection broke");
                self.drop_client(id);
                false
            }
            // Clients make several connections over a path that loses, and go on with the first.
            Err(error @ StreamError::ClosedInHandshake) => {
                tracing::debug!(client = %connection.address, %error, "a connection was given up");
                self.drop_client(id);
                false
            }
            Err(error) => {
                tracing::info!(client = %connection.address, %error, "a connection was refused");
                // An alert may wait to be sent.
                self.clients.end_after_queue(id, None);
                false
            }
        }
    }

    fn on_bad_frame(&mut self, id: SlotId, error: ParseError) {
        self.clients.bad_frames += 1;
        if let ParseError::Version { theirs } = error {
            let text = format!(
                "this server speaks protocol version {PROTOCOL_VERSION}, your program speaks version {theirs}: update the older one"
            );
            return self.clients.end(id, ControlError::Version, &text);
        }
        if let Some(connection) = self.clients.get(id) {
            tracing::info!(client = %connection.address, %error, "a client sent what is no frame");
        }
        self.clients
            .end(id, ControlError::BadFrame, &error.to_string());
    }

    fn on_frame(&mut self, id: SlotId, frame: &Frame<'_>) {
        let Some(connection) = self.clients.get(id) else {
            return;
        };
        if let Phase::Greeting { .. } = connection.phase {
            if let Frame::Hello(hello) = frame {
                self.on_hello(id, hello);
            } else {
                self.clients
                    .end(id, ControlError::BadFrame, "the first frame must be Hello");
            }
            return;
        }
        if !self.within_budget(id, frame) {
            return;
        }
        match frame {
            Frame::Say { text } => self.on_say(id, text),
            Frame::Whisper { to, text } => self.on_whisper(id, to, text),
            Frame::Users => self.lobby.list_users(id, &mut self.clients),
            Frame::Files { request, prefix } => self.on_files(id, *request, prefix),
            Frame::Get { request, names } => self.on_get(id, *request, names),
            Frame::Stats => {
                let json = self.report().to_json();
                self.clients.send(id, &Frame::StatsReport { json: &json });
            }
            Frame::Open(open) => self.on_open(id, open),
            Frame::Start { entries } => entries.iter().for_each(|entry| self.on_start(id, entry)),
            Frame::Cancel { streams } => self.on_cancel(id, streams),
            Frame::Ping { nonce, .. } => {
                let pong = Frame::Pong {
                    from: Side::Server,
                    nonce: *nonce,
                };
                self.clients.send(id, &pong);
            }
            Frame::Pong { .. } => {}
            Frame::Leave => self.clients.end_after_queue(id, None),
            Frame::Hello(_) => {
                self.clients
                    .end(id, ControlError::BadFrame, "Hello was said before");
            }
            // The decoder refuses what only servers say.
            Frame::Welcome(_)
            | Frame::Error(_)
            | Frame::Message(_)
            | Frame::Whispered(_)
            | Frame::Presence { .. }
            | Frame::UserList { .. }
            | Frame::FileList { .. }
            | Frame::StatsReport { .. }
            | Frame::Grant(_)
            | Frame::Offer { .. }
            | Frame::Ended { .. }
            | Frame::PathReport(_) => {}
        }
    }

    /// Charges a frame to its sender; one too many is dropped, and its sender told now and then.
    fn within_budget(&mut self, id: SlotId, frame: &Frame<'_>) -> bool {
        let now = self.now;
        let Some(connection) = self.clients.get_mut(id) else {
            return false;
        };
        // A client that asks whether the server is alive must not be left to think it is not.
        if matches!(
            frame,
            Frame::Ping { .. } | Frame::Pong { .. } | Frame::Leave
        ) {
            return true;
        }
        let user = connection
            .key
            .map_or(BudgetKey::Connection(id), BudgetKey::Key);
        if self.budgets.take(user, now) {
            return true;
        }
        self.too_fast += 1;
        if connection
            .told_too_fast
            .is_none_or(|told| now - told >= TOO_FAST_NOTICE)
        {
            connection.told_too_fast = Some(now);
            let text = "you send faster than this server allows: what came last was dropped";
            self.clients
                .refuse(id, ControlError::TooFast, request_of(frame), text);
        }
        false
    }
}

/// The number of the request a frame is, if it is one.
fn request_of(frame: &Frame<'_>) -> u32 {
    if let Frame::Files { request, .. } | Frame::Get { request, .. } = frame {
        *request
    } else {
        0
    }
}
