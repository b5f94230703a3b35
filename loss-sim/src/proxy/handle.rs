//! Talking to a running proxy, or link, from another thread.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use mio::Waker;

use crate::impairments::Impairments;
use crate::knobs::ChangeError;
use crate::path::Direction;
use crate::proxy::config::{ProxyError, check_other_addresses};
use crate::proxy::report::PathReport;
use crate::scenario::Rebind;

/// Commands that may wait for the proxy.
const MAX_COMMANDS: usize = 64;

/// Something for the proxy to do.
#[derive(Debug)]
pub(crate) enum Command {
    /// End.
    Stop,
    /// Change one direction (already validated).
    Impair(Direction, Box<Impairments>),
    /// Change what is named, and tell whether that made sense.
    Change(
        BTreeMap<String, String>,
        SyncSender<Result<(), ChangeError>>,
    ),
    /// Move all UDP clients.
    Rebind(Rebind),
}

/// The proxy's end of the handle.
#[derive(Debug)]
pub(crate) struct Mailbox {
    pub(crate) commands: Receiver<Command>,
    report: Arc<Mutex<PathReport>>,
}

impl Mailbox {
    /// Lets handles see these counters.
    pub(crate) fn publish(&self, report: PathReport) {
        *self.report.lock().unwrap_or_else(PoisonError::into_inner) = report;
    }
}

/// A handle to a path that is in use, on another thread perhaps. Clones reach the same path.
#[derive(Debug, Clone)]
pub struct PathHandle {
    /// The server, if there are UDP clients that can be moved.
    upstream: Option<SocketAddr>,
    commands: SyncSender<Command>,
    waker: Arc<Waker>,
    report: Arc<Mutex<PathReport>>,
}

impl PathHandle {
    pub(crate) fn new(upstream: Option<SocketAddr>, waker: Waker) -> (Self, Mailbox) {
        let (sender, receiver) = sync_channel(MAX_COMMANDS);
        let report = Arc::default();
        let mailbox = Mailbox {
            commands: receiver,
            report: Arc::clone(&report),
        };
        let handle = Self {
            upstream,
            commands: sender,
            waker: Arc::new(waker),
            report,
        };
        (handle, mailbox)
    }

    /// The counters as of the path's last turn. The kernel's own drops are added once a second.
    #[must_use]
    pub fn stats(&self) -> PathReport {
        *self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the proxy, or link, to end.
    pub fn stop(&self) {
        // One that is gone already, or busy with more commands than it can take, is told by the
        // first of these or ends anyway.
        let _ = self.send(Command::Stop);
    }

    /// Changes what happens in a direction, from now on.
    ///
    /// # Errors
    /// An impairment out of range (nothing changes then), or a path that has stopped.
    pub fn set_impairments(
        &self,
        direction: Direction,
        impairments: Impairments,
    ) -> Result<(), ProxyError> {
        impairments
            .validate()
            .map_err(|error| ProxyError::Impairment { direction, error })?;
        self.send(Command::Impair(direction, Box::new(impairments)))
    }

    /// Changes the impairments that are named, as on the command line but without the dashes: `loss`,
    /// `down-rate` and so on; the value `off` gives back the default. The rest stays as it is. Returns
    /// when the change is in force.
    ///
    /// # Errors
    /// A name or value that makes no sense (nothing changes then), or a path that has stopped.
    pub fn change(&self, settings: BTreeMap<String, String>) -> Result<(), ProxyError> {
        let (sender, receiver) = sync_channel(1);
        self.send(Command::Change(settings, sender))?;
        receiver.recv().map_err(|_| ProxyError::Stopped)??;
        Ok(())
    }

    /// Moves all UDP clients to other ports, or addresses, as the upstream sees them.
    ///
    /// # Errors
    /// A path that has stopped or has no clients, or an upstream towards which there are no other
    /// addresses.
    pub fn rebind(&self, kind: Rebind) -> Result<(), ProxyError> {
        let upstream = self.upstream.ok_or(ProxyError::NoClients)?;
        if kind == Rebind::Address {
            check_other_addresses(upstream)?;
        }
        self.send(Command::Rebind(kind))
    }

    fn send(&self, command: Command) -> Result<(), ProxyError> {
        match self.commands.try_send(command) {
            Ok(()) => {}
            // It is behind; waiting for room is right, since it takes all commands each turn.
            Err(TrySendError::Full(command)) => {
                self.commands
                    .send(command)
                    .map_err(|_| ProxyError::Stopped)?;
            }
            Err(TrySendError::Disconnected(_)) => return Err(ProxyError::Stopped),
        }
        self.waker
            .wake()
            .map_err(ProxyError::system("wake the thread of the path"))
    }
}

/// A handle to a proxy, which may run on another thread. Clones reach the same proxy.
#[derive(Debug, Clone)]
pub struct ProxyHandle {
    address: SocketAddr,
    path: PathHandle,
}

impl ProxyHandle {
    pub(crate) fn new(address: SocketAddr, upstream: SocketAddr, waker: Waker) -> (Self, Mailbox) {
        let (path, mailbox) = PathHandle::new(Some(upstream), waker);
        (Self { address, path }, mailbox)
    }

    /// Where clients connect and send to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Deref for ProxyHandle {
    type Target = PathHandle;

    fn deref(&self) -> &PathHandle {
        &self.path
    }
}

impl From<ProxyHandle> for PathHandle {
    fn from(handle: ProxyHandle) -> Self {
        handle.path
    }
}

/// A proxy on a thread of its own; it ends when this is dropped.
#[derive(Debug)]
pub struct SpawnedProxy {
    handle: ProxyHandle,
    thread: Option<JoinHandle<Result<PathReport, ProxyError>>>,
}

impl SpawnedProxy {
    pub(crate) fn new(
        handle: ProxyHandle,
        thread: JoinHandle<Result<PathReport, ProxyError>>,
    ) -> Self {
        Self {
            handle,
            thread: Some(thread),
        }
    }

    /// Ends the proxy and gives the final counters.
    ///
    /// # Errors
    /// What ended the proxy before.
    pub fn stop(mut self) -> Result<PathReport, ProxyError> {
        self.handle.stop();
        self.join()
    }

    fn join(&mut self) -> Result<PathReport, ProxyError> {
        let thread = self.thread.take().ok_or(ProxyError::Stopped)?;
        thread.join().unwrap_or(Err(ProxyError::Stopped))
    }
}

impl Deref for SpawnedProxy {
    type Target = ProxyHandle;

    fn deref(&self) -> &ProxyHandle {
        &self.handle
    }
}

impl Drop for SpawnedProxy {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.handle.stop();
            // Whoever drops the proxy has no use for its counters or its error.
            let _ = self.join();
        }
    }
}
