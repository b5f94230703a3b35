//! What the shared folder holds at one time.
//!
//! Shared are regular files below the folder whose path is UTF-8. Left out are symlinks and other special files,
//! whatever is hidden (a part of the path starts with a dot), and unfinished downloads (`*.part`).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use columba_core::control::limits::MAX_FILE_NAME_BYTES;

use super::version::FileVersion;
use crate::limits::{MAX_FOLDER_DEPTH, MAX_SHARED_FILES};

/// A shared file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedEntry {
    /// Path with `/`, relative to the shared folder.
    pub name: Arc<str>,
    /// As of the scan.
    pub version: FileVersion,
}

/// All shared files at one time, sorted by name.
#[derive(Debug, Default)]
pub struct Index {
    entries: Vec<SharedEntry>,
    /// Files left out because their path is too long or not UTF-8, or because there are too many.
    pub skipped: u64,
}

impl Index {
    /// Scans a folder.
    #[must_use]
    pub fn scan(root: &Path) -> Self {
        let mut index = Self::default();
        let mut folders = vec![(root.to_owned(), String::new(), 0)];
        while let Some((path, prefix, depth)) = folders.pop() {
            match std::fs::read_dir(&path) {
                Ok(read) => {
                    for item in read.flatten() {
                        index.add(&item, &prefix, depth, &mut folders);
                    }
                }
                Err(error) => {
                    tracing::debug!(folder = %path.display(), %error, "a folder cannot be listed");
                }
            }
        }
        index.entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        index
    }

    fn add(
        &mut self,
        item: &std::fs::DirEntry,
        prefix: &str,
        depth: usize,
        folders: &mut Vec<(PathBuf, String, usize)>,
    ) {
        let raw = item.file_name();
        let Some(part) = raw.to_str() else {
            self.skipped += 1;
            return;
        };
        if !is_shared_part(part) {
            return;
        }
        // Of the entry itself: a symlink is neither.
        let Ok(kind) = item.file_type() else {
            return;
        };
        let name = format!("{prefix}{part}");
        if kind.is_dir() {
            if depth < MAX_FOLDER_DEPTH {
                folders.push((item.path(), format!("{name}/"), depth + 1));
            }
        } else if kind.is_file() {
            if name.len() > MAX_FILE_NAME_BYTES || self.entries.len() >= MAX_SHARED_FILES {
                self.skipped += 1;
            } else if let Ok(metadata) = item.metadata() {
                self.entries.push(SharedEntry {
                    name: name.into(),
                    version: FileVersion::of(&metadata),
                });
            }
        }
    }

    /// The files whose name starts with `prefix`.
    #[must_use]
    pub fn starting_with(&self, prefix: &str) -> &[SharedEntry] {
        let start = self.entries.partition_point(|entry| *entry.name < *prefix);
        let rest = &self.entries[start..];
        let count = rest.partition_point(|entry| entry.name.starts_with(prefix));
        &rest[..count]
    }

    /// How many files it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is shared.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The file of exactly this name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&SharedEntry> {
        let place = self
            .entries
            .binary_search_by(|entry| (*entry.name).cmp(name))
            .ok()?;
        self.entries.get(place)
    }
}

/// Whether a part of a path is neither hidden nor an unfinished download.
pub(super) fn is_shared_part(part: &str) -> bool {
    !part.starts_with('.') && !part.ends_with(".part")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn share() -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a temporary folder");
        for folder in ["docs/deep", ".hidden", "empty"] {
            std::fs::create_dir_all(root.path().join(folder)).expect("writable");
        }
        for file in [
            "a.txt",
            "docs/b.txt",
            "docs/deep/c",
            "docs.txt",
            ".secret",
            ".hidden/d",
            "e.part",
        ] {
            std::fs::write(root.path().join(file), file).expect("writable");
        }
        root
    }

    pub(in super::super) fn names(entries: &[SharedEntry]) -> Vec<&str> {
        entries.iter().map(|entry| &*entry.name).collect()
    }

    #[test]
    fn the_index_holds_what_is_shared_in_order() {
        let root = share();
        #[cfg(unix)]
        std::os::unix::fs::symlink("a.txt", root.path().join("link")).expect("writable");
        let index = Index::scan(root.path());
        assert_eq!(
            names(index.starting_with("")),
            ["a.txt", "docs.txt", "docs/b.txt", "docs/deep/c"]
        );
        assert_eq!(
            names(index.starting_with("docs/")),
            ["docs/b.txt", "docs/deep/c"]
        );
        assert_eq!(names(index.starting_with("docs")).len(), 3);
        assert_eq!(names(index.starting_with("zzz")), [""; 0]);
        assert_eq!(index.find("a.txt").map(|entry| entry.version.size), Some(5));
        assert!(index.find("docs").is_none());
    }
}
