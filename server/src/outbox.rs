//! What waits to be sent to one client: bounded in bytes and in time.

use std::collections::VecDeque;

use bytes::Bytes;
use columba_core::units::Timestamp;

use crate::limits::{MAX_OUTBOX_AGE, MAX_OUTBOX_BYTES};

/// Frames in their order. Chat frames are shared with all other outboxes.
#[derive(Debug, Default)]
pub struct Outbox {
    frames: VecDeque<(Bytes, Timestamp)>,
    bytes: usize,
}

/// The client does not read what is sent to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlowReader;

impl Outbox {
    /// Adds a frame.
    ///
    /// # Errors
    /// More than [`MAX_OUTBOX_BYTES`] would wait; the frame is not added.
    pub fn push(&mut self, frame: Bytes, now: Timestamp) -> Result<(), SlowReader> {
        if self.bytes + frame.len() > MAX_OUTBOX_BYTES {
            return Err(SlowReader);
        }
        self.bytes += frame.len();
        self.frames.push_back((frame, now));
        Ok(())
    }

    /// Adds the last words before the connection is closed: they replace all that waits, as it would not arrive
    /// in time anyway.
    pub fn replace_by(&mut self, frame: Bytes, now: Timestamp) {
        self.bytes = frame.len();
        self.frames.clear();
        self.frames.push_back((frame, now));
    }

    /// The next frame to send.
    pub fn pop(&mut self) -> Option<Bytes> {
        let (frame, _) = self.frames.pop_front()?;
        self.bytes -= frame.len();
        if self.frames.is_empty() {
            // An idle client keeps no buffer.
            self.frames = VecDeque::new();
        }
        Some(frame)
    }

    /// Whether the oldest frame has waited longer than [`MAX_OUTBOX_AGE`].
    #[must_use]
    pub fn is_overdue(&self, now: Timestamp) -> bool {
        self.frames
            .front()
            .is_some_and(|&(_, since)| now - since > MAX_OUTBOX_AGE)
    }

    /// When [`is_overdue`](Self::is_overdue) will be true if nothing is taken.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        self.frames
            .front()
            .map(|&(_, since)| since + MAX_OUTBOX_AGE)
    }

    /// Bytes that wait.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn frames_leave_in_their_order_and_bytes_are_counted() {
        let mut outbox = Outbox::default();
        outbox
            .push(Bytes::from_static(b"one"), Timestamp::ZERO)
            .expect("there is room");
        outbox
            .push(Bytes::from_static(b"three"), Timestamp::ZERO)
            .expect("there is room");
        assert_eq!(outbox.bytes(), 8);
        assert_eq!(outbox.pop().as_deref(), Some(&b"one"[..]));
        assert_eq!(outbox.pop().as_deref(), Some(&b"three"[..]));
        assert_eq!((outbox.pop(), outbox.bytes()), (None, 0));
    }

    #[test]
    fn bytes_are_bounded() {
        let mut outbox = Outbox::default();
        let frame = Bytes::from(vec![0; MAX_OUTBOX_BYTES / 4]);
        for _ in 0..4 {
            assert_eq!(outbox.push(frame.clone(), Timestamp::ZERO), Ok(()));
        }
        assert_eq!(
            outbox.push(Bytes::from_static(b"x"), Timestamp::ZERO),
            Err(SlowReader)
        );
        outbox.pop();
        assert_eq!(outbox.push(frame, Timestamp::ZERO), Ok(()));
    }

    #[test]
    fn time_is_bounded_from_the_oldest_frame_on() {
        let mut outbox = Outbox::default();
        let start = Timestamp::ZERO;
        outbox
            .push(Bytes::from_static(b"a"), start)
            .expect("there is room");
        outbox
            .push(Bytes::from_static(b"b"), start + MAX_OUTBOX_AGE)
            .expect("there is room");
        let later = start + MAX_OUTBOX_AGE + Duration::from_millis(1);
        assert!(!outbox.is_overdue(start + MAX_OUTBOX_AGE));
        assert!(outbox.is_overdue(later));
        outbox.pop();
        assert!(
            !outbox.is_overdue(later),
            "a client that reads something is alive"
        );
    }

    #[test]
    fn last_words_replace_what_waits() {
        let mut outbox = Outbox::default();
        outbox
            .push(Bytes::from_static(b"chat"), Timestamp::ZERO)
            .expect("there is room");
        outbox.replace_by(Bytes::from_static(b"bye"), Timestamp::ZERO);
        assert_eq!(outbox.bytes(), 3);
        assert_eq!(outbox.pop().as_deref(), Some(&b"bye"[..]));
        assert!(outbox.is_empty());
    }
}
