//! What stands in a timeline, and which timelines there are.

use columba_core::control::ControlError;

use super::calendar::LocalTime;
use super::text::Piece;

/// What the window shows in its middle.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Conversation {
    /// The chat.
    #[default]
    Everybody,
    /// Whispers with one person.
    Person(String),
}

/// Number of an entry: counted up over all timelines, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId(pub u64);

/// One entry of a timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number.
    pub id: EntryId,
    /// When it was said, milliseconds since the Unix epoch.
    pub unix_ms: u64,
    /// The same where we are.
    pub time: LocalTime,
    /// What it is.
    pub kind: EntryKind,
    /// Its text in pieces; put together they are the text.
    pub pieces: Vec<Piece>,
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// Somebody said it: to everybody, or in a whisper.
    Said {
        /// Who.
        from: String,
        /// Whether it was us.
        own: bool,
        /// Whether it names us.
        mention: bool,
        /// Whether only two read it.
        whisper: bool,
    },
    /// These came; the text names them.
    Joined(Vec<String>),
    /// These went; the text names them.
    Left(Vec<String>),
    /// The program tells something that was asked for, or that happened.
    Info,
    /// Something went wrong.
    Error(Option<ControlError>),
    /// So many messages were sent while we were away that the server did not keep.
    Missed(u64),
    /// We said it, and it may not have arrived; the text is what we said.
    Undelivered,
}

impl Entry {
    /// The text, as for the clipboard.
    #[must_use]
    pub fn text(&self) -> String {
        self.pieces.iter().map(Piece::shown).collect()
    }

    /// Whether somebody said it.
    #[must_use]
    pub const fn is_said(&self) -> bool {
        matches!(self.kind, EntryKind::Said { .. })
    }

    /// Whether what is looked for is in it; the query is in lower case.
    pub(super) fn is_hit(&self, lower_query: &str) -> bool {
        let from = match &self.kind {
            EntryKind::Said { from, .. } => from.as_str(),
            EntryKind::Joined(_)
            | EntryKind::Left(_)
            | EntryKind::Info
            | EntryKind::Error(_)
            | EntryKind::Missed(_)
            | EntryKind::Undelivered => "",
        };
        self.text().to_lowercase().contains(lower_query)
            || from.to_lowercase().contains(lower_query)
    }
}
