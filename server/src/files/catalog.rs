//! The index of the shared folder, kept by a thread of its own: the loop never reads a directory.
//!
//! Shared are regular files below the folder whose path is UTF-8. Left out are symlinks and other special files,
//! whatever is hidden (a part of the path starts with a dot), and unfinished downloads (`*.part`).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use columba_core::control::limits::MAX_FILE_NAME_BYTES;

use super::folder::SharedFolder;
use super::version::FileVersion;
use crate::helpers::{HelperEvent, Mailbox, Ticket};
use crate::limits::{MAX_FOLDER_DEPTH, MAX_OFFERED_FILES, MAX_SHARED_FILES};

/// A scan is repeated for a request when so many times its own duration has passed since: a large folder costs at
/// most this fraction of the thread's time, a small one is always fresh.
const SCAN_SHARE: u32 = 10;

/// Requests that may wait for the thread.
const MAX_WAITING_REQUESTS: usize = 4_096;

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
fn is_shared_part(part: &str) -> bool {
    !part.starts_with('.') && !part.ends_with(".part")
}

/// What names turned out to mean.
#[derive(Debug, Default)]
pub struct Resolution {
    /// Files to offer.
    pub found: Vec<SharedEntry>,
    /// Names of nothing that is shared.
    pub unknown: Vec<String>,
    /// Names that are shared but cannot be opened, and why.
    pub unreadable: Vec<(String, String)>,
    /// More files were asked for than may be offered at once.
    pub too_many: bool,
}

enum Request {
    List { ticket: Ticket, prefix: String },
    Resolve { ticket: Ticket, names: Vec<String> },
    Rescan,
    Save { path: PathBuf, text: String },
}

/// Asks the catalog's thread. Dropping it ends the thread after the request at hand.
#[derive(Debug)]
pub struct Catalog {
    requests: Option<mpsc::SyncSender<Request>>,
    thread: Option<JoinHandle<()>>,
}

/// The catalog has too much to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy;

impl Catalog {
    /// Starts the thread; it scans at once.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(folder: Arc<SharedFolder>, mailbox: Mailbox) -> io::Result<Self> {
        let (requests, receiver) = mpsc::sync_channel(MAX_WAITING_REQUESTS);
        let worker = Worker {
            folder,
            mailbox,
            index: Arc::default(),
            scanned: None,
        };
        let thread = std::thread::Builder::new()
            .name("columba-catalog".into())
            .spawn(move || worker.run(&receiver))?;
        Ok(Self {
            requests: Some(requests),
            thread: Some(thread),
        })
    }

    /// Asks for the files whose names start with `prefix`.
    ///
    /// # Errors
    /// Too many requests wait.
    pub fn list(&self, ticket: Ticket, prefix: &str) -> Result<(), Busy> {
        self.send(Request::List {
            ticket,
            prefix: prefix.to_owned(),
        })
    }

    /// Looks up files and folders.
    ///
    /// # Errors
    /// Too many requests wait.
    pub fn resolve(&self, ticket: Ticket, names: &[&str]) -> Result<(), Busy> {
        self.send(Request::Resolve {
            ticket,
            names: names.iter().map(|&name| name.to_owned()).collect(),
        })
    }

    /// Scans anew.
    ///
    /// # Errors
    /// Too many requests wait.
    pub fn rescan(&self) -> Result<(), Busy> {
        self.send(Request::Rescan)
    }

    /// Writes a state file, whole or not at all.
    ///
    /// # Errors
    /// Too many requests wait.
    pub fn save(&self, path: PathBuf, text: String) -> Result<(), Busy> {
        self.send(Request::Save { path, text })
    }

    fn send(&self, request: Request) -> Result<(), Busy> {
        let sent = self
            .requests
            .as_ref()
            .map(|requests| requests.try_send(request));
        if matches!(sent, Some(Ok(()))) {
            Ok(())
        } else {
            Err(Busy)
        }
    }
}

impl Drop for Catalog {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            // A panic was printed already.
            let _ = thread.join();
        }
    }
}

struct Worker {
    folder: Arc<SharedFolder>,
    mailbox: Mailbox,
    index: Arc<Index>,
    /// When the last scan ended and how long it took.
    scanned: Option<(Instant, Duration)>,
}

impl Worker {
    fn run(mut self, requests: &mpsc::Receiver<Request>) {
        self.scan();
        while let Ok(request) = requests.recv() {
            match request {
                Request::List { ticket, prefix } => {
                    self.refresh();
                    let index = Arc::clone(&self.index);
                    self.mailbox.post(HelperEvent::Listed {
                        ticket,
                        prefix,
                        index,
                    });
                }
                Request::Resolve { ticket, names } => {
                    let resolution = self.resolve(names);
                    self.mailbox
                        .post(HelperEvent::Resolved { ticket, resolution });
                }
                Request::Rescan => self.scan(),
                Request::Save { path, text } => {
                    if let Err(error) = crate::names::write(&path, &text) {
                        tracing::error!(file = %path.display(), %error, "the state cannot be saved");
                    }
                }
            }
        }
    }

