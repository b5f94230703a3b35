//! Files that never touch a disk: for benchmarks of the real engine, and for tests.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use super::{ChainingValue, FileRequest, Part, Preparation, Storage, StorageError, segment_count};

/// Receives every file into memory; each is hashed as usual and then dropped, or kept.
#[derive(Debug, Default)]
pub struct MemoryStorage {
    keep: bool,
    kept: Mutex<Vec<(PathBuf, Arc<MemoryPart>)>>,
}

impl MemoryStorage {
    /// Bytes are dropped after they were verified.
    #[must_use]
    pub fn dropping() -> Self {
        Self::default()
    }

    /// Bytes stay, for [`files`](Self::files).
    #[must_use]
    pub fn keeping() -> Self {
        Self {
            keep: true,
            ..Self::default()
        }
    }

    /// Names and contents received so far.
    #[must_use]
    pub fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter()
            .map(|(name, part)| (name.clone(), part.content()))
            .collect()
    }
}

impl Storage for MemoryStorage {
    fn prepare(
        &self,
        request: &FileRequest,
        _interrupted: &AtomicBool,
    ) -> Result<Preparation, StorageError> {
        segment_count(request.size_bytes)
            .map_err(|error| StorageError::io("hold", &request.relative, error))?;
        let part = Arc::new(if self.keep {
            MemoryPart::keeping(request.size_bytes)
        } else {
            MemoryPart::default()
        });
        if self.keep {
            self.kept
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push((request.relative.clone(), Arc::clone(&part)));
        }
        Ok(Preparation::Fetch {
            part,
            have: Vec::new(),
        })
    }
}

/// One file in memory.
#[derive(Debug, Default)]
pub struct MemoryPart {
    data: Option<Mutex<Vec<u8>>>,
    /// Writes that end beyond this fail; for tests.
    limit: Option<(u64, io::ErrorKind)>,
}

impl MemoryPart {
    /// Keeps `size_bytes` bytes.
    #[must_use]
    pub fn keeping(size_bytes: u64) -> Self {
        let size = usize::try_from(size_bytes).unwrap_or(usize::MAX);
        Self {
            data: Some(Mutex::new(vec![0; size])),
            limit: None,
        }
    }

    /// A disk that refuses what ends beyond `bytes`.
    #[must_use]
    pub const fn failing_after(bytes: u64, kind: io::ErrorKind) -> Self {
        Self {
            data: None,
            limit: Some((bytes, kind)),
        }
    }

    /// What was written, if it is kept.
    #[must_use]
    pub fn content(&self) -> Vec<u8> {
        self.data.as_ref().map_or_else(Vec::new, |data| {
            data.lock().unwrap_or_else(PoisonError::into_inner).clone()
        })
    }
}

impl Part for MemoryPart {
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if let Some((limit, kind)) = self.limit
            && offset + data.len() as u64 > limit
        {
            return Err(kind.into());
        }
        if let Some(held) = &self.data {
            let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
            let start = usize::try_from(offset).unwrap_or(usize::MAX);
            start
                .checked_add(data.len())
                .and_then(|end| held.get_mut(start..end))
                .ok_or(io::ErrorKind::InvalidInput)?
                .copy_from_slice(data);
        }
        Ok(())
    }

    fn read_at(&self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        let Some(held) = &self.data else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        let held = held.lock().unwrap_or_else(PoisonError::into_inner);
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let source = start
            .checked_add(data.len())
            .and_then(|end| held.get(start..end))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        data.copy_from_slice(source);
        Ok(())
    }

    fn checkpoint(&self, _complete: &[(u32, ChainingValue)]) -> Result<(), StorageError> {
        Ok(())
    }

    fn stage(&self, whole: &[u8]) -> Result<(), StorageError> {
        if let Some(held) = &self.data {
            whole.clone_into(&mut held.lock().unwrap_or_else(PoisonError::into_inner));
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), StorageError> {
        Ok(())
    }

    fn publish(&self) -> Result<PathBuf, StorageError> {
        Ok(PathBuf::new())
    }
}
