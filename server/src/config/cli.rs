//! The command line, its environment and its file.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use columba_core::congestion::{Algorithm, UnknownAlgorithm};
use columba_core::control::{FEATURES, features_here};
use columba_values::parse_rate;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

use super::{Config, ConfigError, values};

const EXAMPLES: &str = "\
Examples:
  columba-server ~/Public
  columba-server --listen 0.0.0.0:11490 --password-file /etc/columba/password /srv/files
  columba-server --authorized-keys team.keys --rate-limit 500mbit /srv/files
  columba-server --plaintext --listen 127.0.0.1:0 --ready-json .
  columba-server names list";

/// Chat and verified file downloads that stay fast on bad networks: the server.
#[derive(Debug, Parser)]
#[command(
    name = "columba-server",
    version,
    after_help = EXAMPLES,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<AdminCommand>,
    #[command(flatten)]
    serve: ServeArgs,
}

/// What an operator can do besides serving.
#[derive(Debug, Subcommand)]
pub enum AdminCommand {
    /// Which name belongs to which key
    Names {
        /// What to do.
        #[command(subcommand)]
        command: NamesCommand,
        /// Folder of the server's state
        #[arg(long, value_name = "DIR", env = "COLUMBA_STATE", global = true)]
        state: Option<PathBuf>,
    },
    /// End a user's connection
    Kick {
        /// The user.
        name: String,
        /// Folder of the server's state
        #[arg(long, value_name = "DIR", env = "COLUMBA_STATE")]
        state: Option<PathBuf>,
    },
    /// End a user's connection and keep the key out until the server is started again
    Ban {
        /// The user.
        name: String,
        /// Folder of the server's state
        #[arg(long, value_name = "DIR", env = "COLUMBA_STATE")]
        state: Option<PathBuf>,
    },
}

/// `names …`
#[derive(Debug, Subcommand)]
pub enum NamesCommand {
    /// List all names with their keys
    List,
    /// Free a name: the next key that uses it owns it
    Forget {
        /// The name.
        name: String,
    },
}

/// What seals the packets of downloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CipherChoice {
    /// AEGIS-128L with clients that have AES instructions, if this processor has them; AES-128-GCM with others.
    Auto,
    /// AES-128-GCM with all.
    #[value(name = "aes-128-gcm")]
    #[serde(rename = "aes-128-gcm")]
    Aes128Gcm,
}

impl CipherChoice {
    /// The optional features of control that a server offers with it.
    #[must_use]
    pub fn features(self) -> u32 {
        match self {
            Self::Auto => features_here(),
            Self::Aes128Gcm => FEATURES,
        }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// How the program speaks.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    /// How log lines look.
    pub log_format: LogFormat,
    /// Counts of `-v` less those of `-q`.
    pub verbosity: i16,
    /// One JSON line on stdout when the server is ready.
    pub ready_json: bool,
}

/// What the person wants.
#[derive(Debug)]
pub enum Invocation {
    /// Serve.
    Serve(Box<Config>, Output),
    /// Something else.
    Admin(AdminCommand),
}

#[derive(Debug, Args)]
struct ServeArgs {
    /// Folder whose files are shared
    #[arg(
        value_name = "SHARE_DIR",
        required_unless_present = "config",
        env = "COLUMBA_SHARE_DIR"
    )]
    share_dir: Option<PathBuf>,
    /// Address for TCP and UDP; port 0 picks one [default: [::]:11490]
    #[arg(long, value_name = "ADDR", env = "COLUMBA_LISTEN", value_parser = values::address)]
    listen: Option<SocketAddr>,
    /// Folder for the server's key and the known names
    #[arg(long, value_name = "DIR", env = "COLUMBA_STATE")]
    state: Option<PathBuf>,
    /// Admit only the keys listed in this file, one fingerprint a line
    #[arg(long, value_name = "FILE", env = "COLUMBA_AUTHORIZED_KEYS")]
    authorized_keys: Option<PathBuf>,
    /// Ask for the password on the first line of this file
    #[arg(long, value_name = "FILE", env = "COLUMBA_PASSWORD_FILE")]
    password_file: Option<PathBuf>,
    /// No encryption, integrity only; refused beyond loopback
    #[arg(long, env = "COLUMBA_PLAINTEXT", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    plaintext: Option<bool>,
    /// Allow --plaintext on any address
    #[arg(long, env = "COLUMBA_PLAINTEXT_ANYWHERE", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    plaintext_anywhere: Option<bool>,
    /// What encrypts downloads [default: auto]
    #[arg(long, value_enum, value_name = "NAME", env = "COLUMBA_CIPHER")]
    cipher: Option<CipherChoice>,
    /// Congestion control: bbr, cubic or aimd [default: bbr]
    #[arg(long, value_name = "NAME", env = "COLUMBA_CONGESTION")]
    congestion: Option<Algorithm>,
    /// Clients at once [default: 10000]
    #[arg(long, value_name = "N", env = "COLUMBA_MAX_CLIENTS")]
    max_clients: Option<usize>,
    /// Clients with transfers at once [default: 1024]
    #[arg(long, value_name = "N", env = "COLUMBA_MAX_TRANSFERS")]
    max_transfers: Option<usize>,
    /// Limit of all transfers together, like 100mbit [default: none]
    #[arg(long, value_name = "RATE", env = "COLUMBA_RATE_LIMIT", value_parser = parse_rate)]
    rate_limit: Option<u64>,
    /// Messages and requests per second of one user, 0 for no limit [default: 2000]
    #[arg(long, value_name = "N", env = "COLUMBA_MESSAGE_LIMIT")]
    message_limit: Option<u32>,
    /// TOML file with options of the same names
    #[arg(long, value_name = "FILE", env = "COLUMBA_CONFIG")]
    config: Option<PathBuf>,
    /// Serve Prometheus metrics as text on this address
    #[arg(long, value_name = "ADDR", env = "COLUMBA_METRICS", value_parser = values::address)]
    metrics: Option<SocketAddr>,
    /// Write latency histograms (.hlog) into this folder
    #[arg(long, value_name = "DIR", env = "COLUMBA_HISTOGRAMS")]
    histograms: Option<PathBuf>,
    /// Form of log lines [default: text]
    #[arg(long, value_enum, env = "COLUMBA_LOG_FORMAT")]
    log_format: Option<LogFormat>,
    /// Print one JSON line on stdout when ready
    #[arg(long, env = "COLUMBA_READY_JSON", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    ready_json: Option<bool>,
    /// Log more (repeat for still more)
    #[arg(short, long, action = ArgAction::Count)]
    verbose: u8,
    /// Log less (repeat for still less)
    #[arg(short, long, action = ArgAction::Count)]
    quiet: u8,
}

