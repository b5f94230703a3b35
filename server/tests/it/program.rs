//! The program itself: its lines, its exit codes, its signals.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use columba_core::control::{ControlError, Frame};
use columba_net::identity::Identity;

use crate::support::{Mode, TestClient};

const PROGRAM: &str = env!("CARGO_BIN_EXE_columba-server");

struct Program {
    child: Child,
    address: std::net::SocketAddr,
    fingerprint: String,
    _folder: tempfile::TempDir,
}

impl Program {
    fn start(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::create_dir(folder.path().join("share")).expect("writable");
        let mut child = Command::new(PROGRAM)
            .args(["--listen", "127.0.0.1:0", "--ready-json", "--state"])
            .arg(folder.path().join("state"))
            .args(arguments)
            .arg(folder.path().join("share"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let ready: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(ready["event"], "ready");
        let address = ready["address"]
            .as_str()
            .and_then(|text| text.parse().ok())
            .expect("an address");
        let fingerprint = ready["fingerprint"]
            .as_str()
            .expect("a fingerprint")
            .to_owned();
        Self {
            child,
            address,
            fingerprint,
            _folder: folder,
        }
    }

    fn join(&self, name: &str, mode: Mode) -> TestClient {
        let mut client = TestClient::connect(
            self.address,
            mode,
            &Identity::generate().expect("randomness"),
        );
        client.hello(columba_core::control::Purpose::Chat, name, "");
        client.expect_welcome();
        client
    }

    #[cfg(unix)]
    fn signal(&self, signal: rustix::process::Signal) {
        let pid = i32::try_from(self.child.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw)
            .expect("a process");
        rustix::process::kill_process(pid, signal).expect("it lives");
    }

    /// Its exit code and its log.
    fn wait(mut self) -> (Option<i32>, String) {
        let mut log = String::new();
        self.child
            .stderr
            .take()
            .expect("piped")
            .read_to_string(&mut log)
            .expect("UTF-8");
        (self.child.wait().expect("it ends").code(), log)
    }
}

fn fails(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(PROGRAM)
        .args(arguments)
        .output()
        .expect("the program starts");
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

#[cfg(unix)]
#[test]
fn it_says_when_it_is_ready_and_stops_in_good_order() {
    use rustix::process::Signal;
    for (signal, mode) in [(Signal::TERM, Mode::Tls), (Signal::INT, Mode::Plaintext)] {
        let program = Program::start(if mode == Mode::Tls {
            &[]
        } else {
            &["--plaintext"]
        });
        assert_eq!(
            program.fingerprint.len(),
            if mode == Mode::Tls { 64 } else { 0 }
        );
        let mut alice = program.join("alice", mode);
        alice.say("hello");
        assert_eq!(alice.expect_message().2, "hello");
        program.signal(signal);
        assert_eq!(alice.expect_end(), ControlError::ShuttingDown);
        let (code, log) = program.wait();
        assert_eq!(code, Some(0), "{log}");
    }
}

#[cfg(unix)]
#[test]
fn signals_rescan_and_write_histograms() {
    use rustix::process::Signal;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let histograms = folder.path().join("histograms");
    let password = folder.path().join("password");
    std::fs::write(&password, "old\n").expect("writable");
    let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    let program = Program::start(&[
        "--histograms",
        &text(&histograms),
        "--password-file",
        &text(&password),
    ]);
    let admitted = |word: &str| {
        let identity = Identity::generate().expect("randomness");
        let mut client = TestClient::connect(program.address, Mode::Tls, &identity);
        client.hello(columba_core::control::Purpose::Headless, "", word);
        client.find(|frame| match frame {
            Frame::Welcome(_) => Some(true),
            Frame::Error(_) => Some(false),
            _ => None,
        })
    };
    assert_eq!(admitted("old"), Some(true));
    std::fs::write(&password, "new\n").expect("writable");
    program.signal(Signal::HUP);
    while admitted("new") != Some(true) {}
    assert_eq!(admitted("old"), Some(false));
    program.signal(Signal::USR1);
    let log = histograms.join("server.hlog");
    while !std::fs::read_to_string(&log)
        .unwrap_or_default()
        .contains("Tag=loop_turn,")
    {}
    program.signal(Signal::TERM);
    assert_eq!(program.wait().0, Some(0));
}

#[test]
fn what_cannot_work_is_refused_with_usage_or_a_reason() {
    let (code, text) = fails(&[]);
    assert_eq!(code, Some(2), "{text}");
    let (code, text) = fails(&["--plaintext", "."]);
    assert_eq!(code, Some(2));
    assert!(text.contains("--plaintext-anywhere"), "{text}");
    let (code, text) = fails(&["--listen", "127.0.0.1:0", "--state", "/dev/null/x", "."]);
    assert_eq!(code, Some(1));
    assert!(text.contains("state"), "{text}");
    let (code, text) = fails(&["--listen", "127.0.0.1:0", "/there/is/no/such/folder"]);
    assert_eq!(code, Some(1));
    assert!(text.contains("/there/is/no/such/folder"), "{text}");
    let (code, text) = fails(&["--help"]);
    assert_eq!((code, text.as_str()), (Some(0), ""));
}

#[cfg(unix)]
#[test]
fn names_are_listed_and_freed_while_it_runs_and_after() {
    let program = Program::start(&[]);
    let state = program._folder.path().join("state");
    let ask = |words: &[&str]| {
        let output = Command::new(PROGRAM)
            .args(words)
            .arg("--state")
            .arg(&state)
            .output()
            .expect("it starts");
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    };
    let mut alice = program.join("alice", Mode::Tls);
    program.join("bob", Mode::Tls);
    let (code, list) = ask(&["names", "list"]);
    assert_eq!(code, Some(0));
    assert!(
        list.lines().any(|line| line.ends_with(" alice")) && list.lines().count() == 2,
        "{list}"
    );
    assert_eq!(ask(&["names", "forget", "bob"]).0, Some(0));
    assert_eq!(ask(&["kick", "alice"]).0, Some(0));
    assert_eq!(alice.expect_end(), ControlError::KeyNotAuthorized);
    assert_eq!(ask(&["kick", "alice"]).0, Some(1));
    program.signal(rustix::process::Signal::TERM);
    let Program {
        mut child, _folder, ..
    } = program;
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    let (code, list) = ask(&["names", "list"]);
    assert_eq!((code, list.lines().count()), (Some(0), 1));
    assert_eq!(ask(&["names", "forget", "alice"]).0, Some(0));
    assert_eq!(ask(&["names", "forget", "alice"]).0, Some(1));
    assert_eq!(ask(&["names", "list"]), (Some(0), String::new()));
}
