//! From a configuration to a server that is ready to run.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use columba_core::control::Framing;
use columba_core::units::Timestamp;
use columba_net::clock::Clock;
use columba_net::identity::Identity;
use columba_net::socket::{BindAddress, bind_pair};
use columba_net::timer::PreciseTimer;
use columba_net::tls::server_config;
use columba_net::udp::{UdpOptions, UdpSocket};
use mio::{Interest, Poll, Registry, Waker};

use super::accept::Acceptor;
use super::arrivals::Arrivals;
use super::clients::Clients;
use super::side::Side;
use super::signals::Signals;
use super::{Reactor, tokens};
use crate::access::Access;
use crate::config::Config;
use crate::files::catalog::Catalog;
use crate::files::folder::SharedFolder;
use crate::files::workers::Workers;
use crate::helpers::Mailbox;
use crate::histograms::Histograms;
use crate::limits::RESERVED_DESCRIPTORS;
use crate::lobby::Lobby;
use crate::names::NameRegistry;
use crate::rate::Budgets;
use crate::server::ServerError;
use crate::transfers::store::FileStore;
use crate::transfers::{TransferOptions, Transfers};

/// Most threads that hash.
const MAX_HASHING_THREADS: usize = 4;

impl Reactor {
    /// Opens everything the configuration names.
    ///
    /// # Errors
    /// What cannot be opened, and why.
    pub(crate) fn new(
        config: &Config,
        stop: Arc<AtomicBool>,
    ) -> Result<(Self, Arc<Waker>), ServerError> {
        config.check()?;
        let folder = SharedFolder::open(&config.share_dir)
            .map_err(|error| ServerError::about("the shared folder", &config.share_dir, error))?;
        let folder = Arc::new(folder);
        let (identity, names) = open_state(config)?;
        let access = Access::load(config.authorized_keys.clone(), config.password_file.clone())
            .map_err(ServerError::Access)?;

        let poll = Poll::new()?;
        let registry = poll.registry();
        let clock = Clock::new();
        let now = clock.now();
        let sockets = Sockets::open(config, identity.as_ref(), registry)?;
        let address = sockets.udp.local_addr();
        let mut timer = PreciseTimer::new(clock)?;
        registry.register(&mut timer, tokens::TIMER, Interest::READABLE)?;
        let waker = Arc::new(Waker::new(registry, tokens::WAKER)?);
        let (mailbox, news) = Mailbox::new(Arc::clone(&waker));
        let catalog = Catalog::start(Arc::clone(&folder), mailbox.clone())?;
        let framing = if config.plaintext {
            Framing::Plaintext
        } else {
            Framing::Tls
        };
        let reactor = Self {
            metrics: config
                .metrics
                .map(|address| listen_metrics(address, registry))
                .transpose()?,
            #[cfg(unix)]
            admin: config
                .admin_socket
                .as_deref()
                .and_then(|path| AdminListener::open(path, registry)),
            signals: config
                .handle_signals
                .then(|| Signals::register(registry))
                .transpose()?,
            poll,
            clock,
            timer,
            now,
            unix_ms: 0,
            started: Instant::now(),
            acceptor: Some(sockets.acceptor),
            clients: Clients::new(framing, now),
            lobby: Lobby::new(framing, new_chat_number()?),
            names,
            saved_at: None,
            access,
            budgets: Budgets::new(config.message_limit),
            max_clients: sockets.max_clients,
            features: config.cipher.features(),
            catalog,
            news,
            transfers: open_transfers(config, now, sockets.udp, folder, mailbox)?,
            notices: Vec::new(),
            histograms: open_histograms(config, now)?,
            arrivals: Arrivals::default(),
            too_fast: 0,
            side: Side::default(),
            stop,
            stopping: None,
            news_left: false,
            accepted: (0, 0),
            address,
            fingerprint: identity
                .map(|identity| identity.fingerprint().to_string())
                .unwrap_or_default(),
        };
        Ok((reactor, waker))
    }
}

/// Tells this chat from the one before a restart.
fn new_chat_number() -> Result<u64, ServerError> {
    let mut bytes = [0; 8];
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|_| io::Error::other("the system gives no random bytes"))?;
    Ok(u64::from_be_bytes(bytes))
}

/// What clients come to.
struct Sockets {
    acceptor: Acceptor,
    udp: UdpSocket,
    /// As many as the system allows.
    max_clients: usize,
}

impl Sockets {
    fn open(
        config: &Config,
        identity: Option<&Identity>,
        registry: &Registry,
    ) -> Result<Self, ServerError> {
        let tls = identity.map(server_config).transpose();
        let tls = tls.map_err(|error| ServerError::Tls(error.to_string()))?;
        let max_clients = raise_descriptor_limit(config.max_clients);
        let pair = bind_pair(bind_address(config.listen), &UdpOptions::default())
            .map_err(|error| ServerError::Listen(config.listen, error))?;
        let mut udp = pair.udp;
        registry.register(
            &mut udp,
            tokens::UDP,
            Interest::READABLE | Interest::WRITABLE,
        )?;
        let mut acceptor = Acceptor::new(pair.tcp, tls, max_clients);
        registry.register(acceptor.listener(), tokens::LISTENER, Interest::READABLE)?;
        Ok(Self {
            acceptor,
            udp,
            max_clients,
        })
    }
}

