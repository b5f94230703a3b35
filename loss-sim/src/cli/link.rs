//! `columba-loss-sim link`: a bad network between two namespaces.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{self, ExitCode, ExitStatus};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::Duration;

use clap::builder::ValueParser;
use clap::{Arg, ArgMatches, Command, value_parser};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde_json::{Value, json};
use tracing::info;

use super::args::Task;
use super::common::{self, Common, Output};
use super::{exit, print_line, print_report};
use crate::ip_link::{DEFAULT_MTU, End, IpLink, IpLinkConfig, IpLinkError, MIN_MTU, Side, enter};
use crate::proxy::{PathHandle, ProxyError, serve_control};

/// How long a command may take to end once it is told to.
const PATIENCE: Duration = Duration::from_secs(2);

/// How to relay, and for whom.
#[derive(Debug)]
pub(super) struct Options {
    config: IpLinkConfig,
    output: Output,
    /// A program to run at the left end; none if empty.
    command: Vec<OsString>,
}

/// A program to run at an end of a link that runs already.
#[derive(Debug)]
pub(super) struct Exec {
    /// `left`, `right`, or a namespace.
    end: String,
    command: Vec<OsString>,
}

/// Why it ends early.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Link(#[from] IpLinkError),
    #[error(transparent)]
    Control(#[from] ProxyError),
    #[error("cannot write to stdout: {0}")]
    Output(#[source] io::Error),
    #[error("cannot run '{program}': {error}")]
    Command { program: String, error: io::Error },
    #[error("{0}")]
    NoEnd(String),
    #[error("cannot enter the namespace {name}: {error}")]
    Enter { name: String, error: io::Error },
}

impl Failure {
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Link(
                IpLinkError::Impairment { .. } | IpLinkError::Mtu(_) | IpLinkError::Rebind,
            )
            | Self::NoEnd(_) => exit::USAGE,
            Self::Control(ProxyError::Listen { .. }) => exit::CANNOT_CONNECT,
            Self::Link(IpLinkError::Log { .. }) => exit::DISK,
            Self::Link(
                IpLinkError::Privileges { .. } | IpLinkError::NoTun(_) | IpLinkError::System { .. },
            )
            | Self::Control(_)
            | Self::Output(_)
            | Self::Command { .. }
            | Self::Enter { .. } => exit::GENERAL,
        }
    }
}

const ABOUT: &str = "Put the bad network between two network namespaces, packet by packet, so that kernel \
TCP and any program face it (Linux, root)";

const AFTER_HELP: &str = "\
Makes two network namespaces, columba-PID-left (10.77.0.1, fd77::1) and columba-PID-right (10.77.0.2, \
fd77::2), with nothing between them but this link. `up` is from left to right, `down` from right to left. \
Impairments meet whole IP packets, headers included; largest datagram means largest packet. Packets \
damaged or cut short are mostly thrown away by the kernel at the other end, as from a real link.

With a COMMAND, runs it at the left end and ends with it and its exit code; it finds the names of the \
namespaces in COLUMBA_LINK_LEFT and COLUMBA_LINK_RIGHT. Without one, runs until SIGINT or SIGTERM, or for \
--seconds. The namespaces are removed at the end; those of a killed link, when the next one starts.

Programs are started at an end with `columba-loss-sim link exec left|right -- COMMAND`, or with `ip netns \
exec NAME COMMAND`.

Examples:
  # A path of 50 ms and 100 Mbit/s that loses 2 %, in one terminal ...
  columba-loss-sim link --loss 2% --delay 25ms --rate 100mbit
  # ... and in others, programs at its ends
  columba-loss-sim link exec right -- iperf3 --server
  columba-loss-sim link exec left -- iperf3 --client 10.77.0.2

  # All in one line
  columba-loss-sim link --loss 2% -- ping -c 10 10.77.0.2

  # For scripts: names and addresses when ready, counters at the end, both as JSON
  columba-loss-sim link --down-loss 5% --seconds 60 --ready-json --stats-json

