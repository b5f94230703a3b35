//! What a sender knows about the path's time: round trips and the timeouts that follow from them.

pub mod loss;
pub mod rtt;
pub mod sent_packets;
