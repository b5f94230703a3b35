//! Delay that varies without any queue: packets keep their order, as on radio links and busy hosts.

use super::scenarios::{Figures, bbr, run};
use super::sim::{Scenario, mbit};
use std::time::Duration;

/// How a path's delay varies.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Uniformly, up to so many milliseconds.
    Uniform(u64),
    /// Packets are held and released in bursts, so many milliseconds apart.
    Bursts(u64, u64),
}

impl Kind {
    fn apply(self, scenario: &mut Scenario) {
        match self {
            Self::Uniform(ms) => scenario.jitter = Duration::from_millis(ms),
            Self::Bursts(least, most) => {
                scenario.holds = Some((Duration::from_millis(least), Duration::from_millis(most)));
            }
        }
    }
}

/// Rate in megabits per second, round trip in milliseconds, loss, variation.
type Cell = (u64, u64, f64, Kind);

fn run_cell((megabits, rtt_ms, loss, kind): Cell, seed: u64) -> Figures {
    let mut scenario = bbr(mbit(megabits), rtt_ms, loss);
    kind.apply(&mut scenario);
    scenario.seed = seed;
    let percent = loss * 100.0;
    run(
        &format!("{megabits} Mbit/s {rtt_ms} ms {percent} % {kind:?}, seed {seed}"),
        &scenario,
    )
}

/// A few cells of each kind with floors a little below what was measured; `docs/CONGESTION.md` says which are worse.
#[test]
fn bbr_keeps_its_rate_where_the_delay_varies() {
    let cells = [
        ((20, 50, 0.0, Kind::Uniform(10)), 0.93),
        ((20, 50, 0.01, Kind::Uniform(20)), 0.87),
        ((20, 50, 0.1, Kind::Uniform(10)), 0.93),
        ((20, 200, 0.01, Kind::Uniform(40)), 0.88),
        ((100, 50, 0.0, Kind::Uniform(10)), 0.91),
        ((100, 50, 0.01, Kind::Uniform(20)), 0.80),
        ((100, 50, 0.1, Kind::Uniform(10)), 0.88),
        ((100, 200, 0.1, Kind::Uniform(20)), 0.93),
        ((100, 200, 0.3, Kind::Uniform(10)), 0.93),
        ((20, 50, 0.01, Kind::Bursts(10, 30)), 0.95),
        ((20, 50, 0.1, Kind::Bursts(10, 30)), 0.91),
        ((100, 50, 0.01, Kind::Bursts(10, 30)), 0.93),
        ((100, 200, 0.1, Kind::Bursts(10, 30)), 0.95),
    ];
    for (cell, floor) in cells {
        for seed in [1, 2, 3] {
            let figures = run_cell(cell, seed);
            assert!(figures.efficiency > floor, "{cell:?}, seed {seed}");
            let drops = figures.report.drop_share;
            assert!(drops < 0.01 && figures.queue < 0.5, "{cell:?}, seed {seed}");
        }
    }
}

/// The path halves its rate: what then stands in the queue is one, whatever the jitter.
#[test]
fn bbr_sees_a_queue_behind_jitter() {
    for (loss, jitter_ms) in [0.0, 0.01, 0.1, 0.3]
        .into_iter()
        .flat_map(|loss| [(loss, 10), (loss, 20), (loss, 40)])
    {
        let mut scenario = bbr(mbit(100), 50, loss);
        scenario.jitter = Duration::from_millis(jitter_ms);
        scenario.rates.push((Duration::from_secs(10), mbit(50)));
        scenario.length = Duration::from_secs(25);
        scenario.warm_up = Duration::from_secs(13);
        let report = scenario.run();
        let queue = report.mean_queue / (mbit(50) as f64 * 0.05);
        println!(
            "{loss}, {jitter_ms} ms: drops {:.4}, queue {queue:.2} BDP",
            report.drop_share
        );
        assert!(report.drop_share < 0.01 && queue < 0.5);
    }
}

/// All cells: the table behind the figures in `docs/CONGESTION.md`.
///
/// ```sh
/// cargo test -p columba-core jitter_survey -- --ignored --nocapture
/// ```
#[test]
#[ignore = "a survey to read"]
fn jitter_survey() {
    let kinds = [
        Kind::Uniform(0),
        Kind::Uniform(5),
        Kind::Uniform(10),
        Kind::Uniform(20),
        Kind::Uniform(40),
        Kind::Bursts(10, 30),
    ];
    for (megabits, rtt_ms) in [20, 100]
        .into_iter()
        .flat_map(|rate| [20, 50, 200].map(|rtt| (rate, rtt)))
    {
        for loss in [0.0, 0.01, 0.1, 0.3] {
            for kind in kinds {
                for seed in [1, 2, 3] {
                    run_cell((megabits, rtt_ms, loss, kind), seed);
                }
            }
        }
    }
}
