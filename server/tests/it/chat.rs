//! Joining, talking, whispering, listing, leaving.

use columba_core::control::{ControlError, Frame, Purpose, Side};
use columba_net::identity::Identity;

use crate::support::{MODES, Mode, Rig, TestClient};

/// The next announcement that names somebody: who joined, who left.
fn presence(client: &mut TestClient) -> (Vec<String>, Vec<String>) {
    let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    client.expect(|frame| match frame {
        Frame::Presence { joined, left, .. } => Some((owned(joined), owned(left))),
        _ => None,
    })
}

#[test]
fn people_join_talk_and_leave() {
    for mode in MODES {
        let rig = Rig::new(mode);
        let mut alice = rig.join("alice");
        assert_eq!(presence(&mut alice), (vec!["alice".into()], vec![]));
        let mut bob = rig.join("bob");
        assert_eq!(presence(&mut alice), (vec!["bob".into()], vec![]));
        alice.say("hello\tbob");
        assert_eq!(
            bob.expect_message(),
            (1, "alice".into(), "hello\tbob".into())
        );
        assert_eq!(
            alice.expect_message(),
            (1, "alice".into(), "hello\tbob".into()),
            "the sender hears it too"
        );
        bob.say("hi");
        assert_eq!(alice.expect_message(), (2, "bob".into(), "hi".into()));
        assert_eq!(bob.users(), ["alice", "bob"]);
        bob.send(&Frame::Leave);
        assert_eq!(bob.find(|_| None::<()>), None, "the server closes");
        assert_eq!(presence(&mut alice), (vec![], vec!["bob".into()]));
        assert_eq!(alice.users(), ["alice"]);
        rig.server.stop().expect("in good order");
    }
}

#[test]
fn names_are_refused_for_a_reason() {
    for mode in MODES {
        let rig = Rig::new(mode);
        let _alice = rig.join("alice");
        for (name, expected, words) in [
            ("", ControlError::NameInvalid, "empty"),
            ("two words", ControlError::NameInvalid, "one word"),
            ("a\u{1b}b", ControlError::NameInvalid, "control"),
            ("a\u{202e}b", ControlError::NameInvalid, "not allowed"),
            (
                "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
                ControlError::NameInvalid,
                "too long",
            ),
            ("server", ControlError::NameInvalid, "reserved"),
            ("alice", ControlError::NameTaken, "taken"),
            ("ALICE", ControlError::NameTaken, "mistaken"),
        ] {
            let mut client = rig.connect();
            client.hello(Purpose::Chat, name, "");
            let (code, fatal, text) = client.expect_error();
            assert_eq!((code, fatal), (expected, true), "{name:?}");
            assert!(text.contains(words), "{name:?}: {text}");
        }
    }
}

#[test]
fn a_name_belongs_to_the_first_key() {
    let rig = Rig::new(Mode::Tls);
    let key = Identity::generate().expect("randomness");
    let mut first = rig.join_as("alice", &key);
    let mut second = rig.join_as("alice", &key);
    assert_eq!(first.expect_end(), ControlError::Replaced);
    assert_eq!(second.users(), ["alice"]);
    second.send(&Frame::Leave);
    assert_eq!(second.find(|_| None::<()>), None);
    let mut thief = rig.connect();
    thief.hello(Purpose::Chat, "alice", "");
    assert_eq!(thief.expect_end(), ControlError::NameOwned);
    rig.join_as("alice", &key);
}

#[test]
fn names_and_the_servers_key_survive_a_restart() {
    let state = tempfile::tempdir().expect("a temporary folder");
    let key = Identity::generate().expect("randomness");
    let fingerprints: Vec<String> = (0..2)
        .map(|round| {
            let rig = Rig::with(Mode::Tls, |config| {
                config.state_dir = Some(state.path().join("deep/state"));
            });
            if round == 0 {
                rig.join_as("alice", &key);
            } else {
                let mut thief = rig.connect();
                thief.hello(Purpose::Chat, "alice", "");
                assert_eq!(thief.expect_end(), ControlError::NameOwned);
            }
            let fingerprint = rig.server.fingerprint().to_owned();
            rig.server.stop().expect("in good order");
            fingerprint
        })
        .collect();
    assert_eq!(fingerprints[0], fingerprints[1]);
    assert_eq!(fingerprints[0].len(), 64);
}

