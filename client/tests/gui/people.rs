//! People who use the window against the real server, over a bad path.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use columba_client::gui::{App, Launch, Message, program, settings};
use columba_client::places::StateFolder;
use columba_loss_sim::Impairments;
use columba_loss_sim::proxy::{Proxy, ProxyConfig, SpawnedProxy};
use columba_server::config::Config;
use columba_server::{Server, ServerHandle};
use iced_test::emulator::{Action, Emulator, Event, Mode};
use iced_test::futures::futures::StreamExt;
use iced_test::futures::futures::channel::mpsc as channel;
use iced_test::futures::futures::executor::block_on;
use iced_test::instruction::Instruction;
use iced_test::program::Program;

/// A test that hangs shall fail rather than hang; nothing here takes nearly as long.
const HANG: Duration = Duration::from_secs(100);
/// Where the line is while no downloads are shown.
const LINE: &str = "(560, 690)";

/// A window with a person before it, without a display.
struct Person<P: Program> {
    program: P,
    emulator: Emulator<P>,
    events: mpsc::Receiver<Event<P>>,
    /// Something has happened since the last instruction was carried out.
    changed: bool,
    _state: tempfile::TempDir,
}

fn sit_down(
    server: &str,
    name: &str,
    downloads: &Path,
) -> Person<impl Program<State = App, Message = Message, Theme = iced::Theme> + use<>> {
    let state = tempfile::tempdir().unwrap();
    let mut launch = Launch::new(StateFolder::choose(Some(state.path())).unwrap());
    launch.server = Some(server.to_owned());
    launch.name = Some(name.to_owned());
    launch.downloads = Some(downloads.to_path_buf());
    launch.preferences = None;
    Person::new(program(launch, iced::Task::none), state)
}

impl<P: Program + 'static> Person<P>
where
    Event<P>: Send,
{
    fn new(program: P, state: tempfile::TempDir) -> Self {
        // Without fonts there is no text to be found.
        let fonts: iced::Element<'_, ()> = iced::widget::text("").into();
        drop(iced_test::Simulator::with_settings(settings(), fonts));
        let (sender, mut receiver) = channel::channel(64);
        let (forward, events) = mpsc::channel();
        std::thread::spawn(move || {
            while let Some(event) = block_on(receiver.next()) {
                if forward.send(event).is_err() {
                    break;
                }
            }
        });
        let size = iced::Size::new(1180.0, 760.0);
        let emulator = Emulator::new(sender, &program, Mode::Immediate, size);
        let mut person = Self {
            program,
            emulator,
            events,
            changed: false,
            _state: state,
        };
        assert!(person.is_answered(), "the window opens");
        person
    }

    /// Does it; whether it could be done.
    fn tries(&mut self, line: &str) -> bool {
        let instruction = Instruction::parse(line).unwrap();
        self.changed = false;
        self.emulator.run(&self.program, instruction);
        self.is_answered()
    }

    /// Goes on until the emulator has answered; each instruction gets one answer.
    fn is_answered(&mut self) -> bool {
        loop {
            match self.events.recv_timeout(HANG).unwrap() {
                Event::Action(action) => self.perform(action),
                Event::Ready => return true,
                Event::Failed(_) => return false,
            }
        }
    }

    fn perform(&mut self, action: Action<P>) {
        self.changed = true;
        self.emulator.perform(&self.program, action);
    }

    fn does(&mut self, line: &str) {
        assert!(self.tries(line), "cannot {line}");
    }

    /// Waits until the window shows these words.
    fn sees(&mut self, words: &str) {
        let line = format!("expect \"{words}\"");
        while !self.tries(&line) {
            // What came before the answer may be what was looked for.
            if self.changed {
                continue;
            }
            match self.events.recv_timeout(HANG) {
                Ok(Event::Action(action)) => self.perform(action),
                Ok(Event::Ready | Event::Failed(_)) => panic!("an answer to nothing"),
                Err(_) => panic!("{words:?} never came, but {:?}", self.states()),
            }
        }
    }

    /// Which states the window shows, to tell with a failure.
    fn states(&mut self) -> Vec<&'static str> {
        let mut states = vec!["Online", "queued", "preparing", "downloading", "stalled"];
        states.extend([
            "verifying",
            "verified",
            "failed",
            "Connection lost, reconnecting",
        ]);
        states.retain(|state| self.tries(&format!("expect \"{state}\"")));
        states
    }

    fn says(&mut self, words: &str) {
        // The window gives the line the keyboard by itself, but here no frame comes between that and
        // the first key; a click is there before the keys.
        self.does(&format!("click {LINE}"));
        self.does(&format!("type \"{words}\""));
        self.does("type enter");
    }
}

