//! Who a server or a client is: an Ed25519 key, its file and its fingerprint.
//!
//! The file is PEM around PKCS#8 (RFC 8410), the form other tools read and write. It is made on
//! first use, complete or not at all, and readable by its owner only.

use std::fmt;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;

/// `SubjectPublicKeyInfo` of an Ed25519 key up to the key itself (RFC 8410, section 4): canonical,
/// so equal keys have equal fingerprints.
const SPKI_PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];
const PUBLIC_KEY_BYTES: usize = 32;
const SPKI_BYTES: usize = SPKI_PREFIX.len() + PUBLIC_KEY_BYTES;

/// A key file is about 120 bytes; nothing near this size is one.
const MAX_FILE_BYTES: u64 = 16_384;

const PEM_BEGIN: &str = "-----BEGIN PRIVATE KEY-----\n";
const PEM_END: &str = "-----END PRIVATE KEY-----\n";
const PEM_LINE_CHARS: usize = 64;

/// Names a public key: BLAKE3 of its `SubjectPublicKeyInfo` in DER.
///
/// Written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; Self::BYTES]);

impl Fingerprint {
    /// Bytes in a fingerprint.
    pub const BYTES: usize = 32;

    /// A fingerprint known from elsewhere.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    /// The hash itself.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }

    /// The fingerprint of a peer's key; `None` if it is not a well-formed Ed25519 key.
    pub(crate) fn of_spki(spki: &[u8]) -> Option<Self> {
        let well_formed = spki.len() == SPKI_BYTES && spki.starts_with(&SPKI_PREFIX);
        well_formed.then(|| Self(blake3::hash(spki).into()))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0 {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

/// Text that is not a fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a fingerprint has 64 hexadecimal digits")]
pub struct FingerprintError;

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    fn from_str(text: &str) -> Result<Self, FingerprintError> {
        let digits = text.as_bytes();
        if digits.len() != 2 * Self::BYTES {
            return Err(FingerprintError);
        }
        let mut bytes = [0; Self::BYTES];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            for &digit in pair {
                let value = char::from(digit).to_digit(16).ok_or(FingerprintError)?;
                *byte = (*byte << 4) | u8::try_from(value).map_err(|_| FingerprintError)?;
            }
        }
        Ok(Self(bytes))
    }
}

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The key file cannot be read.
    #[error("cannot read the key file {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The key file cannot be made.
    #[error("cannot create the key file {}: {source}", path.display())]
    Create {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The text is no Ed25519 private key in PEM.
    #[error("not an Ed25519 private key (PEM, PKCS#8)")]
    Malformed,
    /// The key file holds no Ed25519 private key.
    #[error(
        "{} holds no Ed25519 private key (PEM, PKCS#8); move it away to get a new key",
        path.display()
    )]
    MalformedFile {
        /// The file.
        path: PathBuf,
    },
    /// The system gave no randomness or the key was refused by the TLS library.
    #[error("cannot generate a key")]
    Generate,
}

/// An Ed25519 key pair, ready for TLS. Cheap to clone; never shows its secret in `Debug`.
#[derive(Clone)]
pub struct Identity {
    pkcs8: Arc<[u8]>,
    certified: Arc<CertifiedKey>,
    fingerprint: Fingerprint,
}

/// What [`Identity::load_or_create`] found.
#[derive(Clone, Debug)]
pub struct LoadedIdentity {
    /// The key.
    pub identity: Identity,
    /// Whether it was made just now.
    pub created: bool,
    /// The mode of the key file if others than its owner may read it: worth a warning.
    pub exposed_mode: Option<u32>,
}

impl Identity {
    /// A new random key.
    ///
    /// # Errors
    /// [`IdentityError::Generate`].
    pub fn generate() -> Result<Self, IdentityError> {
        let pair = Ed25519KeyPair::generate().map_err(|_| IdentityError::Generate)?;
        Self::from_pair(&pair).ok_or(IdentityError::Generate)
    }

