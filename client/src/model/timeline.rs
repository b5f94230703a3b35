//! What was said: one bounded timeline for the chat and one for each whisper partner.
//!
//! A window shows a page of [`PAGE_ENTRIES`] entries ([`Timeline::rows`]): the newest ones, or older
//! ones after [`Timeline::page_older`] or a find.

use std::collections::{BTreeMap, VecDeque};

use super::calendar::{Day, LocalTime};
pub use super::entry::{Conversation, Entry, EntryId, EntryKind};
use super::people::same_person;
use super::text::{Known, Piece, mentions, pieces};

/// Entries that a page shows at most.
pub const PAGE_ENTRIES: usize = 500;
/// Entries that a page moves by.
const PAGE_STEP: usize = 250;
/// Entries of a timeline; the oldest ones go first.
pub const MAX_ENTRIES: usize = 5000;
/// Whisper partners whose timelines are kept.
const MAX_WHISPER_PARTNERS: usize = 200;
/// Joins and leaves that follow each other are one entry of so many names.
const MAX_NAMES_IN_ENTRY: usize = 50;

/// A row of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Row<'a> {
    /// A new day begins.
    Day(Day),
    /// What follows was not read.
    New,
    /// An entry.
    Entry(&'a Entry),
}

/// What is looked for.
#[derive(Clone, Debug, Default)]
struct Find {
    query: String,
    hits: Vec<EntryId>,
    current: Option<EntryId>,
}

/// What was said in one conversation.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    entries: VecDeque<Entry>,
    /// First entry that was not read.
    unread_from: Option<EntryId>,
    unread: u32,
    mentions: u32,
    /// First entry of the page; `None` for the newest page.
    page_from: Option<EntryId>,
    find: Find,
}

