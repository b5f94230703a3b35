//! Relaying datagrams: one socket towards the upstream for each client, as a NAT does it.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use mio::net::UdpSocket;
use mio::{Interest, Registry};
use slab::Slab;
use socket2::SockAddr;
use tracing::{debug, warn};

use crate::Nanos;
use crate::delay::duration_nanos;
use crate::link::Link;
use crate::path::{Direction, Path};
use crate::proxy::datagram::{BufferPool, Datagram};
use crate::proxy::log::{self, DecisionLog, push_logged};
use crate::proxy::rebind::{AddressPool, NextRebinds, Rebinding, earlier};
use crate::proxy::sockets::connect_udp;
use crate::proxy::timer::Clock;
use crate::proxy::token::{Generations, KEY_BITS, Slot, Source};
use crate::proxy::udp_io::{
    self, BATCH, Outgoing, OutgoingBatch, Received, UdpIo, travels_as_ipv4,
};
use crate::scenario::Rebind;

/// Most UDP clients at a time; the datagrams of more are dropped.
const MAX_FLOWS: usize = 4096;
/// How long a client's socket is kept without a packet (RFC 4787, REQ-5 asks for 2 minutes or more).
const FLOW_IDLE: Duration = Duration::from_secs(180);
/// Batches read from one socket before others get their turn.
const READ_BUDGET: usize = 8;
/// How often a warning about drops may come.
const WARN_EVERY: Duration = Duration::from_secs(10);

const _: () = assert!(MAX_FLOWS <= 1 << KEY_BITS);

/// A client.
#[derive(Debug)]
struct Flow {
    client: SocketAddr,
    client_for_kernel: SockAddr,
    generation: u32,
    socket: UdpSocket,
    last_used: Nanos,
    drops: DropCounter,
    rebinds: NextRebinds,
}

/// The kernel's drop counter of a socket, which wraps, as last seen.
#[derive(Debug, Default, Clone, Copy)]
struct DropCounter(u32);

impl DropCounter {
    /// How many were dropped since the last call.
    fn since_last(&mut self, socket: &UdpSocket) -> u64 {
        let now = udp_io::kernel_drops(socket);
        let more = now.wrapping_sub(self.0);
        self.0 = now;
        more.into()
    }
}

/// The UDP half of the proxy.
pub(crate) struct UdpRelay {
    /// Each datagram gets the time at which it was read: one from before would have it arrive too early.
    clock: Clock,
    listener: UdpSocket,
    listener_drops: DropCounter,
    upstream: SocketAddr,
    flows: Slab<Flow>,
    by_client: HashMap<SocketAddr, usize>,
    generations: Generations,
    io: UdpIo,
    pool: BufferPool,
    /// What is being delivered; kept for its memory.
    deliveries: Vec<Datagram>,
    last_warning: Option<Nanos>,
    rebinding: Rebinding,
    addresses: AddressPool,
    /// When the next client is to be moved.
    rebind_at: Option<Nanos>,
    log: Option<DecisionLog>,
}

impl UdpRelay {
    pub(crate) fn new(
        mut listener: UdpSocket,
        upstream: SocketAddr,
        rebinding: Rebinding,
        log: Option<DecisionLog>,
        clock: Clock,
        registry: &Registry,
    ) -> io::Result<Self> {
        udp_io::prepare(&listener);
        registry.register(
            &mut listener,
            Source::UdpListener.into(),
            Interest::READABLE,
        )?;
        Ok(Self {
            clock,
            listener,
            listener_drops: DropCounter::default(),
            upstream,
            flows: Slab::new(),
            by_client: HashMap::new(),
            generations: Generations::default(),
            io: UdpIo::new(),
            pool: BufferPool::default(),
            deliveries: Vec::with_capacity(BATCH),
            last_warning: None,
            rebinding,
            addresses: AddressPool::default(),
            rebind_at: None,
            log,
        })
    }

    /// Whether anybody is there, so that time has to be kept.
    pub(crate) fn has_flows(&self) -> bool {
        !self.flows.is_empty()
    }

