//! Trust on first use: which key each server showed when we first met it.
//!
//! One line a server: `HOST:PORT FINGERPRINT`. Empty lines and those that start with `#` are kept as they
//! are. The file is replaced atomically, with mode 0600; two clients that write at the same time
//! take turns through a lock file.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use columba_net::identity::Fingerprint;

/// What is known about a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// It was never met.
    Unknown,
    /// It has this key.
    Key(Fingerprint),
}

/// The file of known servers.
#[derive(Clone, Debug)]
pub struct KnownServers {
    path: PathBuf,
}

impl KnownServers {
    /// Those in this file, which need not exist.
    #[must_use]
    pub const fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// Where they stand.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The key of `server` (`HOST:PORT`).
    ///
    /// # Errors
    /// The file cannot be read, or the server's line is damaged: then nothing may be trusted.
    pub fn look_up(&self, server: &str) -> io::Result<Known> {
        let text = match std::fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Known::Unknown),
            Err(error) => return Err(error),
        };
        let name = server.to_lowercase();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            if words.next() != Some(&name) {
                continue;
            }
            return match (
                words.next().and_then(|text| text.parse().ok()),
                words.next(),
            ) {
                (Some(key), None) => Ok(Known::Key(key)),
                _ => Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("the line of {name} is damaged"),
                )),
            };
        }
        Ok(Known::Unknown)
    }

    /// Remembers the key of a server that was unknown so far.
    ///
    /// # Errors
    /// The file cannot be written, or another client has met the server meanwhile and saw another
    /// key.
    pub fn remember(&self, server: &str, key: Fingerprint) -> io::Result<()> {
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let _lock = lock(&crate::storage::paths::beside(&self.path, ".lock"))?;
        match self.look_up(server)? {
            Known::Key(known) if known == key => return Ok(()),
            Known::Key(_) => {
                let text = "another client has just met this server with another key";
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
            }
            Known::Unknown => {}
        }
        let mut text = match std::fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error),
        };
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str(&server.to_lowercase());
        text.push(' ');
        text.push_str(&key.to_string());
        text.push('\n');
        replace_private(&self.path, text.as_bytes())
    }
}

/// Replaces a file that only its owner may read, atomically and durably.
///
/// # Errors
/// What the system says.
pub fn replace_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let fresh = crate::storage::paths::beside(path, ".new");
    let write = || {
        let mut file = private(&fresh, true)?;
        file.write_all(content)?;
        file.sync_all()?;
        std::fs::rename(&fresh, path)
    };
    write().inspect_err(|_| {
        // What could not be put in place is of no use to anyone.
        let _ = std::fs::remove_file(&fresh);
    })
}

/// Opens for writing, for the owner only; with `truncate` it is emptied.
fn private(path: &Path, truncate: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(truncate);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options.open(path)
}

/// Waits until no other client writes; the lock ends with the handle.
fn lock(path: &Path) -> io::Result<File> {
    let file = private(path, false)?;
    #[cfg(unix)]
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(folder: &tempfile::TempDir) -> KnownServers {
        KnownServers::at(folder.path().join("sub").join("known_servers"))
    }

    fn key(byte: u8) -> Fingerprint {
        Fingerprint::from_bytes([byte; 32])
    }

    #[test]
    fn a_server_is_unknown_until_it_was_met() {
        let folder = tempfile::tempdir().unwrap();
        let known = servers(&folder);
        assert_eq!(known.look_up("a:1").unwrap(), Known::Unknown);
        known.remember("A:1", key(7)).unwrap();
        known.remember("a:1", key(7)).unwrap();
        known.remember("a:2", key(8)).unwrap();
        assert_eq!(known.look_up("a:1").unwrap(), Known::Key(key(7)));
        assert_eq!(known.look_up("a:2").unwrap(), Known::Key(key(8)));
        assert_eq!(known.look_up("b:1").unwrap(), Known::Unknown);
        let text = std::fs::read_to_string(known.path()).unwrap();
        assert_eq!(text.lines().count(), 2);
    }

    #[test]
    fn a_key_is_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let known = servers(&folder);
        known.remember("a:1", key(7)).unwrap();
        assert!(known.remember("a:1", key(8)).is_err());
        assert_eq!(known.look_up("a:1").unwrap(), Known::Key(key(7)));
    }

    #[test]
    fn a_damaged_line_is_an_error_and_not_a_stranger() {
        let folder = tempfile::tempdir().unwrap();
        let known = servers(&folder);
        std::fs::create_dir_all(known.path().parent().unwrap()).unwrap();
        std::fs::write(known.path(), "# mine\n\na:1 00ff\nb:1 x y\n").unwrap();
        assert!(known.look_up("a:1").is_err());
        assert!(known.look_up("b:1").is_err());
        known.remember("c:1", key(1)).unwrap();
        let text = std::fs::read_to_string(known.path()).unwrap();
        assert!(text.starts_with("# mine\n\na:1 00ff\n"));
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_reads_it() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let known = servers(&folder);
        known.remember("a:1", key(7)).unwrap();
        let mode = std::fs::metadata(known.path())
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
