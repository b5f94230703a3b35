//! Asks the processor for bytes that are needed in a moment, so that they are in its cache by then.
#![cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "the instruction takes an address")
)]

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

/// How many slices before its turn a slice of a file is asked for: files are sent from front to back, and sealing waits for each
/// line that is not in the cache.
pub const SLICES_AHEAD: usize = 2;

/// Bytes that the processor moves at a time.
#[cfg(target_arch = "x86_64")]
const LINE_BYTES: usize = 64;

/// Starts to bring `bytes` into the cache; waits for nothing. No more than a hint, and none at all but on x86-64.
#[inline]
pub fn prefetch(bytes: &[u8]) {
    #[cfg(target_arch = "x86_64")]
    for line in bytes.chunks(LINE_BYTES) {
        // SAFETY: a hint that changes nothing and never faults, and all x86-64 have it.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = bytes;
}
