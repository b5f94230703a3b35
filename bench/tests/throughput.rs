//! Every row of throughput, with a few megabytes: real processes, as a person starts them.
#![allow(missing_docs, reason = "tests")]

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

const BENCH: &str = env!("CARGO_BIN_EXE_columba-bench");

/// What scripts rely on.
const PROMISED: [&str; 10] = [
    "workload",
    "row",
    "payload_limit",
    "encrypted",
    "sink",
    "bytes_per_second",
    "cpu_seconds_per_gb",
    "runs",
    "min",
    "max",
];

fn run(arguments: &[&str]) -> Output {
    Command::new(BENCH)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("it starts")
}

fn rows(output: &Output) -> Vec<Value> {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {errors}", output.status);
    let text = String::from_utf8_lossy(&output.stdout);
    let parse = |line| serde_json::from_str(line).expect("JSON");
    text.lines().map(parse).collect()
}

fn number(row: &Value, field: &str) -> f64 {
    row[field].as_f64().expect("a number")
}

fn check(row: &Value) {
    for field in PROMISED {
        assert!(!row[field].is_null(), "{field}: {row}");
    }
    let (min, median, max) = (
        number(row, "min"),
        number(row, "bytes_per_second"),
        number(row, "max"),
    );
    assert!(min > 0.0 && min <= median && median <= max, "{row}");
}

fn bulk(more: &[&str]) -> Value {
    let arguments = [&["bulk", "--runs", "2", "--json"], more].concat();
    let row = rows(&run(&arguments)).remove(0);
    check(&row);
    row
}

#[test]
fn bulk_takes_every_sink_and_protection() {
    let row = bulk(&["--mib", "4", "--plaintext", "--sink", "disk"]);
    let words = (&row["sink"], &row["encrypted"], &row["row"]);
    assert_eq!(words, (&"disk".into(), &false.into(), &"columba".into()));
    assert!(number(&row, "packets") > 2000.0, "{row}");
    for field in [
        "allocations_per_packet",
        "client_peak_bytes",
        "server_peak_bytes",
    ] {
        assert!(number(&row, field) > 0.0, "{field}: {row}");
    }
}

#[test]
fn bulk_tells_what_the_sink_takes_when_asked() {
    let rows = rows(&run(&[
        "bulk",
        "--mib",
        "4",
        "--sink",
        "disk",
        "--with-limit",
        "--runs",
        "1",
        "--json",
    ]));
    let names: Vec<&Value> = rows.iter().map(|row| &row["row"]).collect();
    assert_eq!(names, ["limit-write", "columba"]);
}

#[test]
fn bulk_counts_parallel_downloads_clients_and_small_files() {
    let row = bulk(&["--mib", "1", "--parallel", "3", "--clients", "2"]);
    assert_eq!(
        (&row["files"], &row["bytes"]),
        (&6.into(), &(6 << 20).into())
    );
    let row = bulk(&["--files", "60", "--size", "4k"]);
    assert_eq!(
        (&row["workload"], &row["files"], &row["bytes"]),
        (&"small-files".into(), &60.into(), &(60 << 12).into())
    );
    assert!(number(&row, "files_per_second") > 0.0);
    assert_eq!(row["sent_before"], Value::Bool(false));
}

#[test]
fn the_comparison_fills_every_row_and_a_report() {
    let folder = tempfile::tempdir().expect("a folder");
    let runs = folder.path().join("runs");
    let save = format!("--save={}", runs.join("full.jsonl").display());
    let rows = rows(&run(&[
        "compare", "--mib", "4", "--runs", "1", "--files", "40", "--json", &save,
    ]));
    rows.iter().for_each(check);
    let has = |row: &str, limit: u16, encrypted: bool| {
        rows.iter().any(|here| {
            here["row"] == row && here["payload_limit"] == limit && here["encrypted"] == encrypted
        })
    };
    for limit in [1472, 8972] {
        for (row, encrypted) in [
            ("columba", true),
            ("columba", false),
            ("limit-udp", false),
            ("limit-udp-aead", true),
            ("limit-udp-crc", false),
        ] {
            assert!(has(row, limit, encrypted), "{row} {limit}");
        }
        for peer in ["quinn", "s2n-quic"] {
            assert_eq!(has(peer, limit, true), cfg!(feature = "peers"), "{peer}");
        }
    }
    assert_eq!(has("tokio-kcp", 1472, false), cfg!(feature = "peers"));
    assert!(has("tcp", 0, false) && has("tls-tcp", 0, true) && has("columba", 0, true));
    let ratio = rows
        .iter()
        .find(|row| row["row"] == "columba")
        .and_then(|row| row["ratios"]["limit-udp-aead"].as_f64());
    assert!(ratio.is_some_and(|ratio| ratio > 0.0));
    report_of(&runs, folder.path());
}

fn report_of(runs: &Path, folder: &Path) {
    let output = folder.join("BENCHMARKS.md");
    let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    let told = rows(&run(&[
        "report",
        "--json",
        "--runs",
        &text(runs),
        "--output",
        &text(&output),
    ]));
    assert_eq!(told[0]["files"], 1);
    let report = std::fs::read_to_string(&output).expect("written");
    for part in [
        "limit-udp-aead",
        "Small files",
        "full.jsonl",
        "Where Columba stands",
    ] {
        assert!(report.contains(part), "{part}: {report}");
    }
    for plot in ["throughput.svg", "cpu.svg", "small-files.svg"] {
        let svg = std::fs::read_to_string(folder.join("plots").join(plot)).expect("drawn");
        assert!(svg.contains("columba"), "{plot}");
    }
}

#[test]
fn mistakes_are_explained() {
    let complaint = |arguments: &[&str]| {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let unknown = complaint(&["compare", "--rows", "columba,quick"]);
    assert!(unknown.contains("s2n-quic"), "{unknown}");
    let folder = tempfile::tempdir().expect("a folder");
    let empty = folder.path().to_str().expect("UTF-8");
    let nothing = complaint(&["report", "--runs", empty, "--output", "/nowhere"]);
    assert!(nothing.contains("compare --save"), "{nothing}");
    if !cfg!(feature = "peers") {
        let missing = complaint(&["compare", "--rows", "quinn"]);
        assert!(missing.contains("--features"), "{missing}");
    }
}
