//! What a proxy is told, and what may be wrong with it.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::impairments::{ImpairmentError, Impairments};
use crate::knobs::ChangeError;
use crate::path::Direction;
use crate::proxy::rebind::Rebinding;
use crate::proxy::tcp_faults::TcpFaults;
use crate::record::Script;
use crate::scenario::{Rebind, Scenario};

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
    /// What else happens to TCP connections.
    pub tcp_faults: TcpFaults,
    /// Moves of UDP clients to other ports or addresses, as the upstream sees them.
    pub rebinding: Rebinding,
    /// Where to write down what becomes of each datagram.
    pub log: Option<PathBuf>,
    /// What is to become of the first datagrams, from such a log.
    pub replay: Option<Script>,
    /// Impairments that change while it runs.
    pub scenario: Option<Scenario>,
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
            tcp_faults: TcpFaults::default(),
            rebinding: Rebinding::default(),
            log: None,
            replay: None,
            scenario: None,
        }
    }
}

impl ProxyConfig {
    pub(crate) fn validate(&self) -> Result<(), ProxyError> {
        for (direction, impairments) in [(Direction::Up, &self.up), (Direction::Down, &self.down)] {
            impairments
                .validate()
                .map_err(|error| ProxyError::Impairment { direction, error })?;
        }
        let scenario = self.scenario.as_ref();
        let moves = self.rebinding.address.is_some()
            || scenario.is_some_and(|scenario| scenario.rebinds(Rebind::Address));
        if moves {
            check_other_addresses(self.upstream)?;
        }
        Ok(())
    }
}

/// Whether clients can be given other addresses towards this upstream.
pub(crate) fn check_other_addresses(upstream: SocketAddr) -> Result<(), ProxyError> {
    if upstream.is_ipv4() && upstream.ip().is_loopback() {
        Ok(())
    } else {
        Err(ProxyError::RebindAddress { upstream })
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
    /// Clients can't be given other addresses.
    #[error("rebind-address: works only towards an IPv4 loopback upstream, not {upstream}")]
    RebindAddress {
        /// The upstream.
        upstream: SocketAddr,
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
    /// The log can't be written.
    #[error("cannot write the log {}: {error}", file.display())]
    Log {
        /// The file.
        file: PathBuf,
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
    /// A change that makes no sense.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// There are no UDP clients that could be moved: this is a link, not a proxy.
    #[error("rebind: a link has no clients to move")]
    NoClients,
    /// The thread of the path is gone, so that a command can't reach it.
    #[error("it has stopped already")]
    Stopped,
}

impl ProxyError {
    pub(crate) fn system(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::System { action, error }
    }
}
