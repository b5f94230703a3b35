//! Every state shows what a person needs to know, and every button does what it says.

use columba_client::engine::message::{Event, GetPhase};
use columba_client::gui::app::Do;
use columba_client::gui::{App, settings};
use columba_client::model::connection::State;
use columba_client::model::timeline::Conversation;
use columba_client::model::transfers::TransferState;
use columba_client::preferences::{Preferences, ThemeChoice};
use iced_test::Simulator;

use super::samples::Sample;
use super::states;

/// Whether these words stand in the window, as a whole text.
fn shows(app: &App, words: &str) -> bool {
    let mut window = Simulator::with_size(settings(), (1180.0, 760.0), app.view());
    window.find(words).is_ok()
}

fn state(name: &str) -> Sample {
    let (_, make) = states::ALL
        .iter()
        .find(|(known, _)| *known == name)
        .unwrap();
    make()
}

#[test]
fn every_state_says_what_it_is() {
    for (name, words) in [
        ("connect-first", "Connect"),
        ("connect-first", "Your name"),
        ("connect-recent", "files.lab.example"),
        (
            "connect-connecting",
            "Connecting to files.lab.example:11490…",
        ),
        (
            "connect-retrying",
            "Connection refused: is the server running? Next try in 3 s.",
        ),
        (
            "connect-name-taken",
            "the name alice is taken now; choose another one",
        ),
        ("connect-password", "Password of the server"),
        (
            "connect-password",
            "this server wants a password; ask its operator for it",
        ),
        (
            "connect-key-refused",
            "The server does not know this computer's key",
        ),
        ("connect-key-changed", "The server's key has changed"),
        (
            "connect-key-changed",
            "Connecting is blocked. Nothing was sent.",
        ),
        ("chat", "Online"),
        ("chat", "On it. Give me ten minutes."),
        ("chat", "Yesterday"),
        ("chat", "Today"),
        ("chat", "Show Commands"),
        ("chat", "Download File"),
        ("chat", "Disconnect"),
        ("chat-empty", "It is quiet here"),
        ("chat-empty", "No files shared"),
        ("chat-empty", "only you are here"),
        (
            "chat-first-contact",
            "First contact: this server's key is trusted from now on",
        ),
        ("chat-whisper", "whispers: only the two of you read this"),
        ("chat-unread", "NEW"),
        ("chat-find", "1 of 1"),
        ("chat-slash", "/whisper <name> <msg>"),
        (
            "chat-error",
            "nobody here is called bobb; /users lists who is",
        ),
        ("chat-reconnecting", "Connection lost, reconnecting"),
        ("chat-reconnecting", "Reconnecting in 4 s"),
        (
            "chat-undelivered",
            "This may not have arrived: I am back in five minutes.",
        ),
        (
            "chat-udp-blocked",
            "UDP is blocked, so downloads cannot start",
        ),
        ("download-dialog", "field-station/2026-11-16.tar"),
        ("commands-dialog", "Commands and keys"),
        ("settings-dialog", "High contrast"),
        ("palette", "Retry all failed downloads"),
        ("transfers", "downloading"),
        ("transfers", "queued"),
        ("transfers", "Why is it this speed?"),
        ("transfers-empty", "No downloads yet"),
        ("transfers-states", "preparing"),
        ("transfers-states", "stalled"),
        ("transfers-states", "paused"),
        ("transfers-states", "verifying"),
        (
            "transfers-failed",
            "Make room on the disk or choose another folder, then try again.",
        ),
        (
            "transfers-failed",
            "calibration.csv: it changed on the server while it came, twice",
        ),
        ("transfers-done", "verified"),
        ("transfers-done", "ROUND TRIP"),
    ] {
        assert!(shows(&state(name).app, words), "{name} shows no {words:?}");
    }
}

#[test]
fn a_field_tells_what_is_wrong_with_it() {
    let mut sample = Sample::first_start();
    sample.types("connect-address", "a b");
    sample.types("connect-name", "two words");
    sample.clicks("Connect");
    assert!(!sample.app.is_connecting());
    let told = "\"a b\" is no server; write HOST, HOST:PORT or [IPV6]:PORT";
    assert!(shows(&sample.app, told));
}

#[test]
fn typing_and_enter_sends_and_tab_completes() {
    let mut sample = Sample::talking();
    sample.types("composer", "/whisper in");
    sample.does(Do::Tab { back: false });
    assert_eq!(
        sample.app.model().input().text().trim_end(),
        "/whisper Ingrid"
    );
    sample.does(Do::Escape);
    sample.types("composer", "hello");
    sample.act(|window| {
        window.click(iced_test::selector::id("composer")).unwrap();
        window.tap_key(iced_test::core::keyboard::key::Named::Enter);
    });
    assert_eq!(sample.app.model().input().text(), "");
    sample.does(Do::Arrow { down: false });
    assert!(sample.app.model().input().text().ends_with("hello"));
}

#[test]
fn what_is_typed_without_a_field_goes_into_the_line_and_a_line_is_edited_anywhere() {
    let mut sample = Sample::talking();
    sample.does(Do::Type("h".to_owned()));
    sample.does(Do::Type("i".to_owned()));
    assert_eq!(sample.app.model().input().text(), "hi");
    sample.does(Do::Download);
    sample.does(Do::Type("x".to_owned()));
    sample.does(Do::Escape);
    assert_eq!(sample.app.model().input().text(), "hi");
    let asked = sample.act(|window| {
        window.click(iced_test::selector::id("composer")).unwrap();
        window.typewrite("x");
    });
    assert_eq!(asked, 0, "typing moves the cursor nowhere else");
}

