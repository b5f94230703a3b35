//! `columba-bench`; see [`columba_bench`].

use std::process::ExitCode;

fn main() -> ExitCode {
    columba_bench::bench_main(std::env::args_os())
}
