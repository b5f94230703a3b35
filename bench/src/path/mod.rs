//! What a path lets through: goodput beside the erasure bound, queues, convergence and fairness.
//!
//! `matrix` measures one flow on each of many paths, `convergence` several flows on one. `course` is the path, over the
//! simulator's relay or its packet-level link; `columba`, `tcp` and `peers` are flows on it; `samples` is what had arrived when.

mod columba;
mod convergence;
mod course;
mod matrix;
mod peers;
mod samples;
#[cfg(target_os = "linux")]
mod tcp;

use std::time::Duration;

use anyhow::Result;
use clap::{Args, ValueEnum};
use columba_values::{parse_bit_rate, parse_probability, parse_time_with_unit};
use serde::Serialize;

use crate::progress::Progress;
use crate::report;
use crate::stage::BadUsage;
use crate::transports::Kind;

pub(crate) use course::erasure_bound_mbit;
#[cfg(target_os = "linux")]
pub(crate) use {
    columba::Flows,
    course::{Course, Over, Road},
    samples::Samples,
    tcp::TcpFlow,
};

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum RowName {
    /// Columba, over the relay and over the link
    Columba,
    /// The kernel's TCP with CUBIC, over the link
    TcpCubic,
    /// The kernel's TCP with BBR, over the link
    TcpBbr,
    /// quinn over the relay, in builds with the feature `peers`
    Quinn,
    /// s2n-quic over the relay, in builds with the feature `peers`
    #[value(name = "s2n-quic")]
    S2nQuic,
}

impl RowName {
    /// Whether this build has it.
    fn is_in_this_build(self) -> bool {
        match self {
            Self::Columba | Self::TcpCubic | Self::TcpBbr => true,
            Self::Quinn => Kind::Quinn.transport().is_some(),
            Self::S2nQuic => Kind::S2nQuic.transport().is_some(),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Columba => "columba",
            Self::TcpCubic => "tcp-cubic",
            Self::TcpBbr => "tcp-bbr",
            Self::Quinn => "quinn",
            Self::S2nQuic => "s2n-quic",
        }
    }
}

/// Half of the workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// One flow on each path
    Matrix,
    /// Several flows on one path, and one beside TCP CUBIC
    Convergence,
}

/// What packets travel over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Carrier {
    /// The simulator's proxy
    Relay,
    /// The simulator's packet-level link (Linux, root)
    Link,
}

const LOSSES: &str = "0,0.1%,1%,5%,10%,20%,30%";
const RTTS: &str = "10ms,50ms,200ms";
const RATES: &str = "20mbit,100mbit,500mbit";

/// Options of the workload.
#[derive(Debug, Args)]
pub(crate) struct PathArgs {
    /// Loss each way
    #[arg(long, value_name = "P,...", value_delimiter = ',', default_value = "0,1%,10%,30%", value_parser = probability)]
    loss: Vec<f64>,
    /// Round trips
    #[arg(long, value_name = "TIME,...", value_delimiter = ',', default_value = "50ms,200ms", value_parser = time)]
    rtt: Vec<Duration>,
    /// Rates of the link
    #[arg(long, value_name = "RATE,...", value_delimiter = ',', default_value = "100mbit", value_parser = rate)]
    rate: Vec<f64>,
    /// What is measured [default: all that can be here]
    #[arg(long, value_name = "ROW,...", value_delimiter = ',')]
    rows: Vec<RowName>,
    /// What packets travel over [default: both where there is root]
    #[arg(long, value_name = "WHAT,...", value_delimiter = ',')]
    over: Vec<Carrier>,
    /// Only one half
    #[arg(long, value_name = "HALF")]
    part: Option<Part>,
    /// The whole matrix: loss 0, 0.1, 1, 5, 10, 20, 30 %, 10, 50, 200 ms, 20, 100, 500 Mbit/s (hours)
    #[arg(long, conflicts_with_all = ["loss", "rtt", "rate"])]
    all: bool,
    /// Queue before the link, in bandwidth-delay products; 64 kB are the least
    #[arg(long, value_name = "N", default_value_t = 1.0)]
    queue_bdp: f64,
    /// How long each flow is watched; from the fifth second on it counts as steady
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(u64).range(7..=600))]
    seconds: u64,
    /// From this follows which packets are lost
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// One JSON object a row on standard output
    #[arg(long)]
    json: bool,
}

