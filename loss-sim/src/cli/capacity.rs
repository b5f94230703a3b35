//! `columba-loss-sim capacity`: what this machine can simulate.

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use serde_json::{Value, json};

use super::{exit, print_line};
use crate::capacity::{
    Accuracy, CapacityError, Over, Plan, Sender, Throughput, measure_accuracy, measure_throughput,
};

/// What it is meant to reach: either of the first two, and the third at 100 Mbit/s.
const GOAL_PACKETS_PER_SECOND: f64 = 200_000.0;
const GOAL_GBIT_PER_SECOND: f64 = 1.0;
const GOAL_P99_US: f64 = 1000.0;

/// What is asked for.
#[derive(Debug, PartialEq)]
pub(super) struct Request {
    plan: Plan,
    json: bool,
    check: bool,
}

/// Why it ends early.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Capacity(#[from] CapacityError),
    #[error("cannot write to stdout: {0}")]
    Output(#[from] io::Error),
}

const AFTER_HELP: &str = "\
Sends datagrams to itself through the proxy (or over a link), first as fast as all of them arrive, from a sender of \
trains (UDP_SEGMENT) and from one that sends each by itself, then at 100 Mbit/s with 25 ms of delay and 5 % of loss. \
Sender, simulator and receiver are a thread each; `direct` leaves the simulator out and shows the error of the \
measurement.

Examples:
  columba-loss-sim capacity
  columba-loss-sim capacity --over link --json

Exit codes: 0 measured, 1 error, or with --check: less than 200,000 packets/s and than 1 Gbit/s, or a p99 of the \
delay error of 1 ms or more, or a loss that chance does not explain.";

pub(super) fn command() -> Command {
    let flag = |name: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue);
    Command::new("capacity")
        .about("Measure how much the simulator carries on this machine, and how exact it is")
        .after_help(AFTER_HELP)
        .arg(
            Arg::new("over")
                .long("over")
                .value_name("WHAT")
                .value_parser(["proxy", "link", "direct"])
                .default_value("proxy")
                .help("What to measure; a link needs Linux and root"),
        )
        .arg(
            Arg::new("payload-bytes")
                .long("payload-bytes")
                .value_name("BYTES")
                .value_parser(value_parser!(u16).range(8..=65_000))
                .default_value("1472")
                .help("UDP payload of each datagram"),
        )
        .arg(
            Arg::new("seconds")
                .long("seconds")
                .value_name("N")
                .value_parser(value_parser!(u64).range(1..=60))
                .default_value("3")
                .help("How long each of the three rows takes"),
        )
        .arg(
            Arg::new("seed")
                .long("seed")
                .value_name("N")
                .value_parser(value_parser!(u64))
                .default_value("1")
                .help("From this follows which datagrams are lost"),
        )
        .arg(flag("json").help("One JSON object a row on stdout"))
        .arg(flag("check").help("Fail when it is less than it should be"))
}

/// Makes a request of the arguments.
pub(super) fn request(matches: &ArgMatches) -> Result<Request, String> {
    let over = match matches.get_one::<String>("over").map(String::as_str) {
        Some("direct") => Over::Direct,
        #[cfg(target_os = "linux")]
        Some("link") => Over::Link,
        #[cfg(not(target_os = "linux"))]
        Some("link") => return Err("--over link: links need Linux".into()),
        _ => Over::Proxy,
    };
    let payload_bytes = matches.get_one::<u16>("payload-bytes").copied();
    let seconds = matches.get_one("seconds").copied();
    Ok(Request {
        plan: Plan {
            over,
            payload_bytes: payload_bytes.unwrap_or(1472).into(),
            duration: Duration::from_secs(seconds.unwrap_or(3)),
            seed: matches.get_one("seed").copied().unwrap_or(1),
        },
        json: matches.get_flag("json"),
        check: matches.get_flag("check"),
    })
}

/// Measures and prints.
pub(super) fn run(request: &Request) -> Result<ExitCode, Failure> {
    let mut is_fast = false;
    for sender in Sender::BOTH {
        let row = measure_throughput(request.plan, sender)?;
        is_fast |= row.packets_per_second >= GOAL_PACKETS_PER_SECOND
            || row.gbit_per_second >= GOAL_GBIT_PER_SECOND;
        show(request, sender.name(), &json!(row), || {
            describe_throughput(sender, &row)
        })?;
    }
    let row = measure_accuracy(request.plan)?;
    let is_exact = row.delay_error_us.p99 < GOAL_P99_US
        && row.loss.is_none_or(|loss| loss.off_by.abs() <= loss.bound);
    show(request, "accuracy", &json!(row), || describe_accuracy(&row))?;
    let code = match request.check && !(is_fast && is_exact) {
        true => exit::GENERAL,
        false => 0,
    };
    Ok(ExitCode::from(code))
}

fn show(
    request: &Request,
    name: &str,
    row: &Value,
    text: impl FnOnce() -> String,
) -> io::Result<()> {
    if !request.json {
        return print_line(&text());
    }
    let mut line = json!({"row": name, "over": request.plan.over.name()});
    if let (Some(line), Some(row)) = (line.as_object_mut(), row.as_object()) {
        line.extend(row.clone());
    }
    print_line(&line.to_string())
}

fn describe_throughput(sender: Sender, row: &Throughput) -> String {
    let sender = match sender {
        Sender::Trains => "in trains",
        Sender::Single => "one by one",
    };
    let cpu = row.cpu_us_per_packet.map_or_else(String::new, |cpu| {
        format!(
            "; {cpu:.2} us of CPU time each: {:.0}/s with a core of its own",
            1e6 / cpu.max(1e-9)
        )
    });
    format!(
        "{sender:<11} {:>9.0} datagrams/s of {} bytes, {:.2} Gbit/s with headers, {} dropped{cpu}",
        row.packets_per_second, row.payload_bytes, row.gbit_per_second, row.dropped
    )
}

fn describe_accuracy(row: &Accuracy) -> String {
    let error = &row.delay_error_us;
    let loss = row.loss.map_or_else(String::new, |loss| {
        format!(
            "\n{:<11} {:.4} % achieved, {:.4} % asked for: off by {:+.0} of {} where chance allows {:.0}; {} dropped \
             beyond that",
            "loss",
            100.0 * loss.achieved,
            100.0 * loss.asked_for,
            loss.off_by,
            row.packets,
            loss.bound,
            loss.queue_drops
        )
    });
    format!(
        "{:<11} at {} Mbit/s, in us: least {:.0}, p50 {:.0}, p90 {:.0}, p99 {:.0}, p99.9 {:.0}, most {:.0}{loss}",
        "delay error",
        row.megabits_per_second,
        error.least,
        error.p50,
        error.p90,
        error.p99,
        error.p999,
        error.most
    )
}
