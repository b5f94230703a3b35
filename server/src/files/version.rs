//! Whether a file is still the same.

use std::fs::{File, Metadata};
use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What identifies a file's content without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileVersion {
    /// Device, where there is such a thing.
    pub device: u64,
    /// Inode, where there is such a thing.
    pub inode: u64,
    /// Bytes.
    pub size: u64,
    /// Last change of the content, nanoseconds since the Unix epoch.
    pub mtime_ns: i128,
    /// Last change of anything; creation time where there is no such thing.
    pub ctime_ns: i128,
}

impl FileVersion {
    /// The version a file has according to its metadata.
    #[cfg(unix)]
    #[must_use]
    pub fn of(metadata: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        let nanos =
            |seconds: i64, nanos: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            mtime_ns: nanos(metadata.mtime(), metadata.mtime_nsec()),
            ctime_ns: nanos(metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// The version of an open file.
    ///
    /// # Errors
    /// It is no regular file, or it cannot be asked.
    pub fn of_file(file: &File) -> io::Result<Self> {
        #[cfg(all(target_os = "linux", not(feature = "portable-io")))]
        let version = Self::of_stat(&rustix::fs::fstat(file)?);
        #[cfg(not(all(target_os = "linux", not(feature = "portable-io"))))]
        let version = Some(file.metadata()?)
            .filter(Metadata::is_file)
            .map(|metadata| Self::of(&metadata));
        version.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"))
    }

    /// The version of a regular file, from the system's own words.
    #[cfg(all(target_os = "linux", not(feature = "portable-io")))]
    #[must_use]
    pub fn of_stat(stat: &rustix::fs::Stat) -> Option<Self> {
        use rustix::fs::FileType;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return None;
        }
        let nanos = |seconds: i128, nanos: i128| seconds * 1_000_000_000 + nanos;
        Some(Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            // Never negative.
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mtime_ns: nanos(stat.st_mtime.into(), stat.st_mtime_nsec.into()),
            ctime_ns: nanos(stat.st_ctime.into(), stat.st_ctime_nsec.into()),
        })
    }

    /// The version a file has according to its metadata.
    #[cfg(not(unix))]
    #[must_use]
    pub fn of(metadata: &Metadata) -> Self {
        let nanos = |time: std::io::Result<SystemTime>| {
            let since = time
                .ok()
                .and_then(|time| time.duration_since(UNIX_EPOCH).ok());
            since.map_or(0, |since| {
                i128::try_from(since.as_nanos()).unwrap_or(i128::MAX)
            })
        };
        Self {
            device: 0,
            inode: 0,
            size: metadata.len(),
            mtime_ns: nanos(metadata.modified()),
            ctime_ns: nanos(metadata.created()),
        }
    }

    /// Whether bytes read under `self` and under `later` may be mixed.
    ///
    /// A rename, an unlink or a chmod touches ctime only and leaves the bytes alone. Whoever changes bytes and puts
    /// mtime back is caught by BLAKE3, which has the last word.
    #[must_use]
    pub fn has_same_content(&self, later: &Self) -> bool {
        (self.device, self.inode, self.size, self.mtime_ns)
            == (later.device, later.inode, later.size, later.mtime_ns)
    }

    /// Whether the last change was at least `span` ago, so that another one would show in the timestamps.
    #[must_use]
    pub fn is_settled(&self, now: SystemTime, span: Duration) -> bool {
        let now = now
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_nanos();
        let latest = self.mtime_ns.max(self.ctime_ns);
        i128::try_from(now.saturating_sub(span.as_nanos())).is_ok_and(|limit| latest <= limit)
    }

    /// The tag that clients see; differs whenever the version does.
    #[must_use]
    pub fn tag(&self) -> [u8; 16] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.device.to_be_bytes());
        hasher.update(&self.inode.to_be_bytes());
        hasher.update(&self.size.to_be_bytes());
        hasher.update(&self.mtime_ns.to_be_bytes());
        hasher.update(&self.ctime_ns.to_be_bytes());
        let mut tag = [0; 16];
        hasher.finalize_xof().fill(&mut tag);
        tag
    }

    /// Last change of the content in whole seconds since the Unix epoch; 0 when before.
    #[must_use]
    pub fn mtime_s(&self) -> u64 {
        u64::try_from(self.mtime_ns / 1_000_000_000).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_shows_and_a_rename_does_not() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("a");
        std::fs::write(&path, b"one").expect("writable");
        let file = std::fs::File::open(&path).expect("there");
        let version = || FileVersion::of(&file.metadata().expect("open"));
        let before = version();
        std::fs::rename(&path, folder.path().join("b")).expect("writable");
        assert!(before.has_same_content(&version()));
        std::fs::write(folder.path().join("b"), b"longer").expect("writable");
        assert!(!before.has_same_content(&version()));
        assert_ne!(before.tag(), version().tag());
    }

    #[test]
    fn only_old_files_are_settled() {
        let now = SystemTime::now();
        let ns = i128::try_from(
            now.duration_since(UNIX_EPOCH)
                .expect("after 1970")
                .as_nanos(),
        )
        .expect("fits");
        let version = FileVersion {
            device: 0,
            inode: 0,
            size: 0,
            mtime_ns: 0,
            ctime_ns: ns,
        };
        assert!(!version.is_settled(now, Duration::from_secs(2)));
        let older = FileVersion {
            ctime_ns: ns - 3_000_000_000,
            ..version
        };
        assert!(older.is_settled(now, Duration::from_secs(2)));
    }
}
