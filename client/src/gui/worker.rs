//! The engine as a subscription: its thread on one side, batches of events for the window on the other.

use std::hash::{Hash, Hasher};
use std::io;
use std::time::Duration;

use iced::futures::channel::mpsc;
use iced::futures::{Stream, StreamExt, stream};

use crate::engine::message::{Command, EngineConfig, Event};
use crate::engine::{CommandSender, Engine, EventSink, SinkError};

/// The window is drawn for events no more often than this.
const BATCH_EVERY: Duration = Duration::from_millis(100);
/// Batches that may wait for the window.
const BATCHES: usize = 4;

/// One engine: as long as the window subscribes to it, it runs.
#[derive(Clone, Debug)]
pub(super) struct Session {
    /// Tells it from others before and after it.
    pub(super) number: u64,
    pub(super) config: EngineConfig,
    pub(super) first: Vec<Command>,
}

impl Hash for Session {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.number.hash(state);
    }
}

/// What an engine tells the window.
#[derive(Debug)]
pub enum Told {
    /// It runs; this takes commands.
    Started(CommandSender),
    /// It could not be started.
    NotStarted(io::Error),
    /// What has happened.
    Events(Vec<Event>),
}

struct Batches(mpsc::Sender<Told>);

impl EventSink for Batches {
    fn deliver(&mut self, batch: Vec<Event>) -> Result<(), SinkError> {
        self.0.try_send(Told::Events(batch)).map_err(|error| {
            let full = error.is_full();
            match error.into_inner() {
                Told::Events(batch) if full => SinkError::Full(batch),
                Told::Events(_) | Told::Started(_) | Told::NotStarted(_) => SinkError::Gone,
            }
        })
    }
}

/// Starts the engine and gives what it tells, each with the session's number.
pub(super) fn run(session: &Session) -> impl Stream<Item = (u64, Told)> + use<> {
    let number = session.number;
    let (sender, batches) = mpsc::channel(BATCHES);
    let started = Engine::start_batched(
        session.config.clone(),
        session.first.clone(),
        Batches(sender),
        BATCH_EVERY,
    );
    let first = match started {
        // The thread ends by itself, after its last batch or when the window is gone.
        Ok((commands, _thread)) => Told::Started(commands),
        Err(error) => Told::NotStarted(error),
    };
    stream::once(async { first })
        .chain(batches)
        .map(move |told| (number, told))
}
