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
fn a_path_fills_its_row() {
    let arguments = [
        "path",
        "--part",
        "matrix",
        "--rows",
        "columba",
        "--over",
        "relay",
        "--loss",
        "10%",
        "--rtt",
        "10ms",
        "--rate",
        "20mbit",
        "--seconds",
        "7",
        "--json",
    ];
    let row = json(&run(BENCH, &arguments));
    assert_eq!(
        (&row["row"], &row["rtt_ms"]),
        (&"columba".into(), &10.0.into())
    );
    let number = |field: &str| row[field].as_f64().expect("a number");
    // The link's rate is the most there can be, by whatever clock.
    assert!((0.0..=20.0).contains(&number("goodput_mbit")), "{row}");
    assert!((number("erasure_bound_mbit") - 17.28).abs() < 1e-9, "{row}");
    assert!(
        (number("ratio") - number("goodput_mbit") / 17.28).abs() < 1e-9,
        "{row}"
    );
    for field in [
        "queue_drop_rate",
        "retransmit_rate",
        "spurious_rate",
        "standing_queue_bdp",
    ] {
        assert!(number(field) >= 0.0, "{row}");
    }
    let wrong = run(BENCH, &["path", "--loss", "much"]);
    assert_eq!(wrong.status.code(), Some(2));
}
fn rows(output: &Output) -> Vec<Value> {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {errors}", output.status);
    let text = String::from_utf8_lossy(&output.stdout);
    let parse = |line| serde_json::from_str(line).expect("JSON");
    text.lines().map(parse).collect()
}

#[test]
fn chat_delivers_everything_and_its_histograms_are_read_and_drawn() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| {
        let path = folder.path().join(name);
        path.to_str().expect("UTF-8").to_owned()
    };
    let (logs, svg) = (path("logs"), path("chat.svg"));
    let words = "chat --subscribers 5 --publishers 2 --rate 50 --seconds 1s --warm-up 0s --json --histograms";
    let mut arguments: Vec<&str> = words.split(' ').collect();
    arguments.extend([logs.as_str(), "--chart", svg.as_str()]);
    let row = json(&run(BENCH, &arguments));
    for field in [
        "deliveries_per_second",
        "delivered",
        "expected",
        "last_recipient_us",
        "latency_us",
        "rate",
        "row",
        "size",
        "subscribers",
        "tls",
    ] {
        assert!(fields(&row).contains(&field), "{field} is missing");
    }
    assert_eq!(row["delivered"], 250, "{row}");
    assert_eq!(row["expected"], 250);
    assert!(row["latency_us"]["p99"].as_f64() >= row["latency_us"]["p50"].as_f64());
    assert!(
        std::fs::read_to_string(&svg)
            .expect("drawn")
            .contains("columba, TLS")
    );

    let log = path("logs/columba-tls.hlog");
    let png = path("chat.png");
    let arguments = ["histogram", "--json", "--png", &png, &log];
    let tags = rows(&run(BENCH, &arguments));
    let counts: Vec<_> = tags
        .iter()
        .map(|row| (&row["tag"], &row["count"]))
        .collect();
    let (latency, last) = ("chat_latency".into(), "chat_last_recipient".into());
    assert_eq!(counts, [(&last, &50.into()), (&latency, &250.into())]);
    let p99 = |row: &Value| row["latency_us"]["p99"].as_f64().expect("a number");
    // The row is rounded to tenths of a microsecond.
    assert!((p99(&tags[1]) - p99(&row)).abs() < 0.051, "{row}");
    let merged = rows(&run(BENCH, &["histogram", "--json", "--merge", &log, &log]));
    assert_eq!(merged[0]["count"], 100);
    let beside = run(BENCH, &["histogram", "--tag", "chat_latency", &log, &log]);
    assert!(String::from_utf8_lossy(&beside.stdout).contains("×1.00"));
}

#[test]
fn chat_in_plaintext_goes_one_at_a_time_and_finds_a_rate() {
    let words = "chat --plaintext --subscribers 3 --publishers 3 --rate 100 --seconds 300ms --warm-up 0s --json";
    let arguments: Vec<&str> = words.split(' ').chain(["--one-at-a-time"]).collect();
    let row = json(&run(BENCH, &arguments));
    assert_eq!(
        (&row["delivered"], &row["tls"]),
        (&90.into(), &false.into())
    );
    // A bound that any machine holds at the first rate, and none at the last.
    let arguments: Vec<&str> = words.split(' ').chain(["--find", "1m"]).collect();
    let row = json(&run(BENCH, &arguments));
    assert!(row["rate"].as_f64() >= Some(100.0), "{row}");
}

#[cfg(target_os = "linux")]
#[test]
fn idle_members_cost_something() {
    let row = json(&run(
        BENCH,
        &["idle", "--clients", "40", "--plaintext", "--json"],
    ));
    assert_eq!((&row["clients"], &row["tls"]), (&40.into(), &false.into()));
    assert!(row["bytes_per_client"].is_u64(), "{row}");
    // Of pages shared with the programs of other tests a process has now more, now less.
    let bytes = row["anonymous_bytes_per_client"].as_u64();
    assert!((Some(100)..Some(1_000_000)).contains(&bytes), "{row}");
}

#[test]
fn chat_goes_on_beside_downloads() {
    let words = "mixed --downloads 2 --mib 16 --rate 20mbit --delay 1ms --subscribers 4 --messages 20 --seconds 3s --warm-up 0s --json";
    let arguments: Vec<&str> = words.split(' ').collect();
    let rows = rows(&run(BENCH, &arguments));
    let names: Vec<_> = rows.iter().map(|row| &row["row"]).collect();
    assert_eq!(names, ["alone", "downloads"]);
    for row in &rows {
        assert_eq!(
            (&row["delivered"], &row["expected"]),
            (&240.into(), &240.into())
        );
        assert!(row["server_us"]["p99"].as_f64() > Some(0.0), "{row}");
    }
    assert!(rows[1]["download_bytes_per_second"].as_f64() > Some(1e5));
}

#[test]
fn many_clients_get_the_same_file_at_once() {
    let words = "many --clients 12 --processes 2 --size 200k --json";
    let arguments: Vec<&str> = words.split(' ').collect();
    let row = json(&run(BENCH, &arguments));
    assert_eq!((&row["identical"], &row["failed"]), (&12.into(), &0.into()));
    assert_eq!(row["bytes"], 200 << 10, "{row}");
}

#[test]
fn a_log_that_is_none_is_refused_by_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("broken.hlog");
    std::fs::write(&path, "#[StartTime: 1.0]\n1,2,3\n").expect("written");
    let output = run(BENCH, &["histogram", path.to_str().expect("UTF-8")]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        text.contains("broken.hlog") && text.contains("line 2"),
        "{text}"
    );
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
