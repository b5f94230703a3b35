//! What a link is told, and what may be wrong with it.

use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::time::Duration;

use crate::impairments::{ImpairmentError, Impairments};
use crate::path::Direction;
use crate::record::Script;
use crate::scenario::{Rebind, Scenario};

/// Largest packet of a link unless something else is said, in bytes.
pub const DEFAULT_MTU: u16 = 1500;
/// Least MTU that IPv4 needs (RFC 791, section 3.2).
pub const MIN_MTU: u16 = 68;

/// What a link between two namespaces does.
#[derive(Debug, Clone)]
pub struct IpLinkConfig {
    /// What happens on the way from left to right.
    pub up: Impairments,
    /// What happens on the way from right to left.
    pub down: Impairments,
    /// From this follows all that is left to chance.
    pub seed: u64,
    /// Largest packet, in bytes; below 1280 there is no IPv6.
    pub mtu: u16,
    /// How long the link lives; until it is stopped when `None`.
    pub lifetime: Option<Duration>,
    /// Where to write down what becomes of each packet.
    pub log: Option<PathBuf>,
    /// What is to become of the first packets, from such a log.
    pub replay: Option<Script>,
    /// Impairments that change while it runs.
    pub scenario: Option<Scenario>,
}

impl Default for IpLinkConfig {
    /// A link that impairs nothing.
    fn default() -> Self {
        Self {
            up: Impairments::default(),
            down: Impairments::default(),
            seed: 0,
            mtu: DEFAULT_MTU,
            lifetime: None,
            log: None,
            replay: None,
            scenario: None,
        }
    }
}

impl IpLinkConfig {
    pub(super) fn validate(&self) -> Result<(), IpLinkError> {
        for (direction, impairments) in [(Direction::Up, &self.up), (Direction::Down, &self.down)] {
            impairments
                .validate()
                .map_err(|error| IpLinkError::Impairment { direction, error })?;
        }
        if self.mtu < MIN_MTU {
            return Err(IpLinkError::Mtu(self.mtu));
        }
        let rebinds = |scenario: &Scenario| {
            scenario.rebinds(Rebind::Port) || scenario.rebinds(Rebind::Address)
        };
        if self.scenario.as_ref().is_some_and(rebinds) {
            return Err(IpLinkError::Rebind);
        }
        Ok(())
    }
}

/// Why a link can't be made, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum IpLinkError {
    /// An impairment is out of range.
    #[error("{}-{error}", direction.name())]
    Impairment {
        /// The direction it was meant for.
        direction: Direction,
        /// What is wrong.
        #[source]
        error: ImpairmentError,
    },
    /// Too small an MTU for IP.
    #[error("mtu: {0} is less than {MIN_MTU}, which IPv4 needs")]
    Mtu(u16),
    /// A scenario moves clients, of which a link has none.
    #[error("scenario: rebind has no meaning on a link, only for the proxy")]
    Rebind,
    /// The caller may not make namespaces and devices.
    #[error("cannot {action}: {error}; a link needs root (CAP_SYS_ADMIN and CAP_NET_ADMIN)")]
    Privileges {
        /// What was to be done.
        action: &'static str,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// The system has no TUN devices.
    #[error(
        "cannot open /dev/net/tun: {0}; load the kernel module 'tun', or give the container that device"
    )]
    NoTun(#[source] io::Error),
    /// The log can't be written.
    #[error("cannot write the log {}: {error}", file.display())]
    Log {
        /// The file.
        file: PathBuf,
        /// Why not.
        #[source]
        error: io::Error,
    },
    /// The system refused something that a link can't do without.
    #[error("cannot {action}: {error}")]
    System {
        /// What was to be done.
        action: &'static str,
        /// Why it failed.
        #[source]
        error: io::Error,
    },
}

impl IpLinkError {
    pub(super) fn system(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| {
            if error.kind() == ErrorKind::PermissionDenied {
                Self::Privileges { action, error }
            } else {
                Self::System { action, error }
            }
        }
    }
}
