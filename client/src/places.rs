//! Where the client keeps its own files, and how a server's address is written.

use std::path::{Path, PathBuf};

use columba_core::control::DEFAULT_PORT;

use crate::exit_code::ClientError;

/// The folder with the client's key and the known servers.
#[derive(Clone, Debug)]
pub struct StateFolder(PathBuf);

impl StateFolder {
    /// This one, or the platform's own.
    ///
    /// # Errors
    /// Nothing is given and the user has no home folder.
    pub fn choose(given: Option<&Path>) -> Result<Self, ClientError> {
        if let Some(folder) = given {
            return Ok(Self(folder.to_path_buf()));
        }
        let folders = directories::ProjectDirs::from("", "", "columba").ok_or_else(|| {
            ClientError::Usage("there is no home folder; give one with --state".to_owned())
        })?;
        Ok(Self(folders.config_dir().to_path_buf()))
    }

    /// The client's private key.
    #[must_use]
    pub fn key(&self) -> PathBuf {
        self.0.join("client.key")
    }

    /// The keys of servers met so far.
    #[must_use]
    pub fn known_servers(&self) -> PathBuf {
        self.0.join("known_servers")
    }

    /// What the window remembers.
    #[must_use]
    pub fn preferences(&self) -> PathBuf {
        self.0.join("window.toml")
    }

    /// The optional settings.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.0.join("config.toml")
    }
}

/// A server as people write it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerName {
    /// Name or address, without brackets.
    pub host: String,
    /// TCP and UDP port.
    pub port: u16,
}

impl ServerName {
    /// Reads `HOST`, `HOST:PORT`, `[V6]:PORT` or a bare IPv6 address. Empty means this machine.
    ///
    /// # Errors
    /// The text is no such thing.
    pub fn parse(text: &str) -> Result<Self, ClientError> {
        let text = text.trim();
        let refuse = || {
            let shown = columba_core::chat::printable(text);
            ClientError::Usage(format!(
                "{shown:?} is no server; write HOST, HOST:PORT or [IPV6]:PORT"
            ))
        };
        let port_of = |port: &str| match port.parse() {
            Ok(0) | Err(_) => Err(refuse()),
            Ok(port) => Ok(port),
        };
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let (host, rest) = rest.split_once(']').ok_or_else(refuse)?;
            match rest.strip_prefix(':') {
                Some(port) => (host, port_of(port)?),
                None if rest.is_empty() => (host, DEFAULT_PORT),
                None => return Err(refuse()),
            }
        } else if text.matches(':').count() > 1 {
            (text, DEFAULT_PORT)
        } else if let Some((host, port)) = text.split_once(':') {
            (host, port_of(port)?)
        } else {
            (text, DEFAULT_PORT)
        };
        if host.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(refuse());
        }
        let host = if host.is_empty() { "localhost" } else { host };
        Ok(Self {
            host: host.to_lowercase(),
            port,
        })
    }
}

impl std::fmt::Display for ServerName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_as_people_write_them() {
        for (text, shown) in [
            ("", "localhost:11490"),
            (":7000", "localhost:7000"),
            ("Example.org", "example.org:11490"),
            ("10.0.0.1:5", "10.0.0.1:5"),
            ("::1", "[::1]:11490"),
            ("[::1]", "[::1]:11490"),
            ("[fe80::1%eth0]:9", "[fe80::1%eth0]:9"),
        ] {
            assert_eq!(ServerName::parse(text).unwrap().to_string(), shown);
        }
        for text in ["a:0", "a:b", "a:70000", "[::1", "[::1]x", "a b", "a\x1b:1"] {
            assert!(ServerName::parse(text).is_err(), "{text:?}");
        }
    }
}
