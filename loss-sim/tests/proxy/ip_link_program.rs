//! `columba-loss-sim link` as a program. Needs root as the tests of [`ip_link`](crate::ip_link) do.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::ip_link::can_link;
use crate::program::{program, run};

/// A link that is running; killed when dropped.
struct Running {
    child: Child,
    stdout: BufReader<ChildStdout>,
    ready: Value,
}

impl Running {
    fn start(arguments: &[&str]) -> Self {
        let mut child = program()
            .args(["link", "--ready-json"])
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("a line");
        let ready: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(ready["event"], "ready");
        Self {
            child,
            stdout,
            ready,
        }
    }

    fn paths(&self) -> [PathBuf; 2] {
        ["left", "right"].map(|end| self.ready[end]["path"].as_str().expect("a path").into())
    }

    /// Sends a signal and waits for the end; gives the exit code and the rest of stdout.
    fn signal(mut self, signal: Signal) -> (Option<i32>, String) {
        let id = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(id.expect("a process id"), signal).expect("signalled");
        let mut stdout = String::new();
        self.stdout.read_to_string(&mut stdout).expect("UTF-8");
        (self.child.wait().expect("ended").code(), stdout)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Ended already, in the ordinary case.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn signals_end_a_link_and_remove_it() {
    if !can_link() {
        return;
    }
    let running = Running::start(&["--stats-json", "--mtu", "1400"]);
    assert_eq!(running.ready["mtu"], 1400);
    assert_eq!(running.ready["left"]["ipv4"], "10.77.0.1");
    assert_eq!(running.ready["right"]["ipv4"], "10.77.0.2");
    let paths = running.paths();
    assert!(paths.iter().all(|path| path.exists()));
    let (code, stdout) = running.signal(Signal::TERM);
    assert_eq!(code, Some(0));
    let stats: Value = serde_json::from_str(&stdout).expect("one JSON object");
    assert_eq!(stats["up"]["packets"], 0);
    assert!(!paths.iter().any(|path| path.exists()));
}

#[test]
fn the_next_link_removes_what_a_killed_one_left() {
    if !can_link() {
        return;
    }
    let killed = Running::start(&[]);
    let paths = killed.paths();
    assert_eq!(killed.signal(Signal::KILL).0, None);
    // Nobody asserts that they are still there: any other test may have started a link by now.
    let next = Running::start(&[]);
    assert!(!paths.iter().any(|path| path.exists()));
    assert!(next.paths().iter().all(|path| path.exists()));
    assert_eq!(next.signal(Signal::INT).0, Some(0));
}

#[test]
fn a_link_lives_as_long_as_its_command() {
    if !can_link() {
        return;
    }
    let output = run(&["link", "-q", "--", "sh", "-c", "cat /proc/net/dev; exit 7"]);
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("columba0:"), "{text}");
    let missing = run(&["link", "-q", "--", "/no/such/program"]);
    assert_eq!(missing.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&missing.stderr);
    assert!(stderr.contains("/no/such/program"), "{stderr}");
}

#[test]
fn a_command_is_ended_with_the_link() {
    if !can_link() {
        return;
    }
    let mut running = Running::start(&["--", "sh", "-c", "echo begun; exec sleep 1000"]);
    let mut line = String::new();
    running.stdout.read_line(&mut line).expect("a line");
    assert_eq!(line, "begun\n");
    let (code, _) = running.signal(Signal::TERM);
    assert_eq!(code, Some(128 + Signal::TERM.as_raw()));
}

#[test]
fn programs_can_be_run_at_either_end() {
    if !can_link() {
        return;
    }
    let running = Running::start(&[]);
    for (end, address) in [("left", "10.77.0.1"), ("right", "10.77.0.2")] {
        let name = running.ready[end]["name"].as_str().expect("a name");
        let table = "/proc/net/fib_trie";
        let output = run(&["link", "exec", name, "--", "cat", table]);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains(address), "{text}");
    }
    let inside = "$PROGRAM link exec right -- cat /proc/net/fib_trie";
    let nested = program()
        .args(["link", "-q", "--", "sh", "-c", inside])
        .env("PROGRAM", env!("CARGO_BIN_EXE_columba-loss-sim"))
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&nested.stdout);
    assert!(text.contains("10.77.0.2"), "{text}");
    let nowhere = run(&["link", "exec", "columba-nowhere", "--", "true"]);
    assert_eq!(nowhere.status.code(), Some(1));
}

#[test]
fn wrong_usage_of_a_link_is_explained() {
    for (arguments, expected) in [
        (&["--mtu", "20"][..], "--mtu"),
        (&["--loss", "11"], "--loss"),
        (&["--listen", "127.0.0.1:0"], "--listen"),
        (&["exec", "left"], "COMMAND"),
    ] {
        let output = run(&[&["link"], arguments].concat());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains(expected), "{stderr}");
    }
    let help = run(&["link", "--help"]);
    let text = String::from_utf8_lossy(&help.stdout);
    assert!(
        text.contains("Examples:") && text.contains("--burst-loss"),
        "{text}"
    );
}