impl Timeline {
    /// All entries that are kept, oldest first.
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.entries.iter()
    }

    /// How many entries are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// An entry by its number.
    #[must_use]
    pub fn get(&self, id: EntryId) -> Option<&Entry> {
        self.entries.get(self.position(id)?)
    }

    /// Messages that were not read.
    #[must_use]
    pub const fn unread(&self) -> u32 {
        self.unread
    }

    /// Those of them that name us.
    #[must_use]
    pub const fn unread_mentions(&self) -> u32 {
        self.mentions
    }

    /// The first entry that was not read: where the mark stands.
    #[must_use]
    pub const fn unread_mark(&self) -> Option<EntryId> {
        self.unread_from
    }

    /// The rows of the page: entries, day rules and the unread mark.
    pub fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        let (from, to) = self.page();
        let mut day = None;
        self.entries.range(from..to).flat_map(move |entry| {
            let new_day = day.replace(entry.time.day) != Some(entry.time.day);
            let rule = new_day.then_some(Row::Day(entry.time.day));
            let new = (self.unread_from == Some(entry.id)).then_some(Row::New);
            [rule, new, Some(Row::Entry(entry))].into_iter().flatten()
        })
    }

    fn page(&self) -> (usize, usize) {
        let newest = self.entries.len().saturating_sub(PAGE_ENTRIES);
        let from = self
            .page_from
            .map_or(newest, |id| self.position_from(id).min(newest));
        (from, (from + PAGE_ENTRIES).min(self.entries.len()))
    }

    /// Whether there are entries before the page.
    #[must_use]
    pub fn has_older(&self) -> bool {
        self.page().0 > 0
    }

    /// Whether there are entries behind the page: it does not follow the end.
    #[must_use]
    pub fn has_newer(&self) -> bool {
        self.page().1 < self.entries.len()
    }

    /// Shows older entries; what is shown now stays half on the page.
    pub fn page_older(&mut self) {
        let from = self.page().0.saturating_sub(PAGE_STEP);
        self.page_at(from);
    }

    /// Shows newer entries.
    pub fn page_newer(&mut self) {
        let from = self.page().0 + PAGE_STEP;
        self.page_at(from);
    }

    /// Shows the newest entries and follows the end again.
    pub fn page_newest(&mut self) {
        self.page_from = None;
    }

    /// Keeps the page where it is when more is said; for a reader who has scrolled up.
    pub fn hold_page(&mut self) {
        if self.page_from.is_none() {
            self.page_from = self.entries.get(self.page().0).map(|entry| entry.id);
        }
    }

    /// Shows a page with this entry near its middle.
    pub fn page_to(&mut self, id: EntryId) {
        let from = self.position_from(id).saturating_sub(PAGE_STEP);
        self.page_at(from);
    }

    fn page_at(&mut self, from: usize) {
        let newest = self.entries.len().saturating_sub(PAGE_ENTRIES);
        self.page_from = (from < newest).then(|| self.entries[from].id);
    }

    fn position(&self, id: EntryId) -> Option<usize> {
        let at = self.position_from(id);
        self.entries.get(at).filter(|entry| entry.id == id)?;
        Some(at)
    }

    /// The first entry with this number or a higher one.
    fn position_from(&self, id: EntryId) -> usize {
        self.entries.partition_point(|entry| entry.id < id)
    }

    /// Looks for `query` in what was said, whatever its case; an empty one ends the search. Shows the newest hit.
    pub fn find(&mut self, query: &str) {
        let query = query.to_lowercase();
        if query == self.find.query {
            return;
        }
        let hits: Vec<EntryId> = if query.is_empty() {
            Vec::new()
        } else {
            let hits = self.entries.iter().filter(|entry| entry.is_hit(&query));
            hits.map(|entry| entry.id).collect()
        };
        let current = hits.last().copied();
        self.find = Find {
            query,
            hits,
            current,
        };
        if let Some(id) = current {
            self.page_to(id);
        }
    }

    /// Goes to the next older (or newer) hit, and round at the ends.
    pub fn find_next(&mut self, older: bool) {
        let hits = &self.find.hits;
        let at = self
            .find
            .current
            .and_then(|current| hits.binary_search(&current).ok());
        let next = match at {
            Some(0) if older => hits.last(),
            Some(at) if older => hits.get(at - 1),
            Some(at) => hits.get(at + 1).or_else(|| hits.first()),
            None => hits.last(),
        };
        self.find.current = next.copied();
        if let Some(id) = self.find.current {
            self.page_to(id);
        }
    }

    /// What is looked for, in lower case; empty when nothing is.
    #[must_use]
    pub fn find_query(&self) -> &str {
        &self.find.query
    }

    /// The hit that is shown.
    #[must_use]
    pub const fn find_current(&self) -> Option<EntryId> {
        self.find.current
    }

    /// Which hit is shown, counted from 1 and from the oldest, and how many there are.
    #[must_use]
    pub fn find_count(&self) -> (usize, usize) {
        let hits = &self.find.hits;
        let at = self
            .find
            .current
            .and_then(|current| hits.binary_search(&current).ok());
        (at.map_or(0, |at| at + 1), hits.len())
    }

    /// Everything here was seen: the mark stays until something new comes unseen.
    pub(in crate::model) const fn read(&mut self) {
        self.unread = 0;
        self.mentions = 0;
    }

    /// Takes the unread mark away.
    pub fn clear_mark(&mut self) {
        self.unread_from = None;
        self.read();
    }

    /// Appends an entry; `seen` when somebody looks at it.
    fn push(&mut self, entry: Entry, seen: bool) {
        let counts = match &entry.kind {
            EntryKind::Said { own, mention, .. } => (!own).then_some(*mention),
            EntryKind::Joined(_)
            | EntryKind::Left(_)
            | EntryKind::Info
            | EntryKind::Error(_)
            | EntryKind::Missed(_)
            | EntryKind::Undelivered => None,
        };
        if let Some(mention) = counts.filter(|_| !seen) {
            if self.unread == 0 {
                self.unread_from = Some(entry.id);
            }
            self.unread += 1;
            self.mentions += u32::from(mention);
        }
        if !self.find.query.is_empty() && entry.is_hit(&self.find.query) {
            self.find.hits.push(entry.id);
        }
        self.entries.push_back(entry);
        while self.entries.len() > MAX_ENTRIES {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        let Some(gone) = self.entries.pop_front() else {
            return;
        };
        if self.find.hits.first() == Some(&gone.id) {
            self.find.hits.remove(0);
            if self.find.current == Some(gone.id) {
                self.find.current = None;
            }
        }
    }

    /// Adds a name to the last entry, when that is of the same kind and day, and not full.
    fn extend_names(&mut self, joined: bool, name: &str, time: LocalTime) -> bool {
        let Some(last) = self.entries.back_mut() else {
            return false;
        };
        let names = match &mut last.kind {
            EntryKind::Joined(names) if joined => names,
            EntryKind::Left(names) if !joined => names,
            EntryKind::Joined(_)
            | EntryKind::Left(_)
            | EntryKind::Said { .. }
            | EntryKind::Info
            | EntryKind::Error(_)
            | EntryKind::Missed(_)
            | EntryKind::Undelivered => return false,
        };
        if names.len() >= MAX_NAMES_IN_ENTRY || last.time.day != time.day {
            return false;
        }
        names.push(name.to_owned());
        last.pieces = vec![Piece::Plain(presence_text(joined, names))];
        true
    }

    fn cut_anew(&mut self, known: Known<'_>) {
        for entry in &mut self.entries {
            if entry.is_said() {
                entry.pieces = pieces(&entry.text(), known);
            }
        }
    }
}

