//! Columba's core: wire formats, Selective Repeat, recovery, congestion control, without I/O, clock or threads.
#![forbid(unsafe_code)]

pub mod cell_set;
pub mod error;
pub mod layout;
pub mod limits;
pub mod packet_number;
pub mod protection;
pub mod wire;
