//! What helper threads tell the loop: a channel, and a waker that makes the poll return.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};

use crate::files::catalog::Resolution;
use crate::files::content::Opened;
use crate::files::index::{Index, SharedEntry};
use crate::slots::SlotId;

/// A client's request that a helper works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The client.
    pub client: SlotId,
    /// The request's number.
    pub request: u32,
}

/// News from a helper thread.
#[derive(Debug)]
pub enum HelperEvent {
    /// The index, for a client that asked for the list of files.
    Listed {
        /// Who asked.
        ticket: Ticket,
        /// Only names that start like this.
        prefix: String,
        /// The index.
        index: Arc<Index>,
    },
    /// Some of the files that a client's names mean; a [`Resolved`](Self::Resolved) will follow.
    Found {
        /// Who asked.
        ticket: Ticket,
        /// What was found.
        found: Vec<SharedEntry>,
    },
    /// Names were looked up for a client.
    Resolved {
        /// Who asked.
        ticket: Ticket,
        /// What was found and is not told yet.
        resolution: Resolution,
    },
    /// Files were opened, or could not be; each as the loop numbered it.
    Opened(Vec<(SlotId, std::io::Result<Opened>)>),
    /// Further segments were hashed.
    Hashed {
        /// Which file.
        file: SlotId,
        /// Their values, following those that came before.
        values: Vec<[u8; 32]>,
    },
    /// Segments are in memory.
    ReadAhead {
        /// Which file.
        file: SlotId,
        /// First segment.
        first: u32,
        /// How many.
        count: u32,
        /// No more will come without another job.
        last: bool,
    },
    /// A file could not be read, or is shorter than it was.
    ReadFailed {
        /// Which file.
        file: SlotId,
        /// Why.
        error: std::io::Error,
    },
}

/// Where helper threads put their news.
#[derive(Clone, Debug)]
pub struct Mailbox {
    sender: mpsc::Sender<HelperEvent>,
    waker: Arc<mio::Waker>,
    /// The loop was woken and has not looked yet.
    signalled: Arc<AtomicBool>,
}

/// Where the loop takes them.
#[derive(Debug)]
pub struct News {
    receiver: mpsc::Receiver<HelperEvent>,
    signalled: Arc<AtomicBool>,
}

impl Mailbox {
    /// A mailbox whose `waker` wakes the reader. The channel is bounded by what the loop asks for.
    #[must_use]
    pub fn new(waker: Arc<mio::Waker>) -> (Self, News) {
        let (sender, receiver) = mpsc::channel();
        let signalled = Arc::new(AtomicBool::new(false));
        let news = News {
            receiver,
            signalled: Arc::clone(&signalled),
        };
        (
            Self {
                sender,
                waker,
                signalled,
            },
            news,
        )
    }

    /// Tells the loop. Of several posts before it looks, only the first wakes it.
    pub fn post(&self, event: HelperEvent) {
        if self.sender.send(event).is_ok()
            && !self.signalled.swap(true, Ordering::AcqRel)
            && let Err(error) = self.waker.wake()
        {
            tracing::error!(%error, "a helper thread cannot wake the loop");
        }
    }
}

impl News {
    /// Says that what is there will be looked at now: a later post wakes the loop again. Comes before
    /// [`take`](Self::take).
    pub fn look(&self) {
        // Reads what the last post wrote, and so sees everything that was put in before it.
        self.signalled.swap(false, Ordering::AcqRel);
    }

    /// The next one.
    pub fn take(&self) -> Option<HelperEvent> {
        self.receiver.try_recv().ok()
    }
}
