//! Where the sender's bytes come from: the seam between transfers and files.

use crate::error::StreamEnd;

/// Names a file at the shell; the core only hands it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceKey(pub u64);

/// What the shell says when a train begins to take from a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrainState {
    /// Bytes may be taken; the trailer values of so many first segments are known.
    Ready {
        /// Count of known segment values.
        hashes: u32,
    },
    /// Not now; the shell will call [`crate::endpoint::Endpoint::source_ready`].
    Pending,
    /// The file is gone or has changed: the stream ends.
    End(StreamEnd),
}

/// Bytes of a file.
#[derive(Debug)]
pub enum SourceBytes<'a> {
    /// As many bytes as were asked for.
    Ready(&'a [u8]),
    /// Not in memory yet; the shell will call [`crate::endpoint::Endpoint::source_ready`].
    Pending,
    /// The file is gone or has changed: the stream ends.
    End(StreamEnd),
}

/// The files behind the streams of an endpoint. Nothing here may block.
pub trait Source {
    /// Called once for each train before bytes of a file are taken: the place to look whether it changed.
    fn begin_train(&mut self, source: SourceKey) -> TrainState;

    /// The `len` bytes at `offset`; always within the file's size as it was when the stream was started.
    fn file(&mut self, source: SourceKey, offset: u64, len: usize) -> SourceBytes<'_>;

    /// Copies trailer bytes from `offset` on (32 per segment) into `out`. Asked only for segments that
    /// [`Source::begin_train`] called known.
    fn copy_hashes(&mut self, source: SourceKey, offset: u64, out: &mut [u8]);
}
