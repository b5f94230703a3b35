//! The options, made from the table of impairments.

use std::ffi::OsString;

use clap::builder::Styles;
use clap::error::ErrorKind;
use clap::{Arg, Command, Error};

use super::common::{self, Common, Output, resolve};
#[cfg(target_os = "linux")]
use super::link;
use super::{capacity, ctl};
use crate::proxy::{ProxyConfig, RebindTimes, Rebinding, TcpFaults, Trigger};

/// What the program is to do.
#[derive(Debug)]
pub(super) enum Task {
    /// Relay.
    Relay(Box<Options>),
    /// Talk to a program that relays.
    Control(ctl::Request),
    /// Measure what this machine can simulate.
    Capacity(capacity::Request),
    /// Relay between two namespaces.
    #[cfg(target_os = "linux")]
    Link(Box<link::Options>),
    /// Run a program at one end of such a link.
    #[cfg(target_os = "linux")]
    Exec(link::Exec),
}

/// How to relay.
#[derive(Debug)]
pub(super) struct Options {
    pub(super) config: ProxyConfig,
    pub(super) output: Output,
}

const ABOUT: &str = "Relays TCP and UDP of one port to a server, and makes the network in between as bad \
as you like";

const AFTER_HELP: &str = "\
Every impairment acts in both directions; with --up-NAME it acts only towards the server, with --down-NAME \
only towards the client, which overrides --NAME there. Datagrams meet the stages in this order: largest \
datagram, queue and rate, blackhole and loss, ECN mark, duplication, truncation, corruption, delay and \
jitter, reordering. TCP is relayed as a stream: it shares the rate and has the delay, but loses nothing, \
and waits through a blackhole.

Values: probabilities 5% or 0.05; times 25ms, 2s, 100us; rates 100mbit, 64kbit; sizes 1500, 64k, 10M.
Every option is also read from the environment, --loss from COLUMBA_LOSS_SIM_LOSS, --up-loss from \
COLUMBA_LOSS_SIM_UP_LOSS; the command line wins.

Examples:
  # A tenth of all datagrams lost in both directions, on a 100 Mbit/s path of 50 ms round trip
  columba-loss-sim --listen 127.0.0.1:9000 --upstream server.example:11490 --loss 10% --delay 25ms --rate 100mbit

  # Loss in bursts of 4 packets on average towards the client only, repeatable
  columba-loss-sim --listen 127.0.0.1:9000 --upstream 127.0.0.1:11490 --down-burst-loss 1%,25% --seed 7

  # For scripts: any free port, printed when ready; counters as JSON at the end
  columba-loss-sim --listen 127.0.0.1:0 --upstream 127.0.0.1:11490 --loss 5% --ready-json --stats-json

  # Change it while it runs
  columba-loss-sim --listen 127.0.0.1:9000 --upstream 127.0.0.1:11490 --control 127.0.0.1:9001
  columba-loss-sim ctl --control 127.0.0.1:9001 set loss=20% down-rate=5mbit

  # Whole IP packets between two network namespaces, so that kernel TCP loses some too (Linux, root)
  columba-loss-sim link --help

Ends on SIGINT or SIGTERM. Exit codes: 0 ended so, 1 error, 2 wrong usage, 3 cannot listen, \
7 cannot write the log.";

fn command() -> Command {
    let command = Command::new("columba-loss-sim")
        .version(env!("CARGO_PKG_VERSION"))
        .about(ABOUT)
        .after_help(AFTER_HELP)
        .styles(Styles::styled())
        .subcommand_negates_reqs(true)
        .args_conflicts_with_subcommands(true)
        .subcommand(ctl::command())
        .subcommand(capacity::command())
        .subcommands(link_command())
        .arg(
            Arg::new("listen")
                .long("listen")
                .value_name("ADDR")
                .env("COLUMBA_LOSS_SIM_LISTEN")
                .required(true)
                .help(
                    "Where clients connect to, TCP and UDP; port 0 picks one that is free for both",
                ),
        )
        .arg(
            Arg::new("upstream")
                .long("upstream")
                .value_name("ADDR")
                .env("COLUMBA_LOSS_SIM_UPSTREAM")
                .required(true)
                .help("The server to relay to, as HOST:PORT"),
        );
    command
        .args(common::arguments())
        .args(rebind_arguments())
        .args(common::path_arguments())
        .args(tcp_arguments())
        .args(common::knob_arguments())
}

/// The subcommand `link`, where there is one.
fn link_command() -> Option<Command> {
    #[cfg(target_os = "linux")]
    return Some(link::command());
    #[cfg(not(target_os = "linux"))]
    None
}

/// Moves of clients.
fn rebind_arguments() -> [Arg; 2] {
    let times = |name, variable| {
        Arg::new(name)
            .long(name)
            .env(variable)
            .hide_env(true)
            .value_name("[FIRST,]EVERY")
            .value_parser(clap::value_parser!(RebindTimes))
            .help_heading("Path")
    };
    [
        times("rebind-port", "COLUMBA_LOSS_SIM_REBIND_PORT")
            .help("Move each UDP client to another port, as the server sees it, as a NAT that forgets does"),
        times("rebind-address", "COLUMBA_LOSS_SIM_REBIND_ADDRESS")
            .help("Move each UDP client to another address (IPv4 loopback servers only)"),
    ]
}