    /// Reads what clients have sent. True when there may be more.
    pub(crate) fn read_clients(&mut self, path: &mut Path<Datagram>, registry: &Registry) -> bool {
        // The parts of `self` that change while `io` holds what was received.
        let Self {
            clock,
            listener,
            upstream,
            flows,
            by_client,
            generations,
            io,
            pool,
            last_warning,
            rebinding,
            rebind_at,
            log,
            ..
        } = self;
        let mut refused = 0;
        let more = read(io, listener, |received| {
            let now = clock.now();
            let known = by_client.get(&received.from).copied();
            let key = match known {
                Some(key) => Some(key),
                None if flows.len() >= MAX_FLOWS => None,
                None => match open_flow(
                    flows,
                    generations.next(),
                    received.from,
                    *upstream,
                    registry,
                ) {
                    Ok(key) => {
                        by_client.insert(received.from, key);
                        Some(key)
                    }
                    Err(error) => {
                        debug!("no socket for UDP client {}: {error}", received.from);
                        None
                    }
                },
            };
            let Some(flow) = key.and_then(|key| flows.get_mut(key)) else {
                refused += 1;
                return;
            };
            if known.is_none() {
                flow.rebinds = rebinding.begin(now);
                *rebind_at = earlier(*rebind_at, flow.rebinds.next());
            }
            flow.last_used = now;
            let flow = slot(key.unwrap_or_default(), flow.generation);
            let datagram = pooled(pool, flow, &received);
            push_logged(log, path, Direction::Up, now, datagram);
        });
        if refused > 0 {
            path.up.record_drops_before(refused);
            warn_rarely(last_warning, clock.now(), || {
                warn!("{refused} datagrams of new UDP clients dropped: no sockets left for them");
            });
        }
        more
    }

    /// Reads what the upstream has sent to a client. True when there may be more.
    pub(crate) fn read_upstream(&mut self, slot: Slot, path: &mut Path<Datagram>) -> bool {
        let Some(flow) = self.flows.get_mut(slot.index()) else {
            return false;
        };
        if flow.generation != slot.generation {
            return false;
        }
        let (clock, pool, log) = (self.clock, &mut self.pool, &mut self.log);
        let last_used = &mut flow.last_used;
        read(&mut self.io, &flow.socket, |received| {
            let now = clock.now();
            *last_used = now;
            let datagram = pooled(pool, slot, &received);
            push_logged(log, path, Direction::Down, now, datagram);
        })
    }

    /// Hands on everything that has arrived by `now`.
    pub(crate) fn deliver(&mut self, now: Nanos, path: &mut Path<Datagram>) {
        for direction in Direction::BOTH {
            let link = path.link_mut(direction);
            loop {
                let arrived = std::iter::from_fn(|| link.poll_deliver(now));
                self.deliveries
                    .extend(arrived.take(BATCH).map(|delivery| delivery.payload));
                if self.deliveries.is_empty() {
                    break;
                }
                match direction {
                    Direction::Up => self.send_up(link),
                    Direction::Down => self.send_down(link),
                }
                for datagram in self.deliveries.drain(..) {
                    self.pool.give_back(datagram.bytes);
                }
            }
        }
    }

    /// Sends a batch towards the upstream: runs of one client's datagrams go out together.
    fn send_up(&mut self, link: &mut Link<Datagram>) {
        let is_ipv4 = travels_as_ipv4(self.upstream);
        for run in self.deliveries.chunk_by(|one, next| one.flow == next.flow) {
            let flow = run
                .first()
                .and_then(|first| tenant(&self.flows, first.flow));
            let Some(flow) = flow else {
                drop_run(link, run.iter());
                continue;
            };
            let outgoing = run.iter().map(|datagram| Outgoing {
                to: None,
                is_ipv4,
                ecn: datagram.ecn,
                bytes: &datagram.bytes,
            });
            let batch = OutgoingBatch::from_iter(outgoing);
            send_all(&mut self.io, &flow.socket, link, batch.as_slice());
        }
    }

