//! Whole transfers over simulated paths: what the controllers achieve, and floors for it.
//!
//! Time is virtual and every coin is seeded, so the figures are the same on every machine. They are
//! printed (`cargo test -p columba-core scenarios -- --nocapture`).

use super::Algorithm;
use super::sim::{FlowSetup, Report, Scenario, mbit};
use std::time::Duration;

/// A scenario's figures in the terms of the goals: shares of what the path can do.
pub(super) struct Figures {
    /// Goodput over link rate × (1 − loss).
    pub(super) efficiency: f64,
    /// Mean queue found, in bandwidth-delay products.
    pub(super) queue: f64,
    pub(super) report: Report,
}

pub(super) fn run(name: &str, scenario: &Scenario) -> Figures {
    let report = scenario.run();
    let rate = scenario.rates[0].1 as f64;
    let figures = Figures {
        efficiency: report.total_goodput() / (rate * (1.0 - scenario.loss)),
        queue: report.mean_queue / (rate * scenario.rtt.as_secs_f64()),
        report,
    };
    let Figures {
        efficiency,
        queue,
        report,
    } = &figures;
    println!(
        "{name:36} {efficiency:.3} of the bound, drops {:5.2} % ({:5.2} % with the start), queue {queue:.2} BDP, {} spurious",
        report.drop_share * 100.0,
        report.drop_share_total * 100.0,
        report.spurious,
    );
    figures
}

pub(super) fn bbr(rate: u64, rtt_ms: u64, loss: f64) -> Scenario {
    Scenario::new(Algorithm::Bbr, rate, rtt_ms).with_loss(loss)
}

/// Jain's index of fairness.
pub(super) fn jain(rates: &[f64]) -> f64 {
    let sum: f64 = rates.iter().sum();
    let squares: f64 = rates.iter().map(|rate| rate * rate).sum();
    sum * sum / (rates.len() as f64 * squares)
}

#[test]
fn cubic_and_aimd_fill_a_clean_path() {
    for algorithm in [Algorithm::Cubic, Algorithm::Aimd] {
        let figures = run(algorithm.name(), &Scenario::new(algorithm, mbit(100), 50));
        assert!(figures.efficiency > 0.9);
    }
}

#[test]
fn bbr_delivers_what_random_loss_leaves() {
    for (loss, floor) in [
        (0.0, 0.97),
        (0.001, 0.97),
        (0.01, 0.97),
        (0.05, 0.96),
        (0.1, 0.96),
        (0.2, 0.94),
        (0.3, 0.92),
    ] {
        for seed in [1, 2] {
            let mut scenario = bbr(mbit(100), 50, loss);
            scenario.seed = seed;
            let name = format!("100 Mbit/s, 50 ms, {} %", loss * 100.0);
            let figures = run(&name, &scenario);
            assert!(figures.efficiency > floor);
            assert!(figures.report.drop_share < 0.01);
            assert!(figures.report.drop_share_total < 0.03);
            assert!(figures.queue < 0.5);
        }
    }
}

#[test]
fn bbr_fits_paths_of_every_size() {
    for (megabits, rtt_ms, loss, floor) in [
        (5, 50, 0.01, 0.93),
        (20, 200, 0.02, 0.96),
        (20, 200, 0.3, 0.9),
        (50, 200, 0.02, 0.96),
        (200, 10, 0.1, 0.95),
        (500, 50, 0.01, 0.96),
        (1_000, 1, 0.0, 0.96),
        (1_000, 1, 0.01, 0.95),
    ] {
        let mut scenario = bbr(mbit(megabits), rtt_ms, loss);
        if megabits >= 500 {
            scenario.length = Duration::from_secs(8);
        }
        let name = format!("{megabits} Mbit/s, {rtt_ms} ms, {} %", loss * 100.0);
        let figures = run(&name, &scenario);
        assert!(figures.efficiency > floor);
        assert!(figures.report.drop_share < 0.01);
        assert!(figures.report.drop_share_total < 0.03);
    }
}

