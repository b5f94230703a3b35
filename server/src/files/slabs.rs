//! Memory for the bytes of many small files, in pieces that the system provides at once.
//!
//! To touch a page of memory for the first time costs about as much as to read a file of that size. So small files share slabs, which the
//! system fills with pages at once, and slabs are used again when nobody needs what is in them. (No huge pages: where a host
//! takes back what its guest has free, it takes those, and each costs milliseconds anew.)
//! Their number is bounded: a file that is needed for long keeps the whole slab from being used again, and without a slab a file has
//! memory of its own.
#![expect(
    unsafe_code,
    reason = "writing to a part of memory whose other parts are read"
)]

use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use memmap2::{MmapMut, MmapRaw};

/// Of each slab.
const SLAB_BYTES: usize = 512 * 1_024;
/// Room for all that is kept, and for what is on its way.
const MAX_SLABS: usize = 160;

/// Slabs for helper threads to take one from.
#[derive(Debug, Default)]
pub struct Slabs(Mutex<Pool>);

#[derive(Debug, Default)]
struct Pool {
    /// The one last that was used last, and so is most likely in the processor's cache.
    slabs: Vec<Slab>,
    /// Slabs there are, with those that were taken.
    count: usize,
}

/// Memory that is written from its beginning to its end, by whoever has this, and read by those who have files in it.
#[derive(Debug)]
struct Slab {
    memory: Arc<MmapRaw>,
    /// Bytes that belong to files.
    used: usize,
}

/// Memory of a slab, for all that is written to it in one go. One count of who needs it for each file would go from processor to
/// processor with each file.
#[derive(Debug)]
struct Lease(Arc<MmapRaw>);

/// The bytes of a small file. Cheap to clone.
#[derive(Clone, Debug)]
pub struct FileBytes(Place);

#[derive(Clone, Debug)]
enum Place {
    /// A part of a slab that does not change any more.
    Slab {
        lease: Arc<Lease>,
        start: usize,
        len: usize,
    },
    /// Memory of its own.
    Alone(Arc<[u8]>),
}

impl Slab {
    fn new() -> std::io::Result<Self> {
        let memory = MmapRaw::from(MmapMut::map_anon(SLAB_BYTES)?);
        // Before Linux 5.14, and elsewhere, pages come one by one.
        #[cfg(target_os = "linux")]
        let _ = memory.advise(memmap2::Advice::PopulateWrite);
        Ok(Self {
            memory: Arc::new(memory),
            used: 0,
        })
    }

    /// Makes all of it room again, if nobody has a file in it.
    fn reclaim(&mut self) -> bool {
        let is_free = Arc::get_mut(&mut self.memory).is_some();
        if is_free {
            self.used = 0;
        }
        is_free
    }

    fn room(&self) -> usize {
        self.memory.len() - self.used
    }

    /// Its next `len` bytes, at most its [`room`](Self::room).
    fn next(&mut self, len: usize) -> &mut [u8] {
        assert!(len <= self.room(), "no more than there is");
        // SAFETY: the bytes from `used` on lie within the map, are zero or were written before, and belong to no file: no
        // other reference to them exists as long as this one borrows the slab, the only one of its memory.
        unsafe { std::slice::from_raw_parts_mut(self.memory.as_mut_ptr().add(self.used), len) }
    }

    /// The next `len` bytes become a file's.
    fn take(&mut self, len: usize, lease: &Arc<Lease>) -> Place {
        assert!(
            len <= self.room() && Arc::ptr_eq(&self.memory, &lease.0),
            "no more than there is"
        );
        let start = self.used;
        self.used += len;
        Place::Slab {
            lease: Arc::clone(lease),
            start,
            len,
        }
    }
}

impl Deref for FileBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            // SAFETY: the range lies within the map, which lives as long as the lease, and nobody writes there: its slab writes only
            // from `used` on, which is behind this, until no lease is left.
            Place::Slab { lease, start, len } => unsafe {
                std::slice::from_raw_parts(lease.0.as_ptr().add(*start), *len)
            },
            Place::Alone(bytes) => bytes,
        }
    }
}

impl From<&[u8]> for FileBytes {
    fn from(bytes: &[u8]) -> Self {
        Self(Place::Alone(bytes.into()))
    }
}

impl Slabs {
    fn lock(&self) -> MutexGuard<'_, Pool> {
        // Nothing that can panic runs under the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For one thread to write small files to.
    pub fn writer(&self) -> Writer<'_> {
        Writer {
            slabs: self,
            slab: None,
            alone: Vec::new(),
        }
    }

    /// Gives memory back to the system that nobody needs.
    pub fn trim(&self) {
        let pool = &mut *self.lock();
        let before = pool.slabs.len();
        pool.slabs.retain_mut(|slab| !slab.reclaim());
        pool.count -= before - pool.slabs.len();
    }

    /// A slab with so much room.
    fn take(&self, room: usize) -> Option<Slab> {
        {
            let pool = &mut *self.lock();
            let place = pool
                .slabs
                .iter_mut()
                .rposition(|slab| slab.room() >= room || slab.reclaim());
            if let Some(place) = place {
                return Some(pool.slabs.remove(place));
            }
            if pool.count >= MAX_SLABS {
                return None;
            }
            pool.count += 1;
        }
        // That takes time, in which others may have theirs. Without memory for a slab there may be some for one file.
        let slab = Slab::new().ok();
        if slab.is_none() {
            self.lock().count -= 1;
        }
        slab
    }

    fn put_back(&self, slab: Slab) {
        self.lock().slabs.push(slab);
    }
}

