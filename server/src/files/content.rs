//! A file's bytes for the senders: a small file is read whole by a helper thread, a large one is mapped in windows.
#![expect(unsafe_code, reason = "mapping a file that others may change")]

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use columba_core::units::Timestamp;
use columba_net::prefetch::prefetch_ahead;
use memmap2::{Mmap, MmapOptions};

use super::folder::SharedFolder;
use super::hashes::{SEGMENT_BYTES, read_exact_at, segment_hash, segments};
use super::kept::Whole;
#[cfg(unix)]
use super::sigbus::Guard;
use super::slabs::{Slabs, Writer};
use super::version::FileVersion;
use super::visit::Visit;
use super::warm;
use crate::slots::SlotId;

/// Files up to this size are read whole, and hashed while they are in the cache.
pub const SMALL_FILE_BYTES: u64 = 64 * 1_024;

/// Bytes of a window into a large file, and by how much it overlaps the next: no slice that is asked for is longer.
const WINDOW_BYTES: u64 = 64 * 1_024 * 1_024;
const WINDOW_OVERLAP_BYTES: u64 = 64 * 1_024;

/// Windows of one file that are kept: clients at different places of it, or one after the other. They cost address
/// space and page tables (2 MB per GiB), not memory: the pages are the page cache's.
const MAX_WINDOWS: usize = 64;

/// Trains within this time share one question to the system whether the file is as it was. What a change does within
/// it is the same as what one does right after the question: wrong bytes leave, BLAKE3 finds them, the next
/// question ends the transfer.
const ASK_AGAIN: Duration = Duration::from_millis(1);

/// A segment found in memory is taken to be there for so many seconds.
const WARM_S: u64 = 10;

const _: () = assert!(WINDOW_OVERLAP_BYTES >= columba_core::limits::MAX_DATAGRAM_BYTES as u64);
const _: () = assert!(WINDOW_BYTES.is_multiple_of(SEGMENT_BYTES));

/// A file as a helper opened it.
#[derive(Debug)]
pub struct Opened {
    /// Its bytes.
    pub content: Content,
    /// Its version when it was opened.
    pub version: FileVersion,
    /// When that was.
    pub opened_at: SystemTime,
    /// So many of its first segments were in memory.
    pub warm: u32,
}

/// A file to open.
#[derive(Debug)]
pub struct Wanted {
    /// As the loop numbered it.
    pub id: SlotId,
    /// Relative to the shared folder.
    pub name: Arc<str>,
    /// As it was offered.
    pub version: FileVersion,
    /// The bytes it had then, if they are kept.
    pub kept: Option<Whole>,
}

/// A file's bytes.
#[derive(Debug)]
pub enum Content {
    /// All of them; the file is closed.
    Whole(Whole),
    /// Windows into it. Apart, for most files are small.
    Mapped(Box<Mapped>),
}

/// Opens files for sending. Runs on a helper thread.
///
/// For each: an error when it cannot be opened or read, or changed while it was read.
pub fn open_all(
    folder: &SharedFolder,
    slabs: &Slabs,
    wanted: Vec<Wanted>,
) -> Vec<(SlotId, io::Result<Opened>)> {
    let mut visit = Visit::new(folder);
    let mut writer = slabs.writer();
    let open_one = |wanted: Wanted| {
        let opened_at = SystemTime::now();
        let version = wanted.version;
        let opened = match wanted.kept {
            Some(whole) if visit.version_of(&wanted.name) == Some(version) => {
                Ok(Opened::whole(whole, version, opened_at))
            }
            Some(_) | None if version.size <= SMALL_FILE_BYTES => visit
                .open_file(&wanted.name)
                .and_then(|file| read_whole(&file, &version, &mut writer))
                .map(|(whole, version)| Opened::whole(whole, version, opened_at)),
            Some(_) | None => folder
                .open_file(&wanted.name)
                .map(|(file, version)| Opened::mapped(file, version, opened_at)),
        };
        (wanted.id, opened)
    };
    wanted.into_iter().map(open_one).collect()
}

