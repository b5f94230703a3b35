//! The chat's commands, and trust.

use std::io::Write;
use std::process::Stdio;
use std::sync::Arc;

use columba_client::engine::Engine;
use columba_client::engine::message::{Command, Event, Security, Trust};
use columba_client::storage::memory::MemoryStorage;
use columba_net::identity::Identity;

use super::scripted::Scripted;
use super::support::{Program, config, content, first_use, sharing};

fn lines(bytes: &[u8]) -> Vec<serde_json::Value> {
    std::str::from_utf8(bytes)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn a_chat_session_answers_everything_before_it_ends() {
    let server = Scripted::start(sharing(&[("f", &content(3, 1))]), true);
    let program = Program::new(&server);
    let mut child = program
        .command(&["-n", "bob", "chat", "--json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input
        .write_all(b"hello\n/users\n/files\n/whisper bob psst\n/whisper eve hi\n/nonsense\n/help\n")
        .unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let events = lines(&output.stdout);
    let of = |kind: &str| {
        let found: Vec<_> = events
            .iter()
            .filter(|event| event["event"] == kind)
            .collect();
        assert!(!found.is_empty(), "no {kind} in {events:?}");
        found
    };
    assert_eq!(of("message")[0]["text"], "hello");
    assert_eq!(of("message")[0]["from"], "bob");
    assert_eq!(of("message")[0]["sequence"], 1);
    assert_eq!(of("users")[0]["users"][0], "alice");
    assert_eq!(of("files")[0]["files"][0]["name"], "f");
    assert_eq!(of("whisper")[0]["to"], "bob");
    assert_eq!(of("error").len(), 2);
    of("help");
}

#[test]
fn questions_and_single_messages() {
    let server = Scripted::start(sharing(&[("f", &content(3, 1))]), false);
    let program = Program::new(&server);
    let run = |arguments: &[&str]| {
        let output = program.run(arguments);
        let code = output.status.code().unwrap();
        (code, String::from_utf8(output.stdout).unwrap())
    };
    assert_eq!(run(&["users"]), (0, "alice\n\n".to_owned()));
    let (code, listed) = run(&["ls", "--json"]);
    assert_eq!((code, &lines(listed.as_bytes())[0]["size"]), (0, &3.into()));
    assert_eq!(
        run(&["stats", "--json"]),
        (0, "{\"clients\":1}\n".to_owned())
    );
    assert_eq!(run(&["-n", "bob", "say", "hi", "all"]).0, 0);
    assert_eq!(run(&["-n", "bob", "whisper", "bob", "hi"]).0, 0);
    assert_eq!(run(&["-n", "bob", "whisper", "eve", "hi"]).0, 1);
    assert_eq!(run(&["-n", "b b", "say", "hi"]).0, 4);
}

#[test]
fn a_known_server_with_another_key_is_told_nothing() {
    let state = tempfile::tempdir().unwrap();
    let server = Scripted::start(sharing(&[]), true);
    let mut first = config(&server, Arc::new(MemoryStorage::dropping()));
    first.security = Security::Tls {
        identity: Identity::generate().unwrap(),
        trust: first_use(state.path()),
    };
    let engine = Engine::start(first.clone(), vec![Command::Users, Command::Finish]).unwrap();
    let events: Vec<Event> = engine.events().iter().collect();
    assert!(
        matches!(events.last(), Some(Event::Ended(Ok(())))),
        "{events:?}"
    );
    assert!(
        matches!(events[0], Event::FirstContact { .. }),
        "{events:?}"
    );

    let other = Identity::generate().unwrap().fingerprint();
    let known = state.path().join("known_servers");
    let line = format!("{} {other}\n", first.server);
    std::fs::write(&known, line).unwrap();
    let engine = Engine::start(first.clone(), vec![Command::Users]).unwrap();
    let events: Vec<Event> = engine.events().iter().collect();
    let [Event::Ended(Err(error))] = &events[..] else {
        panic!("{events:?}");
    };
    assert_eq!(error.exit_code() as u8, 4, "{error}");

    first.security = Security::Tls {
        identity: Identity::generate().unwrap(),
        trust: Trust::Pinned(other),
    };
    let engine = Engine::start(first, vec![Command::Users]).unwrap();
    let events: Vec<Event> = engine.events().iter().collect();
    assert!(matches!(&events[..], [Event::Ended(Err(_))]), "{events:?}");
}

#[test]
fn a_wrong_choice_of_tls_is_explained() {
    let server = Scripted::start(sharing(&[]), false);
    let mut wrong = config(&server, Arc::new(MemoryStorage::dropping()));
    wrong.security = Security::Tls {
        identity: Identity::generate().unwrap(),
        trust: Trust::Pinned(Identity::generate().unwrap().fingerprint()),
    };
    wrong.connect_for = std::time::Duration::from_millis(500);
    let engine = Engine::start(wrong, vec![Command::Users]).unwrap();
    let last = engine.events().iter().last();
    assert!(matches!(&last, Some(Event::Ended(Err(_)))), "{last:?}");
}

#[test]
fn nobody_there_is_exit_code_3() {
    let server = Scripted::start(sharing(&[]), true);
    let mut config = config(&server, Arc::new(MemoryStorage::dropping()));
    drop(server);
    config.connect_for = std::time::Duration::from_millis(300);
    let engine = Engine::start(config, vec![Command::Users]).unwrap();
    let last = engine.events().iter().last();
    let Some(Event::Ended(Err(error))) = last else {
        panic!("{last:?}");
    };
    assert_eq!(error.exit_code() as u8, 3, "{error}");
}

#[test]
fn a_swarm_counts_every_delivery() {
    let server = Scripted::start(sharing(&[]), true);
    let program = Program::new(&server);
    let output = program.run(&["swarm", "5", "--rate", "100", "--seconds", "0.3", "--json"]);
    assert_eq!(output.status.code(), Some(0));
    let events = lines(&output.stdout);
    assert_eq!(events[0]["event"], "joined");
    assert_eq!(events[0]["clients"], 5);
    assert_eq!(events[1]["event"], "done");
    assert_eq!(events[1]["sent"], 30);
    assert_eq!(events[1]["delivered"], 150);
    assert_eq!(events[1]["expected"], 150);
    let latency = &events[1]["latency_us"];
    assert!(latency["p50"].as_u64().unwrap() > 0);
    assert!(latency["max"].as_u64() >= latency["p99"].as_u64());
}
