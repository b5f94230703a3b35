//! The chat's rules, without sockets.

use std::time::Duration;

use columba_core::control::{FrameDecoder, Side};

use super::*;
use crate::limits::PRESENCE_INTERVAL;
use crate::slots::Slots;

const ALICE: KeyFingerprint = [1; 32];
const BOB: KeyFingerprint = [2; 32];

#[derive(Default)]
struct Boxes(Vec<(SlotId, Bytes)>);

impl Post for Boxes {
    fn deliver(&mut self, to: SlotId, frame: &Bytes) {
        self.0.push((to, frame.clone()));
    }
}

impl Boxes {
    /// What `id` received since the last look, one line a frame.
    fn read(&mut self, id: SlotId) -> Vec<String> {
        let (mine, others) = std::mem::take(&mut self.0)
            .into_iter()
            .partition(|(to, _)| *to == id);
        self.0 = others;
        let mut decoder = FrameDecoder::new(Framing::Tls, Side::Server);
        let mut lines = Vec::new();
        for (_, frame) in mine {
            decoder.push(&frame);
            while let Some(frame) = decoder.next_frame().expect("frames of our own") {
                lines.push(line(&frame));
            }
        }
        lines
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the lobby sends these only")]
fn line(frame: &Frame<'_>) -> String {
    match frame {
        Frame::Message(m) => format!("{} {}: {}", m.sequence, m.from, m.text),
        Frame::Whispered(w) => format!("{} > {}: {}", w.from, w.to, w.text),
        Frame::Presence { joined, left, .. } => format!("+{joined:?} -{left:?}"),
        Frame::UserList { last, names } => format!("{names:?} {last}"),
        other => panic!("{other:?}"),
    }
}

struct Room {
    lobby: Lobby,
    names: NameRegistry,
    ids: Slots<()>,
    boxes: Boxes,
    moment: Moment,
}

impl Room {
    fn new() -> Self {
        Self {
            lobby: Lobby::new(Framing::Tls, 7),
            names: NameRegistry::in_memory(),
            ids: Slots::default(),
            boxes: Boxes::default(),
            moment: Moment {
                now: Timestamp::from_nanos(1),
                unix_ms: 7,
            },
        }
    }

    fn id(&mut self) -> SlotId {
        self.ids.insert_with(|_| ())
    }

    fn join(&mut self, name: &str, owner: Option<KeyFingerprint>) -> Result<SlotId, Refusal> {
        let id = self.id();
        self.lobby
            .join(id, name, owner, &mut self.names, self.moment)
            .map(|_| id)
    }

    fn announce(&mut self) {
        self.lobby.announce_due(self.moment, &mut self.boxes);
    }

    fn wait(&mut self, span: Duration) {
        self.moment.now += span;
        self.announce();
    }
}

#[test]
fn a_message_reaches_everybody_once_and_is_encoded_once() {
    let mut room = Room::new();
    let a = room.join("alice", Some(ALICE)).expect("free");
    let b = room.join("bob", Some(BOB)).expect("free");
    room.announce();
    room.boxes.0.clear();
    room.lobby
        .say(a, "hi", room.moment, &mut room.boxes)
        .expect("in the chat");
    let copies: Vec<_> = room
        .boxes
        .0
        .iter()
        .map(|(_, frame)| frame.as_ptr())
        .collect();
    assert_eq!(copies.len(), 2);
    assert_eq!(copies[0], copies[1], "shared, not copied");
    assert_eq!(room.boxes.read(a), ["1 alice: hi"]);
    room.lobby
        .say(b, "there", room.moment, &mut room.boxes)
        .expect("in the chat");
    assert_eq!(room.boxes.read(b), ["1 alice: hi", "2 bob: there"]);
}

#[test]
fn names_are_taken_owned_or_free() {
    let mut room = Room::new();
    let a = room.join("alice", Some(ALICE)).expect("free");
    assert_eq!(
        room.join("alice", Some(BOB)).expect_err("taken").code,
        ControlError::NameTaken
    );
    let mistaken = room.join("Alice", Some(BOB)).expect_err("taken");
    assert!(
        mistaken.text.contains("mistaken for alice"),
        "{}",
        mistaken.text
    );
    room.lobby.leave(a);
    assert_eq!(
        room.join("alice", Some(BOB)).expect_err("owned").code,
        ControlError::NameOwned
    );
    assert_eq!(
        room.join("two words", Some(BOB)).expect_err("rule").code,
        ControlError::NameInvalid
    );
    room.join("alice", Some(ALICE)).expect("her own");
    assert_eq!(room.lobby.counts().refusals, 4);
}

#[test]
fn without_keys_a_name_is_bound_to_nothing() {
    let mut room = Room::new();
    let a = room.join("alice", None).expect("free");
    assert_eq!(
        room.join("alice", None).expect_err("taken").code,
        ControlError::NameTaken
    );
    room.lobby.leave(a);
    room.join("alice", None).expect("free again");
}

#[test]
fn the_same_user_again_replaces_the_old_session_silently() {
    let mut room = Room::new();
    let old = room.join("alice", Some(ALICE)).expect("free");
    let b = room.join("bob", Some(BOB)).expect("free");
    room.announce();
    room.boxes.0.clear();
    let new = room.id();
    let replaced = room
        .lobby
        .join(new, "alice", Some(ALICE), &mut room.names, room.moment);
    assert_eq!(replaced, Ok(Some(old)));
    room.wait(PRESENCE_INTERVAL);
    assert_eq!(room.boxes.read(b), [""; 0], "nobody came or went");
    assert_eq!(room.lobby.len(), 2);
    let refused = room
        .lobby
        .say(old, "x", room.moment, &mut room.boxes)
        .expect_err("out of the chat");
    assert_eq!(refused.code, ControlError::NotJoined);
    room.lobby.leave(old);
    assert_eq!(
        room.lobby.name_of(new),
        Some("alice"),
        "the old session's end changes nothing"
    );
}

#[test]
fn whispers_reach_one_user_and_their_sender() {
    let mut room = Room::new();
    let a = room.join("alice", Some(ALICE)).expect("free");
    let b = room.join("bob", Some(BOB)).expect("free");
    let c = room.join("carol", Some([3; 32])).expect("free");
    room.lobby
        .whisper(a, "Bob", "psst", room.moment, &mut room.boxes)
        .expect("bob is here");
    assert_eq!(room.boxes.read(a), ["alice > bob: psst"]);
    assert_eq!(room.boxes.read(b), ["alice > bob: psst"]);
    assert_eq!(room.boxes.read(c), [""; 0]);
    room.lobby
        .whisper(a, "alice", "note", room.moment, &mut room.boxes)
        .expect("to herself");
    assert_eq!(room.boxes.read(a), ["alice > alice: note"]);
    let refused = room
        .lobby
        .whisper(a, "dave", "x", room.moment, &mut room.boxes)
        .expect_err("not here");
    assert_eq!(refused.code, ControlError::NoSuchUser);
}

#[test]
fn texts_are_judged() {
    let mut room = Room::new();
    let a = room.join("alice", Some(ALICE)).expect("free");
    let say = |room: &mut Room, text: &str| {
        room.lobby
            .say(a, text, room.moment, &mut room.boxes)
            .expect_err("bad")
            .code
    };
    assert_eq!(
        say(&mut room, &"x".repeat(5_000)),
        ControlError::TextTooLong
    );
    assert_eq!(say(&mut room, "\u{1b}[2J"), ControlError::BadFrame);
    assert_eq!(room.lobby.sequence(), 0);
}

#[test]
fn arrivals_are_batched_but_a_lone_one_is_told_at_once() {
    let mut room = Room::new();
    let a = room.join("alice", Some(ALICE)).expect("free");
    room.announce();
    assert_eq!(room.boxes.read(a), ["+[\"alice\"] -[]"]);
    let mut crowd = Vec::new();
    for index in 0..500 {
        crowd.push(room.join(&format!("user{index}"), None).expect("free"));
        room.announce();
    }
    room.wait(PRESENCE_INTERVAL / 2);
    assert_eq!(room.boxes.read(a), [""; 0]);
    room.lobby.leave(crowd[0]);
    room.wait(PRESENCE_INTERVAL / 2);
    let lines = room.boxes.read(a);
    assert_eq!(lines.len(), 1);
    assert!(
        !lines[0].contains("\"user0\""),
        "who came and went meanwhile is not mentioned"
    );
    assert!(lines[0].contains("\"user499\""));
}

#[test]
fn a_newcomer_is_announced_before_speaking() {
    let mut room = Room::new();
    let a = room.join("alice", Some(ALICE)).expect("free");
    room.announce();
    room.boxes.0.clear();
    let b = room.join("bob", Some(BOB)).expect("free");
    room.lobby
        .say(b, "hi", room.moment, &mut room.boxes)
        .expect("in the chat");
    assert_eq!(room.boxes.read(a), ["+[\"bob\"] -[]", "1 bob: hi"]);
}

#[test]
fn the_user_list_is_sorted_paged_and_current() {
    let mut room = Room::new();
    let stranger = room.id();
    room.lobby.list_users(stranger, &mut room.boxes);
    assert_eq!(room.boxes.read(stranger), ["[] true"]);
    for name in ["carol", "Bob", "alice"] {
        room.join(name, None).expect("free");
    }
    room.lobby.list_users(stranger, &mut room.boxes);
    assert_eq!(
        room.boxes.read(stranger),
        ["[\"alice\", \"Bob\", \"carol\"] true"]
    );
    for index in 0..4_000 {
        room.join(&format!("somebody-with-a-long-name-{index}"), None)
            .expect("free");
    }
    room.lobby.list_users(stranger, &mut room.boxes);
    let pages = room.boxes.read(stranger);
    assert!(pages.len() > 1);
    assert!(
        pages
            .iter()
            .rev()
            .skip(1)
            .all(|page| page.ends_with("false"))
    );
}

#[test]
fn who_comes_back_hears_what_was_said_meanwhile() {
    let mut room = Room::new();
    let a = room.join("alice", None).expect("free");
    room.announce();
    for text in ["one", "two", "three"] {
        room.lobby
            .say(a, text, room.moment, &mut room.boxes)
            .expect("in the chat");
    }
    room.boxes.0.clear();
    let b = room.join("bob", None).expect("free");
    let heard = Heard {
        chat: 7,
        sequence: 1,
    };
    assert_eq!(room.lobby.history(Some(heard)), Kept { chat: 7, missed: 0 });
    room.lobby.replay(b, heard, &mut room.boxes);
    assert_eq!(room.boxes.read(b), ["2 alice: two", "3 alice: three"]);
    assert!(room.boxes.read(a).is_empty());
}
