//! Events on their way out: never blocking the loop, never growing without bound.

use std::collections::VecDeque;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::{Duration, Instant};

use columba_core::units::Timestamp;

use super::message::{Event, GetEvent};

/// When so many wait, the engine stops reading from the server.
const HOLD_AT: usize = 1024;
/// Files that arrived are told together, no more often than this: waking a reader for each costs more than a small file.
const ARRIVALS_EVERY: Duration = Duration::from_millis(1);
/// So many are told without waiting.
const MAX_ARRIVALS_TOGETHER: usize = 256;
/// How soon a reader that lags is looked after again.
const LAG_CHECK: Duration = Duration::from_millis(5);
/// How long a reader may take for the last events.
const LAST_EVENTS_FOR: Duration = Duration::from_secs(10);

/// Takes events in batches; see [`Engine::start_batched`](super::Engine::start_batched).
pub trait EventSink: Send + 'static {
    /// Takes a batch without blocking.
    ///
    /// # Errors
    /// There is no room now (the batch comes back and is offered again), or nobody reads any more.
    fn deliver(&mut self, batch: Vec<Event>) -> Result<(), SinkError>;
}

/// Passes batches on as they are; a full channel has no room.
impl EventSink for SyncSender<Vec<Event>> {
    fn deliver(&mut self, batch: Vec<Event>) -> Result<(), SinkError> {
        self.try_send(batch).map_err(|refused| match refused {
            TrySendError::Full(batch) => SinkError::Full(batch),
            TrySendError::Disconnected(_) => SinkError::Gone,
        })
    }
}

/// Why an [`EventSink`] took no batch.
#[derive(Debug)]
pub enum SinkError {
    /// There is no room now.
    Full(Vec<Event>),
    /// Nobody reads any more: the engine ends.
    Gone,
}

/// Where events go.
enum Out {
    /// One by one, as soon as there is room; arrivals, as long as nothing else is told, not before `arrivals_at`.
    Each {
        out: SyncSender<Event>,
        arrivals_at: Timestamp,
    },
    /// Together, no more often than `every`.
    Batches {
        sink: Box<dyn EventSink>,
        every: Duration,
        next_at: Timestamp,
        /// How long the reader may take for the last events; `None`: as long as it wants.
        last_for: Option<Duration>,
    },
}

/// Takes events and passes them on as the reader takes them.
pub(super) struct Outbox {
    out: Out,
    waiting: VecDeque<Event>,
    lagging: bool,
    gone: bool,
}

impl Outbox {
    /// Events go out one by one.
    pub(super) fn new(out: SyncSender<Event>) -> Self {
        Self::to(Out::Each {
            out,
            arrivals_at: Timestamp::ZERO,
        })
    }

    /// Events go out in batches; the first one after a quiet time at once.
    pub(super) fn batched(sink: Box<dyn EventSink>, every: Duration) -> Self {
        Self::to(Out::Batches {
            sink,
            every,
            next_at: Timestamp::ZERO,
            last_for: Some(LAST_EVENTS_FOR),
        })
    }

    /// As [`batched`](Self::batched), for a reader that will take every event, however late.
    pub(super) fn together(sink: Box<dyn EventSink>, every: Duration) -> Self {
        Self::to(Out::Batches {
            sink,
            every,
            next_at: Timestamp::ZERO,
            last_for: None,
        })
    }

    fn to(out: Out) -> Self {
        Self {
            out,
            waiting: VecDeque::new(),
            lagging: false,
            gone: false,
        }
    }

    /// Takes an event; [`flush`](Self::flush) passes it on. Newer progress and samples replace older ones.
    pub(super) fn tell(&mut self, event: Event) {
        if self.gone {
            return;
        }
        let mut waiting = self.waiting.iter_mut().rev();
        let older = if let Some(request) = progress_of(&event) {
            waiting.find(|waiting| progress_of(waiting) == Some(request))
        } else if self.lagging && matches!(event, Event::Network(_)) {
            // Sums of an interval: only a reader that lags loses some.
            waiting.find(|waiting| matches!(waiting, Event::Network(_)))
        } else {
            None
        };
        match older {
            Some(older) => *older = event,
            None => self.waiting.push_back(event),
        }
    }

