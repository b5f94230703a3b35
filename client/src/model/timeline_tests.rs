//! Tests of the timelines.

use super::*;
use std::collections::HashSet;

fn said(from: &str, own: bool) -> EntryKind {
    EntryKind::Said {
        from: from.to_owned(),
        own,
        mention: false,
        whisper: false,
    }
}

struct Talk {
    lines: Timelines,
    files: HashSet<String>,
    unix_ms: u64,
}

impl Talk {
    fn new() -> Self {
        Self {
            lines: Timelines::default(),
            files: HashSet::new(),
            unix_ms: 0,
        }
    }

    fn push(&mut self, to: &Conversation, kind: EntryKind, text: &str) -> bool {
        let known = Known {
            own_name: "me",
            files: &self.files,
        };
        let draft = Draft {
            unix_ms: self.unix_ms,
            utc_offset_s: 0,
            kind,
            text,
        };
        self.lines.push(to, draft, known)
    }

    fn say(&mut self, text: &str) -> bool {
        self.push(&Conversation::Everybody, said("bob", false), text)
    }

    fn rows(&self) -> Vec<String> {
        let row = |row: Row<'_>| match row {
            Row::Day(day) => format!("-- {}", day.day),
            Row::New => "-- new".to_owned(),
            Row::Entry(entry) => entry.text(),
        };
        self.lines.shown().rows().map(row).collect()
    }
}

#[test]
fn days_and_unread_are_ruled_off() {
    let mut talk = Talk::new();
    talk.lines.set_watched(true);
    talk.say("one");
    talk.lines.set_watched(false);
    talk.say("two");
    talk.unix_ms = 86_400_000;
    assert!(talk.say("three, Me"));
    assert_eq!(
        talk.rows(),
        ["-- 1", "one", "-- new", "two", "-- 2", "three, Me"]
    );
    let shown = talk.lines.shown();
    assert_eq!((shown.unread(), shown.unread_mentions()), (2, 1));
    talk.lines.set_watched(true);
    assert_eq!(talk.lines.shown().unread(), 0);
    talk.say("four");
    assert!(talk.rows().contains(&"-- new".to_owned()), "the mark stays");
    talk.lines.shown_mut().clear_mark();
    assert!(!talk.rows().contains(&"-- new".to_owned()));
}

#[test]
fn own_words_are_never_unread() {
    let mut talk = Talk::new();
    talk.push(&Conversation::Everybody, said("me", true), "me me");
    talk.push(&Conversation::Everybody, EntryKind::Error(None), "no");
    let shown = talk.lines.shown();
    assert_eq!((shown.unread(), shown.unread_mentions()), (0, 0));
}

#[test]
fn pages_move_and_the_oldest_go() {
    let mut talk = Talk::new();
    for number in 0..MAX_ENTRIES + 10 {
        talk.say(&number.to_string());
    }
    let line = |talk: &Talk, at: usize| talk.rows()[at].clone();
    assert_eq!(talk.lines.shown().len(), MAX_ENTRIES);
    assert_eq!(talk.rows().len(), PAGE_ENTRIES + 1);
    assert_eq!(
        line(&talk, 1),
        (MAX_ENTRIES + 10 - PAGE_ENTRIES).to_string()
    );
    talk.lines.shown_mut().page_older();
    assert!(talk.lines.shown().has_newer());
    let first = line(&talk, 1);
    talk.say("new");
    assert_eq!(line(&talk, 1), first, "a reader is not moved");
    for _ in 0..100 {
        talk.lines.shown_mut().page_older();
    }
    assert!(!talk.lines.shown().has_older());
    assert_eq!(line(&talk, 1), "11");
    for _ in 0..100 {
        talk.lines.shown_mut().page_newer();
    }
    assert!(!talk.lines.shown().has_newer());
    talk.lines.shown_mut().hold_page();
    talk.say("newer");
    assert!(talk.lines.shown().has_newer());
    talk.lines.shown_mut().page_newest();
    assert_eq!(talk.rows().last().unwrap(), "newer");
}

#[test]
fn finds_go_round_and_take_in_what_comes() {
    let mut talk = Talk::new();
    for number in 0..2000 {
        talk.say(&format!("line {number}"));
    }
    let lines = |talk: &Talk| talk.lines.shown().find_count();
    talk.lines.shown_mut().find("LINE 19");
    assert_eq!(lines(&talk), (111, 111));
    talk.lines.shown_mut().find("line 1234");
    assert_eq!(lines(&talk), (1, 1));
    assert!(talk.rows().contains(&"line 1234".to_owned()));
    talk.say("see line 1234");
    assert_eq!(lines(&talk), (1, 2));
    talk.lines.shown_mut().find_next(true);
    assert_eq!(lines(&talk), (2, 2));
    assert!(talk.rows().contains(&"see line 1234".to_owned()));
    talk.lines.shown_mut().find_next(false);
    assert_eq!(lines(&talk), (1, 2));
    talk.lines.shown_mut().find("no such");
    talk.lines.shown_mut().find_next(true);
    assert_eq!(lines(&talk), (0, 0));
    talk.lines.shown_mut().find("");
    assert_eq!(talk.lines.shown().find_query(), "");
}

#[test]
fn whispers_have_their_own_lines_and_are_bounded() {
    let mut talk = Talk::new();
    let with = |name: &str| Conversation::Person(name.to_owned());
    talk.push(&with("Bob"), said("Bob", false), "psst");
    talk.push(&with("bob"), said("bob", false), "psst again");
    assert_eq!(talk.lines.partners().collect::<Vec<_>>(), ["Bob"]);
    assert_eq!(talk.lines.person("BOB").unwrap().unread(), 2);
    talk.lines.open(with("bob"));
    assert_eq!(talk.lines.shown().unread(), 0);
    assert_eq!(talk.rows(), ["-- 1", "-- new", "psst", "psst again"]);
    for number in 0..MAX_WHISPER_PARTNERS + 20 {
        let name = format!("u{number}");
        talk.push(&with(&name), said(&name, false), "x");
    }
    assert_eq!(talk.lines.partners().count(), MAX_WHISPER_PARTNERS);
    assert!(talk.lines.person("bob").is_some(), "the shown one stays");
}

#[test]
fn a_crowd_that_comes_is_one_line() {
    let mut talk = Talk::new();
    let files = HashSet::new();
    let known = Known {
        own_name: "",
        files: &files,
    };
    for name in ["a", "b"] {
        talk.lines.presence(true, name, 0, 0, known);
    }
    talk.lines.presence(false, "a", 0, 0, known);
    assert_eq!(talk.rows(), ["-- 1", "a, b joined", "a left"]);
}

#[test]
fn files_that_become_known_are_found_in_old_messages() {
    let mut talk = Talk::new();
    talk.say("get a.iso");
    talk.files.insert("a.iso".to_owned());
    let files = talk.files.clone();
    talk.lines.cut_anew(Known {
        own_name: "me",
        files: &files,
    });
    let entry = talk.lines.shown().entries().next().unwrap();
    assert!(matches!(&entry.pieces[1], Piece::File { name, .. } if name == "a.iso"));
}
