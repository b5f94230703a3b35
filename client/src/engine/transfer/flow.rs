//! The UDP side: one socket, one association, trains in and acknowledgements out.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use columba_core::client::{ClientAssociation, ClientConfig};
use columba_core::control::Grant;
use columba_core::limits::{INITIAL_RTT, MAX_DATAGRAM_BYTES};
use columba_core::protection::{Cipher, Secrets};
use columba_core::units::Timestamp;
use columba_net::clock::Clock;
use columba_net::udp::{RecvBatch, SendTrain, UdpOptions, UdpSocket};
use mio::{Interest, Registry, Token};

use crate::storage::assembly::Assemblies;

/// Receive calls before others get their turn, and bytes: what became complete is handed over while it is in the
/// processor's cache, and the memory of small files comes back before more is taken.
const RECEIVE_BUDGET: usize = 16;
const RECEIVE_BUDGET_BYTES: usize = 512 << 10;

/// How the association is to be opened.
pub(super) struct FlowConfig {
    /// `None`: plaintext.
    pub(super) cipher: Option<Cipher>,
    pub(super) server: SocketAddr,
    pub(super) initial_rtt: Option<Duration>,
    pub(super) max_datagram: u16,
    pub(super) handshake_timeout: Duration,
    pub(super) token: Token,
}

/// A granted association and its socket.
pub(super) struct Flow {
    /// The association's number.
    pub(super) id: u32,
    pub(super) association: ClientAssociation,
    pub(super) started: Timestamp,
    socket: UdpSocket,
    batch: RecvBatch,
    out: Box<[u8]>,
    more: bool,
    unsent: u64,
    tuning: CreditTuning,
    /// What the server may have in flight.
    credit: u32,
    /// When percentiles of the round trip were computed last, and what they were.
    percentiles: Option<(Timestamp, Duration, Duration)>,
}