#[test]
fn whispers_are_heard_by_two() {
    for mode in MODES {
        let rig = Rig::new(mode);
        let (mut alice, mut bob, mut carol) =
            (rig.join("alice"), rig.join("bob"), rig.join("carol"));
        let whispered = |client: &mut TestClient| {
            client.expect(|frame| match frame {
                Frame::Whispered(w) => Some(format!("{}>{}: {}", w.from, w.to, w.text)),
                _ => None,
            })
        };
        alice.send(&Frame::Whisper {
            to: "bob",
            text: "psst",
        });
        assert_eq!(whispered(&mut alice), "alice>bob: psst");
        assert_eq!(whispered(&mut bob), "alice>bob: psst");
        alice.send(&Frame::Whisper {
            to: "dave",
            text: "psst",
        });
        let (code, fatal, text) = alice.expect_error();
        assert_eq!((code, fatal), (ControlError::NoSuchUser, false));
        assert!(text.contains("dave") && text.contains("/users"), "{text}");
        alice.say("aloud");
        let heard = carol.expect(|frame| match frame {
            Frame::Whispered(_) => Some("a whisper".to_owned()),
            Frame::Message(message) => Some(message.text.to_owned()),
            _ => None,
        });
        assert_eq!(heard, "aloud");
    }
}

#[test]
fn headless_clients_see_lists_and_hear_nothing() {
    let rig = Rig::new(Mode::Tls);
    std::fs::create_dir(rig.share().join("sub")).expect("writable");
    for name in ["b.bin", "a.txt", "sub/c", ".hidden", "d.part"] {
        std::fs::write(rig.share().join(name), name).expect("writable");
    }
    let mut alice = rig.join("alice");
    let mut tool = rig.headless();
    assert_eq!(tool.users(), ["alice"], "it took no name");
    let files = |client: &mut TestClient, prefix: &str| {
        client.send(&Frame::Files { request: 9, prefix });
        let mut all = Vec::new();
        client.expect(|frame| match frame {
            Frame::FileList {
                request: 9,
                last,
                entries,
            } => {
                all.extend(
                    entries
                        .iter()
                        .map(|entry| (entry.name.to_owned(), entry.size)),
                );
                last.then_some(())
            }
            _ => None,
        });
        all
    };
    let expected = [
        ("a.txt".to_owned(), 5),
        ("b.bin".to_owned(), 5),
        ("sub/c".to_owned(), 5),
    ];
    assert_eq!(files(&mut tool, ""), expected);
    assert_eq!(files(&mut tool, "sub/"), expected[2..]);
    assert_eq!(files(&mut alice, "nothing"), []);
    tool.say("may I?");
    assert_eq!(tool.expect_error().0, ControlError::NotJoined);
    alice.say("hello");
    alice.expect_message();
    tool.settle();
    assert_eq!(tool.counter(&["messages"]), 1);
    assert_eq!(tool.counter(&["users"]), 1);
}

