//! The options, made from the table of impairments.

use std::ffi::OsString;
use std::fs;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

use clap::builder::{BoolishValueParser, Styles};
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, Error};

use super::ctl;
use crate::impairments::Impairments;
use crate::knobs::{KNOBS, Knob};
use crate::path::Direction;
use crate::proxy::{ProxyConfig, RebindTimes, Rebinding, TcpFaults, Trigger};
use crate::record::Script;
use crate::scenario::Scenario;

/// What the program is to do.
#[derive(Debug)]
pub(super) enum Task {
    /// Relay.
    Relay(Box<Options>),
    /// Talk to a program that relays.
    Control(ctl::Request),
}

/// How to relay.
#[derive(Debug)]
pub(super) struct Options {
    /// Where to listen for commands.
    pub(super) control: Option<SocketAddr>,
    pub(super) config: ProxyConfig,
    pub(super) stats_json: bool,
    pub(super) ready_json: bool,
    /// 0 is ordinary; more says more, less says less.
    pub(super) verbosity: i8,
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

Ends on SIGINT or SIGTERM. Exit codes: 0 ended so, 1 error, 2 wrong usage, 3 cannot listen, \
7 cannot write the log.";

const IMPAIRMENTS: &str = "Impairments (each also as --up-NAME and --down-NAME)";

fn command() -> Command {
    let command = Command::new("columba-loss-sim")
        .version(env!("CARGO_PKG_VERSION"))
        .about(ABOUT)
        .after_help(AFTER_HELP)
        .styles(Styles::styled())
        .subcommand_negates_reqs(true)
        .args_conflicts_with_subcommands(true)
        .subcommand(ctl::command())
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
        )
        .arg(
            Arg::new("seed")
                .long("seed")
                .value_name("N")
                .env("COLUMBA_LOSS_SIM_SEED")
                .value_parser(clap::value_parser!(u64))
                .default_value("0")
                .help("The same seed and packets meet the same luck"),
        )
        .arg(
            flag("stats-json")
                .env("COLUMBA_LOSS_SIM_STATS_JSON")
                .value_parser(BoolishValueParser::new())
                .help("Print the counters as one JSON object on stdout at the end"),
        )
        .arg(
            flag("ready-json")
                .env("COLUMBA_LOSS_SIM_READY_JSON")
                .value_parser(BoolishValueParser::new())
                .help("Print one JSON line with the address on stdout when relaying"),
        )
        .arg(
            flag("verbose")
                .short('v')
                .action(ArgAction::Count)
                .help("Say more on stderr"),
        )
        .arg(
            flag("quiet")
                .short('q')
                .conflicts_with("verbose")
                .help("Say nothing but errors on stderr"),
        );
    KNOBS.iter().fold(
        command.args(path_arguments()).args(tcp_arguments()),
        |command, knob| command.args(knob_arguments(knob)),
    )
}

