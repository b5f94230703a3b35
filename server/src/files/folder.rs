//! Opens files below the shared folder, and nothing else, whatever the name says.

use std::fs::File;
use std::io;
use std::path::{Component, Path, PathBuf};

use super::version::FileVersion;

/// How files are opened: without waiting for a FIFO's other end.
#[cfg(all(target_os = "linux", not(feature = "portable-io")))]
pub(super) const READ: rustix::fs::OFlags = rustix::fs::OFlags::RDONLY
    .union(rustix::fs::OFlags::CLOEXEC)
    .union(rustix::fs::OFlags::NONBLOCK)
    .union(rustix::fs::OFlags::NOCTTY);

/// A folder whose files may be opened by name.
#[derive(Debug)]
pub struct SharedFolder {
    path: PathBuf,
    #[cfg(all(target_os = "linux", not(feature = "portable-io")))]
    handle: File,
    portable: portable::Folder,
}

impl SharedFolder {
    /// Opens the folder itself.
    ///
    /// # Errors
    /// It does not exist, is no folder, or cannot be read.
    pub fn open(path: &Path) -> io::Result<Self> {
        let path = path.canonicalize()?;
        if !path.metadata()?.is_dir() {
            return Err(io::Error::new(
                io::ErrorKind::NotADirectory,
                "it is no folder",
            ));
        }
        Ok(Self {
            #[cfg(all(target_os = "linux", not(feature = "portable-io")))]
            handle: File::open(&path)?,
            portable: portable::Folder::open(&path)?,
            path,
        })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a regular file for reading. Never waits for a FIFO's other end, never follows a symlink.
    ///
    /// # Errors
    /// The name leads out of the folder or over a symlink, or to no regular file; or the file cannot be opened.
    pub fn open_file(&self, name: &str) -> io::Result<(File, FileVersion)> {
        judge_name(name)?;
        let file = self.open_confined(name)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "it is no regular file",
            ));
        }
        Ok((file, FileVersion::of(&metadata)))
    }

    /// A folder below, `""` for this one, to look files up in.
    ///
    /// # Errors
    /// The name leads out of the folder or over a symlink, or to no folder; or the system is too old for this.
    #[cfg(all(target_os = "linux", not(feature = "portable-io")))]
    pub(super) fn enter(&self, name: &str) -> io::Result<rustix::fd::OwnedFd> {
        use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
        let name = if name.is_empty() { "." } else { name };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        Ok(openat2(&self.handle, name, flags, Mode::empty(), resolve)?)
    }

    #[cfg(all(target_os = "linux", not(feature = "portable-io")))]
    fn open_confined(&self, name: &str) -> io::Result<File> {
        use rustix::fs::{Mode, ResolveFlags, openat2};
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        match openat2(&self.handle, name, READ, Mode::empty(), resolve) {
            Ok(opened) => Ok(opened.into()),
            // A kernel before 5.6, or a sandbox that does not know the call.
            Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM) => {
                self.portable.open_confined(name)
            }
            Err(error) => Err(error.into()),
        }
    }

    #[cfg(not(all(target_os = "linux", not(feature = "portable-io"))))]
    fn open_confined(&self, name: &str) -> io::Result<File> {
        self.portable.open_confined(name)
    }
}

/// Refuses names that no index ever holds. The opening itself is confined too; this gives clear reasons.
fn judge_name(name: &str) -> io::Result<()> {
    let plain = !name.is_empty()
        && !name.contains('\0')
        && Path::new(name)
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
    if plain {
        Ok(())
    } else {
        Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is no name of a shared file",
        ))
    }
}

/// The same with means that every system has.
mod portable {
    use std::fs::File;
    use std::io;
    use std::path::Path;

    use cap_std::ambient_authority;
    use cap_std::fs::Dir;

    /// Confined by cap-std. Symlinks are looked for beforehand: one made in between still leads nowhere outside.
    #[derive(Debug)]
    pub(super) struct Folder(Dir);

    impl Folder {
        pub(super) fn open(path: &Path) -> io::Result<Self> {
            Dir::open_ambient_dir(path, ambient_authority()).map(Self)
        }

        pub(super) fn open_confined(&self, name: &str) -> io::Result<File> {
            let mut kind = None;
            let parts: Vec<_> = Path::new(name)
                .ancestors()
                .filter(|part| !part.as_os_str().is_empty())
                .collect();
            for part in parts.into_iter().rev() {
                let metadata = self.0.symlink_metadata(part)?;
                if metadata.is_symlink() {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidInput,
                        "a symlink is on the way",
                    ));
                }
                kind = Some(metadata.is_file());
            }
            // A FIFO would make the opening wait.
            if kind != Some(true) {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "it is no regular file",
                ));
            }
            self.0.open(name).map(cap_std::fs::File::into_std)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn shared() -> (tempfile::TempDir, SharedFolder) {
        let outside = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(outside.path().join("secret"), b"secret").expect("writable");
        let root = outside.path().join("share");
        std::fs::create_dir_all(root.join("sub")).expect("writable");
        std::fs::write(root.join("sub/a.txt"), b"hello").expect("writable");
        let folder = SharedFolder::open(&root).expect("it is a folder");
        (outside, folder)
    }

    fn both(folder: &SharedFolder, name: &str) -> [io::Result<File>; 2] {
        [
            folder.open_file(name).map(|(file, _)| file),
            folder.portable.open_confined(name),
        ]
    }

    #[test]
    fn files_below_are_opened() {
        let (_outside, folder) = shared();
        for file in both(&folder, "sub/a.txt") {
            let mut text = String::new();
            file.expect("it is shared")
                .read_to_string(&mut text)
                .expect("readable");
            assert_eq!(text, "hello");
        }
    }

    #[test]
    fn nothing_else_is() {
        let (outside, folder) = shared();
        let absolute = outside.path().join("secret");
        let absolute = absolute.to_str().expect("UTF-8");
        for name in [
            "",
            ".",
            "..",
            "../secret",
            "sub/../../secret",
            "sub",
            "sub/",
            "missing",
            "a\0b",
            absolute,
        ] {
            assert!(folder.open_file(name).is_err(), "{name:?}");
        }
        for file in both(&folder, "sub/../../secret") {
            assert!(file.is_err());
        }
    }

    #[cfg(unix)]
    #[test]
    fn no_symlink_is_followed_and_no_fifo_waited_for() {
        use std::os::unix::fs::symlink;
        let (outside, folder) = shared();
        let root = folder.path();
        symlink(outside.path().join("secret"), root.join("out")).expect("writable");
        symlink("sub/a.txt", root.join("in")).expect("writable");
        symlink("sub", root.join("way")).expect("writable");
        symlink("/proc/self/environ", root.join("proc")).expect("writable");
        rustix::fs::mkfifoat(rustix::fs::CWD, root.join("fifo"), rustix::fs::Mode::RUSR)
            .expect("writable");
        for name in ["out", "in", "way/a.txt", "proc", "fifo"] {
            for file in both(&folder, name) {
                assert!(file.is_err(), "{name}");
            }
        }
    }
}
