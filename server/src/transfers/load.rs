//! How much one client may have open at the server at a time.

use crate::files::content::SMALL_FILE_BYTES;

/// Bytes of small files that one association may have in memory, and how many of them.
const MAX_SMALL_BYTES: u64 = 16 * 1_024 * 1_024;
const MAX_SMALL_FILES: usize = 8_192;

/// Large files that one association may have open.
const MAX_LARGE_FILES: usize = 32;

/// What one association has open.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Load {
    small_bytes: u64,
    small_files: usize,
    large_files: usize,
}

impl Load {
    pub(super) fn has_room(&self, size: u64) -> bool {
        if size <= SMALL_FILE_BYTES {
            self.small_files < MAX_SMALL_FILES && self.small_bytes + size <= MAX_SMALL_BYTES
        } else {
            self.large_files < MAX_LARGE_FILES
        }
    }

    pub(super) fn add(&mut self, size: u64) {
        if size <= SMALL_FILE_BYTES {
            self.small_files += 1;
            self.small_bytes += size;
        } else {
            self.large_files += 1;
        }
    }

    pub(super) fn remove(&mut self, size: u64) {
        if size <= SMALL_FILE_BYTES {
            self.small_files = self.small_files.saturating_sub(1);
            self.small_bytes = self.small_bytes.saturating_sub(size);
        } else {
            self.large_files = self.large_files.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_bounded_by_number_and_by_bytes() {
        let mut load = Load::default();
        for _ in 0..MAX_LARGE_FILES {
            assert!(load.has_room(1 << 30));
            load.add(1 << 30);
        }
        assert!(!load.has_room(1 << 30) && load.has_room(SMALL_FILE_BYTES));
        for _ in 0..MAX_SMALL_BYTES / SMALL_FILE_BYTES {
            load.add(SMALL_FILE_BYTES);
        }
        assert!(!load.has_room(1));
        load.remove(SMALL_FILE_BYTES);
        load.remove(1 << 30);
        assert!(load.has_room(1) && load.has_room(1 << 30));
    }
}
