//! This client's own key: made on first use, shown, moved to another machine.

use std::io::{self, Read};
use std::path::Path;

use columba_net::identity::{Identity, IdentityError};

use crate::exit_code::ClientError;
use crate::known_servers::replace_private;

/// A key is about 120 bytes; nothing near this size is one.
const MAX_KEY_BYTES: u64 = 16_384;

impl From<IdentityError> for ClientError {
    fn from(error: IdentityError) -> Self {
        match error {
            IdentityError::Read { path, source } => Self::state("read", &path, source),
            IdentityError::Create { path, source } => Self::state("create", &path, source),
            IdentityError::MalformedFile { path } => {
                let text = "it holds no Ed25519 private key; move it away to get a new one";
                let source = io::Error::new(io::ErrorKind::InvalidData, text);
                Self::state("use", &path, source)
            }
            IdentityError::Malformed | IdentityError::Generate => Self::Usage(error.to_string()),
        }
    }
}

/// The key in `path`, made now if there is none. A warning is given for one that others may read.
///
/// # Errors
/// The file cannot be read or made, or holds something else.
pub fn load_or_create(path: &Path) -> Result<Identity, ClientError> {
    let loaded = Identity::load_or_create(path)?;
    if let Some(mode) = loaded.exposed_mode {
        tracing::warn!(
            "others may read {} (mode {mode:o}): chmod 600 it",
            crate::storage::paths::shown(path)
        );
    }
    Ok(loaded.identity)
}

/// Takes over the private key that `source` gives. A different key in `path` is replaced only with
/// `force`.
///
/// # Errors
/// It is no key, another one is there, or a file cannot be read or written.
pub fn import(path: &Path, source: impl Read, force: bool) -> Result<Identity, ClientError> {
    let mut text = String::new();
    source
        .take(MAX_KEY_BYTES)
        .read_to_string(&mut text)
        .map_err(|source| ClientError::System {
            action: "read the key",
            source,
        })?;
    let identity = Identity::from_pem(&text)?;
    match Identity::load(path)? {
        None => identity
            .save_new(path)
            .map_err(|error| ClientError::state("write", path, error))?,
        Some(there) if there.identity.fingerprint() == identity.fingerprint() => {}
        Some(_) if force => replace_private(path, identity.to_pem().as_bytes())
            .map_err(|error| ClientError::state("write", path, error))?,
        Some(there) => {
            return Err(ClientError::Usage(format!(
                "there is another key already ({}); --force replaces it, and its names stay with it",
                there.identity.fingerprint()
            )));
        }
    }
    Ok(identity)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_moves_from_one_machine_to_another() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (folder.path().join("a/key"), folder.path().join("b/key"));
        let first = load_or_create(&one).unwrap();
        assert_eq!(
            load_or_create(&one).unwrap().fingerprint(),
            first.fingerprint()
        );
        let text = first.to_pem();
        import(&other, text.as_bytes(), false).unwrap();
        import(&other, text.as_bytes(), false).unwrap();
        let moved = load_or_create(&other).unwrap();
        assert_eq!(moved.fingerprint(), first.fingerprint());
    }

    #[test]
    fn another_key_is_replaced_only_by_force() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        load_or_create(&path).unwrap();
        let text = Identity::generate().unwrap().to_pem();
        let refused = import(&path, text.as_bytes(), false).unwrap_err();
        assert_eq!(refused.exit_code() as u8, 2);
        let imported = import(&path, text.as_bytes(), true).unwrap();
        let loaded = load_or_create(&path).unwrap();
        assert_eq!(loaded.fingerprint(), imported.fingerprint());
    }

    #[test]
    fn nonsense_is_no_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        assert!(import(&path, &b"hello"[..], true).is_err());
        assert!(import(&path, &b"\xff\xfe"[..], true).is_err());
        assert!(!path.exists());
    }
}