/// The configuration file: the same names, sizes and rates as text.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct FileConfig {
    share_dir: Option<PathBuf>,
    #[serde(default, deserialize_with = "address")]
    listen: Option<SocketAddr>,
    state: Option<PathBuf>,
    authorized_keys: Option<PathBuf>,
    password_file: Option<PathBuf>,
    plaintext: Option<bool>,
    plaintext_anywhere: Option<bool>,
    cipher: Option<CipherChoice>,
    #[serde(default, deserialize_with = "congestion")]
    congestion: Option<Algorithm>,
    max_clients: Option<usize>,
    max_transfers: Option<usize>,
    #[serde(default, deserialize_with = "rate")]
    rate_limit: Option<u64>,
    message_limit: Option<u32>,
    #[serde(default, deserialize_with = "address")]
    metrics: Option<SocketAddr>,
    histograms: Option<PathBuf>,
    log_format: Option<LogFormat>,
    ready_json: Option<bool>,
}

impl Cli {
    /// Reads the process's arguments; prints help or usage and exits when that is what they call for.
    #[must_use]
    pub fn from_process() -> Self {
        Self::parse_from(std::env::args_os())
    }

    /// Reads arguments, the first being the program's name.
    ///
    /// # Errors
    /// Usage errors, and requests for help.
    pub fn from_args<I: IntoIterator<Item = OsString>>(args: I) -> Result<Self, clap::Error> {
        Self::try_parse_from(args)
    }

    /// Puts flags, environment, file and defaults together.
    ///
    /// # Errors
    /// The file is wrong, or things do not go together.
    pub fn resolve(self) -> Result<Invocation, ConfigError> {
        match self.command {
            Some(command) => Ok(Invocation::Admin(command)),
            None => self.serve.resolve(),
        }
    }
}

impl ServeArgs {
    fn resolve(self) -> Result<Invocation, ConfigError> {
        let file = match self.config.as_deref() {
            Some(path) => FileConfig::read(path)?,
            None => FileConfig::default(),
        };
        let output = Output {
            log_format: self
                .log_format
                .or(file.log_format)
                .unwrap_or(LogFormat::Text),
            verbosity: i16::from(self.verbose) - i16::from(self.quiet),
            ready_json: self.ready_json.or(file.ready_json).unwrap_or(false),
        };
        let share_dir = self
            .share_dir
            .or(file.share_dir)
            .ok_or(ConfigError::NothingShared)?;
        let defaults = Config::new(share_dir);
        let state_dir = self.state.or(file.state).or(defaults.state_dir);
        let config = Config {
            share_dir: defaults.share_dir,
            listen: self.listen.or(file.listen).unwrap_or(defaults.listen),
            admin_socket: state_dir.as_deref().map(admin_socket),
            state_dir,
            authorized_keys: self.authorized_keys.or(file.authorized_keys),
            password_file: self.password_file.or(file.password_file),
            plaintext: self.plaintext.or(file.plaintext).unwrap_or(false),
            plaintext_anywhere: self
                .plaintext_anywhere
                .or(file.plaintext_anywhere)
                .unwrap_or(false),
            cipher: self.cipher.or(file.cipher).unwrap_or(defaults.cipher),
            congestion: self
                .congestion
                .or(file.congestion)
                .unwrap_or(defaults.congestion),
            max_clients: self
                .max_clients
                .or(file.max_clients)
                .unwrap_or(defaults.max_clients),
            max_transfers: self
                .max_transfers
                .or(file.max_transfers)
                .unwrap_or(defaults.max_transfers),
            rate_limit: self.rate_limit.or(file.rate_limit),
            message_limit: self
                .message_limit
                .or(file.message_limit)
                .unwrap_or(defaults.message_limit),
            metrics: self.metrics.or(file.metrics),
            histograms: self.histograms.or(file.histograms),
            handle_signals: true,
        };
        config.check()?;
        Ok(Invocation::Serve(Box::new(config), output))
    }
}

