//! Answers what clients ask about the shared folder, on a thread of its own: the loop never reads a directory.
//!
//! A list, or a folder's tree, always comes from a scan that began after the question came: whatever was in the folder
//! by then is in the answer. A tree's files are told of while that scan goes on, so that the first of them are on their way
//! before the last are found.
//!
//! The thread also scans when it starts, so that the disk has been asked before the first client is. That scan is broken off as soon
//! as there is a request: it began too early to answer a question.

use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Instant;

use super::early::{Early, Told};
use super::folder::SharedFolder;
use super::index::{Index, SharedEntry, is_shared_part};
use crate::helpers::{HelperEvent, Mailbox, Ticket};
use crate::limits::MAX_OFFERED_FILES;

/// From the beginning of a scan for requests to the next one pass so many times its duration: requests that come
/// meanwhile share a scan, and a large folder costs at most this fraction of the thread's time. Those that an operator asks for
/// make no request wait.
const SCAN_SHARE: u32 = 4;

/// Requests that may wait for the thread.
const MAX_WAITING_REQUESTS: usize = 4_096;

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
    Ask(Question),
    Rescan,
    Save { path: PathBuf, text: String },
}

/// What clients ask.
enum Question {
    List { ticket: Ticket, prefix: String },
    Resolve { ticket: Ticket, names: Vec<String> },
}

/// Asks the catalog's thread. Dropping it ends the thread after the request at hand.
#[derive(Debug)]
pub struct Catalog {
    requests: Option<mpsc::SyncSender<Request>>,
    /// There was a request.
    asked: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// The catalog has too much to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy;

impl Catalog {
    /// Starts the thread; it scans until it is asked something.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(folder: Arc<SharedFolder>, mailbox: Mailbox) -> io::Result<Self> {
        let (requests, receiver) = mpsc::sync_channel(MAX_WAITING_REQUESTS);
        let asked = Arc::new(AtomicBool::new(false));
        let worker = Worker {
            folder,
            mailbox,
            asked: Arc::clone(&asked),
            index: Arc::default(),
            scan_at: Instant::now(),
            waiting: Vec::new(),
        };
        let thread = std::thread::Builder::new()
            .name("columba-catalog".into())
            .spawn(move || worker.run(&receiver))?;
        Ok(Self {
            requests: Some(requests),
            asked,
            thread: Some(thread),
        })
    }

    /// Asks for the files whose names start with `prefix`.
    ///
    /// # Errors
    /// Too many requests wait.
    pub fn list(&self, ticket: Ticket, prefix: &str) -> Result<(), Busy> {
        self.send(Request::Ask(Question::List {
            ticket,
            prefix: prefix.to_owned(),
        }))
    }

    /// Looks up files and folders.
    ///
    /// # Errors
    /// Too many requests wait.
    pub fn resolve(&self, ticket: Ticket, names: &[&str]) -> Result<(), Busy> {
        self.send(Request::Ask(Question::Resolve {
            ticket,
            names: names.iter().map(|&name| name.to_owned()).collect(),
        }))
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

    /// Ends the thread when it has saved what it was told to; questions that wait get no answer. From now on it is busy.
    pub fn finish(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            // A panic was printed already.
            let _ = thread.join();
        }
    }

    fn send(&self, request: Request) -> Result<(), Busy> {
        // The request itself goes over the channel; a scan that looks a little too early looks again.
        self.asked.store(true, Ordering::Relaxed);
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
        self.finish();
    }
}

struct Worker {
    folder: Arc<SharedFolder>,
    mailbox: Mailbox,
    asked: Arc<AtomicBool>,
    index: Arc<Index>,
    /// Not before then is the folder scanned for a request.
    scan_at: Instant,
    /// Requests that the index may be too old for.
    waiting: Vec<Question>,
}

impl Worker {
    fn run(mut self, requests: &mpsc::Receiver<Request>) {
        self.scan_ahead();
        while let Some(request) = self.next_request(requests) {
            match request {
                Request::Ask(question) => self.take(question),
                Request::Rescan => self.scan(),
                Request::Save { path, text } => {
                    if let Err(error) = crate::names::write(&path, &text) {
                        tracing::error!(file = %path.display(), %error, "the state cannot be saved");
                    }
                }
            }
        }
    }

    /// The next request; `None` when there will be none. Meanwhile those that wait for a scan are answered.
    fn next_request(&mut self, requests: &mpsc::Receiver<Request>) -> Option<Request> {
        while !self.waiting.is_empty() {
            let wait = self.scan_at.saturating_duration_since(Instant::now());
            if wait.is_zero() || self.waiting.len() >= MAX_WAITING_REQUESTS {
                // All that wait came before this scan.
                self.scan();
                continue;
            }
            match requests.recv_timeout(wait) {
                Ok(request) => return Some(request),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return None,
            }
        }
        requests.recv().ok()
    }