    /// Passes on what the reader has room for, if it is time.
    pub(super) fn flush(&mut self, now: Timestamp) {
        self.lagging = false;
        match &mut self.out {
            Out::Each { out, arrivals_at } => {
                let few = self.waiting.len() < MAX_ARRIVALS_TOGETHER;
                if self.waiting.is_empty()
                    || few && now < *arrivals_at && self.waiting.iter().all(is_arrival)
                {
                    return;
                }
                *arrivals_at = now + ARRIVALS_EVERY;
                while let Some(event) = self.waiting.pop_front() {
                    match out.try_send(event) {
                        Ok(()) => {}
                        Err(TrySendError::Full(event)) => {
                            self.waiting.push_front(event);
                            self.lagging = true;
                            return;
                        }
                        Err(TrySendError::Disconnected(_)) => return self.give_up(),
                    }
                }
            }
            Out::Batches {
                sink,
                every,
                next_at,
                ..
            } => {
                if self.waiting.is_empty() || now < *next_at {
                    return;
                }
                match sink.deliver(self.waiting.drain(..).collect()) {
                    Ok(()) => *next_at = now + *every,
                    Err(SinkError::Full(batch)) => {
                        self.waiting = batch.into();
                        self.lagging = true;
                    }
                    Err(SinkError::Gone) => self.give_up(),
                }
            }
        }
    }

    fn give_up(&mut self) {
        self.gone = true;
        self.waiting.clear();
    }

