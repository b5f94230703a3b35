//! What waits to be sent: shared chunks, bounded in bytes.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};

/// Chunks that one vectored write takes.
pub(super) const WRITE_SLICES: usize = 32;

/// An idle queue keeps room for this many chunks.
const IDLE_CHUNKS: usize = 8;

/// Why a chunk was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueueError {
    /// The peer reads too slowly: the queue would exceed its bound.
    #[error("the outgoing queue is full ({queued_bytes} bytes)")]
    Full {
        /// What waits already.
        queued_bytes: usize,
    },
    /// The stream is being closed.
    #[error("the stream is being closed")]
    Closed,
}

/// Chunks in order; the first may be partly sent.
#[derive(Debug)]
pub(super) struct OutgoingQueue {
    chunks: VecDeque<Bytes>,
    bytes: usize,
}

impl OutgoingQueue {
    pub(super) fn new() -> Self {
        Self {
            chunks: VecDeque::new(),
            bytes: 0,
        }
    }

    pub(super) fn push(&mut self, chunk: Bytes) {
        if !chunk.is_empty() {
            self.bytes += chunk.len();
            self.chunks.push_back(chunk);
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// The unsent part of the first chunk.
    pub(super) fn front(&self) -> Option<&[u8]> {
        self.chunks.front().map(Bytes::as_ref)
    }

    /// The unsent parts of the first chunks; returns how many slices were filled.
    pub(super) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>; WRITE_SLICES]) -> usize {
        let filled = slices.iter_mut().zip(&self.chunks);
        filled
            .map(|(slice, chunk)| *slice = IoSlice::new(chunk))
            .count()
    }

    /// Forgets the first `bytes` bytes: they are on their way.
    pub(super) fn advance(&mut self, mut bytes: usize) {
        self.bytes -= bytes;
        while bytes > 0 {
            let Some(front) = self.chunks.front_mut() else {
                return;
            };
            let step = bytes.min(front.len());
            front.advance(step);
            bytes -= step;
            if front.is_empty() {
                self.chunks.pop_front();
            }
        }
        if self.chunks.is_empty() && self.chunks.capacity() > IDLE_CHUNKS {
            self.chunks = VecDeque::new();
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advancing_crosses_chunks_and_counts_bytes() {
        let mut queue = OutgoingQueue::new();
        for text in ["hello", "", " ", "world"] {
            queue.push(Bytes::from_static(text.as_bytes()));
        }
        assert_eq!(queue.bytes(), 11);
        queue.advance(2);
        assert_eq!(queue.front(), Some(&b"llo"[..]));
        let mut slices = [IoSlice::new(&[]); WRITE_SLICES];
        assert_eq!(queue.slices(&mut slices), 3);
        assert_eq!(&*slices[2], b"world");
        queue.advance(5);
        assert_eq!(queue.front(), Some(&b"orld"[..]));
        queue.advance(4);
        assert!(queue.is_empty());
        assert_eq!(queue.bytes(), 0);
    }

    #[test]
    fn an_emptied_queue_gives_its_memory_back() {
        let mut queue = OutgoingQueue::new();
        for _ in 0..1000 {
            queue.push(Bytes::from_static(b"x"));
        }
        let mut slices = [IoSlice::new(&[]); WRITE_SLICES];
        assert_eq!(queue.slices(&mut slices), WRITE_SLICES);
        queue.advance(1000);
        assert!(queue.chunks.capacity() <= IDLE_CHUNKS);
    }
}
