//! Columba beside its limits and its peers, in one run: the same bytes, the same sink, the same cores, one after the other,
//! again and again (A B A B …), so that whatever slows the machine slows all of them.
//!
//! `plan` says what is compared, `subject` runs one of them once, `small_files` and `tools` are the rows with ten thousand
//! files, `show` prints.

mod plan;
mod show;
mod small_files;
mod subject;
mod tools;

use std::time::SystemTime;

use anyhow::Result;
use clap::Args;

use crate::bulk::{Sink, make_files, memory_folder};
use crate::columba::settle;
use crate::measured::Row;
use crate::os;
use crate::progress::Progress;
use crate::saved::{SaveArgs, Saved};
use crate::stage::{BadUsage, Stage};

use plan::{Entry, Plan};
pub(crate) use plan::{are_comparable, is_ours};
use subject::{Inputs, Subjects};

const EXAMPLES: &str = "\
Examples:
  columba-bench compare --quick
  columba-bench compare --rows columba,quinn,s2n-quic,tls-tcp --max-datagram 1472 --runs 9
  columba-bench compare --save --json

Peers need a build with `--features columba-bench/peers`. A ratio is that of medians; it is said to be unclear
where the runs of both rows overlap.";

/// Options of the comparison.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CompareArgs {
    /// The most telling rows only, in less than two minutes
    #[arg(long)]
    quick: bool,
    /// Only these rows
    #[arg(long, value_name = "ROWS", value_delimiter = ',')]
    rows: Vec<String>,
    /// Only these limits of the UDP payload; TCP's rows stay
    #[arg(long, value_name = "BYTES", value_delimiter = ',')]
    max_datagram: Vec<u16>,
    /// Bytes of each run
    #[arg(long, value_name = "MIB", default_value_t = 1024)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=65_536))]
    mib: u64,
    /// Runs of each row that are counted [default: 5, 3 with --quick]
    #[arg(long, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: Option<u32>,
    /// Small files of 4 KiB to fetch as well; 0: none [default: 10000, 0 with --quick]
    #[arg(long, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    files: Option<u32>,
    /// Let all processes run on these cores only [default: all]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    cores: Vec<usize>,
    /// One JSON object a row on standard output
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    save: SaveArgs,
}

/// Runs the comparison.
pub(crate) fn run(args: &CompareArgs) -> Result<bool> {
    let plan = Plan::choose(args.quick, &args.rows, &args.max_datagram)?;
    if !args.cores.is_empty() {
        // What this process may use, its children may.
        os::use_cores(&args.cores)
            .map_err(|error| BadUsage(format!("--cores {:?}: {error}", args.cores)))?;
    }
    let progress = Progress::new(false);
    for obstacle in &plan.obstacles {
        progress.say(&format!("left out: {obstacle}"));
    }
    let runs = args.runs.unwrap_or(if args.quick { 3 } else { 5 });
    let mut saved = Saved::begin(&args.save, "compare")?;

    let mut rows = bulk_rows(&plan, args.mib << 20, runs, &progress)?;
    plan::add_ratios(&mut rows);
    let files = args.files.unwrap_or(if args.quick { 0 } else { 10_000 });
    if files > 0 {
        let mut small = small_files::rows(&plan, files, runs.min(3), &progress)?;
        plan::add_ratios(&mut small);
        rows.append(&mut small);
    }
    progress.clear();
    for row in &rows {
        saved.row(row)?;
    }
    saved.end(&progress);
    show::show(&rows, args.json)?;
    Ok(true)
}

/// One large file, by every row of the plan.
fn bulk_rows(plan: &Plan, bytes: u64, runs: u32, progress: &Progress) -> Result<Vec<Row>> {
    let mut stage = Stage::new(memory_folder(bytes, Sink::Memory)?)?;
    let share = stage.make_folder("share")?;
    progress.say("making the file");
    let hash = make_files(&share, 1, bytes)?;
    let inputs = Inputs {
        workload: "compare",
        source: share.join("000/000000.bin"),
        names: &["000"],
        share,
        bytes_each: bytes,
        files: 1,
        hash,
    };
    let mut subjects = Subjects::start(&mut stage, &inputs, &plan.entries)?;
    settle(SystemTime::now(), &mut stage)?;
    let total = u64::from(runs + 1) * plan.entries.len() as u64;
    for round in 0..=runs {
        for (index, entry) in plan.entries.iter().enumerate() {
            let done = u64::from(round) * plan.entries.len() as u64 + index as u64;
            progress.step(done, total, &describe(entry, round));
            subjects.run(&mut stage, index, round > 0)?;
        }
    }
    subjects.finish(&mut stage)
}

fn describe(entry: &Entry, round: u32) -> String {
    let what = format!("{} ≤{}", entry.row(), entry.payload_limit);
    if round == 0 {
        what + " (warming up)"
    } else {
        format!("{what} (round {round})")
    }
}
