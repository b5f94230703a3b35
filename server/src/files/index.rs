//! What the shared folder holds at one time.
//!
//! Shared are regular files below the folder whose path is UTF-8. Left out are symlinks and other special files,
//! whatever is hidden (a part of the path starts with a dot), and unfinished downloads (`*.part`).

use std::ops::ControlFlow;
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

/// Files of one folder that are told of together while a scan goes on.
const TOLD_TOGETHER: usize = 256;

impl Index {
    /// Scans a folder, and tells what it has found as it goes: some files of one folder at a time, at least once for each
    /// folder, and that folder's name as files in it have it before their own (`""` or `a/b/`). `None` when it was told to
    /// break off.
    pub fn scan(
        root: &Path,
        mut tell: impl FnMut(&str, &[SharedEntry]) -> ControlFlow<()>,
    ) -> Option<Self> {
        let mut index = Self::default();
        let mut folders = vec![(root.to_owned(), String::new(), 0)];
        while let Some((path, prefix, depth)) = folders.pop() {
            let mut told = index.entries.len();
            match std::fs::read_dir(&path) {
                Ok(read) => {
                    for item in read.flatten() {
                        index.add(&item, &prefix, depth, &mut folders);
                        if index.entries.len() - told >= TOLD_TOGETHER {
                            tell(&prefix, index.in_order_from(told)).continue_value()?;
                            told = index.entries.len();
                        }
                    }
                }
                Err(error) => {
                    tracing::debug!(folder = %path.display(), %error, "a folder cannot be listed");
                }
            }
            tell(&prefix, index.in_order_from(told)).continue_value()?;
        }
        // Stable, because that is the one that makes use of runs in order.
        index.entries.sort_by(|a, b| a.name.cmp(&b.name));
        Some(index)
    }

    fn in_order_from(&mut self, told: usize) -> &[SharedEntry] {
        let found = &mut self.entries[told..];
        found.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        found
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

    /// Scans all of a folder.
    pub(in super::super) fn index_of(root: &Path) -> Index {
        Index::scan(root, |_, _| ControlFlow::Continue(())).expect("it is not broken off")
    }

    pub(in super::super) fn names(entries: &[SharedEntry]) -> Vec<&str> {
        entries.iter().map(|entry| &*entry.name).collect()
    }

    #[test]
    fn a_scan_tells_of_every_file_once_by_folder() {
        let root = share();
        let many = root.path().join("docs/many");
        std::fs::create_dir(&many).expect("writable");
        for number in 0..3 * TOLD_TOGETHER + 1 {
            std::fs::write(many.join(number.to_string()), "x").expect("writable");
        }
        let mut told: Vec<SharedEntry> = Vec::new();
        let mut times = 0;
        let index = Index::scan(root.path(), |folder, found| {
            assert!(found.len() <= TOLD_TOGETHER && found.is_sorted_by_key(|entry| &entry.name));
            for entry in found {
                let (above, _) = entry
                    .name
                    .split_at(entry.name.rfind('/').map_or(0, |at| at + 1));
                assert_eq!(above, folder);
            }
            told.extend_from_slice(found);
            times += 1;
            ControlFlow::Continue(())
        });
        // Once for each of four folders, four times for the large one.
        assert_eq!(times, 8);
        let index = index.expect("it is not broken off");
        told.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        assert_eq!(told, index.starting_with(""));
    }

    #[test]
    fn a_scan_can_be_broken_off() {
        let root = share();
        for at in 1..=4 {
            let mut times = 0;
            let index = Index::scan(root.path(), |_, _| {
                times += 1;
                if times == at {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            });
            assert!(index.is_none() && times == at);
        }
    }

    #[test]
    fn the_index_holds_what_is_shared_in_order() {
        let root = share();
        #[cfg(unix)]
        std::os::unix::fs::symlink("a.txt", root.path().join("link")).expect("writable");
        let index = index_of(root.path());
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
