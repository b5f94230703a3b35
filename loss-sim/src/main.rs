//! The proxy as a program; see [`columba_loss_sim::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    columba_loss_sim::cli::run(std::env::args_os())
}
