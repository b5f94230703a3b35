//! Options that the proxy and a link have in common.

use std::fs;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

use clap::builder::BoolishValueParser;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches};

use crate::impairments::Impairments;
use crate::knobs::{KNOBS, Knob};
use crate::path::Direction;
use crate::record::Script;
use crate::scenario::Scenario;

/// What is said where, beside relaying.
#[derive(Debug)]
pub(super) struct Output {
    /// Where to listen for commands.
    pub(super) control: Option<SocketAddr>,
    pub(super) stats_json: bool,
    pub(super) ready_json: bool,
    /// 0 is ordinary; more says more, less says less.
    pub(super) verbosity: i8,
}

/// What a path of either kind is told.
#[derive(Debug)]
pub(super) struct Common {
    pub(super) up: Impairments,
    pub(super) down: Impairments,
    pub(super) seed: u64,
    pub(super) log: Option<PathBuf>,
    pub(super) replay: Option<Script>,
    pub(super) scenario: Option<Scenario>,
    pub(super) output: Output,
}

impl Common {
    /// Reads what was given, or says what is wrong with it.
    pub(super) fn read(matches: &ArgMatches) -> Result<Self, String> {
        let up = read_impairments(matches, Direction::Up)?;
        let down = read_impairments(matches, Direction::Down)?;
        let scenario = matches
            .get_one::<PathBuf>("scenario")
            .map(|file| read_scenario(file, &up, &down))
            .transpose()?;
        let replay = matches
            .get_one::<PathBuf>("replay")
            .map(|file| read_script(file))
            .transpose()?;
        let control = matches
            .get_one::<String>("control")
            .map(|text| resolve(text, None))
            .transpose()
            .map_err(|why| format!("--control: {why}"))?;
        let louder = i8::try_from(matches.get_count("verbose")).unwrap_or(i8::MAX);
        Ok(Self {
            up,
            down,
            seed: matches.get_one("seed").copied().unwrap_or_default(),
            log: matches.get_one("log").cloned(),
            replay,
            scenario,
            output: Output {
                control,
                stats_json: matches.get_flag("stats-json"),
                ready_json: matches.get_flag("ready-json"),
                verbosity: if matches.get_flag("quiet") {
                    -1
                } else {
                    louder
                },
            },
        })
    }
}

const IMPAIRMENTS: &str = "Impairments (each also as --up-NAME and --down-NAME)";

/// Chance, and what is said where.
pub(super) fn arguments() -> [Arg; 5] {
    [
        Arg::new("seed")
            .long("seed")
            .value_name("N")
            .env("COLUMBA_LOSS_SIM_SEED")
            .value_parser(clap::value_parser!(u64))
            .default_value("0")
            .help("The same seed and packets meet the same luck"),
        flag("stats-json")
            .env("COLUMBA_LOSS_SIM_STATS_JSON")
            .value_parser(BoolishValueParser::new())
            .help("Print the counters as one JSON object on stdout at the end"),
        flag("ready-json")
            .env("COLUMBA_LOSS_SIM_READY_JSON")
            .value_parser(BoolishValueParser::new())
            .help("Print one JSON line with the address on stdout when relaying"),
        flag("verbose")
            .short('v')
            .action(ArgAction::Count)
            .help("Say more on stderr"),
        flag("quiet")
            .short('q')
            .conflicts_with("verbose")
            .help("Say nothing but errors on stderr"),
    ]
}

/// What concerns the path as a whole.
pub(super) fn path_arguments() -> [Arg; 4] {
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
        file("scenario", "COLUMBA_LOSS_SIM_SCENARIO").help(
            "Follow a timeline of changes (TOML: [[step]] with at = \"2s\" and options by name)",
        ),
        Arg::new("control")
            .long("control")
            .env("COLUMBA_LOSS_SIM_CONTROL")
            .hide_env(true)
            .value_name("ADDR")
            .help_heading("Path")
            .help("Listen here for commands while relaying (HTTP and JSON; see `ctl --help`)"),
        file("log", "COLUMBA_LOSS_SIM_LOG")
            .help("Write down what becomes of each datagram or packet"),
        file("replay", "COLUMBA_LOSS_SIM_REPLAY")
            .help("Repeat what such a log tells, one by one, for as long as it goes"),
    ]
}

/// Every impairment, in its three forms.
pub(super) fn knob_arguments() -> impl Iterator<Item = Arg> {
    KNOBS.iter().flat_map(forms_of_knob)
}

fn flag(name: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue)
}

/// The three options of an impairment; only the one for both directions shows in the help.
fn forms_of_knob(knob: &'static Knob) -> impl Iterator<Item = Arg> {
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

/// Finds an address by `HOST:PORT`, if there are several one of the same family as `like`.
pub(super) fn resolve(text: &str, like: Option<SocketAddr>) -> Result<SocketAddr, String> {
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