    /// When [`flush`](Self::flush) has something to do, for which no wake-up comes.
    pub(super) fn deadline(&self, now: Timestamp) -> Option<Timestamp> {
        if self.waiting.is_empty() {
            return None;
        }
        if self.lagging {
            return Some(now + LAG_CHECK);
        }
        Some(match &self.out {
            Out::Batches { next_at, .. } => *next_at,
            Out::Each { arrivals_at, .. } => *arrivals_at,
        })
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
    pub(super) fn drain(self) {
        match self.out {
            Out::Each { out, .. } => {
                for event in self.waiting {
                    if out.send(event).is_err() {
                        return;
                    }
                }
            }
            Out::Batches {
                mut sink, last_for, ..
            } => {
                let give_up_at = last_for.map(|last_for| Instant::now() + last_for);
                let mut batch: Vec<Event> = self.waiting.into();
                while let Err(SinkError::Full(again)) = sink.deliver(batch) {
                    if give_up_at.is_some_and(|at| Instant::now() >= at) {
                        return;
                    }
                    batch = again;
                    std::thread::sleep(LAG_CHECK);
                }
            }
        }
    }
}

/// Whether an event tells of a file that arrived, or of progress.
const fn is_arrival(event: &Event) -> bool {
    matches!(
        event,
        Event::Get {
            event: GetEvent::Done(_) | GetEvent::Progress(_),
            ..
        }
    )
}

/// The download whose progress an event tells.
const fn progress_of(event: &Event) -> Option<u32> {
    if let Event::Get {
        request,
        event: GetEvent::Progress(_),
    } = event
    {
        Some(*request)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::message::{FileReport, GetProgress};
    use std::path::PathBuf;
    use std::sync::mpsc::{Receiver, sync_channel};

    fn progress(done_bytes: u64) -> Event {
        Event::Get {
            request: 1,
            event: GetEvent::Progress(GetProgress {
                done_bytes,
                ..GetProgress::default()
            }),
        }
    }

    fn done() -> Event {
        Event::Get {
            request: 1,
            event: GetEvent::Done(FileReport {
                file: String::new(),
                target: PathBuf::new(),
                bytes: 0,
                elapsed: Duration::ZERO,
                blake3: [0; 32],
                resumed_bytes: 0,
                packets_received: 0,
                packets_duplicate: 0,
                handshake: Duration::ZERO,
                rtt_p50: Duration::ZERO,
                rtt_p99: Duration::ZERO,
            }),
        }
    }

    #[test]
    fn events_wait_in_order_and_only_the_newest_progress_does() {
        let (out, read) = sync_channel(1);
        let mut outbox = Outbox::new(out);
        for number in 0..3 {
            outbox.tell(Event::Stats(number.to_string()));
            outbox.tell(progress(number));
        }
        let now = Timestamp::ZERO;
        outbox.flush(now);
        assert!(outbox.deadline(now) > Some(now));
        let mut seen = Vec::new();
        while let Ok(event) = read.try_recv() {
            seen.push(match event {
                Event::Stats(text) => text,
                Event::Get {
                    event: GetEvent::Progress(progress),
                    ..
                } => format!("progress {}", progress.done_bytes),
                other => panic!("{other:?}"),
            });
            outbox.flush(now);
        }
        assert_eq!(seen, ["0", "progress 2", "1", "2"]);
        assert_eq!(outbox.deadline(now), None);
        drop(read);
        outbox.tell(Event::Users(Vec::new()));
        outbox.flush(now);
        assert!(outbox.is_gone());
    }

    #[test]
    fn arrivals_are_told_together_and_everything_else_at_once() {
        let (out, read) = sync_channel(1000);
        let mut outbox = Outbox::new(out);
        let at = |micros| Timestamp::ZERO + Duration::from_micros(micros);
        let mut told = |now, event| {
            outbox.tell(event);
            outbox.flush(now);
            (read.try_iter().count(), outbox.deadline(now))
        };
        assert_eq!(told(at(5_000), done()), (1, None), "after a quiet time");
        assert_eq!(told(at(5_100), done()), (0, Some(at(6_000))));
        assert_eq!(told(at(5_200), done()), (0, Some(at(6_000))));
        assert_eq!(told(at(5_300), Event::Users(Vec::new())), (3, None));
        assert_eq!(told(at(5_400), done()), (0, Some(at(6_300))));
        assert_eq!(told(at(6_300), done()), (2, None));
        let many = (0..MAX_ARRIVALS_TOGETHER).map(|_| told(at(6_400), done()).0);
        assert_eq!(many.sum::<usize>(), MAX_ARRIVALS_TOGETHER);
    }

    fn batched() -> (Outbox, Receiver<Vec<Event>>) {
        let (out, read) = sync_channel(1);
        let every = Duration::from_millis(100);
        (Outbox::batched(Box::new(out), every), read)
    }

    #[test]
    fn batches_come_ten_times_a_second_and_the_first_at_once() {
        let (mut outbox, read) = batched();
        let at = |millis| Timestamp::ZERO + Duration::from_millis(millis);
        let mut batches = Vec::new();
        for millis in 0..1000 {
            outbox.tell(Event::Stats(millis.to_string()));
            outbox.flush(at(millis));
            if let Ok(batch) = read.try_recv() {
                batches.push(batch.len());
            }
        }
        assert_eq!(batches.len(), 10);
        assert_eq!(batches[..3], [1, 100, 100]);
        assert_eq!(outbox.deadline(at(999)), Some(at(1000)));
    }

    #[test]
    fn the_last_events_wait_for_a_reader_that_takes_all() {
        let (out, read) = sync_channel(1);
        assert!(out.try_send(Vec::new()).is_ok());
        let mut outbox = Outbox::together(Box::new(out), Duration::ZERO);
        outbox.tell(progress(1));
        let reader = std::thread::spawn(move || read.iter().flatten().count());
        outbox.drain();
        assert_eq!(reader.join().unwrap(), 1);
    }

    #[test]
    fn a_full_sink_loses_nothing_and_a_gone_one_ends_it() {
        let (mut outbox, read) = batched();
        let at = |millis| Timestamp::ZERO + Duration::from_millis(millis);
        for millis in [0, 200, 400] {
            outbox.tell(Event::Stats(millis.to_string()));
            outbox.flush(at(millis));
        }
        assert_eq!(outbox.deadline(at(400)), Some(at(405)));
        assert_eq!(read.try_recv().unwrap().len(), 1);
        outbox.flush(at(405));
        assert_eq!(read.try_recv().unwrap().len(), 2);
        outbox.tell(progress(1));
        outbox.drain();
        assert_eq!(read.recv().unwrap().len(), 1);
        let (mut outbox, read) = batched();
        drop(read);
        outbox.tell(progress(1));
        outbox.flush(at(0));
        assert!(outbox.is_gone());
    }
}
