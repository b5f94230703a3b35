//! The program itself: its output, its exit codes, its signals.

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::Instant;

use serde_json::Value;

use crate::support::{EchoServer, PATIENCE, receive, udp_client};

pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_columba-loss-sim"));
    // Nothing of the environment in which the tests run.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("COLUMBA_")) {
        command.env_remove(name);
    }
    command
}

/// Runs the program to its end.
pub(crate) fn run(arguments: &[&str]) -> Output {
    program()
        .args(arguments)
        .output()
        .expect("the program runs")
}

/// A program that is relaying; killed when dropped.
pub(crate) struct Running {
    child: Child,
    stdout: BufReader<ChildStdout>,
    pub(crate) address: SocketAddr,
    control: Option<String>,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command
            .args(["--listen", "127.0.0.1:0", "--ready-json"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("a line");
        let ready: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(ready["event"], "ready");
        let address = ready["address"].as_str().expect("an address");
        Self {
            address: address.parse().expect("an address"),
            control: ready["control"].as_str().map(str::to_owned),
            child,
            stdout,
        }
    }

    /// Waits until a counter of the control socket has some value; needs `--control`.
    pub(crate) fn wait_for(&self, as_wanted: impl Fn(&Value) -> bool) -> Value {
        let control = self.control.as_deref().expect("a control address");
        let start = Instant::now();
        loop {
            let stats = run(&["ctl", "--control", control, "stats"]).stdout;
            let stats = serde_json::from_slice(&stats).expect("JSON");
            if as_wanted(&stats) {
                return stats;
            }
            assert!(start.elapsed() < PATIENCE, "{stats}");
        }
    }

    /// Ends it in good order and gives its counters; needs `--control` and `--stats-json`.
    pub(crate) fn stop(mut self) -> Value {
        let control = self.control.as_deref().expect("a control address");
        let told = run(&["ctl", "--control", control, "stop"]);
        assert_eq!(told.status.code(), Some(0), "{told:?}");
        let mut stdout = String::new();
        self.stdout.read_to_string(&mut stdout).expect("UTF-8");
        assert_eq!(self.child.wait().expect("ended").code(), Some(0));
        serde_json::from_str(&stdout).expect("one JSON object")
    }

    /// Ends it with a signal; gives its exit code, the rest of stdout, and stderr.
    #[cfg(unix)]
    fn signal(mut self, signal: rustix::process::Signal) -> (Option<i32>, String, String) {
        let id = i32::try_from(self.child.id()).expect("a process id");
        let id = rustix::process::Pid::from_raw(id).expect("a process id");
        rustix::process::kill_process(id, signal).expect("signalled");
        let status = self.child.wait().expect("ended");
        let (mut stdout, mut stderr) = (String::new(), String::new());
        self.stdout.read_to_string(&mut stdout).expect("UTF-8");
        let piped = self.child.stderr.as_mut().expect("piped");
        piped.read_to_string(&mut stderr).expect("UTF-8");
        (status.code(), stdout, stderr)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Ended already, in the ordinary case.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(unix)]
#[test]
fn counters_come_as_json() {
    let server = EchoServer::start();
    let upstream = server.address.to_string();
    let running = Running::start(program().args([
        "--upstream",
        &upstream,
        "--stats-json",
        "--down-drop-nth",
        "1",
    ]));
    let client = udp_client(running.address);
    client.send(b"lost").expect("sent");
    client.send(b"coo").expect("sent");
    assert_eq!(receive(&client), b"coo");
    let (code, stdout, _) = running.signal(rustix::process::Signal::TERM);
    assert_eq!(code, Some(0));
    let stats: Value = serde_json::from_str(&stdout).expect("one JSON object");
    assert_eq!(stats["up"]["packets"], 2);
    assert_eq!(stats["up"]["bytes"], 7);
    assert_eq!(stats["up"]["delivered"], 2);
    assert_eq!(stats["down"]["lost"], 1);
    assert_eq!(stats["down"]["loss_rate"], 0.5);
    assert_eq!(stats["down"]["delivered"], 1);
}

#[cfg(unix)]
#[test]
fn people_get_a_table() {
    let server = EchoServer::start();
    let upstream = server.address.to_string();
    let mut command = program();
    command.env("COLUMBA_LOSS_SIM_UPSTREAM", &upstream);
    command.env("COLUMBA_LOSS_SIM_UP_DUPLICATE", "100%");
    let running = Running::start(&mut command);
    let client = udp_client(running.address);
    client.send(b"coo").expect("sent");
    assert_eq!(receive(&client), b"coo");
    assert_eq!(receive(&client), b"coo");
    let (code, stdout, stderr) = running.signal(rustix::process::Signal::INT);
    assert_eq!((code, stdout.as_str()), (Some(0), ""));
    assert!(stderr.contains("relaying TCP and UDP of"), "{stderr}");
    assert!(stderr.contains("duplicated"), "{stderr}");
}

#[test]
fn a_running_proxy_can_be_changed() {
    let server = EchoServer::start();
    let upstream = server.address.to_string();
    let mut command = program();
    command.args(["--upstream", &upstream, "--control", "127.0.0.1:0"]);
    let mut running = Running::start(&mut command);
    let control = running.control.clone().expect("a control address");
    let ctl = |arguments: &[&str]| run(&[&["ctl", "--control", &control], arguments].concat());
    let client = udp_client(running.address);
    client.send(b"coo").expect("sent");
    assert_eq!(receive(&client), b"coo");
    let set = ctl(&["set", "up-duplicate=1.0", "delay=1ms"]);
    assert_eq!(set.status.code(), Some(0), "{set:?}");
    client.send(b"roo").expect("sent");
    assert_eq!([receive(&client), receive(&client)], [b"roo", b"roo"]);
    let stats = ctl(&["stats"]).stdout;
    let stats: Value = serde_json::from_slice(&stats).expect("JSON");
    assert_eq!(stats["up"]["duplicated"], 1);
    for (arguments, expected) in [
        (&["set", "loss=7"][..], "loss: '7' is not a probability"),
        (&["set", "colour=blue"], "no impairment called 'colour'"),
        (&["set", "queue=5k"], "up-queue: has no effect without rate"),
    ] {
        let refused = ctl(arguments);
        assert_eq!(refused.status.code(), Some(2));
        let stderr = String::from_utf8_lossy(&refused.stderr);
        assert!(stderr.contains(expected), "{stderr}");
    }
    assert_eq!(ctl(&["rebind", "port"]).status.code(), Some(0));
    client.send(b"moo").expect("sent");
    assert_eq!(receive(&client), b"moo");
    assert_eq!(ctl(&["stop"]).status.code(), Some(0));
    assert_eq!(running.child.wait().expect("ended").code(), Some(0));
    assert_eq!(ctl(&["stats"]).status.code(), Some(3));
}

#[test]
fn capacity_is_measured() {
    let output = run(&[
        "capacity",
        "--seconds",
        "1",
        "--json",
        "--payload-bytes",
        "100",
    ]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    let rows: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let names: Vec<_> = rows.iter().map(|row| row["row"].as_str()).collect();
    assert_eq!(names, ["trains", "single", "accuracy"].map(Some));
    for row in &rows[..2] {
        assert!(row["packets_per_second"].as_f64() > Some(0.0), "{row}");
        assert!(row["dropped"].is_u64(), "{row}");
    }
    // Nothing arrives too early.
    assert!(rows[2]["delay_error_us"]["least"].as_f64() >= Some(0.0));
    let loss = &rows[2]["loss"];
    let number = |name: &str| loss[name].as_f64().expect("a number");
    assert!(number("off_by").abs() <= number("bound"), "{loss}");
    for wrong in [&["--payload-bytes", "1"][..], &["--over", "tcp"]] {
        let output = run(&[&["capacity"], wrong].concat());
        assert_eq!(output.status.code(), Some(2), "{output:?}");
    }
}

#[test]
fn wrong_usage_is_explained() {
    let base = ["--listen", "127.0.0.1:0", "--upstream", "127.0.0.1:9"];
    for (extra, expected) in [
        (&["--loss", "11"][..], "--loss"),
        (&["--down-blackhole", "5s"], "--down-blackhole"),
        (
            &["--up-queue", "64k"],
            "--up-queue: has no effect without rate or trace",
        ),
        (&["--colour", "blue"], "--colour"),
    ] {
        let output = run(&[&base[..], extra].concat());
        assert_eq!(output.status.code(), Some(2), "{extra:?}");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains(expected), "{stderr}");
        assert!(output.stdout.is_empty());
    }
    assert_eq!(run(&[]).status.code(), Some(2));
}

#[test]
fn a_port_in_use_is_explained() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound").to_string();
    let output = run(&["--listen", &address, "--upstream", "127.0.0.1:9"]);
    assert_eq!(output.status.code(), Some(3));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        stderr.contains(&format!("cannot listen on {address}")),
        "{stderr}"
    );
}

#[test]
fn help_and_version_go_to_stdout() {
    let help = run(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    let text = String::from_utf8_lossy(&help.stdout);
    assert!(
        text.contains("--burst-loss") && text.contains("Examples:"),
        "{text}"
    );
    assert!(!text.contains("--up-loss <P>"), "{text}");
    let version = run(&["--version"]);
    let text = String::from_utf8_lossy(&version.stdout);
    assert!(text.contains(env!("CARGO_PKG_VERSION")), "{text}");
}
