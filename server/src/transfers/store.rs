//! The files behind the streams: opened, hashed and read ahead by helper threads, handed to the core as slices.
//!
//! A file goes through `Closed → Opening → Open`, or ends as `Failed`. It is opened when a stream first wants its
//! bytes, as long as its clients have not too much open already; then it waits its turn. `serve` hands out its bytes.

mod serve;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use columba_core::error::StreamEnd;
use columba_core::server::SourceKey;
use columba_core::units::Timestamp;
use foldhash::fast::RandomState;
use mio::Token;

use crate::files::content::{self, Check, Content, Opened, SMALL_FILE_BYTES, Wanted};
use crate::files::folder::SharedFolder;
use crate::files::hashes::{HashCache, HashJob, SegmentHash, segments};
use crate::files::index::SharedEntry;
use crate::files::kept::Kept;
use crate::files::slabs::Slabs;
use crate::files::version::FileVersion;
use crate::files::workers::{Priority, Workers};
use crate::helpers::{HelperEvent, Mailbox};
use crate::limits::HASH_SETTLED;
use crate::slots::{SlotId, Slots};
use crate::transfers::load::Load;

/// A large file stays open and mapped for so long after its last stream, and so many of them: others often want the
/// same file, and mapping its pages anew costs as much as a seventh of sending them.
const IDLE_LIFETIME: Duration = Duration::from_secs(20);
const MAX_IDLE_FILES: usize = 16;

/// An offer shows a file as it is after the client asked for it. For so long after it, the bytes that this very version
/// is known to have are sent without another look: they are what the client would have read at the time of the offer.
const AS_OFFERED_FOR: Duration = Duration::from_secs(1);

/// Files that a helper opens in one go.
const OPENED_TOGETHER: usize = 64;

/// A file that streams send, shared by all who fetch this version of it.
#[derive(Debug)]
struct Stored {
    entry: SharedEntry,
    state: State,
    /// Streams per association.
    users: Vec<(u32, u32)>,
    /// Values of its first segments.
    hashes: Vec<SegmentHash>,
    opened_at: SystemTime,
    /// When it was offered last, if that is known.
    offered_at: Option<Timestamp>,
    /// A helper sees to it that further segments are in memory.
    reading: bool,
    /// When the stream was started that has not seen a byte yet.
    started: Option<Timestamp>,
    /// When nobody wants it any more: when it will be closed.
    closes_at: Option<Timestamp>,
}

#[derive(Debug)]
enum State {
    /// Nobody asked for its bytes yet.
    Closed,
    /// Asked for, but its clients have too much open.
    Waiting,
    Opening,
    Open(Content),
    Failed(StreamEnd),
}

/// All files that streams send.
pub(crate) struct FileStore {
    files: Slots<Stored>,
    by_version: HashMap<FileVersion, SlotId, RandomState>,
    /// Files that nobody wants, the one to be closed first in front.
    idle: VecDeque<(Timestamp, SlotId)>,
    loads: HashMap<u32, Load, RandomState>,
    /// Files that an association wants and has no room for.
    waiting: HashMap<u32, VecDeque<SlotId>, RandomState>,
    cache: HashCache,
    kept: Kept,
    /// Memory for small files.
    slabs: Arc<Slabs>,
    /// Some was used, and not given back yet.
    has_slabs: bool,
    /// Files that a helper is to open.
    unopened: Vec<Wanted>,
    folder: Arc<SharedFolder>,
    workers: Workers,
    mailbox: Mailbox,
    /// The loop's time, set once a turn.
    now: Timestamp,
    /// Spans from a stream's start to its first byte, for the histogram.
    pub(crate) first_bytes: Vec<Duration>,
}

impl std::fmt::Debug for FileStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileStore")
            .field("files", &self.files.len())
            .finish_non_exhaustive()
    }
}

/// Associations to wake because a file of theirs made progress.
pub(crate) type Woken = Vec<(u32, SourceKey)>;

impl FileStore {
    pub(crate) fn new(folder: Arc<SharedFolder>, workers: Workers, mailbox: Mailbox) -> Self {
        Self {
            files: Slots::default(),
            by_version: HashMap::default(),
            idle: VecDeque::new(),
            loads: HashMap::default(),
            waiting: HashMap::default(),
            cache: HashCache::default(),
            kept: Kept::default(),
            slabs: Arc::default(),
            has_slabs: false,
            unopened: Vec::new(),
            folder,
            workers,
            mailbox,
            now: Timestamp::ZERO,
            first_bytes: Vec::new(),
        }
    }

