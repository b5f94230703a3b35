//! Who came and went, gathered so that a crowd's arrival is a few frames, not one per pair of users.

use std::collections::BTreeSet;

use columba_core::units::Timestamp;

use crate::limits::PRESENCE_INTERVAL;

/// Changes since the last announcement. Someone who came and went in between is not mentioned.
#[derive(Debug, Default)]
pub(super) struct Presence {
    joined: BTreeSet<String>,
    left: BTreeSet<String>,
    last: Option<Timestamp>,
}

impl Presence {
    pub(super) fn join(&mut self, name: &str) {
        if !self.left.remove(name) {
            self.joined.insert(name.to_owned());
        }
    }

    pub(super) fn leave(&mut self, name: &str) {
        if !self.joined.remove(name) {
            self.left.insert(name.to_owned());
        }
    }

    /// Whether this user's arrival has not been announced yet.
    pub(super) fn is_unannounced(&self, name: &str) -> bool {
        self.joined.contains(name)
    }

    /// When the changes should be announced: at once after a quiet time.
    pub(super) fn due(&self) -> Option<Timestamp> {
        if self.joined.is_empty() && self.left.is_empty() {
            return None;
        }
        Some(
            self.last
                .map_or(Timestamp::ZERO, |last| last + PRESENCE_INTERVAL),
        )
    }

    /// Takes the changes: who joined, who left.
    pub(super) fn take(&mut self, now: Timestamp) -> (BTreeSet<String>, BTreeSet<String>) {
        self.last = Some(now);
        (
            std::mem::take(&mut self.joined),
            std::mem::take(&mut self.left),
        )
    }
}
