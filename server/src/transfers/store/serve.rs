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

impl Source for FileStore {
    fn begin_train(&mut self, source: SourceKey) -> TrainState {
        let Some(id) = to_id(source) else {
            return TrainState::End(StreamEnd::Unreadable);
        };
        let Some(stored) = self.files.get_mut(id) else {
            return TrainState::End(StreamEnd::Unreadable);
        };
        match &mut stored.state {
            State::Closed => {
                if !self.try_open(id)
                    && let Some(stored) = self.files.get_mut(id)
                {
                    stored.state = State::Waiting;
                    for (user, _) in &stored.users {
                        self.waiting.entry(*user).or_default().push_back(id);
                    }
                }
                return TrainState::Pending;
            }
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
        if let Some(started) = stored.started.take() {
            self.first_bytes.push(self.now - started);
        }
        let hashes = u32::try_from(stored.known_hashes().len()).unwrap_or(u32::MAX);
        TrainState::Ready { hashes }
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
