//! What a proxy is told, and what may be wrong with it.

use std::io;
use std::net::SocketAddr;

use crate::impairments::{ImpairmentError, Impairments};
use crate::path::Direction;

/// What a proxy does.
#[derive(Debug, Clone)]
pub struct ProxyConfig {
    /// Where clients connect and send to, TCP and UDP alike; port 0 picks one that is free for both.
    pub listen: SocketAddr,
    /// The server.
    pub upstream: SocketAddr,
    /// What happens on the way to the server.
    pub up: Impairments,
    /// What happens on the way to the client.
    pub down: Impairments,
    /// From this follows all that is left to chance.
    pub seed: u64,
}

impl ProxyConfig {
    /// A proxy in front of `upstream` that listens on any free port of the loopback and impairs nothing.
    #[must_use]
    pub fn new(upstream: SocketAddr) -> Self {
        Self {
            listen: (std::net::Ipv4Addr::LOCALHOST, 0).into(),
            upstream,
            up: Impairments::default(),
            down: Impairments::default(),
            seed: 0,
        }
    }
}

/// Why a proxy can't start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// An impairment is out of range.
    #[error("{}-{error}", direction.name())]
    Impairment {
        /// The direction it was meant for.
        direction: Direction,
        /// What is wrong.
        #[source]
        error: ImpairmentError,
    },
    /// The address to listen on can't be had.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        #[source]
        error: io::Error,
    },
    /// The system refused something that the proxy can't do without.
    #[error("cannot {action}: {error}")]
    System {
        /// What was to be done.
        action: &'static str,
        /// Why it failed.
        #[source]
        error: io::Error,
    },
    /// The proxy's thread is gone, so that a command can't reach it.
    #[error("the proxy has stopped")]
    Stopped,
}

impl ProxyError {
    pub(crate) fn system(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::System { action, error }
    }
}