struct Rig {
    share: tempfile::TempDir,
    state: tempfile::TempDir,
    server: Option<ServerHandle>,
}

impl Rig {
    fn new() -> Self {
        let (share, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let data: Vec<u8> = (0..3_000_000_u32).map(|n| (n ^ (n >> 7)) as u8).collect();
        std::fs::write(share.path().join("recording.bin"), data).unwrap();
        let mut rig = Self {
            share,
            state,
            server: None,
        };
        rig.start("127.0.0.1:0");
        rig
    }

    fn start(&mut self, listen: &str) {
        let mut config = Config::for_tests(self.share.path());
        config.listen = listen.parse().unwrap();
        config.state_dir = Some(self.state.path().to_path_buf());
        self.server = Some(Server::spawn(&config).unwrap());
    }

    fn address(&self) -> String {
        self.server.as_ref().unwrap().address().to_string()
    }

    /// The same server over a path that loses 5 % both ways.
    fn lossy(&self) -> SpawnedProxy {
        let mut config = ProxyConfig::new(self.server.as_ref().unwrap().address());
        let impairments = Impairments {
            loss: 0.05,
            delay: Duration::from_millis(5),
            ..Impairments::default()
        };
        config.up = impairments.clone();
        config.down = impairments;
        config.seed = 11;
        Proxy::spawn(&config).unwrap()
    }
}

fn same(share: &Path, target: &Path) {
    let name = "recording.bin";
    let (sent, came) = (
        std::fs::read(share.join(name)),
        std::fs::read(target.join(name)),
    );
    assert!(sent.unwrap() == came.unwrap(), "the file came as it is");
}

#[test]
fn two_people_talk_whisper_and_download_at_five_percent_loss() {
    let rig = Rig::new();
    let path = rig.lossy();
    let server = path.address().to_string();
    let target = tempfile::tempdir().unwrap();
    let mut alice = sit_down(&server, "alice", target.path());
    alice.sees("Online");
    let mut bob = sit_down(&server, "bob", target.path());
    bob.sees("Online");
    alice.sees("2 people here");
    alice.says("good morning");
    bob.sees("good morning");
    bob.says("/whisper alice are you there?");
    alice.does("click \"bob\"");
    alice.sees("are you there?");
    alice.says("/get recording.bin");
    alice.sees("verified");
    same(rig.share.path(), target.path());
    alice.does("click \"Disconnect\"");
    alice.sees("Connect");
    bob.sees("only you are here");
}

#[test]
fn what_is_said_last_is_in_sight() {
    let rig = Rig::new();
    let target = tempfile::tempdir().unwrap();
    let mut alice = sit_down(&rig.address(), "alice", target.path());
    alice.sees("Online");
    for number in 1..=20 {
        alice.says(&format!("line {number}"));
        alice.sees(&format!("line {number}"));
    }
    // Only what is in sight can be clicked.
    alice.does("click \"line 20\"");
    assert!(!alice.tries("click \"line 1\""), "it follows the end");
}

#[test]
fn the_window_comes_back_after_the_servers_restart() {
    let mut rig = Rig::new();
    let target = tempfile::tempdir().unwrap();
    let address = rig.address();
    let mut alice = sit_down(&address, "alice", target.path());
    alice.sees("Online");
    alice.sees("only you are here");
    drop(rig.server.take());
    alice.sees("Connection lost, reconnecting");
    rig.start(&address);
    alice.sees("Online");
    alice.sees("only you are here");
    alice.says("here I am again");
    alice.sees("here I am again");
}

#[test]
fn two_windows_and_three_command_lines_share_a_server_at_five_percent_loss() {
    let rig = Rig::new();
    let path = rig.lossy();
    let server = path.address().to_string();
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut alice = sit_down(&server, "alice", first.path());
    let mut bob = sit_down(&server, "bob", second.path());
    alice.sees("Online");
    bob.sees("Online");
    let state = tempfile::tempdir().unwrap();
    let columba = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_columba"));
        command.args(["-s", &server, "--state"]).arg(state.path());
        command.args(arguments).stdin(Stdio::null());
        command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let (third, fourth) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let targets = [third.path(), fourth.path()];
    let gets =
        targets.map(|target| columba(&["get", "recording.bin", "-o", target.to_str().unwrap()]));
    alice.says("/get recording.bin");
    bob.says("/get recording.bin");
    let said = columba(&["-n", "carol", "say", "hello from the shell"]);
    alice.sees("hello from the shell");
    bob.sees("hello from the shell");
    alice.sees("verified");
    bob.sees("verified");
    for child in gets.into_iter().chain([said]) {
        let output = child.wait_with_output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    for target in [first.path(), second.path(), third.path(), fourth.path()] {
        same(rig.share.path(), target);
    }
}
