//! Bad networks, one after the other, with real processes: every file must arrive identical and in time.
//!
//! The same list as the transport's tests in virtual time (`core/tests/transport/scenarios*.rs`), as far as a relay can play
//! it: a server, `columba-loss-sim` before it, and the client's engine, each a process of its own.

use std::time::Instant;

use anyhow::{Result, bail};
use clap::Args;
use serde::Serialize;

use crate::content;
use crate::progress::Progress;
use crate::report;
use crate::session::{ServerOptions, Session, arguments};
use crate::stage::{BadUsage, Stage};

const NAME: &str = "file.bin";
/// 15 ms one way, 10 Mbit/s, a queue of 25 packets of 1500 bytes.
const BASE: &str = "--delay 15ms --rate 10mbit --queue 37500";

/// One bad network.
struct Scenario {
    name: &'static str,
    bytes: u64,
    /// Impairments besides [`BASE`], of which the last word on each counts.
    impairments: &'static str,
    /// Seconds from the client's start to its end: several times what the path needs.
    deadline_seconds: f64,
}

const fn row(
    name: &'static str,
    bytes: u64,
    impairments: &'static str,
    deadline_seconds: f64,
) -> Scenario {
    Scenario {
        name,
        bytes,
        impairments,
        deadline_seconds,
    }
}

const SCENARIOS: &[Scenario] = &[
    row("clean", 2_000_000, "", 8.0),
    row("long-rtt-handshake", 1_000, "--delay 750ms", 20.0),
    row("transfer-loss", 2_000_000, "--loss 2% --max-burst 3", 10.0),
    row(
        "transfer-corruption",
        2_000_000,
        "--corrupt 2% --max-burst 3",
        10.0,
    ),
    row("every-2nd-dropped", 1_000_000, "--drop-nth 2n", 12.0),
    row("every-4th-dropped", 1_000_000, "--drop-nth 4n", 10.0),
    row("every-16th-dropped", 1_000_000, "--drop-nth 16n", 8.0),
    row("loss-1", 2_000_000, "--loss 1%", 10.0),
    row("loss-5", 2_000_000, "--loss 5%", 10.0),
    row("loss-10", 2_000_000, "--loss 10%", 12.0),
    row("loss-30", 2_000_000, "--loss 30%", 20.0),
    row("loss-50", 2_000_000, "--loss 50%", 60.0),
    row("burst-loss", 2_000_000, "--burst-loss 1%,30%", 15.0),
    row("blackhole", 10_000_000, "--blackhole 5s,2s", 45.0),
    row("port-rebinding", 10_000_000, "--rebind-port 2s,5s", 30.0),
    row(
        "address-rebinding",
        10_000_000,
        "--rebind-address 2s,5s",
        30.0,
    ),
    row("duplicates", 2_000_000, "--duplicate 10%", 10.0),
    row(
        "reordering",
        5_000_000,
        "--delay 100ms --queue 250000 --reorder 10%,5ms",
        20.0,
    ),
    row(
        "jitter",
        2_000_000,
        "--jitter 20ms --distribution normal",
        15.0,
    ),
    row("truncation", 2_000_000, "--truncate 2%", 10.0),
    row("path-of-1280", 2_000_000, "--max-datagram 1252", 10.0),
    row("satellite", 10_000_000, "--delay 300ms --loss 3%", 60.0),
];

/// Options of the scenarios.
#[derive(Debug, Args)]
pub(crate) struct ScenariosArgs {
    /// Which ones [default: all]
    #[arg(value_name = "NAME")]
    names: Vec<String>,
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
    bytes: u64,
    seconds: f64,
    deadline_seconds: f64,
    loss_up: f64,
    loss_down: f64,
    data_packets: u64,
    retransmitted_packets: u64,
}