/// What concerns the path as a whole.
fn path_arguments() -> [Arg; 6] {
    let times = |name, variable| {
        Arg::new(name)
            .long(name)
            .env(variable)
            .hide_env(true)
            .value_name("[FIRST,]EVERY")
            .value_parser(clap::value_parser!(RebindTimes))
            .help_heading("Path")
    };
    let file = |name, variable| {
        Arg::new(name)
            .long(name)
            .env(variable)
            .hide_env(true)
            .value_name("FILE")
            .value_parser(clap::value_parser!(PathBuf))
            .help_heading("Path")
    };
    [
        times("rebind-port", "COLUMBA_LOSS_SIM_REBIND_PORT")
            .help("Move each UDP client to another port, as the server sees it, as a NAT that forgets does"),
        times("rebind-address", "COLUMBA_LOSS_SIM_REBIND_ADDRESS")
            .help("Move each UDP client to another address (IPv4 loopback servers only)"),
        file("scenario", "COLUMBA_LOSS_SIM_SCENARIO")
            .help("Follow a timeline of changes (TOML: [[step]] with at = \"2s\" and options by name)"),
        Arg::new("control")
            .long("control")
            .env("COLUMBA_LOSS_SIM_CONTROL")
            .hide_env(true)
            .value_name("ADDR")
            .help_heading("Path")
            .help("Listen here for commands while relaying (HTTP and JSON; see `ctl --help`)"),
        file("log", "COLUMBA_LOSS_SIM_LOG")
            .help("Write down what becomes of each datagram"),
        file("replay", "COLUMBA_LOSS_SIM_REPLAY")
            .help("Repeat what such a log tells, datagram by datagram, for as long as it goes"),
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

fn flag(name: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue)
}

/// The three options of an impairment; only the one for both directions shows in the help.
fn knob_arguments(knob: &'static Knob) -> impl Iterator<Item = Arg> {
    let options = knob.names.into_iter().zip(knob.variables);
    options.enumerate().map(|(index, (name, variable))| {
        Arg::new(name)
            .long(name)
            .env(variable)
            .hide_env(true)
            .hide(index > 0)
            .value_name(knob.value_name)
            .help(knob.help)
            .help_heading(IMPAIRMENTS)
    })
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
    let text = |name: &str| matches.get_one::<String>(name).map_or("", String::as_str);
    let listen = resolve(text("listen"), None)
        .map_err(|why| usage_error(&mut command, format!("--listen: {why}")))?;
    let upstream = resolve(text("upstream"), Some(listen))
        .map_err(|why| usage_error(&mut command, format!("--upstream: {why}")))?;
    let mut impairments = |direction| {
        read_impairments(&matches, direction).map_err(|message| usage_error(&mut command, message))
    };
    let (up, down) = (impairments(Direction::Up)?, impairments(Direction::Down)?);
    let scenario = matches
        .get_one::<PathBuf>("scenario")
        .map(|file| read_scenario(file, &up, &down))
        .transpose()
        .map_err(|message| usage_error(&mut command, message))?;
    let replay = matches
        .get_one::<PathBuf>("replay")
        .map(|file| read_script(file))
        .transpose()
        .map_err(|message| usage_error(&mut command, message))?;
    let config = ProxyConfig {
        listen,
        upstream,
        up,
        down,
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
        log: matches.get_one("log").cloned(),
        replay,
        scenario,
        seed: matches.get_one("seed").copied().unwrap_or_default(),
    };
    let louder = i8::try_from(matches.get_count("verbose")).unwrap_or(i8::MAX);
    let control = matches
        .get_one::<String>("control")
        .map(|text| resolve(text, None))
        .transpose()
        .map_err(|why| usage_error(&mut command, format!("--control: {why}")))?;
    Ok(Task::Relay(Box::new(Options {
        config,
        control,
        stats_json: matches.get_flag("stats-json"),
        ready_json: matches.get_flag("ready-json"),
        verbosity: if matches.get_flag("quiet") {
            -1
        } else {
            louder
        },
    })))
}

/// Finds an address by `HOST:PORT`, if there are several one of the same family as `like`.
fn resolve(text: &str, like: Option<SocketAddr>) -> Result<SocketAddr, String> {
    let addresses: Vec<_> = text
        .to_socket_addrs()
        .map_err(|error| format!("'{text}' is no HOST:PORT that can be found: {error}"))?
        .collect();
    let same_family =
        |address: &&SocketAddr| like.is_none_or(|like| like.is_ipv4() == address.is_ipv4());
    addresses
        .iter()
        .find(same_family)
        .or(addresses.first())
        .copied()
        .ok_or_else(|| format!("'{text}' has no address"))
}

fn read_script(file: &Path) -> Result<Script, String> {
    let name = file.display();
    let text = fs::read_to_string(file)
        .map_err(|error| format!("--replay: cannot read {name}: {error}"))?;
    text.parse()
        .map_err(|error| format!("--replay: {name}: {error}"))
}

fn read_scenario(file: &Path, up: &Impairments, down: &Impairments) -> Result<Scenario, String> {
    let name = file.display();
    let text = fs::read_to_string(file)
        .map_err(|error| format!("--scenario: cannot read {name}: {error}"))?;
    Scenario::parse(&text, up, down).map_err(|error| format!("--scenario: {name}: {error}"))
}

/// Which of a knob's names acts on a direction beside the general one.
fn own_name(direction: Direction) -> usize {
    match direction {
        Direction::Up => 1,
        Direction::Down => 2,
    }
}

/// The impairments of a direction: what the environment says first, then the command line; each time
/// first what is said of both directions.
fn read_impairments(matches: &ArgMatches, direction: Direction) -> Result<Impairments, String> {
    let mut impairments = Impairments::default();
    for source in [ValueSource::EnvVariable, ValueSource::CommandLine] {
        for knob in &KNOBS {
            for index in [0, own_name(direction)] {
                let name = knob.names[index];
                if matches.value_source(name) != Some(source) {
                    continue;
                }
                let text = matches.get_one::<String>(name).map_or("", String::as_str);
                knob.set(&mut impairments, text).map_err(|error| {
                    format!(
                        "invalid value '{text}' for '--{name} <{}>': {error}",
                        knob.value_name
                    )
                })?;
            }
        }
    }
    impairments
        .validate()
        .map_err(|error| describe(matches, direction, &error.to_string()))?;
    Ok(impairments)
}

/// Names the option in an error of validation, as it was given.
fn describe(matches: &ArgMatches, direction: Direction, error: &str) -> String {
    let own_is_given = KNOBS.iter().any(|knob| {
        let own = knob.names[own_name(direction)];
        error.starts_with(&format!("{}:", knob.names[0])) && matches.value_source(own).is_some()
    });
    if own_is_given {
        format!("--{}-{error}", direction.name())
    } else {
        format!("--{error}")
    }
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
            Ok(Task::Control(_)) => Err("control".into()),
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
        assert_eq!(options(&["-vv"]).unwrap().verbosity, 2);
        assert_eq!(options(&["-q"]).unwrap().verbosity, -1);
        assert!(options(&["-q", "-v"]).is_err());
    }
}
