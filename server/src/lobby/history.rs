//! The latest messages to everybody, for those who come back after a lost connection.
//!
//! Whoever may join may hear them: they are no secret from anybody who is let in.

use std::collections::VecDeque;

use bytes::Bytes;
use columba_core::control::Heard;

use crate::limits::{MAX_HISTORY_BYTES, MAX_HISTORY_MESSAGES};

/// A ring of messages as they went out, numbered without gaps.
#[derive(Debug)]
pub(super) struct History {
    /// Number of this chat; another one after a restart.
    chat: u64,
    /// Number of the last message.
    sequence: u64,
    frames: VecDeque<Bytes>,
    bytes: usize,
}

impl History {
    pub(super) fn new(chat: u64) -> Self {
        Self {
            chat,
            sequence: 0,
            frames: VecDeque::new(),
            bytes: 0,
        }
    }

    pub(super) fn chat(&self) -> u64 {
        self.chat
    }

    pub(super) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The next message goes out.
    pub(super) fn push(&mut self, frame: Bytes) {
        self.sequence += 1;
        self.bytes += frame.len();
        self.frames.push_back(frame);
        while self.frames.len() > MAX_HISTORY_MESSAGES || self.bytes > MAX_HISTORY_BYTES {
            let gone = self.frames.pop_front();
            self.bytes -= gone.map_or(0, |frame| frame.len());
        }
    }

    /// Messages since then, of which the last ones are kept. All are new to those who heard another chat.
    fn since(&self, heard: Heard) -> u64 {
        let after = if heard.chat == self.chat {
            heard.sequence
        } else {
            0
        };
        self.sequence.saturating_sub(after)
    }

    /// Messages since then that are not kept.
    pub(super) fn missed(&self, heard: Heard) -> u64 {
        self.since(heard).saturating_sub(self.frames.len() as u64)
    }

    /// Messages since then that are kept, oldest first.
    pub(super) fn kept(&self, heard: Heard) -> impl Iterator<Item = &Bytes> {
        let count = usize::try_from(self.since(heard)).unwrap_or(usize::MAX);
        let from = self.frames.len().saturating_sub(count);
        self.frames.range(from..)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(chat: u64, sequence: u64) -> Heard {
        Heard { chat, sequence }
    }

    fn kept(history: &History, heard: Heard) -> Vec<Vec<u8>> {
        history.kept(heard).map(|frame| frame.to_vec()).collect()
    }

    #[test]
    fn what_came_since_is_kept_in_order() {
        let mut history = History::new(7);
        assert_eq!(
            (history.missed(heard(7, 0)), kept(&history, heard(7, 0))),
            (0, vec![])
        );
        for text in ["a", "b", "c"] {
            history.push(Bytes::from_static(text.as_bytes()));
        }
        assert_eq!(kept(&history, heard(7, 1)), [b"b", b"c"]);
        assert_eq!(kept(&history, heard(7, 3)), [b""; 0]);
        assert_eq!(kept(&history, heard(7, 99)), [b""; 0], "a client that lies");
        assert_eq!(
            kept(&history, heard(8, 2)).len(),
            3,
            "after a restart all are new"
        );
    }

    #[test]
    fn what_fell_out_is_counted() {
        let mut history = History::new(7);
        for _ in 0..MAX_HISTORY_MESSAGES + 10 {
            history.push(Bytes::from_static(b"x"));
        }
        assert_eq!(history.missed(heard(7, 3)), 7);
        assert_eq!(kept(&history, heard(7, 3)).len(), MAX_HISTORY_MESSAGES);
        assert_eq!(history.missed(heard(7, 10)), 0);
        let large = Bytes::from(vec![0; MAX_HISTORY_BYTES]);
        history.push(large);
        assert_eq!(kept(&history, heard(7, 0)).len(), 1);
        assert_eq!(history.missed(heard(7, 0)), history.sequence() - 1);
    }
}