Exit codes: that of COMMAND, or 0 ended in good order, 1 error (not root, no TUN), 2 wrong usage, \
3 cannot listen for --control, 7 cannot write the log.";

pub(super) fn command() -> Command {
    let program = |help| {
        Arg::new("command")
            .value_name("COMMAND")
            .num_args(1..)
            .value_parser(ValueParser::os_string())
            .last(true)
            .help(help)
    };
    let exec = Command::new("exec")
        .about("Run a program at one end of a link that runs already")
        .arg(Arg::new("end").value_name("END").required(true).help(
            "left or right, if one link runs (or this is its COMMAND), else the namespace's name",
        ))
        .arg(program("The program and its arguments").required(true));
    Command::new("link")
        .about(ABOUT)
        .after_help(AFTER_HELP)
        .subcommand_negates_reqs(true)
        .args_conflicts_with_subcommands(true)
        .subcommand(exec)
        .arg(
            Arg::new("mtu")
                .long("mtu")
                .value_name("BYTES")
                .env("COLUMBA_LOSS_SIM_MTU")
                .hide_env(true)
                .value_parser(value_parser!(u16).range(i64::from(MIN_MTU)..))
                .help("Largest IP packet; below 1280 there is no IPv6 [default: 1500]"),
        )
        .arg(
            Arg::new("seconds")
                .long("seconds")
                .value_name("N")
                .value_parser(value_parser!(u64).range(1..))
                .help("End after this time"),
        )
        .arg(program("A program to run at the left end"))
        .args(common::arguments())
        .args(common::path_arguments())
        .args(common::knob_arguments())
}

/// What is asked for.
pub(super) fn task(matches: &ArgMatches) -> Result<Task, String> {
    let command = |matches: &ArgMatches| {
        let words = matches.get_many::<OsString>("command");
        words.into_iter().flatten().cloned().collect()
    };
    if let Some(matches) = matches.subcommand_matches("exec") {
        let end = matches.get_one::<String>("end").cloned();
        return Ok(Task::Exec(Exec {
            end: end.unwrap_or_default(),
            command: command(matches),
        }));
    }
    let common = Common::read(matches)?;
    let config = IpLinkConfig {
        up: common.up,
        down: common.down,
        seed: common.seed,
        mtu: matches.get_one("mtu").copied().unwrap_or(DEFAULT_MTU),
        lifetime: matches.get_one("seconds").copied().map(Duration::from_secs),
        log: common.log,
        replay: common.replay,
        scenario: common.scenario,
    };
    Ok(Task::Link(Box::new(Options {
        config,
        output: common.output,
        command: command(matches),
    })))
}

impl Options {
    pub(super) fn verbosity(&self) -> i8 {
        self.output.verbosity
    }
}

/// Relays until the end.
pub(super) fn run(options: &Options) -> Result<ExitCode, Failure> {
    let mut link = IpLink::create(&options.config)?;
    link.stop_on_signals()?;
    announce(&link, options)?;
    let guest = match options.command.split_first() {
        Some(command) => Some(Guest::start(&link, command)?),
        None => None,
    };
    let report = link.run()?;
    let code = guest.map_or(ExitCode::SUCCESS, Guest::finish);
    print_report(&options.output, &report).map_err(Failure::Output)?;
    Ok(code)
}

/// Tells people, and scripts, where the ends are.
fn announce(link: &IpLink, options: &Options) -> Result<(), Failure> {
    let control = options
        .output
        .control
        .map(|address| serve_control(address, link.handle()))
        .transpose()?;
    for side in Side::BOTH {
        let end = link.end(side);
        let ipv6 = end
            .ipv6()
            .map_or_else(|| "no IPv6".to_owned(), |address| address.to_string());
        let (side, ipv4, name) = (side.name(), end.ipv4(), end.name());
        info!("{side}: {ipv4}, {ipv6}; programs there: ip netns exec {name} COMMAND");
    }
    if options.output.ready_json {
        let mut ready = json!({
            "event": "ready",
            "mtu": options.config.mtu,
            "left": describe(link.end(Side::Left)),
            "right": describe(link.end(Side::Right)),
        });
        if let Some(control) = control {
            ready["control"] = json!(control.to_string());
        }
        print_line(&ready.to_string()).map_err(Failure::Output)?;
    }
    Ok(())
}

