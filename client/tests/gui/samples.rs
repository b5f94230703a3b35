//! A window filled with what an ordinary day brings, through the engine's own events.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use columba_client::engine::message::{
    Event, FileInfo, FileReport, GetEvent, GetPhase, GetProgress, NetworkSample,
};
use columba_client::exit_code::ClientError;
use columba_client::gui::app::Do;
use columba_client::gui::{App, Launch, Message, Told, Watch};
use columba_client::model::calendar::Moment;
use columba_client::places::StateFolder;
use columba_core::control::ControlError;
use columba_core::stats::{LimitedBy, PathReport};
use columba_core::units::Timestamp;
use columba_net::identity::Fingerprint;

/// Friday, 20 November 2026, 10:42 where everybody is.
const START_MS: u64 = 1_795_171_320_000;
const MB: u64 = 1_000_000;
const KEY: &str = "5f1c03a97be2d4468810ffab93e7c1d25a60be94f3721d0c8ae5b6173490cdef";
const OTHER_KEY: &str = "b07d9e4412fa6c83e95501d7ac3f286bd8f04371be95ac207de3c6895a1b42f0";

/// A window, and the clock that it reads.
pub struct Sample {
    pub app: App,
    clock: Arc<Mutex<Moment>>,
    sequence: u64,
    folder: PathBuf,
    /// Keeps the key that a window makes.
    _state: tempfile::TempDir,
}

fn clock() -> Arc<Mutex<Moment>> {
    Arc::new(Mutex::new(Moment {
        now: Timestamp::ZERO + Duration::from_secs(1000),
        unix_ms: START_MS,
        utc_offset_s: 0,
    }))
}

fn launch(clock: &Arc<Mutex<Moment>>) -> (Launch, tempfile::TempDir) {
    let state = tempfile::tempdir().unwrap();
    let folder = StateFolder::choose(Some(state.path())).unwrap();
    let mut launch = Launch::new(folder);
    launch.preferences = None;
    launch.downloads = Some(PathBuf::from("/home/alice/Downloads"));
    launch.watch = Watch::Hand(Arc::clone(clock));
    (launch, state)
}

impl Sample {
    /// The window as it opens for the first time.
    pub fn first_start() -> Self {
        let clock = clock();
        let (launch, state) = launch(&clock);
        Self::of(launch, clock, state)
    }

    /// The window of somebody who has used it before, with these preferences.
    pub fn with_preferences(path: PathBuf) -> Self {
        let clock = clock();
        let (mut launch, state) = launch(&clock);
        launch.preferences = Some(path);
        Self::of(launch, clock, state)
    }

    /// The window while it connects for the first time.
    pub fn connecting() -> Self {
        let clock = clock();
        let (mut launch, state) = launch(&clock);
        launch.server = Some("files.lab.example".to_owned());
        launch.name = Some("alice".to_owned());
        Self::of(launch, clock, state)
    }

    fn of(launch: Launch, clock: Arc<Mutex<Moment>>, state: tempfile::TempDir) -> Self {
        let folder = PathBuf::from("/home/alice/Downloads");
        let (app, _task) = App::new(launch);
        Self {
            app,
            clock,
            sequence: 100,
            folder,
            _state: state,
        }
    }

    /// Online, with people and files, and nothing said yet.
    pub fn online() -> Self {
        let mut sample = Self::connecting();
        sample.tell([
            Event::Welcome {
                name: "alice".to_owned(),
                software: "columba-server 0.1.0".to_owned(),
                sequence: 100,
                again: false,
            },
            Event::Users(
                ["alice", "bob", "chen", "Ingrid", "yuki"]
                    .map(str::to_owned)
                    .into(),
            ),
            Event::Files(files()),
        ]);
        sample
    }

    /// Online, in the middle of a talk.
    pub fn talking() -> Self {
        let mut sample = Self::online();
        sample.yesterday();
        sample.today();
        sample
    }

    fn yesterday(&mut self) {
        let day = 24 * 3600;
        self.said_before(
            day - 4000,
            "Ingrid",
            "The new recordings from the field station are up.",
        );
        self.said_before(
            day - 3960,
            "Ingrid",
            "Start with field-station/2026-11-18.tar, the others are larger.",
        );
        self.said_before(
            day - 3700,
            "alice",
            "Thank you! The hotel Wi-Fi loses every tenth packet, let's see. 🙂",
        );
        self.said_before(day - 3300, "alice", "41 GB in 50 minutes. I am impressed.");
    }

    fn today(&mut self) {
        self.tell([Event::Presence {
            time_ms: START_MS - 3_000_000,
            joined: vec!["bob".to_owned(), "yuki".to_owned()],
            left: Vec::new(),
        }]);
        self.said_before(2900, "bob", "Morning all. The numbers are described at https://lab.example/wiki/field-notes#units if anyone wonders.");
        self.said_before(2500, "yuki", "おはようございます。資料を確認しました 👍");
        self.said_before(
            2460,
            "yuki",
            "The Korean translation follows: 내일 올릴게요.",
        );
        self.said_before(
            1200,
            "chen",
            "alice, could you check calibration.csv before the call at 11?",
        );
        self.said_before(1100, "alice", "On it. Give me ten minutes.");
        self.said_before(400, "Ingrid", "I have put slides-review.pdf there, too.");
    }

