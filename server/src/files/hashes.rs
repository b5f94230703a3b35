//! BLAKE3 values per segment of 1 MiB, computed by helper threads and cached by version.
//!
//! One segment: the value is the file's BLAKE3 hash. Several: each value is the chaining value of that subtree, and
//! the root is the merge of all, which the client computes.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use blake3::hazmat::HasherExt;

use super::version::FileVersion;
use super::warm::read_pieces;
use super::workers::Submitter;
use crate::helpers::{HelperEvent, Mailbox};
use crate::limits::{HASH_SETTLED, MAX_CACHED_HASH_BYTES};
use crate::slots::SlotId;

/// Bytes of a segment.
pub const SEGMENT_BYTES: u64 = columba_core::limits::SEGMENT_BYTES;

/// The value of a segment.
pub type SegmentHash = [u8; 32];

/// Segments hashed before another job has its turn.
const SEGMENTS_PER_JOB: u32 = 32;

/// Segments reported at once.
const SEGMENTS_PER_REPORT: usize = 4;

/// How many segments a file of `size` bytes has; an empty one has one.
#[must_use]
pub fn segments(size: u64) -> u32 {
    u32::try_from(size.div_ceil(SEGMENT_BYTES).max(1)).unwrap_or(u32::MAX)
}

/// The value of one segment, given its bytes.
#[must_use]
pub fn segment_hash(index: u32, of: u32, bytes: &[u8]) -> SegmentHash {
    if of == 1 {
        return *blake3::hash(bytes).as_bytes();
    }
    let mut hasher = hasher_of(index, of);
    hasher.update(bytes);
    value_of(&hasher, of)
}

/// Hashes a file from some segment on, in jobs of [`SEGMENTS_PER_JOB`], and posts the values as they come.
pub struct HashJob {
    /// As the loop numbered it.
    pub id: SlotId,
    /// To read from.
    pub file: Arc<File>,
    /// Its size.
    pub version: FileVersion,
    /// The first segment whose value is wanted.
    pub next: u32,
    /// Where the values go.
    pub mailbox: Mailbox,
    /// Takes the next part of the work.
    pub submitter: Submitter,
}

impl HashJob {
    /// Does a part and submits the rest.
    pub fn run(mut self) {
        let segments = segments(self.version.size);
        let end = segments.min(self.next + SEGMENTS_PER_JOB);
        let mut buffer = Vec::new();
        let mut values = Vec::with_capacity(SEGMENTS_PER_REPORT);
        while self.next < end {
            let value = match self.hash_next(segments, &mut buffer) {
                Ok(value) => value,
                Err(error) => {
                    self.mailbox.post(HelperEvent::ReadFailed {
                        file: self.id,
                        error,
                    });
                    return;
                }
            };
            values.push(value);
            self.next += 1;
            if values.len() == SEGMENTS_PER_REPORT || self.next == end {
                let values = std::mem::take(&mut values);
                self.mailbox.post(HelperEvent::Hashed {
                    file: self.id,
                    values,
                });
            }
        }
        // The loop holds the other reference: when it is gone, nobody wants the rest.
        if self.next < segments && Arc::strong_count(&self.file) > 1 {
            let submitter = self.submitter.clone();
            submitter.submit_background(move || self.run());
        }
    }

    /// Reads the next segment and hashes it while it is in the processor's cache.
    fn hash_next(&self, segments: u32, buffer: &mut Vec<u8>) -> io::Result<SegmentHash> {
        let size = self.version.size;
        let start = u64::from(self.next) * SEGMENT_BYTES;
        let range = (start, (start + SEGMENT_BYTES).min(size));
        let mut hasher = hasher_of(self.next, segments);
        read_pieces(&self.file, range, size, buffer, |bytes| {
            hasher.update(bytes);
        })?;
        Ok(value_of(&hasher, segments))
    }
}

/// A hasher for segment `index` of `of`.
fn hasher_of(index: u32, of: u32) -> blake3::Hasher {
    let mut hasher = blake3::Hasher::new();
    if of > 1 {
        hasher.set_input_offset(u64::from(index) * SEGMENT_BYTES);
    }
    hasher
}

/// The value of one segment among `of`, of which the hasher has seen all.
fn value_of(hasher: &blake3::Hasher, of: u32) -> SegmentHash {
    if of == 1 {
        *hasher.finalize().as_bytes()
    } else {
        hasher.finalize_non_root()
    }
}

/// Fills the buffer from a place in the file, without moving a cursor.
///
/// # Errors
/// The file ends before (`UnexpectedEof`), or cannot be read.
#[cfg(unix)]
pub fn read_exact_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, offset)
}

