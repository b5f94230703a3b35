//! What happens when a mapped file shrinks: a load past its end is a SIGBUS, which would end the process.
//!
//! The handler looks the address up among the registered maps only. If it is there, an anonymous page of zeros takes
//! the place of the missing one and a flag is set, for the sender to see before anything goes out. Any other SIGBUS
//! gets what it would have got without us.
#![expect(
    unsafe_code,
    reason = "a signal handler, and the page it puts in place"
)]

use std::io;
use std::mem::MaybeUninit;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// Maps that can be guarded at once.
pub const MAX_GUARDED_MAPS: usize = 8_192;

struct Slot {
    /// 0 when free.
    start: AtomicUsize,
    bytes: AtomicUsize,
    tripped: AtomicBool,
}

static SLOTS: [Slot; MAX_GUARDED_MAPS] = [const {
    Slot {
        start: AtomicUsize::new(0),
        bytes: AtomicUsize::new(0),
        tripped: AtomicBool::new(false),
    }
}; MAX_GUARDED_MAPS];

/// Faults that were caught, over all maps.
static TRIPS: AtomicU64 = AtomicU64::new(0);

/// A value of `start` that marks a slot as taken while it is being filled.
const FILLING: usize = 1;

/// Guards one map for as long as it lives. Drop it before the map.
#[derive(Debug)]
pub struct Guard {
    slot: usize,
}

/// How many faults were caught since the process started. A change says that what was read in between is not to be
/// sent.
#[must_use]
pub fn trips() -> u64 {
    TRIPS.load(Ordering::Acquire)
}

impl Guard {
    /// Guards `map`.
    ///
    /// # Errors
    /// The handler cannot be installed, or [`MAX_GUARDED_MAPS`] are guarded.
    pub fn new(map: &[u8]) -> io::Result<Self> {
        install()?;
        for (index, slot) in SLOTS.iter().enumerate() {
            if slot
                .start
                .compare_exchange(0, FILLING, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
            {
                slot.tripped.store(false, Ordering::Relaxed);
                slot.bytes.store(map.len(), Ordering::Relaxed);
                slot.start.store(map.as_ptr() as usize, Ordering::Release);
                return Ok(Self { slot: index });
            }
        }
        Err(io::Error::new(
            io::ErrorKind::QuotaExceeded,
            "too many files are mapped",
        ))
    }

    /// Whether a fault was caught in this map: parts of it read as zeros now.
    #[must_use]
    pub fn is_tripped(&self) -> bool {
        SLOTS[self.slot].tripped.load(Ordering::Acquire)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        SLOTS[self.slot].start.store(0, Ordering::Release);
    }
}

/// The action that SIGBUS had before, and the size of a page, for the handler.
static mut PREVIOUS: MaybeUninit<libc::sigaction> = MaybeUninit::uninit();
static PAGE_BYTES: AtomicUsize = AtomicUsize::new(4_096);

fn install() -> io::Result<()> {
    static ONCE: Once = Once::new();
    static INSTALLED: AtomicBool = AtomicBool::new(false);
    ONCE.call_once(|| {
        PAGE_BYTES.store(rustix::param::page_size(), Ordering::Relaxed);
        let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) =
            on_sigbus;
        // SAFETY: an all-zero sigaction is a valid one; every field that matters is set below.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = handler as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        // SAFETY: both pointers are valid, and PREVIOUS is written here only, before the handler can run.
        let result =
            unsafe { libc::sigaction(libc::SIGBUS, &raw const action, (&raw mut PREVIOUS).cast()) };
        INSTALLED.store(result == 0, Ordering::Release);
    });
    if INSTALLED.load(Ordering::Acquire) {
        Ok(())
    } else {
        Err(io::Error::other("no SIGBUS handler"))
    }
}

/// Async-signal-safe: atomics, `mmap` and `sigaction` only.
extern "C" fn on_sigbus(
    _signal: libc::c_int,
    info: *mut libc::siginfo_t,
    _context: *mut libc::c_void,
) {
    // SAFETY: the kernel passes a valid siginfo to a handler installed with SA_SIGINFO.
    let address = unsafe { (*info).si_addr() } as usize;
    for slot in &SLOTS {
        let start = slot.start.load(Ordering::Acquire);
        if start <= FILLING
            || address < start
            || address - start >= slot.bytes.load(Ordering::Relaxed)
        {
            continue;
        }
        let page_bytes = PAGE_BYTES.load(Ordering::Relaxed);
        let page = address & !(page_bytes - 1);
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
        // SAFETY: the page lies within a map that its owner registered and keeps until the guard is dropped; only the
        // faulting page of it is replaced, by one that reads as zeros.
        let placed = unsafe {
            libc::mmap(
                page as *mut libc::c_void,
                page_bytes,
                libc::PROT_READ,
                flags,
                -1,
                0,
            )
        };
        if placed != libc::MAP_FAILED {
            slot.tripped.store(true, Ordering::Release);
            TRIPS.fetch_add(1, Ordering::AcqRel);
            return;
        }
    }
    // Not ours: put the previous action back, and let the instruction fault again.
    // SAFETY: PREVIOUS was written when the handler was installed.
    unsafe {
        libc::sigaction(
            libc::SIGBUS,
            (&raw const PREVIOUS).cast(),
            std::ptr::null_mut(),
        )
    };
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_truncated_map_reads_zeros_and_says_so() {
        let page = rustix::param::page_size();
        let mut file = tempfile::tempfile().expect("a temporary file");
        file.write_all(&vec![7; 4 * page]).expect("writable");
        // SAFETY: the test changes the file on purpose; loads past its end are what the guard is for.
        let map = unsafe { memmap2::Mmap::map(&file) }.expect("mappable");
        let guard = Guard::new(&map).expect("a free slot");
        let before = trips();
        assert_eq!(map[3 * page], 7);
        assert!(!guard.is_tripped());
        file.set_len(page as u64).expect("writable");
        let seen = std::hint::black_box(map[3 * page + 5]);
        assert_eq!(seen, 0);
        assert!(guard.is_tripped());
        assert!(trips() > before);
        assert_eq!(map[0], 7, "what is still there reads as ever");
    }

    #[test]
    fn slots_are_used_again() {
        let bytes = vec![0; 8];
        for _ in 0..MAX_GUARDED_MAPS + 1 {
            drop(Guard::new(&bytes).expect("a free slot"));
        }
    }
}