    /// Sets the time, and closes what is idle for too long.
    pub(crate) fn set_now(&mut self, now: Timestamp) {
        self.now = now;
        while self.next_close().is_some_and(|at| at <= now) {
            self.close_oldest();
        }
        self.kept.expire(now);
        if self.has_slabs && self.kept.is_empty() && self.files.is_empty() {
            self.has_slabs = false;
            self.slabs.trim();
        }
    }

    /// When a file is to be closed or forgotten that nobody wants.
    pub(crate) fn next_expiry(&self) -> Option<Timestamp> {
        let close = self.next_close().into_iter();
        close.chain(self.kept.next_expiry()).min()
    }

    fn next_close(&self) -> Option<Timestamp> {
        self.idle.front().map(|&(at, _)| at)
    }

    fn close_oldest(&mut self) {
        if let Some((at, id)) = self.idle.pop_front() {
            let same = |stored: &Stored| stored.closes_at == Some(at);
            // Wanted again meanwhile, or again and given up again.
            if self.files.get(id).is_some_and(same) {
                self.close(id);
            }
        }
    }

    fn close(&mut self, id: SlotId) {
        if let Some(stored) = self.files.remove(id) {
            self.by_version.remove(&stored.entry.version);
        }
    }

    /// Nobody wants it now.
    fn retire(&mut self, id: SlotId) {
        let Some(stored) = self.files.get_mut(id) else {
            return;
        };
        if !matches!(stored.state, State::Open(Content::Mapped(_))) {
            self.close(id);
            return;
        }
        let at = self.now + IDLE_LIFETIME;
        stored.closes_at = Some(at);
        self.idle.push_back((at, id));
        if self.idle.len() > MAX_IDLE_FILES {
            self.close_oldest();
        }
    }

