//! What the server is told: flags, environment, a file, and the defaults, in that order of precedence.

mod cli;
pub mod values;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use columba_core::congestion::Algorithm;
use columba_core::control::DEFAULT_PORT;
use thiserror::Error;

pub(crate) use cli::admin_socket;
pub use cli::{AdminCommand, CipherChoice, Cli, Invocation, LogFormat, NamesCommand, Output};

/// Clients at once unless told otherwise.
const DEFAULT_MAX_CLIENTS: usize = 10_000;

/// Clients with transfers at once unless told otherwise.
const DEFAULT_MAX_TRANSFERS: usize = 1_024;

/// Messages and requests per second of one user unless told otherwise.
const DEFAULT_MESSAGE_LIMIT: u32 = 2_000;

/// Everything a server needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// The folder whose files are shared.
    pub share_dir: PathBuf,
    /// TCP and UDP address; port 0 picks one.
    pub listen: SocketAddr,
    /// Where the server's key and the known names are kept; `None` keeps them in memory only.
    pub state_dir: Option<PathBuf>,
    /// Admit only keys listed here.
    pub authorized_keys: Option<PathBuf>,
    /// Ask for the password on the first line of this file.
    pub password_file: Option<PathBuf>,
    /// No TLS and no AEAD: integrity only.
    pub plaintext: bool,
    /// Allow that beyond loopback.
    pub plaintext_anywhere: bool,
    /// What seals the packets of downloads.
    pub cipher: CipherChoice,
    /// Congestion control of transfers.
    pub congestion: Algorithm,
    /// Clients at once.
    pub max_clients: usize,
    /// Clients with transfers at once.
    pub max_transfers: usize,
    /// Bytes per second over all transfers; `None` for no limit.
    pub rate_limit: Option<u64>,
    /// Messages and requests per second of one user; 0 for no limit.
    pub message_limit: u32,
    /// Where Prometheus may ask for metrics.
    pub metrics: Option<SocketAddr>,
    /// Where latency histograms are written.
    pub histograms: Option<PathBuf>,
    /// Socket through which the operator's commands come; `None` for none.
    pub admin_socket: Option<PathBuf>,
    /// React to SIGTERM, SIGINT, SIGHUP and SIGUSR1. Off when the server is a part of another program.
    pub handle_signals: bool,
}

/// A configuration that cannot work.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// Plaintext where others can listen.
    #[error(
        "--plaintext is refused on {0}: everybody on the way could read and change everything; listen on 127.0.0.1, or say --plaintext-anywhere"
    )]
    PlaintextExposed(SocketAddr),
    /// Keys are proved by TLS.
    #[error("--authorized-keys needs TLS: leave out --plaintext")]
    KeysWithoutTls,
    /// Neither the command line nor the file names a folder.
    #[error("no folder to share: name one")]
    NothingShared,
    /// A limit of nothing.
    #[error("--{0} must be at least 1")]
    Zero(&'static str),
    /// The configuration file.
    #[error("{path}: {reason}")]
    File {
        /// Which file.
        path: String,
        /// What is wrong.
        reason: String,
    },
}

impl Config {
    /// The defaults, on a free port of the loopback address, with nothing kept: what tests want.
    #[must_use]
    pub fn for_tests(share_dir: impl Into<PathBuf>) -> Self {
        Self {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            state_dir: None,
            admin_socket: None,
            handle_signals: false,
            ..Self::new(share_dir)
        }
    }

    /// The defaults.
    #[must_use]
    pub fn new(share_dir: impl Into<PathBuf>) -> Self {
        Self {
            share_dir: share_dir.into(),
            listen: (Ipv6Addr::UNSPECIFIED, DEFAULT_PORT).into(),
            state_dir: cli::default_state_dir(),
            authorized_keys: None,
            password_file: None,
            plaintext: false,
            plaintext_anywhere: false,
            cipher: CipherChoice::Auto,
            congestion: default_congestion(),
            max_clients: DEFAULT_MAX_CLIENTS,
            max_transfers: DEFAULT_MAX_TRANSFERS,
            rate_limit: None,
            message_limit: DEFAULT_MESSAGE_LIMIT,
            metrics: None,
            histograms: None,
            admin_socket: None,
            handle_signals: true,
        }
    }

    /// Judges what belongs together.
    ///
    /// # Errors
    /// What does not go together, with what to do.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.plaintext && self.authorized_keys.is_some() {
            return Err(ConfigError::KeysWithoutTls);
        }
        if self.plaintext && !self.plaintext_anywhere && !self.listen.ip().is_loopback() {
            return Err(ConfigError::PlaintextExposed(self.listen));
        }
        if self.max_clients == 0 {
            return Err(ConfigError::Zero("max-clients"));
        }
        if self.max_transfers == 0 {
            return Err(ConfigError::Zero("max-transfers"));
        }
        Ok(())
    }
}

/// The best controller there is.
fn default_congestion() -> Algorithm {
    "bbr".parse().unwrap_or(Algorithm::ALL[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plaintext_stays_on_loopback_unless_asked_for() {
        let mut config = Config::for_tests(".");
        config.plaintext = true;
        config.check().expect("loopback");
        config.listen = (Ipv6Addr::UNSPECIFIED, 0).into();
        let error = config.check().expect_err("exposed").to_string();
        assert!(error.contains("--plaintext-anywhere"), "{error}");
        config.plaintext_anywhere = true;
        config.check().expect("asked for");
        config.authorized_keys = Some("keys".into());
        assert!(matches!(config.check(), Err(ConfigError::KeysWithoutTls)));
    }
}
