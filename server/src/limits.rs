//! Every bound of the server that is not the protocol's own (see `columba_core::control::limits`).

use std::time::Duration;

/// Bytes that may wait for one client; beyond, it is cut off as a slow reader. Chat frames are shared among all
/// queues, so a thousand slow readers of one message cost that message once.
pub const MAX_OUTBOX_BYTES: usize = 4 * 1_024 * 1_024;

/// How long the oldest byte may wait for a client that takes nothing.
pub const MAX_OUTBOX_AGE: Duration = Duration::from_secs(15);

/// Bytes handed to a client's stream ahead of what the socket takes.
pub const STREAM_AHEAD_BYTES: usize = 64 * 1_024;

/// Long answers (lists) are made page by page while less than this waits.
pub const LISTING_LOW_BYTES: usize = 128 * 1_024;

/// Requests of one client that may wait for their answer.
pub const MAX_PENDING_REQUESTS: usize = 64;

/// Time for the TLS handshake and Hello together.
pub const HELLO_DEADLINE: Duration = Duration::from_secs(10);

/// Silence after which the server asks whether the client is still there.
pub const PING_AFTER: Duration = Duration::from_secs(30);

/// Silence after which it gives up.
pub const IDLE_LIMIT: Duration = Duration::from_secs(90);

/// Time for the last words to reach a client whose connection is being closed.
pub const CLOSE_DEADLINE: Duration = Duration::from_secs(2);

/// Time to finish what is queued when the server is told to stop.
pub const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(4);

/// Shortest time between two announcements of who came and went.
pub const PRESENCE_INTERVAL: Duration = Duration::from_millis(100);

/// Messages that are kept for those who come back, and their bytes.
pub const MAX_HISTORY_MESSAGES: usize = 1_024;
/// See [`MAX_HISTORY_MESSAGES`].
pub const MAX_HISTORY_BYTES: usize = 512 * 1_024;

/// Bytes read from one client in one turn of the loop.
pub const READ_BUDGET_BYTES: usize = 64 * 1_024;

/// Frames handled for one client in one turn of the loop.
pub const FRAME_BUDGET: usize = 64;

/// Connections accepted in one turn of the loop.
pub const ACCEPT_BUDGET: usize = 64;

/// Connections that have not said Hello, from one address (loopback exempt): of many people behind one router, with
/// up to six connections each while packets are lost.
pub const MAX_STRANGERS_PER_ADDRESS: usize = 256;

/// Connections that have not said Hello, from anywhere.
pub const MAX_STRANGERS: usize = 4_096;

/// Names that one key may own; further ones are used unowned.
pub const MAX_NAMES_PER_KEY: usize = 32;

/// Names that are remembered at all.
pub const MAX_OWNED_NAMES: usize = 100_000;

/// Files offered to one client that it may still start.
pub const MAX_OFFERED_FILES: usize = 1 << 20;

/// Files in the index of the shared folder.
pub const MAX_SHARED_FILES: usize = 4_000_000;

/// Folders below folders.
pub const MAX_FOLDER_DEPTH: usize = 64;

/// Bytes of cached hashes (32 for each MiB of files).
pub const MAX_CACHED_HASH_BYTES: usize = 64 * 1_024 * 1_024;

/// A file changed this recently may change again within the resolution of its timestamps: its hashes are not kept.
pub const HASH_SETTLED: Duration = Duration::from_secs(2);

/// File descriptors kept free for files, helper threads and the process itself.
pub const RESERVED_DESCRIPTORS: u64 = 64;

const _: () = assert!(MAX_OUTBOX_BYTES > 16 * columba_core::control::limits::MAX_FRAME_BYTES);
const _: () =
    assert!(LISTING_LOW_BYTES + columba_core::control::limits::MAX_FRAME_BYTES < MAX_OUTBOX_BYTES);
const _: () = assert!(4 * MAX_HISTORY_BYTES <= MAX_OUTBOX_BYTES);
const _: () = assert!(READ_BUDGET_BYTES >= columba_core::control::limits::MAX_FRAME_BYTES);
const _: () = assert!(PING_AFTER.as_secs() < IDLE_LIMIT.as_secs());
const _: () = assert!(SHUTDOWN_DEADLINE.as_secs() < 5);