fn presence_text(joined: bool, names: &[String]) -> String {
    let what = if joined { "joined" } else { "left" };
    format!("{} {what}", names.join(", "))
}

/// All conversations.
#[derive(Clone, Debug, Default)]
pub struct Timelines {
    everybody: Timeline,
    people: BTreeMap<String, Timeline>,
    current: Conversation,
    last_id: u64,
    /// Whether somebody looks at the end of the current conversation.
    watched: bool,
}

/// An entry before it has its number.
#[derive(Clone, Debug)]
pub(in crate::model) struct Draft<'a> {
    pub(in crate::model) unix_ms: u64,
    pub(in crate::model) utc_offset_s: i32,
    pub(in crate::model) kind: EntryKind,
    pub(in crate::model) text: &'a str,
}

impl Timelines {
    /// The conversation that is shown.
    #[must_use]
    pub const fn current(&self) -> &Conversation {
        &self.current
    }

    /// Its timeline.
    #[must_use]
    pub fn shown(&self) -> &Timeline {
        match &self.current {
            Conversation::Everybody => &self.everybody,
            Conversation::Person(name) => self.people.get(name).unwrap_or(&self.everybody),
        }
    }

    /// Its timeline, to page and search in it.
    pub fn shown_mut(&mut self) -> &mut Timeline {
        match &self.current {
            Conversation::Everybody => &mut self.everybody,
            Conversation::Person(name) => self.people.get_mut(name).unwrap_or(&mut self.everybody),
        }
    }

    /// The timeline of the chat.
    #[must_use]
    pub const fn everybody(&self) -> &Timeline {
        &self.everybody
    }

    /// The timeline with one person, if there were whispers.
    #[must_use]
    pub fn person(&self, name: &str) -> Option<&Timeline> {
        self.people.get(self.partner(name)?)
    }

    /// Whisper partners, sorted by name.
    pub fn partners(&self) -> impl Iterator<Item = &str> {
        self.people.keys().map(String::as_str)
    }

    /// The key under which whispers with somebody are kept.
    fn partner(&self, name: &str) -> Option<&str> {
        let mut keys = self.people.keys().map(String::as_str);
        keys.find(|key| same_person(key, name))
    }

