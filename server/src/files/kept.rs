//! Small files that were wanted twice lately stay in memory: others often want them, too, and reading and hashing them
//! anew costs more than sending them. What was wanted once does not: most files never are again, and memory that was not used
//! before costs more than reading.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher;
use std::time::Duration;

use columba_core::packet_number::low_half;
use columba_core::units::Timestamp;
use foldhash::fast::RandomState;

use super::hashes::SegmentHash;
use super::slabs::FileBytes;
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
    pub bytes: FileBytes,
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
    seen: Seen,
}

/// Fingerprints that are remembered at most: 1 MiB.
const PLACES: usize = 1 << 18;

/// Which files were wanted lately, roughly: each has one place for its fingerprint, and one that has the same place later
/// takes it.
#[derive(Debug, Default)]
struct Seen {
    prints: Vec<u32>,
    hasher: RandomState,
    /// All is forgotten then.
    until: Timestamp,
}

impl Seen {
    /// Remembers a file, and tells whether it was remembered before.
    fn insert(&mut self, now: Timestamp, version: &FileVersion) -> bool {
        self.expire(now);
        if self.prints.is_empty() {
            self.prints = vec![0; PLACES];
            self.until = now + LIFETIME;
        }
        let hash = self.hasher.hash_one(version);
        let place = low_half(hash) as usize % PLACES;
        // No file has the print of an empty place.
        let print = low_half(hash >> 32) | 1;
        std::mem::replace(&mut self.prints[place], print) == print
    }

    fn expire(&mut self, now: Timestamp) {
        if self.until <= now {
            self.prints = Vec::new();
        }
    }
}

impl Kept {
    /// The file, if it is kept. Whether it still is as it was is for the caller to find out.
    pub fn get(&mut self, now: Timestamp, version: &FileVersion) -> Option<Whole> {
        let (whole, wanted_at) = self.files.get_mut(version)?;
        *wanted_at = now;
        Some(whole.clone())
    }

    /// A file was wanted, and read: keeps it if that is not the first time.
    pub fn put(&mut self, now: Timestamp, version: FileVersion, whole: &Whole) {
        if !self.seen.insert(now, &version) {
            return;
        }
        let cost = whole.bytes.len() + ENTRY_BYTES;
        if self.files.insert(version, (whole.clone(), now)).is_none() {
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

    /// When [`expire`](Self::expire) has a kept file to look at.
    #[must_use]
    pub fn next_expiry(&self) -> Option<Timestamp> {
        self.order.front().map(|&(at, _)| at)
    }

    /// Forgets what nobody wanted for long.
    pub fn expire(&mut self, now: Timestamp) {
        self.seen.expire(now);
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
            bytes: FileBytes::from(&*vec![7; bytes]),
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
        for inode in (0..1_000_000).flat_map(|inode| [inode; 2]) {
            kept.put(at(0), version(inode), &whole(0));
        }
        assert!(kept.files.len() <= MAX_KEPT_BYTES / ENTRY_BYTES);
    }

    #[test]
    fn what_is_wanted_a_second_time_is_kept() {
        let mut kept = Kept::default();
        for second in [0, 100] {
            kept.put(at(second), version(1), &whole(10));
            assert!(kept.get(at(second), &version(1)).is_none() && kept.is_empty());
            kept.expire(at(second + 60));
        }
        kept.put(at(200), version(1), &whole(10));
        kept.put(at(259), version(1), &whole(10));
        assert!(kept.get(at(300), &version(1)).is_some());
        kept.put(at(300), version(1), &whole(10));
        assert_eq!(kept.bytes, ENTRY_BYTES + 10);
    }

    #[test]
    fn nearly_all_of_many_files_are_remembered() {
        let mut seen = Seen::default();
        let mut count = |at| {
            (0..10_000)
                .filter(|&inode| seen.insert(at, &version(inode)))
                .count()
        };
        assert_eq!(count(at(0)), 0);
        assert!(count(at(59)) > 9_000);
        assert_eq!(count(at(60)), 0);
    }

    #[test]
    fn what_nobody_wants_goes() {
        let mut kept = Kept::default();
        for inode in [1, 1, 2, 2, 2] {
            kept.put(at(0), version(inode), &whole(10));
        }
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
