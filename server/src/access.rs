//! Who may use the server: listed keys, and a password.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use columba_core::control::ControlError;
use columba_core::control::limits::MAX_PASSWORD_BYTES;

use crate::lobby::Refusal;
use crate::names::{KeyFingerprint, from_hex, to_hex};

/// The rules, as read from their files.
#[derive(Default)]
pub struct Access {
    keys_file: Option<PathBuf>,
    password_file: Option<PathBuf>,
    /// `None` admits every key.
    keys: Option<HashSet<KeyFingerprint>>,
    /// BLAKE3 of the password; `None` asks for none.
    password: Option<blake3::Hash>,
    /// Keys the operator banned until the server is started again.
    banned: HashSet<KeyFingerprint>,
}

impl std::fmt::Debug for Access {
    /// Tells nothing about the password but whether there is one.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access")
            .field("keys", &self.keys.as_ref().map(HashSet::len))
            .field("password", &self.password.is_some())
            .field("banned", &self.banned.len())
            .finish_non_exhaustive()
    }
}

impl Access {
    /// Reads the files.
    ///
    /// # Errors
    /// A file cannot be read or holds something else; the error names it and the line.
    pub fn load(keys_file: Option<PathBuf>, password_file: Option<PathBuf>) -> io::Result<Self> {
        let mut access = Self {
            keys_file,
            password_file,
            ..Self::default()
        };
        access.reload()?;
        Ok(access)
    }

    /// Reads the files again. After an error the old rules stay.
    ///
    /// # Errors
    /// As in [`load`](Self::load).
    pub fn reload(&mut self) -> io::Result<()> {
        let keys = self.keys_file.as_deref().map(read_keys).transpose()?;
        let password = self
            .password_file
            .as_deref()
            .map(read_password)
            .transpose()?;
        self.keys = keys;
        self.password = password;
        Ok(())
    }

    /// Judges a client by the key that TLS proved (`None` in plaintext mode) and its password.
    ///
    /// # Errors
    /// The key is not listed or banned, or the password is missing or wrong.
    pub fn check(&self, key: Option<KeyFingerprint>, password: &str) -> Result<(), Refusal> {
        if let Some(key) = key
            && self.banned.contains(&key)
        {
            let text = "the operator of this server has banned your key";
            return Err(Refusal::new(ControlError::KeyNotAuthorized, text));
        }
        if let Some(keys) = &self.keys
            && !key.is_some_and(|key| keys.contains(&key))
        {
            let shown = key.map_or_else(|| "none".to_owned(), |key| to_hex(&key));
            let text = format!(
                "this server admits listed keys only: ask its operator to add yours, {shown}"
            );
            return Err(Refusal::new(ControlError::KeyNotAuthorized, text));
        }
        match self.password {
            // Hashes are compared in constant time, and say nothing about a length.
            Some(expected) if blake3::hash(password.as_bytes()) != expected => {
                let text = if password.is_empty() {
                    "this server asks for a password: give one"
                } else {
                    "the password is wrong"
                };
                Err(Refusal::new(ControlError::Password, text))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Keeps a key out until the server is started again.
    pub fn ban(&mut self, key: KeyFingerprint) {
        self.banned.insert(key);
    }
}

fn read_keys(path: &Path) -> io::Result<HashSet<KeyFingerprint>> {
    let text = std::fs::read_to_string(path).map_err(|error| about(path, &error))?;
    let mut keys = HashSet::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default();
        let Some(word) = line.split_whitespace().next() else {
            continue;
        };
        let key = from_hex(word).ok_or_else(|| {
            let text = format!(
                "{}, line {}: no fingerprint of 64 hex digits",
                path.display(),
                index + 1
            );
            io::Error::new(io::ErrorKind::InvalidData, text)
        })?;
        keys.insert(key);
    }
    Ok(keys)
}

fn read_password(path: &Path) -> io::Result<blake3::Hash> {
    let text = std::fs::read_to_string(path).map_err(|error| about(path, &error))?;
    let password = text.lines().next().unwrap_or_default();
    if password.is_empty() || password.len() > MAX_PASSWORD_BYTES {
        let text = format!(
            "{}: the first line must be a password of 1 to {MAX_PASSWORD_BYTES} bytes",
            path.display()
        );
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    Ok(blake3::hash(password.as_bytes()))
}

fn about(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("rules");
        std::fs::write(&path, text).expect("the folder is writable");
        (folder, path)
    }

    #[test]
    fn without_rules_everybody_may_come() {
        let access = Access::load(None, None).expect("nothing to read");
        assert_eq!(access.check(None, ""), Ok(()));
        assert_eq!(access.check(Some([1; 32]), "anything"), Ok(()));
    }

    #[test]
    fn only_listed_keys_may_come() {
        let listed = to_hex(&[1; 32]);
        let (_folder, path) = file(&format!("# the team\n\n{listed} alice's laptop\n"));
        let mut access = Access::load(Some(path.clone()), None).expect("a good file");
        assert_eq!(access.check(Some([1; 32]), ""), Ok(()));
        let refused = access.check(Some([2; 32]), "").expect_err("not listed");
        assert_eq!(refused.code, ControlError::KeyNotAuthorized);
        assert!(
            refused.text.contains(&to_hex(&[2; 32])),
            "the person can hand it on"
        );
        assert!(access.check(None, "").is_err());
        std::fs::write(&path, format!("{}\n", to_hex(&[2; 32]))).expect("writable");
        access.reload().expect("a good file");
        assert_eq!(access.check(Some([2; 32]), ""), Ok(()));
        std::fs::write(&path, "nonsense\n").expect("writable");
        let error = access.reload().expect_err("a bad file").to_string();
        assert!(error.contains("line 1"), "{error}");
        assert_eq!(
            access.check(Some([2; 32]), ""),
            Ok(()),
            "the old rules stay"
        );
    }

    #[test]
    fn the_password_is_the_first_line() {
        let (_folder, path) = file("correct horse\nignored\n");
        let access = Access::load(None, Some(path)).expect("a good file");
        assert_eq!(access.check(None, "correct horse"), Ok(()));
        for wrong in ["", "correct", "correct horse "] {
            assert_eq!(
                access.check(None, wrong).expect_err("wrong").code,
                ControlError::Password
            );
        }
        assert!(!format!("{access:?}").contains("horse"));
        let (_folder, empty) = file("\nsecret\n");
        assert!(Access::load(None, Some(empty)).is_err());
    }

    #[test]
    fn a_banned_key_stays_out() {
        let mut access = Access::default();
        access.ban([1; 32]);
        assert!(access.check(Some([1; 32]), "").is_err());
        assert!(access.check(Some([2; 32]), "").is_ok());
    }
}
