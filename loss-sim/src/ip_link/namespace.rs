//! Network namespaces with names, where iproute2 looks for them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::panic;
use std::path::{Path, PathBuf};
use std::thread;

use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, test_kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tracing::{debug, info, warn};

use super::kernel;

/// Where namespaces have their names.
const DIRECTORY: &str = "/run/netns";
/// What the names of a link's namespaces begin with; the process id of the link comes next.
const PREFIX: &str = "columba-";
/// The calling thread's own network namespace.
const OWN: &str = "/proc/thread-self/ns/net";

/// A network namespace that has a name as long as this lives.
#[derive(Debug)]
pub(super) struct Namespace {
    name: String,
    path: PathBuf,
    file: File,
}

impl Namespace {
    /// Makes a namespace with nothing in it but a loopback device, which is off.
    pub(super) fn create(name: String) -> io::Result<Self> {
        let path = Path::new(DIRECTORY).join(&name);
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o444)
            .open(&path)?;
        let made = on_a_thread(|| {
            kernel::unshare_network()?;
            kernel::bind_mount(Path::new(OWN), &path)
        });
        match made.and_then(|()| File::open(&path)) {
            Ok(file) => Ok(Self { name, path, file }),
            Err(error) => {
                remove(&path);
                Err(error)
            }
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Runs something on a thread inside the namespace: sockets it opens belong there.
    pub(super) fn run_inside<T: Send>(&self, run: impl FnOnce() -> T + Send) -> io::Result<T> {
        on_a_thread(|| {
            enter(&self.file)?;
            Ok(run())
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

/// Moves the calling thread into a namespace.
fn enter(namespace: &File) -> io::Result<()> {
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
    Ok(())
}

/// Moves the calling thread into the namespace of this name.
pub(super) fn enter_named(name: &str) -> io::Result<()> {
    enter(&File::open(Path::new(DIRECTORY).join(name))?)
}

/// Runs something on a thread of its own, whose namespace may be changed.
fn on_a_thread<T: Send>(run: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    let joined = thread::scope(|scope| scope.spawn(run).join());
    joined.unwrap_or_else(|cause| panic::resume_unwind(cause))
}

/// Takes a name away; the namespace goes with the last that uses it.
fn remove(path: &Path) {
    // Not a mount if making it went wrong half-way.
    if let Err(error) = kernel::unmount(path) {
        debug!("unmount {}: {error}", path.display());
    }
    match fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => warn!("cannot remove {}: {error}", path.display()),
    }
}

/// Makes the directory of names, in the way that iproute2 does: namespaces named later have to appear in
/// every mount namespace, and a mount over it must not hide those named before.
pub(super) fn prepare_directory() -> io::Result<()> {
    let directory = Path::new(DIRECTORY);
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(directory)?;
    // As iproute2 does too, so that no two make the mount.
    let open = File::open(directory)?;
    flock(&open, FlockOperation::LockExclusive)?;
    match kernel::share_mount(directory) {
        // It is no mount point yet.
        Err(error) if error.kind() == ErrorKind::InvalidInput => {
            kernel::bind_mount(directory, directory)?;
            kernel::share_mount(directory)
        }
        result => result,
    }
}

/// The two names of the link with this number of this process.
pub(super) fn names(number: u32) -> [String; 2] {
    let pid = std::process::id();
    let number = if number == 1 {
        String::new()
    } else {
        format!("-{number}")
    };
    ["left", "right"].map(|end| format!("{PREFIX}{pid}{number}-{end}"))
}

/// The process that a name belongs to, if it is one of ours.
fn owner(name: &str) -> Option<Pid> {
    let (pid, _) = name.strip_prefix(PREFIX)?.split_once('-')?;
    Pid::from_raw(pid.parse().ok()?)
}

/// Whether the process lives. One that may not be signalled lives too.
fn is_alive(process: Pid) -> bool {
    test_kill_process(process) != Err(rustix::io::Errno::SRCH)
}

/// The names of all namespaces of links, and whether their link lives.
fn list() -> io::Result<Vec<(String, bool)>> {
    let entries = match fs::read_dir(DIRECTORY) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    Ok(names
        .filter_map(|name| {
            let owner = owner(&name)?;
            Some((name, is_alive(owner)))
        })
        .collect())
}

/// Removes the namespaces of links that had no chance to do it themselves.
pub(super) fn remove_leftovers() -> io::Result<()> {
    for (name, is_alive) in list()? {
        if !is_alive {
            info!("removing {name}, left over from a link that was killed");
            remove(&Path::new(DIRECTORY).join(name));
        }
    }
    Ok(())
}

/// The names of namespaces, of links that live, which end in `-left` or `-right`.
pub(super) fn living(end: &str) -> io::Result<Vec<String>> {
    let of_this_end = |name: &String| {
        name.strip_suffix(end)
            .is_some_and(|rest| rest.ends_with('-'))
    };
    let living = list()?.into_iter().filter(|(_, is_alive)| *is_alive);
    Ok(living.map(|(name, _)| name).filter(of_this_end).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_their_process() {
        let own = i32::try_from(std::process::id()).unwrap();
        for number in [1, 2, 17] {
            for name in names(number) {
                assert_eq!(
                    owner(&name).map(Pid::as_raw_nonzero).map(i32::from),
                    Some(own)
                );
            }
        }
        for other in [
            "columba-left",
            "columba-x-left",
            "columba-1",
            "colleague-1-left",
            "columba-0-left",
        ] {
            assert_eq!(owner(other), None, "{other}");
        }
    }

    #[test]
    fn this_process_is_alive() {
        assert!(is_alive(rustix::process::getpid()));
    }
}