    fn said_before(&mut self, seconds: u64, from: &str, text: &str) {
        self.sequence += 1;
        let event = Event::Message {
            sequence: self.sequence,
            time_ms: START_MS - seconds * 1000,
            from: from.to_owned(),
            text: text.to_owned(),
        };
        self.tell([event]);
    }

    /// Somebody says something now.
    pub fn said(&mut self, from: &str, text: &str) {
        self.said_before(0, from, text);
    }

    /// Somebody whispers.
    pub fn whispered(&mut self, seconds_before: u64, from: &str, to: &str, text: &str) {
        self.tell([Event::Whispered {
            time_ms: START_MS - seconds_before * 1000,
            from: from.to_owned(),
            to: to.to_owned(),
            text: text.to_owned(),
        }]);
    }

    /// The engine tells this.
    pub fn tell(&mut self, events: impl IntoIterator<Item = Event>) {
        let told = Told::Events(events.into_iter().collect());
        let _task = self.app.update(Message::Engine(1, told));
    }

    /// The engine ends with this.
    pub fn ends(&mut self, error: ClientError) {
        self.tell([Event::Ended(Err(error))]);
    }

    /// The server refuses us with this, and the engine ends.
    pub fn denied(&mut self, code: ControlError, text: &str) {
        let denied = Event::Denied {
            code,
            text: text.to_owned(),
        };
        let error = ClientError::from_server(code, text);
        self.tell([denied, Event::Ended(Err(error))]);
    }

    /// A person does this.
    pub fn does(&mut self, what: Do) {
        let _task = self.app.update(Message::Key(what));
    }

    /// Time goes by.
    pub fn passes(&mut self, time: Duration) {
        let mut moment = self.clock.lock().unwrap();
        moment.now += time;
        moment.unix_ms += u64::try_from(time.as_millis()).unwrap();
    }

    /// Asks for a file; its number.
    pub fn gets(&mut self, name: &str) -> u32 {
        self.does(Do::Get(name.to_owned()));
        self.app
            .model()
            .transfers()
            .iter()
            .next_back()
            .unwrap()
            .request()
    }

    /// A download stands like this.
    pub fn progress(&mut self, request: u32, phase: GetPhase, done_mb: u64, total_mb: u64) {
        let progress = GetProgress {
            phase,
            done_bytes: done_mb * MB,
            total_bytes: total_mb * MB,
            done_files: 0,
            total_files: 1,
            current: String::new(),
        };
        let event = GetEvent::Progress(progress);
        self.tell([Event::Get { request, event }]);
    }

    /// A download comes for so many seconds, as over a path with some loss.
    pub fn comes(&mut self, request: u32, seconds: u64, total_mb: u64) {
        let mut done_mb = 0.0_f64;
        for tenth in 0..seconds * 2 {
            self.passes(Duration::from_millis(500));
            let ramp = (tenth as f64 / 8.0).min(1.0);
            let wave = (tenth as f64 * 0.45).sin() * 3.0 + (tenth as f64 * 1.7).cos() * 1.5;
            let rate = (84.0 + wave * 1.8) * ramp;
            done_mb += rate / 2.0;
            self.progress(request, GetPhase::Active, done_mb as u64, total_mb);
            let sample = network(rate * 1e6, tenth);
            self.tell([Event::Network(sample)]);
        }
    }

    /// A download is done.
    pub fn is_done(&mut self, request: u32, name: &str, megabytes: u64) {
        self.progress(request, GetPhase::Active, megabytes, megabytes);
        let report = FileReport {
            file: name.to_owned(),
            target: self.folder.join(name),
            bytes: megabytes * MB,
            elapsed: Duration::from_secs(12),
            blake3: *blake3::hash(name.as_bytes()).as_bytes(),
            resumed_bytes: 0,
            packets_received: 1000,
            packets_duplicate: 2,
            handshake: Duration::from_millis(21),
            rtt_p50: Duration::from_millis(21),
            rtt_p99: Duration::from_millis(34),
        };
        for event in [GetEvent::Done(report), GetEvent::Finished] {
            self.tell([Event::Get { request, event }]);
        }
    }

    /// A download has failed.
    pub fn has_failed(&mut self, request: u32, name: &str, error: ClientError) {
        let failed = GetEvent::Failed {
            file: name.to_owned(),
            error,
        };
        for event in [failed, GetEvent::Finished] {
            self.tell([Event::Get { request, event }]);
        }
    }

    /// The key of the server, seen for the first time.
    pub fn first_contact(&mut self) {
        let fingerprint: Fingerprint = KEY.parse().unwrap();
        self.tell([Event::FirstContact { fingerprint }]);
    }

    /// The connection is lost; the next attempt comes after seconds.
    pub fn is_lost(&mut self) {
        self.tell([
            Event::Reconnecting {
                reason: "The server closed the connection".to_owned(),
            },
            Event::NextAttempt {
                attempt: 3,
                delay: Duration::from_secs(4),
                reason: "Connection refused: is the server running?".to_owned(),
            },
        ]);
    }

