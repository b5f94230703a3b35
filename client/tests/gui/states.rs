//! Every main state of the window, by name: drawn for the documents, and tested.

use std::time::Duration;

use columba_client::engine::message::{Event, GetEvent, GetPhase};
use columba_client::exit_code::ClientError;
use columba_client::gui::Message;
use columba_client::gui::app::Do;
use columba_client::model::timeline::Conversation;
use columba_client::preferences::{Preferences, RecentServer, ThemeChoice};
use columba_core::control::ControlError;

use super::samples::{Sample, disk_full, key_changed};

/// A state's name, and how it comes about.
type State = (&'static str, fn() -> Sample);

/// All of them.
pub const ALL: [State; 33] = [
    ("connect-first", Sample::first_start),
    ("connect-recent", recent),
    ("connect-connecting", Sample::connecting),
    ("connect-retrying", retrying),
    ("connect-unreachable", unreachable),
    ("connect-name-taken", name_taken),
    ("connect-password", password),
    ("connect-key-refused", key_refused),
    ("connect-key-changed", key_changes),
    ("connect-dark", connect_dark),
    ("chat", Sample::talking),
    ("chat-dark", || {
        themed(Sample::downloading(), ThemeChoice::Dark)
    }),
    ("chat-high-contrast", || {
        themed(Sample::downloading(), ThemeChoice::HighContrast)
    }),
    ("chat-empty", empty),
    ("chat-first-contact", first_contact),
    ("chat-whisper", whisper),
    ("chat-unread", unread),
    ("chat-find", find),
    ("chat-completion", completion),
    ("chat-slash", slash),
    ("chat-error", errors),
    ("chat-reconnecting", reconnecting),
    ("chat-undelivered", undelivered),
    ("chat-udp-blocked", udp_blocked),
    ("download-dialog", download),
    ("commands-dialog", || doing(Sample::talking(), Do::Commands)),
    ("settings-dialog", || doing(Sample::talking(), Do::Settings)),
    ("palette", || doing(Sample::talking(), Do::Palette)),
    ("transfers", Sample::downloading),
    ("transfers-empty", || {
        doing(Sample::talking(), Do::Transfers)
    }),
    ("transfers-states", waiting),
    ("transfers-failed", failed),
    ("transfers-done", done),
];

fn doing(mut sample: Sample, what: Do) -> Sample {
    sample.does(what);
    sample
}

fn themed(sample: Sample, theme: ThemeChoice) -> Sample {
    doing(sample, Do::Theme(theme))
}

fn recent() -> Sample {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("window.toml");
    let mut preferences = Preferences::default();
    let servers = [
        ("", "alice", true),
        ("10.20.0.7:7000", "alice", false),
        ("files.lab.example", "alice", false),
    ];
    for (address, name, plaintext) in servers {
        preferences.met(RecentServer {
            address: address.to_owned(),
            name: name.to_owned(),
            plaintext,
            fingerprint: None,
        });
    }
    preferences.name = "alice".to_owned();
    preferences.save(&path).unwrap();
    Sample::with_preferences(path)
}

fn retrying() -> Sample {
    let mut sample = Sample::connecting();
    sample.tell([Event::NextAttempt {
        attempt: 2,
        delay: Duration::from_secs(3),
        reason: "Connection refused: is the server running?".to_owned(),
    }]);
    sample
}

fn unreachable() -> Sample {
    let mut sample = Sample::connecting();
    sample.ends(ClientError::Connect {
        server: "files.lab.example:11490".to_owned(),
        reason: "no address is known for this name; check how it is written".to_owned(),
    });
    sample
}

fn name_taken() -> Sample {
    let mut sample = Sample::connecting();
    sample.denied(
        ControlError::NameTaken,
        "the name alice is taken now; choose another one",
    );
    sample
}

fn password() -> Sample {
    let mut sample = Sample::connecting();
    sample.denied(
        ControlError::Password,
        "this server wants a password; ask its operator for it",
    );
    sample
}

fn key_refused() -> Sample {
    let mut sample = Sample::connecting();
    sample.denied(
        ControlError::KeyNotAuthorized,
        "your key is not among the authorized keys of this server",
    );
    sample
}

fn key_changes() -> Sample {
    let mut sample = Sample::connecting();
    sample.ends(key_changed());
    sample
}

fn connect_dark() -> Sample {
    themed(recent(), ThemeChoice::Dark)
}

fn empty() -> Sample {
    let mut sample = Sample::online();
    sample.tell([
        Event::Users(vec!["alice".to_owned()]),
        Event::Files(Vec::new()),
    ]);
    sample
}

fn first_contact() -> Sample {
    let mut sample = Sample::talking();
    sample.first_contact();
    sample
}

fn whisper() -> Sample {
    let mut sample = Sample::talking();
    sample.whispered(
        600,
        "bob",
        "alice",
        "Between us: are you free after the call?",
    );
    sample.whispered(540, "alice", "bob", "Yes, until one o'clock.");
    sample.whispered(
        500,
        "bob",
        "alice",
        "Good. I send you slides-review.pdf with my notes then.",
    );
    sample.does(Do::Open(Conversation::Person("bob".to_owned())));
    sample
}

fn unread() -> Sample {
    let mut sample = Sample::talking();
    let _task = sample.app.update(Message::Focused(false));
    sample.passes(Duration::from_secs(60));
    sample.said(
        "bob",
        "The call moves to 11:30, the projector is not ready.",
    );
    sample.said("chen", "alice, that gives you time for the second file.");
    sample.whispered(0, "Ingrid", "alice", "Do you have the key of the archive?");
    sample
}

fn find() -> Sample {
    let mut sample = Sample::talking();
    sample.does(Do::Find);
    sample.types("find", "calibration");
    sample
}

fn completion() -> Sample {
    let mut sample = Sample::talking();
    sample.types("composer", "/get field");
    sample.does(Do::Tab { back: false });
    sample.does(Do::Tab { back: false });
    sample
}

fn slash() -> Sample {
    let mut sample = Sample::talking();
    sample.types("composer", "/");
    sample
}

fn errors() -> Sample {
    let mut sample = Sample::talking();
    sample.tell([
        Event::Refused {
            code: ControlError::NoSuchUser,
            text: "nobody here is called bobb; /users lists who is".to_owned(),
        },
        Event::Missed { count: 3 },
    ]);
    sample
}

fn reconnecting() -> Sample {
    let mut sample = Sample::downloading();
    sample.is_lost();
    sample
}

fn undelivered() -> Sample {
    let mut sample = Sample::talking();
    sample.tell([Event::Undelivered {
        to: None,
        text: "I am back in five minutes.".to_owned(),
    }]);
    sample
}

fn udp_blocked() -> Sample {
    let mut sample = Sample::talking();
    let request = sample.gets("slides-review.pdf");
    sample.progress(request, GetPhase::Stalled, 0, 18);
    sample.tell([Event::Udp { blocked: true }]);
    sample
}

fn download() -> Sample {
    let mut sample = Sample::talking();
    sample.does(Do::Download);
    sample.types("download-name", "field");
    sample
}

fn waiting() -> Sample {
    let mut sample = Sample::talking();
    let over = sample.gets("music/café-session.flac");
    sample.progress(over, GetPhase::Active, 9, 38);
    sample.tell([Event::Get {
        request: over,
        event: GetEvent::StartsOver {
            file: "music/café-session.flac".to_owned(),
        },
    }]);
    let verifying = sample.gets("maps/terrain-north.tif");
    sample.progress(verifying, GetPhase::Verifying, 870, 870);
    let paused = sample.gets("videos/overview.mkv");
    sample.progress(paused, GetPhase::Paused, 1450, 2300);
    let stalled = sample.gets("photos/team.jpg");
    sample.progress(stalled, GetPhase::Stalled, 1, 4);
    let preparing = sample.gets("field-station/2026-11-16.tar");
    sample.progress(preparing, GetPhase::Preparing, 0, 0);
    let queued = sample.gets("field-station/2026-11-17.tar");
    sample.progress(queued, GetPhase::Queued, 0, 0);
    sample.clicks("Percentiles");
    sample
}

fn failed() -> Sample {
    let mut sample = Sample::talking();
    let changed = sample.gets("calibration.csv");
    sample.progress(changed, GetPhase::Active, 2, 3);
    let error = ClientError::Integrity {
        name: "calibration.csv".to_owned(),
        reason: "it changed on the server while it came, twice",
    };
    sample.has_failed(changed, "calibration.csv", error);
    let full = sample.gets("field-station/2026-11-16.tar");
    sample.comes(full, 20, 12_400);
    sample.has_failed(
        full,
        "field-station/2026-11-16.tar",
        disk_full("/home/alice/Downloads/2026-11-16.tar.part"),
    );
    sample
}

fn done() -> Sample {
    let mut sample = Sample::talking();
    let first = sample.gets("calibration.csv");
    sample.is_done(first, "calibration.csv", 3);
    let second = sample.gets("field-station/2026-11-18.tar");
    sample.comes(second, 60, 5400);
    sample.is_done(second, "field-station/2026-11-18.tar", 5400);
    sample.clicks("Round trip and loss");
    sample.clicks("Show the figures");
    sample
}
