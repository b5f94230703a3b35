//! The shared folder: which files there are, how they are opened, mapped, hashed and kept ahead of the senders.
//!
//! - `folder`: opens names below the shared folder and nothing else.
//! - `version`: tells whether a file is still the same.
//! - `index`: which files there are at one time.
//! - `catalog`: answers questions about it, on a thread of its own; `early`: while it still scans.
//! - `content`: a file's bytes: whole in memory when small, in mapped windows when large.
//! - `warm`: whether parts of a large file are in memory, and getting them there.
//! - `kept`: small files that were sent lately; `slabs`: memory for them; `visit`: whether they are still the same.
//! - `sigbus`: what happens when a mapped file shrinks.
//! - `hashes`: BLAKE3 values per segment, and the cache of them.
//! - `workers`: the helper threads.

pub mod catalog;
pub mod content;
mod early;
pub mod folder;
pub mod hashes;
pub mod index;
pub mod kept;
#[cfg(unix)]
pub mod sigbus;
pub mod slabs;
pub mod version;
pub mod visit;
pub mod warm;
pub mod workers;
