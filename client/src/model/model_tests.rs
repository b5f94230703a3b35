//! Tests of the whole model: events and acts in, state out, on virtual time.

use std::time::Duration;

use columba_core::units::Timestamp;

use super::super::Effect;
use super::super::connection::Field;
use super::super::transfers::TransferState;
use super::*;
use crate::engine::message::{Command, FileInfo, GetPhase, GetProgress, NetworkSample};

fn at(seconds: u64) -> Moment {
    Moment {
        now: Timestamp::ZERO + Duration::from_secs(seconds),
        unix_ms: 1_795_372_999_000 + seconds * 1000,
        utc_offset_s: 3600,
    }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn welcome(again: bool) -> Event {
    Event::Welcome {
        name: "ada".to_owned(),
        software: "columba-server/0".to_owned(),
        sequence: 0,
        again,
    }
}

fn said(from: &str, text: &str) -> Event {
    Event::Message {
        sequence: 1,
        time_ms: at(0).unix_ms,
        from: from.to_owned(),
        text: text.to_owned(),
    }
}

fn whispered(from: &str, to: &str, text: &str) -> Event {
    Event::Whispered {
        time_ms: at(0).unix_ms,
        from: from.to_owned(),
        to: to.to_owned(),
        text: text.to_owned(),
    }
}

fn online() -> Model {
    let mut model = Model::new("/downloads".into());
    model.on_engine_started(at(0), "localhost:11490");
    let people = Event::Users(names(&["ada", "bob"]));
    model.fold(at(0), vec![welcome(false), people]);
    model.set_attention(true, true);
    model
}

fn typed(model: &mut Model, text: &str) -> Vec<Effect> {
    model.edit(text.to_owned());
    model.submit(at(1))
}

fn last_line(model: &Model) -> String {
    let last = model.timelines().shown().entries().next_back();
    last.map(super::super::timeline::Entry::text)
        .unwrap_or_default()
}

#[test]
fn a_session_from_connecting_to_goodbye() {
    let mut model = Model::new("/downloads".into());
    assert!(!model.connection().is_active());
    model.on_engine_started(at(0), "h:1");
    assert!(model.connection().is_active() && !model.connection().is_online());
    let next = Event::NextAttempt {
        attempt: 2,
        delay: Duration::from_secs(4),
        reason: "nothing listens there".to_owned(),
    };
    model.fold(at(0), vec![next]);
    assert!(model.next_tick(at(0).now).is_some());
    model.fold(at(4), vec![welcome(false)]);
    assert!(model.connection().is_online());
    assert_eq!(model.name(), "ada");
    assert_eq!(model.next_tick(at(4).now), None, "nothing ticks");
    let effects = typed(&mut model, "/quit");
    assert!(effects.is_empty());
    assert!(last_line(&model).contains("/disconnect"));
    assert!(matches!(
        typed(&mut model, "/disconnect")[..],
        [Effect::Disconnect]
    ));
    model.fold(at(5), vec![Event::Ended(Ok(()))]);
    assert!(model.connection().trouble().is_none());
    assert_eq!(model.people().present(), 0);
}

#[test]
fn a_loss_counts_down_and_comes_back() {
    let mut model = online();
    let lost = Event::Reconnecting {
        reason: "the server hung up".to_owned(),
    };
    let notices = model.fold(at(1), vec![lost]);
    assert!(matches!(notices[..], [Notice::ConnectionLost { .. }]));
    assert_eq!(model.people().present(), 0);
    let next = Event::NextAttempt {
        attempt: 1,
        delay: Duration::from_secs(2),
        reason: "nothing listens there".to_owned(),
    };
    model.fold(at(1), vec![next]);
    let State::Reconnecting {
        retry: Some(retry), ..
    } = model.connection().state()
    else {
        panic!("reconnecting");
    };
    assert_eq!(retry.seconds_left(at(2).now), 1);
    let missed = Event::Missed { count: 3 };
    model.fold(
        at(3),
        vec![welcome(true), missed, said("bob", "while away")],
    );
    let texts: Vec<String> = model
        .timelines()
        .everybody()
        .entries()
        .map(super::super::timeline::Entry::text)
        .collect();
    let tail = &texts[texts.len() - 3..];
    assert_eq!(tail[0], "You are connected again.");
    assert!(tail[1].starts_with("3 messages"));
    assert_eq!(tail[2], "while away");
}

#[test]
fn refusals_stand_next_to_their_field() {
    let mut model = Model::new("/downloads".into());
    model.on_engine_started(at(0), "h:1");
    let denied = Event::Denied {
        code: ControlError::NameTaken,
        text: "taken".to_owned(),
    };
    let ended = Event::Ended(Err(ClientError::Refused("taken".to_owned())));
    model.fold(at(1), vec![denied, ended]);
    let trouble = model.connection().trouble().unwrap();
    assert_eq!((trouble.field(), trouble.text()), (Field::Name, "taken"));
    model.on_engine_started(at(2), "h:1");
    assert!(model.connection().trouble().is_none(), "a new try");
}

#[test]
fn mentions_and_whispers_are_noticed_when_nobody_looks() {
    let mut model = online();
    assert_eq!(model.fold(at(1), vec![said("bob", "hi ada")]), []);
    model.set_attention(false, true);
    let notices = model.fold(
        at(1),
        vec![said("bob", "ada?"), said("bob", "x"), said("ada", "ada")],
    );
    assert!(matches!(&notices[..], [Notice::Mention { from, .. }] if from == "bob"));
    let events = vec![
        whispered("bob", "ada", "psst"),
        whispered("ada", "bob", "yes"),
    ];
    let notices = model.fold(at(1), events);
    assert!(matches!(&notices[..], [Notice::Whisper { text, .. }] if text == "psst"));
    assert_eq!(model.people().get("bob").unwrap().unread, 1);
    model.open(Conversation::Person("bob".to_owned()));
    assert_eq!(model.people().unread(), 0);
    let effects = typed(&mut model, "back to you");
    assert!(matches!(&effects[..], [Effect::Send(Command::Whisper { to, .. })] if to == "bob"));
    model.open_next(false);
    assert_eq!(*model.timelines().current(), Conversation::Everybody);
    model.open_next(true);
    assert_eq!(
        *model.timelines().current(),
        Conversation::Person("bob".to_owned())
    );
}

#[test]
fn typed_commands_reach_the_engine() {
    let mut model = online();
    assert!(
        matches!(&typed(&mut model, "hello")[..], [Effect::Send(Command::Say(text))] if text == "hello")
    );
    assert!(matches!(
        typed(&mut model, "/help")[..],
        [Effect::ShowCommands]
    ));
    typed(&mut model, "/users");
    assert_eq!(last_line(&model), "2 here: ada, bob");
    assert!(matches!(
        typed(&mut model, "/files dir/")[..],
        [Effect::Send(Command::Files { .. })]
    ));
    let file = FileInfo {
        name: "dir/a".to_owned(),
        size: 1500,
        mtime_s: 0,
    };
    model.fold(at(1), vec![Event::Files(vec![file.clone()])]);
    assert_eq!(last_line(&model), "1 file:\ndir/a  1.5 kB");
    assert!(!model.files().is_loaded(), "a part of the list");
    model.fold(at(1), vec![Event::Files(vec![file])]);
    assert!(model.files().is_loaded());
    let effects = typed(&mut model, "/get dir/a");
    assert!(matches!(&effects[..], [Effect::Send(Command::Get { .. })]));
    assert_eq!(
        model.transfers().of_file("dir/a").unwrap().state(),
        TransferState::Queued
    );
    model.edit("/get di".to_owned());
    model.complete(false);
    assert_eq!(model.input().text(), "/get dir/a");
}

#[test]
fn offline_nothing_is_sent_and_the_line_is_not_lost() {
    let mut model = Model::new("/downloads".into());
    assert!(typed(&mut model, "hello").is_empty());
    assert!(last_line(&model).contains("offline"));
    model.recall(true);
    assert_eq!(model.input().text(), "hello");
}

#[test]
fn a_download_pauses_fails_and_is_retried() {
    let mut model = online();
    let _ = model.get(at(1).now, names(&["f"]), None);
    let request = model.transfers().foremost().unwrap().request();
    let progress = GetProgress {
        phase: GetPhase::Active,
        done_bytes: 5,
        total_bytes: 10,
        ..GetProgress::default()
    };
    let event = GetEvent::Progress(progress);
    model.fold(at(1), vec![Event::Get { request, event }]);
    assert!(matches!(
        model.pause(request)[..],
        [Effect::Send(Command::Pause { .. })]
    ));
    assert!(matches!(
        model.resume(request)[..],
        [Effect::Send(Command::Resume { .. })]
    ));
    let event = GetEvent::Failed {
        file: "f".to_owned(),
        error: ClientError::NoSuchFile("gone".to_owned()),
    };
    let finished = Event::Get {
        request,
        event: GetEvent::Finished,
    };
    let notices = model.fold(at(2), vec![Event::Get { request, event }, finished]);
    assert!(matches!(&notices[..], [Notice::DownloadFailed { .. }]));
    assert_eq!(model.transfers().summary().failed, 1);
    assert_eq!(model.retry_all(at(3).now).len(), 1);
    assert_eq!(model.transfers().summary().failed, 0);
}

#[test]
fn udp_and_the_network_are_shown() {
    let mut model = online();
    model.fold(at(1), vec![Event::Udp { blocked: true }]);
    assert!(model.connection().is_udp_blocked());
    let sample = NetworkSample {
        interval: Duration::from_secs(1),
        packets: 10,
        new_bytes: 1000,
        ..NetworkSample::default()
    };
    let events = vec![Event::Udp { blocked: false }, Event::Network(sample)];
    model.fold(at(2), events);
    assert!(!model.connection().is_udp_blocked());
    assert!(model.network().why(at(2).now).is_some());
    assert!(model.network().why(at(20).now).is_none());
}

#[test]
fn another_server_has_other_files() {
    let mut model = online();
    let file = FileInfo {
        name: "a".to_owned(),
        size: 1,
        mtime_s: 0,
    };
    model.fold(at(1), vec![Event::Files(vec![file])]);
    model.fold(at(1), vec![Event::Ended(Ok(()))]);
    model.on_engine_started(at(2), "localhost:11490");
    assert_eq!(model.files().len(), 1);
    model.on_engine_started(at(2), "other:11490");
    assert!(!model.files().is_loaded());
    assert_eq!(model.people().iter().count(), 0);
}
