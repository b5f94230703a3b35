//! Files in a folder: `NAME.part` with its resume map until verified, then `NAME`.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::resume::ResumeMap;
use super::verify::segment_value;
use super::{
    ChainingValue, Existing, FileRequest, Part, Preparation, SEGMENT_BYTES, SMALL_FILE_BYTES,
    Storage, StorageError, VersionTag, paths, platform, segment_count, segment_len, segment_start,
};

/// What is appended to a part's name for its resume map.
const MAP_SUFFIX: &str = ".columba";
/// What is appended to a small file's name: only Columba uses it, so a left-over may be replaced.
const SMALL_PART_SUFFIX: &str = ".columba-part";
/// How many names are tried where a name is taken.
const MAX_NAMES: u32 = 10_000;

/// A download folder.
#[derive(Debug)]
pub struct DiskStorage {
    folder: PathBuf,
    existing: Existing,
    claims: Claims,
    /// Folders below it that were made or found to be folders.
    entered: Mutex<HashSet<PathBuf>>,
}

/// Targets and parts that files of this download have taken.
type Claims = Arc<Mutex<HashSet<PathBuf>>>;

fn claimed(claims: &Claims) -> MutexGuard<'_, HashSet<PathBuf>> {
    claims.lock().unwrap_or_else(PoisonError::into_inner)
}

impl DiskStorage {
    /// Files go below `folder`, which is made when the first one comes.
    #[must_use]
    pub fn new(folder: PathBuf, existing: Existing) -> Self {
        let folder = if folder.as_os_str().is_empty() {
            PathBuf::from(".")
        } else {
            folder
        };
        Self {
            folder,
            existing,
            claims: Claims::default(),
            entered: Mutex::default(),
        }
    }

    /// The name for a new file, or the one that stays (`Err` in the inner result).
    fn choose_target(&self, wanted: &Path) -> Result<Result<PathBuf, PathBuf>, StorageError> {
        for number in 0..MAX_NAMES {
            let target = paths::numbered(wanted, number);
            let mut claims = claimed(&self.claims);
            let ours = claims.contains(&target);
            let there = target.symlink_metadata();
            let taken = there.is_ok() || ours;
            match self.existing {
                Existing::Rename if taken => continue,
                Existing::Refuse if taken => return Err(StorageError::Exists { target }),
                Existing::Skip if taken => return Ok(Err(target)),
                // Two files of one download never replace each other.
                Existing::Overwrite if ours => return Err(StorageError::Exists { target }),
                Existing::Overwrite if there.as_ref().is_ok_and(std::fs::Metadata::is_dir) => {
                    let error = io::ErrorKind::IsADirectory.into();
                    return Err(StorageError::io("replace", &target, error));
                }
                Existing::Overwrite | Existing::Rename | Existing::Refuse | Existing::Skip => {}
            }
            claims.insert(target.clone());
            return Ok(Ok(target));
        }
        Err(StorageError::Exists {
            target: wanted.to_path_buf(),
        })
    }

    /// Makes the folders above the target, none of those below `root` through a symlink.
    fn make_folders(&self, root: &Path, relative: &Path) -> Result<(), StorageError> {
        let parent = relative.parent().unwrap_or_else(|| Path::new(""));
        let mut entered = self.entered.lock().unwrap_or_else(PoisonError::into_inner);
        if entered.contains(&root.join(parent)) {
            return Ok(());
        }
        std::fs::create_dir_all(root).map_err(|error| StorageError::io("create", root, error))?;
        let mut folder = root.to_path_buf();
        for component in parent {
            folder.push(component);
            match std::fs::create_dir(&folder) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    let plain = folder.symlink_metadata().is_ok_and(|meta| meta.is_dir());
                    if !plain {
                        let error = io::ErrorKind::NotADirectory.into();
                        return Err(StorageError::io("enter", &folder, error));
                    }
                }
                Err(error) => return Err(StorageError::io("create", &folder, error)),
            }
        }
        entered.insert(root.join(parent));
        Ok(())
    }
}

impl Storage for DiskStorage {
    fn prepare(
        &self,
        request: &FileRequest,
        interrupted: &AtomicBool,
    ) -> Result<Preparation, StorageError> {
        segment_count(request.size_bytes)
            .map_err(|error| StorageError::io("store", &request.relative, error))?;
        let root = request.folder.as_deref().unwrap_or(&self.folder);
        self.make_folders(root, &request.relative)?;
        let target = match self.choose_target(&root.join(&request.relative))? {
            Ok(target) => target,
            Err(target) => return Ok(Preparation::Skip { target }),
        };
        let part = DiskPart {
            target,
            existing: self.existing,
            version: request.version,
            size_bytes: request.size_bytes,
            opened: OnceLock::new(),
            published: AtomicBool::new(false),
            discarded: AtomicBool::new(false),
            elsewhere: request.folder.is_some(),
            claims: Arc::clone(&self.claims),
        };
        let have = if request.size_bytes > SMALL_FILE_BYTES {
            part.open_large(interrupted)?
        } else {
            Vec::new()
        };
        Ok(Preparation::Fetch {
            part: Arc::new(part),
            have,
        })
    }

