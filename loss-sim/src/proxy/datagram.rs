//! Datagrams on their way through the proxy, and the buffers they live in.

use crate::payload::Payload;
use crate::proxy::token::Slot;

/// ECN codepoint of packets that met congestion (RFC 3168, section 5).
const CONGESTION_EXPERIENCED: u8 = 0b11;

/// A datagram of one client, in either direction.
#[derive(Debug, Clone)]
pub(crate) struct Datagram {
    /// Whose it is.
    pub(crate) flow: Slot,
    /// Its ECN codepoint, two bits.
    pub(crate) ecn: u8,
    pub(crate) bytes: Vec<u8>,
}

impl Payload for Datagram {
    fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    fn truncate(&mut self, len: usize) {
        self.bytes.truncate(len);
    }

    fn mark_congestion_experienced(&mut self) -> bool {
        let capable = self.ecn != 0;
        if capable {
            self.ecn = CONGESTION_EXPERIENCED;
        }
        capable
    }
}

/// Most bytes that idle buffers may take.
const MAX_IDLE_BYTES: usize = 32 * 1024 * 1024;
/// Least capacity of a buffer: any datagram of an ordinary path fits.
const MIN_BUFFER_BYTES: usize = 2048;

/// Buffers to use again, so that relaying a datagram allocates nothing once the proxy has warmed up.
#[derive(Debug, Default)]
pub(crate) struct BufferPool {
    idle: Vec<Vec<u8>>,
    idle_bytes: usize,
}

impl BufferPool {
    /// A buffer that holds a copy of `bytes`.
    pub(crate) fn copy_of(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut buffer = match self.idle.pop() {
            Some(buffer) => {
                self.idle_bytes -= buffer.capacity();
                buffer
            }
            None => Vec::with_capacity(bytes.len().max(MIN_BUFFER_BYTES)),
        };
        buffer.clear();
        buffer.extend_from_slice(bytes);
        buffer
    }

    /// Takes back a buffer.
    pub(crate) fn give_back(&mut self, buffer: Vec<u8>) {
        if self.idle_bytes + buffer.capacity() <= MAX_IDLE_BYTES {
            self.idle_bytes += buffer.capacity();
            self.idle.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_used_again() {
        let mut pool = BufferPool::default();
        let buffer = pool.copy_of(b"coo");
        let address = buffer.as_ptr();
        pool.give_back(buffer);
        let again = pool.copy_of(b"roo");
        assert_eq!((again.as_ptr(), again.as_slice()), (address, &b"roo"[..]));
        assert_eq!(pool.idle_bytes, 0);
    }

    #[test]
    fn the_pool_is_bounded() {
        let mut pool = BufferPool::default();
        pool.give_back(Vec::with_capacity(MAX_IDLE_BYTES));
        pool.give_back(Vec::with_capacity(1));
        assert_eq!(pool.idle.len(), 1);
    }

    #[test]
    fn only_capable_packets_are_marked() {
        let slot = Slot {
            key: 0,
            generation: 0,
        };
        let mut datagram = Datagram {
            flow: slot,
            ecn: 0,
            bytes: Vec::new(),
        };
        assert!(!datagram.mark_congestion_experienced());
        datagram.ecn = 0b10;
        assert!(datagram.mark_congestion_experienced());
        assert_eq!(datagram.ecn, 0b11);
    }
}