    /// Answers at once if that needs no new scan.
    fn take(&mut self, question: Question) {
        match &question {
            Question::Resolve { ticket, names } if self.are_files(names) => {
                let (ticket, resolution) = (*ticket, self.resolve(names));
                self.mailbox
                    .post(HelperEvent::Resolved { ticket, resolution });
            }
            Question::Resolve { .. } | Question::List { .. } => self.waiting.push(question),
        }
    }

    /// Scans the folder until somebody asks.
    fn scan_ahead(&mut self) {
        let index = Index::scan(self.folder.path(), |_, _| {
            if self.asked.load(Ordering::Relaxed) {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        self.set_index(index);
    }

    fn set_index(&mut self, index: Option<Index>) {
        let Some(index) = index else {
            return;
        };
        tracing::debug!(
            files = index.len(),
            skipped = index.skipped,
            "scanned the shared folder"
        );
        self.index = Arc::new(index);
    }

    /// Scans the folder, and answers all who waited for that.
    fn scan(&mut self) {
        let start = Instant::now();
        let mut early: Vec<Early> = self.waiting.iter().map(|q| self.early(q)).collect();
        let index = Index::scan(self.folder.path(), |folder, found| {
            for asked in &mut early {
                asked.tell(folder, found, |event| self.mailbox.post(event));
            }
            ControlFlow::Continue(())
        });
        self.set_index(index);
        if !self.waiting.is_empty() {
            self.scan_at = start + start.elapsed() * SCAN_SHARE;
        }
        for (question, told) in std::mem::take(&mut self.waiting).into_iter().zip(early) {
            self.mailbox.post(match question {
                Question::List { ticket, prefix } => HelperEvent::Listed {
                    ticket,
                    prefix,
                    index: Arc::clone(&self.index),
                },
                Question::Resolve { ticket, names } => HelperEvent::Resolved {
                    ticket,
                    resolution: self.resolve_rest(&names, told.told()),
                },
            });
        }
    }

    /// What may be told of a question's trees during a scan. Those that were near the limit when they were last seen are
    /// told of as a whole or not at all.
    fn early(&self, question: &Question) -> Early {
        let trees = match question {
            Question::List { .. } => Vec::new(),
            Question::Resolve { names, .. } => names.iter().map(|name| prefix_of(name)).collect(),
        };
        let known: usize = trees
            .iter()
            .map(|tree| self.index.starting_with(tree).len())
            .sum();
        let (Question::List { ticket, .. } | Question::Resolve { ticket, .. }) = question;
        let trees = if known > MAX_OFFERED_FILES / 2 {
            Vec::new()
        } else {
            trees
        };
        Early::new(*ticket, trees, MAX_OFFERED_FILES)
    }

    /// Whether all of these are files, whatever the index says: no folder has to be looked through.
    fn are_files(&self, names: &[String]) -> bool {
        names.iter().all(|name| {
            let wanted = without_dots(name);
            self.index.find(wanted).is_some()
                || is_shared_name(wanted) && self.folder.open_file(wanted).is_ok()
        })
    }

    fn resolve(&self, names: &[String]) -> Resolution {
        self.resolve_rest(names, Told::Nothing)
    }

    /// Looks names up; the files of trees may have been told already.
    fn resolve_rest(&self, names: &[String], told: Told) -> Resolution {
        let mut resolution = Resolution {
            too_many: told == Told::TooMany,
            ..Resolution::default()
        };
        for name in names {
            let wanted = without_dots(name);
            if let Some(entry) = self.index.find(wanted) {
                self.offer_one(entry.name.clone(), &mut resolution);
                continue;
            }
            let tree = self.index.starting_with(&prefix_of(name));
            if tree.is_empty() && is_shared_name(wanted) {
                // It may be newer than the index: the index's own rules, applied to the one name.
                match self.folder.open_file(wanted) {
                    Ok((_, version)) => resolution.found.push(SharedEntry {
                        name: wanted.into(),
                        version,
                    }),
                    Err(_) => resolution.unknown.push(name.clone()),
                }
            } else if tree.is_empty() {
                resolution.unknown.push(name.clone());
            } else if told != Told::Nothing {
                // Every file of it was.
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

/// How the names of a tree's files start.
fn prefix_of(name: &str) -> String {
    match without_dots(name) {
        "" | "." => String::new(),
        folder => format!("{folder}/"),
    }
}

/// A name as the index has it.
fn without_dots(name: &str) -> &str {
    name.strip_prefix("./")
        .unwrap_or(name)
        .trim_end_matches('/')
}

fn is_shared_name(name: &str) -> bool {
    name.split('/').all(is_shared_part)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use mio::{Poll, Token, Waker};

    use super::*;
    use crate::files::index::tests::{names, share};
    use crate::slots::Slots;

    struct Rig {
        catalog: Catalog,
        poll: Poll,
        news: crate::helpers::News,
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

        fn next(&mut self) -> HelperEvent {
            loop {
                if let Some(news) = self.news.take() {
                    return news;
                }
                let mut events = mio::Events::with_capacity(4);
                self.poll.poll(&mut events, None).expect("the waker wakes");
                self.news.look();
            }
        }

        fn resolve(&mut self, names: &[&str]) -> Resolution {
            let ticket = ticket(7);
            self.catalog.resolve(ticket, names).expect("idle");
            let (mut early, _, mut resolution) = self.answer(ticket);
            early.append(&mut resolution.found);
            resolution.found = early;
            resolution
        }

        /// What was told during the scan, in how many pieces, and what at its end.
        fn answer(&mut self, ticket: Ticket) -> (Vec<SharedEntry>, usize, Resolution) {
            let (mut early, mut pieces) = (Vec::new(), 0);
            loop {
                let news = self.next();
                if let HelperEvent::Found { ticket: of, found } = news {
                    assert_eq!(of, ticket);
                    early.extend(found);
                    pieces += 1;
                    continue;
                }
                let HelperEvent::Resolved {
                    ticket: of,
                    resolution,
                } = news
                else {
                    panic!("{news:?}");
                };
                assert_eq!(of, ticket);
                return (early, pieces, resolution);
            }
        }

        fn ask_for_list(&mut self, request: u32) {
            self.catalog.list(ticket(request), "").expect("idle");
        }

        /// The next list: for which request, and how many files.
        fn next_list(&mut self) -> (u32, Arc<Index>) {
            let news = self.next();
            let HelperEvent::Listed { ticket, index, .. } = news else {
                panic!("{news:?}");
            };
            (ticket.request, index)
        }
    }

    fn ticket(request: u32) -> Ticket {
        let client = Slots::default().insert_with(|_| ());
        Ticket { client, request }
    }

    #[test]
    fn whatever_was_written_before_the_question_is_in_the_answer() {
        let root = share();
        let mut rig = Rig::new(root.path());
        for number in 0..200_u32 {
            let folder = format!("made-{number}");
            std::fs::create_dir(root.path().join(&folder)).expect("writable");
            std::fs::write(root.path().join(&folder).join("f"), "x").expect("writable");
            if number % 2 == 0 {
                rig.ask_for_list(number);
                let (request, index) = rig.next_list();
                assert_eq!(request, number);
                assert_eq!(index.len(), 5 + number as usize);
            } else {
                assert_eq!(rig.resolve(&[&folder]).found.len(), 1, "{folder}");
            }
        }
    }

    #[test]
    fn questions_that_come_together_share_a_scan() {
        let root = share();
        let mut rig = Rig::new(root.path());
        for request in 0..1_000 {
            rig.ask_for_list(request);
        }
        let mut scans: Vec<Arc<Index>> = Vec::new();
        for expected in 0..1_000 {
            let (request, index) = rig.next_list();
            assert_eq!((request, index.len()), (expected, 4));
            if scans.last().is_none_or(|last| !Arc::ptr_eq(last, &index)) {
                scans.push(index);
            }
        }
        assert!(scans.len() < 1_000, "{} scans", scans.len());
    }

    #[test]
    fn names_mean_files_or_trees() {
        let root = share();
        let mut rig = Rig::new(root.path());
        let resolution = rig.resolve(&["a.txt", "docs/", "nothing", "../a.txt", ".secret"]);
        let mut found = names(&resolution.found);
        found.sort_unstable();
        assert_eq!(found, ["a.txt", "docs/b.txt", "docs/deep/c"]);
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

    #[test]
    fn a_tree_is_told_of_while_it_is_scanned_and_each_file_once() {
        let root = share();
        for number in 0..2_000 {
            let name = format!("docs/deep/{number}");
            std::fs::write(root.path().join(name), "x").expect("writable");
        }
        let mut rig = Rig::new(root.path());
        // Trees within trees, and a name that is no tree.
        let asked = ["docs", "docs/deep", "a.txt"];
        rig.catalog.resolve(ticket(7), &asked).expect("idle");
        let (mut found, pieces, resolution) = rig.answer(ticket(7));
        assert!(resolution.unknown.is_empty() && !resolution.too_many);
        assert!(pieces > 2 && names(&resolution.found) == ["a.txt"]);
        found.extend(resolution.found);
        let mut found = names(&found);
        found.sort_unstable();
        let unique: std::collections::BTreeSet<&str> = found.iter().copied().collect();
        assert_eq!((found.len(), unique.len()), (2_003, 2_003));
        assert!(!found.contains(&"docs.txt"));
    }
}
