//! Which name belongs to which key: the first key that used it. Kept in the state folder.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use columba_core::chat::NameKey;
use serde::{Deserialize, Serialize};

use crate::limits::{MAX_NAMES_PER_KEY, MAX_OWNED_NAMES};

/// BLAKE3 of a public key's SPKI, as TLS proved it.
pub type KeyFingerprint = [u8; 32];

/// What came of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The name belongs to the key, now or before.
    Owned,
    /// It belongs to another key.
    Foreign,
    /// Nobody owns it, and neither does this key: it owns as many as it may, or the registry is full.
    Unowned,
}

#[derive(Clone, Debug)]
struct Owned {
    name: String,
    owner: KeyFingerprint,
    since_s: u64,
}

/// The file's form.
#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    names: Vec<StoredName>,
}

#[derive(Serialize, Deserialize)]
struct StoredName {
    name: String,
    key: String,
    since_s: u64,
}

/// One owned name, as the operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameRecord {
    /// The name as it was first used.
    pub name: String,
    /// The owner.
    pub owner: KeyFingerprint,
    /// First used, seconds since the Unix epoch.
    pub since_s: u64,
}

/// The names and their owners.
#[derive(Debug, Default)]
pub struct NameRegistry {
    path: Option<PathBuf>,
    names: HashMap<NameKey, Owned>,
    per_owner: HashMap<KeyFingerprint, usize>,
    dirty: bool,
}

impl NameRegistry {
    /// A registry that is never written.
    #[must_use]
    pub fn in_memory() -> Self {
        Self::default()
    }

    /// Reads the registry; a missing file is an empty one.
    ///
    /// # Errors
    /// The file cannot be read or is no registry. It is left alone then: overwriting it would give names away.
    pub fn load(path: &Path) -> io::Result<Self> {
        let mut registry = Self {
            path: Some(path.to_owned()),
            ..Self::default()
        };
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(registry),
            Err(error) => return Err(error),
        };
        let invalid = |reason: String| io::Error::new(io::ErrorKind::InvalidData, reason);
        let stored: Stored =
            serde_json::from_str(&text).map_err(|error| invalid(error.to_string()))?;
        for entry in stored.names {
            let owner = from_hex(&entry.key)
                .ok_or_else(|| invalid(format!("bad key for {:?}", entry.name)))?;
            registry.insert(Owned {
                name: entry.name,
                owner,
                since_s: entry.since_s,
            });
        }
        registry.dirty = false;
        Ok(registry)
    }

    /// Gives the name to the key unless it has an owner already.
    pub fn claim(&mut self, name: &str, owner: KeyFingerprint, unix_s: u64) -> Claim {
        if let Some(owned) = self.names.get(&NameKey::of(name)) {
            return if owned.owner == owner {
                Claim::Owned
            } else {
                Claim::Foreign
            };
        }
        let count = self.per_owner.get(&owner).copied().unwrap_or(0);
        if count >= MAX_NAMES_PER_KEY || self.names.len() >= MAX_OWNED_NAMES {
            return Claim::Unowned;
        }
        self.insert(Owned {
            name: name.to_owned(),
            owner,
            since_s: unix_s,
        });
        Claim::Owned
    }

    /// Frees a name; `false` when it has no owner.
    pub fn forget(&mut self, name: &str) -> bool {
        let Some(owned) = self.names.remove(&NameKey::of(name)) else {
            return false;
        };
        if let Some(count) = self.per_owner.get_mut(&owned.owner) {
            *count -= 1;
            if *count == 0 {
                self.per_owner.remove(&owned.owner);
            }
        }
        self.dirty = true;
        true
    }

    /// All names, sorted.
    #[must_use]
    pub fn list(&self) -> Vec<NameRecord> {
        let mut list: Vec<NameRecord> = self
            .names
            .values()
            .map(|owned| NameRecord {
                name: owned.name.clone(),
                owner: owned.owner,
                since_s: owned.since_s,
            })
            .collect();
        list.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        list
    }

    /// Whether there is something to write.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        self.dirty && self.path.is_some()
    }

    /// What is to be written, and where to; clears the mark. A helper thread does the writing (see [`write()`]).
    pub fn take_snapshot(&mut self) -> Option<(PathBuf, String)> {
        let path = self.path.clone()?;
        if !std::mem::take(&mut self.dirty) {
            return None;
        }
        let names = self
            .list()
            .into_iter()
            .map(|record| StoredName {
                name: record.name,
                key: to_hex(&record.owner),
                since_s: record.since_s,
            })
            .collect();
        let text = serde_json::to_string_pretty(&Stored { version: 1, names }).ok()?;
        Some((path, text))
    }

    fn insert(&mut self, owned: Owned) {
        *self.per_owner.entry(owned.owner).or_default() += 1;
        self.names.insert(NameKey::of(&owned.name), owned);
        self.dirty = true;
    }
}

