//! Counts heap allocations of the processes that are measured.
//!
//! Every role of these programs allocates through this, so that a claim of "no allocation per packet" is a number that the
//! workloads print. It costs one relaxed addition per allocation, to a counter that few threads share: one for all would go from
//! processor to processor each time.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// On cache lines of its own, with the one that is fetched along.
#[repr(align(128))]
struct Counter(AtomicU64);

static COUNTERS: [Counter; 16] = [const { Counter(AtomicU64::new(0)) }; 16];
static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// This thread's counter; none yet when it is past the end. Neither made nor dropped by code that could allocate.
    static PLACE: Cell<usize> = const { Cell::new(COUNTERS.len()) };
}

fn add_one() {
    // Past a thread's end there is no place any more.
    let place = PLACE.try_with(|place| {
        if place.get() == COUNTERS.len() {
            place.set(THREADS.fetch_add(1, Ordering::Relaxed) % COUNTERS.len());
        }
        place.get()
    });
    COUNTERS[place.unwrap_or(0)]
        .0
        .fetch_add(1, Ordering::Relaxed);
}

/// Allocations and reallocations of this process so far.
pub(crate) fn count() -> u64 {
    COUNTERS
        .iter()
        .map(|counter| counter.0.load(Ordering::Relaxed))
        .sum()
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call goes to the system's allocator as it came; the counters touch no memory that is handed out.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add_one();
        // SAFETY: the caller's contract is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        add_one();
        // SAFETY: the caller's contract is passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        add_one();
        // SAFETY: the caller's contract is passed on.
        unsafe { System.realloc(pointer, layout, bytes) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}
