//! Where received bytes go: the seam between transfers and files.

/// Takes the bytes of files. Nothing here may block for long: while it does, nothing is received.
pub trait Storage {
    /// Room for `bytes` bytes at `offset` of the file of `stream`. The core opens a packet into it, and the bytes count
    /// only after [`Self::commit`]: until then the room may be filled with garbage (a forged packet zeroes it), so it
    /// must not hold bytes that are still needed.
    fn reserve(&mut self, stream: u32, offset: u64, bytes: usize) -> &mut [u8];

    /// The room reserved last holds authentic bytes, from its start, `bytes` long. Errors are kept by the storage.
    fn commit(&mut self, stream: u32, offset: u64, bytes: usize);
}
