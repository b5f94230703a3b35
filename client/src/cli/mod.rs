//! The command line: [`args`] as typed, [`settings`] as meant, then one module for a few commands.

pub mod args;
mod chat;
mod get;
mod output;
mod query;
mod settings;
mod signals;

use std::io::Write;
use std::process::ExitCode as ProcessCode;
use std::sync::Arc;

use clap::{CommandFactory, Parser};

use self::args::{Cli, Command, Common, Key};
pub use self::settings::Settings;
use crate::engine::message::{CONNECT_FOR, EngineConfig, Event, Security, TransferOptions, Trust};
use crate::exit_code::{ClientError, ExitCode};
use crate::known_servers::KnownServers;
use crate::progress::note;
use crate::storage::memory::MemoryStorage;
use crate::storage::paths::shown;
use crate::{keys, storage, swarm};

/// Runs the program `columba`.
#[must_use]
pub fn main() -> ProcessCode {
    let cli = Cli::parse();
    start_log(&cli.common);
    signals::survive_file_limits();
    match run(cli) {
        Ok(()) => ExitCode::Ok.into(),
        Err(error) => {
            note(&format!("columba: {error}"));
            error.exit_code().into()
        }
    }
}

fn start_log(common: &Common) {
    use tracing_subscriber::filter::{LevelFilter, Targets};
    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::util::SubscriberInitExt;
    let level = match (common.quiet, common.verbose) {
        (true, _) => LevelFilter::ERROR,
        (false, 0) => LevelFilter::WARN,
        (false, 1) => LevelFilter::INFO,
        (false, 2) => LevelFilter::DEBUG,
        (false, _) => LevelFilter::TRACE,
    };
    let colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::io::IsTerminal::is_terminal(&std::io::stderr());
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(colours)
        .with_target(false);
    // What the window's library finds odd about a display concerns nobody who did not ask.
    let of_display = if common.verbose == 0 {
        LevelFilter::ERROR
    } else {
        level
    };
    let wanted = Targets::new()
        .with_default(level)
        .with_target("winit", of_display);
    tracing_subscriber::registry()
        .with(lines)
        .with(wanted)
        .init();
}

fn run(cli: Cli) -> Result<(), ClientError> {
    let common = cli.common;
    let Some(command) = cli.command else {
        return open_window(&common, args::Gui::default());
    };
    match command {
        Command::Gui(options) => open_window(&common, options),
        Command::Get(options) => get::run(&common, options),
        Command::Ls(options) => query::ls(&common, &options),
        Command::Users(options) => query::users(&common, options.json),
        Command::Stats(options) => query::stats(&common, options.json),
        Command::Chat(options) => chat::run(&common, options.json),
        Command::Say(options) => chat::say(&common, &options.text.join(" ")),
        Command::Whisper(options) => chat::whisper(&common, options.to, &options.text.join(" ")),
        Command::Swarm(options) => {
            if options.windows {
                return open_windows(&common, options.clients);
            }
            let settings = Settings::gather(&common)?;
            swarm::run(&settings, &options)
        }
        Command::Key(key) => manage_key(&common, &key),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "columba", &mut script);
            print_bytes(&script)
        }
        Command::Man => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Cli::command())
                .render(&mut page)
                .map_err(stdout_failed)?;
            print_bytes(&page)
        }
    }
}

/// Opens the window. A broken settings file does not stop it.
#[cfg(feature = "gui")]
fn open_window(common: &Common, options: args::Gui) -> Result<(), ClientError> {
    use crate::gui::Launch;

    let (settings, warning) = match Settings::gather(common) {
        Ok(settings) => (settings, None),
        Err(error) => (
            Settings::gather_without_file(common)?,
            Some(error.to_string()),
        ),
    };
    let mut launch = Launch::new(settings.state);
    launch.server = settings.server_given.then(|| settings.server.to_string());
    launch.name = settings.name;
    launch.password = settings.password;
    launch.plaintext = settings.plaintext;
    launch.fingerprint = settings.fingerprint;
    launch.downloads = options.downloads;
    launch.warning = warning;
    if options.forget {
        launch.preferences = None;
    }
    crate::gui::run(launch)
}

#[cfg(feature = "gui")]
fn open_windows(common: &Common, count: u32) -> Result<(), ClientError> {
    crate::gui::windows::open(common, count)
}

