//! Where downloads go: from decrypted cells to a verified file under its own name.
//!
//! Reading order: [`assembly`] gathers cells into 1 MiB segments, [`verify`] hashes and writes whole
//! segments on helper threads, [`verdict`] compares the hashes with the sender's, [`disk`] keeps
//! `NAME.part` with its [`resume`] map, [`finish`] gives batches of files their names, last, and
//! [`worker`] runs what may block.
//! [`paths`] decides what a server's name may become. [`memory`] is the same without a disk.
//!
//! The network thread only touches memory: it never writes, syncs or renames, and hashes only what is tiny. (One
//! exception: under memory pressure a half-filled segment is parked in the part file.)

pub mod assembly;
pub mod disk;
pub mod finish;
pub mod memory;
pub mod paths;
mod platform;
pub mod resume;
mod segment_pool;
pub mod stdout;
pub mod verdict;
pub mod verify;
pub mod worker;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Bytes of a file that are hashed, written and resumed as one.
pub const SEGMENT_BYTES: u32 = 1 << 20;
/// Bytes of one BLAKE3 chaining value.
pub const CHAINING_VALUE_BYTES: usize = 32;
/// Files up to this size stay in memory until they are complete.
pub const SMALL_FILE_BYTES: u64 = 64 << 10;

/// BLAKE3 chaining value of one segment; with a single segment, the root hash itself.
pub type ChainingValue = [u8; CHAINING_VALUE_BYTES];
/// What the server calls this state of the file; another value means other bytes.
pub type VersionTag = [u8; 16];

/// Largest file: 32-bit cell numbers reach a little further (TRANSPORT: 1.2 TB).
pub const MAX_FILE_BYTES: u64 = 1 << 40;

/// How many segments a file of `size_bytes` has (an empty file has one).
///
/// # Errors
/// [`io::ErrorKind::FileTooLarge`] beyond [`MAX_FILE_BYTES`].
pub fn segment_count(size_bytes: u64) -> io::Result<u32> {
    if size_bytes > MAX_FILE_BYTES {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let count = size_bytes.div_ceil(u64::from(SEGMENT_BYTES)).max(1);
    u32::try_from(count).map_err(|_| io::ErrorKind::FileTooLarge.into())
}

/// Length in bytes of segment `index` of a file of `size_bytes`.
#[must_use]
pub fn segment_len(size_bytes: u64, index: u32) -> u32 {
    let start = segment_start(index);
    let rest = size_bytes.saturating_sub(start);
    u32::try_from(rest).map_or(SEGMENT_BYTES, |rest| rest.min(SEGMENT_BYTES))
}

/// Offset in bytes of segment `index`.
#[must_use]
pub fn segment_start(index: u32) -> u64 {
    u64::from(index) * u64::from(SEGMENT_BYTES)
}

/// Identifies a file among those of one download; chosen by the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileKey(pub u32);

/// What to do when the target's name is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Existing {
    /// It is an error.
    #[default]
    Refuse,
    /// The new file replaces the old one.
    Overwrite,
    /// The new file becomes `NAME (1)`.
    Rename,
    /// The file is left out, which is no error.
    Skip,
}

/// One offered file and where it should go.
#[derive(Clone, Debug)]
pub struct FileRequest {
    /// Path below the download folder, already checked by [`paths`].
    pub relative: PathBuf,
    /// Another download folder than the storage's own.
    pub folder: Option<PathBuf>,
    /// Size in bytes.
    pub size_bytes: u64,
    /// The server's tag for this state of the file.
    pub version: VersionTag,
}

/// What [`Storage::prepare`] found.
#[derive(Debug)]
pub enum Preparation {
    /// The target exists and is to be left alone.
    Skip {
        /// The file that is there.
        target: PathBuf,
    },
    /// Fetch what is missing.
    Fetch {
        /// Takes the bytes.
        part: Arc<dyn Part>,
        /// Segments that an earlier run left, hashed again just now, by index.
        have: Vec<(u32, ChainingValue)>,
    },
}

