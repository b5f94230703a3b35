//! The two ends of a link, and how to get programs there.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::process::{Child, Command};
use std::sync::Arc;

use super::config::IpLinkError;
use super::device::{DEVICE, Device, Settings, SetupError};
use super::namespace::{self, Namespace};

/// An end of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// Where packets go up from: the client's, by custom.
    Left,
    /// Where packets go down from: the server's, by custom.
    Right,
}

impl Side {
    /// Both of them.
    pub const BOTH: [Self; 2] = [Self::Left, Self::Right];

    /// Its name on the command line and in the name of its namespace.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Right => "right",
        }
    }

    /// Its IPv4 address.
    #[must_use]
    pub fn ipv4(self) -> Ipv4Addr {
        match self {
            Self::Left => Ipv4Addr::new(10, 77, 0, 1),
            Self::Right => Ipv4Addr::new(10, 77, 0, 2),
        }
    }

    /// Its IPv6 address, where there is IPv6.
    #[must_use]
    pub fn ipv6(self) -> Ipv6Addr {
        match self {
            Self::Left => Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1),
            Self::Right => Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 2),
        }
    }

    /// The namespaces at this end of all links that run now.
    ///
    /// # Errors
    /// A directory that can't be read.
    pub fn running(self) -> io::Result<Vec<String>> {
        namespace::living(self.name())
    }
}

/// One end of a link: a network namespace. Clones are the same end, which keeps its name as long as one of
/// them lives.
#[derive(Debug, Clone)]
pub struct End {
    side: Side,
    has_ipv6: bool,
    namespace: Arc<Namespace>,
}

impl End {
    /// Equips a namespace.
    pub(super) fn create(
        side: Side,
        mtu: u16,
        namespace: Namespace,
    ) -> Result<(Self, Device), IpLinkError> {
        let settings = Settings {
            mtu,
            ipv4: side.ipv4(),
            ipv6: side.ipv6(),
        };
        let created = namespace
            .run_inside(|| Device::create(settings))
            .map_err(IpLinkError::system("enter a namespace"))?;
        let (device, has_ipv6) = created.map_err(|error| match error {
            SetupError::NoTun(error) => IpLinkError::NoTun(error),
            SetupError::System(action, error) => IpLinkError::system(action)(error),
        })?;
        let end = Self {
            side,
            has_ipv6,
            namespace: Arc::new(namespace),
        };
        Ok((end, device))
    }

    /// Which end it is.
    #[must_use]
    pub fn side(&self) -> Side {
        self.side
    }

    /// The namespace's name, for `ip netns exec`.
    #[must_use]
    pub fn name(&self) -> &str {
        self.namespace.name()
    }

    /// The namespace as a file, for `nsenter --net=`.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.namespace.path()
    }

    /// The name of the network device in it.
    #[must_use]
    pub fn device(&self) -> &'static str {
        DEVICE
    }

    /// Its IPv4 address.
    #[must_use]
    pub fn ipv4(&self) -> Ipv4Addr {
        self.side.ipv4()
    }

    /// Its IPv6 address; there is none on systems without IPv6, or with an MTU below 1280.
    #[must_use]
    pub fn ipv6(&self) -> Option<Ipv6Addr> {
        self.has_ipv6.then(|| self.side.ipv6())
    }

    /// Runs something on a thread inside the namespace, and waits for it. Sockets that it opens, and
    /// programs that it starts, belong there for good.
    ///
    /// # Errors
    /// Entering needs root.
    pub fn run_inside<T: Send>(&self, run: impl FnOnce() -> T + Send) -> io::Result<T> {
        self.namespace.run_inside(run)
    }

    /// Starts a program inside the namespace.
    ///
    /// # Errors
    /// Entering needs root; a program that can't be started.
    pub fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        self.run_inside(|| command.spawn())?
    }
}

/// Moves the calling thread into the namespace of this name, to start a program there.
///
/// # Errors
/// No such namespace; entering needs root.
pub fn enter(name: &str) -> io::Result<()> {
    namespace::enter_named(name)
}