fn describe(end: &End) -> Value {
    json!({
        "name": end.name(),
        "path": end.path(),
        "device": end.device(),
        "ipv4": end.ipv4(),
        "ipv6": end.ipv6(),
    })
}

/// The command that a link runs.
struct Guest {
    process: OwnedFd,
    status: Receiver<io::Result<ExitStatus>>,
}

impl Guest {
    /// Starts it at the left end; the link stops when it ends.
    fn start(
        link: &IpLink,
        (program, arguments): (&OsString, &[OsString]),
    ) -> Result<Self, Failure> {
        let mut command = process::Command::new(program);
        command.args(arguments);
        for (side, name) in [(Side::Left, "LEFT"), (Side::Right, "RIGHT")] {
            command.env(format!("COLUMBA_LINK_{name}"), link.end(side).name());
        }
        let started = link
            .end(Side::Left)
            .spawn(&mut command)
            .and_then(|child| Self::watch(child, link.handle()));
        started.map_err(|error| Failure::Command {
            program: program.to_string_lossy().into_owned(),
            error,
        })
    }

    fn watch(mut child: process::Child, link: PathHandle) -> io::Result<Self> {
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or(io::ErrorKind::InvalidData)?;
        // By descriptor, so that no other process is hit once this one has gone.
        let process = pidfd_open(pid, PidfdFlags::empty())?;
        let (sender, status) = sync_channel(1);
        thread::Builder::new()
            .name("command".into())
            .spawn(move || {
                let ended = child.wait();
                link.stop();
                // Nobody waits any more if the link could not run.
                let _ = sender.send(ended);
            })?;
        Ok(Self { process, status })
    }

    /// Ends it if it has not ended, and gives its exit code, or 128 and the signal as shells do.
    fn finish(self) -> ExitCode {
        let Self { process, status } = self;
        let mut ended = status.try_recv().ok();
        for signal in [Signal::TERM, Signal::KILL] {
            if ended.is_none() {
                // It may end by itself at this very moment.
                let _ = pidfd_send_signal(process.as_fd(), signal);
                ended = status.recv_timeout(PATIENCE).ok();
            }
        }
        let code = match ended {
            Some(Ok(status)) => status
                .code()
                .or_else(|| status.signal().map(|signal| 128 + signal)),
            Some(Err(_)) | None => None,
        };
        let code = code.and_then(|code| u8::try_from(code).ok());
        ExitCode::from(code.unwrap_or(exit::GENERAL))
    }
}

/// Becomes the program, at an end of a link. Returns only if that fails.
pub(super) fn exec(exec: &Exec) -> Failure {
    let name = match find_end(&exec.end) {
        Ok(name) => name,
        Err(error) => return error,
    };
    if let Err(error) = enter(&name) {
        return Failure::Enter { name, error };
    }
    let Some((program, arguments)) = exec.command.split_first() else {
        return Failure::NoEnd("no command".into());
    };
    let error = process::Command::new(program).args(arguments).exec();
    Failure::Command {
        program: program.to_string_lossy().into_owned(),
        error,
    }
}

/// The namespace that is meant by `left`, `right` or its name.
fn find_end(end: &str) -> Result<String, Failure> {
    let side = Side::BOTH.into_iter().find(|side| side.name() == end);
    let Some(side) = side else {
        return Ok(end.to_owned());
    };
    let variable = format!("COLUMBA_LINK_{}", end.to_ascii_uppercase());
    if let Ok(name) = std::env::var(variable) {
        return Ok(name);
    }
    let running = side.running().map_err(|error| Failure::Enter {
        name: end.to_owned(),
        error,
    })?;
    match running.as_slice() {
        [name] => Ok(name.clone()),
        [] => Err(Failure::NoEnd("no link is running".into())),
        [..] => Err(Failure::NoEnd(format!(
            "several links are running, say which end: {}",
            running.join(", ")
        ))),
    }
}
