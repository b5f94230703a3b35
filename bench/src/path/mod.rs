//! What a path lets through: goodput beside the erasure bound, whole downloads, reordering, small files, and how flows
//! share it.
//!
//! `plan` says what is measured when, `repeated` how often, `aims` what whole downloads are to reach. `matrix` measures one
//! flow on a path, `whole` downloads from their first packet to their verified end, `sharing` several flows at once. `course`
//! is the path, over the simulator's relay or its packet-level link; `columba`, `tcp` and `peers` are flows on it; `samples` is
//! what had arrived when.

mod aims;
mod columba;
mod course;
mod matrix;
mod peers;
mod plan;
mod repeated;
mod samples;
mod sharing;
#[cfg(target_os = "linux")]
mod tcp;
mod whole;

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use columba_values::{parse_bit_rate, parse_probability, parse_size, parse_time_with_unit};

use crate::progress::Progress;
use crate::saved::{SaveArgs, Saved};
use crate::stage::BadUsage;
use crate::transports::Kind;

pub(crate) use aims::AIMS;
pub(crate) use course::{Over, erasure_bound_mbit};
#[cfg(target_os = "linux")]
pub(crate) use {
    columba::Flows,
    course::{Course, Road},
    samples::Samples,
    tcp::TcpFlow,
};

const EXAMPLES: &str = "\
Examples:
  columba-bench path
  columba-bench path --part matrix --loss 0,5% --rtt 50ms --rate 100mbit --rows columba,tcp-bbr
  columba-bench path --part whole --over relay --runs 3
  columba-bench path --part whole --size 200M --rate 50mbit --rtt 100ms --loss 3%
  columba-bench path --part sharing --flows 2,16 --late 10s --loss 2%
  columba-bench path --part reorder,small-files

Links and the rows of TCP need Linux and root; quinn and s2n-quic need a build with `--features columba-bench/peers`.";

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum RowName {
    /// Columba
    Columba,
    /// quinn with its default, CUBIC
    Quinn,
    /// quinn with its BBR
    QuinnBbr,
    /// s2n-quic with its default, CUBIC
    #[value(name = "s2n-quic")]
    S2nQuic,
    /// s2n-quic with its BBR
    #[value(name = "s2n-quic-bbr")]
    S2nQuicBbr,
    /// The kernel's TCP with CUBIC, over the link only
    TcpCubic,
    /// The kernel's TCP with BBR, over the link only
    TcpBbr,
}

impl RowName {
    /// What is measured unless somebody asks for other rows: everybody as they come, and TCP with both.
    const USUAL: [Self; 5] = [
        Self::Columba,
        Self::Quinn,
        Self::S2nQuic,
        Self::TcpCubic,
        Self::TcpBbr,
    ];

    /// The transport behind it, where it is another one over UDP.
    fn peer(self) -> Option<Kind> {
        match self {
            Self::Columba | Self::TcpCubic | Self::TcpBbr => None,
            Self::Quinn => Some(Kind::Quinn),
            Self::QuinnBbr => Some(Kind::QuinnBbr),
            Self::S2nQuic => Some(Kind::S2nQuic),
            Self::S2nQuicBbr => Some(Kind::S2nQuicBbr),
        }
    }

    /// Whether this build has it.
    fn is_in_this_build(self) -> bool {
        self.peer().is_none_or(|kind| kind.transport().is_some())
    }

    fn name(self) -> &'static str {
        match self {
            Self::Columba => "columba",
            Self::TcpCubic => "tcp-cubic",
            Self::TcpBbr => "tcp-bbr",
            Self::Quinn => "quinn",
            Self::QuinnBbr => "quinn-bbr",
            Self::S2nQuic => "s2n-quic",
            Self::S2nQuicBbr => "s2n-quic-bbr",
        }
    }
}

/// Part of the workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// One flow on each path, from the fifth second on and as a whole
    Matrix,
    /// Whole downloads on the paths that the design names, or of --size on any
    Whole,
    /// A flow with reordering on a 200 ms path, beside one without
    Reorder,
    /// Many small files, beside one file of their size
    SmallFiles,
    /// Several flows together, a late-comer, and one flow beside TCP CUBIC
    Sharing,
}

/// What packets travel over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Carrier {
    /// The simulator's proxy: UDP only
    Relay,
    /// The simulator's packet-level link (Linux, root)
    Link,
}

