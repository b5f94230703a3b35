//! What is between the server and a client: datagrams with their ECN field, and a router that may tamper with it.

use columba_core::units::Ecn;
use columba_loss_sim::Payload;

/// What a router on the path does with the ECN field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Router {
    Honest,
    /// Clears it.
    Bleaches,
    /// Marks every packet that can be.
    MarksAll,
    /// Drops what isn't Not-ECT.
    BlackHole,
}

impl Router {
    /// What the field is behind the router; `None` where the packet is dropped.
    pub(crate) const fn pass(self, ecn: Ecn) -> Option<Ecn> {
        match (self, ecn) {
            (Self::Bleaches, _) => Some(Ecn::NotEct),
            (_, Ecn::NotEct) | (Self::Honest, _) => Some(ecn),
            (Self::MarksAll, _) => Some(Ecn::Ce),
            (Self::BlackHole, _) => None,
        }
    }
}

/// A datagram under way, with the one field of its IP header that matters.
#[derive(Debug, Clone)]
pub(crate) struct Datagram {
    pub(crate) bytes: Vec<u8>,
    pub(crate) ecn: Ecn,
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
        let capable = self.ecn != Ecn::NotEct;
        if capable {
            self.ecn = Ecn::Ce;
        }
        capable
    }
}
