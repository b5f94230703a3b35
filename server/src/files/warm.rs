//! Whether parts of a file are in memory, and getting them there. All of it may wait for a disk and runs on helper threads:
//! even to ask makes Linux begin to read, in whatever size it finds right.
//!
//! That size is the matter here. A disk may be set to be read ahead by megabytes, and the kernel adds, copies and frees so
//! much at once without letting anybody else have the processor: threads that only send chat waited 2 ms and more for it,
//! those of real-time priority as well. So the system is told not to read ahead by itself, and is asked for pieces.

use std::fs::File;
use std::io;
use std::sync::Arc;

use super::hashes::{SEGMENT_BYTES, read_exact_at, segments};
use crate::helpers::{HelperEvent, Mailbox};
use crate::slots::SlotId;

/// Asked of the disk at once, and how much is on its way while the first of it is waited for.
const PIECE_BYTES: u64 = 256 * 1_024;
const ON_THE_WAY_BYTES: u64 = 1_024 * 1_024;

/// Copied at once: what fits into a processor's own cache.
const COPY_BYTES: usize = 128 * 1_024;

/// Segments that one job looks at.
pub const LOOK_AHEAD_SEGMENTS: u32 = 32;

/// Segments that one job reads from the disk, so that other files have their turn.
pub const READ_AHEAD_SEGMENTS: u32 = 8;

const _: () = assert!(SEGMENT_BYTES.is_multiple_of(PIECE_BYTES));

/// Tells the system that it is told what to read.
#[cfg(target_os = "linux")]
pub fn read_as_asked(file: &File) {
    advise(file, 0, 0, rustix::fs::Advice::Random);
}

/// The system reads ahead as it likes.
#[cfg(not(target_os = "linux"))]
pub fn read_as_asked(_file: &File) {}

/// Begins to read, without waiting.
#[cfg(target_os = "linux")]
fn begin_to_read(file: &File, offset: u64, bytes: u64) {
    advise(file, offset, bytes, rustix::fs::Advice::WillNeed);
}

#[cfg(not(target_os = "linux"))]
fn begin_to_read(_file: &File, _offset: u64, _bytes: u64) {}

/// Bytes 0: to the end.
#[cfg(target_os = "linux")]
fn advise(file: &File, offset: u64, bytes: u64, advice: rustix::fs::Advice) {
    if let Err(error) = rustix::fs::fadvise(file, offset, std::num::NonZeroU64::new(bytes), advice)
    {
        // It is only slower then.
        tracing::debug!(%error, "the system takes no advice about a file");
    }
}

/// Reads `start..end` piece by piece, and what follows until `limit` ahead of that. `take` gets all bytes in their order.
///
/// # Errors
/// The file ends before (`UnexpectedEof`), or cannot be read.
pub fn read_pieces(
    file: &File,
    (start, end): (u64, u64),
    limit: u64,
    buffer: &mut Vec<u8>,
    mut take: impl FnMut(&[u8]),
) -> io::Result<()> {
    buffer.resize(COPY_BYTES, 0);
    let mut asked = start;
    let mut offset = start;
    while offset < end {
        while asked < limit && asked < offset + ON_THE_WAY_BYTES {
            let bytes = PIECE_BYTES.min(limit - asked);
            begin_to_read(file, asked, bytes);
            asked += bytes;
        }
        let bytes = usize::try_from(end - offset).unwrap_or(usize::MAX);
        let part = &mut buffer[..bytes.min(COPY_BYTES)];
        read_exact_at(file, part, offset)?;
        take(part);
        offset += part.len() as u64;
    }
    Ok(())
}

/// How many segments from `first` on are in memory, without a gap; at most `count`.
#[must_use]
pub fn count_warm(file: &File, size: u64, first: u32, count: u32) -> u32 {
    let end = segments(size).min(first.saturating_add(count));
    let cold = (first..end).find(|&segment| !is_resident(file, segment, size));
    cold.unwrap_or(end).saturating_sub(first)
}

/// Looks at a few places of a segment whether they are in the page cache. They are closer together than the pieces that
/// are read.
#[cfg(target_os = "linux")]
fn is_resident(file: &File, segment: u32, size: u64) -> bool {
    use rustix::io::{Errno, ReadWriteFlags, preadv2};
    const STEP_BYTES: usize = 128 * 1_024;
    const _: () = assert!(STEP_BYTES as u64 <= PIECE_BYTES);
    let (start, end) = bytes_of(segment, size);
    (start..end)
        .step_by(STEP_BYTES)
        .chain([end.saturating_sub(1)])
        .all(|offset| {
            let mut byte = [0];
            let mut slices = [io::IoSliceMut::new(&mut byte)];
            match preadv2(file, &mut slices, offset, ReadWriteFlags::NOWAIT) {
                Ok(_) => true,
                // File systems that cannot tell are taken to be in memory: most are.
                Err(error) => error != Errno::AGAIN,
            }
        })
}

/// Cannot be told: each segment is read before it is sent.
#[cfg(not(target_os = "linux"))]
fn is_resident(_file: &File, _segment: u32, _size: u64) -> bool {
    false
}

/// Where a segment begins and ends.
fn bytes_of(segment: u32, size: u64) -> (u64, u64) {
    let start = u64::from(segment) * SEGMENT_BYTES;
    (start, (start + SEGMENT_BYTES).min(size))
}

/// Makes sure that segments are in memory, and posts which are.
#[derive(Debug)]
pub struct ReadAhead {
    /// As the loop numbered it.
    pub id: SlotId,
    /// To read from.
    pub file: Arc<File>,
    /// Its size in bytes.
    pub size: u64,
    /// The first segment that is wanted.
    pub first: u32,
    /// Where the news go.
    pub mailbox: Mailbox,
}

