//! The program: logs, the ready line, exit codes, and the operator's commands.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use tracing_subscriber::EnvFilter;

use crate::config::{AdminCommand, Cli, Config, Invocation, LogFormat, NamesCommand, Output};
use crate::names::{NameRegistry, to_hex};
use crate::server::{Ready, run};

/// Exit code for what went wrong while serving.
const GENERAL: u8 = 1;

/// Exit code for a configuration that cannot work.
const USAGE: u8 = 2;

/// Does what the command line says.
#[must_use]
pub fn main(cli: Cli) -> ExitCode {
    match cli.resolve() {
        Ok(Invocation::Serve(config, output)) => serve(&config, output),
        Ok(Invocation::Admin(command)) => report(administer(&command)),
        Err(error) => {
            complain(&error.to_string());
            ExitCode::from(USAGE)
        }
    }
}

fn serve(config: &Config, output: Output) -> ExitCode {
    start_logging(output);
    let result = run(config, |ready| announce(ready, config, output));
    report(result.map_err(|error| error.to_string()))
}

fn report(result: Result<(), String>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::from(GENERAL)
        }
    }
}

fn complain(error: &str) {
    // Nobody is left to be told if this fails.
    let _ = writeln!(io::stderr(), "columba-server: {error}");
}

fn announce(ready: &Ready, config: &Config, output: Output) {
    if output.ready_json {
        // Whoever waits for the line may be gone already; the server serves all the same.
        let _ = writeln!(io::stdout(), "{}", ready.to_json()).and_then(|()| io::stdout().flush());
    }
    tracing::info!(
        address = %ready.address,
        fingerprint = %ready.fingerprint,
        share = %config.share_dir.display(),
        "serving"
    );
}

fn start_logging(output: Output) {
    let level = match output.verbosity {
        i16::MIN..=-2 => "off",
        -1 => "warn",
        0 => "info",
        1 => "debug",
        2.. => "trace",
    };
    let filter = EnvFilter::try_from_env("COLUMBA_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(colour);
    let started = match output.log_format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    if let Err(error) = started {
        complain(&format!("logging: {error}"));
    }
}

fn administer(command: &AdminCommand) -> Result<(), String> {
    let folder = command
        .state_dir()
        .ok_or("there is no folder for the server's state: say --state")?;
    let line = match command {
        AdminCommand::Names {
            command: NamesCommand::List,
            ..
        } => "names".to_owned(),
        AdminCommand::Names {
            command: NamesCommand::Forget { name },
            ..
        } => format!("forget {name}"),
        AdminCommand::Kick { name, .. } => format!("kick {name}"),
        AdminCommand::Ban { name, .. } => format!("ban {name}"),
    };
    let answer = match ask_server(&folder, &line) {
        Ok(answer) => answer,
        Err(error) => match command {
            AdminCommand::Names { command, .. } => without_server(&folder, command)?,
            AdminCommand::Kick { .. } | AdminCommand::Ban { .. } => {
                return Err(format!(
                    "no server runs with the state folder {}: {error}",
                    folder.display()
                ));
            }
        },
    };
    match answer.strip_prefix("error: ") {
        Some(error) => Err(error.trim_end().to_owned()),
        None => io::stdout()
            .write_all(answer.as_bytes())
            .map_err(|error| error.to_string()),
    }
}

#[cfg(unix)]
fn ask_server(folder: &Path, line: &str) -> io::Result<String> {
    use std::io::Read;
    let mut stream = std::os::unix::net::UnixStream::connect(crate::config::admin_socket(folder))?;
    stream.set_read_timeout(Some(std::time::Duration::from_secs(5)))?;
    stream.write_all(format!("{line}\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[cfg(not(unix))]
fn ask_server(_folder: &Path, _line: &str) -> io::Result<String> {
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "this system has no such sockets",
    ))
}

/// The names in the file, when no server runs that would overwrite it.
fn without_server(folder: &Path, command: &NamesCommand) -> Result<String, String> {
    let path = folder.join("names.json");
    let mut names =
        NameRegistry::load(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    match command {
        NamesCommand::List => Ok(names
            .list()
            .iter()
            .map(|record| format!("{} {}\n", to_hex(&record.owner), record.name))
            .collect()),
        NamesCommand::Forget { name } => {
            if !names.forget(name) {
                return Ok(format!("error: nobody owns the name {name}\n"));
            }
            if let Some((path, text)) = names.take_snapshot() {
                crate::names::write(&path, &text)
                    .map_err(|error| format!("{}: {error}", path.display()))?;
            }
            Ok(format!("the name {name} is free\n"))
        }
    }
}