/// What else happens to TCP connections.
fn tcp_arguments() -> [Arg; 4] {
    let trigger = |name, variable| {
        Arg::new(name)
            .long(name)
            .env(variable)
            .hide_env(true)
            .value_name("TIME|P")
            .value_parser(clap::value_parser!(Trigger))
            .help_heading(
                "TCP connections (after TIME, or with probability P for each piece of data)",
            )
    };
    [
        trigger("tcp-cut", "COLUMBA_LOSS_SIM_TCP_CUT")
            .help("End them in the middle, in good order as both sides see it"),
        trigger("tcp-reset", "COLUMBA_LOSS_SIM_TCP_RESET").help("Reset them"),
        trigger("tcp-half-open", "COLUMBA_LOSS_SIM_TCP_HALF_OPEN")
            .help("Let them fall silent, still connected"),
        trigger("tcp-slice", "COLUMBA_LOSS_SIM_TCP_SLICE")
            .help("Hand data on a few bytes at a time"),
    ]
}

/// Reads the arguments, the first of which is the program's name.
pub(super) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Task, Error> {
    let mut command = command();
    let matches = command.try_get_matches_from_mut(arguments)?;
    if let Some(request) = matches.subcommand_matches("ctl").and_then(ctl::request) {
        return Ok(Task::Control(request));
    }
    let usage_error =
        |command: &mut Command, message: String| command.error(ErrorKind::ValueValidation, message);
    if let Some(matches) = matches.subcommand_matches("capacity") {
        let task = capacity::request(matches).map(Task::Capacity);
        return task.map_err(|message| usage_error(&mut command, message));
    }
    #[cfg(target_os = "linux")]
    if let Some(matches) = matches.subcommand_matches("link") {
        let task = link::task(matches);
        return task.map_err(|message| usage_error(&mut command, message));
    }
    let text = |name: &str| matches.get_one::<String>(name).map_or("", String::as_str);
    let listen = resolve(text("listen"), None)
        .map_err(|why| usage_error(&mut command, format!("--listen: {why}")))?;
    let upstream = resolve(text("upstream"), Some(listen))
        .map_err(|why| usage_error(&mut command, format!("--upstream: {why}")))?;
    let common = Common::read(&matches).map_err(|message| usage_error(&mut command, message))?;
    let config = ProxyConfig {
        listen,
        upstream,
        up: common.up,
        down: common.down,
        tcp_faults: TcpFaults {
            cut: matches.get_one("tcp-cut").copied(),
            reset: matches.get_one("tcp-reset").copied(),
            half_open: matches.get_one("tcp-half-open").copied(),
            slice: matches.get_one("tcp-slice").copied(),
        },
        rebinding: Rebinding {
            port: matches.get_one("rebind-port").copied(),
            address: matches.get_one("rebind-address").copied(),
        },
        log: common.log,
        replay: common.replay,
        scenario: common.scenario,
        seed: common.seed,
    };
    Ok(Task::Relay(Box::new(Options {
        config,
        output: common.output,
    })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn options(extra: &[&str]) -> Result<Box<Options>, String> {
        let base = [
            "columba-loss-sim",
            "--listen",
            "127.0.0.1:0",
            "--upstream",
            "127.0.0.1:9",
        ];
        let arguments = base.iter().chain(extra).map(OsString::from);
        match parse(arguments) {
            Ok(Task::Relay(options)) => Ok(options),
            Ok(_) => Err("something else".into()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn the_command_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn prefixes_choose_the_direction() {
        let config = options(&["--up-delay", "1ms", "--loss", "10%", "--down-loss", "1%"])
            .unwrap()
            .config;
        assert!(config.up.loss == 0.1 && config.down.loss == 0.01);
        assert_eq!(config.up.delay, Duration::from_millis(1));
        assert_eq!(config.down.delay, Duration::ZERO);
    }

    #[test]
    fn errors_name_the_option() {
        for (extra, expected) in [
            (&["--loss", "150%"][..], "'--loss <P>'"),
            (&["--up-delay", "5"], "'--up-delay <TIME>'"),
            (
                &["--queue", "5k"],
                "--queue: has no effect without rate or trace",
            ),
            (
                &["--down-queue", "5k", "--up-rate", "1mbit"],
                "--down-queue: has no effect",
            ),
            (&["--delay", "120min"], "--delay: 7200s is too long"),
            (&["--upstream", "nowhere"], "--upstream"),
            (&["--nonsense"], "--nonsense"),
            (&["--seed", "x"], "--seed"),
        ] {
            let message = options(extra).expect_err("should be refused");
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn quiet_and_verbose_exclude_each_other() {
        assert_eq!(options(&["-vv"]).unwrap().output.verbosity, 2);
        assert_eq!(options(&["-q"]).unwrap().output.verbosity, -1);
        assert!(options(&["-q", "-v"]).is_err());
    }
}
