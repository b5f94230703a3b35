//! Loss × round trip × buffer, and flows that share: what came of it when it was last looked at.
//!
//! The figures stand in `matrix.txt`; a test compares with them, within a small tolerance, so that a
//! change of a controller shows all that it changes. To accept new figures:
//!
//! ```sh
//! UPDATE_MATRIX=1 cargo test -p columba-core matrix
//! ```

use super::Algorithm;
use super::scenarios::jain;
use super::sim::{FlowSetup, Scenario, mbit};
use std::fmt::Write as _;
use std::time::Duration;

const STORED: &str = include_str!("matrix.txt");

/// By how much a share may differ from the stored one: half of what anyone would notice.
const TOLERANCE: f64 = 0.02;

/// The same where many flows divide a path: fairness depends on more chances.
const FAIRNESS_TOLERANCE: f64 = 0.04;

struct Row {
    name: String,
    scenario: Scenario,
}

fn single(algorithm: Algorithm, path: (u64, u64), loss: f64, queue: f64) -> Row {
    let (megabits, rtt_ms) = path;
    let mut scenario = Scenario::new(algorithm, mbit(megabits), rtt_ms).with_loss(loss);
    scenario.queue_bytes = queue_bytes(&scenario, queue);
    let name = format!(
        "{} {megabits} Mbit/s {rtt_ms} ms loss {} % queue {queue} BDP",
        algorithm.name(),
        loss * 100.0
    );
    Row { name, scenario }
}

/// No queue is shorter than four packets.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a few megabytes"
)]
fn queue_bytes(scenario: &Scenario, products: f64) -> u64 {
    ((scenario.queue_bytes as f64 * products) as u64).max(4 * scenario.datagram)
}

/// `count` flows that start `apart` from each other; counted from 20 s after the last one's start.
fn shared(path: (u64, u64), count: u32, apart: Duration, loss: f64) -> Row {
    let (megabits, rtt_ms) = path;
    let mut scenario = Scenario::new(Algorithm::Bbr, mbit(megabits), rtt_ms).with_loss(loss);
    let first = scenario.flows[0];
    let start = |number| apart * number + Duration::from_micros(137) * number;
    scenario.flows = (0..count)
        .map(|number| FlowSetup {
            start: start(number),
            ..first
        })
        .collect();
    scenario.warm_up = apart * (count - 1) + Duration::from_secs(20);
    scenario.length = scenario.warm_up + Duration::from_secs(15);
    let name = format!(
        "{count} flows {apart:?} apart {megabits} Mbit/s {rtt_ms} ms loss {} %",
        loss * 100.0
    );
    Row { name, scenario }
}

fn beside_cubic(queue: u64) -> Row {
    let mut scenario = Scenario::new(Algorithm::Bbr, mbit(100), 50);
    scenario.queue_bytes *= queue;
    scenario.flows.push(FlowSetup {
        algorithm: Algorithm::Cubic,
        start: Duration::from_secs(3),
        offered: None,
    });
    scenario.length = Duration::from_secs(40);
    scenario.warm_up = Duration::from_secs(10);
    let name = format!("bbr and cubic 100 Mbit/s 50 ms queue {queue} BDP");
    Row { name, scenario }
}

fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for path in [(10, 20), (100, 50), (50, 200)] {
        for loss in [0.0, 0.01, 0.1, 0.3] {
            for queue in [0.1, 1.0, 4.0] {
                rows.push(single(Algorithm::Bbr, path, loss, queue));
            }
        }
        rows.push(single(Algorithm::Cubic, path, 0.0, 1.0));
        rows.push(single(Algorithm::Cubic, path, 0.01, 1.0));
        rows.push(single(Algorithm::Aimd, path, 0.01, 1.0));
    }
    for loss in [0.0, 0.02] {
        for (count, apart_ms) in [(2, 0), (2, 10_000), (8, 0), (8, 1_000), (32, 0)] {
            let apart = Duration::from_millis(apart_ms);
            rows.push(shared((100, 50), count, apart, loss));
        }
        let apart = Duration::from_secs(1);
        rows.push(shared((500, 20), 8, apart, loss));
    }
    rows.extend([1, 2, 5].map(beside_cubic));
    rows
}

