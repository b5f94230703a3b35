//! Small files that were wanted twice lately stay in memory: others often want them, too, and reading and hashing them
//! anew costs more than sending them. What was wanted once does not: most files never are again, and memory that is not used
//! again costs more than reading.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use columba_core::units::Timestamp;
use foldhash::fast::RandomState;

use super::hashes::SegmentHash;
use super::version::FileVersion;

/// Bytes that this costs at most.
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

/// Small files by version; those known longest go first.
#[derive(Debug, Default)]
pub struct Kept {
    files: HashMap<FileVersion, Wanted, RandomState>,
    /// Each file once, with when it is looked at.
    order: VecDeque<(Timestamp, FileVersion)>,
    bytes: usize,
}

/// A file that was wanted.
#[derive(Debug)]
struct Wanted {
    /// When it was last.
    at: Timestamp,
    /// What is kept of it, from the second time on; apart, for most are wanted once.
    whole: Option<Box<Whole>>,
}

impl Kept {
    /// The file, if it is kept. Whether it still is as it was is for the caller to find out.
    pub fn get(&mut self, now: Timestamp, version: &FileVersion) -> Option<Whole> {
        let wanted = self.files.get_mut(version)?;
        wanted.at = now;
        wanted.whole.as_deref().cloned()
    }

    /// A file was wanted, and read: keeps it if that is not the first time.
    pub fn put(&mut self, now: Timestamp, version: FileVersion, whole: &Whole) {
        match self.files.entry(version) {
            Entry::Vacant(place) => {
                place.insert(Wanted {
                    at: now,
                    whole: None,
                });
                self.order.push_back((now + LIFETIME, version));
                self.bytes += ENTRY_BYTES;
            }
            Entry::Occupied(mut wanted) => {
                let wanted = wanted.get_mut();
                wanted.at = now;
                if wanted.whole.is_none() {
                    self.bytes += whole.bytes.len();
                    wanted.whole = Some(Box::new(whole.clone()));
                }
            }
        }
        while self.bytes > MAX_KEPT_BYTES
            && let Some((_, oldest)) = self.order.pop_front()
        {
            self.forget(&oldest);
        }
    }

    /// Whether nothing is known.
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
            let again = self.files.get(&version).map(|wanted| wanted.at + LIFETIME);
            match again {
                Some(again) if again > now => self.order.push_back((again, version)),
                Some(_) | None => self.forget(&version),
            }
        }
    }

    fn forget(&mut self, version: &FileVersion) {
        if let Some(gone) = self.files.remove(version) {
            let bytes = gone.whole.map_or(0, |whole| whole.bytes.len());
            self.bytes -= bytes + ENTRY_BYTES;
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
            for _ in 0..2 {
                kept.put(at(0), version(inode), &whole(65_536));
            }
        }
        assert!(kept.bytes <= MAX_KEPT_BYTES && kept.files.len() > 900);
        assert_eq!(kept.files.len(), kept.order.len());
        assert!(kept.get(at(0), &version(0)).is_none());
        assert!(kept.get(at(0), &version(count - 1)).is_some());
        for inode in 0..1_000_000 {
            kept.put(at(0), version(inode), &whole(0));
        }
        assert!(kept.files.len() <= MAX_KEPT_BYTES / ENTRY_BYTES);
    }

    #[test]
    fn what_is_wanted_a_second_time_is_kept() {
        let mut kept = Kept::default();
        assert!(kept.get(at(0), &version(1)).is_none());
        kept.put(at(0), version(1), &whole(10));
        assert!(kept.get(at(1), &version(1)).is_none());
        assert_eq!((kept.bytes, kept.is_empty()), (ENTRY_BYTES, false));
        kept.put(at(1), version(1), &whole(10));
        assert!(kept.get(at(2), &version(1)).is_some());
        kept.put(at(2), version(1), &whole(10));
        assert_eq!(kept.bytes, ENTRY_BYTES + 10);
        kept.expire(at(60));
        assert!(kept.get(at(60), &version(1)).is_some(), "wanted meanwhile");
    }

    #[test]
    fn what_nobody_wants_goes() {
        let mut kept = Kept::default();
        kept.put(at(0), version(1), &whole(10));
        kept.put(at(0), version(2), &whole(10));
        kept.put(at(0), version(2), &whole(10));
        assert!(kept.get(at(50), &version(2)).is_some());
        assert_eq!(kept.next_expiry(), Some(at(60)));
        kept.expire(at(60));
        assert!(!kept.files.contains_key(&version(1)));
        kept.expire(at(109));
        assert!(kept.files.contains_key(&version(2)));
        kept.expire(at(110));
        assert_eq!(
            (kept.files.len(), kept.bytes, kept.next_expiry()),
            (0, 0, None)
        );
    }
}
