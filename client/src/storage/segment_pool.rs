//! A bounded amount of memory, in buffers that circulate between the network thread and the hashers.

use super::SEGMENT_BYTES;

/// Owns the buffers of whole segments that are not in use, and counts the bytes of those that are.
///
/// Files shorter than a segment get buffers of their own size, which are not kept: there is one for
/// a file, not one for a packet.
#[derive(Debug)]
pub(super) struct SegmentPool {
    free: Vec<Box<[u8]>>,
    /// Bytes of all buffers, free ones and those in use.
    made_bytes: u64,
    capacity_bytes: u64,
}

impl SegmentPool {
    /// At most `capacity` buffers of 1 MiB; made when first needed.
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            free: Vec::with_capacity(capacity),
            made_bytes: 0,
            capacity_bytes: capacity as u64 * u64::from(SEGMENT_BYTES),
        }
    }

    /// A buffer of `bytes` (1 MiB at most) with unspecified content, or `None` when there is no room for it.
    pub(super) fn take(&mut self, bytes: u32) -> Option<Box<[u8]>> {
        if bytes == SEGMENT_BYTES
            && let Some(buffer) = self.free.pop()
        {
            return Some(buffer);
        }
        if u64::from(bytes) > self.available_bytes() {
            return None;
        }
        while self.made_bytes + u64::from(bytes) > self.capacity_bytes {
            // There is room, so what is missing is free.
            self.free.pop()?;
            self.made_bytes -= u64::from(SEGMENT_BYTES);
        }
        Some(self.make(bytes))
    }

    /// A buffer beyond the capacity, for bytes that are already on their way. The credit told to the
    /// sender bounds how many of these there can be.
    pub(super) fn take_beyond(&mut self, bytes: u32) -> Box<[u8]> {
        self.make(bytes)
    }

    fn make(&mut self, bytes: u32) -> Box<[u8]> {
        self.made_bytes += u64::from(bytes);
        vec![0; bytes as usize].into_boxed_slice()
    }

    /// Takes a buffer back.
    pub(super) fn give(&mut self, buffer: Box<[u8]>) {
        if buffer.len() == SEGMENT_BYTES as usize && self.made_bytes <= self.capacity_bytes {
            self.free.push(buffer);
        } else {
            self.made_bytes -= buffer.len() as u64;
        }
    }

    /// How many bytes could be taken now.
    pub(super) fn available_bytes(&self) -> u64 {
        let free = self.free.len() as u64 * u64::from(SEGMENT_BYTES);
        (self.capacity_bytes + free).saturating_sub(self.made_bytes)
    }
}

/// Memory of small files that circulates between the network thread and whoever stores them, so that ever the same few
/// pages are written.
#[derive(Debug, Default)]
pub(super) struct SmallPool {
    free: Vec<Vec<u8>>,
    free_bytes: usize,
}

/// Bytes that wait to be used again at most, while small files come.
const MAX_FREE_SMALL_BYTES: usize = 16 << 20;

impl SmallPool {
    /// A buffer of `bytes` with unspecified content.
    pub(super) fn take(&mut self, bytes: usize) -> Vec<u8> {
        let mut buffer = self.free.pop().unwrap_or_default();
        self.free_bytes -= buffer.capacity();
        buffer.resize(bytes, 0);
        buffer
    }

    /// Takes a buffer back.
    pub(super) fn give(&mut self, buffer: Vec<u8>) {
        if buffer.capacity() > 0 && self.free_bytes + buffer.capacity() <= MAX_FREE_SMALL_BYTES {
            self.free_bytes += buffer.capacity();
            self.free.push(buffer);
        }
    }

    /// No small file comes now.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_buffers_come_back_and_those_that_wait_are_bounded() {
        let mut pool = SmallPool::default();
        let first = pool.take(4096);
        let place = first.as_ptr();
        pool.give(first);
        let again = pool.take(100);
        assert_eq!((again.as_ptr(), again.len()), (place, 100));
        for _ in 0..1000 {
            pool.give(vec![1; 65_536]);
        }
        assert!(pool.free_bytes <= MAX_FREE_SMALL_BYTES && pool.free.len() == 256);
        pool.clear();
        assert_eq!((pool.free_bytes, pool.free.len()), (0, 0));
        assert_eq!(pool.take(10).len(), 10);
    }

    const WHOLE: u64 = SEGMENT_BYTES as u64;

    #[test]
    fn it_never_makes_more_than_its_capacity() {
        let mut pool = SegmentPool::new(2);
        let first = pool.take(SEGMENT_BYTES).unwrap();
        let _second = pool.take(SEGMENT_BYTES).unwrap();
        assert!(pool.take(SEGMENT_BYTES).is_none());
        assert_eq!(pool.available_bytes(), 0);
        pool.give(first);
        assert_eq!(pool.available_bytes(), WHOLE);
        let third = pool.take(SEGMENT_BYTES).unwrap();
        let beyond = pool.take_beyond(SEGMENT_BYTES);
        assert_eq!(pool.available_bytes(), 0);
        pool.give(beyond);
        assert_eq!(pool.available_bytes(), 0);
        pool.give(third);
        assert_eq!(pool.available_bytes(), WHOLE);
    }

    #[test]
    fn short_files_take_what_they_need_and_give_it_back() {
        let mut pool = SegmentPool::new(2);
        let short: Vec<_> = (0..10).map(|_| pool.take(100_000).unwrap()).collect();
        assert_eq!(pool.available_bytes(), 2 * WHOLE - 1_000_000);
        assert_eq!(pool.take(SEGMENT_BYTES).unwrap().len(), 1 << 20);
        for buffer in short {
            pool.give(buffer);
        }
        // A free whole buffer makes way for short ones.
        let whole = pool.take(SEGMENT_BYTES).unwrap();
        pool.give(whole);
        assert!(pool.take(900_000).is_some());
        assert!(pool.take(100_000).is_some());
        assert!(pool.take(100_000).is_none());
        assert!(pool.available_bytes() < 100_000);
    }
}