impl ReadAhead {
    /// Looks at [`LOOK_AHEAD_SEGMENTS`] and reads [`READ_AHEAD_SEGMENTS`] at most. The last news say that they are.
    pub fn run(self) {
        let end = segments(self.size).min(self.first.saturating_add(LOOK_AHEAD_SEGMENTS));
        let mut buffer = Vec::new();
        let (mut told, mut next, mut read) = (self.first, self.first, 0);
        while next < end {
            next += count_warm(&self.file, self.size, next, end - next);
            if next == end || read == READ_AHEAD_SEGMENTS {
                break;
            }
            // Senders need not wait for the disk when they have something left.
            if told < next {
                self.tell(told, next, false);
                told = next;
            }
            let limit = bytes_of(end - 1, self.size).1;
            let range = bytes_of(next, self.size);
            if let Err(error) = read_pieces(&self.file, range, limit, &mut buffer, |_| ()) {
                self.mailbox.post(HelperEvent::ReadFailed {
                    file: self.id,
                    error,
                });
                return;
            }
            next += 1;
            read += 1;
        }
        self.tell(told, next, true);
    }

    fn tell(&self, first: u32, end: u32, last: bool) {
        self.mailbox.post(HelperEvent::ReadAhead {
            file: self.id,
            first,
            count: end - first,
            last,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(bytes: usize) -> Vec<u8> {
        let mut noise = vec![0; bytes];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        noise
    }

    fn file_with(content: &[u8]) -> Arc<File> {
        // On a disk: elsewhere nothing can be dropped.
        let mut file = tempfile::tempfile_in(env!("CARGO_MANIFEST_DIR")).expect("writable");
        std::io::Write::write_all(&mut file, content).expect("writable");
        file.sync_all().expect("writable");
        read_as_asked(&file);
        Arc::new(file)
    }

    #[test]
    fn pieces_come_whole_and_in_order() {
        let content = noise((2 << 20) + 77);
        let file = file_with(&content);
        let size = content.len() as u64;
        for (start, end) in [
            (0, size),
            (1, 2),
            (300_000, size - 5),
            (7, 7),
            (size - 1, size),
        ] {
            for limit in [end, size] {
                let mut got = Vec::new();
                let mut buffer = Vec::new();
                let take = |bytes: &[u8]| got.extend_from_slice(bytes);
                read_pieces(&file, (start, end), limit, &mut buffer, take).expect("inside");
                let range =
                    usize::try_from(start).expect("small")..usize::try_from(end).expect("small");
                assert!(got == content[range], "{start}..{end}");
            }
        }
        let mut buffer = Vec::new();
        let beyond = read_pieces(&file, (size - 1, size + 1), size, &mut buffer, |_| ());
        assert_eq!(
            beyond.map_err(|error| error.kind()),
            Err(io::ErrorKind::UnexpectedEof)
        );
    }

    /// What a job posted: first segment, how many, whether they are the last.
    fn told(file: &Arc<File>, size: u64, first: u32) -> Vec<(u32, u32, bool)> {
        let poll = mio::Poll::new().expect("a poll");
        let waker = mio::Waker::new(poll.registry(), mio::Token(0)).expect("a waker");
        let (mailbox, news) = Mailbox::new(Arc::new(waker));
        let (file, id) = (
            Arc::clone(file),
            crate::slots::Slots::default().insert_with(|_| ()),
        );
        ReadAhead {
            id,
            file,
            size,
            first,
            mailbox,
        }
        .run();
        let events = std::iter::from_fn(|| news.take());
        events
            .map(|event| {
                let HelperEvent::ReadAhead {
                    first, count, last, ..
                } = event
                else {
                    panic!("{event:?}");
                };
                (first, count, last)
            })
            .collect()
    }

    #[test]
    fn a_job_tells_of_every_segment_once_and_ends() {
        let size = (40 << 20) + 5;
        let file = file_with(&noise(size));
        let size = size as u64;
        for first in [0, 20, 40] {
            let told = told(&file, size, first);
            let mut next = first;
            for (index, &(first, count, last)) in told.iter().enumerate() {
                assert_eq!((first, last), (next, index + 1 == told.len()), "{told:?}");
                assert!(count > 0, "{told:?}");
                next += count;
            }
            assert!(next > first && next <= 41, "{told:?}");
            if cfg!(target_os = "linux") {
                // All of it was just written: it takes one look, not a message for each.
                assert_eq!(told, [(first, LOOK_AHEAD_SEGMENTS.min(41 - first), true)]);
            }
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_cold_file_is_read_segment_by_segment_and_no_further_than_asked() {
        let file = file_with(&noise(40 << 20));
        let size = 40 << 20;
        rustix::fs::fadvise(&*file, 0, None, rustix::fs::Advice::DontNeed).expect("a file");
        if count_warm(&file, size, 0, 1) != 0 {
            return; // This file system keeps its files in memory.
        }
        let told = told(&file, size, 3);
        assert_eq!(told.len(), READ_AHEAD_SEGMENTS as usize, "{told:?}");
        assert_eq!(
            count_warm(&file, size, 3, READ_AHEAD_SEGMENTS),
            READ_AHEAD_SEGMENTS
        );
        let ahead = u32::try_from(ON_THE_WAY_BYTES / SEGMENT_BYTES).expect("small") + 1;
        assert_eq!(
            count_warm(&file, size, 3 + READ_AHEAD_SEGMENTS + ahead, 1),
            0
        );
    }
}
