//! Asks the processor for bytes that are needed in a moment, so that they are in its cache by then.
#![cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "the instruction takes an address")
)]

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

/// How many slices before its turn a slice of a file is asked for: files are sent from front to back, and sealing waits for each
/// line that is not in the cache.
const SLICES_AHEAD: usize = 2;

/// Bytes that the processor moves at a time.
#[cfg(target_arch = "x86_64")]
const LINE_BYTES: usize = 64;

/// Called for each slice of `bytes` that is sent, from `start` on and `len` long: starts to bring a later one into the cache, if
/// there is one.
#[inline]
pub fn prefetch_ahead(bytes: &[u8], start: usize, len: usize) {
    let soon = start + SLICES_AHEAD * len;
    if let Some(soon) = bytes.get(soon..soon + len) {
        prefetch(soon);
    }
}

/// Waits for nothing. No more than a hint, and none at all but on x86-64.
#[inline]
fn prefetch(bytes: &[u8]) {
    #[cfg(target_arch = "x86_64")]
    for line in bytes.chunks(LINE_BYTES) {
        // SAFETY: a hint that changes nothing and never faults, and all x86-64 have it.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = bytes;
}
