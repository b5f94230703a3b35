//! What each request of a client does.

use columba_core::control::limits::MAX_GET_NAMES;
use columba_core::control::{
    ControlError, Frame, Hello, Open, PROTOCOL_VERSION, Purpose, StartEntry, Welcome,
    agreed_cipher, features,
};

use super::Reactor;
use super::frames::SOFTWARE;
use crate::files::index::SharedEntry;
use crate::helpers::Ticket;
use crate::limits::MAX_PENDING_REQUESTS;
use crate::listing::Listing;
use crate::lobby::Refusal;
use crate::slots::SlotId;
use crate::transfers::Terms;

impl Reactor {
    pub(super) fn on_hello(&mut self, id: SlotId, hello: &Hello<'_>) {
        let Some(connection) = self.clients.get_mut(id) else {
            return;
        };
        let key = connection
            .stream
            .peer_key_fingerprint()
            .map(|fingerprint| *fingerprint.as_bytes());
        connection.key = key;
        connection.features = hello.features;
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
        let history = (hello.purpose == Purpose::Chat && hello.features & features::HISTORY != 0)
            .then(|| self.lobby.history(hello.returns));
        let name = self.lobby.name_of(id).unwrap_or_default();
        tracing::debug!(client = %address, name, "a client was admitted");
        let welcome = Frame::Welcome(Welcome {
            version: PROTOCOL_VERSION,
            features: self.features,
            software: SOFTWARE,
            name,
            sequence: self.lobby.sequence(),
            time_ms: self.unix_ms,
            history,
        });
        self.clients.send(id, &welcome);
        if let (Some(_), Some(heard)) = (history, hello.returns) {
            self.lobby.replay(id, heard, &mut self.clients);
        }
    }

    pub(super) fn on_say(&mut self, id: SlotId, text: &str) {
        if let Some(connection) = self.clients.get(id) {
            self.arrivals.say(connection.readable_since);
        }
        let said = self.lobby.say(id, text, self.moment(), &mut self.clients);
        self.refuse_failed(id, said);
    }

    pub(super) fn on_whisper(&mut self, id: SlotId, to: &str, text: &str) {
        let whispered = self
            .lobby
            .whisper(id, to, text, self.moment(), &mut self.clients);
        self.refuse_failed(id, whispered);
    }

    pub(super) fn on_files(&mut self, id: SlotId, request: u32, prefix: &str) {
        let ticket = Ticket {
            client: id,
            request,
        };
        if self.admit_request(id, request) && self.catalog.list(ticket, prefix).is_err() {
            self.answer_busy(id, request);
        }
    }

    pub(super) fn on_cancel(&mut self, id: SlotId, streams: &[u32]) {
        let Some(association) = self
            .clients
            .get(id)
            .and_then(|connection| connection.association)
        else {
            return;
        };
        for &stream in streams {
            self.transfers.cancel(self.now, association, stream);
        }
    }

    fn refuse_failed(&mut self, id: SlotId, result: Result<(), Refusal>) {
        if let Err(refusal) = result {
            self.clients.refuse(id, refusal.code, 0, &refusal.text);
        }
    }

    /// Whether a further request may be given to the helpers.
    fn admit_request(&mut self, id: SlotId, request: u32) -> bool {
        let Some(connection) = self.clients.get_mut(id) else {
            return false;
        };
        if connection.unanswered() >= MAX_PENDING_REQUESTS {
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

    pub(super) fn on_get(&mut self, id: SlotId, request: u32, names: &[&str]) {
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

    /// Offers files while the folder is still being scanned.
    pub(super) fn on_found(&mut self, ticket: Ticket, found: Vec<SharedEntry>) {
        let Some(connection) = self.clients.get_mut(ticket.client) else {
            return;
        };
        if connection.is_closing() {
            return;
        }
        let first = connection.add_offers(&found, self.now);
        connection.listings.push_back(Listing::Offer {
            request: ticket.request,
            first,
            entries: found.into(),
            more: true,
        });
        self.clients.mark_dirty(ticket.client);
    }

    pub(super) fn on_open(&mut self, id: SlotId, open: &Open) {
        let Some(connection) = self.clients.get(id) else {
            return;
        };
        if connection.association.is_some() {
            let text = "a transfer is open already: one carries all files";
            return self
                .clients
                .refuse(id, ControlError::TooManyTransfers, 0, text);
        }
        match self.transfers.open(
            self.now,
            id,
            connection.address.ip(),
            open,
            &Terms {
                cipher: agreed_cipher(self.features, connection.features),
                reports: connection.features & features::PATH_REPORT != 0,
            },
        ) {
            Ok(grant) => {
                if let Some(connection) = self.clients.get_mut(id) {
                    connection.association = Some(grant.association);
                }
                self.clients.send(id, &Frame::Grant(grant));
            }
            Err(refusal) => self.clients.refuse(id, refusal.code, 0, &refusal.text),
        }
    }

    pub(super) fn on_start(&mut self, id: SlotId, entry: &StartEntry) {
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
            (Some(association), Some((file, offered_at))) => self
                .transfers
                .start(self.now, association, entry, file, offered_at)
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