    fn sync_all(&self) -> Result<bool, StorageError> {
        File::open(&self.folder)
            .and_then(|folder| platform::sync_file_system(&folder))
            .map_err(|error| StorageError::io("sync", &self.folder, error))
    }

    fn sync_names(&self, published: &[&Path]) -> Result<(), StorageError> {
        let folders: HashSet<&Path> = published.iter().filter_map(|path| path.parent()).collect();
        for folder in folders {
            platform::sync_folder(folder)
                .map_err(|error| StorageError::io("sync", folder, error))?;
        }
        Ok(())
    }
}

/// One file of a download folder.
#[derive(Debug)]
struct DiskPart {
    target: PathBuf,
    existing: Existing,
    version: VersionTag,
    size_bytes: u64,
    /// The part file; a small file has none until it is staged.
    opened: OnceLock<OpenPart>,
    published: AtomicBool,
    discarded: AtomicBool,
    /// In another folder than the storage's own.
    elsewhere: bool,
    claims: Claims,
}

#[derive(Debug)]
struct OpenPart {
    file: File,
    path: PathBuf,
    /// Where its resume map is; small files have none.
    map: Option<PathBuf>,
}

impl DiskPart {
    /// Opens or creates the part of a large file; returns what of it is still good.
    fn open_large(
        &self,
        interrupted: &AtomicBool,
    ) -> Result<Vec<(u32, ChainingValue)>, StorageError> {
        let path = self.choose_part()?;
        self.open_at(&path, interrupted).inspect_err(|_| {
            claimed(&self.claims).remove(&path);
        })
    }

    fn open_at(
        &self,
        path: &Path,
        interrupted: &AtomicBool,
    ) -> Result<Vec<(u32, ChainingValue)>, StorageError> {
        let path = path.to_path_buf();
        let map_path = paths::beside(&path, MAP_SUFFIX);
        let found = path.symlink_metadata().is_ok();
        let file = platform::open_part(&path, true)
            .map_err(|error| StorageError::io("open", &path, error))?;
        let lock = platform::lock(&file);
        if !lock.map_err(|error| StorageError::io("lock", &path, error))? {
            return Err(StorageError::Busy { part: path });
        }
        let map = ResumeMap::load(&map_path, &self.version, self.size_bytes);
        let fits = file
            .metadata()
            .is_ok_and(|meta| meta.len() == self.size_bytes);
        let have = match map {
            Some(map) if found && fits => self.still_good(&file, &path, &map, interrupted)?,
            Some(_) | None => {
                self.start_over(&file, &path, &map_path)?;
                Vec::new()
            }
        };
        // Set once, here: the part has just been made.
        let _ = self.opened.set(OpenPart {
            file,
            path,
            map: Some(map_path),
        });
        Ok(have)
    }

    /// Hashes the segments that the map claims, and keeps those whose bytes agree.
    fn still_good(
        &self,
        file: &File,
        path: &Path,
        map: &ResumeMap,
        interrupted: &AtomicBool,
    ) -> Result<Vec<(u32, ChainingValue)>, StorageError> {
        let count = segment_count(self.size_bytes).unwrap_or(u32::MAX);
        let mut buffer = vec![0; SEGMENT_BYTES as usize];
        let mut good = Vec::new();
        for (index, value) in &map.segments {
            if interrupted.load(Ordering::Relaxed) {
                return Err(StorageError::Interrupted);
            }
            let data = &mut buffer[..segment_len(self.size_bytes, *index) as usize];
            platform::read_exact_at(file, data, segment_start(*index))
                .map_err(|error| StorageError::io("read", path, error))?;
            if segment_value(*index, count, data) == *value {
                good.push((*index, *value));
            }
        }
        Ok(good)
    }

    fn start_over(&self, file: &File, path: &Path, map_path: &Path) -> Result<(), StorageError> {
        // What it says would be found wrong anyway.
        let _ = std::fs::remove_file(map_path);
        let reserved = file
            .set_len(0)
            .and_then(|()| platform::preallocate(file, self.size_bytes));
        if let Err(error) = reserved {
            // Nothing of it is worth keeping; what cannot be removed is empty.
            let _ = std::fs::remove_file(path);
            return Err(StorageError::io("reserve space for", path, error));
        }
        Ok(())
    }

    /// A name for the part that no other file of this download has.
    fn choose_part(&self) -> Result<PathBuf, StorageError> {
        for number in 0..MAX_NAMES {
            let suffix = match number {
                0 => ".part".to_owned(),
                _ => format!(".{number}.part"),
            };
            let part = paths::beside(&self.target, &suffix);
            let foreign = self.is_foreign(&part);
            let mut claims = claimed(&self.claims);
            if !foreign && !claims.contains(&part) {
                claims.insert(part.clone());
                return Ok(part);
            }
        }
        let target = self.target.clone();
        Err(StorageError::Exists { target })
    }