/// Replaces a file as a whole: a crash leaves the old or the new one.
///
/// # Errors
/// The folder cannot be written.
pub fn write(path: &Path, text: &str) -> io::Result<()> {
    let temporary = path.with_extension("new");
    let mut file = std::fs::File::create(&temporary)?;
    io::Write::write_all(&mut file, text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)
}

/// Lower-case hex of a fingerprint.
#[must_use]
pub fn to_hex(fingerprint: &KeyFingerprint) -> String {
    fingerprint
        .iter()
        .fold(String::with_capacity(64), |mut hex, byte| {
            // Writing to a String cannot fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        })
}

/// A fingerprint from its 64 hex digits, in either case.
#[must_use]
pub fn from_hex(hex: &str) -> Option<KeyFingerprint> {
    blake3::Hash::from_hex(hex.trim().to_ascii_lowercase())
        .ok()
        .map(|hash| *hash.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: KeyFingerprint = [1; 32];
    const BOB: KeyFingerprint = [2; 32];

    #[test]
    fn the_first_key_owns_the_name_and_its_look_alikes() {
        let mut names = NameRegistry::in_memory();
        assert_eq!(names.claim("alice", ALICE, 5), Claim::Owned);
        assert_eq!(names.claim("alice", ALICE, 6), Claim::Owned);
        assert_eq!(names.claim("alice", BOB, 7), Claim::Foreign);
        assert_eq!(names.claim("ALICE", BOB, 7), Claim::Foreign);
        assert!(names.forget("Alice"));
        assert!(!names.forget("alice"));
        assert_eq!(names.claim("alice", BOB, 8), Claim::Owned);
    }

    #[test]
    fn a_key_owns_a_bounded_number() {
        let mut names = NameRegistry::in_memory();
        for index in 0..MAX_NAMES_PER_KEY {
            assert_eq!(
                names.claim(&format!("user{index}x"), ALICE, 0),
                Claim::Owned
            );
        }
        assert_eq!(names.claim("another", ALICE, 0), Claim::Unowned);
        assert_eq!(names.claim("another", BOB, 0), Claim::Owned);
        assert!(names.forget("user0x"));
        assert_eq!(names.claim("third", ALICE, 0), Claim::Owned);
    }

    #[test]
    fn the_registry_survives_a_restart() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("names.json");
        let mut names = NameRegistry::load(&path).expect("a missing file is an empty registry");
        names.claim("alice", ALICE, 5);
        names.claim("Jürgen", BOB, 6);
        let (to, text) = names.take_snapshot().expect("it changed");
        write(&to, &text).expect("the folder is writable");
        assert!(names.take_snapshot().is_none(), "nothing changed since");
        let mut again = NameRegistry::load(&path).expect("our own file");
        assert_eq!(again.list(), names.list());
        assert_eq!(again.claim("alice", BOB, 9), Claim::Foreign);
        assert!(!again.is_dirty());
    }

    #[test]
    fn a_damaged_registry_is_refused_rather_than_forgotten() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("names.json");
        for text in [
            "",
            "{",
            "{\"version\":1,\"names\":[{\"name\":\"a\",\"key\":\"zz\",\"since_s\":0}]}",
        ] {
            std::fs::write(&path, text).expect("the folder is writable");
            let error = NameRegistry::load(&path).expect_err("damaged");
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }
    }

    #[test]
    fn fingerprints_are_hex() {
        assert_eq!(from_hex(&to_hex(&ALICE)), Some(ALICE));
        assert_eq!(from_hex("12"), None);
    }
}