    /// Files that streams send now, and files whose hashes are known.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let wanted = self
            .files
            .values()
            .filter(|stored| stored.closes_at.is_none())
            .count();
        (wanted, self.cache.len())
    }

    /// A stream of this association sends this file from now on.
    pub(crate) fn acquire(
        &mut self,
        association: u32,
        entry: &SharedEntry,
        offered_at: Option<Timestamp>,
    ) -> SourceKey {
        let id = match self.by_version.get(&entry.version) {
            Some(&id) => id,
            None => {
                let stored = Stored {
                    entry: entry.clone(),
                    state: State::Closed,
                    users: Vec::new(),
                    hashes: Vec::new(),
                    opened_at: SystemTime::UNIX_EPOCH,
                    offered_at,
                    reading: false,
                    started: None,
                    closes_at: None,
                };
                let id = self.files.insert_with(|_| stored);
                self.by_version.insert(entry.version, id);
                id
            }
        };
        if let Some(stored) = self.files.get_mut(id) {
            stored.started.get_or_insert(self.now);
            stored.closes_at = None;
            stored.offered_at = stored.offered_at.max(offered_at);
            match stored
                .users
                .iter_mut()
                .find(|(user, _)| *user == association)
            {
                Some((_, streams)) => *streams += 1,
                None => {
                    stored.users.push((association, 1));
                    if stored.is_loaded() {
                        self.loads
                            .entry(association)
                            .or_default()
                            .add(stored.entry.version.size);
                    }
                    if matches!(stored.state, State::Waiting) {
                        self.waiting.entry(association).or_default().push_back(id);
                    }
                }
            }
        }
        to_key(id)
    }

    /// A stream of this association sends it no more. Files that waited for room may have it now.
    pub(crate) fn release(&mut self, association: u32, key: SourceKey) {
        let Some(id) = to_id(key) else {
            return;
        };
        let Some(stored) = self.files.get_mut(id) else {
            return;
        };
        let Some(place) = stored
            .users
            .iter()
            .position(|(user, _)| *user == association)
        else {
            return;
        };
        stored.users[place].1 -= 1;
        if stored.users[place].1 == 0 {
            stored.users.swap_remove(place);
            if stored.is_loaded()
                && let Some(load) = self.loads.get_mut(&association)
            {
                load.remove(stored.entry.version.size);
            }
            if stored.users.is_empty() {
                self.retire(id);
            }
        }
        self.open_waiting(association);
    }

    /// An association is gone.
    pub(crate) fn forget_association(&mut self, association: u32) {
        self.loads.remove(&association);
        self.waiting.remove(&association);
    }

    /// The association has closed a file: others of its files may be opened, in the order in which they were wanted.
    fn open_waiting(&mut self, association: u32) {
        while let Some(&id) = self.waiting.get(&association).and_then(VecDeque::front) {
            let waits = matches!(
                self.files.get(id),
                Some(Stored {
                    state: State::Waiting,
                    ..
                })
            );
            if waits && !self.try_open(id) {
                return;
            }
            if let Some(queue) = self.waiting.get_mut(&association) {
                queue.pop_front();
            }
        }
        self.waiting.remove(&association);
    }

    /// Opens the file if one of its associations has room for it: at once if its bytes are kept and it was offered just now,
    /// else by a helper. At once only when nobody waits for it yet, whom nobody would wake.
    fn try_open(&mut self, id: SlotId) -> bool {
        let Some(stored) = self.files.get_mut(id) else {
            return true;
        };
        let size = stored.entry.version.size;
        let loads = &mut self.loads;
        let room = |user: &u32, loads: &HashMap<u32, Load, RandomState>| {
            loads.get(user).is_none_or(|load| load.has_room(size))
        };
        if !stored.users.iter().any(|(user, _)| room(user, loads)) {
            return false;
        }
        for (user, _) in &stored.users {
            loads.entry(*user).or_default().add(size);
        }
        let first = matches!(stored.state, State::Closed);
        stored.state = State::Opening;
        let version = stored.entry.version;
        let kept = (size <= SMALL_FILE_BYTES)
            .then(|| self.kept.get(self.now, &version))
            .flatten();
        let lately = stored
            .offered_at
            .is_some_and(|at| self.now < at + AS_OFFERED_FOR);
        let kept = match kept {
            Some(whole) if lately && first => {
                stored.state = State::Open(Content::Whole(whole));
                return true;
            }
            kept => kept,
        };
        self.unopened.push(Wanted {
            id,
            name: Arc::clone(&stored.entry.name),
            version,
            kept,
        });
        if self.unopened.len() >= OPENED_TOGETHER {
            self.open_wanted();
        }
        true
    }

    /// Has a helper open what is wanted by now. Must come at the end of each turn of the loop: many small files make
    /// few jobs then.
    pub(crate) fn open_wanted(&mut self) {
        if self.unopened.is_empty() {
            return;
        }
        let wanted = std::mem::take(&mut self.unopened);
        let (folder, slabs) = (Arc::clone(&self.folder), Arc::clone(&self.slabs));
        let mailbox = self.mailbox.clone();
        self.workers.submit(Priority::Urgent, move || {
            let opened = content::open_all(&folder, &slabs, wanted);
            mailbox.post(HelperEvent::Opened(opened));
        });
    }

    /// A helper opened files, or could not.
    pub(crate) fn on_opened_all(&mut self, files: Vec<(SlotId, std::io::Result<Opened>)>) -> Woken {
        self.has_slabs = true;
        let mut woken = Woken::with_capacity(files.len());
        for (id, result) in files {
            self.on_opened(id, result);
            woken.extend(self.users_of(id));
        }
        woken
    }

    fn on_opened(&mut self, id: SlotId, result: std::io::Result<Opened>) {
        let now_s = self.now_s();
        let Some(stored) = self.files.get_mut(id) else {
            return;
        };
        match result {
            Ok(mut opened) if opened.version.has_same_content(&stored.entry.version) => {
                stored.opened_at = opened.opened_at;
                if let Content::Whole(whole) = &opened.content {
                    // Only of use if a later change would show in the timestamps.
                    if opened.version.is_settled(opened.opened_at, HASH_SETTLED) {
                        self.kept.put(self.now, opened.version, whole);
                    }
                    stored.state = State::Open(opened.content);
                } else {
                    if let Content::Mapped(mapped) = &mut opened.content {
                        mapped.set_warm(0, opened.warm, now_s);
                    }
                    stored.state = State::Open(opened.content);
                    self.start_hashing(id);
                }
            }
            Ok(_) => stored.state = State::Failed(StreamEnd::FileChanged),
            Err(error) => {
                tracing::info!(file = %stored.entry.name, %error, "a shared file cannot be read");
                stored.state = State::Failed(end_of(&error));
            }
        }
    }

    fn start_hashing(&mut self, id: SlotId) {
        let Some(stored) = self.files.get_mut(id) else {
            return;
        };
        let State::Open(Content::Mapped(mapped)) = &stored.state else {
            return;
        };
        if let Some(values) = self.cache.get(&stored.entry.version) {
            stored.hashes = values.to_vec();
            return;
        }
        let job = HashJob {
            id,
            file: Arc::clone(mapped.file()),
            version: stored.entry.version,
            next: 0,
            mailbox: self.mailbox.clone(),
            submitter: self.workers.submitter(),
        };
        self.workers.submit(Priority::Background, move || job.run());
    }

    /// A helper hashed further segments. What was hashed was read as well.
    pub(crate) fn on_hashed(&mut self, id: SlotId, values: &[SegmentHash]) -> Woken {
        let now_s = self.now_s();
        let Some(stored) = self.files.get_mut(id) else {
            return Woken::new();
        };
        let first = u32::try_from(stored.hashes.len()).unwrap_or(u32::MAX);
        stored.hashes.extend_from_slice(values);
        if let State::Open(Content::Mapped(mapped)) = &mut stored.state {
            mapped.set_warm(first, u32::try_from(values.len()).unwrap_or(0), now_s);
        }
        if stored.hashes.len() < segments(stored.entry.version.size) as usize {
            return Woken::new();
        }
        // Only of use if nothing changed while the file was read.
        let unchanged = match &stored.state {
            State::Open(Content::Mapped(mapped)) => mapped.check() == Check::Same,
            State::Open(Content::Whole(_))
            | State::Closed
            | State::Waiting
            | State::Opening
            | State::Failed(_) => false,
        };
        if unchanged {
            self.cache.put(
                stored.entry.version,
                stored.hashes.as_slice().into(),
                stored.opened_at,
            );
        }
        self.users_of(id).collect()
    }

    /// A helper found segments in memory, or read them.
    pub(crate) fn on_read_ahead(
        &mut self,
        id: SlotId,
        first: u32,
        count: u32,
        last: bool,
    ) -> Woken {
        let now_s = self.now_s();
        let Some(stored) = self.files.get_mut(id) else {
            return Woken::new();
        };
        if let State::Open(Content::Mapped(mapped)) = &mut stored.state {
            mapped.set_warm(first, count, now_s);
        }
        stored.reading &= !last;
        self.users_of(id).collect()
    }

    /// A helper could not read a file.
    pub(crate) fn on_read_failed(&mut self, id: SlotId, error: &std::io::Error) -> Woken {
        if let Some(stored) = self.files.get_mut(id) {
            tracing::info!(file = %stored.entry.name, %error, "a shared file cannot be read any more");
            stored.state = State::Failed(end_of(error));
        }
        self.users_of(id).collect()
    }

    fn users_of(&self, id: SlotId) -> impl Iterator<Item = (u32, SourceKey)> + '_ {
        let users = self
            .files
            .get(id)
            .map(|stored| stored.users.as_slice())
            .unwrap_or_default();
        users.iter().map(move |&(user, _)| (user, to_key(id)))
    }

    fn now_s(&self) -> u64 {
        self.now.as_nanos() / 1_000_000_000
    }
}