#[test]
fn the_three_buttons_work_by_mouse_and_by_key() {
    for (button, key, words) in [
        ("Show Commands", Do::Commands, "TYPE INTO THE CHAT"),
        ("Download File", Do::Download, "To folder"),
    ] {
        let mut sample = Sample::talking();
        sample.clicks(button);
        assert!(shows(&sample.app, words), "{button}");
        sample.does(Do::Escape);
        assert!(!shows(&sample.app, words));
        sample.does(key);
        assert!(shows(&sample.app, words));
    }
    let mut sample = Sample::talking();
    sample.clicks("Disconnect");
    let state = sample.app.model().connection().state();
    assert!(matches!(state, State::Offline(None)), "{state:?}");
    assert!(shows(&sample.app, "Connect"));
}

#[test]
fn a_download_is_picked_paused_resumed_cancelled_and_tried_again() {
    let mut sample = Sample::talking();
    sample.clicks("Download File");
    sample.types("download-name", "calib");
    sample.clicks("Download");
    let of = |sample: &Sample| {
        sample
            .app
            .model()
            .transfers()
            .iter()
            .next_back()
            .unwrap()
            .clone()
    };
    let first = of(&sample);
    assert_eq!(first.names(), ["calibration.csv"]);
    sample.progress(first.request(), GetPhase::Active, 100, 300);
    assert!(shows(&sample.app, "downloading"));
    let error = super::samples::disk_full("/home/alice/Downloads/x.part");
    sample.has_failed(first.request(), "calibration.csv", error);
    assert_eq!(of(&sample).state(), TransferState::Failed);
    sample.clicks("Another folder…");
    sample.clicks("Download here");
    let request = of(&sample).request();
    assert_eq!(of(&sample).state(), TransferState::Queued);
    sample.progress(request, GetPhase::Paused, 100, 300);
    assert!(shows(&sample.app, "Resume"));
    sample.clicks("Resume");
    assert_eq!(of(&sample).state(), TransferState::Queued);
}

#[test]
fn who_reads_further_up_is_not_moved_and_sees_what_is_new() {
    let mut sample = Sample::talking();
    for number in 0..700 {
        sample.said("bob", &format!("line {number}"));
    }
    assert!(shows(&sample.app, "line 699"));
    assert!(!shows(&sample.app, "line 100"), "only a page is drawn");
    sample.does(Do::Find);
    sample.types("find", "line 100");
    assert!(shows(&sample.app, "line 100"));
    sample.said("bob", "one more");
    assert!(!shows(&sample.app, "one more"));
    sample.clicks("To the end");
    assert!(shows(&sample.app, "one more"));
}

#[test]
fn a_whisper_waits_with_a_count_until_it_is_opened() {
    let mut sample = Sample::talking();
    sample.whispered(1, "bob", "alice", "psst");
    assert_eq!(sample.app.model().people().unread(), 1);
    assert!(sample.app.title().starts_with("(1) "));
    sample.clicks("bob");
    assert_eq!(
        *sample.app.model().timelines().current(),
        Conversation::Person("bob".to_owned())
    );
    assert!(shows(&sample.app, "psst"));
    assert_eq!(sample.app.model().people().unread(), 0);
}

#[test]
fn any_action_is_found_by_a_few_letters() {
    let mut sample = Sample::talking();
    sample.does(Do::Palette);
    sample.types("palette", "get over");
    sample.clicks("Get videos/overview.mkv");
    assert_eq!(sample.app.model().transfers().len(), 1);
}

#[test]
fn looks_and_sizes_are_remembered_and_a_broken_file_stops_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("window.toml");
    std::fs::write(&path, "this is = = no settings").unwrap();
    let mut sample = Sample::with_preferences(path.clone());
    assert!(shows(&sample.app, "Connect"));
    sample.does(Do::Theme(ThemeChoice::Dark));
    sample.does(Do::Zoom(1));
    let (saved, wrong) = Preferences::load(&path);
    assert_eq!(wrong, None);
    assert_eq!(saved.theme, ThemeChoice::Dark);
    assert!(saved.zoom_percent > 100);
    let light = Sample::first_start().app.theme();
    assert_ne!(
        sample.app.theme().palette().background,
        light.palette().background
    );
}

#[test]
fn ten_thousand_messages_are_no_burden() {
    let mut sample = Sample::talking();
    let events = (0..10_000_u64).map(|number| Event::Message {
        sequence: 1000 + number,
        time_ms: 1_795_171_320_000,
        from: "bob".to_owned(),
        text: format!("number {number}"),
    });
    sample.tell(events);
    assert!(shows(&sample.app, "number 9999"));
    assert!(sample.app.model().timelines().everybody().len() <= 5000);
}

#[test]
fn pictures_are_the_same_on_every_host() {
    let sample = state("connect-first");
    let mut window = Simulator::with_size(settings(), (640.0, 560.0), sample.app.view());
    let snapshot = window.snapshot(&sample.app.theme()).unwrap();
    let hash = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/gui/connect-first-tiny-skia.sha256"
    );
    assert!(
        std::path::Path::new(hash).exists(),
        "a missing hash would pass"
    );
    let name = hash.replace("-tiny-skia.sha256", "");
    assert!(
        snapshot.matches_hash(name).unwrap(),
        "the first screen looks different now"
    );
}
