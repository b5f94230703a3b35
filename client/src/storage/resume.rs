//! The small file beside `NAME.part` that says which segments of it are good.
//!
//! Big-endian: magic (8) · version tag (16) · size in bytes (8) · bitmap of segments · the BLAKE3
//! value of each marked segment (32 each) · BLAKE3 of all that (32). It is written after the part
//! was made durable, replaced atomically, and believed only where the part's bytes still hash to
//! the value: so neither a torn write nor a changed part ever counts.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use super::{ChainingValue, VersionTag, paths, platform, segment_count};

const MAGIC: [u8; 8] = *b"CLMBRES1";
const HEADER_BYTES: usize = 8 + 16 + 8;
const DIGEST_BYTES: usize = 32;

/// Which segments of one state of a file are in its part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResumeMap {
    /// The server's tag for the state of the file.
    pub version: VersionTag,
    /// Size in bytes.
    pub size_bytes: u64,
    /// Index and value of each good segment, in ascending order.
    pub segments: Vec<(u32, ChainingValue)>,
}

impl ResumeMap {
    /// The bytes of the map's file.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let count = segment_count(self.size_bytes).unwrap_or(u32::MAX) as usize;
        let mut bitmap = vec![0u8; count.div_ceil(8)];
        let mut values = Vec::with_capacity(self.segments.len() * 32);
        for (index, value) in &self.segments {
            if let Some(byte) = bitmap.get_mut(*index as usize / 8) {
                *byte |= 1 << (index % 8);
                values.extend_from_slice(value);
            }
        }
        let mut bytes = Vec::with_capacity(HEADER_BYTES + bitmap.len() + values.len() + 32);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&self.version);
        bytes.extend_from_slice(&self.size_bytes.to_be_bytes());
        bytes.extend_from_slice(&bitmap);
        bytes.extend_from_slice(&values);
        let digest = blake3::hash(&bytes);
        bytes.extend_from_slice(digest.as_bytes());
        bytes
    }

    /// Reads what [`encode`](Self::encode) wrote; `None` for anything else.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (content, digest) = bytes.split_at_checked(bytes.len().checked_sub(DIGEST_BYTES)?)?;
        if blake3::hash(content) != *<&[u8; DIGEST_BYTES]>::try_from(digest).ok()? {
            return None;
        }
        let (magic, rest) = content.split_first_chunk::<8>()?;
        let (version, rest) = rest.split_first_chunk::<16>()?;
        let (size, rest) = rest.split_first_chunk::<8>()?;
        if *magic != MAGIC {
            return None;
        }
        let size_bytes = u64::from_be_bytes(*size);
        let count = segment_count(size_bytes).ok()?;
        let (bitmap, mut values) = rest.split_at_checked((count as usize).div_ceil(8))?;
        let mut segments = Vec::new();
        for index in (0..count).filter(|i| bitmap[*i as usize / 8] & (1 << (i % 8)) != 0) {
            let (value, rest) = values.split_first_chunk::<32>()?;
            segments.push((index, *value));
            values = rest;
        }
        values.is_empty().then_some(Self {
            version: *version,
            size_bytes,
            segments,
        })
    }

    /// Reads the map for this state of the file; `None` when there is none that fits.
    #[must_use]
    pub fn load(path: &Path, version: &VersionTag, size_bytes: u64) -> Option<Self> {
        let count = u64::from(segment_count(size_bytes).ok()?);
        let longest = (HEADER_BYTES + DIGEST_BYTES) as u64 + count.div_ceil(8) + count * 32;
        let mut bytes = Vec::new();
        let file = platform::open_part(path, false).ok()?;
        file.take(longest + 1).read_to_end(&mut bytes).ok()?;
        let map = Self::decode(&bytes)?;
        (map.version == *version && map.size_bytes == size_bytes).then_some(map)
    }

    /// Replaces the map's file atomically and durably.
    ///
    /// # Errors
    /// What the system says; the old map is then still there.
    pub fn store(&self, path: &Path) -> io::Result<()> {
        let fresh = paths::beside(path, ".new");
        let write = || {
            let mut file = File::create(&fresh)?;
            file.write_all(&self.encode())?;
            file.sync_data()?;
            std::fs::rename(&fresh, path)
        };
        write().inspect_err(|_| {
            // What could not be replaced is of no use to anyone.
            let _ = std::fs::remove_file(&fresh);
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map() -> ResumeMap {
        ResumeMap {
            version: [7; 16],
            size_bytes: (11 << 20) + 5,
            segments: vec![(0, [1; 32]), (3, [2; 32]), (11, [3; 32])],
        }
    }

    #[test]
    fn what_is_stored_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.part.columba");
        let map = map();
        map.store(&path).unwrap();
        assert_eq!(
            ResumeMap::load(&path, &map.version, map.size_bytes),
            Some(map.clone())
        );
        assert_eq!(ResumeMap::load(&path, &[8; 16], map.size_bytes), None);
        assert_eq!(ResumeMap::load(&path, &map.version, 11 << 20), None);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn any_damage_makes_it_nothing() {
        let bytes = map().encode();
        assert_eq!(ResumeMap::decode(&bytes), Some(map()));
        for at in 0..bytes.len() {
            let mut broken = bytes.clone();
            broken[at] ^= 0x40;
            assert_eq!(ResumeMap::decode(&broken), None);
            assert_eq!(ResumeMap::decode(&bytes[..at]), None);
        }
    }

    #[test]
    fn a_valid_digest_over_nonsense_is_refused() {
        let mut bytes = map().encode();
        bytes.truncate(bytes.len() - 32 - 32);
        let digest = blake3::hash(&bytes);
        bytes.extend_from_slice(digest.as_bytes());
        assert_eq!(ResumeMap::decode(&bytes), None);
    }
}