const LOSSES: &str = "0,0.1%,1%,5%,10%,20%,30%";
const RTTS: &str = "10ms,50ms,200ms";
const RATES: &str = "20mbit,100mbit,500mbit";
const USUAL_LOSSES: &str = "0,1%,10%,30%";
const USUAL_RTTS: &str = "50ms,200ms";
const USUAL_RATES: &str = "100mbit";

/// Options of the workload.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct PathArgs {
    /// Loss each way [default: 0,1%,10%,30%; for flows that share a path 0]
    #[arg(long, value_name = "P,...", value_delimiter = ',', value_parser = probability)]
    loss: Vec<f64>,
    /// Round trips; where there is to be one path, the first counts [default: 50ms,200ms]
    #[arg(long, value_name = "TIME,...", value_delimiter = ',', value_parser = time)]
    rtt: Vec<Duration>,
    /// Rates of the link; where there is to be one path, the first counts [default: 100mbit]
    #[arg(long, value_name = "RATE,...", value_delimiter = ',', value_parser = rate)]
    rate: Vec<f64>,
    /// What is measured [default: all but the BBRs of quinn and s2n-quic]
    #[arg(long, value_name = "ROW,...", value_delimiter = ',')]
    rows: Vec<RowName>,
    /// What packets travel over [default: the link where there is root, otherwise the relay]
    #[arg(long, value_name = "WHAT,...", value_delimiter = ',')]
    over: Vec<Carrier>,
    /// Only these parts of the workload
    #[arg(long, value_name = "PART,...", value_delimiter = ',')]
    part: Vec<Part>,
    /// The whole matrix: loss 0, 0.1, 1, 5, 10, 20, 30 %, 10, 50, 200 ms, 20, 100, 500 Mbit/s (an hour or more)
    #[arg(long, conflicts_with_all = ["loss", "rtt", "rate"])]
    all: bool,
    /// Queue before the link, in bandwidth-delay products; 64 kB are the least
    #[arg(long, value_name = "N", default_value_t = 1.0)]
    queue_bdp: f64,
    /// How long each flow is watched; from the fifth second on it counts as steady
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(7..=600))]
    seconds: u64,
    /// Bytes of a whole download, in place of those that the design names
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    size: Option<u64>,
    /// By how much a tenth of the packets is late
    #[arg(long, value_name = "TIME", default_value = "5ms", value_parser = time)]
    reorder: Duration,
    /// How many small files
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(2..=1_000_000))]
    files: u64,
    /// Size of each of them
    #[arg(long, value_name = "SIZE", default_value = "4k", value_parser = parse_size)]
    file_size: u64,
    /// How many flows share a path
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_values_t = [2, 8, 32])]
    #[arg(value_parser = clap::value_parser!(u16).range(2..=256))]
    flows: Vec<u16>,
    /// When the late-comer comes
    #[arg(long, value_name = "TIME", default_value = "8s", value_parser = time)]
    late: Duration,
    /// Measure everything so many times, each with other losses, and keep the middle run
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=99))]
    runs: u64,
    /// From this follows which packets are lost
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Say what would be measured, and how long it takes about
    #[arg(long)]
    dry_run: bool,
    /// One JSON object a row on standard output
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    save: SaveArgs,
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

/// What was asked for, or a list as the command line has it; the constants above are known to be right.
fn list<T: Copy>(given: &[T], otherwise: &str, parse: fn(&str) -> Result<T, String>) -> Vec<T> {
    if !given.is_empty() {
        return given.to_vec();
    }
    let items = otherwise.split(',');
    items.filter_map(|item| parse(item).ok()).collect()
}

impl PathArgs {
    const fn usual<'t>(&self, all: &'t str, usual: &'t str) -> &'t str {
        if self.all { all } else { usual }
    }

    fn losses(&self) -> Vec<f64> {
        list(&self.loss, self.usual(LOSSES, USUAL_LOSSES), probability)
    }

    fn rtts(&self) -> Vec<Duration> {
        list(&self.rtt, self.usual(RTTS, USUAL_RTTS), time)
    }

    fn rates(&self) -> Vec<f64> {
        list(&self.rate, self.usual(RATES, USUAL_RATES), rate)
    }