    pub(in crate::model) fn open(&mut self, conversation: Conversation) {
        self.current = match conversation {
            Conversation::Everybody => Conversation::Everybody,
            Conversation::Person(name) => {
                let key = self.partner(&name).map_or(name, str::to_owned);
                self.people.entry(key.clone()).or_default();
                Conversation::Person(key)
            }
        };
        self.shown_mut().read();
    }

    /// Somebody looks at the end of the shown conversation, or does not.
    pub(in crate::model) fn set_watched(&mut self, watched: bool) {
        self.watched = watched;
        if watched {
            self.shown_mut().read();
        }
    }

    /// Whether what comes to `conversation` is seen at once.
    pub(in crate::model) fn is_seen(&self, conversation: &Conversation) -> bool {
        self.watched && self.is_current(conversation) && !self.shown().has_newer()
    }

    fn is_current(&self, conversation: &Conversation) -> bool {
        match (&self.current, conversation) {
            (Conversation::Everybody, Conversation::Everybody) => true,
            (Conversation::Person(one), Conversation::Person(other)) => same_person(one, other),
            (Conversation::Everybody, Conversation::Person(_))
            | (Conversation::Person(_), Conversation::Everybody) => false,
        }
    }

    /// Appends an entry; tells whether it names us.
    pub(in crate::model) fn push(
        &mut self,
        to: &Conversation,
        draft: Draft<'_>,
        known: Known<'_>,
    ) -> bool {
        let seen = self.is_seen(to);
        self.last_id += 1;
        let mut kind = draft.kind;
        let mut named = false;
        let pieces = if let EntryKind::Said { own, mention, .. } = &mut kind {
            let pieces = pieces(draft.text, known);
            *mention = !*own && mentions(&pieces);
            named = *mention;
            pieces
        } else {
            vec![Piece::Plain(draft.text.to_owned())]
        };
        let entry = Entry {
            id: EntryId(self.last_id),
            unix_ms: draft.unix_ms,
            time: LocalTime::at(draft.unix_ms, draft.utc_offset_s),
            kind,
            pieces,
        };
        self.of(to).push(entry, seen);
        named
    }

    /// Somebody came or went.
    pub(in crate::model) fn presence(
        &mut self,
        joined: bool,
        name: &str,
        unix_ms: u64,
        utc_offset_s: i32,
        known: Known<'_>,
    ) {
        let time = LocalTime::at(unix_ms, utc_offset_s);
        if self.everybody.extend_names(joined, name, time) {
            return;
        }
        let names = vec![name.to_owned()];
        let text = presence_text(joined, &names);
        let kind = if joined {
            EntryKind::Joined(names)
        } else {
            EntryKind::Left(names)
        };
        let draft = Draft {
            unix_ms,
            utc_offset_s,
            kind,
            text: &text,
        };
        self.push(&Conversation::Everybody, draft, known);
    }

    fn of(&mut self, conversation: &Conversation) -> &mut Timeline {
        let Conversation::Person(name) = conversation else {
            return &mut self.everybody;
        };
        let key = self
            .partner(name)
            .map_or_else(|| name.clone(), str::to_owned);
        if !self.people.contains_key(&key) && self.people.len() >= MAX_WHISPER_PARTNERS {
            self.forget_one_partner();
        }
        self.people.entry(key).or_default()
    }

    /// The partner who was silent for longest and is not shown.
    fn forget_one_partner(&mut self) {
        let current = self.current.clone();
        let oldest = self
            .people
            .iter()
            .filter(|(name, _)| current != Conversation::Person((*name).clone()))
            .min_by_key(|(_, timeline)| timeline.entries.back().map(|entry| entry.id))
            .map(|(name, _)| name.clone());
        if let Some(name) = oldest {
            self.people.remove(&name);
        }
    }

    /// The shared files are others: messages are searched for their names again.
    pub(in crate::model) fn cut_anew(&mut self, known: Known<'_>) {
        self.everybody.cut_anew(known);
        for timeline in self.people.values_mut() {
            timeline.cut_anew(known);
        }
    }
}

#[cfg(test)]
#[path = "timeline_tests.rs"]
mod tests;
