//! The UDP side: one socket, one association, trains in and acknowledgements out.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use columba_core::client::{ClientAssociation, ClientConfig};
use columba_core::control::Grant;
use columba_core::limits::{INITIAL_RTT, MAX_DATAGRAM_BYTES};
use columba_core::protection::Secrets;
use columba_core::units::Timestamp;
use columba_net::clock::Clock;
use columba_net::udp::{RecvBatch, SendTrain, UdpOptions, UdpSocket};
use mio::{Interest, Registry, Token};

use crate::storage::assembly::Assemblies;

/// Receive calls before others get their turn.
const RECEIVE_BUDGET: usize = 16;

/// How the association is to be opened.
pub(super) struct FlowConfig {
    pub(super) encrypted: bool,
    pub(super) server: SocketAddr,
    pub(super) initial_rtt: Option<Duration>,
    pub(super) max_datagram: u16,
    pub(super) handshake_timeout: Duration,
    pub(super) token: Token,
}

/// A granted association and its socket.
pub(super) struct Flow {
    pub(super) association: ClientAssociation,
    pub(super) started: Timestamp,
    socket: UdpSocket,
    batch: RecvBatch,
    out: Box<[u8]>,
    more: bool,
    unsent: u64,
}

impl Flow {
    pub(super) fn open(
        now: Timestamp,
        grant: &Grant,
        config: &FlowConfig,
        credit_bytes: u64,
        registry: &Registry,
    ) -> io::Result<Self> {
        let any: IpAddr = if config.server.is_ipv4() {
            Ipv4Addr::UNSPECIFIED.into()
        } else {
            Ipv6Addr::UNSPECIFIED.into()
        };
        let mut socket = UdpSocket::bind(SocketAddr::new(any, 0), &UdpOptions::default())?;
        registry.register(&mut socket, config.token, Interest::READABLE)?;
        let secrets = if config.encrypted {
            Secrets::Aead {
                down: grant.secret_down,
                up: grant.secret_up,
            }
        } else {
            Secrets::Plaintext
        };
        let max_datagram = match config.max_datagram {
            0 => MAX_DATAGRAM_BYTES,
            limit => usize::from(limit),
        };
        let association = ClientAssociation::new(
            now,
            ClientConfig {
                id: grant.association,
                secrets,
                cell_bytes: grant.cell_bytes,
                server: config.server,
                max_datagram,
                credit: credit(&socket, credit_bytes),
                initial_rtt: config.initial_rtt.unwrap_or(INITIAL_RTT),
                handshake_timeout: config.handshake_timeout,
            },
        );
        Ok(Self {
            association,
            started: now,
            socket,
            batch: RecvBatch::new(),
            out: vec![0; MAX_DATAGRAM_BYTES].into_boxed_slice(),
            more: false,
            unsent: 0,
        })
    }

    /// Takes what has come and answers it.
    pub(super) fn receive(&mut self, clock: Clock, storage: &mut Assemblies) {
        self.more = false;
        for _ in 0..RECEIVE_BUDGET {
            match self.socket.recv(&mut self.batch) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // Errors that packets of ours provoked elsewhere: what is lost is sent again.
                Err(error) => {
                    tracing::debug!(%error, "receiving");
                    return;
                }
            }
            let now = clock.now();
            for train in self.batch.iter_mut() {
                for datagram in train.data.chunks_mut(train.segment_bytes) {
                    self.association
                        .handle_datagram(now, train.from, train.ecn, datagram, storage);
                }
            }
            let drops = u32::try_from(self.socket.kernel_drops()).unwrap_or(u32::MAX);
            self.association.set_socket_drops(drops);
            self.association
                .set_credit(credit(&self.socket, storage.credit_bytes()));
            self.transmit(now);
        }
        self.more = true;
    }

    /// Whether more waits to be received, for which no event will come.
    pub(super) const fn has_more(&self) -> bool {
        self.more
    }

    /// Does what is due and sends what there is.
    pub(super) fn on_time(&mut self, now: Timestamp, credit_bytes: u64) {
        self.association
            .set_credit(credit(&self.socket, credit_bytes));
        if self.association.poll_timeout().is_some_and(|at| at <= now) {
            self.association.handle_timeout(now);
        }
        self.transmit(now);
    }

    fn transmit(&mut self, now: Timestamp) {
        while let Some(outgoing) = self.association.poll_transmit(now, &mut self.out) {
            let train = SendTrain {
                to: outgoing.to,
                segment_bytes: outgoing.segment_bytes,
                data: &self.out[..outgoing.bytes],
                ecn: None,
            };
            // All that a client sends is repeated until it is answered, or superseded.
            match self.socket.send(&train) {
                Ok(columba_net::udp::SendOutcome::Sent) => {}
                Ok(outcome) => {
                    self.unsent += 1;
                    tracing::trace!(?outcome, "not sent");
                }
                Err(error) => {
                    self.unsent += 1;
                    tracing::debug!(%error, unsent = self.unsent, "not sent");
                }
            }
        }
    }
}

/// What the server may have in flight: half of what the kernel holds for us (a packet costs more
/// there than its bytes), and no more than we can take off its hands.
fn credit(socket: &UdpSocket, credit_bytes: u64) -> u32 {
    let kernel = u32::try_from(socket.recv_buffer_bytes() / 2).unwrap_or(u32::MAX);
    kernel.min(u32::try_from(credit_bytes).unwrap_or(u32::MAX))
}