/// Percentiles are computed anew no more often than this: thousands of files end in a second.
const PERCENTILES_FOR: Duration = Duration::from_millis(20);

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
        let secrets = match config.cipher {
            Some(cipher) => Secrets::Aead {
                cipher,
                down: grant.secret_down,
                up: grant.secret_up,
            },
            None => Secrets::Plaintext,
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
                credit: limit_credit(socket_credit(&socket), credit_bytes),
                initial_rtt: config.initial_rtt.unwrap_or(INITIAL_RTT),
                handshake_timeout: config.handshake_timeout,
            },
        );
        Ok(Self {
            id: grant.association,
            association,
            started: now,
            socket,
            batch: RecvBatch::new(),
            out: vec![0; MAX_DATAGRAM_BYTES].into_boxed_slice(),
            more: false,
            unsent: 0,
            tuning: CreditTuning::new(now),
            credit: 0,
            percentiles: None,
        })
    }

    /// The 50th and 99th percentile of the round trips so far.
    pub(super) fn rtt_percentiles(&mut self, now: Timestamp) -> (Duration, Duration) {
        if let Some((at, p50, p99)) = self.percentiles
            && now - at < PERCENTILES_FOR
        {
            return (p50, p99);
        }
        let rtt = self.association.rtt_histogram();
        let [p50, p99] =
            [0.5, 0.99].map(|quantile| Duration::from_micros(rtt.value_at_quantile(quantile)));
        self.percentiles = Some((now, p50, p99));
        (p50, p99)
    }

    /// Takes what has come and answers it.
    pub(super) fn receive(&mut self, clock: Clock, storage: &mut Assemblies) {
        self.more = false;
        let mut taken_bytes = 0;
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
                taken_bytes += train.data.len();
                for datagram in train.data.chunks_mut(train.segment_bytes) {
                    self.association
                        .handle_datagram(now, train.from, train.ecn, datagram, storage);
                }
            }
            let drops = u32::try_from(self.socket.kernel_drops()).unwrap_or(u32::MAX);
            self.association.set_socket_drops(drops);
            let credit = self.credit(now, storage.credit_bytes());
            self.association.set_credit(credit);
            self.transmit(now);
            if taken_bytes >= RECEIVE_BUDGET_BYTES {
                break;
            }
        }
        self.more = true;
    }

    /// Whether more waits to be received, for which no event will come.
    pub(super) const fn has_more(&self) -> bool {
        self.more
    }

    /// Does what is due and sends what there is.
    pub(super) fn on_time(&mut self, now: Timestamp, credit_bytes: u64) {
        let credit = self.credit(now, credit_bytes);
        self.association.set_credit(credit);
        if self.association.poll_timeout().is_some_and(|at| at <= now) {
            self.association.handle_timeout(now);
        }
        self.transmit(now);
    }

    /// What the server may have in flight.
    fn credit(&mut self, now: Timestamp, storage: u64) -> u32 {
        let rtt = self.association.rtt().srtt();
        let bytes = self.association.stats().bytes_received;
        let drops = self.socket.kernel_drops();
        let tuned = self.tuning.update(now, rtt, bytes, drops);
        self.credit = limit_credit(socket_credit(&self.socket).max(tuned), storage);
        self.credit
    }

    /// What the server may have in flight, as it was told last.
    pub(super) const fn credit_bytes(&self) -> u64 {
        self.credit as u64
    }

    /// Datagrams that the kernel dropped for want of room.
    pub(super) fn kernel_drops(&self) -> u64 {
        self.socket.kernel_drops()
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

/// Half of what the kernel holds for us: a packet costs more there than its bytes.
fn socket_credit(socket: &UdpSocket) -> u64 {
    (socket.recv_buffer_bytes() / 2) as u64
}

/// No more than we can take off the kernel's hands, and at most 4 GiB.
fn limit_credit(kernel: u64, storage: u64) -> u32 {
    u32::try_from(kernel.min(storage)).unwrap_or(u32::MAX)
}

/// On a path longer than this, packets in flight are on the way and not in the socket's buffer.
const LONG_PATH: Duration = Duration::from_millis(2);
/// Credit is judged no more often than this.
const MIN_TUNING_ROUND: Duration = Duration::from_millis(10);

/// How much more than the socket's buffer may be in flight: on a long path the buffer holds only what comes between two
/// reads, so that a small one (ordinary users get 208 KiB) must not bound the window. As in receive buffer
/// auto-tuning: twice what was taken in the last round trip, back to the buffer's share when the kernel dropped any.
struct CreditTuning {
    round_start: Timestamp,
    bytes_before: u64,
    drops_before: u64,
    extra: u64,
}

impl CreditTuning {
    fn new(now: Timestamp) -> Self {
        Self {
            round_start: now,
            bytes_before: 0,
            drops_before: 0,
            extra: 0,
        }
    }

    fn update(&mut self, now: Timestamp, rtt: Duration, bytes: u64, drops: u64) -> u64 {
        if drops > self.drops_before || rtt < LONG_PATH {
            self.drops_before = drops;
            self.extra = 0;
        }
        if now - self.round_start >= rtt.max(MIN_TUNING_ROUND) {
            let taken = bytes - self.bytes_before;
            self.round_start = now;
            self.bytes_before = bytes;
            if rtt >= LONG_PATH {
                self.extra = self.extra.max(2 * taken);
            }
        }
        self.extra
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credit_follows_what_is_taken_and_falls_back_when_the_kernel_drops() {
        let rtt = Duration::from_millis(50);
        let mut now = Timestamp::from_nanos(0);
        let mut tuning = CreditTuning::new(now);
        let mut bytes = 0;
        for _ in 0..5 {
            now += rtt;
            bytes += 600_000;
            tuning.update(now, rtt, bytes, 0);
        }
        assert_eq!(tuning.update(now, rtt, bytes, 0), 1_200_000);
        assert_eq!(tuning.update(now, rtt, bytes, 3), 0);
        now += rtt;
        bytes += 600_000;
        assert_eq!(tuning.update(now, rtt, bytes, 3), 1_200_000);
        assert_eq!(
            tuning.update(now, Duration::from_micros(90), bytes, 3),
            0,
            "a short path"
        );
    }
}