impl Stored {
    /// Whether it counts among what its associations have open.
    fn is_loaded(&self) -> bool {
        match self.state {
            State::Opening | State::Open(_) | State::Failed(_) => true,
            State::Closed | State::Waiting => false,
        }
    }

    /// Values of its first segments, as far as they are known.
    fn known_hashes(&self) -> &[SegmentHash] {
        match &self.state {
            State::Open(Content::Whole(whole)) => std::slice::from_ref(&whole.hash),
            State::Open(Content::Mapped(_))
            | State::Closed
            | State::Waiting
            | State::Opening
            | State::Failed(_) => &self.hashes,
        }
    }
}

fn end_of(error: &std::io::Error) -> StreamEnd {
    use std::io::ErrorKind::{InvalidData, NotFound, UnexpectedEof};
    // Shorter than it was, different, or gone since it was offered.
    if matches!(error.kind(), UnexpectedEof | InvalidData | NotFound) {
        StreamEnd::FileChanged
    } else {
        StreamEnd::Unreadable
    }
}

fn to_key(id: SlotId) -> SourceKey {
    SourceKey(id.token().0 as u64)
}

fn to_id(key: SourceKey) -> Option<SlotId> {
    SlotId::from_token(Token(usize::try_from(key.0).ok()?))
}
