//! What we said and have not heard back, so that a lost connection loses no words silently; and how
//! far we have heard the chat, so that a new one begins where the old one ended.

use std::collections::VecDeque;

use columba_core::chat::check_text;
use columba_core::control::{ControlError, Heard, History};

use super::message::Event;

/// Words that are remembered; older ones were confirmed or refused long since.
const MAX_UNCONFIRMED: usize = 256;

#[derive(Debug, PartialEq, Eq)]
struct Words {
    to: Option<String>,
    text: String,
}

/// What we said and heard in the chat.
#[derive(Debug, Default)]
pub(super) struct Said {
    unconfirmed: VecDeque<Words>,
    /// How many of them were said on an earlier connection.
    doubtful: usize,
    /// They are told once this message was heard, or could have been.
    doubt_until: Option<u64>,
    heard: Option<Heard>,
}

impl Said {
    /// Words went out; `to` somebody, or everybody.
    pub(super) fn on_sent(&mut self, to: Option<&str>, text: &str) {
        // What breaks a rule is refused by the server, who says so.
        let Ok(text) = check_text(text) else { return };
        if self.unconfirmed.len() >= MAX_UNCONFIRMED {
            self.confirm(0);
        }
        self.unconfirmed.push_back(Words {
            to: to.map(str::to_owned),
            text: text.into_owned(),
        });
    }

    /// Our words came back: those before them were refused, for the server takes them in order.
    pub(super) fn on_echo(&mut self, to: Option<&str>, text: &str) {
        let is_it = |words: &Words| words.text == text && words.to.is_some() == to.is_some();
        if let Some(at) = self.unconfirmed.iter().position(is_it) {
            for _ in 0..=at {
                self.confirm(0);
            }
        }
    }

    fn confirm(&mut self, at: usize) {
        if self.unconfirmed.remove(at).is_some() && at < self.doubtful {
            self.doubtful -= 1;
        }
    }

    /// The server refused something that is no request.
    pub(super) fn on_refused(&mut self, code: ControlError) {
        let whisper = |words: &Words| words.to.is_some();
        let of_any = [
            ControlError::TooFast,
            ControlError::TextTooLong,
            ControlError::BadFrame,
        ];
        let at = if code == ControlError::NoSuchUser {
            self.unconfirmed.iter().position(whisper)
        } else {
            of_any.contains(&code).then_some(0)
        };
        if let Some(at) = at {
            self.confirm(at);
        }
    }

    /// What to say in the next Hello, if the server keeps a history.
    pub(super) const fn returns(&self) -> Option<Heard> {
        self.heard
    }

    /// The connection is lost: what is unconfirmed is doubtful.
    pub(super) fn on_lost(&mut self) {
        self.doubtful = self.unconfirmed.len();
    }

    /// A message; `false` when it was heard before.
    pub(super) fn on_message(&mut self, sequence: u64) -> bool {
        let Some(heard) = &mut self.heard else {
            return true;
        };
        let fresh = sequence > heard.sequence;
        heard.sequence = heard.sequence.max(sequence);
        fresh
    }

    /// The server has let us in; `sequence` is its last message. Returns what to tell.
    pub(super) fn on_welcome(
        &mut self,
        sequence: u64,
        history: Option<History>,
        again: bool,
    ) -> Option<Event> {
        let Some(history) = history else {
            self.heard = None;
            self.doubt_until = Some(0);
            return None;
        };
        let same = self.heard.filter(|heard| heard.chat == history.chat);
        // Who comes for the first time has heard all that was before; who comes back to another chat, nothing.
        let from = match (again, same) {
            (_, Some(heard)) => heard.sequence,
            (true, None) if self.heard.is_some() => history.missed,
            (_, None) => sequence,
        };
        self.heard = Some(Heard {
            chat: history.chat,
            sequence: from,
        });
        self.doubt_until = Some(sequence);
        let count = history.missed;
        (again && count > 0).then_some(Event::Missed { count })
    }

    /// Words of the earlier connection that were not heard back, once that is certain.
    pub(super) fn lost_words(&mut self) -> Vec<Event> {
        let heard = self.heard.map_or(0, |heard| heard.sequence);
        if self.doubt_until.is_none_or(|until| heard < until) {
            return Vec::new();
        }
        self.doubt_until = None;
        let count = std::mem::take(&mut self.doubtful).min(self.unconfirmed.len());
        let lost = self.unconfirmed.drain(..count);
        lost.map(|words| Event::Undelivered {
            to: words.to,
            text: words.text,
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(chat: u64, missed: u64) -> Option<History> {
        Some(History { chat, missed })
    }

    fn lost(said: &mut Said) -> Vec<String> {
        let text = |event| match event {
            Event::Undelivered { text, .. } => text,
            other => panic!("{other:?}"),
        };
        said.lost_words().into_iter().map(text).collect()
    }

    #[test]
    fn words_without_an_echo_are_told_after_the_replay() {
        let mut said = Said::default();
        assert!(said.on_welcome(10, kept(7, 0), false).is_none());
        assert_eq!(lost(&mut said), [""; 0]);
        said.on_sent(None, "one ");
        said.on_sent(None, "two");
        said.on_sent(Some("bob"), "three");
        assert!(said.on_message(11));
        said.on_echo(None, "one");
        said.on_lost();
        assert_eq!(
            said.returns(),
            Some(Heard {
                chat: 7,
                sequence: 11
            })
        );
        assert!(said.on_welcome(12, kept(7, 0), true).is_none());
        assert_eq!(lost(&mut said), [""; 0], "the replay may still bring it");
        assert!(said.on_message(12));
        said.on_echo(None, "two");
        said.on_sent(None, "fresh");
        assert_eq!(lost(&mut said), ["three"]);
        said.on_lost();
        said.on_welcome(12, kept(7, 0), true);
        assert_eq!(lost(&mut said), ["fresh"]);
    }

    #[test]
    fn messages_count_once_and_a_restarted_server_counts_anew() {
        let mut said = Said::default();
        said.on_welcome(10, kept(7, 0), false);
        assert!(!said.on_message(10));
        assert!(said.on_message(12));
        said.on_lost();
        let event = said.on_welcome(40, kept(7, 5), true);
        assert!(matches!(event, Some(Event::Missed { count: 5 })));
        assert!(!said.on_message(12));
        assert!(said.on_message(18));
        said.on_lost();
        let event = said.on_welcome(3, kept(8, 1), true);
        assert!(matches!(event, Some(Event::Missed { count: 1 })));
        assert!(said.on_message(2));
        assert!(said.on_message(3));
        assert!(!said.on_message(3));
    }

    #[test]
    fn without_a_history_nothing_is_certain() {
        let mut said = Said::default();
        said.on_welcome(10, None, false);
        said.on_sent(None, "x");
        said.on_lost();
        assert!(said.on_message(3) && said.on_message(3));
        assert_eq!(said.returns(), None);
        said.on_welcome(20, None, true);
        assert_eq!(lost(&mut said), ["x"]);
    }

    #[test]
    fn refused_words_are_not_told_twice() {
        let mut said = Said::default();
        said.on_sent(None, "a");
        said.on_sent(Some("eve"), "b");
        said.on_refused(ControlError::NoSuchUser);
        said.on_sent(None, "c");
        said.on_echo(None, "c");
        said.on_lost();
        said.on_welcome(0, None, true);
        assert_eq!(lost(&mut said), [""; 0]);
        for _ in 0..1000 {
            said.on_sent(None, "x");
        }
        assert!(said.unconfirmed.len() <= MAX_UNCONFIRMED);
    }
}
