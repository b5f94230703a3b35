//! What applies after flags, environment and the settings file, in this order.

use std::path::{Path, PathBuf};

use columba_core::control::limits::MAX_PASSWORD_BYTES;
use columba_net::identity::{Fingerprint, FingerprintError};
use serde::Deserialize;

use super::args::Common;
use crate::exit_code::ClientError;
use crate::places::{ServerName, StateFolder};

/// The settings file: long options without their dashes.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct ConfigFile {
    server: Option<String>,
    name: Option<String>,
    plaintext: Option<bool>,
    fingerprint: Option<String>,
    password_file: Option<PathBuf>,
}

/// Everything a command needs to know about the server and ourselves.
#[derive(Clone)]
pub struct Settings {
    /// The server.
    pub server: ServerName,
    /// Whether the server was given, rather than this machine by default.
    pub server_given: bool,
    /// Our name in the chat, if one is given.
    pub name: Option<String>,
    /// No TLS.
    pub plaintext: bool,
    /// The only key to accept.
    pub fingerprint: Option<Fingerprint>,
    /// The server's password, or empty.
    pub password: String,
    /// Our own files.
    pub state: StateFolder,
}

impl std::fmt::Debug for Settings {
    /// Leaves the password out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("server", &self.server)
            .field("name", &self.name)
            .field("plaintext", &self.plaintext)
            .finish_non_exhaustive()
    }
}

impl Settings {
    /// Puts flags and environment (`common`) before the settings file.
    ///
    /// # Errors
    /// A file cannot be read, or a value makes no sense.
    pub fn gather(common: &Common) -> Result<Self, ClientError> {
        let state = StateFolder::choose(common.state.as_deref())?;
        let file = read_config(common.config.as_deref(), &state)?;
        Self::put_together(common, state, file)
    }

    /// The same without a settings file, for who goes on when that is broken.
    ///
    /// # Errors
    /// A value makes no sense.
    #[cfg(feature = "gui")]
    pub fn gather_without_file(common: &Common) -> Result<Self, ClientError> {
        let state = StateFolder::choose(common.state.as_deref())?;
        Self::put_together(common, state, ConfigFile::default())
    }

    fn put_together(
        common: &Common,
        state: StateFolder,
        file: ConfigFile,
    ) -> Result<Self, ClientError> {
        let server = common.server.clone().or(file.server);
        let server_given = server.is_some();
        let server = server.unwrap_or_default();
        let plaintext = common.plaintext || file.plaintext.unwrap_or(false);
        let fingerprint = match common.fingerprint.clone().or(file.fingerprint) {
            Some(text) => Some(
                text.parse()
                    .map_err(|error: FingerprintError| ClientError::Usage(error.to_string()))?,
            ),
            None => None,
        };
        if plaintext && fingerprint.is_some() {
            return Err(ClientError::Usage(
                "--plaintext checks no key: leave out --fingerprint, or --plaintext".to_owned(),
            ));
        }
        let password = match common
            .password_file
            .as_ref()
            .or(file.password_file.as_ref())
        {
            Some(path) => read_password(path)?,
            None => String::new(),
        };
        Ok(Self {
            server: ServerName::parse(&server)?,
            server_given,
            name: common.name.clone().or(file.name),
            plaintext,
            fingerprint,
            password,
            state,
        })
    }
}

fn read_config(given: Option<&Path>, state: &StateFolder) -> Result<ConfigFile, ClientError> {
    let path = given.map_or_else(|| state.config(), Path::to_path_buf);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if given.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(ConfigFile::default());
        }
        Err(error) => return Err(ClientError::state("read", &path, error)),
    };
    toml::from_str(&text).map_err(|error| {
        ClientError::Usage(format!(
            "{}: {}",
            crate::storage::paths::shown(&path),
            error.message()
        ))
    })
}

fn read_password(path: &Path) -> Result<String, ClientError> {
    let text =
        std::fs::read_to_string(path).map_err(|error| ClientError::state("read", path, error))?;
    let password = text.lines().next().unwrap_or_default();
    if password.len() > MAX_PASSWORD_BYTES {
        return Err(ClientError::Usage(format!(
            "the password has more than {MAX_PASSWORD_BYTES} bytes"
        )));
    }
    Ok(password.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn common(folder: &Path) -> Common {
        Common {
            state: Some(folder.to_path_buf()),
            ..Common::default()
        }
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let folder = tempfile::tempdir().unwrap();
        let mut common = common(folder.path());
        let settings = Settings::gather(&common).unwrap();
        assert_eq!(settings.server.to_string(), "localhost:11490");
        let password = folder.path().join("password");
        std::fs::write(&password, "secret\nmore\n").unwrap();
        let config = format!(
            "server = \"h:5\"\nname = \"bob\"\npassword-file = {:?}\n",
            password.display().to_string()
        );
        std::fs::write(folder.path().join("config.toml"), config).unwrap();
        common.name = Some("alice".to_owned());
        let settings = Settings::gather(&common).unwrap();
        assert_eq!(settings.server.to_string(), "h:5");
        assert_eq!(settings.name.as_deref(), Some("alice"));
        assert_eq!(settings.password, "secret");
        assert!(!format!("{settings:?}").contains("secret"));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut bad = common(folder.path());
        bad.fingerprint = Some("12".to_owned());
        assert!(Settings::gather(&bad).is_err());
        bad.fingerprint = Some("0".repeat(64));
        bad.plaintext = true;
        assert!(Settings::gather(&bad).is_err());
        let mut missing = common(folder.path());
        missing.config = Some(folder.path().join("none"));
        assert!(Settings::gather(&missing).is_err());
        std::fs::write(folder.path().join("config.toml"), "sever = 1").unwrap();
        let error = Settings::gather(&common(folder.path())).unwrap_err();
        assert!(error.to_string().contains("sever"), "{error}");
    }
}