    /// Reads what [`to_pem`](Self::to_pem) wrote, or any PKCS#8 Ed25519 key in PEM.
    ///
    /// # Errors
    /// [`IdentityError::Malformed`].
    pub fn from_pem(text: &str) -> Result<Self, IdentityError> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes())
            .map_err(|_| IdentityError::Malformed)?;
        // Other tools leave the public key out; it is derived from the seed then.
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der())
            .map_err(|_| IdentityError::Malformed)?;
        Self::from_pair(&pair).ok_or(IdentityError::Malformed)
    }

    fn from_pair(pair: &Ed25519KeyPair) -> Option<Self> {
        let pkcs8: Pkcs8V1Der<'_> = pair.as_der().ok()?;
        let spki = [&SPKI_PREFIX, pair.public_key().as_ref()].concat();
        let der = PrivatePkcs8KeyDer::from(pkcs8.as_ref());
        let key = rustls::crypto::aws_lc_rs::sign::any_eddsa_type(&der).ok()?;
        Some(Self {
            pkcs8: pkcs8.as_ref().into(),
            fingerprint: Fingerprint::of_spki(&spki)?,
            certified: Arc::new(CertifiedKey::new(vec![CertificateDer::from(spki)], key)),
        })
    }

    /// The private key as text. Whoever has it is this identity.
    #[must_use]
    pub fn to_pem(&self) -> String {
        let mut text = String::from(PEM_BEGIN);
        let encoded = base64(&self.pkcs8);
        for line in encoded.as_bytes().chunks(PEM_LINE_CHARS) {
            text.extend(line.iter().copied().map(char::from));
            text.push('\n');
        }
        text.push_str(PEM_END);
        text
    }

    /// What others know this identity by.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Reads the key file, or makes one with a new key, with the folders above it.
    ///
    /// The file appears complete or not at all; of several processes that start at once, one
    /// makes the key and all use it.
    ///
    /// # Errors
    /// An existing file that cannot be read or holds no key is never replaced.
    pub fn load_or_create(path: &Path) -> Result<LoadedIdentity, IdentityError> {
        if let Some(loaded) = Self::load(path)? {
            return Ok(loaded);
        }
        let identity = Self::generate()?;
        match identity.save_new(path) {
            Ok(()) => Ok(LoadedIdentity {
                identity,
                created: true,
                exposed_mode: None,
            }),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let vanished = io::ErrorKind::NotFound.into();
                Self::load(path)?.ok_or_else(|| create_error(path, vanished))
            }
            Err(error) => Err(create_error(path, error)),
        }
    }

    /// Reads the key file; `None` if there is none.
    ///
    /// # Errors
    /// The file cannot be read or holds no key.
    pub fn load(path: &Path) -> Result<Option<LoadedIdentity>, IdentityError> {
        let read_error = |source| IdentityError::Read {
            path: path.to_owned(),
            source,
        };
        let file = match fs::File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(read_error(error)),
        };
        let exposed_mode = exposed_mode(&file.metadata().map_err(read_error)?);
        let malformed = || IdentityError::MalformedFile {
            path: path.to_owned(),
        };
        let mut bytes = Vec::new();
        file.take(MAX_FILE_BYTES)
            .read_to_end(&mut bytes)
            .map_err(read_error)?;
        let text = String::from_utf8(bytes).map_err(|_| malformed())?;
        let identity = Self::from_pem(&text).map_err(|_| malformed())?;
        Ok(Some(LoadedIdentity {
            identity,
            created: false,
            exposed_mode,
        }))
    }

    /// Writes the key file with mode 0600, with the folders above it (0700).
    ///
    /// # Errors
    /// `AlreadyExists` if there is a file: it is left alone.
    pub fn save_new(&self, path: &Path) -> io::Result<()> {
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        create_private_folders(folder)?;
        let temporary = Temporary::create(path)?;
        let mut file = &temporary.file;
        file.write_all(self.to_pem().as_bytes())?;
        file.sync_all()?;
        temporary.publish(path)?;
        sync_folder(folder)
    }

    /// The public key in the shape TLS carries it (RFC 7250).
    pub(crate) fn certified_key(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.certified)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("fingerprint", &self.fingerprint)
            .finish_non_exhaustive()
    }
}

fn create_error(path: &Path, source: io::Error) -> IdentityError {
    IdentityError::Create {
        path: path.to_owned(),
        source,
    }
}

/// A private file beside the one it is to become; removed when dropped.
struct Temporary {
    file: fs::File,
    path: PathBuf,
}

impl Temporary {
    fn create(target: &Path) -> io::Result<Self> {
        // Random, because process numbers repeat where containers share a folder.
        let mut suffix = [0; 8];
        aws_lc_rs::rand::fill(&mut suffix).map_err(io::Error::other)?;
        let mut name = target.file_name().unwrap_or_default().to_owned();
        name.push(format!(".new-{:016x}", u64::from_ne_bytes(suffix)));
        let path = target.with_file_name(name);
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(&path)?;
        Ok(Self { file, path })
    }

    /// Gives the file its name unless the name is taken.
    fn publish(self, target: &Path) -> io::Result<()> {
        match fs::hard_link(&self.path, target) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
            // The file system knows no hard links: here two processes can race.
            Err(_) if target.try_exists()? => Err(io::ErrorKind::AlreadyExists.into()),
            Err(_) => fs::rename(&self.path, target),
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // After a rename there is nothing left to remove.
        let _ = fs::remove_file(&self.path);
    }
}

fn create_private_folders(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// Makes the new name survive a power cut.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) {
        fs::File::open(folder)?.sync_all()?;
    }
    Ok(())
}

#[cfg(unix)]
fn exposed_mode(metadata: &fs::Metadata) -> Option<u32> {
    let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o7777;
    (mode & 0o077 != 0).then_some(mode)
}