    /// A file in the part's place that cannot be one of ours may be dear to somebody. Ours has a map,
    /// or, until the first checkpoint, the length it was given at once.
    fn is_foreign(&self, part: &Path) -> bool {
        let has_map = paths::beside(part, MAP_SUFFIX).exists();
        let length = part.symlink_metadata().map_or(0, |meta| meta.len());
        !has_map && length != 0 && length != self.size_bytes
    }

    const fn map(&self, segments: Vec<(u32, ChainingValue)>) -> ResumeMap {
        ResumeMap {
            version: self.version,
            size_bytes: self.size_bytes,
            segments,
        }
    }

    fn part(&self) -> io::Result<&OpenPart> {
        self.opened
            .get()
            .ok_or_else(|| io::Error::other("the file was never written"))
    }

    fn shown_path(&self) -> &Path {
        self.opened.get().map_or(&self.target, |part| &part.path)
    }

    fn rename(&self, part: &Path) -> Result<PathBuf, StorageError> {
        let failed = |target: &Path, error: io::Error| StorageError::io("rename to", target, error);
        if self.existing == Existing::Overwrite {
            return std::fs::rename(part, &self.target)
                .map(|()| self.target.clone())
                .map_err(|error| failed(&self.target, error));
        }
        for number in 0..MAX_NAMES {
            let target = paths::numbered(&self.target, number);
            match platform::rename_new(part, &target) {
                Ok(()) => return Ok(target),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    if self.existing != Existing::Rename {
                        return Err(StorageError::Exists { target });
                    }
                }
                Err(error) => return Err(failed(&target, error)),
            }
        }
        Err(StorageError::Exists {
            target: self.target.clone(),
        })
    }
}

impl Part for DiskPart {
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        platform::write_all_at(&self.part()?.file, data, offset)
    }

    fn read_at(&self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        platform::read_exact_at(&self.part()?.file, data, offset)
    }

    fn checkpoint(&self, complete: &[(u32, ChainingValue)]) -> Result<(), StorageError> {
        let Some(part) = self.opened.get() else {
            return Ok(());
        };
        let Some(map) = &part.map else { return Ok(()) };
        part.file
            .sync_data()
            .map_err(|error| StorageError::io("sync", &part.path, error))?;
        self.map(complete.to_vec())
            .store(map)
            .map_err(|error| StorageError::io("write", map, error))
    }

    fn stage(&self, whole: &[u8]) -> Result<(), StorageError> {
        let path = paths::beside(&self.target, SMALL_PART_SUFFIX);
        let failed = |error| StorageError::io("write", &path, error);
        let file = platform::open_part(&path, true).map_err(failed)?;
        if !platform::lock(&file).map_err(failed)? {
            return Err(StorageError::Busy { part: path });
        }
        file.set_len(0)
            .and_then(|()| platform::write_all_at(&file, whole, 0))
            .map_err(|error| {
                // A small file starts anew anyway.
                let _ = std::fs::remove_file(&path);
                failed(error)
            })?;
        // Set once, here: a file is staged once.
        let _ = self.opened.set(OpenPart {
            file,
            path,
            map: None,
        });
        Ok(())
    }

    fn sync(&self) -> Result<(), StorageError> {
        self.part()
            .and_then(|part| part.file.sync_all())
            .map_err(|error| StorageError::io("sync", self.shown_path(), error))
    }

    fn is_synced_with_all(&self) -> bool {
        !self.elsewhere
    }

    fn discard(&self) {
        self.discarded.store(true, Ordering::Relaxed);
    }

    fn publish(&self) -> Result<PathBuf, StorageError> {
        let part = self
            .part()
            .map_err(|error| StorageError::io("rename", &self.target, error))?;
        let target = self.rename(&part.path)?;
        self.published.store(true, Ordering::Relaxed);
        if let Some(map) = &part.map {
            // A map without its part is ignored, so one that stays does no harm.
            let _ = std::fs::remove_file(map);
        }
        Ok(target)
    }
}

impl Drop for DiskPart {
    fn drop(&mut self) {
        let published = *self.published.get_mut();
        let part = self.opened.get();
        let mut claims = claimed(&self.claims);
        if !published {
            claims.remove(&self.target);
        }
        if let Some(part) = part {
            claims.remove(&part.path);
            let discarded = *self.discarded.get_mut();
            let resumable = !discarded && part.map.as_ref().is_some_and(|map| map.exists());
            if !resumable && !published {
                // Nothing of it is of use to a later run. Published, the path may be another's.
                let _ = std::fs::remove_file(&part.path);
                if let Some(map) = &part.map {
                    let _ = std::fs::remove_file(map);
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "disk_tests.rs"]
mod tests;