    fn has_part(&self, part: Part) -> bool {
        self.part.is_empty() || self.part.contains(&part)
    }

    fn has_row(&self, row: RowName) -> bool {
        self.usual_rows().contains(&row)
    }

    fn usual_rows(&self) -> &[RowName] {
        if self.rows.is_empty() {
            &RowName::USUAL
        } else {
            &self.rows
        }
    }

    /// Rows that can travel this way in this build.
    fn rows_over(&self, over: Over) -> Vec<RowName> {
        let can = |row: &RowName| {
            let is_tcp = matches!(row, RowName::TcpCubic | RowName::TcpBbr);
            row.is_in_this_build() && (!is_tcp || over != Over::Relay)
        };
        self.usual_rows().iter().copied().filter(can).collect()
    }

    fn carriers(&self) -> Vec<Over> {
        let over = |carrier: &Carrier| match carrier {
            Carrier::Relay => Some(Over::Relay),
            #[cfg(target_os = "linux")]
            Carrier::Link => Some(Over::Link),
            #[cfg(not(target_os = "linux"))]
            Carrier::Link => None,
        };
        if !self.over.is_empty() {
            self.over.iter().filter_map(over).collect()
        } else if can_link() {
            over(&Carrier::Link).into_iter().collect()
        } else {
            vec![Over::Relay]
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
        use std::sync::LazyLock;
        static CAN: LazyLock<bool> =
            LazyLock::new(|| IpLink::create(&IpLinkConfig::default()).is_ok());
        *CAN
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
    if args.over.is_empty() && !can_link() {
        progress.say("no links, and no rows of TCP: they need Linux and root");
    }
    let steps = plan::steps(args);
    let left = |from: usize| -> Duration {
        steps
            .iter()
            .skip(from)
            .map(|step| step.estimate(args))
            .sum()
    };
    let total = left(0);
    if args.dry_run {
        for step in &steps {
            let seconds = step.estimate(args).as_secs();
            crate::report::print(&format!("{seconds:>4} s  {}\n", step.describe()))?;
        }
        crate::report::print(&format!("{:>4} s  in all\n", total.as_secs()))?;
        return Ok(true);
    }
    let mut saved = Saved::begin(&args.save, "path")?;
    let start = Instant::now();
    for (index, step) in steps.iter().enumerate() {
        // What has been measured took as long as it took; only the rest is estimated.
        let done = start.elapsed();
        let whole = done + left(index);
        let place = (index + 1, steps.len());
        let what = step.describe();
        progress.plan(done.as_secs(), whole.as_secs(), place, &what);
        step.run(args, &mut saved, &progress)
            .with_context(|| what.clone())?;
    }
    progress.clear();
    progress.say(&format!(
        "measured in {:.0} s, estimated {}",
        start.elapsed().as_secs_f64(),
        total.as_secs()
    ));
    saved.end(&progress);
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Cli {
        #[command(flatten)]
        path: PathArgs,
    }

    fn args(line: &[&str]) -> PathArgs {
        use clap::Parser;
        let line = ["path"].iter().chain(line);
        Cli::try_parse_from(line)
            .expect("a right command line")
            .path
    }

    #[test]
    fn the_whole_matrix_is_read() {
        let all = args(&["--all"]);
        assert_eq!(all.losses(), [0.0, 0.001, 0.01, 0.05, 0.1, 0.2, 0.3]);
        assert_eq!(all.rtts(), [10, 50, 200].map(Duration::from_millis));
        assert_eq!(all.rates(), [20.0, 100.0, 500.0]);
    }

    #[test]
    fn the_usual_set_ends_in_a_quarter_of_an_hour() {
        // As root with all peers, whatever this test has.
        let rows = "columba,quinn,s2n-quic,tcp-cubic,tcp-bbr";
        let args = args(&["--over", "link", "--rows", rows]);
        let steps = plan::steps(&args);
        let seconds: Duration = steps.iter().map(|step| step.estimate(&args)).sum();
        assert!(seconds < Duration::from_secs(15 * 60), "{seconds:?}");
    }

    #[test]
    fn a_size_makes_a_download_of_ones_own() {
        let args = args(&[
            "--part", "whole", "--size", "5M", "--over", "relay", "--loss", "0,1%",
        ]);
        // Two losses on two round trips.
        assert_eq!(plan::steps(&args).len(), 4);
    }
}