/// A file on its way. Methods may block; positions are bytes of the file.
pub trait Part: Send + Sync + fmt::Debug {
    /// Writes all of `data`.
    ///
    /// # Errors
    /// What the system says; the download ends with it.
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()>;
    /// Reads what an earlier [`write_at`](Self::write_at) put there.
    ///
    /// # Errors
    /// What the system says.
    fn read_at(&self, offset: u64, data: &mut [u8]) -> io::Result<()>;
    /// Makes the given segments durable and remembers them for a later resume.
    ///
    /// # Errors
    /// What the system says; the download goes on without this checkpoint.
    fn checkpoint(&self, complete: &[(u32, ChainingValue)]) -> Result<(), StorageError>;
    /// All segments before `index` are verified: whoever passes bytes on may do so.
    ///
    /// # Errors
    /// What the system says; the download ends with it.
    fn verified_up_to(&self, _index: u32) -> Result<(), StorageError> {
        Ok(())
    }
    /// Writes the content of a small file that stayed in memory until now.
    ///
    /// # Errors
    /// What the system says; the download ends with it.
    fn stage(&self, whole: &[u8]) -> Result<(), StorageError>;
    /// Makes the content durable.
    ///
    /// # Errors
    /// What the system says; the download ends with it.
    fn sync(&self) -> Result<(), StorageError>;
    /// Whether [`Storage::sync_all`] makes this part durable, too.
    fn is_synced_with_all(&self) -> bool {
        true
    }
    /// The download was given up: nothing of it is to stay when the part is dropped.
    fn discard(&self) {}
    /// Moves the verified file to its name, as the last step. Returns where it is.
    ///
    /// # Errors
    /// [`StorageError::Exists`] when someone took the name meanwhile, or what the system says.
    fn publish(&self) -> Result<PathBuf, StorageError>;
}

/// Where files go: a disk, memory or standard output.
pub trait Storage: Send + Sync + fmt::Debug {
    /// Decides the target, reserves its space and looks for what an earlier run left.
    ///
    /// # Errors
    /// A taken or unusable name, no space left, or what the system says.
    fn prepare(
        &self,
        request: &FileRequest,
        interrupted: &AtomicBool,
    ) -> Result<Preparation, StorageError>;

    /// Makes everything written so far durable with one call; `false` where that cannot be done,
    /// and each part has to be synced by itself.
    ///
    /// # Errors
    /// What the system says.
    fn sync_all(&self) -> Result<bool, StorageError> {
        Ok(false)
    }

    /// Makes the names in the folders of these files durable.
    ///
    /// # Errors
    /// What the system says.
    fn sync_names(&self, _published: &[&Path]) -> Result<(), StorageError> {
        Ok(())
    }
}

/// Why a file could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The target exists and may not be replaced.
    #[error("{} exists; use --overwrite, --rename or --skip", paths::shown(target))]
    Exists {
        /// The file that is there.
        target: PathBuf,
    },
    /// The server's name would leave the download folder or cannot be a file's name here.
    #[error("the server's name {name:?} is refused: {reason}")]
    Name {
        /// The name, as the server wrote it (shown escaped).
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Another process downloads to the same place.
    #[error(
        "{} is being written by another download; wait for it or choose another folder with -o",
        paths::shown(part)
    )]
    Busy {
        /// The part file.
        part: PathBuf,
    },
    /// The system refused.
    #[error("cannot {action} {}: {source}{}", paths::shown(path), advice(source))]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The user asked to stop.
    #[error("interrupted")]
    Interrupted,
}

impl StorageError {
    /// Builds [`StorageError::Io`].
    pub fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io {
            action,
            path: path.to_path_buf(),
            source,
        }
    }
}

/// What a person can do about it, where that is not plain from the system's words.
fn advice(error: &io::Error) -> &'static str {
    use io::ErrorKind as Kind;
    if matches!(error.kind(), Kind::StorageFull | Kind::QuotaExceeded) {
        "; free some space and run the same command again, it goes on where it stopped"
    } else if error.kind() == Kind::FileTooLarge {
        "; this file system or the limit set for this process takes no file of this size"
    } else if matches!(
        error.kind(),
        Kind::PermissionDenied | Kind::ReadOnlyFilesystem
    ) {
        "; choose another folder with -o"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_cover_the_file_exactly() {
        for size in [
            0u64,
            1,
            1 << 20,
            (1 << 20) + 1,
            (5 << 20) - 1,
            5 << 20,
            1 << 40,
        ] {
            let count = segment_count(size).unwrap();
            assert!(count >= 1);
            let last = count - 1;
            assert_eq!(
                segment_start(last) + u64::from(segment_len(size, last)),
                size
            );
        }
        assert!(segment_count(u64::MAX).is_err());
    }
}
