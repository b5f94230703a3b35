//! What a sender learns of the path from what comes back: round trips, losses, marks.

pub mod ecn;
pub mod loss;
pub mod rtt;
pub mod sent_packets;
