//! What the core asks of the files while it fills a train: slices, and hash values. Nothing here blocks; what is not in
//! memory is read ahead by a helper.

use std::sync::Arc;

use columba_core::error::StreamEnd;
use columba_core::server::{Source, SourceBytes, SourceKey, TrainState};

use super::{FileStore, State, end_of, to_id};
use crate::files::content::{Check, Content};
use crate::files::hashes::SEGMENT_BYTES;
use crate::files::warm::{LOOK_AHEAD_SEGMENTS, ReadAhead};
use crate::files::workers::Priority;
use crate::slots::SlotId;

impl FileStore {
    /// Opens a file that is asked for its bytes for the first time, or has it wait for room.
    fn begin_file(&mut self, id: SlotId) -> TrainState {
        let has_room = self.try_open(id);
        match self.files.get_mut(id) {
            Some(stored) if !has_room => {
                stored.state = State::Waiting;
                for (user, _) in &stored.users {
                    self.waiting.entry(*user).or_default().push_back(id);
                }
                TrainState::Pending
            }
            Some(stored) if matches!(stored.state, State::Open(_)) => self.ready(id),
            Some(_) | None => TrainState::Pending,
        }
    }

    /// An open file has its turn.
    fn ready(&mut self, id: SlotId) -> TrainState {
        let Some(stored) = self.files.get_mut(id) else {
            return TrainState::End(StreamEnd::Unreadable);
        };
        if let Some(started) = stored.started.take() {
            self.first_bytes.push(self.now - started);
        }
        let hashes = u32::try_from(stored.known_hashes().len()).unwrap_or(u32::MAX);
        TrainState::Ready { hashes }
    }
}

impl Source for FileStore {
    fn begin_train(&mut self, source: SourceKey) -> TrainState {
        let Some(id) = to_id(source) else {
            return TrainState::End(StreamEnd::Unreadable);
        };
        let Some(stored) = self.files.get_mut(id) else {
            return TrainState::End(StreamEnd::Unreadable);
        };
        match &mut stored.state {
            State::Closed => return self.begin_file(id),
            // Whoever made it wait may have too much open; another client that wants it need not.
            State::Waiting => {
                self.try_open(id);
                return TrainState::Pending;
            }
            State::Opening => return TrainState::Pending,
            State::Failed(end) => return TrainState::End(*end),
            State::Open(Content::Whole(_)) => {}
            State::Open(Content::Mapped(mapped)) => {
                let end = match mapped.check_train(self.now) {
                    Check::Same => None,
                    Check::Changed => Some(StreamEnd::FileChanged),
                    Check::Unreadable => Some(StreamEnd::Unreadable),
                };
                if let Some(end) = end {
                    stored.state = State::Failed(end);
                    return TrainState::End(end);
                }
            }
        }
        self.ready(id)
    }

    fn file(&mut self, source: SourceKey, offset: u64, len: usize) -> SourceBytes<'_> {
        let now_s = self.now_s();
        let Some((id, stored)) = to_id(source).and_then(|id| Some((id, self.files.get_mut(id)?)))
        else {
            return SourceBytes::End(StreamEnd::Unreadable);
        };
        match &mut stored.state {
            State::Open(Content::Whole(whole)) => {
                let slice = usize::try_from(offset)
                    .ok()
                    .and_then(|start| whole.bytes.get(start..start.checked_add(len)?));
                slice.map_or(SourceBytes::End(StreamEnd::Unreadable), SourceBytes::Ready)
            }
            State::Open(Content::Mapped(mapped)) => {
                let first = u32::try_from(offset / SEGMENT_BYTES).unwrap_or(u32::MAX);
                let last = u32::try_from((offset + len as u64).saturating_sub(1) / SEGMENT_BYTES)
                    .unwrap_or(u32::MAX);
                let warm = mapped.is_warm(first, now_s) && mapped.is_warm(last, now_s);
                // In time for what comes next.
                let ahead = last.saturating_add(LOOK_AHEAD_SEGMENTS / 2);
                let enough = warm && mapped.is_warm(ahead, now_s);
                if !enough && !stored.reading {
                    let cold = (first..=ahead).find(|&segment| !mapped.is_warm(segment, now_s));
                    let job = ReadAhead {
                        id,
                        file: Arc::clone(mapped.file()),
                        size: stored.entry.version.size,
                        first: cold.unwrap_or(first),
                        mailbox: self.mailbox.clone(),
                    };
                    stored.reading = true;
                    self.workers.submit(Priority::Urgent, move || job.run());
                }
                if !warm {
                    return SourceBytes::Pending;
                }
                match mapped.slice(offset, len) {
                    Ok(slice) => SourceBytes::Ready(slice),
                    Err(error) => SourceBytes::End(end_of(&error)),
                }
            }
            State::Failed(end) => SourceBytes::End(*end),
            State::Closed | State::Waiting | State::Opening => SourceBytes::Pending,
        }
    }

    fn copy_hashes(&mut self, source: SourceKey, offset: u64, out: &mut [u8]) {
        let Some(stored) = to_id(source).and_then(|id| self.files.get(id)) else {
            return;
        };
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let known = stored.known_hashes().as_flattened();
        let known = known.get(start..).unwrap_or_default();
        let count = known.len().min(out.len());
        out[..count].copy_from_slice(&known[..count]);
    }
}

#[cfg(test)]
mod tests {
    use columba_core::units::Timestamp;
    use mio::{Poll, Token, Waker};

    use super::super::AS_OFFERED_FOR;
    use super::*;
    use crate::files::folder::SharedFolder;
    use crate::files::index::SharedEntry;
    use crate::files::kept::Whole;
    use crate::files::workers::Workers;
    use crate::helpers::Mailbox;

    #[test]
    fn kept_bytes_leave_without_another_look_only_while_their_offer_is_fresh() {
        let root = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(root.path().join("f"), "bytes").expect("writable");
        let folder = Arc::new(SharedFolder::open(root.path()).expect("a folder"));
        let (_, version) = folder.open_file("f").expect("shared");
        let poll = Poll::new().expect("a poll");
        let waker = Arc::new(Waker::new(poll.registry(), Token(0)).expect("a waker"));
        let (mailbox, _news) = Mailbox::new(waker);
        let mut store = FileStore::new(folder, Workers::start(0).expect("a thread"), mailbox);
        let name = Arc::from("f");
        let entry = SharedEntry { name, version };
        let offered_at = Timestamp::ZERO + std::time::Duration::from_secs(100);
        let whole = Whole {
            bytes: b"bytes".as_slice().into(),
            hash: [7; 32],
        };
        for _ in 0..2 {
            store.kept.put(offered_at, version, &whole);
        }
        let mut begin = |now, offered_at| {
            store.set_now(now);
            let key = store.acquire(1, &entry, offered_at);
            let state = store.begin_train(key);
            store.release(1, key);
            matches!(state, TrainState::Ready { hashes: 1 })
        };
        assert!(begin(offered_at, Some(offered_at)));
        assert!(!begin(offered_at, None));
        assert!(!begin(offered_at + AS_OFFERED_FOR, Some(offered_at)));
    }
}