    fn scan(&mut self) {
        let start = Instant::now();
        self.index = Arc::new(Index::scan(self.folder.path()));
        self.scanned = Some((Instant::now(), start.elapsed()));
        let files = self.index.entries.len();
        tracing::debug!(
            files,
            skipped = self.index.skipped,
            "scanned the shared folder"
        );
    }

    fn refresh(&mut self) {
        if self
            .scanned
            .is_none_or(|(at, took)| at.elapsed() >= took * SCAN_SHARE)
        {
            self.scan();
        }
    }

    fn resolve(&mut self, names: Vec<String>) -> Resolution {
        let mut resolution = Resolution::default();
        let mut refreshed = false;
        for name in names {
            let wanted = name
                .strip_prefix("./")
                .unwrap_or(&name)
                .trim_end_matches('/');
            if self.index.find(wanted).is_none() && !refreshed {
                self.refresh();
                refreshed = true;
            }
            if let Some(entry) = self.index.find(wanted) {
                self.offer_one(entry.name.clone(), &mut resolution);
                continue;
            }
            let prefix = if wanted == "." || wanted.is_empty() {
                String::new()
            } else {
                format!("{wanted}/")
            };
            let tree = self.index.starting_with(&prefix);
            if tree.is_empty() && wanted.split('/').all(is_shared_part) {
                // It may be newer than the index: the index's own rules, applied to the one name.
                match self.folder.open_file(wanted) {
                    Ok((_, version)) => resolution.found.push(SharedEntry {
                        name: wanted.into(),
                        version,
                    }),
                    Err(_) => resolution.unknown.push(name),
                }
            } else if tree.is_empty() {
                resolution.unknown.push(name);
            } else if resolution.found.len() + tree.len() > MAX_OFFERED_FILES {
                resolution.too_many = true;
            } else {
                resolution.found.extend_from_slice(tree);
            }
        }
        resolution
    }

    /// Offers a file as it is now, which may be newer than the index.
    fn offer_one(&self, name: Arc<str>, resolution: &mut Resolution) {
        match self.folder.open_file(&name) {
            Ok((_, version)) => resolution.found.push(SharedEntry { name, version }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                resolution.unknown.push((*name).to_owned());
            }
            Err(error) => resolution
                .unreadable
                .push(((*name).to_owned(), error.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use mio::{Poll, Token, Waker};

    use super::*;
    use crate::slots::Slots;

    fn share() -> tempfile::TempDir {
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

    fn names(entries: &[SharedEntry]) -> Vec<&str> {
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

    struct Rig {
        catalog: Catalog,
        poll: Poll,
        news: mpsc::Receiver<HelperEvent>,
    }

    impl Rig {
        fn new(root: &Path) -> Self {
            let poll = Poll::new().expect("a poll");
            let waker = Arc::new(Waker::new(poll.registry(), Token(0)).expect("a waker"));
            let (mailbox, news) = Mailbox::new(waker);
            let folder = Arc::new(SharedFolder::open(root).expect("a folder"));
            Self {
                catalog: Catalog::start(folder, mailbox).expect("a thread"),
                poll,
                news,
            }
        }

        fn resolve(&mut self, names: &[&str]) -> Resolution {
            let client = Slots::default().insert_with(|_| ());
            self.catalog
                .resolve(Ticket { client, request: 7 }, names)
                .expect("idle");
            let mut events = mio::Events::with_capacity(4);
            self.poll.poll(&mut events, None).expect("the waker wakes");
            let news = self.news.recv().expect("the thread lives");
            let HelperEvent::Resolved { ticket, resolution } = news else {
                panic!("{news:?}");
            };
            assert_eq!(ticket, Ticket { client, request: 7 });
            resolution
        }
    }

    #[test]
    fn names_mean_files_or_trees() {
        let root = share();
        let mut rig = Rig::new(root.path());
        let resolution = rig.resolve(&["a.txt", "docs/", "nothing", "../a.txt", ".secret"]);
        assert_eq!(
            names(&resolution.found),
            ["a.txt", "docs/b.txt", "docs/deep/c"]
        );
        assert_eq!(resolution.unknown, ["nothing", "../a.txt", ".secret"]);
        assert_eq!(rig.resolve(&["."]).found.len(), 4);
    }

    #[test]
    fn a_file_is_offered_as_it_is_now() {
        let root = share();
        let mut rig = Rig::new(root.path());
        rig.resolve(&["a.txt"]);
        std::fs::write(root.path().join("a.txt"), "longer than before").expect("writable");
        std::fs::remove_file(root.path().join("docs.txt")).expect("writable");
        std::fs::write(root.path().join("new"), "x").expect("writable");
        let resolution = rig.resolve(&["a.txt", "docs.txt", "new", ".new"]);
        assert_eq!(resolution.found[0].version.size, 18);
        assert_eq!(resolution.unknown, ["docs.txt", ".new"]);
        assert_eq!(names(&resolution.found), ["a.txt", "new"]);
    }
}
