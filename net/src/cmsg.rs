//! Control messages of `sendmsg` and `recvmmsg` as plain bytes: the kernel's ABI (cmsg(3)) read and
//! written without a pointer.
//!
//! A message is `size_t length` (header and value, without padding), `int level`, `int type`, the
//! value, then padding to the size of a pointer.

use std::mem::size_of;

use libc::c_int;

const WORD: usize = size_of::<usize>();
const INT: usize = size_of::<c_int>();
const HEADER_BYTES: usize = WORD + 2 * INT;
const _: () = assert!(HEADER_BYTES.is_multiple_of(WORD));

const fn padded(bytes: usize) -> usize {
    bytes.next_multiple_of(WORD)
}

/// A control buffer aligned as the kernel and libc expect it.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(crate) struct Control<const BYTES: usize>(pub(super) [u8; BYTES]);

impl<const BYTES: usize> Control<BYTES> {
    pub(crate) const fn new() -> Self {
        Self([0; BYTES])
    }
}

/// Room that messages with values of these sizes take together.
pub(crate) const fn space_for(values: &[usize]) -> usize {
    let mut bytes = 0;
    let mut index = 0;
    while index < values.len() {
        bytes += HEADER_BYTES + padded(values[index]);
        index += 1;
    }
    bytes
}

/// Appends messages to a control buffer.
pub(crate) struct Writer<'a> {
    buffer: &'a mut [u8],
    used: usize,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(buffer: &'a mut [u8]) -> Self {
        Self { buffer, used: 0 }
    }

    /// Panics when the buffer is too small: its size is a constant next to the pushes.
    pub(crate) fn push(&mut self, level: c_int, kind: c_int, value: &[u8]) {
        let message = &mut self.buffer[self.used..][..HEADER_BYTES + padded(value.len())];
        message[..WORD].copy_from_slice(&(HEADER_BYTES + value.len()).to_ne_bytes());
        message[WORD..WORD + INT].copy_from_slice(&level.to_ne_bytes());
        message[WORD + INT..HEADER_BYTES].copy_from_slice(&kind.to_ne_bytes());
        let (head, padding) = message[HEADER_BYTES..].split_at_mut(value.len());
        head.copy_from_slice(value);
        padding.fill(0);
        self.used += HEADER_BYTES + padded(value.len());
    }

    /// Bytes written, for `msg_controllen`.
    pub(crate) fn used(&self) -> usize {
        self.used
    }
}

/// One received message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    pub(crate) level: c_int,
    pub(crate) kind: c_int,
    pub(crate) value: &'a [u8],
}

impl Message<'_> {
    /// The value as the kernel's `int`, or as the single octet it uses for `IP_TOS`.
    pub(crate) fn as_int(&self) -> Option<c_int> {
        match *self.value {
            [octet] => Some(c_int::from(octet)),
            [a, b, c, d, ..] => Some(c_int::from_ne_bytes([a, b, c, d])),
            _ => None,
        }
    }
}

/// Walks the messages in the used part of a control buffer; stops at the first malformed one.
pub(crate) fn messages(mut rest: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let (length, after) = rest.split_first_chunk::<WORD>()?;
        let (level, after) = after.split_first_chunk::<INT>()?;
        let (kind, after) = after.split_first_chunk::<INT>()?;
        let value_bytes = usize::from_ne_bytes(*length).checked_sub(HEADER_BYTES)?;
        let value = after.get(..value_bytes)?;
        rest = after.get(padded(value_bytes)..).unwrap_or_default();
        Some(Message {
            level: c_int::from_ne_bytes(*level),
            kind: c_int::from_ne_bytes(*kind),
            value,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_messages_read_back() {
        const BYTES: usize = space_for(&[1, 4, 2]);
        let mut control = Control::<BYTES>([0xff; BYTES]);
        let mut writer = Writer::new(&mut control.0);
        writer.push(1, 2, &[7]);
        writer.push(-3, 4, &9_i32.to_ne_bytes());
        writer.push(5, 6, &[1, 2]);
        assert_eq!(writer.used(), BYTES);
        let read: Vec<_> = messages(&control.0).collect();
        assert_eq!(read.len(), 3);
        assert_eq!(read[0].as_int(), Some(7));
        assert_eq!((read[1].level, read[1].as_int()), (-3, Some(9)));
        assert_eq!(read[2].as_int(), None);
        assert_eq!(read[2].value, &[1, 2]);
    }

    #[test]
    fn the_layout_is_the_one_libc_computes() {
        assert_eq!(HEADER_BYTES, size_of::<libc::cmsghdr>());
        for value_bytes in [1_usize, 2, 4, 8] {
            let wanted = HEADER_BYTES + value_bytes.next_multiple_of(WORD);
            assert_eq!(space_for(&[value_bytes]), wanted);
        }
    }

    #[test]
    fn malformed_lengths_end_the_walk() {
        for length in [0, HEADER_BYTES - 1, HEADER_BYTES + 9, usize::MAX] {
            let mut bytes = [0_u8; HEADER_BYTES + 8];
            bytes[..WORD].copy_from_slice(&length.to_ne_bytes());
            assert_eq!(messages(&bytes).count(), 0, "length {length}");
        }
        for cut in 0..HEADER_BYTES {
            assert_eq!(messages(&[0xff; HEADER_BYTES][..cut]).count(), 0);
        }
    }

    #[test]
    fn the_last_message_may_lack_its_padding() {
        let mut bytes = [0_u8; HEADER_BYTES + 1];
        bytes[..WORD].copy_from_slice(&(HEADER_BYTES + 1).to_ne_bytes());
        bytes[HEADER_BYTES] = 3;
        let read: Vec<_> = messages(&bytes).collect();
        assert_eq!(read.len(), 1);
        assert_eq!(read[0].as_int(), Some(3));
    }
}
