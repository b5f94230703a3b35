//! A fixed number of 1 MiB buffers that circulate between the network thread and the hashers.

use super::SEGMENT_BYTES;

/// Owns the buffers that are not in use and counts those that are.
#[derive(Debug)]
pub(super) struct SegmentPool {
    free: Vec<Box<[u8]>>,
    made: usize,
    capacity: usize,
}

impl SegmentPool {
    /// At most `capacity` buffers; made when first needed.
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            free: Vec::with_capacity(capacity),
            made: 0,
            capacity,
        }
    }

    /// A buffer with unspecified content, or `None` when all are in use.
    pub(super) fn take(&mut self) -> Option<Box<[u8]>> {
        self.free.pop().or_else(|| {
            (self.made < self.capacity).then(|| {
                self.made += 1;
                vec![0; SEGMENT_BYTES as usize].into_boxed_slice()
            })
        })
    }

    /// A buffer beyond the capacity, for bytes that are already on their way. The credit told to the
    /// sender bounds how many of these there can be.
    pub(super) fn take_beyond(&mut self) -> Box<[u8]> {
        self.made += 1;
        vec![0; SEGMENT_BYTES as usize].into_boxed_slice()
    }

    /// Takes a buffer back.
    pub(super) fn give(&mut self, buffer: Box<[u8]>) {
        debug_assert_eq!(buffer.len(), SEGMENT_BYTES as usize);
        debug_assert!(self.free.len() < self.made);
        if self.made > self.capacity {
            self.made -= 1;
        } else {
            self.free.push(buffer);
        }
    }

    /// How many buffers could be taken now.
    pub(super) fn available(&self) -> usize {
        self.free.len() + self.capacity.saturating_sub(self.made)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_never_makes_more_than_its_capacity() {
        let mut pool = SegmentPool::new(2);
        let first = pool.take().unwrap();
        let _second = pool.take().unwrap();
        assert!(pool.take().is_none());
        assert_eq!(pool.available(), 0);
        pool.give(first);
        assert_eq!(pool.available(), 1);
        let third = pool.take().unwrap();
        let beyond = pool.take_beyond();
        assert_eq!(pool.available(), 0);
        pool.give(beyond);
        assert_eq!(pool.available(), 0);
        pool.give(third);
        assert_eq!(pool.available(), 1);
    }
}