/// Fills the buffer from a place in the file.
///
/// # Errors
/// The file ends before (`UnexpectedEof`), or cannot be read.
#[cfg(windows)]
pub fn read_exact_at(file: &File, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !buffer.is_empty() {
        let got = std::os::windows::fs::FileExt::seek_read(file, buffer, offset)?;
        if got == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        buffer = &mut buffer[got..];
        offset += got as u64;
    }
    Ok(())
}

/// Values of whole files, oldest out first.
#[derive(Debug, Default)]
pub struct HashCache {
    values: HashMap<FileVersion, Arc<[SegmentHash]>>,
    order: VecDeque<FileVersion>,
    bytes: usize,
}

impl HashCache {
    /// The values of a file, if they were computed before and it is still the same.
    #[must_use]
    pub fn get(&self, version: &FileVersion) -> Option<Arc<[SegmentHash]>> {
        self.values.get(version).cloned()
    }

    /// Keeps the values of a file, unless it was changed so recently (as of `opened_at`, when the first byte was read)
    /// that a further change might not show in its timestamps.
    pub fn put(&mut self, version: FileVersion, values: Arc<[SegmentHash]>, opened_at: SystemTime) {
        let bytes = values.len() * size_of::<SegmentHash>();
        if !version.is_settled(opened_at, HASH_SETTLED) || bytes > MAX_CACHED_HASH_BYTES {
            return;
        }
        if self.values.insert(version, values).is_none() {
            self.order.push_back(version);
            self.bytes += bytes;
        }
        while self.bytes > MAX_CACHED_HASH_BYTES
            && let Some(oldest) = self.order.pop_front()
        {
            if let Some(gone) = self.values.remove(&oldest) {
                self.bytes -= gone.len() * size_of::<SegmentHash>();
            }
        }
    }

    /// Files whose values are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use blake3::hazmat::{Mode, merge_subtrees_non_root, merge_subtrees_root};

    use super::*;

    /// The root from the values, as the client computes it.
    fn root(values: &[SegmentHash], is_root: bool) -> SegmentHash {
        let [value] = values else {
            let left = (values.len().next_power_of_two() / 2).max(1);
            let (left, right) = values.split_at(left);
            let (left, right) = (root(left, false), root(right, false));
            return if is_root {
                *merge_subtrees_root(&left, &right, Mode::Hash).as_bytes()
            } else {
                merge_subtrees_non_root(&left, &right, Mode::Hash)
            };
        };
        *value
    }

    #[test]
    fn the_values_merge_to_the_hash_of_the_file() {
        for size in [
            0,
            1,
            1_048_575,
            1_048_576,
            1_048_577,
            3 << 20,
            (5 << 20) + 17,
        ] {
            let content: Vec<u8> = (0..size)
                .map(|index: usize| index.to_le_bytes()[0] ^ index.to_le_bytes()[1])
                .collect();
            let count = segments(size as u64);
            let values: Vec<_> = (0..count)
                .map(|index| {
                    let start = index as usize * (1 << 20);
                    segment_hash(index, count, &content[start..size.min(start + (1 << 20))])
                })
                .collect();
            assert_eq!(
                root(&values, true),
                *blake3::hash(&content).as_bytes(),
                "{size}"
            );
        }
    }

    fn version(inode: u64, ctime_ns: i128) -> FileVersion {
        FileVersion {
            device: 1,
            inode,
            size: 1,
            mtime_ns: 0,
            ctime_ns,
        }
    }

    #[test]
    fn young_files_are_not_kept() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
        let mut cache = HashCache::default();
        let values: Arc<[SegmentHash]> = Arc::from([[1; 32]]);
        cache.put(version(1, 99_000_000_000), Arc::clone(&values), now);
        assert!(cache.is_empty());
        cache.put(version(1, 97_000_000_000), Arc::clone(&values), now);
        assert_eq!(cache.get(&version(1, 97_000_000_000)), Some(values));
        assert_eq!(cache.get(&version(1, 97_000_000_001)), None);
    }

    #[test]
    fn the_cache_is_bounded() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
        let mut cache = HashCache::default();
        let values: Arc<[SegmentHash]> = vec![[0; 32]; MAX_CACHED_HASH_BYTES / 32 / 4].into();
        for inode in 0..10 {
            cache.put(version(inode, 0), Arc::clone(&values), now);
        }
        assert_eq!(cache.len(), 4);
        assert!(cache.get(&version(9, 0)).is_some());
        assert!(cache.get(&version(0, 0)).is_none());
    }
}