#[test]
fn files_are_offered_by_name_and_by_folder() {
    let rig = Rig::new(Mode::Tls);
    std::fs::create_dir_all(rig.share().join("docs/deep")).expect("writable");
    for name in ["a.txt", "docs/b", "docs/deep/c"] {
        std::fs::write(rig.share().join(name), name).expect("writable");
    }
    let mut tool = rig.headless();
    tool.send(&Frame::Get {
        request: 5,
        names: vec!["a.txt", "../secret", "docs", "missing"],
    });
    let mut errors = Vec::new();
    let mut offered = Vec::new();
    tool.expect(|frame| match frame {
        Frame::Error(error) => {
            assert_eq!(
                (error.code, error.request, error.fatal),
                (ControlError::NoSuchFile, 5, false)
            );
            errors.push(error.text.to_owned());
            None
        }
        Frame::Offer {
            request: 5,
            last,
            entries,
        } => {
            offered.extend(
                entries
                    .iter()
                    .map(|entry| (entry.file, entry.name.to_owned(), entry.size)),
            );
            last.then_some(())
        }
        _ => None,
    });
    let mut numbers: Vec<u32> = offered.iter().map(|(file, ..)| *file).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2, 3]);
    // A tree's files come while it is scanned, in no order.
    let mut offered: Vec<(String, u64)> = offered
        .into_iter()
        .map(|(_, name, size)| (name, size))
        .collect();
    offered.sort();
    assert_eq!(
        offered,
        [
            ("a.txt".into(), 5),
            ("docs/b".into(), 6),
            ("docs/deep/c".into(), 11)
        ]
    );
    assert_eq!(errors.len(), 2);
    assert!(
        errors[0].contains("../secret") && errors[1].contains("missing"),
        "{errors:?}"
    );
}

#[test]
fn texts_are_judged_and_the_chat_goes_on() {
    let rig = Rig::new(Mode::Plaintext);
    let mut alice = rig.join("alice");
    for (text, expected) in [
        ("x".repeat(4_097), ControlError::TextTooLong),
        ("\u{1b}[2J".to_owned(), ControlError::BadFrame),
        ("   ".to_owned(), ControlError::BadFrame),
    ] {
        alice.say(&text);
        let (code, fatal, _) = alice.expect_error();
        assert_eq!((code, fatal), (expected, false));
    }
    alice.say(&"x".repeat(4_096));
    assert_eq!(alice.expect_message().2.len(), 4_096);
}

#[test]
fn two_hundred_clients_hear_each_message_once_and_in_order() {
    for mode in MODES {
        let rig = Rig::new(mode);
        let mut clients: Vec<TestClient> = (0..200)
            .map(|index| rig.join(&format!("user{index}")))
            .collect();
        for round in 0..5 {
            for sender in 0..20 {
                clients[sender * 10].say(&format!("{round} from {sender}"));
            }
        }
        let mut first: Option<Vec<(u64, String, String)>> = None;
        for client in &mut clients {
            let heard: Vec<_> = (0..100).map(|_| client.expect_message()).collect();
            let numbers: Vec<u64> = heard.iter().map(|(number, ..)| *number).collect();
            assert_eq!(numbers, (1..=100).collect::<Vec<_>>());
            let first = first.get_or_insert_with(|| heard.clone());
            assert_eq!(&heard, first, "everybody hears the same");
        }
        let mut last_of_sender = std::collections::HashMap::new();
        for (_, from, text) in first.expect("they heard something") {
            let round: u32 = text
                .split(' ')
                .next()
                .and_then(|word| word.parse().ok())
                .expect("a round");
            let before = last_of_sender.insert(from, round);
            assert!(
                before.is_none_or(|before| before + 1 == round),
                "a sender's messages stay in order"
            );
        }
        assert_eq!(clients[0].counter(&["deliveries"]) / 200 / 100, 1);
    }
}

#[test]
fn a_ping_is_answered_and_a_late_joiner_learns_the_number() {
    let rig = Rig::new(Mode::Tls);
    let mut alice = rig.join("alice");
    alice.say("one");
    alice.expect_message();
    alice.send(&Frame::Ping {
        from: Side::Client,
        nonce: 5,
    });
    alice.expect(|frame| {
        matches!(
            frame,
            Frame::Pong {
                from: Side::Server,
                nonce: 5
            }
        )
        .then_some(())
    });
    let mut bob = rig.connect();
    bob.hello(Purpose::Chat, "bob", "");
    assert_eq!(bob.expect_welcome(), ("bob".into(), 1));
}

#[test]
fn stopping_says_goodbye() {
    for mode in MODES {
        let rig = Rig::new(mode);
        let mut alice = rig.join("alice");
        let waits = std::thread::spawn(move || alice.expect_end());
        rig.server.stop().expect("in good order");
        assert_eq!(waits.join().expect("no panic"), ControlError::ShuttingDown);
    }
}