/// A row's figures as they are stored: share of the erasure bound, drops in thousandths of the
/// packets sent, mean queue in bandwidth-delay products, Jain's index and the last flow's part.
fn figures(scenario: &Scenario) -> [f64; 5] {
    let report = scenario.run();
    let rate = scenario.rates[0].1 as f64;
    let total = report.total_goodput();
    let last = report.goodput.last().copied().unwrap_or(0.0);
    [
        total / (rate * (1.0 - scenario.loss)),
        report.drop_share * 1_000.0,
        report.mean_queue / (rate * scenario.rtt.as_secs_f64()),
        jain(&report.goodput),
        last / total,
    ]
}

fn line(name: &str, figures: &[f64; 5]) -> String {
    let [efficiency, drops, queue, jain, last] = figures;
    format!("{name}: {efficiency:.3} {drops:.1} {queue:.2} {jain:.3} {last:.3}")
}

/// Whether what was measured is as good as what is stored, or close to it.
fn agrees(stored: &str, measured: &[f64; 5], flows: usize) -> bool {
    let Some((_, values)) = stored.rsplit_once(": ") else {
        return false;
    };
    let values: Vec<f64> = values
        .split(' ')
        .filter_map(|value| value.parse().ok())
        .collect();
    let fairness = if flows > 1 {
        FAIRNESS_TOLERANCE
    } else {
        TOLERANCE
    };
    let tolerances = [TOLERANCE, 5.0, 0.15, fairness, fairness];
    values.len() == measured.len()
        && values
            .iter()
            .zip(measured)
            .zip(tolerances)
            .all(|((stored, measured), tolerance)| (stored - measured).abs() <= tolerance)
}

#[test]
fn the_matrix_is_as_stored() {
    let mut text = String::new();
    let mut different = Vec::new();
    let stored: Vec<&str> = STORED.lines().collect();
    let rows = rows();
    assert!(stored.len() == rows.len() || std::env::var_os("UPDATE_MATRIX").is_some());
    for (number, row) in rows.iter().enumerate() {
        let measured = figures(&row.scenario);
        let line = line(&row.name, &measured);
        let before = stored.get(number).copied().unwrap_or("");
        let same_row = before.starts_with(&format!("{}: ", row.name));
        if !same_row || !agrees(before, &measured, row.scenario.flows.len()) {
            different.push(format!("stored   {before}\nmeasured {line}"));
        }
        writeln!(text, "{line}").expect("strings grow");
    }
    if std::env::var_os("UPDATE_MATRIX").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/congestion/matrix.txt");
        std::fs::write(path, text).expect("matrix.txt is writable");
        return;
    }
    assert!(
        different.is_empty(),
        "UPDATE_MATRIX=1 accepts these:\n{}",
        different.join("\n")
    );
}

/// How flows divide a path, over more seeds than the matrix has; the table in `docs/CONGESTION.md`.
///
/// ```sh
/// SURVEY="32 flows" cargo test -p columba-core fairness_survey -- --ignored --nocapture
/// ```
///
/// `SURVEY` picks rows by what is in their names; without it all are run.
#[test]
#[ignore = "a survey to read"]
fn fairness_survey() {
    let groups = [
        ((100, 50), 2, 10_000),
        ((100, 50), 8, 0),
        ((100, 50), 8, 1_000),
        ((100, 50), 32, 0),
        ((100, 50), 32, 500),
        ((500, 20), 8, 1_000),
        ((500, 20), 32, 0),
        ((500, 20), 32, 500),
        ((50, 200), 2, 10_000),
        ((50, 200), 8, 1_000),
    ];
    for ((path, count, apart_ms), loss) in groups.into_iter().flat_map(|g| [(g, 0.0), (g, 0.02)]) {
        let mut row = shared(path, count, Duration::from_millis(apart_ms), loss);
        row.scenario.length = row.scenario.warm_up + Duration::from_secs(20);
        if std::env::var("SURVEY").is_ok_and(|only| !row.name.contains(&only)) {
            continue;
        }
        let seeds = if loss > 0.0 { 1..=4 } else { 1..=1 };
        let runs = seeds.map(|seed| {
            row.scenario.seed = seed;
            let [efficiency, drops, _, jain, last] = figures(&row.scenario);
            let last = last * f64::from(count);
            format!(
                "{jain:.3} (bound {efficiency:.3}, drops {:.1} %, last {last:.2})",
                drops / 10.0
            )
        });
        println!("{}: {}", row.name, runs.collect::<Vec<_>>().join(", "));
    }
}
