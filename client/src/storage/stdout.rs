//! One file to a pipe, in order: bytes wait in an unnamed temporary file until all before them are
//! verified.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use super::{
    ChainingValue, FileRequest, Part, Preparation, SMALL_FILE_BYTES, Storage, StorageError,
    platform, segment_start,
};

/// Where the bytes come out.
pub type Output = Arc<Mutex<dyn Write + Send>>;

/// Takes one file and passes it on.
pub struct PipeStorage {
    output: Output,
}

impl std::fmt::Debug for PipeStorage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PipeStorage").finish_non_exhaustive()
    }
}

impl PipeStorage {
    /// Bytes come out of `output`.
    #[must_use]
    pub fn new(output: Output) -> Self {
        Self { output }
    }
}

impl Storage for PipeStorage {
    fn prepare(
        &self,
        request: &FileRequest,
        _interrupted: &AtomicBool,
    ) -> Result<Preparation, StorageError> {
        let folder = std::env::temp_dir();
        let failed = |error| StorageError::io("reserve space in", &folder, error);
        let buffer = if request.size_bytes > SMALL_FILE_BYTES {
            let file = unnamed_file(&folder).map_err(failed)?;
            platform::preallocate(&file, request.size_bytes).map_err(failed)?;
            Some(file)
        } else {
            None
        };
        Ok(Preparation::Fetch {
            part: Arc::new(PipePart {
                buffer,
                size_bytes: request.size_bytes,
                passed_bytes: Mutex::new(0),
                output: Arc::clone(&self.output),
            }),
            have: Vec::new(),
        })
    }
}

/// A file that vanishes with its handle.
fn unnamed_file(folder: &Path) -> io::Result<File> {
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::fs::OpenOptionsExt;
        let unnamed = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .mode(0o600)
            .custom_flags(libc::O_TMPFILE)
            .open(folder);
        if unnamed.is_ok() {
            return unnamed;
        }
    }
    let mut last = io::Error::from(io::ErrorKind::AlreadyExists);
    for number in 0..100 {
        let path = folder.join(format!("columba-{}-{number}.part", std::process::id()));
        let mut options = std::fs::OpenOptions::new();
        options.read(true).write(true).create_new(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt;
            options.mode(0o600);
        }
        match options.open(&path) {
            Ok(file) => {
                // Where open files cannot be removed it stays; nothing but tidiness is lost.
                let _ = std::fs::remove_file(&path);
                return Ok(file);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

struct PipePart {
    buffer: Option<File>,
    size_bytes: u64,
    passed_bytes: Mutex<u64>,
    output: Output,
}

impl std::fmt::Debug for PipePart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PipePart")
            .field("size_bytes", &self.size_bytes)
            .finish_non_exhaustive()
    }
}

impl PipePart {
    fn write_out(&self, data: &[u8]) -> io::Result<()> {
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        output.write_all(data)?;
        output.flush()
    }

    fn pass_on(&self, end: u64) -> io::Result<()> {
        let Some(buffer) = &self.buffer else {
            return Ok(());
        };
        let mut passed = self
            .passed_bytes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut chunk = vec![0; 256 << 10];
        while *passed < end {
            let left = end - *passed;
            let len = usize::try_from(left).map_or(chunk.len(), |left| left.min(chunk.len()));
            platform::read_exact_at(buffer, &mut chunk[..len], *passed)?;
            self.write_out(&chunk[..len])?;
            *passed += len as u64;
        }
        Ok(())
    }
}

fn to_pipe(error: io::Error) -> StorageError {
    StorageError::io("write to", Path::new("standard output"), error)
}

impl Part for PipePart {
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let buffer = self.buffer.as_ref().ok_or(io::ErrorKind::Unsupported)?;
        platform::write_all_at(buffer, data, offset)
    }

    fn read_at(&self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        let buffer = self.buffer.as_ref().ok_or(io::ErrorKind::Unsupported)?;
        platform::read_exact_at(buffer, data, offset)
    }

    fn checkpoint(&self, _complete: &[(u32, ChainingValue)]) -> Result<(), StorageError> {
        Ok(())
    }

    fn verified_up_to(&self, index: u32) -> Result<(), StorageError> {
        self.pass_on(segment_start(index).min(self.size_bytes))
            .map_err(to_pipe)
    }

    fn stage(&self, whole: &[u8]) -> Result<(), StorageError> {
        self.write_out(whole).map_err(to_pipe)
    }

    fn sync(&self) -> Result<(), StorageError> {
        Ok(())
    }

    fn publish(&self) -> Result<PathBuf, StorageError> {
        self.pass_on(self.size_bytes).map_err(to_pipe)?;
        Ok(PathBuf::from("-"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fetch(storage: &PipeStorage, size_bytes: u64) -> Arc<dyn Part> {
        let request = FileRequest {
            folder: None,
            relative: "a".into(),
            size_bytes,
            version: [0; 16],
        };
        match storage.prepare(&request, &AtomicBool::new(false)).unwrap() {
            Preparation::Fetch { part, .. } => part,
            Preparation::Skip { .. } => panic!("a pipe skips nothing"),
        }
    }

    #[test]
    fn only_verified_bytes_come_out_and_in_order() {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let storage = PipeStorage::new(Arc::<Mutex<Vec<u8>>>::clone(&bytes));
        let data: Vec<u8> = (0..(2usize << 20) + 9).map(|i| (i % 241) as u8).collect();
        let part = fetch(&storage, data.len() as u64);
        part.write_at(1 << 20, &data[1 << 20..]).unwrap();
        assert!(bytes.lock().unwrap().is_empty());
        part.write_at(0, &data[..1 << 20]).unwrap();
        part.verified_up_to(1).unwrap();
        assert_eq!(bytes.lock().unwrap().len(), 1 << 20);
        part.publish().unwrap();
        assert!(*bytes.lock().unwrap() == data);
    }

    #[test]
    fn a_small_file_comes_out_whole() {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let storage = PipeStorage::new(Arc::<Mutex<Vec<u8>>>::clone(&bytes));
        let part = fetch(&storage, 5);
        part.stage(b"hello").unwrap();
        part.publish().unwrap();
        assert_eq!(*bytes.lock().unwrap(), b"hello");
    }
}