    /// Four downloads in four states, and charts.
    pub fn downloading() -> Self {
        let mut sample = Self::talking();
        let done = sample.gets("calibration.csv");
        sample.is_done(done, "calibration.csv", 3);
        let failed = sample.gets("photos/aurora-panorama.tif");
        sample.progress(failed, GetPhase::Active, 310, 1200);
        let error = ClientError::NoSuchFile(
            "the server no longer shares photos/aurora-panorama.tif".to_owned(),
        );
        sample.has_failed(failed, "photos/aurora-panorama.tif", error);
        let queued = sample.gets("videos/overview.mkv");
        sample.progress(queued, GetPhase::Queued, 0, 0);
        let active = sample.gets("field-station/2026-11-18.tar");
        sample.comes(active, 40, 5400);
        sample
    }
}

/// What the network did in half a second.
fn network(bytes_per_second: f64, step: u64) -> NetworkSample {
    let mut report = PathReport {
        association: 1,
        interval_ms: 500,
        srtt_us: 41_000,
        min_rtt_us: 38_500,
        cwnd: 4_200_000,
        in_flight: 3_900_000,
        credit: 16 << 20,
        pacing_rate: 91_000_000,
        delivery_rate: 84_300_000,
        sent_packets: 1000,
        lost_packets: 52,
        retransmitted_packets: 51,
        datagram_bytes: 1472,
        ..PathReport::default()
    };
    report.limited[LimitedBy::Path as usize] = 930;
    report.limited[LimitedBy::Receiver as usize] = 70;
    let wave = (step as f64 * 0.8).sin();
    NetworkSample {
        interval: Duration::from_millis(500),
        new_bytes: (bytes_per_second / 2.0) as u64,
        srtt: Duration::from_micros((41_000.0 + wave * 2200.0) as u64),
        min_rtt: Duration::from_micros(38_500),
        rtt_percentiles_us: [40_900, 42_100, 44_800, 47_300, 55_200, 71_400, 96_800],
        packets: 28_000,
        missing_packets: (1480.0 + wave * 260.0) as u64,
        credit_bytes: 16 << 20,
        storage_credit_bytes: 64 << 20,
        storage_backlog_bytes: 1 << 20,
        sender: Some(report),
        ..NetworkSample::default()
    }
}

fn files() -> Vec<FileInfo> {
    let file = |name: &str, size: u64, days: u64| FileInfo {
        name: name.to_owned(),
        size,
        mtime_s: START_MS / 1000 - days * 86_400,
    };
    vec![
        file("calibration.csv", 3 * MB, 1),
        file("field-station/2026-11-16.tar", 12_400 * MB, 4),
        file("field-station/2026-11-17.tar", 9800 * MB, 3),
        file("field-station/2026-11-18.tar", 5400 * MB, 2),
        file("field-station/README.md", 4100, 9),
        file("maps/terrain-north.tif", 870 * MB, 30),
        file("music/café-session.flac", 38 * MB, 2),
        file("photos/aurora-panorama.tif", 1200 * MB, 12),
        file("photos/team.jpg", 4 * MB, 40),
        file("slides-review.pdf", 18 * MB, 0),
        file("videos/overview.mkv", 2300 * MB, 7),
        file("資料/報告書.pdf", 2 * MB, 5),
    ]
}

/// The error of a changed key.
pub fn key_changed() -> ClientError {
    ClientError::KeyChanged {
        server: "files.lab.example:11490".to_owned(),
        known: KEY.to_owned(),
        shown: OTHER_KEY.to_owned(),
        file: PathBuf::from("/home/alice/.config/columba/known_servers"),
    }
}

/// The error of a disk without room.
pub fn disk_full(folder: &str) -> ClientError {
    ClientError::Storage(columba_client::storage::StorageError::Io {
        action: "write",
        path: PathBuf::from(folder),
        source: std::io::ErrorKind::StorageFull.into(),
    })
}

impl Sample {
    /// Clicks on these words, and takes what comes of it.
    pub fn clicks(&mut self, words: &str) {
        self.act(|window| {
            window.click(words).unwrap();
        });
    }

    /// Types into the field with this id.
    pub fn types(&mut self, field: &'static str, text: &str) {
        self.act(|window| {
            window.click(iced_test::selector::id(field)).unwrap();
            window.typewrite(text);
        });
    }

    /// Does something with the window as it is drawn, and takes what comes of it; how much the window
    /// asks of its runtime then, as moving the keyboard.
    pub fn act(&mut self, act: impl FnOnce(&mut iced_test::Simulator<'_, Message>)) -> usize {
        let size = (1180.0, 760.0);
        let messages: Vec<Message> = {
            let settings = columba_client::gui::settings();
            let mut window = iced_test::Simulator::with_size(settings, size, self.app.view());
            act(&mut window);
            window.into_messages().collect()
        };
        let tasks = messages.into_iter();
        tasks.map(|message| self.app.update(message).units()).sum()
    }
}
