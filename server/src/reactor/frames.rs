//! What clients say: reading, and what each frame does.

use columba_core::control::limits::MAX_GET_NAMES;
use columba_core::control::{
    ControlError, FEATURES, Frame, FrameDecoder, Hello, Open, PROTOCOL_VERSION, ParseError,
    Purpose, Side, StartEntry, Welcome,
};
use columba_net::control_stream::{ControlError as StreamError, ReadStop};

use super::{BudgetKey, Reactor};
use crate::connection::{Connection, Phase};
use crate::helpers::Ticket;
use crate::limits::{FRAME_BUDGET, MAX_PENDING_REQUESTS, READ_BUDGET_BYTES};
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
                    self.on_frame(id, &frame);
                }
                Ok(None) => {
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
            return match frame {
                Frame::Hello(hello) => self.on_hello(id, hello),
                _ => self
                    .clients
                    .end(id, ControlError::BadFrame, "the first frame must be Hello"),
            };
        }
        if !self.within_budget(id, frame) {
            return;
        }
        match frame {
            Frame::Say { text } => {
                self.said_at.get_or_insert(self.now);
                let said = self.lobby.say(id, text, self.moment(), &mut self.clients);
                self.refuse_failed(id, 0, said);
            }
            Frame::Whisper { to, text } => {
                let whispered = self
                    .lobby
                    .whisper(id, to, text, self.moment(), &mut self.clients);
                self.refuse_failed(id, 0, whispered);
            }
            Frame::Users => self.lobby.list_users(id, &mut self.clients),
            Frame::Files { request, prefix } => {
                if self.admit_request(id, *request)
                    && self
                        .catalog
                        .list(
                            Ticket {
                                client: id,
                                request: *request,
                            },
                            prefix,
                        )
                        .is_err()
                {
                    self.answer_busy(id, *request);
                }
            }
            Frame::Get { request, names } => self.on_get(id, *request, names),
            Frame::Stats => {
                let json = self.report().to_json();
                self.clients.send(id, &Frame::StatsReport { json: &json });
            }
            Frame::Open(open) => self.on_open(id, open),
            Frame::Start { entries } => entries.iter().for_each(|entry| self.on_start(id, entry)),
            Frame::Cancel { streams } => {
                if let Some(association) = self
                    .clients
                    .get(id)
                    .and_then(|connection| connection.association)
                {
                    streams
                        .iter()
                        .for_each(|&stream| self.transfers.cancel(self.now, association, stream));
                }
            }
            Frame::Ping { nonce, .. } => self.clients.send(
                id,
                &Frame::Pong {
                    from: Side::Server,
                    nonce: *nonce,
                },
            ),
            Frame::Pong { .. } => {}
            Frame::Leave => self.clients.end_after_queue(id, None),
            Frame::Hello(_) => {
                self.clients
                    .end(id, ControlError::BadFrame, "Hello was said before")
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
            | Frame::Ended { .. } => {}
        }
    }

    fn on_hello(&mut self, id: SlotId, hello: &Hello<'_>) {
        let Some(connection) = self.clients.get_mut(id) else {
            return;
        };
        let key = connection
            .stream
            .peer_key_fingerprint()
            .map(|fingerprint| *fingerprint.as_bytes());
        connection.key = key;
        let address = connection.address;
        if let Err(refusal) = self.access.check(key, hello.password) {
            tracing::info!(client = %address, code = ?refusal.code, "a client was not admitted");
            return self.clients.end(id, refusal.code, &refusal.text);
        }
        if self.clients.admitted() >= self.max_clients {
            let text = "the server has as many clients as it admits: try again later";
            return self.clients.end(id, ControlError::ServerFull, text);
        }
        let moment = self.moment();
        if hello.purpose == Purpose::Chat {
            match self
                .lobby
                .join(id, hello.name, key, &mut self.names, moment)
            {
                Ok(replaced) => {
                    if let Some(old) = replaced {
                        let text = "you joined again from elsewhere: this session is over";
                        self.clients.end(old, ControlError::Replaced, text);
                    }
                }
                Err(refusal) => return self.clients.end(id, refusal.code, &refusal.text),
            }
        }
        self.clients.admit(id);
        let name = self.lobby.name_of(id).unwrap_or_default();
        tracing::debug!(client = %address, name, "a client was admitted");
        let welcome = Frame::Welcome(Welcome {
            version: PROTOCOL_VERSION,
            features: FEATURES,
            software: SOFTWARE,
            name,
            sequence: self.lobby.sequence(),
            time_ms: self.unix_ms,
        });
        self.clients.send(id, &welcome);
    }

    /// Charges a frame to its sender; one too many is dropped, and its sender told now and then.
    fn within_budget(&mut self, id: SlotId, frame: &Frame<'_>) -> bool {
        let now = self.now;
        let Some(connection) = self.clients.get_mut(id) else {
            return false;
        };
        if matches!(frame, Frame::Pong { .. } | Frame::Leave) {
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

    fn refuse_failed(
        &mut self,
        id: SlotId,
        request: u32,
        result: Result<(), crate::lobby::Refusal>,
    ) {
        if let Err(refusal) = result {
            self.clients
                .refuse(id, refusal.code, request, &refusal.text);
        }
    }

    /// Whether a further request may be given to the helpers.
    fn admit_request(&mut self, id: SlotId, request: u32) -> bool {
        let Some(connection) = self.clients.get_mut(id) else {
            return false;
        };
        if connection.pending_requests + connection.listings.len() >= MAX_PENDING_REQUESTS {
            let text = "too many requests wait for their answer: read those first";
            self.clients
                .refuse(id, ControlError::TooFast, request, text);
            return false;
        }
        connection.pending_requests += 1;
        true
    }

    fn answer_busy(&mut self, id: SlotId, request: u32) {
        if let Some(connection) = self.clients.get_mut(id) {
            connection.pending_requests = connection.pending_requests.saturating_sub(1);
        }
        self.clients.refuse(
            id,
            ControlError::TooFast,
            request,
            "the server is busy: ask again",
        );
    }

    fn on_get(&mut self, id: SlotId, request: u32, names: &[&str]) {
        if names.len() > MAX_GET_NAMES {
            let text = format!("at most {MAX_GET_NAMES} names may be asked for at once");
            return self
                .clients
                .refuse(id, ControlError::BadFrame, request, &text);
        }
        if self.admit_request(id, request)
            && self
                .catalog
                .resolve(
                    Ticket {
                        client: id,
                        request,
                    },
                    names,
                )
                .is_err()
        {
            self.answer_busy(id, request);
        }
    }

    fn on_open(&mut self, id: SlotId, open: &Open) {
        let Some(connection) = self.clients.get(id) else {
            return;
        };
        if connection.association.is_some() {
            let text = "a transfer is open already: one carries all files";
            return self
                .clients
                .refuse(id, ControlError::TooManyTransfers, 0, text);
        }
        match self
            .transfers
            .open(self.now, id, connection.address.ip(), open)
        {
            Ok(grant) => {
                if let Some(connection) = self.clients.get_mut(id) {
                    connection.association = Some(grant.association);
                }
                self.clients.send(id, &Frame::Grant(grant));
            }
            Err(refusal) => self.clients.refuse(id, refusal.code, 0, &refusal.text),
        }
    }

    fn on_start(&mut self, id: SlotId, entry: &StartEntry) {
        let Some(connection) = self.clients.get(id) else {
            return;
        };
        let result = match (connection.association, connection.offer(entry.file)) {
            (None, _) => Err((
                ControlError::Idle,
                "no transfer is open: open one first".to_owned(),
            )),
            (_, None) => Err((
                ControlError::NoSuchFile,
                "this file was not offered: ask for it first".to_owned(),
            )),
            (Some(association), Some(file)) => self
                .transfers
                .start(self.now, association, entry, file)
                .map_err(|refusal| (refusal.code, refusal.text)),
        };
        if let Err((code, text)) = result {
            self.clients.send(
                id,
                &Frame::Ended {
                    stream: entry.stream,
                    code,
                    text: &text,
                },
            );
        }
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
