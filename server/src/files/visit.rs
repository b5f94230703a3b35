//! Looks at many shared files, or opens them, one after the other: those of one folder without going through the folders
//! above it each time.

use std::fs::File;
use std::io;

#[cfg(all(target_os = "linux", not(feature = "portable-io")))]
use super::folder::READ;
use super::folder::SharedFolder;
use super::version::FileVersion;

/// Opens files, or asks for their versions without that; those of one folder, after each other, cost one call of the
/// system each.
#[derive(Debug)]
pub struct Visit<'a> {
    folder: &'a SharedFolder,
    /// The folder entered last, by name.
    #[cfg(all(target_os = "linux", not(feature = "portable-io")))]
    entered: Option<(String, rustix::fd::OwnedFd)>,
}

#[cfg(all(target_os = "linux", not(feature = "portable-io")))]
impl<'a> Visit<'a> {
    /// Begins a visit; it should not last: a folder that was entered may be moved away.
    #[must_use]
    pub const fn new(folder: &'a SharedFolder) -> Self {
        Self {
            folder,
            entered: None,
        }
    }

    /// The version of a regular file, if that can be told without opening it. No symlink is followed.
    pub fn version_of(&mut self, name: &str) -> Option<FileVersion> {
        use rustix::fs::{AtFlags, statat};
        let (handle, own) = self.enter(name)?;
        let found = statat(handle, own, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        FileVersion::of_stat(&found)
    }

    /// Opens a file for reading. Whether it is a regular one is for the caller to find out.
    ///
    /// # Errors
    /// As [`SharedFolder::open_file`].
    pub fn open_file(&mut self, name: &str) -> io::Result<File> {
        use rustix::fs::{Mode, OFlags, openat};
        // One part of a path leads nowhere else, if it is no symlink: nothing is left for `openat2` to confine.
        if let Some((handle, own)) = self.enter(name)
            && let Ok(file) = openat(handle, own, READ | OFlags::NOFOLLOW, Mode::empty())
        {
            return Ok(file.into());
        }
        // The usual way may still be open, and says what is wrong.
        self.folder.open_file(name).map(|(file, _)| file)
    }

    /// The folder that a file is in, and what it is called there.
    fn enter<'n>(&mut self, name: &'n str) -> Option<(&rustix::fd::OwnedFd, &'n str)> {
        let (above, own) = name.rsplit_once('/').unwrap_or(("", name));
        if matches!(own, "" | "." | "..") {
            return None;
        }
        if self.entered.as_ref().is_none_or(|(name, _)| name != above) {
            let handle = self.folder.enter(above).ok()?;
            self.entered = Some((above.to_owned(), handle));
        }
        self.entered.as_ref().map(|(_, handle)| (handle, own))
    }
}

#[cfg(not(all(target_os = "linux", not(feature = "portable-io"))))]
impl<'a> Visit<'a> {
    /// Begins a visit.
    #[must_use]
    pub const fn new(folder: &'a SharedFolder) -> Self {
        Self { folder }
    }

    /// Opens a file for reading.
    ///
    /// # Errors
    /// As [`SharedFolder::open_file`].
    pub fn open_file(&mut self, name: &str) -> io::Result<File> {
        self.folder.open_file(name).map(|(file, _)| file)
    }

    /// Cannot be told: the file is opened.
    #[must_use]
    pub fn version_of(&mut self, _name: &str) -> Option<FileVersion> {
        None
    }
}

#[cfg(all(test, target_os = "linux", not(feature = "portable-io")))]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn the_version_is_the_one_of_the_opened_file_until_it_changes() {
        let root = tempfile::tempdir().expect("a temporary folder");
        std::fs::create_dir_all(root.path().join("a/b")).expect("writable");
        for name in ["one", "a/two", "a/b/three", "a/b/four"] {
            std::fs::write(root.path().join(name), name).expect("writable");
        }
        let folder = SharedFolder::open(root.path()).expect("a folder");
        let mut visit = Visit::new(&folder);
        for name in ["one", "a/b/three", "a/b/four", "a/two", "one"] {
            let (_, version) = folder.open_file(name).expect("shared");
            assert_eq!(visit.version_of(name), Some(version), "{name}");
            let opened = visit.open_file(name).expect("shared");
            assert_eq!(FileVersion::of_file(&opened).ok(), Some(version), "{name}");
        }
        let before = visit.version_of("a/two");
        std::fs::write(root.path().join("a/two"), "longer than it was").expect("writable");
        assert_ne!(visit.version_of("a/two"), before);
    }

    #[test]
    fn what_cannot_be_opened_has_no_version() {
        let outside = tempfile::tempdir().expect("a temporary folder");
        let root = outside.path().join("share");
        std::fs::create_dir_all(root.join("sub")).expect("writable");
        std::fs::write(outside.path().join("secret"), "x").expect("writable");
        std::fs::write(root.join("sub/a"), "x").expect("writable");
        symlink("sub", root.join("way")).expect("writable");
        symlink("sub/a", root.join("link")).expect("writable");
        let folder = SharedFolder::open(&root).expect("a folder");
        let mut visit = Visit::new(&folder);
        for name in [
            "",
            ".",
            "..",
            "sub",
            "../secret",
            "way/a",
            "link",
            "missing",
        ] {
            assert_eq!(visit.version_of(name), None, "{name:?}");
            let opened = visit.open_file(name);
            let version = opened.and_then(|file| FileVersion::of_file(&file));
            assert!(version.is_err(), "{name:?}");
        }
    }
}
