//! Every bound of the impairment engine.

use std::time::Duration;

/// Most packets that a link holds at once, queued or on their way; more count as queue drops.
pub const MAX_HELD_PACKETS: usize = 1 << 20;

/// Most payload bytes that a link holds at once; more count as queue drops.
pub const MAX_HELD_BYTES: u64 = 256 * 1024 * 1024;

/// A packet that is handed on more than this after its time counts as late.
pub const LATE: Duration = Duration::from_millis(1);

/// Smallest queue that a rate gets by default, in bytes.
pub const MIN_DEFAULT_QUEUE_BYTES: u64 = 64 * 1024;

/// Longest delay, jitter, reordering delay or blackhole phase.
pub const MAX_TIME: Duration = Duration::from_secs(3600);

/// Highest rate in bits per second.
pub const MAX_RATE_BITS_PER_SECOND: u64 = 1_000_000_000_000;

/// Most bytes added to each packet for headers below the payload.
pub const MAX_OVERHEAD_BYTES: u32 = 1024;

/// Most entries of a list of packets to drop.
pub const MAX_DROP_RULES: usize = 1024;

const _: () = assert!(MIN_DEFAULT_QUEUE_BYTES <= MAX_HELD_BYTES);