fn open_transfers(
    config: &Config,
    now: Timestamp,
    udp: UdpSocket,
    folder: Arc<SharedFolder>,
    mailbox: Mailbox,
) -> Result<Transfers, ServerError> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let workers = Workers::start(cores.saturating_sub(1).clamp(1, MAX_HASHING_THREADS))?;
    let options = TransferOptions {
        plaintext: config.plaintext,
        congestion: config.congestion,
        max_transfers: config.max_transfers,
        rate_limit: config.rate_limit,
    };
    Ok(Transfers::new(
        now,
        udp,
        FileStore::new(folder, workers, mailbox),
        options,
    ))
}

fn open_histograms(config: &Config, now: Timestamp) -> Result<Histograms, ServerError> {
    let mut histograms = Histograms::new()?;
    if let Some(folder) = &config.histograms {
        let logged = histograms.log_into(folder, now);
        logged.map_err(|error| ServerError::about("the folder for histograms", folder, error))?;
    }
    Ok(histograms)
}

/// The server's key (unless it speaks plaintext) and the names it knows.
fn open_state(config: &Config) -> Result<(Option<Identity>, NameRegistry), ServerError> {
    let Some(folder) = &config.state_dir else {
        let identity = if config.plaintext {
            None
        } else {
            Some(Identity::generate()?)
        };
        return Ok((identity, NameRegistry::in_memory()));
    };
    std::fs::create_dir_all(folder)
        .map_err(|error| ServerError::about("the state folder", folder, error))?;
    let identity = if config.plaintext {
        None
    } else {
        let loaded = Identity::load_or_create(&folder.join("server.key"))?;
        if let Some(mode) = loaded.exposed_mode {
            tracing::warn!(
                mode = format!("{mode:o}"),
                "others can read the server's key: chmod 600 it"
            );
        }
        Some(loaded.identity)
    };
    let path = folder.join("names.json");
    let names = NameRegistry::load(&path)
        .map_err(|error| ServerError::about("the known names", &path, error))?;
    Ok((identity, names))
}

fn bind_address(listen: SocketAddr) -> BindAddress {
    match listen {
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => BindAddress::Any { port: v6.port() },
        SocketAddr::V4(_) | SocketAddr::V6(_) => BindAddress::Exactly(listen),
    }
}

fn listen_metrics(
    address: SocketAddr,
    registry: &Registry,
) -> Result<mio::net::TcpListener, ServerError> {
    let mut listener = columba_net::socket::listen(address)
        .map_err(|error| ServerError::Listen(address, error))?;
    registry.register(&mut listener, tokens::METRICS, Interest::READABLE)?;
    tracing::info!(address = %listener.local_addr()?, "metrics are served");
    Ok(listener)
}

/// The operator's socket; its file goes when the server does.
#[cfg(unix)]
pub(super) struct AdminListener {
    listener: mio::net::UnixListener,
    path: std::path::PathBuf,
}

#[cfg(unix)]
impl AdminListener {
    /// The server does without when the socket cannot be had.
    fn open(path: &Path, registry: &Registry) -> Option<Self> {
        match Self::bind(path, registry) {
            Ok(listener) => Some(listener),
            Err(error) => {
                tracing::warn!(socket = %path.display(), %error, "the operator's commands cannot reach this server");
                None
            }
        }
    }

    fn bind(path: &Path, registry: &Registry) -> io::Result<Self> {
        use std::os::unix::fs::PermissionsExt;
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(io::Error::new(
                io::ErrorKind::AddrInUse,
                "another server uses this state folder",
            ));
        }
        // What a server that was killed left behind.
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut listener = mio::net::UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        registry.register(&mut listener, tokens::ADMIN, Interest::READABLE)?;
        Ok(Self {
            listener,
            path: path.to_owned(),
        })
    }

    pub(super) fn accept(
        &self,
    ) -> io::Result<(mio::net::UnixStream, std::os::unix::net::SocketAddr)> {
        self.listener.accept()
    }
}

#[cfg(unix)]
impl Drop for AdminListener {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Raises the soft limit of descriptors as far as it goes; returns how many clients it allows.
#[cfg(unix)]
fn raise_descriptor_limit(max_clients: usize) -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    let limit = if setrlimit(Resource::Nofile, raised).is_ok() {
        maximum
    } else {
        current
    };
    let allowed = limit.map_or(usize::MAX, |limit| {
        usize::try_from(limit.saturating_sub(RESERVED_DESCRIPTORS))
            .unwrap_or(usize::MAX)
            .max(1)
    });
    if allowed < max_clients {
        tracing::warn!(
            max_clients = allowed,
            "the limit of open files allows no more clients"
        );
    }
    allowed.min(max_clients)
}

#[cfg(not(unix))]
fn raise_descriptor_limit(max_clients: usize) -> usize {
    let _ = RESERVED_DESCRIPTORS;
    max_clients
}