#[test]
fn bbr_makes_up_for_loss_in_front_of_the_bottleneck() {
    for loss in [0.1, 0.3] {
        let mut scenario = bbr(mbit(100), 50, loss);
        scenario.loss_first = true;
        let figures = run(&format!("loss first, {} %", loss * 100.0), &scenario);
        // The link could carry its full rate.
        assert!(figures.efficiency * (1.0 - loss) > 0.9);
        assert!(figures.report.drop_share < 0.01);
    }
}

#[test]
fn bbr_starts_fast_enough_for_whole_downloads() {
    for (megabits, rtt_ms, loss, megabytes, floor) in [
        (100, 50, 0.01, 80, 0.92),
        (100, 50, 0.1, 70, 0.90),
        (100, 50, 0.3, 50, 0.84),
        (50, 200, 0.02, 80, 0.88),
    ] {
        let scenario = bbr(mbit(megabits), rtt_ms, loss);
        let report = scenario.run();
        let mut arrived = 0;
        let tenths = report.history[0].iter().position(|bytes| {
            arrived += bytes;
            arrived >= megabytes * 1_000_000
        });
        let seconds = (tenths.expect("it ends in time") + 1) as f64 / 10.0;
        let ideal = megabytes as f64 * 8.0 / (megabits as f64 * (1.0 - loss));
        let name = format!("{megabytes} MB, {megabits} Mbit/s, {} %", loss * 100.0);
        println!("{name:36} {:.3} of the bound", ideal / seconds);
        assert!(ideal / seconds > floor);
    }
}

#[test]
fn bbr_spares_shallow_buffers_and_policers() {
    for (loss, floor) in [(0.0, 0.93), (0.05, 0.93)] {
        for part in [4, 10, 20] {
            let mut scenario = bbr(mbit(100), 50, loss);
            scenario.queue_bytes /= part;
            let name = format!("queue 1/{part} BDP, {} %", loss * 100.0);
            let figures = run(&name, &scenario);
            assert!(figures.efficiency > floor);
            assert!(figures.report.drop_share < 0.03);
        }
        let mut scenario = bbr(mbit(1_000), 50, loss);
        scenario.policer = Some((mbit(50), 100_000));
        let figures = run(&format!("policed to 5 %, {} %", loss * 100.0), &scenario);
        assert!(figures.efficiency > 0.045);
        assert!(figures.report.drop_share < 0.05);
    }
}

#[test]
fn bbr_follows_the_path_down_and_up() {
    for loss in [0.0, 0.05] {
        let mut scenario = bbr(mbit(100), 50, loss);
        scenario.rates.push((Duration::from_secs(8), mbit(20)));
        scenario.rates.push((Duration::from_secs(18), mbit(100)));
        scenario.length = Duration::from_secs(28);
        let figures = run(
            &format!("100, 20, 100 Mbit/s, {} %", loss * 100.0),
            &scenario,
        );
        let share = |from_ms, to_ms, rate: u64| {
            figures.report.rate_between(0, from_ms, to_ms) / (rate as f64 * (1.0 - loss))
        };
        assert!(share(9_000, 18_000, mbit(20)) > 0.9);
        assert!(share(24_000, 28_000, mbit(100)) > 0.9);
        assert!(figures.report.drop_share < 0.02);
    }
}

#[test]
fn bbr_takes_jitter_for_what_it_is() {
    let mut scenario = bbr(mbit(100), 50, 0.01);
    scenario.jitter = Duration::from_millis(10);
    assert!(run("jitter of 10 ms", &scenario).efficiency > 0.9);
}