    /// Sends a batch to the clients, whoever they are, from the one socket.
    fn send_down(&mut self, link: &mut Link<Datagram>) {
        let (flows, io) = (&self.flows, &mut self.io);
        let outgoing = self.deliveries.iter().filter_map(|datagram| {
            let Some(flow) = tenant(flows, datagram.flow) else {
                drop_run(link, std::iter::once(datagram));
                return None;
            };
            Some(Outgoing {
                to: Some(&flow.client_for_kernel),
                is_ipv4: travels_as_ipv4(flow.client),
                ecn: datagram.ecn,
                bytes: &datagram.bytes,
            })
        });
        let batch = OutgoingBatch::from_iter(outgoing);
        send_all(io, &self.listener, link, batch.as_slice());
    }

    /// When the next client is to be moved.
    pub(crate) fn next_rebind(&self) -> Option<Nanos> {
        self.rebind_at
    }

    /// Moves the clients whose time it is.
    pub(crate) fn rebind_due(
        &mut self,
        now: Nanos,
        path: &mut Path<Datagram>,
        registry: &Registry,
    ) {
        if self.rebind_at.is_none_or(|time| time > now) {
            return;
        }
        for key in self.keys() {
            let rebinding = self.rebinding;
            let flow = self.flows.get_mut(key);
            if let Some(kind) = flow.and_then(|flow| flow.rebinds.take_due(now, rebinding)) {
                self.move_client(key, kind, path, registry);
            }
        }
        let next = self
            .flows
            .iter()
            .filter_map(|(_, flow)| flow.rebinds.next());
        self.rebind_at = next.min();
    }

    /// Moves every client.
    pub(crate) fn rebind_all(
        &mut self,
        kind: Rebind,
        path: &mut Path<Datagram>,
        registry: &Registry,
    ) {
        for key in self.keys() {
            self.move_client(key, kind, path, registry);
        }
    }

    fn keys(&self) -> Vec<usize> {
        self.flows.iter().map(|(key, _)| key).collect()
    }

    /// Gives a client another port, or another address, as the upstream sees it. What still comes to
    /// the old one is lost, as behind a NAT that has forgotten it.
    fn move_client(
        &mut self,
        key: usize,
        kind: Rebind,
        path: &mut Path<Datagram>,
        registry: &Registry,
    ) {
        let Some(generation) = self.flows.get(key).map(|flow| flow.generation) else {
            return;
        };
        let slot = slot(key, generation);
        // What had arrived before the move belongs to the client.
        while self.read_upstream(slot, path) {}
        let local = match kind {
            Rebind::Port => None,
            Rebind::Address => Some(self.addresses.next()),
        };
        let Some(flow) = self.flows.get_mut(key) else {
            return;
        };
        let moved = connect_udp(self.upstream, local).and_then(|mut socket| {
            udp_io::prepare(&socket);
            registry.register(&mut socket, Source::Flow(slot).into(), Interest::READABLE)?;
            Ok(socket)
        });
        match moved {
            Ok(socket) => {
                path.down
                    .record_drops_before(flow.drops.since_last(&flow.socket));
                let mut old = std::mem::replace(&mut flow.socket, socket);
                flow.drops = DropCounter::default();
                // Closing the socket takes it out of the poll anyway.
                let _ = registry.deregister(&mut old);
                let address = flow.socket.local_addr();
                debug!("UDP client {} now comes from {address:?}", flow.client);
            }
            Err(error) => warn!("cannot move UDP client {}: {error}", flow.client),
        }
    }

    /// Counts what the kernel dropped since the last time, and tells how much: upwards and downwards.
    pub(crate) fn count_kernel_drops(&mut self, path: &mut Path<Datagram>) -> (u64, u64) {
        let up = self.listener_drops.since_last(&self.listener);
        let down = self
            .flows
            .iter_mut()
            .map(|(_, flow)| flow.drops.since_last(&flow.socket))
            .sum();
        path.up.record_drops_before(up);
        path.down.record_drops_before(down);
        (up, down)
    }

    /// Completes the log.
    pub(crate) fn finish_log(&mut self) {
        log::finish(&mut self.log);
    }

