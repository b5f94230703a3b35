//! The network engine: one thread owns one poll, the control connection, the UDP socket and the
//! timers. Commands go in and events come out through bounded channels; nobody else touches a
//! socket.
//!
//! [`message`] is all that others need to know. Inside: [`link`] makes and keeps the control
//! connection ([`pace`] says how often it is tried), [`heard`] turns its frames into owned values,
//! [`said`] knows what of ours has arrived, [`transfer`] downloads, and [`reactor`] is the loop that
//! calls them. Events leave through the [`outbox`]: one by one, or in batches for a window.

mod frames;
mod heard;
pub(crate) mod link;
pub mod message;
mod outbox;
pub(crate) mod pace;
mod reactor;
mod resolve;
mod said;
mod transfer;

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use mio::{Poll, Waker};

pub use self::outbox::{EventSink, SinkError};
pub use self::transfer::split_output;
use message::{Command, EngineConfig, Event};
use outbox::Outbox;

/// Commands that may wait for the engine.
const COMMAND_QUEUE: usize = 1024;
/// Events that may wait for whoever reads them.
const EVENT_QUEUE: usize = 4096;

/// How often [`Engine::start_together`] tells events at most.
const TOLD_EVERY: Duration = Duration::from_millis(2);
/// Batches of events that may wait for whoever reads them.
const BATCH_QUEUE: usize = 64;

/// A running engine. Dropping it stops the engine and waits for its end.
#[derive(Debug)]
pub struct Engine<Told = Event> {
    commands: CommandSender,
    events: Receiver<Told>,
    thread: Option<JoinHandle<()>>,
}

/// Tells an engine what to do; may be cloned and moved to other threads.
#[derive(Clone, Debug)]
pub struct CommandSender {
    commands: SyncSender<Command>,
    waker: Arc<Waker>,
}

/// The engine takes no command now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// Too many wait already.
    #[error("too many commands wait already")]
    Full,
    /// The engine has ended.
    #[error("the connection has ended")]
    Ended,
}

impl CommandSender {
    /// Hands a command over.
    ///
    /// # Errors
    /// [`CommandError`].
    pub fn send(&self, command: Command) -> Result<(), CommandError> {
        self.commands
            .try_send(command)
            .map_err(|error| match error {
                TrySendError::Full(_) => CommandError::Full,
                TrySendError::Disconnected(_) => CommandError::Ended,
            })?;
        // A poll that cannot be woken has ended.
        self.waker.wake().map_err(|_| CommandError::Ended)
    }
}

impl Engine {
    /// Starts an engine that connects at once. What `first` asks goes out in the first flight.
    ///
    /// # Errors
    /// When the system gives no thread or poll.
    pub fn start(config: EngineConfig, first: Vec<Command>) -> io::Result<Self> {
        let (told, events) = sync_channel(EVENT_QUEUE);
        let (commands, thread) = spawn(config, first, Outbox::new(told), false)?;
        Ok(Self {
            commands,
            events,
            thread: Some(thread),
        })
    }

    /// Starts an engine for a window: `sink` takes the events in batches, no more often than `every`,
    /// the first one after a quiet time at once. With [`EngineConfig::reconnect`] a lost connection
    /// is tried again without end, ever more rarely. The engine ends after [`Event::Ended`], which is
    /// the last event of the last batch, and when the sink is gone.
    ///
    /// # Errors
    /// When the system gives no thread or poll.
    pub fn start_batched(
        config: EngineConfig,
        first: Vec<Command>,
        sink: impl EventSink,
        every: Duration,
    ) -> io::Result<(CommandSender, JoinHandle<()>)> {
        let outbox = Outbox::batched(Box::new(sink), every);
        spawn(config, first, outbox, true)
    }
}

impl Engine<Vec<Event>> {
    /// As [`start`](Engine::start), for a reader of thousands of events: waking it for each costs more than a small file.
    ///
    /// # Errors
    /// When the system gives no thread or poll.
    pub(crate) fn start_together(config: EngineConfig, first: Vec<Command>) -> io::Result<Self> {
        let (told, events) = sync_channel(BATCH_QUEUE);
        let outbox = Outbox::together(Box::new(told), TOLD_EVERY);
        let (commands, thread) = spawn(config, first, outbox, false)?;
        Ok(Self {
            commands,
            events,
            thread: Some(thread),
        })
    }
}

impl<Told> Engine<Told> {
    /// Tells the engine what to do, from any thread.
    #[must_use]
    pub fn commands(&self) -> CommandSender {
        self.commands.clone()
    }

    /// What the engine tells; [`Event::Ended`] is the last.
    #[must_use]
    pub const fn events(&self) -> &Receiver<Told> {
        &self.events
    }
}

fn spawn(
    config: EngineConfig,
    first: Vec<Command>,
    outbox: Outbox,
    patient: bool,
) -> io::Result<(CommandSender, JoinHandle<()>)> {
    let (commands, to_do) = sync_channel(COMMAND_QUEUE);
    let poll = Poll::new()?;
    let waker = Arc::new(Waker::new(poll.registry(), reactor::WAKER)?);
    let sender = CommandSender {
        commands,
        waker: Arc::clone(&waker),
    };
    let order = reactor::Order {
        config,
        first,
        commands: to_do,
        patient,
        interrupted: Arc::new(AtomicBool::new(false)),
    };
    let thread = std::thread::Builder::new()
        .name("engine".to_owned())
        .spawn(move || reactor::run(poll, &waker, order, outbox))?;
    Ok((sender, thread))
}

impl<Told> Drop for Engine<Told> {
    fn drop(&mut self) {
        // A full queue is read soon; an ended engine needs no telling.
        while self.commands.send(Command::Stop) == Err(CommandError::Full) {
            std::thread::yield_now();
        }
        // The engine must be able to tell its last events; then it lets go of the queue.
        while self.events.recv().is_ok() {}
        if let Some(thread) = self.thread.take() {
            // An engine that panicked has said so on standard error already.
            let _ = thread.join();
        }
    }
}