fn probability(text: &str) -> Result<f64, String> {
    parse_probability(text).map_err(|error| error.to_string())
}

fn time(text: &str) -> Result<Duration, String> {
    parse_time_with_unit(text).map_err(|error| error.to_string())
}

fn rate(text: &str) -> Result<f64, String> {
    let bits = parse_bit_rate(text).map_err(|error| error.to_string())?;
    Ok(bits as f64 / 1e6)
}

/// A list as the command line has it; the constants above are known to be right.
fn list<T>(text: &str, parse: fn(&str) -> Result<T, String>) -> Vec<T> {
    text.split(',')
        .filter_map(|item| parse(item).ok())
        .collect()
}

impl PathArgs {
    fn losses(&self) -> Vec<f64> {
        if self.all {
            list(LOSSES, probability)
        } else {
            self.loss.clone()
        }
    }

    fn rtts(&self) -> Vec<Duration> {
        if self.all {
            list(RTTS, time)
        } else {
            self.rtt.clone()
        }
    }

    fn rates(&self) -> Vec<f64> {
        if self.all {
            list(RATES, rate)
        } else {
            self.rate.clone()
        }
    }

    fn has_row(&self, row: RowName) -> bool {
        self.rows.is_empty() || self.rows.contains(&row)
    }

    fn goes_over(&self, over: Carrier) -> bool {
        match over {
            Carrier::Relay => self.over.is_empty() || self.over.contains(&over),
            Carrier::Link if self.over.is_empty() => can_link(),
            Carrier::Link => self.over.contains(&over),
        }
    }

    fn watched(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}

/// Whether links can be made here.
fn can_link() -> bool {
    #[cfg(target_os = "linux")]
    {
        use columba_loss_sim::ip_link::{IpLink, IpLinkConfig};
        IpLink::create(&IpLinkConfig::default()).is_ok()
    }
    #[cfg(not(target_os = "linux"))]
    false
}

/// Runs the workload; it only measures, and so never fails by what it sees.
pub(crate) fn run(args: &PathArgs) -> Result<bool> {
    let progress = Progress::new(args.json);
    if let Some(row) = args.rows.iter().find(|row| !row.is_in_this_build()) {
        let (row, flag) = (row.name(), "--features columba-bench/peers");
        return Err(BadUsage(format!(
            "--rows: this build has no {row}: build with {flag}"
        ))
        .into());
    }
    if args.over.is_empty() && !args.goes_over(Carrier::Link) {
        progress.say("no rows over links, and none of TCP: they need Linux and root");
    }
    if args.part != Some(Part::Convergence) {
        matrix::run(args, &progress)?;
    }
    if args.part != Some(Part::Matrix) && args.has_row(RowName::Columba) {
        convergence::run(args, &progress)?;
    }
    Ok(true)
}

/// Prints a row, for scripts or for people.
fn show(row: &impl Serialize, json: bool, text: impl FnOnce() -> String) -> Result<()> {
    if json {
        report::print_json(row)
    } else {
        report::print(&(text() + "\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_matrix_is_read() {
        assert_eq!(
            list(LOSSES, probability),
            [0.0, 0.001, 0.01, 0.05, 0.1, 0.2, 0.3]
        );
        assert_eq!(list(RTTS, time), [10, 50, 200].map(Duration::from_millis));
        assert_eq!(list(RATES, rate), [20.0, 100.0, 500.0]);
    }
}
