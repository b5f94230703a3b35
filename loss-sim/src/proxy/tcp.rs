//! Relaying TCP connections: byte streams with the path's delay and rate.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, ErrorKind, Read};
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry};
use slab::Slab;
use socket2::SockRef;
use tracing::{debug, warn};

use crate::Nanos;
use crate::delay::duration_nanos;
use crate::path::Path;
use crate::proxy::datagram::{BufferPool, Datagram};
use crate::proxy::pipe::{Pipe, Wait};
use crate::proxy::tcp_faults::{Ending, EndingClock, TcpFaults};
use crate::proxy::token::{Generations, KEY_BITS, Slot, Source};
use crate::random::Random;

/// Most connections at a time; more wait in the kernel.
const MAX_CONNECTIONS: usize = 8192;
/// Connections accepted before others get their turn.
const ACCEPT_BUDGET: usize = 64;
/// How long to wait before accepting again when the system has no descriptors left, or we no room.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Times that a connection which was cut is read from in one go.
const THROW_AWAY_BUDGET: usize = 4096;
/// The stream of random numbers for TCP's faults; the links have 1 and 2.
const TCP_STREAM: u64 = 3;

const _: () = assert!(MAX_CONNECTIONS <= 1 << KEY_BITS);

/// A client's connection and the one made to the upstream for it.
#[derive(Debug)]
struct Connection {
    client: TcpStream,
    client_address: SocketAddr,
    upstream: TcpStream,
    state: State,
    ending: EndingClock,
    generation: u32,
    up: Pipe,
    down: Pipe,
    /// The earliest entry for it in the schedule.
    wake_at: Option<Nanos>,
}

/// What a connection is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The upstream has not answered yet.
    Connecting,
    Relaying,
    /// It was cut: what still comes is thrown away until both sides have ended. Tells which have,
    /// client and upstream.
    Cut([bool; 2]),
    /// Nothing is read or written any more.
    Silent,
}

/// Whether a connection goes on.
enum Progress {
    Open(Wait),
    /// Both directions have ended.
    Finished,
    /// It is to be reset.
    Reset,
}

/// The TCP half of the proxy.
pub(crate) struct TcpRelay {
    listener: TcpListener,
    upstream: SocketAddr,
    connections: Slab<Connection>,
    generations: Generations,
    /// Which connection is to be looked after at what time.
    schedule: BinaryHeap<Reverse<(Nanos, u32, u32)>>,
    /// When to accept again after a pause.
    accept_at: Option<Nanos>,
    pool: BufferPool,
    faults: TcpFaults,
    seed: u64,
    /// Counts the connections accepted.
    accepted: u64,
}

impl TcpRelay {
    pub(crate) fn new(
        mut listener: TcpListener,
        upstream: SocketAddr,
        (faults, seed): (TcpFaults, u64),
        registry: &Registry,
    ) -> io::Result<Self> {
        registry.register(
            &mut listener,
            Source::TcpListener.into(),
            Interest::READABLE,
        )?;
        Ok(Self {
            listener,
            upstream,
            connections: Slab::new(),
            generations: Generations::default(),
            schedule: BinaryHeap::new(),
            accept_at: None,
            pool: BufferPool::default(),
            faults,
            seed: Random::stream(seed, TCP_STREAM).next_u64(),
            accepted: 0,
        })
    }

    /// When something is to be done without an event.
    pub(crate) fn next_due(&self) -> Option<Nanos> {
        let scheduled = self.schedule.peek().map(|Reverse((time, _, _))| *time);
        match (scheduled, self.accept_at) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }

    /// Accepts what waits. True when there may be more.
    pub(crate) fn accept(&mut self, now: Nanos, registry: &Registry) -> bool {
        self.accept_at = None;
        for _ in 0..ACCEPT_BUDGET {
            if self.connections.len() >= MAX_CONNECTIONS {
                self.accept_at = Some(now.saturating_add(duration_nanos(ACCEPT_PAUSE)));
                return false;
            }
            match self.listener.accept() {
                Ok((client, address)) => {
                    if let Err(error) = self.open(now, client, address, registry) {
                        warn!("cannot relay {address}: {error}");
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(error) if is_momentary(&error) => {}
                Err(error) => {
                    warn!("cannot accept connections: {error}");
                    self.accept_at = Some(now.saturating_add(duration_nanos(ACCEPT_PAUSE)));
                    return false;
                }
            }
        }
        true
    }

    fn open(
        &mut self,
        now: Nanos,
        mut client: TcpStream,
        client_address: SocketAddr,
        registry: &Registry,
    ) -> io::Result<()> {
        let mut upstream = TcpStream::connect(self.upstream)?;
        let entry = self.connections.vacant_entry();
        let slot = Slot {
            key: u32::try_from(entry.key()).unwrap_or(u32::MAX),
            generation: self.generations.next(),
        };
        let interest = Interest::READABLE | Interest::WRITABLE;
        registry.register(&mut client, Source::Client(slot).into(), interest)?;
        registry.register(&mut upstream, Source::Upstream(slot).into(), interest)?;
        debug!("TCP client {client_address} connected");
        // Small messages must not wait for acknowledgements here: the path alone decides their delay.
        let _ = client.set_nodelay(true);
        self.accepted += 1;
        let seed = Random::stream(self.seed, self.accepted).next_u64();
        let slicer = |stream| self.faults.slicer(now, Random::stream(seed, stream));
        entry.insert(Connection {
            client,
            client_address,
            upstream,
            state: State::Connecting,
            ending: self.faults.begin(now, Random::stream(seed, 0)),
            generation: slot.generation,
            up: Pipe::new(slicer(1)),
            down: Pipe::new(slicer(2)),
            wake_at: None,
        });
        Ok(())
    }

    /// Takes note of an event on a client's connection, and moves what can be moved.
    pub(crate) fn client_event(
        &mut self,
        now: Nanos,
        slot: Slot,
        (readable, writable): (bool, bool),
        path: &mut Path<Datagram>,
    ) {
        if let Some(connection) = self.tenant(slot) {
            connection.up.readable |= readable;
            connection.down.writable |= writable;
            self.pump(now, slot, path);
        }
    }

    /// The same for the connection to the upstream.
    pub(crate) fn upstream_event(
        &mut self,
        now: Nanos,
        slot: Slot,
        (readable, writable): (bool, bool),
        path: &mut Path<Datagram>,
    ) {
        if let Some(connection) = self.tenant(slot) {
            connection.down.readable |= readable;
            connection.up.writable |= writable;
            self.pump(now, slot, path);
        }
    }

    /// Looks after the connections whose time has come, and accepts again after a pause.
    pub(crate) fn advance(
        &mut self,
        now: Nanos,
        path: &mut Path<Datagram>,
        registry: &Registry,
    ) -> bool {
        // Bounded by what is due now: a connection that has more to do at once is scheduled anew for
        // `now`, and served in the next turn.
        let mut due = self.schedule.len();
        while due > 0
            && let Some(Reverse((time, key, generation))) = self.schedule.peek().copied()
            && time <= now
        {
            due -= 1;
            self.schedule.pop();
            let slot = Slot { key, generation };
            if let Some(connection) = self.tenant(slot)
                && connection.wake_at == Some(time)
            {
                connection.wake_at = None;
                self.pump(now, slot, path);
            }
        }
        self.accept_at.is_some_and(|time| time <= now) && self.accept(now, registry)
    }

    fn tenant(&mut self, slot: Slot) -> Option<&mut Connection> {
        self.connections
            .get_mut(slot.index())
            .filter(|connection| connection.generation == slot.generation)
    }

    fn pump(&mut self, now: Nanos, slot: Slot, path: &mut Path<Datagram>) {
        let connections = self.connections.len();
        let Some(connection) = self.connections.get_mut(slot.index()) else {
            return;
        };
        connection.up.share_memory(connections);
        connection.down.share_memory(connections);
        match connection.pump(now, path, &mut self.pool) {
            Ok(Progress::Open(Wait::Sockets)) => {}
            Ok(Progress::Open(Wait::Until(time))) => {
                if connection.wake_at.is_none_or(|wake_at| time < wake_at) {
                    connection.wake_at = Some(time);
                    self.schedule
                        .push(Reverse((time, slot.key, slot.generation)));
                }
            }
            Ok(Progress::Finished) => {
                debug!("TCP client {} is gone", connection.client_address);
                self.connections.remove(slot.index());
            }
            Ok(Progress::Reset) => {
                connection.reset();
                self.connections.remove(slot.index());
            }
            Err(error) => {
                let address = connection.client_address;
                if connection.state == State::Connecting {
                    warn!(
                        "upstream {} is unreachable, closing TCP client {address}: {error}",
                        self.upstream
                    );
                } else {
                    debug!("connection of TCP client {address} broke: {error}");
                }
                connection.reset();
                self.connections.remove(slot.index());
            }
        }
    }
}

impl Connection {
    /// Moves what can be moved in both directions.
    fn pump(
        &mut self,
        now: Nanos,
        path: &mut Path<Datagram>,
        pool: &mut BufferPool,
    ) -> io::Result<Progress> {
        if self.state == State::Connecting && !self.check_connected()? {
            return Ok(Progress::Open(Wait::Sockets));
        }
        match self.state {
            State::Connecting | State::Relaying => {}
            State::Cut(ended) => return self.throw_away(ended),
            State::Silent => return Ok(Progress::Open(Wait::Sockets)),
        }
        if let Some(ending) = self.ending.poll(now, 0) {
            return self.end_early(ending);
        }
        let (client, upstream) = (&mut self.client, &mut self.upstream);
        let up = self.up.pump(now, (client, upstream), &mut path.up, pool)?;
        if let Some(ending) = self.ending.poll(now, self.up.take_pieces_read()) {
            return self.end_early(ending);
        }
        let (client, upstream) = (&mut self.client, &mut self.upstream);
        let down = self
            .down
            .pump(now, (upstream, client), &mut path.down, pool)?;
        if let Some(ending) = self.ending.poll(now, self.down.take_pieces_read()) {
            return self.end_early(ending);
        }
        if self.up.is_done() && self.down.is_done() {
            return Ok(Progress::Finished);
        }
        let times = [up, down].into_iter().filter_map(|wait| match wait {
            Wait::Until(time) => Some(time),
            Wait::Sockets => None,
        });
        let next = times.chain(self.ending.next()).min();
        Ok(Progress::Open(next.map_or(Wait::Sockets, Wait::Until)))
    }

    /// Brings the connection to its untimely end.
    fn end_early(&mut self, ending: Ending) -> io::Result<Progress> {
        debug!("TCP client {}: {ending:?}", self.client_address);
        match ending {
            Ending::Reset => Ok(Progress::Reset),
            Ending::HalfOpen => {
                self.state = State::Silent;
                Ok(Progress::Open(Wait::Sockets))
            }
            Ending::Cut => {
                for stream in [&self.client, &self.upstream] {
                    match stream.shutdown(Shutdown::Write) {
                        // A side that has gone already needs no telling.
                        Err(error) if error.kind() != ErrorKind::NotConnected => return Err(error),
                        _ => {}
                    }
                }
                self.state = State::Cut([false; 2]);
                self.throw_away([false; 2])
            }
        }
    }

    /// Reads and forgets what still comes on a connection that was cut.
    fn throw_away(&mut self, mut ended: [bool; 2]) -> io::Result<Progress> {
        let streams = [&mut self.client, &mut self.upstream];
        for (stream, ended) in streams.into_iter().zip(&mut ended) {
            let mut budget = THROW_AWAY_BUDGET;
            let mut scratch = [0; 16 * 1024];
            while !*ended {
                match stream.read(&mut scratch) {
                    Ok(0) => *ended = true,
                    Ok(_) if budget > 0 => budget -= 1,
                    // Whoever sends that much after the end is not listening.
                    Ok(_) => return Ok(Progress::Reset),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
        }
        self.state = State::Cut(ended);
        Ok(if ended == [true; 2] {
            Progress::Finished
        } else {
            Progress::Open(Wait::Sockets)
        })
    }

    /// Whether the connection to the upstream stands by now; its error if it failed.
    fn check_connected(&mut self) -> io::Result<bool> {
        if let Some(error) = self.upstream.take_error()? {
            return Err(error);
        }
        match self.upstream.peer_addr() {
            Ok(_) => {
                self.state = State::Relaying;
                let _ = self.upstream.set_nodelay(true);
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Has both sides see a reset rather than an orderly end, since the stream is not complete.
    fn reset(&self) {
        for stream in [&self.client, &self.upstream] {
            // On failure the ordinary close must do.
            let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
        }
        debug!(
            "{} bytes on their way are dropped",
            self.up.held_bytes() + self.down.held_bytes()
        );
    }
}

/// Whether an error of accepting concerns only the connection that was to be accepted.
fn is_momentary(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Interrupted | ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset
    )
}