/// Reads a value of the file as the command line would.
fn as_written<'de, D, T>(
    deserializer: D,
    parse: fn(&str) -> Result<T, String>,
) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
{
    let text = String::deserialize(deserializer)?;
    parse(&text).map(Some).map_err(D::Error::custom)
}

fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SocketAddr>, D::Error> {
    as_written(deserializer, values::address)
}

fn rate<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    as_written(deserializer, |text| {
        parse_rate(text).map_err(|error| error.to_string())
    })
}

fn congestion<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Algorithm>, D::Error> {
    as_written(deserializer, |name| {
        name.parse()
            .map_err(|error: UnknownAlgorithm| error.to_string())
    })
}

impl FileConfig {
    fn read(path: &Path) -> Result<Self, ConfigError> {
        let wrong = |reason: String| ConfigError::File {
            path: path.display().to_string(),
            reason,
        };
        let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        toml::from_str(&text).map_err(|error| wrong(error.to_string()))
    }
}

/// Where a server keeps its state unless told otherwise.
pub(super) fn default_state_dir() -> Option<PathBuf> {
    let dirs = directories::ProjectDirs::from("", "", "columba")?;
    let base = dirs.state_dir().unwrap_or_else(|| dirs.data_local_dir());
    Some(base.join("server"))
}

/// The socket of the server whose state is kept there.
pub(crate) fn admin_socket(state_dir: &Path) -> PathBuf {
    state_dir.join("admin.sock")
}

impl AdminCommand {
    /// Folder of the state of the server that is meant.
    #[must_use]
    pub fn state_dir(&self) -> Option<PathBuf> {
        let (Self::Names { state, .. } | Self::Kick { state, .. } | Self::Ban { state, .. }) = self;
        state.clone().or_else(default_state_dir)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serve(args: &[&str]) -> Result<(Config, Output), String> {
        let args = ["columba-server"].iter().chain(args).map(OsString::from);
        let cli = Cli::from_args(args).map_err(|error| error.to_string())?;
        match cli.resolve().map_err(|error| error.to_string())? {
            Invocation::Serve(config, output) => Ok((*config, output)),
            Invocation::Admin(command) => Err(format!("{command:?}")),
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn defaults_stand_where_nothing_is_said() {
        let (config, output) = serve(&["share"]).expect("a folder is enough");
        assert_eq!(config.share_dir, Path::new("share"));
        assert_eq!(config.listen.to_string(), "[::]:11490");
        assert!(!config.plaintext && !output.ready_json);
        assert_eq!(output.log_format, LogFormat::Text);
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("columba.toml");
        let text = "listen = \"127.0.0.1:0\"\nmax-clients = 5\nmax-transfers = 6\nrate-limit = \"8mbit\"\nplaintext = true\ncipher = \"aes-128-gcm\"\n";
        std::fs::write(&path, text).expect("writable");
        let path = path.to_str().expect("UTF-8");
        let (config, _) = serve(&["--config", path, "--max-clients", "7", "x"]).expect("good");
        assert_eq!(config.max_clients, 7);
        assert_eq!(config.max_transfers, 6);
        assert_eq!(config.rate_limit, Some(1_000_000));
        assert!(config.plaintext);
        assert_eq!(config.cipher, CipherChoice::Aes128Gcm);
        let (config, _) = serve(&["--config", path, "--plaintext=false", "x"]).expect("good");
        assert!(!config.plaintext);
        std::fs::write(path, "max-client = 5\n").expect("writable");
        let error = serve(&["--config", path, "x"]).expect_err("a misspelt name");
        assert!(error.contains("max-client"), "{error}");
    }

    #[test]
    fn nonsense_is_refused() {
        for args in [
            &[][..],
            &["--listen", "nowhere", "x"],
            &["--rate-limit", "fast", "x"],
            &["--max-clients", "0", "x"],
            &["--congestion", "magic", "x"],
            &["--cipher", "rot13", "x"],
            &["--plaintext", "x"],
        ] {
            assert!(serve(args).is_err(), "{args:?}");
        }
        serve(&[
            "--plaintext",
            "--listen",
            "127.0.0.1:0",
            "--ready-json",
            "x",
        ])
        .expect("loopback");
    }

    #[test]
    fn the_operator_has_commands() {
        for args in [
            &["names", "list"][..],
            &["names", "forget", "bob"],
            &["kick", "bob"],
            &["ban", "bob"],
        ] {
            let error = serve(args).expect_err("not serving");
            assert!(error.contains("Names") || error.contains("bob"), "{error}");
        }
    }
}
