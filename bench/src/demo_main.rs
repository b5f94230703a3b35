//! `columba-demo`: `columba-bench demo` under a name of its own, for `cargo demo`.

use std::process::ExitCode;

fn main() -> ExitCode {
    columba_bench::demo_main(std::env::args_os())
}
