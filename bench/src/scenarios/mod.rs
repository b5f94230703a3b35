//! Bad networks, one after the other, with real processes: every file must arrive identical and in time.
//!
//! The same list as the transport's tests in virtual time (`core/tests/transport/scenarios*.rs`), as far as a relay can play
//! it: a server, `columba-loss-sim` before it, and the client's engine, each a process of its own. `table` lists the
//! networks, `play` plays one, `cross_traffic` shares a link with a TCP flow.

#[cfg(target_os = "linux")]
mod cross_traffic;
mod play;
mod table;

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use crate::progress::Progress;
use crate::report;
use crate::stage::BadUsage;
use table::{BASE, SCENARIOS, Scenario};

/// The scenario that needs root: it is played when it is named.
const CROSS_TRAFFIC: &str = "cross-traffic";

/// Options of the scenarios.
#[derive(Debug, Args)]
pub(crate) struct ScenariosArgs {
    /// Which ones [default: all but cross-traffic, which needs root]
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Some that take less than a minute together
    #[arg(long, conflicts_with = "names")]
    short: bool,
    /// Only print the names and what each does to the network
    #[arg(long)]
    list: bool,
    /// Largest UDP payload in bytes; 0: as large as the path takes
    #[arg(long, value_name = "BYTES", default_value_t = 1472)]
    max_datagram: u16,
    /// No TLS and no encryption
    #[arg(long)]
    plaintext: bool,
    /// From this follows all that the network leaves to chance
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// One JSON object a row on standard output
    #[arg(long)]
    json: bool,
}

/// How one went.
#[derive(Debug, Serialize)]
struct Row {
    workload: &'static str,
    row: &'static str,
    ok: bool,
    /// Size of the file.
    bytes: u64,
    /// Downloads, over all networks of the scenario.
    runs: u32,
    /// From the clients' start to their end, all together.
    seconds: f64,
    deadline_seconds: f64,
    /// The slowest of the runs.
    slowest_seconds: f64,
    /// Of the transfers alone, without the start of processes.
    goodput_mbit: f64,
    /// Of the last network.
    loss_up: f64,
    loss_down: f64,
    data_packets: u64,
    retransmitted_packets: u64,
    #[serde(skip)]
    transfer_seconds: f64,
}

impl Row {
    fn new(scenario: &'static Scenario) -> Self {
        Self {
            workload: "scenarios",
            row: scenario.name,
            ok: true,
            bytes: scenario.bytes,
            runs: 0,
            seconds: 0.0,
            deadline_seconds: scenario.deadline_seconds,
            slowest_seconds: 0.0,
            goodput_mbit: 0.0,
            loss_up: 0.0,
            loss_down: 0.0,
            data_packets: 0,
            retransmitted_packets: 0,
            transfer_seconds: 0.0,
        }
    }

    /// One more download, which took so long as a process and as a transfer.
    fn add_run(&mut self, seconds: f64, transfer_seconds: f64) {
        self.runs += 1;
        self.seconds += seconds;
        self.slowest_seconds = self.slowest_seconds.max(seconds);
        self.transfer_seconds += transfer_seconds;
        let bytes = self.bytes * u64::from(self.runs);
        self.goodput_mbit = report::rate(bytes, self.transfer_seconds) * 8.0 / 1e6;
    }
}

/// Runs the workload; false when any file differs or came too late.
pub(crate) fn run(args: &ScenariosArgs) -> Result<bool> {
    if args.names == [CROSS_TRAFFIC] && !args.list {
        return play_cross_traffic(args);
    }
    let chosen = choose(args)?;
    if args.list {
        return list(&chosen);
    }
    let progress = Progress::new(args.json);
    let mut failed = Vec::new();
    for scenario in &chosen {
        let row = play::play(scenario, args, &progress)?;
        progress.clear();
        show(&row, args.json)?;
        if !row.ok {
            failed.push(row.row);
        }
    }
    if !failed.is_empty() {
        report::complain(&format!("error: not survived: {}", failed.join(", ")));
    } else if !args.json {
        report::print(&format!("all {} survived\n", chosen.len()))?;
    }
    Ok(failed.is_empty())
}

