//! Running a server: in this thread until it is told to stop, or in a thread of its own.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use mio::Waker;
use thiserror::Error;

use crate::config::{Config, ConfigError};
use crate::reactor::Reactor;

/// Why a server does not run.
#[derive(Debug, Error)]
pub enum ServerError {
    /// The configuration does not go together.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A file or folder.
    #[error("{what} ({path}): {error}")]
    Path {
        /// What it is for.
        what: &'static str,
        /// Where it is.
        path: PathBuf,
        /// What is wrong.
        error: io::Error,
    },
    /// The rules of access.
    #[error("{0}")]
    Access(io::Error),
    /// The address.
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, io::Error),
    /// The server's key.
    #[error("the server's key: {0}")]
    Identity(#[from] columba_net::identity::IdentityError),
    /// TLS.
    #[error("TLS: {0}")]
    Tls(String),
    /// The system.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl ServerError {
    pub(crate) fn about(what: &'static str, path: &Path, error: io::Error) -> Self {
        Self::Path {
            what,
            path: path.to_owned(),
            error,
        }
    }
}

/// What a server says when it is ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    /// Where it listens, TCP and UDP.
    pub address: SocketAddr,
    /// The fingerprint of its key; empty in plaintext mode.
    pub fingerprint: String,
}

impl Ready {
    /// The line for programs that wait for it.
    #[must_use]
    pub fn to_json(&self) -> String {
        let Self {
            address,
            fingerprint,
        } = self;
        serde_json::json!({"event": "ready", "address": address.to_string(), "fingerprint": fingerprint}).to_string()
    }
}

/// Serves in this thread until a signal says to stop. `ready` is called once, when clients can come.
///
/// # Errors
/// The server cannot start, or the poll fails.
pub fn run(config: &Config, ready: impl FnOnce(&Ready)) -> Result<(), ServerError> {
    let (mut reactor, _waker) = Reactor::new(config, Arc::default())?;
    ready(&Ready {
        address: reactor.address(),
        fingerprint: reactor.fingerprint().to_owned(),
    });
    reactor.run()?;
    Ok(())
}

/// A server in a thread of its own.
#[derive(Debug)]
pub struct Server;

impl Server {
    /// Starts a server; it is ready when this returns.
    ///
    /// # Errors
    /// The server cannot start.
    pub fn spawn(config: &Config) -> Result<ServerHandle, ServerError> {
        let stop = Arc::new(AtomicBool::new(false));
        let (mut reactor, waker) = Reactor::new(config, Arc::clone(&stop))?;
        let ready = Ready {
            address: reactor.address(),
            fingerprint: reactor.fingerprint().to_owned(),
        };
        let thread = std::thread::Builder::new()
            .name("columba-server".into())
            .spawn(move || reactor.run())?;
        Ok(ServerHandle {
            ready,
            stop,
            waker,
            thread: Some(thread),
        })
    }
}

/// Stops its server when dropped.
#[derive(Debug)]
pub struct ServerHandle {
    ready: Ready,
    stop: Arc<AtomicBool>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl ServerHandle {
    /// Where it listens, TCP and UDP.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.ready.address
    }

    /// The fingerprint of its key; empty in plaintext mode.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.ready.fingerprint
    }

    /// Stops the server in good order and waits until it has.
    ///
    /// # Errors
    /// The loop failed, or its thread panicked.
    pub fn stop(mut self) -> io::Result<()> {
        self.shut_down()
    }

    fn shut_down(&mut self) -> io::Result<()> {
        self.stop.store(true, Ordering::Release);
        self.waker.wake()?;
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(_)) => Err(io::Error::other("the server's thread panicked")),
            None => Ok(()),
        }
    }
}

impl Drop for ServerHandle {
    fn drop(&mut self) {
        if self.thread.is_some()
            && let Err(error) = self.shut_down()
        {
            tracing::error!(%error, "a server ended badly");
        }
    }
}
