//! Events into state: what each thing that the engine tells changes.

use columba_core::chat::printable;
use columba_core::control::ControlError;

use super::calendar::Moment;
use super::connection::{Retry, State, Trouble};
use super::people::same_person;
use super::text::Known;
use super::timeline::{Conversation, Draft, EntryKind};
use super::transfers::Ending;
use super::{Model, Notice};
use crate::engine::message::{Event, GetEvent};
use crate::exit_code::ClientError;

/// Longest text of a notification, in characters.
const NOTICE_CHARS: usize = 200;

impl Model {
    /// An engine was started for `server`, as given by the person.
    pub fn on_engine_started(&mut self, moment: Moment, server: &str) {
        if server != self.connection.server {
            // Another server's people and files say nothing about this one's.
            self.files.clear();
            self.people = super::People::default();
        }
        server.clone_into(&mut self.connection.server);
        self.connection.state = State::Connecting {
            since: moment.now,
            retry: None,
        };
        self.connection.denied = None;
        self.connection.fingerprint = None;
        self.connection.first_contact = false;
        self.connection.udp_blocked = false;
    }

    /// Takes a batch of the engine's events; returns what is worth a notification while nobody looks.
    pub fn fold(&mut self, moment: Moment, events: Vec<Event>) -> Vec<Notice> {
        let mut notices = Vec::new();
        for event in events {
            notices.extend(self.fold_one(moment, event));
        }
        notices
    }

    fn fold_one(&mut self, moment: Moment, event: Event) -> Option<Notice> {
        match event {
            Event::FirstContact { fingerprint } => {
                self.connection.fingerprint = Some(fingerprint.to_string());
                self.connection.first_contact = true;
            }
            Event::Welcome {
                name,
                software,
                again,
                ..
            } => self.on_welcome(moment, name, software, again),
            Event::Message {
                time_ms,
                from,
                text,
                ..
            } => return self.on_said(moment, time_ms, &from, &text),
            Event::Whispered {
                time_ms,
                from,
                to,
                text,
            } => return self.on_whispered(moment, time_ms, &from, &to, &text),
            Event::Presence {
                time_ms,
                joined,
                left,
            } => self.on_presence(moment, time_ms, &joined, &left),
            Event::Users(names) => self.people.set(&names, &self.name),
            Event::Files(files) => self.on_files(moment, files),
            // Nobody looks at the server's counters here.
            Event::Stats(_) => {}
            Event::Refused { code, text } => self.on_refused(moment, code, &text),
            Event::Denied { code, text } => self.connection.denied = Some((code, text)),
            Event::Reconnecting { reason } => return self.on_lost(moment, reason),
            Event::NextAttempt {
                attempt,
                delay,
                reason,
            } => self.on_next_attempt(Retry {
                attempt,
                at: moment.now + delay,
                reason,
            }),
            Event::Missed { count } => {
                let text = match count {
                    1 => "1 message was sent while you were away".to_owned(),
                    _ => format!("{count} messages were sent while you were away"),
                };
                self.push(
                    moment,
                    &Conversation::Everybody,
                    EntryKind::Missed(count),
                    &text,
                );
            }
            Event::Undelivered { to, text } => {
                let place = to.map_or(Conversation::Everybody, Conversation::Person);
                self.push(moment, &place, EntryKind::Undelivered, &text);
            }
            Event::Udp { blocked } => self.connection.udp_blocked = blocked,
            Event::Network(sample) => self.network.record(moment.now, sample),
            Event::Get { request, event } => return self.on_get(moment, request, event),
            Event::Ended(ended) => self.on_ended(moment, ended),
        }
        None
    }

    /// Appends something that the program says to the conversation that is shown.
    pub(in crate::model) fn tell(&mut self, moment: Moment, kind: EntryKind, text: &str) {
        let shown = self.timelines.current().clone();
        self.push(moment, &shown, kind, text);
    }

    fn push(&mut self, moment: Moment, to: &Conversation, kind: EntryKind, text: &str) -> bool {
        self.push_at(moment, moment.unix_ms, to, kind, text)
    }

    fn push_at(
        &mut self,
        moment: Moment,
        unix_ms: u64,
        to: &Conversation,
        kind: EntryKind,
        text: &str,
    ) -> bool {
        let known = Known {
            own_name: &self.name,
            files: self.files.names(),
        };
        let draft = Draft {
            unix_ms,
            utc_offset_s: moment.utc_offset_s,
            kind,
            text,
        };
        self.timelines.push(to, draft, known)
    }

    fn on_welcome(&mut self, moment: Moment, name: String, software: String, again: bool) {
        self.name = name;
        self.connection.software = software;
        self.connection.denied = None;
        self.connection.state = State::Online { since: moment.now };
        let text = if again {
            "You are connected again.".to_owned()
        } else {
            format!("You are in the chat as {}.", printable(&self.name))
        };
        self.push(moment, &Conversation::Everybody, EntryKind::Info, &text);
    }

