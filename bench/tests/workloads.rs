//! The workloads themselves, small: real processes, as a person starts them.
#![allow(missing_docs, reason = "tests")]

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

const DEMO: &str = env!("CARGO_BIN_EXE_columba-demo");
const BENCH: &str = env!("CARGO_BIN_EXE_columba-bench");

fn run(program: &str, arguments: &[&str]) -> Output {
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("it starts")
}

fn json(output: &Output) -> Value {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {errors}", output.status);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(text.lines().count(), 1, "{text}");
    serde_json::from_str(&text).expect("JSON")
}

fn fields(row: &Value) -> Vec<&str> {
    let mut fields: Vec<&str> = row
        .as_object()
        .expect("an object")
        .keys()
        .map(String::as_str)
        .collect();
    fields.sort_unstable();
    fields
}

#[test]
fn the_demo_brings_every_file_over_a_bad_network() {
    let arguments = [
        "--", "--json", "--mib", "2", "--loss", "10%", "--delay", "2ms",
    ];
    let row = json(&run(DEMO, &arguments));
    let expected = [
        "bytes",
        "chat_ms",
        "files",
        "goodput_bytes_per_second",
        "loss_seen",
        "ok",
        "packet_rtt_ms",
        "retransmitted",
    ];
    assert_eq!(fields(&row), expected);
    assert_eq!(row["ok"], true);
    assert!(
        row["files"].as_u64() > Some(50) && row["bytes"].as_u64() > Some(2 << 20),
        "{row}"
    );
    assert!(row["retransmitted"].as_u64() > Some(0), "{row}");
    let loss = row["loss_seen"].as_f64().expect("a number");
    assert!((0.05..0.15).contains(&loss), "{row}");
    for field in ["chat_ms", "packet_rtt_ms"] {
        // Twice the delay is the least there can be, for a message to the other as for a round trip; but a histogram's
        // values are rounded.
        let (p50, p99) = (row[field]["p50"].as_f64(), row[field]["p99"].as_f64());
        assert!(p50 >= Some(3.9) && p99 >= p50, "{row}");
    }
}

#[test]
fn the_demo_takes_any_folder_and_plaintext() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("below the folder")).expect("created");
        std::fs::write(path, content).expect("written");
    };
    file("empty", b"");
    file("with space/ünïcode name.txt", b"x");
    file("deep/er/still", &[7; 300_000]);
    let path = folder.path().to_str().expect("UTF-8");
    let row = json(&run(
        BENCH,
        &[
            "demo",
            "--json",
            "--dir",
            path,
            "--plaintext",
            "--loss",
            "0.02",
        ],
    ));
    assert_eq!(
        (row["ok"].as_bool(), row["files"].as_u64()),
        (Some(true), Some(3))
    );
    assert_eq!(row["bytes"], 300_001);
}

#[test]
fn a_scenario_is_survived_and_a_wrong_name_is_explained() {
    let row = json(&run(BENCH, &["scenarios", "every-4th-dropped", "--json"]));
    assert_eq!(
        (&row["ok"], &row["bytes"]),
        (&true.into(), &1_000_000.into())
    );
    let retransmitted = row["retransmitted_packets"].as_u64();
    assert!(retransmitted.is_some_and(|packets| packets > 100), "{row}");
    let wrong = run(BENCH, &["scenarios", "rain"]);
    assert_eq!(wrong.status.code(), Some(2));
}

#[test]
fn wrong_usage_is_told_and_nothing_stays_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = Command::new(DEMO)
        .args(["--loss", "200%", "--mib", "1"])
        .env("TMPDIR", folder.path())
        .output()
        .expect("it starts");
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("--loss"), "{text}");
    assert!(is_empty(folder.path()));
}

#[cfg(unix)]
#[test]
fn an_interrupted_demo_leaves_nothing_behind() {
    use std::io::{BufRead, BufReader};

    let folder = tempfile::tempdir().expect("a folder");
    let mut child = Command::new(DEMO)
        .args(["--mib", "8", "--rate", "1mbit"])
        .env("TMPDIR", folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut stderr = BufReader::new(child.stderr.take().expect("piped"));
    // The second line is a message of the chat: everything runs by now.
    for _ in 0..2 {
        let mut line = String::new();
        assert_ne!(
            stderr.read_line(&mut line).expect("readable"),
            0,
            "it ended early"
        );
    }
    assert!(!is_empty(folder.path()));
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
    assert_eq!(child.wait().expect("waited for").code(), Some(143));
    assert!(is_empty(folder.path()));
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).expect("listed").next().is_none()
}
