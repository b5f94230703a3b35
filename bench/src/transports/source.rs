//! The bytes that are sent: one file, mapped.
#![expect(
    unsafe_code,
    reason = "maps a file that this program made and leaves alone"
)]

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result};
use bytes::Bytes;

/// What every server sends from.
#[derive(Debug, Clone)]
pub(crate) struct Source(Bytes);

impl Source {
    /// Maps the file.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let context = || format!("cannot map {}", path.display());
        let file = File::open(path).with_context(context)?;
        // SAFETY: the file lies in the workload's own temporary folder; nothing writes to it or shortens it once it is made.
        let map = unsafe { memmap2::Mmap::map(&file) }.with_context(context)?;
        Ok(Self(Bytes::from_owner(map)))
    }

    /// All bytes there are.
    pub(crate) fn all(&self) -> &[u8] {
        &self.0
    }

    /// `bytes` bytes, in pieces of at most `piece` bytes that share the mapping; it begins anew where the file ends.
    pub(crate) fn pieces(&self, bytes: u64, piece: usize) -> impl Iterator<Item = Bytes> {
        let (mut at, mut left) = (0, bytes);
        std::iter::from_fn(move || {
            if at == self.0.len() {
                at = 0;
            }
            let rest = self.0.len() - at;
            let count = usize::try_from(left).unwrap_or(usize::MAX);
            let count = count.min(piece).min(rest);
            if count == 0 {
                return None;
            }
            let piece = self.0.slice(at..at + count);
            at += count;
            left -= count as u64;
            Some(piece)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_make_up_what_was_asked_for() {
        let source = Source(Bytes::from_static(b"abcdefg"));
        let taken: Vec<Bytes> = source.pieces(17, 3).collect();
        assert_eq!(taken.concat(), b"abcdefgabcdefgabc");
        assert!(taken.iter().all(|piece| piece.len() <= 3));
    }
}
