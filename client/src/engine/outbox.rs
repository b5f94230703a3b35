//! Events on their way out: never blocking the loop, never growing without bound.

use std::collections::VecDeque;
use std::sync::mpsc::{SyncSender, TrySendError};

use super::message::{Event, GetEvent};

/// When so many wait, the engine stops reading from the server.
const HOLD_AT: usize = 1024;

/// Takes events and passes them on as the reader takes them.
#[derive(Debug)]
pub(super) struct Outbox {
    out: SyncSender<Event>,
    waiting: VecDeque<Event>,
    gone: bool,
}

impl Outbox {
    pub(super) fn new(out: SyncSender<Event>) -> Self {
        Self {
            out,
            waiting: VecDeque::new(),
            gone: false,
        }
    }

    /// Tells an event, now or as soon as the reader has room. Progress is not kept: newer follows.
    pub(super) fn tell(&mut self, event: Event) {
        let fleeting = matches!(
            event,
            Event::Get {
                event: GetEvent::Progress(_),
                ..
            }
        );
        if !fleeting || self.waiting.is_empty() {
            self.waiting.push_back(event);
            self.flush();
        }
    }

    /// Passes on what the reader has room for.
    pub(super) fn flush(&mut self) {
        while let Some(event) = self.waiting.pop_front() {
            match self.out.try_send(event) {
                Ok(()) => {}
                Err(TrySendError::Full(event)) => {
                    self.waiting.push_front(event);
                    return;
                }
                Err(TrySendError::Disconnected(_)) => {
                    self.gone = true;
                    self.waiting.clear();
                    return;
                }
            }
        }
    }

    /// Whether events wait, for which no wake-up comes.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether the reader lags so far behind that nothing more should be read.
    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= HOLD_AT
    }

    /// Whether nobody reads any more.
    pub(super) const fn is_gone(&self) -> bool {
        self.gone
    }

    /// Passes on everything that waits, blocking; for the end.
    pub(super) fn drain(mut self) {
        while let Some(event) = self.waiting.pop_front() {
            if self.out.send(event).is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::message::GetProgress;
    use std::sync::mpsc::sync_channel;

    #[test]
    fn events_wait_in_order_and_progress_does_not() {
        let (out, read) = sync_channel(1);
        let mut outbox = Outbox::new(out);
        for number in 0..3 {
            outbox.tell(Event::Stats(number.to_string()));
            outbox.tell(Event::Stats(number.to_string()));
            outbox.tell(Event::Get {
                request: 1,
                event: GetEvent::Progress(GetProgress::default()),
            });
        }
        assert!(outbox.is_waiting());
        for number in [0, 0, 1, 1, 2, 2] {
            let Ok(Event::Stats(text)) = read.try_recv() else {
                panic!("statistics only");
            };
            assert_eq!(text, number.to_string());
            outbox.flush();
        }
        assert!(!outbox.is_waiting());
        drop(read);
        outbox.tell(Event::Users(Vec::new()));
        assert!(outbox.is_gone());
    }
}
