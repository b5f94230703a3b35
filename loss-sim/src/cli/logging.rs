//! Messages on stderr.

use std::io::{self, IsTerminal};

use tracing::Level;

/// Starts logging: warnings and what the proxy does; fewer or more by `verbosity`.
pub(super) fn start(verbosity: i8) {
    let level = match verbosity {
        ..0 => Level::ERROR,
        0 => Level::INFO,
        1 => Level::DEBUG,
        2.. => Level::TRACE,
    };
    let colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    // A program that runs this one as part of itself may log already.
    let _ = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(io::stderr)
        .with_ansi(colours)
        .with_target(false)
        .try_init();
}
