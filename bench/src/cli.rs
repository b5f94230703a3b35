//! The command lines of `columba-bench` and `columba-demo`.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::bulk::BulkArgs;
use crate::chat::ChatArgs;
use crate::compare::CompareArgs;
use crate::demo::DemoArgs;
use crate::histogram::HistogramArgs;
use crate::idle::IdleArgs;
use crate::many::ManyArgs;
use crate::mixed::MixedArgs;
use crate::publish::ReportArgs;
use crate::scenarios::ScenariosArgs;
use crate::sparse::SparseArgs;
use crate::stage::{BadUsage, Interrupted, USAGE};
use crate::{
    Arguments, bulk, chat, compare, demo, exit_code, histogram, idle, many, mixed, publish, report,
    roles, scenarios, sparse,
};

const BENCH_EXAMPLES: &str = "\
Examples:
  columba-bench demo --loss 20% --delay 50ms
  columba-bench bulk --mib 1024 --max-datagram 1472 --runs 5 --json
  columba-bench chat --subscribers 1000 --rate 100 --redis 127.0.0.1:6379
  columba-bench chat --find 5ms
  columba-bench idle --clients 1000,10000
  columba-bench mixed --downloads 8 --cold
  columba-bench mixed --rate 20mbit --delay 25ms
  columba-bench many --clients 1000 --size 1M
  columba-bench histogram before.hlog after.hlog --tag loop_turn --svg turns.svg
  columba-bench bulk --files 10000 --size 4k
  columba-bench compare --quick
  columba-bench scenarios loss-30 blackhole
  columba-bench sparse --gib 5 --to /var/tmp";

const DEMO_EXAMPLES: &str = "\
Examples:
  cargo demo
  cargo demo -- --loss 20% --delay 50ms
  cargo demo -- --dir ~/Music --json";

/// Workloads for Columba, with real processes on this machine.
#[derive(Debug, Parser)]
#[command(name = "columba-bench", version, after_help = BENCH_EXAMPLES, arg_required_else_help = true)]
struct BenchCli {
    #[command(subcommand)]
    workload: Workload,
}

#[derive(Debug, Subcommand)]
enum Workload {
    /// Chat and downloads over a path that loses packets, with every hash checked
    Demo(DemoArgs),
    /// Downloads over loopback, as fast as they go: large, several at once, or many small ones
    Bulk(BulkArgs),
    /// Messages to many members at a set rate, beside Redis and NATS
    Chat(ChatArgs),
    /// Chat while downloads run, in the server and at the client, beside the same without them
    Mixed(MixedArgs),
    /// Many clients that download at the same moment, and the server's memory for each
    Many(ManyArgs),
    /// Memory of the server per idle member of the chat
    Idle(IdleArgs),
    /// Latency histograms (.hlog) as tables and charts, side by side or merged
    Histogram(HistogramArgs),
    /// Columba beside the limits of this machine and beside other transports, in one run
    Compare(CompareArgs),
    /// Turn saved rows into docs/BENCHMARKS.md, with tables and plots
    Report(ReportArgs),
    /// Bad networks, one after the other: each file must arrive identical and in time
    Scenarios(ScenariosArgs),
    /// Download a sparse file beyond 4 GiB and check its hash
    Sparse(SparseArgs),
}

/// Chat and downloads over a path that loses packets, with every hash checked.
#[derive(Debug, Parser)]
#[command(name = "columba-demo", version, after_help = DEMO_EXAMPLES)]
struct DemoCli {
    #[command(flatten)]
    demo: DemoArgs,
}

/// Runs `columba-bench` with these arguments, of which the first is its name.
#[must_use]
pub fn bench_main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Arguments = arguments.into_iter().collect();
    if let Some(code) = roles::play(&arguments) {
        return code;
    }
    let outcome = match BenchCli::parse_from(arguments).workload {
        Workload::Demo(args) => demo::run(&args),
        Workload::Bulk(args) => bulk::run(&args),
        Workload::Chat(args) => chat::run(&args),
        Workload::Mixed(args) => mixed::run(&args),
        Workload::Many(args) => many::run(&args),
        Workload::Idle(args) => idle::run(&args),
        Workload::Histogram(args) => histogram::run(&args),
        Workload::Compare(args) => compare::run(&args),
        Workload::Report(args) => publish::run(&args),
        Workload::Scenarios(args) => scenarios::run(&args),
        Workload::Sparse(args) => sparse::run(&args),
    };
    conclude(outcome)
}

/// Runs `columba-demo` with these arguments, of which the first is its name.
#[must_use]
pub fn demo_main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut arguments: Arguments = arguments.into_iter().collect();
    if let Some(code) = roles::play(&arguments) {
        return code;
    }
    // The alias ends with `--` already, so that both `cargo demo --json` and `cargo demo -- --json` get here.
    if arguments.get(1).is_some_and(|first| first == "--") {
        arguments.remove(1);
    }
    conclude(demo::run(&DemoCli::parse_from(arguments).demo))
}

/// 0: all went well; 1: it did not; 2: wrong usage; 130 and 143: stopped by a signal.
fn conclude(outcome: anyhow::Result<bool>) -> ExitCode {
    match outcome {
        Ok(ok) => exit_code(ok),
        Err(error) => {
            report::complain(&format!("error: {error:#}"));
            if let Some(interrupted) = error.downcast_ref::<Interrupted>() {
                ExitCode::from(interrupted.exit_code())
            } else if error.is::<BadUsage>() {
                ExitCode::from(USAGE)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definitions_are_sound() {
        BenchCli::command().debug_assert();
        DemoCli::command().debug_assert();
    }

    #[test]
    fn the_demo_takes_the_same_options_under_both_names() {
        let line = ["--loss", "1%", "--delay", "5ms", "--json"];
        DemoCli::try_parse_from(["columba-demo"].into_iter().chain(line)).unwrap();
        BenchCli::try_parse_from(["columba-bench", "demo"].into_iter().chain(line)).unwrap();
    }
}