#[cfg(not(unix))]
fn exposed_mode(_metadata: &fs::Metadata) -> Option<u32> {
    None
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = (0..3).fold(0, |bits: usize, index| {
            bits << 8 | group.get(index).copied().map_or(0, usize::from)
        });
        for index in 0..4 {
            let digit = ALPHABET[bits >> (18 - 6 * index) & 0x3f];
            text.push(if index <= group.len() {
                digit.into()
            } else {
                '='
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8410, section 10.3: the example key, without its public half.
    const RFC_8410_KEY: &str = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
        -----END PRIVATE KEY-----\n";

    #[test]
    fn text_form_round_trips() {
        let identity = Identity::generate().unwrap();
        let again = Identity::from_pem(&identity.to_pem()).unwrap();
        assert_eq!(identity.fingerprint(), again.fingerprint());
        assert_eq!(identity.to_pem(), again.to_pem());
        let other = Identity::generate().unwrap();
        assert_ne!(identity.fingerprint(), other.fingerprint());
    }

    #[test]
    fn the_rfc_example_key_reads_and_writes_unchanged() {
        let identity = Identity::from_pem(RFC_8410_KEY).unwrap();
        assert_eq!(identity.to_pem(), RFC_8410_KEY);
        let spki = identity.certified.cert[0].as_ref();
        // The public key of RFC 8410, section 10.1.
        assert_eq!(
            base64(spki),
            "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE="
        );
        assert_eq!(Fingerprint::of_spki(spki), Some(identity.fingerprint()));
    }

    #[test]
    fn base64_matches_rfc_4648_section_10() {
        let vectors = [
            "", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy",
        ];
        for (length, text) in vectors.into_iter().enumerate() {
            assert_eq!(base64(&b"foobar"[..length]), text);
        }
    }

    #[test]
    fn fingerprints_round_trip_as_text() {
        let fingerprint = Identity::generate().unwrap().fingerprint();
        let text = fingerprint.to_string();
        assert_eq!(text.len(), 64);
        assert_eq!(text.parse(), Ok(fingerprint));
        assert_eq!(text.to_uppercase().parse(), Ok(fingerprint));
        let (accents, letters) = ("é".repeat(32), "g".repeat(64));
        for bad in [&text[1..], "", &accents, &letters] {
            assert_eq!(bad.parse::<Fingerprint>(), Err(FingerprintError));
        }
    }

    #[test]
    fn only_well_formed_ed25519_keys_have_a_fingerprint() {
        let identity = Identity::generate().unwrap();
        let spki = identity.certified.cert[0].to_vec();
        let mut other_algorithm = spki.clone();
        other_algorithm[8] = 0x71;
        let longer = [spki.as_slice(), &[0]].concat();
        for bad in [&spki[..43], &longer, &other_algorithm, &[]] {
            assert_eq!(Fingerprint::of_spki(bad), None);
        }
    }

    #[test]
    fn the_debug_form_keeps_the_secret() {
        let identity = Identity::from_pem(RFC_8410_KEY).unwrap();
        let text = format!("{identity:?}");
        assert!(text.contains(&identity.fingerprint().to_string()));
        assert!(text.len() < 120, "{text}");
    }

    #[test]
    fn a_key_file_is_made_once_private_and_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/server.key");
        let first = Identity::load_or_create(&path).unwrap();
        assert!(first.created);
        let again = Identity::load_or_create(&path).unwrap();
        assert!(!again.created);
        assert_eq!(again.exposed_mode, None);
        assert_eq!(first.identity.fingerprint(), again.identity.fingerprint());
        let names: Vec<_> = fs::read_dir(path.parent().unwrap())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names, ["server.key"], "no temporary file stays");
        #[cfg(unix)]
        assert_eq!(mode(&path), 0o600);
    }

    #[test]
    fn processes_that_start_together_agree_on_one_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let start = std::sync::Barrier::new(8);
        let load = || {
            start.wait();
            Identity::load_or_create(&path).unwrap()
        };
        let loaded: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(load)).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        assert_eq!(loaded.iter().filter(|one| one.created).count(), 1);
        let fingerprint = loaded[0].identity.fingerprint();
        assert!(
            loaded
                .iter()
                .all(|one| one.identity.fingerprint() == fingerprint)
        );
        let error = Identity::generate().unwrap().save_new(&path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    }

    #[test]
    fn a_file_that_is_no_key_is_an_error_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        for content in ["", "hello", "-----BEGIN PRIVATE KEY-----\nAAAA\n", "\u{0}"] {
            fs::write(&path, content).unwrap();
            let error = Identity::load_or_create(&path).unwrap_err();
            assert!(matches!(error, IdentityError::MalformedFile { .. }));
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
        fs::write(&path, [0xff; 40]).unwrap();
        assert!(Identity::load_or_create(&path).is_err());
        fs::write(&path, "A".repeat(100_000)).unwrap();
        assert!(Identity::load_or_create(&path).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn a_key_that_others_can_read_is_reported() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        Identity::load_or_create(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let loaded = Identity::load_or_create(&path).unwrap();
        assert_eq!(loaded.exposed_mode, Some(0o640));
    }

    #[cfg(unix)]
    fn mode(path: &Path) -> u32 {
        use std::os::unix::fs::PermissionsExt;
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }
}