#[test]
fn bbr_flows_share() {
    for (loss, floor) in [(0.0, 0.9), (0.02, 0.85)] {
        let mut scenario = bbr(mbit(100), 50, loss);
        scenario.flows.push(FlowSetup {
            start: Duration::from_secs(3),
            ..scenario.flows[0]
        });
        scenario.length = Duration::from_secs(40);
        scenario.warm_up = Duration::from_secs(20);
        let figures = run(&format!("two flows, {} %", loss * 100.0), &scenario);
        let index = jain(&figures.report.goodput);
        println!("    Jain's index {index:.3}");
        assert!(index > floor);
        assert!(figures.efficiency > 0.95);
        assert!(figures.report.drop_share < 0.01);
    }
}

/// A chat beside a download waits behind what the download queues.
#[test]
fn bbr_keeps_the_queue_short_for_others() {
    for (megabits, rtt_ms, loss) in [(20, 50, 0.0), (20, 50, 0.01), (100, 50, 0.0)] {
        let scenario = bbr(mbit(megabits), rtt_ms, loss);
        let name = format!("waits at {megabits} Mbit/s, {} %", loss * 100.0);
        let wait = run(&name, &scenario).report.wait_p99;
        println!("    {wait:?}");
        assert!(wait <= Duration::from_millis(17));
    }
}

/// Latecomers that never see the path without a queue must not take overflow for the path's loss
/// and outbid each other.
#[test]
fn bbr_flows_that_join_a_full_queue_do_not_run_away() {
    let mut scenario = bbr(mbit(100), 50, 0.02);
    let first = scenario.flows[0];
    scenario.flows = (0..8_u32)
        .map(|number| FlowSetup {
            start: Duration::from_millis(1_003) * number,
            ..first
        })
        .collect();
    scenario.length = Duration::from_secs(40);
    scenario.warm_up = Duration::from_secs(20);
    let figures = run("eight flows, one a second, 2 %", &scenario);
    println!("    Jain's index {:.3}", jain(&figures.report.goodput));
    assert!(figures.efficiency > 0.95);
    assert!(figures.report.drop_share < 0.05);
    let least = figures
        .report
        .goodput
        .iter()
        .copied()
        .fold(f64::MAX, f64::min);
    assert!(least > mbit(1) as f64, "{least}");
}

#[test]
fn bbr_leaves_room_for_cubic() {
    for queue in [1, 3, 5] {
        let mut scenario = bbr(mbit(100), 50, 0.0);
        scenario.queue_bytes *= queue;
        scenario.flows.push(FlowSetup {
            algorithm: Algorithm::Cubic,
            start: Duration::from_secs(3),
            offered: None,
        });
        scenario.length = Duration::from_secs(40);
        scenario.warm_up = Duration::from_secs(10);
        let figures = run(&format!("beside CUBIC, queue {queue} BDP"), &scenario);
        let share = figures.report.goodput[1] / figures.report.total_goodput();
        println!("    CUBIC's share {share:.2}");
        assert!((0.35..0.9).contains(&share));
    }
}

#[test]
fn bbr_stays_ready_while_the_application_is_slow() {
    let mut scenario = bbr(mbit(100), 50, 0.01);
    scenario.flows[0].offered = Some(mbit(30));
    let report = run("30 Mbit/s offered", &scenario).report;
    // No further than that: jumping to the full rate needs it.
    assert!(report.total_goodput() > 0.97 * 0.99 * mbit(30) as f64);
    assert!(report.pacing_rate.is_some_and(|rate| rate > mbit(30)));
}

#[test]
fn short_paths_get_a_large_window_and_no_pacing() {
    for datagram in [1_472, 65_407] {
        let mut scenario = bbr(mbit(20_000), 0, 0.0);
        scenario.rtt = Duration::from_micros(50);
        scenario.queue_bytes = 16 << 20;
        scenario.datagram = datagram;
        scenario.length = Duration::from_millis(300);
        scenario.warm_up = Duration::from_millis(100);
        let name = format!("20 Gbit/s, 50 µs, {datagram} B");
        let figures = run(&name, &scenario);
        assert!(figures.efficiency > 0.95);
        // Twenty times what the path holds.
        assert!(figures.report.cwnd >= 1 << 20, "{}", figures.report.cwnd);
        assert_eq!(figures.report.pacing_rate, None);
    }
}

