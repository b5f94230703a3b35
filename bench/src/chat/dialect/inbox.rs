//! Received bytes of protocols that are made of lines and of blocks whose length a line tells.

use anyhow::{Context, Result, bail};

/// Longer lines are none.
const MAX_LINE_BYTES: usize = 64 * 1024;

/// Bytes, of which the first `taken` are done with.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    pub(super) bytes: Vec<u8>,
    taken: usize,
}

/// Reads on from a place in the inbox; nothing is taken until [`Inbox::take`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor(usize);

impl Inbox {
    /// Where new bytes go; what was taken is dropped first.
    pub(super) fn sink(&mut self) -> &mut Vec<u8> {
        self.bytes.drain(..self.taken);
        self.taken = 0;
        &mut self.bytes
    }

    pub(super) fn cursor(&self) -> Cursor {
        Cursor(self.taken)
    }

    /// Everything before the cursor is done with.
    pub(super) fn take(&mut self, cursor: Cursor) {
        self.taken = cursor.0;
    }

    /// The next line without its end; `None` when it is not all here.
    pub(super) fn line(&self, cursor: &mut Cursor) -> Result<Option<&str>> {
        let rest = &self.bytes[cursor.0..];
        let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") else {
            if rest.len() > MAX_LINE_BYTES {
                bail!("the service sent a line without an end");
            }
            return Ok(None);
        };
        cursor.0 += end + 2;
        let line = std::str::from_utf8(&rest[..end]).context("the service sent no text")?;
        Ok(Some(line))
    }

    /// The next `length` bytes and the line's end behind them.
    pub(super) fn block(&self, cursor: &mut Cursor, length: usize) -> Option<&[u8]> {
        let end = cursor.0.checked_add(length)?;
        let block = self.bytes.get(cursor.0..end)?;
        self.bytes.get(end..end.checked_add(2)?)?;
        cursor.0 = end + 2;
        Some(block)
    }
}