/// Writes small files to slabs.
#[derive(Debug)]
pub struct Writer<'a> {
    slabs: &'a Slabs,
    slab: Option<(Slab, Arc<Lease>)>,
    /// For a file that no slab has room for.
    alone: Vec<u8>,
}

impl Writer<'_> {
    /// Where to write a file of `len` bytes; they may be anything before that.
    pub fn space(&mut self, len: usize) -> &mut [u8] {
        if self
            .slab
            .as_ref()
            .is_some_and(|(slab, _)| slab.room() < len)
        {
            self.give_back();
        }
        if self.slab.is_none() && len <= SLAB_BYTES {
            self.slab = self.slabs.take(len).map(|slab| {
                let lease = Arc::new(Lease(Arc::clone(&slab.memory)));
                (slab, lease)
            });
        }
        match &mut self.slab {
            Some((slab, _)) => slab.next(len),
            None => {
                self.alone.resize(self.alone.len().max(len), 0);
                &mut self.alone[..len]
            }
        }
    }

    fn give_back(&mut self) {
        // The lease first: without files in it the slab is free.
        if let Some((slab, lease)) = self.slab.take() {
            drop(lease);
            self.slabs.put_back(slab);
        }
    }

    /// What was written to a [`space`](Self::space) of `len` bytes just now.
    pub fn keep(&mut self, len: usize) -> FileBytes {
        match &mut self.slab {
            Some((slab, lease)) => FileBytes(slab.take(len, lease)),
            None => FileBytes::from(&self.alone[..len]),
        }
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        self.give_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(writer: &mut Writer<'_>, content: u8, len: usize) -> FileBytes {
        writer.space(len).fill(content);
        writer.keep(len)
    }

    #[test]
    fn what_was_written_stays_as_it_is() {
        let slabs = Slabs::default();
        let mut kept = Vec::new();
        for round in 0..4_u8 {
            // Two at a time, as helpers do.
            let (mut one, mut other) = (slabs.writer(), slabs.writer());
            for number in 0..100_u8 {
                let len = usize::from(number) * 300;
                kept.push((number, len, write(&mut one, number, len)));
                kept.push((round, len, write(&mut other, round, len)));
                // Given up: the next file has its place.
                one.space(len).fill(255);
            }
        }
        assert!(slabs.lock().count > 2);
        for (content, len, bytes) in kept {
            assert!(bytes.len() == len && bytes.iter().all(|&byte| byte == content));
        }
    }

    #[test]
    fn a_slab_is_used_again_when_nobody_needs_it() {
        let slabs = Slabs::default();
        let mut writer = slabs.writer();
        for round in 0..200_u8 {
            // Two slabs' worth at most are needed at a time.
            let pieces: Vec<FileBytes> = (0..32)
                .map(|_| write(&mut writer, round, SLAB_BYTES / 32))
                .collect();
            assert!(pieces.iter().all(|piece| piece[..] == pieces[0][..]));
        }
        assert!(slabs.lock().count <= 2);
    }

    #[test]
    fn memory_is_bounded_and_comes_back() {
        let slabs = Slabs::default();
        let mut writer = slabs.writer();
        let kept: Vec<FileBytes> = (0..2 * MAX_SLABS)
            .map(|_| write(&mut writer, 7, SLAB_BYTES))
            .collect();
        assert_eq!(slabs.lock().count, MAX_SLABS);
        assert!(kept.iter().all(|bytes| bytes[SLAB_BYTES - 1] == 7));
        drop(writer);
        let last = kept.into_iter().next_back();
        slabs.trim();
        assert_eq!(slabs.lock().count, 0, "the last had memory of its own");
        assert!(last.is_some_and(|bytes| bytes.len() == SLAB_BYTES));
    }

    #[test]
    fn trimming_leaves_what_is_needed() {
        let slabs = Slabs::default();
        let first = write(&mut slabs.writer(), 1, 10);
        slabs.trim();
        assert_eq!((slabs.lock().count, &first[..]), (1, &[1; 10][..]));
        // It has room left.
        let mut writer = slabs.writer();
        let second = write(&mut writer, 2, 10);
        assert_eq!(slabs.lock().count, 1);
        drop((first, second));
        slabs.trim();
        assert_eq!(slabs.lock().count, 1, "somebody writes to it");
        drop(writer);
        slabs.trim();
        assert_eq!(slabs.lock().count, 0);
    }

    #[test]
    fn a_file_larger_than_a_slab_has_memory_of_its_own() {
        let slabs = Slabs::default();
        let bytes = write(&mut slabs.writer(), 3, SLAB_BYTES + 1);
        assert_eq!((slabs.lock().count, bytes.len()), (0, SLAB_BYTES + 1));
    }
}