#[test]
fn short_paths_with_loss_are_not_stuck() {
    for datagram in [1_472, 65_407] {
        let mut scenario = bbr(mbit(5_000), 0, 0.01);
        scenario.rtt = Duration::from_micros(50);
        scenario.queue_bytes = 4 << 20;
        scenario.datagram = datagram;
        scenario.length = Duration::from_millis(600);
        scenario.warm_up = Duration::from_millis(200);
        let figures = run(&format!("5 Gbit/s, 50 µs, 1 %, {datagram} B"), &scenario);
        assert!(figures.efficiency > 0.9);
        // Each return to large windows may overflow the queue once.
        assert!(figures.report.drop_share < 0.03);
    }
}

/// On a path too short for pacing the window is a fixed one, but never less than what the path takes.
#[test]
fn bbr_fills_fast_local_networks() {
    for (gigabits, queue_bytes) in [
        (10, 1_250_000),
        (10, 300_000),
        (25, 3_000_000),
        (40, 1_000_000),
    ] {
        let mut scenario = bbr(mbit(gigabits * 1_000), 1, 0.0);
        scenario.queue_bytes = queue_bytes;
        scenario.datagram = 8_972;
        scenario.length = Duration::from_secs(2);
        scenario.warm_up = Duration::from_millis(500);
        let name = format!("{gigabits} Gbit/s, 1 ms, queue {queue_bytes}");
        let figures = run(&name, &scenario);
        assert!(figures.efficiency > 0.9, "{name}");
    }
}

/// Both hosts run something else now and then, as where more programs than processors want to run.
#[test]
fn bbr_keeps_its_rate_on_busy_hosts() {
    for (running_ms, away_ms, rtt_ms, loss, floor) in [
        (50, 2, 50, 0.0, 0.95),
        (50, 2, 50, 0.3, 0.93),
        (20, 4, 50, 0.0, 0.90),
        (20, 4, 50, 0.1, 0.88),
        (20, 4, 50, 0.3, 0.82),
        (20, 4, 200, 0.3, 0.90),
        // Away nearly half of the time.
        (10, 8, 50, 0.0, 0.85),
        (10, 8, 50, 0.3, 0.55),
        (10, 8, 200, 0.02, 0.90),
        (10, 8, 20, 0.01, 0.65),
        (20, 20, 200, 0.02, 0.80),
    ] {
        for seed in [1, 2, 3, 4] {
            let mut scenario = bbr(mbit(100), rtt_ms, loss);
            let (running, away) = (running_ms, away_ms);
            scenario.stalls = Some((Duration::from_millis(running), Duration::from_millis(away)));
            scenario.seed = seed;
            let name = format!(
                "{running} ms on, {away} ms off, {rtt_ms} ms, {} %",
                loss * 100.0
            );
            let figures = run(&name, &scenario);
            assert!(figures.efficiency > floor, "{name}, seed {seed}");
        }
    }
}

/// Flows of a server look at the path together, with half a window, every five seconds: not those that are starting.
#[test]
fn bbr_starts_as_fast_across_a_common_look() {
    for start_ms in [3_400, 4_000, 4_400, 4_800] {
        for seed in [1, 2, 3] {
            let mut scenario = bbr(mbit(100), 200, 0.3);
            scenario.flows[0].start = Duration::from_millis(start_ms);
            scenario.seed = seed;
            let report = scenario.run();
            let from = usize::try_from(start_ms).unwrap() + 3_500;
            let share = report.rate_between(0, from, from + 3_000) / (mbit(100) as f64 * 0.7);
            println!("start at {start_ms} ms, seed {seed}: {share:.3} of the bound after 3.5 s");
            assert!(share > 0.75, "start at {start_ms} ms, seed {seed}");
        }
    }
}
