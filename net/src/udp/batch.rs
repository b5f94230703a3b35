//! Preallocated room for what one receive call brings.

use std::net::SocketAddr;

use columba_core::units::Ecn;

/// A batch of receive slots, each with room for a whole train; allocated once, used for ever.
///
/// The memory is touched only as trains arrive, so an idle batch costs address space alone.
#[derive(Debug)]
pub struct RecvBatch {
    pub(super) buffer: Box<[u8]>,
    pub(super) received: Vec<Received>,
}

/// What the kernel said about one slot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Received {
    pub(super) from: SocketAddr,
    pub(super) ecn: Option<Ecn>,
    pub(super) segment_bytes: usize,
    pub(super) slot: usize,
    pub(super) bytes: usize,
}

/// Datagrams from one sender that the kernel delivered together (generic receive offload).
#[derive(Debug)]
pub struct RecvTrain<'a> {
    /// Where it came from; never a v4-mapped address. Port 0 is possible and must not be answered.
    pub from: SocketAddr,
    /// The ECN codepoint of all datagrams in the train; `None` where the platform does not tell.
    pub ecn: Option<Ecn>,
    /// The size of each datagram in `data` but the last, which may be shorter. Never 0.
    pub segment_bytes: usize,
    /// The payloads, one directly after the other; empty for an empty datagram.
    pub data: &'a mut [u8],
}

impl RecvTrain<'_> {
    /// The single datagrams, in order of arrival.
    pub fn datagrams(&mut self) -> impl ExactSizeIterator<Item = &mut [u8]> {
        self.data.chunks_mut(self.segment_bytes)
    }
}

impl RecvBatch {
    /// Slots, and so the most trains one call can bring.
    pub const SLOTS: usize = 16;

    /// Room in a slot: the kernel merges datagrams to at most this.
    pub const SLOT_BYTES: usize = 65_536;

    /// An empty batch; the one allocation of the receive path.
    #[must_use]
    pub fn new() -> Self {
        Self {
            buffer: vec![0; Self::SLOTS * Self::SLOT_BYTES].into_boxed_slice(),
            received: Vec::with_capacity(Self::SLOTS),
        }
    }

    /// The trains of the last receive call.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = RecvTrain<'_>> {
        let mut slots = self.buffer.chunks_exact_mut(Self::SLOT_BYTES).enumerate();
        self.received.iter().filter_map(move |received| {
            // Both sides ascend, so each slot is visited at most once.
            let (_, slot) = slots.find(|(index, _)| *index == received.slot)?;
            Some(RecvTrain {
                from: received.from,
                ecn: received.ecn,
                segment_bytes: received.segment_bytes.max(1),
                data: slot.get_mut(..received.bytes)?,
            })
        })
    }

    /// How many trains the last receive call brought.
    #[must_use]
    pub fn len(&self) -> usize {
        self.received.len()
    }

    /// Whether the last receive call brought nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.received.is_empty()
    }
}

impl Default for RecvBatch {
    fn default() -> Self {
        Self::new()
    }
}
