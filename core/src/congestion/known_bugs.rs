//! Faults that other implementations have had, each with the run that would show it here.

use super::Algorithm;
use super::sim::{Report, Scenario, mbit};
use std::time::Duration;

fn bbr(rate: u64, rtt_ms: u64) -> Scenario {
    Scenario::new(Algorithm::Bbr, rate, rtt_ms)
}

/// What the sender takes the path's rate for, in multiples of it.
fn belief(report: &Report, rate: u64) -> f64 {
    let pacing = report.pacing_rate.expect("a paced path");
    println!(
        "    paced at {:.2} of the rate",
        pacing as f64 / rate as f64
    );
    pacing as f64 / rate as f64
}

/// quinn: bandwidth from two acknowledgements that arrive close together. Half of ours are lost and the others bunch, so
/// each acknowledges several times what the path carries between it and the one before.
#[test]
fn bunched_acknowledgements_are_no_bandwidth() {
    let mut scenario = bbr(mbit(100), 50);
    scenario.ack_loss = 0.5;
    scenario.jitter = Duration::from_millis(10);
    let report = scenario.run();
    assert!((0.7..1.35).contains(&belief(&report, mbit(100))));
}

/// quinn: a maximum filter that never falls.
#[test]
fn the_believed_bandwidth_falls_with_the_path() {
    let mut scenario = bbr(mbit(100), 50);
    scenario.rates.push((Duration::from_secs(8), mbit(20)));
    scenario.length = Duration::from_secs(16);
    let report = scenario.run();
    assert!((0.7..1.35).contains(&belief(&report, mbit(20))));
}

/// Several: gains that are compared with, or added to, bytes. Then the window is right for one size of path only.
#[test]
fn gains_fit_windows_of_every_size() {
    for (megabits, rtt_ms) in [(5, 20), (20, 200), (100, 50), (1_000, 10)] {
        let mut scenario = bbr(mbit(megabits), rtt_ms);
        scenario.length = Duration::from_secs(9);
        let report = scenario.run();
        let product = mbit(megabits) * rtt_ms / 1_000;
        let window = report.cwnd as f64 / product as f64;
        println!("{megabits} Mbit/s, {rtt_ms} ms: window {window:.2} products");
        assert!((0.95..2.4).contains(&window));
        assert!((0.7..1.35).contains(&belief(&report, mbit(megabits))));
    }
}

/// picoquic#2118: a window that stays at a few packets where round trips are tiny.
#[test]
fn the_window_grows_where_round_trips_are_tiny() {
    for micros in [10, 50, 200, 1_000] {
        let mut scenario = bbr(mbit(5_000), 0);
        scenario.rtt = Duration::from_micros(micros);
        scenario.queue_bytes = 16 << 20;
        scenario.length = Duration::from_millis(300);
        scenario.warm_up = Duration::from_millis(100);
        let report = scenario.run();
        let share = report.total_goodput() / mbit(5_000) as f64;
        println!(
            "{micros} µs: {share:.3} of the rate, window {}",
            report.cwnd
        );
        assert!(share > 0.95 && report.cwnd > 100 * 1_472);
    }
}

/// xquic#552: counters that end at 4 GB.
#[test]
fn four_gigabytes_are_no_border() {
    let mut scenario = bbr(mbit(10_000), 20);
    scenario.datagram = 65_407;
    scenario.length = Duration::from_secs(8);
    scenario.warm_up = Duration::from_secs(5);
    let report = scenario.run();
    let share = report.total_goodput() / mbit(10_000) as f64;
    println!("{share:.3} of the rate from the sixth gigabyte on");
    assert!(share > 0.95);
}