impl Opened {
    const fn whole(whole: Whole, version: FileVersion, opened_at: SystemTime) -> Self {
        Self {
            content: Content::Whole(whole),
            version,
            opened_at,
            warm: 1,
        }
    }

    fn mapped(file: File, version: FileVersion, opened_at: SystemTime) -> Self {
        warm::read_as_asked(&file);
        let warm = warm::count_warm(&file, version.size, 0, warm::READ_AHEAD_SEGMENTS);
        Self {
            content: Content::Mapped(Box::new(Mapped::new(file, version))),
            version,
            opened_at,
            warm,
        }
    }
}

/// Reads a file that had `version` when it was offered; it still has afterwards, or this fails.
fn read_whole(
    file: &File,
    version: &FileVersion,
    writer: &mut Writer<'_>,
) -> io::Result<(Whole, FileVersion)> {
    let size = usize::try_from(version.size).unwrap_or(usize::MAX);
    let bytes = writer.space(size);
    read_exact_at(file, bytes, 0)?;
    // Asked for once, after reading: what has not changed since it was offered did not change meanwhile.
    let now = FileVersion::of_file(file)?;
    if !now.has_same_content(version) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "it has changed since it was offered",
        ));
    }
    let whole = Whole {
        hash: segment_hash(0, 1, bytes),
        bytes: writer.keep(size),
    };
    Ok((whole, now))
}

/// Windows into a large file.
#[derive(Debug)]
pub struct Mapped {
    file: Arc<File>,
    version: FileVersion,
    /// When the system last said that it is as it was.
    asked_at: Option<Timestamp>,
    /// Most recently used last.
    windows: VecDeque<Window>,
    /// Per segment: when it was last known to be in memory, seconds of the loop's clock plus one; 0 for never.
    warm_s: Vec<u32>,
}

#[derive(Debug)]
struct Window {
    index: u64,
    // Dropped before the map it guards.
    #[cfg(unix)]
    guard: Guard,
    map: Mmap,
}

/// What became of a check whether a file is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// It is.
    Same,
    /// It was changed, or shrank under a map.
    Changed,
    /// It cannot be asked.
    Unreadable,
}

impl Mapped {
    fn new(file: File, version: FileVersion) -> Self {
        let count = segments(version.size) as usize;
        Self {
            file: Arc::new(file),
            version,
            asked_at: None,
            windows: VecDeque::new(),
            warm_s: vec![0; count],
        }
    }

    /// The file, for helper threads.
    #[must_use]
    pub fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// Whether the file is as it was: for each train. The system is asked again only after [`ASK_AGAIN`]: at several
    /// trains in that time, asking for each costs a fiftieth of the loop. A load past a new end shows at once.
    #[must_use]
    pub fn check_train(&mut self, now: Timestamp) -> Check {
        if let Some(asked_at) = self.asked_at
            && now - asked_at < ASK_AGAIN
            && !self.has_shrunk()
        {
            return Check::Same;
        }
        let check = self.check();
        self.asked_at = (check == Check::Same).then_some(now);
        check
    }

    /// Asks the system whether the file is as it was.
    #[must_use]
    pub fn check(&self) -> Check {
        if self.has_shrunk() {
            return Check::Changed;
        }
        match self.file.metadata() {
            Ok(metadata) if self.version.has_same_content(&FileVersion::of(&metadata)) => {
                Check::Same
            }
            Ok(_) => Check::Changed,
            Err(_) => Check::Unreadable,
        }
    }

    /// Whether a load went past the file's new end.
    fn has_shrunk(&self) -> bool {
        #[cfg(unix)]
        let shrunk = self.windows.iter().any(|window| window.guard.is_tripped());
        // Elsewhere a mapped file cannot shrink.
        #[cfg(not(unix))]
        let shrunk = false;
        shrunk
    }