/// Runs the workload; false when any file differs or came too late.
pub(crate) fn run(args: &ScenariosArgs) -> Result<bool> {
    let chosen = choose(&args.names)?;
    if args.list {
        for scenario in chosen {
            report::print(&format!(
                "{:<20} {BASE} {}\n",
                scenario.name, scenario.impairments
            ))?;
        }
        return Ok(true);
    }
    let progress = Progress::new(args.json);
    let mut failed = Vec::new();
    for scenario in &chosen {
        let row = play(scenario, args, &progress)?;
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

fn choose(names: &[String]) -> Result<Vec<&'static Scenario>> {
    if names.is_empty() {
        return Ok(SCENARIOS.iter().collect());
    }
    let find = |name: &String| {
        SCENARIOS
            .iter()
            .find(|scenario| scenario.name == name)
            .ok_or_else(|| {
                let reason = format!("there is no scenario {name:?}: --list names them");
                anyhow::Error::from(BadUsage(reason))
            })
    };
    names.iter().map(find).collect()
}

/// The impairments as arguments: the last value of each option counts.
fn impairments(scenario: &Scenario, seed: u64) -> Vec<std::ffi::OsString> {
    let mut words: Vec<&str> = Vec::new();
    for pair in BASE
        .split_whitespace()
        .chain(scenario.impairments.split_whitespace())
        .collect::<Vec<_>>()
        .chunks(2)
    {
        if let Some(at) = words.iter().position(|word| *word == pair[0]) {
            words.drain(at..at + 2);
        }
        words.extend(pair);
    }
    let seed = seed.to_string();
    words.extend(["--seed", &seed]);
    arguments(words)
}

fn play(scenario: &Scenario, args: &ScenariosArgs, progress: &Progress) -> Result<Row> {
    let mut stage = Stage::new(None)?;
    let share = stage.make_folder("share")?;
    let source = share.join(NAME);
    content::write_noise(&source, scenario.bytes, args.seed)?;
    let options = ServerOptions {
        share: &share,
        congestion: None,
        plaintext: args.plaintext,
    };
    let mut session = Session::start(&mut stage, options)?;
    session.impair(&mut stage, impairments(scenario, args.seed))?;
    let folder = stage.make_folder("downloads")?;
    let order = session.order(&stage, [NAME], Some(folder), args.max_datagram)?;
    let start = Instant::now();
    let (file, _) = session.download_file(&mut stage, &order, progress)?;
    let seconds = start.elapsed().as_secs_f64();
    let counters = session.transfer_counters(&mut stage)?;
    let Some(path) = session.end(&mut stage)? else {
        bail!("the network told nothing of itself");
    };
    let identical = content::hash_of(&source)? == content::hash_of(&file.target)?;
    Ok(Row {
        workload: "scenarios",
        row: scenario.name,
        ok: identical && file.bytes == scenario.bytes && seconds <= scenario.deadline_seconds,
        bytes: file.bytes,
        seconds,
        deadline_seconds: scenario.deadline_seconds,
        loss_up: path.up.loss_rate,
        loss_down: path.down.loss_rate,
        data_packets: counters.data_packets,
        retransmitted_packets: counters.retransmitted_packets,
    })
}

fn show(row: &Row, json: bool) -> Result<()> {
    if json {
        return report::print_json(row);
    }
    report::print(&format!(
        "{:<20} {:<6} {:>6.2} s of {:>4.0} s, {:>9} bytes, lost {:>4.1} % up {:>4.1} % down, {} of {} packets sent again\n",
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

    #[test]
    fn the_last_word_on_an_impairment_counts() {
        let scenario = row("x", 1, "--loss 1% --delay 300ms", 1.0);
        let expected = arguments([
            "--rate", "10mbit", "--queue", "37500", "--loss", "1%", "--delay", "300ms", "--seed",
            "7",
        ]);
        assert_eq!(impairments(&scenario, 7), expected);
    }

    #[test]
    fn names_are_looked_up() {
        assert_eq!(choose(&[]).expect("all").len(), SCENARIOS.len());
        assert_eq!(
            choose(&["jitter".to_owned()]).expect("one")[0].name,
            "jitter"
        );
        assert!(choose(&["jiter".to_owned()]).is_err());
    }
}