    fn on_said(&mut self, moment: Moment, time_ms: u64, from: &str, text: &str) -> Option<Notice> {
        let own = from == self.name;
        let kind = EntryKind::Said {
            from: from.to_owned(),
            own,
            mention: false,
            whisper: false,
        };
        let place = Conversation::Everybody;
        let unseen = !self.focused || !self.timelines.is_seen(&place);
        let named = self.push_at(moment, time_ms, &place, kind, text);
        (named && unseen).then(|| Notice::Mention {
            from: from.to_owned(),
            text: one_line(text),
        })
    }

    fn on_whispered(
        &mut self,
        moment: Moment,
        time_ms: u64,
        from: &str,
        to: &str,
        text: &str,
    ) -> Option<Notice> {
        let own = same_person(from, &self.name);
        let partner = if own { to } else { from };
        let place = Conversation::Person(partner.to_owned());
        let seen = self.timelines.is_seen(&place);
        let kind = EntryKind::Said {
            from: from.to_owned(),
            own,
            mention: false,
            whisper: true,
        };
        self.push_at(moment, time_ms, &place, kind, text);
        self.people.whispered(partner, !own && !seen);
        let noticed = own || seen && self.focused;
        (!noticed).then(|| Notice::Whisper {
            from: from.to_owned(),
            text: one_line(text),
        })
    }

    fn on_presence(&mut self, moment: Moment, time_ms: u64, joined: &[String], left: &[String]) {
        let changes = left.iter().map(|name| (false, name));
        let changes = changes.chain(joined.iter().map(|name| (true, name)));
        for (came, name) in changes {
            let known = Known {
                own_name: &self.name,
                files: self.files.names(),
            };
            if *name != self.name {
                self.timelines
                    .presence(came, name, time_ms, moment.utc_offset_s, known);
            }
            if came {
                self.people.join(name, &self.name);
            } else {
                self.people.leave(name);
            }
        }
    }

    fn on_files(&mut self, moment: Moment, files: Vec<crate::engine::message::FileInfo>) {
        let listed = self.asked_files.take();
        if let Some(prefix) = &listed {
            self.tell_files(moment, prefix, &files);
        }
        // A list for a prefix is not the whole list.
        if listed.is_none_or(|prefix| prefix.is_empty()) {
            self.files.set(files);
            let known = Known {
                own_name: &self.name,
                files: self.files.names(),
            };
            self.timelines.cut_anew(known);
        }
    }

    fn on_refused(&mut self, moment: Moment, code: ControlError, text: &str) {
        // A busy server is asked again by hand; the line for it must not come with the next list.
        self.asked_files = None;
        self.tell(moment, EntryKind::Error(Some(code)), text);
    }

    fn on_lost(&mut self, moment: Moment, reason: String) -> Option<Notice> {
        let was_online = self.connection.is_online();
        self.people.clear_presence();
        let since = match self.connection.state {
            State::Reconnecting { since, .. } => since,
            State::Offline(_) | State::Connecting { .. } | State::Online { .. } => moment.now,
        };
        self.connection.state = State::Reconnecting {
            reason: reason.clone(),
            since,
            retry: None,
        };
        if !was_online {
            return None;
        }
        let text = format!("The connection was lost: {}.", reason.trim_end_matches('.'));
        self.push(
            moment,
            &Conversation::Everybody,
            EntryKind::Error(None),
            &text,
        );
        Some(Notice::ConnectionLost { reason })
    }

    fn on_next_attempt(&mut self, next: Retry) {
        match &mut self.connection.state {
            State::Connecting { retry, .. } | State::Reconnecting { retry, .. } => {
                *retry = Some(next);
            }
            State::Offline(_) | State::Online { .. } => {}
        }
    }

    fn on_get(&mut self, moment: Moment, request: u32, event: GetEvent) -> Option<Notice> {
        match self.transfers.on_event(moment.now, request, event)? {
            Ending::Done(title) => Some(Notice::Downloaded { title }),
            Ending::Failed(title, reason) => Some(Notice::DownloadFailed { title, reason }),
        }
    }

    fn on_ended(&mut self, moment: Moment, ended: Result<(), ClientError>) {
        let denied = self.connection.denied.take();
        let trouble = ended.err().map(|error| Trouble::of(&error, denied));
        let reason = trouble.as_ref().map_or("disconnected", Trouble::text);
        let text = format!("You are offline: {}.", reason.trim_end_matches('.'));
        self.transfers.on_engine_ended(moment.now, reason);
        self.people.clear_presence();
        if self.connection.is_active() && !self.timelines.everybody().is_empty() {
            self.push(moment, &Conversation::Everybody, EntryKind::Info, &text);
        }
        self.connection.udp_blocked = false;
        self.connection.state = State::Offline(trouble);
    }
}

fn one_line(text: &str) -> String {
    let line = printable(text);
    let mut short: String = line.chars().take(NOTICE_CHARS).collect();
    if short.len() < line.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
#[path = "model_tests.rs"]
mod tests;