#[cfg(not(feature = "gui"))]
fn open_window(_: &Common, _: args::Gui) -> Result<(), ClientError> {
    Cli::command().print_help().map_err(stdout_failed)?;
    Err(no_window())
}

#[cfg(not(feature = "gui"))]
fn open_windows(_: &Common, _: u32) -> Result<(), ClientError> {
    Err(no_window())
}

#[cfg(not(feature = "gui"))]
fn no_window() -> ClientError {
    ClientError::Usage(
        "this columba was built without the window; choose a command, or build it with the feature gui"
            .to_owned(),
    )
}

fn manage_key(common: &Common, key: &Key) -> Result<(), ClientError> {
    let settings = Settings::gather(common)?;
    let path = settings.state.key();
    match key {
        Key::Show => {
            let identity = keys::load_or_create(&path)?;
            print(&format!("{}\n", identity.fingerprint()))
        }
        Key::Export => print(&keys::load_or_create(&path)?.to_pem()),
        Key::Import { file, force } => {
            let identity = if file.as_os_str() == "-" {
                keys::import(&path, std::io::stdin().lock(), *force)?
            } else {
                let source = std::fs::File::open(file)
                    .map_err(|error| ClientError::state("read", file, error))?;
                keys::import(&path, source, *force)?
            };
            note(&format!(
                "columba: {} now holds the key {}",
                shown(&path),
                identity.fingerprint()
            ));
            Ok(())
        }
    }
}

/// How the server is known, by these settings.
///
/// # Errors
/// Our own key cannot be read or made.
pub fn security(settings: &Settings) -> Result<Security, ClientError> {
    if settings.plaintext {
        return Ok(Security::Plaintext);
    }
    Ok(Security::Tls {
        identity: keys::load_or_create(&settings.state.key())?,
        trust: settings.fingerprint.map_or_else(
            || Trust::FirstUse(KnownServers::at(settings.state.known_servers())),
            Trust::Pinned,
        ),
    })
}

/// An engine for these settings that keeps no files and takes no name.
///
/// # Errors
/// Our own key cannot be read or made.
pub fn engine_config(settings: &Settings) -> Result<EngineConfig, ClientError> {
    Ok(EngineConfig {
        server: settings.server.clone(),
        security: security(settings)?,
        password: Arc::from(settings.password.as_str()),
        name: None,
        storage: Arc::new(MemoryStorage::dropping()) as Arc<dyn storage::Storage>,
        transfer: TransferOptions::default(),
        reconnect: false,
        connect_for: CONNECT_FOR,
    })
}

/// The name to have in the chat.
fn chat_name(settings: &Settings) -> Result<String, ClientError> {
    let Some(name) = &settings.name else {
        return Err(ClientError::Usage(
            "the chat needs a name: add -n NAME".to_owned(),
        ));
    };
    columba_core::chat::check_name(name)
        .map_err(|error| ClientError::Refused(error.to_string()))?;
    Ok(name.clone())
}

/// Tells the person what every command tells about its connection.
fn note_connection(event: &Event, settings: &Settings, quiet: bool) {
    if quiet {
        return;
    }
    match event {
        Event::FirstContact { fingerprint } => note(&format!(
            "columba: first contact with {}: its key is {fingerprint}, trusted from now on",
            settings.server
        )),
        Event::Reconnecting { reason } => {
            note(&format!("columba: {reason}; connecting again"));
        }
        Event::Udp { blocked: true } => note(
            "columba: the server answers over TCP and not over UDP; a firewall may drop UDP to the same port",
        ),
        Event::Welcome { .. }
        | Event::Message { .. }
        | Event::Whispered { .. }
        | Event::Presence { .. }
        | Event::Users(_)
        | Event::Files(_)
        | Event::Stats(_)
        | Event::Refused { .. }
        | Event::Denied { .. }
        | Event::NextAttempt { .. }
        | Event::Missed { .. }
        | Event::Undelivered { .. }
        | Event::Udp { .. }
        | Event::Network(_)
        | Event::Get { .. }
        | Event::Ended(_) => {}
    }
}

fn print(text: &str) -> Result<(), ClientError> {
    print_bytes(text.as_bytes())
}

/// Writes data to standard output.
fn print_bytes(bytes: &[u8]) -> Result<(), ClientError> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes)
        .and_then(|()| out.flush())
        .map_err(stdout_failed)
}

fn stdout_failed(source: std::io::Error) -> ClientError {
    ClientError::System {
        action: "write to standard output",
        source,
    }
}
