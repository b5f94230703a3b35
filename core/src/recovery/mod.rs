//! What a sender knows about the path's time: round trips and the timeouts that follow from them.

pub mod rtt;
