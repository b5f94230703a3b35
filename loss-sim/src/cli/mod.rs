//! The command line of `columba-loss-sim`: a thin layer over [`proxy`](crate::proxy) and
//! `ip_link`.

mod args;
mod capacity;
mod common;
mod ctl;
#[cfg(target_os = "linux")]
mod link;
mod logging;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use serde_json::json;
use tracing::{error, info, warn};

use crate::proxy::{PathReport, Proxy, ProxyError, serve_control};

use args::Options;
use common::Output;
use ctl::CtlError;

/// Exit codes: the same for all programs of the project.
mod exit {
    pub(super) const GENERAL: u8 = 1;
    pub(super) const USAGE: u8 = 2;
    pub(super) const CANNOT_CONNECT: u8 = 3;
    pub(super) const DISK: u8 = 7;
}

/// Runs the program with these arguments, of which the first is its name, until a signal (or the end of a
/// link's command or lifetime) ends it.
///
/// Exit codes: 0 ended by a signal, 1 a general error, 2 wrong usage, 3 the address to listen on can't be
/// had, 7 the log can't be written.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let options = match args::parse(arguments) {
        Ok(args::Task::Relay(options)) => options,
        Ok(args::Task::Control(request)) => return control(&request),
        Ok(args::Task::Capacity(request)) => {
            // That it is the bottleneck is what is to be found out.
            logging::start(-1);
            return capacity::run(&request).unwrap_or_else(|failure| {
                error!("{failure}");
                ExitCode::from(exit::GENERAL)
            });
        }
        #[cfg(target_os = "linux")]
        Ok(args::Task::Link(options)) => {
            logging::start(options.verbosity());
            return link::run(&options).unwrap_or_else(|failure| give_up(&failure));
        }
        #[cfg(target_os = "linux")]
        Ok(args::Task::Exec(task)) => {
            logging::start(0);
            return give_up(&link::exec(&task));
        }
        Err(error) => {
            // Help and version go to stdout and are no error; the rest goes to stderr.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { exit::USAGE } else { 0 });
        }
    };
    logging::start(options.output.verbosity);
    match relay(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!("{error}");
            ExitCode::from(match error {
                Failure::Proxy(
                    ProxyError::Impairment { .. }
                    | ProxyError::RebindAddress { .. }
                    | ProxyError::Change(_),
                ) => exit::USAGE,
                Failure::Proxy(ProxyError::Listen { .. }) => exit::CANNOT_CONNECT,
                Failure::Proxy(ProxyError::Log { .. }) => exit::DISK,
                Failure::Proxy(
                    ProxyError::System { .. } | ProxyError::NoClients | ProxyError::Stopped,
                )
                | Failure::Output(_) => exit::GENERAL,
            })
        }
    }
}

/// Says why a link, or a program at its end, can't run.
#[cfg(target_os = "linux")]
fn give_up(failure: &link::Failure) -> ExitCode {
    error!("{failure}");
    ExitCode::from(failure.exit_code())
}

/// Asks something of a running proxy.
fn control(request: &ctl::Request) -> ExitCode {
    logging::start(0);
    match ctl::run(request) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!("{error}");
            ExitCode::from(match error {
                CtlError::Connect { .. } => exit::CANNOT_CONNECT,
                CtlError::Refused(_) => exit::USAGE,
                CtlError::Answer(_) => exit::GENERAL,
            })
        }
    }
}

/// Why the program ends early.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    #[error("cannot write to stdout: {0}")]
    Output(#[from] io::Error),
}

fn relay(options: &Options) -> Result<(), Failure> {
    allow_many_descriptors();
    let mut proxy = Proxy::bind(&options.config)?;
    proxy.stop_on_signals()?;
    let address = proxy.address();
    if options.config.upstream == address {
        warn!("the upstream is the proxy itself: everything sent here will go round in circles");
    }
    info!(
        "relaying TCP and UDP of {address} to {} (seed {})",
        options.config.upstream, options.config.seed
    );
    let control = options
        .output
        .control
        .map(|address| serve_control(address, proxy.handle()))
        .transpose()?;
    if options.output.ready_json {
        let mut ready = json!({"event": "ready", "address": address.to_string()});
        if let Some(control) = control {
            ready["control"] = json!(control.to_string());
        }
        print_line(&ready.to_string())?;
    }
    let report = proxy.run()?;
    print_report(&options.output, &report)?;
    Ok(())
}

/// Raises the soft limit of open descriptors to the hard one: each client takes one or two.
fn allow_many_descriptors() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, getrlimit, setrlimit};
        let mut limit = getrlimit(Resource::Nofile);
        limit.current = limit.maximum;
        // Without it fewer clients can be served, which they will be told.
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            warn!("cannot raise the limit of open descriptors: {error}");
        }
    }
}

fn print_report(output: &Output, report: &PathReport) -> io::Result<()> {
    if output.stats_json {
        let line = serde_json::to_string(report).map_err(io::Error::from)?;
        print_line(&line)
    } else if output.verbosity >= 0 {
        io::stderr().write_all(report.table().as_bytes())
    } else {
        Ok(())
    }
}

/// Prints a line and flushes it: whoever waits for it reads from a pipe.
fn print_line(line: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}
