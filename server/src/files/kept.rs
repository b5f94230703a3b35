//! Small files that were sent lately stay in memory: others often want the same ones, and reading and hashing them
//! anew costs more than sending them.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use columba_core::units::Timestamp;
use foldhash::fast::RandomState;

use super::hashes::SegmentHash;
use super::version::FileVersion;

/// Bytes that are kept at most.
const MAX_KEPT_BYTES: usize = 64 * 1_024 * 1_024;
/// What a file costs besides its bytes.
const ENTRY_BYTES: usize = 256;
/// How long a file stays that nobody wants.
const LIFETIME: Duration = Duration::from_secs(60);

/// A small file's bytes and hash.
#[derive(Clone, Debug)]
pub struct Whole {
    /// All its bytes.
    pub bytes: Bytes,
    /// The value of its only segment.
    pub hash: SegmentHash,
}

/// Small files by version; those kept longest go first.
#[derive(Debug, Default)]
pub struct Kept {
    /// Each with when it was wanted last.
    files: HashMap<FileVersion, (Whole, Timestamp), RandomState>,
    /// Each file once, with when it is looked at.
    order: VecDeque<(Timestamp, FileVersion)>,
    bytes: usize,
}

impl Kept {
    /// The file, if it is kept. Whether it still is as it was is for the caller to find out.
    pub fn get(&mut self, now: Timestamp, version: &FileVersion) -> Option<Whole> {
        let (whole, wanted_at) = self.files.get_mut(version)?;
        *wanted_at = now;
        Some(whole.clone())
    }

    /// Keeps a file.
    pub fn put(&mut self, now: Timestamp, version: FileVersion, whole: Whole) {
        let cost = whole.bytes.len() + ENTRY_BYTES;
        if self.files.insert(version, (whole, now)).is_none() {
            self.order.push_back((now + LIFETIME, version));
            self.bytes += cost;
        }
        while self.bytes > MAX_KEPT_BYTES
            && let Some((_, oldest)) = self.order.pop_front()
        {
            self.forget(&oldest);
        }
    }

    /// Whether nothing is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// When [`expire`](Self::expire) has something to do.
    #[must_use]
    pub fn next_expiry(&self) -> Option<Timestamp> {
        self.order.front().map(|&(at, _)| at)
    }

    /// Forgets what nobody wanted for long.
    pub fn expire(&mut self, now: Timestamp) {
        while self.next_expiry().is_some_and(|at| at <= now)
            && let Some((_, version)) = self.order.pop_front()
        {
            let again = self.files.get(&version).map(|&(_, at)| at + LIFETIME);
            match again {
                Some(again) if again > now => self.order.push_back((again, version)),
                Some(_) | None => self.forget(&version),
            }
        }
    }

    fn forget(&mut self, version: &FileVersion) {
        if let Some((gone, _)) = self.files.remove(version) {
            self.bytes -= gone.bytes.len() + ENTRY_BYTES;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(inode: u64) -> FileVersion {
        FileVersion {
            device: 1,
            inode,
            size: 1,
            mtime_ns: 0,
            ctime_ns: 0,
        }
    }

    fn whole(bytes: usize) -> Whole {
        Whole {
            bytes: vec![7; bytes].into(),
            hash: [3; 32],
        }
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_go_first() {
        let mut kept = Kept::default();
        let count = 3 * (MAX_KEPT_BYTES / 65_536) as u64;
        for inode in 0..count {
            kept.put(at(0), version(inode), whole(65_536));
        }
        assert!(kept.bytes <= MAX_KEPT_BYTES && kept.files.len() > 900);
        assert_eq!(kept.files.len(), kept.order.len());
        assert!(kept.get(at(0), &version(0)).is_none());
        assert!(kept.get(at(0), &version(count - 1)).is_some());
        for inode in 0..1_000_000 {
            kept.put(at(0), version(inode), whole(0));
        }
        assert!(kept.files.len() <= MAX_KEPT_BYTES / ENTRY_BYTES);
    }

    #[test]
    fn what_nobody_wants_goes() {
        let mut kept = Kept::default();
        kept.put(at(0), version(1), whole(10));
        kept.put(at(0), version(2), whole(10));
        kept.put(at(0), version(2), whole(10));
        assert!(kept.get(at(50), &version(2)).is_some());
        assert_eq!(kept.next_expiry(), Some(at(60)));
        kept.expire(at(60));
        assert!(kept.get(at(60), &version(1)).is_none());
        kept.expire(at(109));
        assert!(kept.files.contains_key(&version(2)));
        kept.expire(at(110));
        assert_eq!(
            (kept.files.len(), kept.bytes, kept.next_expiry()),
            (0, 0, None)
        );
    }
}