    /// Forgets clients that have been silent for long.
    pub(crate) fn expire(&mut self, now: Nanos, registry: &Registry) {
        let idle = duration_nanos(FLOW_IDLE);
        let by_client = &mut self.by_client;
        self.flows.retain(|_, flow| {
            let keep = now.saturating_sub(flow.last_used) < idle;
            if !keep {
                debug!("UDP client {} is gone", flow.client);
                by_client.remove(&flow.client);
                // Closing the socket takes it out of the poll anyway.
                let _ = registry.deregister(&mut flow.socket);
            }
            keep
        });
    }
}

/// Opens a socket towards the upstream for a new client.
fn open_flow(
    flows: &mut Slab<Flow>,
    generation: u32,
    client: SocketAddr,
    upstream: SocketAddr,
    registry: &Registry,
) -> io::Result<usize> {
    let mut socket = connect_udp(upstream, None)?;
    udp_io::prepare(&socket);
    let entry = flows.vacant_entry();
    let key = entry.key();
    let source = Source::Flow(slot(key, generation));
    registry.register(&mut socket, source.into(), Interest::READABLE)?;
    debug!("new UDP client {client}");
    entry.insert(Flow {
        client,
        client_for_kernel: client.into(),
        generation,
        socket,
        last_used: 0,
        drops: DropCounter::default(),
        rebinds: NextRebinds::default(),
    });
    Ok(key)
}

fn slot(key: usize, generation: u32) -> Slot {
    Slot {
        key: u32::try_from(key).unwrap_or(u32::MAX),
        generation,
    }
}

/// The flow in a slot, if it is still the one that is meant.
fn tenant(flows: &Slab<Flow>, slot: Slot) -> Option<&Flow> {
    flows
        .get(slot.index())
        .filter(|flow| flow.generation == slot.generation)
}

fn pooled(pool: &mut BufferPool, flow: Slot, received: &Received<'_>) -> Datagram {
    Datagram {
        flow,
        ecn: received.ecn,
        bytes: pool.copy_of(received.bytes),
    }
}

/// Reads a few batches. True when there may be more.
fn read(io: &mut UdpIo, socket: &UdpSocket, mut each: impl FnMut(Received<'_>)) -> bool {
    for _ in 0..READ_BUDGET {
        match io.receive(socket, &mut each) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            // An ICMP error for something sent before, or an interruption: it has been taken off the
            // socket by being reported, and says nothing about what waits there.
            Err(error) => debug!("receiving UDP: {error}"),
        }
    }
    true
}

/// Sends everything, in order; what can't be sent counts as a queue drop, as at a full network card.
fn send_all(
    io: &mut UdpIo,
    socket: &UdpSocket,
    link: &mut Link<Datagram>,
    outgoing: &[Outgoing<'_>],
) {
    let mut rest = outgoing;
    let mut retried = false;
    while let Some(first) = rest.first() {
        match io.send(socket, rest) {
            Ok(count) => {
                rest = rest.get(count..).unwrap_or_default();
                retried = false;
            }
            // The error of an earlier datagram that found no listener, or a signal: try this one again.
            Err(error)
                if !retried
                    && matches!(
                        error.kind(),
                        ErrorKind::ConnectionRefused | ErrorKind::Interrupted
                    ) =>
            {
                retried = true;
            }
            Err(error) => {
                debug!("sending UDP: {error}");
                link.record_drops_after(1, first.bytes.len() as u64);
                rest = rest.get(1..).unwrap_or_default();
                retried = false;
            }
        }
    }
}

/// Counts datagrams whose client is no longer there.
fn drop_run<'a>(link: &mut Link<Datagram>, run: impl Iterator<Item = &'a Datagram>) {
    for datagram in run {
        link.record_drops_after(1, datagram.bytes.len() as u64);
    }
}

fn warn_rarely(last: &mut Option<Nanos>, now: Nanos, warn: impl FnOnce()) {
    let every = duration_nanos(WARN_EVERY);
    if last.is_none_or(|last| now.saturating_sub(last) >= every) {
        *last = Some(now);
        warn();
    }
}
