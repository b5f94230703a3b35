//! What a link needs to know about the packets it carries.

use crate::impairments::IPV4_UDP_OVERHEAD_BYTES;

/// Something that can be sent over a [`Link`](crate::Link): bytes, and whatever the caller keeps with
/// them. Cloned when a packet is duplicated.
pub trait Payload: Clone {
    /// The bytes as they travel.
    fn bytes(&self) -> &[u8];

    /// Those of the bytes that may be damaged, to flip one of their bits.
    fn bytes_mut(&mut self) -> &mut [u8];

    /// Cuts the bytes to `len`, which is less than their length.
    fn truncate(&mut self, len: usize);

    /// Bytes that travel with it on the wire beyond [`bytes`](Self::bytes): the headers of IPv4 and UDP,
    /// unless it says otherwise.
    fn header_bytes(&self) -> u32 {
        IPV4_UDP_OVERHEAD_BYTES
    }

    /// Marks the packet Congestion Experienced if its sender can take that (RFC 3168, section 5), and
    /// says whether it did. Packets without an ECN field can't be marked.
    fn mark_congestion_experienced(&mut self) -> bool {
        false
    }
}

impl Payload for Vec<u8> {
    fn bytes(&self) -> &[u8] {
        self
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self
    }

    fn truncate(&mut self, len: usize) {
        Self::truncate(self, len);
    }
}

/// A payload with something attached, such as its address.
impl<A: Clone, P: Payload> Payload for (A, P) {
    fn bytes(&self) -> &[u8] {
        self.1.bytes()
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self.1.bytes_mut()
    }

    fn truncate(&mut self, len: usize) {
        self.1.truncate(len);
    }

    fn header_bytes(&self) -> u32 {
        self.1.header_bytes()
    }

    fn mark_congestion_experienced(&mut self) -> bool {
        self.1.mark_congestion_experienced()
    }
}