#[cfg(target_os = "linux")]
fn play_cross_traffic(args: &ScenariosArgs) -> Result<bool> {
    cross_traffic::play(args)
}

#[cfg(not(target_os = "linux"))]
fn play_cross_traffic(_args: &ScenariosArgs) -> Result<bool> {
    Err(BadUsage("cross-traffic: links between namespaces need Linux".to_owned()).into())
}

fn list(chosen: &[&Scenario]) -> Result<bool> {
    for scenario in chosen {
        let networks = match scenario.networks {
            [one] => (*one).to_owned(),
            several => format!("{} networks: {} ...", several.len(), several.join(" | ")),
        };
        let changes = if scenario.timeline.is_empty() {
            String::new()
        } else {
            format!("; then {}", scenario.timeline.trim().replace('\n', " "))
        };
        let name = scenario.name;
        report::print(&format!("{name:<20} {BASE} {networks}{changes}\n"))?;
    }
    let what = "25 MB beside one TCP CUBIC flow, over a link; needs root";
    report::print(&format!("{CROSS_TRAFFIC:<20} {what}\n"))?;
    Ok(true)
}

fn choose(args: &ScenariosArgs) -> Result<Vec<&'static Scenario>> {
    if args.names.is_empty() {
        let all = SCENARIOS.iter();
        return Ok(all.filter(|row| row.is_short || !args.short).collect());
    }
    let find = |name: &String| {
        SCENARIOS
            .iter()
            .find(|scenario| scenario.name == name)
            .ok_or_else(|| {
                let reason = if name == CROSS_TRAFFIC {
                    format!("{CROSS_TRAFFIC} is played alone")
                } else {
                    format!("there is no scenario {name:?}: --list names them")
                };
                anyhow::Error::from(BadUsage(reason))
            })
    };
    args.names.iter().map(find).collect()
}

fn show(row: &Row, json: bool) -> Result<()> {
    if json {
        return report::print_json(row);
    }
    let runs = match row.runs {
        1 => String::new(),
        runs => format!(" x {runs} (slowest {:.2} s)", row.slowest_seconds),
    };
    report::print(&format!(
        "{:<20} {:<6} {:>6.2} s of {:>4.0} s, {:>9} bytes{runs}, lost {:>4.1} % up {:>4.1} % down, {} of {} packets sent again\n",
        row.row,
        if row.ok { "ok" } else { "FAILED" },
        row.seconds,
        row.deadline_seconds,
        row.bytes,
        100.0 * row.loss_up,
        100.0 * row.loss_down,
        row.retransmitted_packets,
        row.data_packets,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(names: &[&str], short: bool) -> ScenariosArgs {
        ScenariosArgs {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            short,
            list: false,
            max_datagram: 1472,
            plaintext: false,
            seed: 1,
            json: false,
        }
    }

    #[test]
    fn names_are_looked_up() {
        let count = |names: &[&str], short| choose(&args(names, short)).map(|rows| rows.len());
        assert_eq!(count(&[], false).expect("all"), SCENARIOS.len());
        let short = count(&[], true).expect("some");
        assert!(0 < short && short < SCENARIOS.len());
        let one = choose(&args(&["jitter"], false)).expect("one");
        assert_eq!(one[0].name, "jitter");
        assert!(choose(&args(&["jiter"], false)).is_err());
        assert!(choose(&args(&["jitter", CROSS_TRAFFIC], false)).is_err());
    }

    #[test]
    fn names_are_told_apart() {
        let mut names: Vec<_> = SCENARIOS.iter().map(|row| row.name).collect();
        names.sort_unstable();
        assert!(names.is_sorted_by(|one, next| one < next));
    }

    #[test]
    fn goodput_is_of_all_runs() {
        let mut row = Row::new(&SCENARIOS[0]);
        row.add_run(3.0, 2.0);
        row.add_run(5.0, 4.0);
        assert_eq!((row.runs, row.seconds, row.slowest_seconds), (2, 8.0, 5.0));
        let expected = 2.0 * row.bytes as f64 * 8.0 / 6.0 / 1e6;
        assert!((row.goodput_mbit - expected).abs() < 1e-9);
    }
}
