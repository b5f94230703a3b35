//! New connections: admitted, or turned away without a stall when there is no room or no descriptor.

use std::fs::File;
use std::io;
use std::time::Duration;

use columba_core::units::Timestamp;
use columba_net::control_stream::ControlStream;
use columba_net::tls::ServerTls;
use columba_net::udp::normalise_address;
use mio::Registry;
use mio::net::{TcpListener, TcpStream};

use super::clients::Clients;
use crate::connection::MAX_STREAM_BYTES;
use crate::limits::ACCEPT_BUDGET;

/// Connections beyond the limit that are told so, rather than just closed.
const TOLD_BEYOND_LIMIT: usize = 64;

/// How long to wait when not even turning away works.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// Takes connections from the listener.
pub(super) struct Acceptor {
    listener: TcpListener,
    tls: Option<ServerTls>,
    max_clients: usize,
    /// The listener may have more.
    pub(super) pending: bool,
    /// Given back to the system for the moment that turning a connection away takes.
    spare: Option<File>,
    retry_at: Option<Timestamp>,
    /// Connections taken.
    pub(super) accepted: u64,
    /// Connections turned away.
    pub(super) shed: u64,
}

impl Acceptor {
    pub(super) fn new(listener: TcpListener, tls: Option<ServerTls>, max_clients: usize) -> Self {
        Self {
            listener,
            tls,
            max_clients,
            pending: true,
            spare: spare(),
            retry_at: None,
            accepted: 0,
            shed: 0,
        }
    }

    pub(super) fn listener(&mut self) -> &mut TcpListener {
        &mut self.listener
    }

    /// When to try again although no event told so.
    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        self.retry_at
    }

    /// Takes what is there, within a budget.
    pub(super) fn accept(&mut self, now: Timestamp, registry: &Registry, clients: &mut Clients) {
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
            self.pending = true;
        }
        for _ in 0..ACCEPT_BUDGET {
            if !self.pending {
                return;
            }
            match self.listener.accept() {
                Ok((stream, address)) => {
                    let address = normalise_address(address);
                    if let Err(error) = self.admit(stream, address, registry, clients) {
                        tracing::debug!(client = %address, %error, "a connection was turned away");
                        self.shed += 1;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.pending = false,
                // The client gave up while it waited, or a signal came.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted
                    ) => {}
                Err(error) => {
                    self.shed_for_want_of_descriptors(now, &error);
                    return;
                }
            }
        }
    }

    fn admit(
        &mut self,
        stream: TcpStream,
        address: std::net::SocketAddr,
        registry: &Registry,
        clients: &mut Clients,
    ) -> io::Result<()> {
        if clients.len() >= self.max_clients + TOLD_BEYOND_LIMIT
            || !clients.admits_stranger(address.ip())
        {
            return Err(io::Error::new(
                io::ErrorKind::QuotaExceeded,
                "too many connections",
            ));
        }
        let mut stream = match &self.tls {
            None => ControlStream::plaintext(stream, MAX_STREAM_BYTES),
            Some(tls) => ControlStream::tls_server(stream, tls, MAX_STREAM_BYTES)
                .map_err(|error| io::Error::other(error.to_string()))?,
        };
        stream.stamp_arrivals();
        clients.insert(registry, stream, address)?;
        self.accepted += 1;
        Ok(())
    }

    /// No descriptor is free: with the spare one given back, the connection at the head of the queue can be taken and
    /// closed, so that its client knows and the queue moves on.
    fn shed_for_want_of_descriptors(&mut self, now: Timestamp, error: &io::Error) {
        tracing::warn!(%error, "a connection cannot be accepted");
        self.spare = None;
        if self.listener.accept().is_ok() {
            self.shed += 1;
        }
        self.spare = spare();
        // The edge is spent: come back by the clock.
        self.pending = false;
        self.retry_at = Some(now + RETRY_AFTER);
    }
}

fn spare() -> Option<File> {
    // Some descriptor that costs nothing.
    File::open(if cfg!(windows) { "NUL" } else { "/dev/null" }).ok()
}