    /// The bytes at `offset`, at most [`WINDOW_OVERLAP_BYTES`] of them.
    ///
    /// # Errors
    /// They lie outside of the file, or it cannot be mapped.
    pub fn slice(&mut self, offset: u64, len: usize) -> io::Result<&[u8]> {
        let end = offset
            .checked_add(len as u64)
            .filter(|&end| end <= self.version.size);
        if end.is_none() || len as u64 > WINDOW_OVERLAP_BYTES {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let index = offset / WINDOW_BYTES;
        match self
            .windows
            .iter()
            .rposition(|window| window.index == index)
        {
            Some(place) if place + 1 == self.windows.len() => {}
            Some(place) => {
                let window = self.windows.remove(place);
                self.windows.extend(window);
            }
            None => {
                if self.windows.len() >= MAX_WINDOWS {
                    self.windows.pop_front();
                }
                let window = self.map_window(index)?;
                self.windows.push_back(window);
            }
        }
        let start = usize::try_from(offset - index * WINDOW_BYTES).unwrap_or(usize::MAX);
        let window = self.windows.back().ok_or(io::ErrorKind::UnexpectedEof)?;
        prefetch_ahead(&window.map, start, len);
        window
            .map
            .get(start..start + len)
            .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn map_window(&self, index: u64) -> io::Result<Window> {
        let offset = index * WINDOW_BYTES;
        let bytes = (self.version.size - offset).min(WINDOW_BYTES + WINDOW_OVERLAP_BYTES);
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        let mut options = MmapOptions::new();
        // SAFETY: the map is only read, through slices that live for one call. Others may change the file: its bytes
        // are then whatever they are (`check` and BLAKE3 judge them), and a load past its new end is caught by the
        // guard. No reference into the map is used to make a value that depends on its bytes being stable.
        let map = unsafe { options.offset(offset).len(bytes).map(&*self.file) }?;
        #[cfg(unix)]
        let guard = Guard::new(&map)?;
        Ok(Window {
            index,
            #[cfg(unix)]
            guard,
            map,
        })
    }

    /// Whether a segment is known to be in memory, as of `now_s` seconds of the loop's clock; one beyond the end is.
    #[must_use]
    pub fn is_warm(&self, segment: u32, now_s: u64) -> bool {
        self.warm_s
            .get(segment as usize)
            .is_none_or(|&warm_s| warm_s != 0 && now_s < u64::from(warm_s) - 1 + WARM_S)
    }

    /// Segments are in memory.
    pub fn set_warm(&mut self, first: u32, count: u32, now_s: u64) {
        let stamp = u32::try_from(now_s + 1).unwrap_or(u32::MAX);
        let places = first as usize..(first as usize + count as usize).min(self.warm_s.len());
        if let Some(stamps) = self.warm_s.get_mut(places) {
            stamps.fill(stamp);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared(content: &[u8]) -> (tempfile::TempDir, SharedFolder) {
        let root = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(root.path().join("f"), content).expect("writable");
        let folder = SharedFolder::open(root.path()).expect("a folder");
        (root, folder)
    }

    fn try_open(
        folder: &SharedFolder,
        version: FileVersion,
        kept: Option<Whole>,
    ) -> io::Result<Opened> {
        let mut slots = crate::slots::Slots::default();
        let wanted = Wanted {
            id: slots.insert_with(|_| ()),
            name: "f".into(),
            version,
            kept,
        };
        let (_, result) = open_all(folder, &Slabs::default(), vec![wanted])
            .pop()
            .expect("one answer");
        result
    }

    fn opened(folder: &SharedFolder, kept: Option<Whole>) -> Opened {
        let (_, version) = folder.open_file("f").expect("it is shared");
        try_open(folder, version, kept).expect("it is shared")
    }

    fn mapped(folder: &SharedFolder) -> Mapped {
        match opened(folder, None).content {
            Content::Mapped(mapped) => *mapped,
            Content::Whole(_) => panic!("large files are mapped"),
        }
    }

    #[test]
    fn small_files_come_whole_with_their_hash() {
        for size in [0, 1, 4_096, 64 * 1_024] {
            let bytes = vec![9; size];
            let (_root, folder) = shared(&bytes);
            let Content::Whole(whole) = opened(&folder, None).content else {
                panic!("small files are read whole");
            };
            assert_eq!(*whole.bytes, *bytes);
            assert_eq!(whole.hash, *blake3::hash(&bytes).as_bytes());
        }
    }

    #[test]
    fn what_is_kept_counts_only_while_the_file_is_the_same() {
        let (root, folder) = shared(b"first");
        let first = opened(&folder, None);
        let Content::Whole(whole) = first.content else {
            panic!("small files are read whole");
        };
        let again = opened(&folder, Some(whole.clone()));
        assert_eq!(again.version, first.version);
        if cfg!(target_os = "linux") && !cfg!(feature = "portable-io") {
            assert!(
                matches!(again.content, Content::Whole(same) if same.bytes.as_ptr() == whole.bytes.as_ptr())
            );
        }
        std::fs::write(root.path().join("f"), b"second").expect("writable");
        let changed = try_open(&folder, first.version, Some(whole)).expect_err("it has changed");
        assert_eq!(changed.kind(), io::ErrorKind::InvalidData);
        let offered_anew = opened(&folder, None);
        assert_ne!(offered_anew.version, first.version);
        assert!(matches!(offered_anew.content, Content::Whole(new) if *new.bytes == *b"second"));
    }

    #[test]
    fn a_small_file_is_sent_as_it_was_offered_or_not_at_all() {
        let (root, folder) = shared(b"as offered");
        let path = root.path().join("f");
        let offered = opened(&folder, None).version;
        for (content, error) in [
            (&b"as offerec"[..], io::ErrorKind::InvalidData),
            (b"longer than offered", io::ErrorKind::InvalidData),
            (b"short", io::ErrorKind::UnexpectedEof),
        ] {
            std::fs::write(&path, content).expect("writable");
            let refused = try_open(&folder, offered, None).expect_err("it has changed");
            assert_eq!(refused.kind(), error);
        }
        let other = root.path().join("g");
        std::fs::write(&other, b"as offered").expect("writable");
        std::fs::rename(&other, &path).expect("writable");
        assert!(try_open(&folder, offered, None).is_err(), "another file");
        std::fs::remove_file(&path).expect("writable");
        let gone = try_open(&folder, offered, None).expect_err("it is gone");
        assert_eq!(gone.kind(), io::ErrorKind::NotFound);
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink("g", &path).expect("writable");
            assert!(try_open(&folder, offered, None).is_err(), "a symlink");
        }
    }

    #[test]
    fn any_slice_of_a_large_file_is_right_across_windows() {
        let (root, folder) = shared(b"");
        let file = std::fs::OpenOptions::new()
            .write(true)
            .open(root.path().join("f"))
            .expect("writable");
        let size = 10 * WINDOW_BYTES + 12_345;
        file.set_len(size).expect("sparse files");
        let marks = [
            0,
            WINDOW_BYTES - 2,
            WINDOW_BYTES + 9,
            9 * WINDOW_BYTES - 1,
            size - 3,
        ];
        for offset in marks {
            #[cfg(unix)]
            std::os::unix::fs::FileExt::write_all_at(&file, b"abc", offset).expect("writable");
        }
        let mut mapped = mapped(&folder);
        for offset in marks.into_iter().chain(marks) {
            assert_eq!(mapped.slice(offset, 3).expect("inside"), b"abc", "{offset}");
        }
        assert_eq!(
            mapped
                .slice(WINDOW_BYTES - 10, 65_507)
                .expect("inside")
                .len(),
            65_507
        );
        for index in 0..10 {
            assert_eq!(
                mapped.slice(index * WINDOW_BYTES + 100, 2).expect("inside"),
                [0, 0]
            );
        }
        assert!(mapped.windows.len() <= MAX_WINDOWS);
        assert!(mapped.slice(size - 2, 3).is_err());
        assert!(mapped.slice(u64::MAX, 3).is_err());
    }

    #[test]
    fn changes_are_noticed_and_unlinking_is_harmless() {
        let (root, folder) = shared(&vec![1; 200_000]);
        let path = root.path().join("f");
        let mapped_one = mapped(&folder);
        assert_eq!(mapped_one.check(), Check::Same);
        std::fs::rename(&path, root.path().join("g")).expect("writable");
        std::fs::remove_file(root.path().join("g")).expect("writable");
        assert_eq!(mapped_one.check(), Check::Same);
        std::fs::write(&path, vec![2; 200_000]).expect("writable");
        let mut mapped_two = mapped(&folder);
        assert_eq!(mapped_two.slice(0, 1).expect("inside"), [2]);
        let file = std::fs::OpenOptions::new()
            .write(true)
            .open(&path)
            .expect("writable");
        file.set_len(100).expect("writable");
        assert_eq!(mapped_two.check(), Check::Changed);
    }

    #[test]
    fn trains_share_a_question_but_a_load_past_the_end_shows_at_once() {
        let (root, folder) = shared(&vec![1; 200_000]);
        let mut mapped = mapped(&folder);
        let at = |micros| Timestamp::ZERO + Duration::from_micros(micros);
        assert_eq!(mapped.check_train(at(5_000)), Check::Same);
        let file = std::fs::OpenOptions::new()
            .write(true)
            .open(root.path().join("f"))
            .expect("writable");
        file.set_len(100).expect("writable");
        assert_eq!(mapped.check_train(at(5_999)), Check::Same, "not asked");
        assert_eq!(mapped.check(), Check::Changed);
        #[cfg(unix)]
        {
            assert_eq!(mapped.slice(150_000, 1).expect("inside as it was"), [0]);
            assert_eq!(
                mapped.check_train(at(5_999)),
                Check::Changed,
                "seen at once"
            );
        }
        assert_eq!(mapped.check_train(at(6_000)), Check::Changed);
        assert_eq!(mapped.check_train(at(6_001)), Check::Changed, "asked again");
    }

    #[cfg(unix)]
    #[test]
    fn a_load_past_the_end_of_a_truncated_file_shows_in_the_check() {
        let (root, folder) = shared(&vec![1; 200_000]);
        let mut mapped = mapped(&folder);
        assert_eq!(mapped.slice(150_000, 1).expect("inside"), [1]);
        let file = std::fs::OpenOptions::new()
            .write(true)
            .open(root.path().join("f"))
            .expect("writable");
        file.set_len(0).expect("writable");
        let before = super::super::sigbus::trips();
        let zero = mapped.slice(150_000, 1).expect("inside as it was")[0];
        assert_eq!(zero, 0);
        assert!(super::super::sigbus::trips() > before);
        assert_eq!(mapped.check(), Check::Changed);
    }

    #[test]
    fn what_is_known_to_be_in_memory_is_so_for_a_while() {
        let (_root, folder) = shared(&vec![1; 3 << 20]);
        let Opened { content, warm, .. } = opened(&folder, None);
        let Content::Mapped(mut mapped) = content else {
            panic!("large files are mapped");
        };
        // It was just written.
        assert_eq!(warm, if cfg!(target_os = "linux") { 3 } else { 0 });
        assert!(!mapped.is_warm(0, 0), "nobody said so");
        mapped.set_warm(1, 5, 100);
        assert!(!mapped.is_warm(0, 100));
        assert!(mapped.is_warm(2, 100 + WARM_S - 1));
        assert!(!mapped.is_warm(2, 100 + WARM_S));
        assert!(
            mapped.is_warm(77, 0),
            "there is no such segment to wait for"
        );
    }
}
