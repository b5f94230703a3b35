//! The network engine: one thread owns one poll, the control connection, the UDP socket and the
//! timers. Commands go in and events come out through bounded channels; nobody else touches a
//! socket.
//!
//! [`message`] is all that others need to know. Inside: [`link`] makes and keeps the control
//! connection, [`heard`] turns its frames into owned values, [`transfer`] downloads, and
//! [`reactor`] is the loop that calls them.

mod frames;
mod heard;
pub(crate) mod link;
pub mod message;
mod outbox;
mod reactor;
mod resolve;
mod transfer;

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use mio::{Poll, Waker};

pub use self::transfer::split_output;
use message::{Command, EngineConfig, Event};

/// Commands that may wait for the engine.
const COMMAND_QUEUE: usize = 1024;
/// Events that may wait for whoever reads them.
const EVENT_QUEUE: usize = 4096;

/// A running engine. Dropping it stops the engine and waits for its end.
#[derive(Debug)]
pub struct Engine {
    commands: CommandSender,
    events: Receiver<Event>,
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
        let (commands, to_do) = sync_channel(COMMAND_QUEUE);
        let (told, events) = sync_channel(EVENT_QUEUE);
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), reactor::WAKER)?);
        let commands = CommandSender {
            commands,
            waker: Arc::clone(&waker),
        };
        let interrupted = Arc::new(AtomicBool::new(false));
        let thread = std::thread::Builder::new()
            .name("engine".to_owned())
            .spawn(move || reactor::run(poll, &waker, config, first, to_do, told, interrupted))?;
        Ok(Self {
            commands,
            events,
            thread: Some(thread),
        })
    }

    /// Tells the engine what to do, from any thread.
    #[must_use]
    pub fn commands(&self) -> CommandSender {
        self.commands.clone()
    }

    /// What the engine tells; [`Event::Ended`] is the last.
    #[must_use]
    pub const fn events(&self) -> &Receiver<Event> {
        &self.events
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // A full queue is read soon; an ended engine needs no telling.
        while self.commands.send(Command::Stop) == Err(CommandError::Full) {
            std::thread::yield_now();
        }
        // The engine must be able to tell its last events.
        for event in &self.events {
            if matches!(event, Event::Ended(_)) {
                break;
            }
        }
        if let Some(thread) = self.thread.take() {
            // An engine that panicked has said so on standard error already.
            let _ = thread.join();
        }
    }
}
