//! A server endpoint, its clients, and a path between them: one event loop in virtual time.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use columba_core::client::{ClientAssociation, ClientConfig, ClientEvent};
use columba_core::congestion::Algorithm;
use columba_core::endpoint::{Endpoint, ServerEvent};
use columba_core::error::{CloseReason, StreamEnd};
use columba_core::layout::{SegmentRange, StreamLayout};
use columba_core::limits::MAX_TRAIN_BYTES;
use columba_core::protection::{Cipher, Secrets};
use columba_core::server::{AssociationConfig, Policy, SourceKey};
use columba_core::units::{Ecn, Timestamp};
use columba_loss_sim::{Direction, Impairments, Path};

pub(crate) use crate::files::noise;
use crate::files::{Disk, Files};
use crate::monitor::Monitor;
use crate::router::{Datagram, Router};

/// One client and its path.
pub(crate) struct Peer {
    /// Number of its present association.
    pub(crate) id: u32,
    pub(crate) setup: Setup,
    pub(crate) association: ClientAssociation,
    pub(crate) path: Path<Datagram>,
    pub(crate) disk: Disk,
    pub(crate) address: SocketAddr,
    /// Stream → file, of downloads that are not complete.
    pub(crate) open: BTreeMap<u32, u64>,
    /// Segments on its disk that were verified: what a later association need not fetch.
    verified: HashSet<(u32, u32)>,
    pub(crate) complete: Vec<(u32, Duration)>,
    pub(crate) resets: Vec<(u32, StreamEnd)>,
    pub(crate) closed: Option<CloseReason>,
    /// The client is gone: nothing goes in or out.
    pub(crate) dead: bool,
    pub(crate) bytes_down: u64,
    /// Bit n set: the n-th datagram is dropped; see [`Peer::drop_next`].
    drop_first: u64,
    datagrams: u32,
    /// Packets sent as capable of ECN.
    pub(crate) marked: u64,
    /// What becomes of them.
    pub(crate) router: Router,
}

impl Peer {
    /// Drops those of the next datagrams, of both directions together, whose bit is set.
    pub(crate) fn drop_next(&mut self, bitmap: u64) {
        (self.drop_first, self.datagrams) = (bitmap, 0);
    }

    /// Segments of a stream that are verified on its disk.
    pub(crate) fn verified_segments(&self, stream: u32) -> usize {
        let of_stream = |(of, _): &&(u32, u32)| *of == stream;
        self.verified.iter().filter(of_stream).count()
    }

    fn push(&mut self, direction: Direction, now: Timestamp, bytes: Vec<u8>, ecn: Ecn) {
        let number = self.datagrams;
        self.datagrams += 1;
        if number < u64::BITS && self.drop_first >> number & 1 == 1 {
            return;
        }
        let marked = ecn != Ecn::NotEct;
        self.marked += u64::from(marked);
        let Some(ecn) = self.router.pass(ecn) else {
            return;
        };
        let packet = Datagram { bytes, ecn };
        self.path.push(direction, now.as_nanos(), packet);
    }
}

pub(crate) struct World {
    pub(crate) now: Timestamp,
    pub(crate) endpoint: Endpoint,
    pub(crate) files: Files,
    pub(crate) peers: Vec<Peer>,
    pub(crate) events: Vec<ServerEvent>,
    pub(crate) steps: u64,
    pub(crate) monitor: Monitor,
    /// How much later than asked for the server's timer fires.
    pub(crate) late: Duration,
    /// What went out lately, in both directions: an eavesdropper has it.
    captured: VecDeque<(usize, Direction, Vec<u8>)>,
    buffer: Vec<u8>,
    /// Sends of the server, each of one packet or of a train.
    pub(crate) sends: u64,
}

/// What differs between runs.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) seed: u64,
    pub(crate) impairments: Impairments,
    /// Upwards where that differs.
    pub(crate) up: Option<Impairments>,
    /// What the client's control connection measured; the path's true one when absent.
    pub(crate) initial_rtt: Option<Duration>,
    pub(crate) algorithm: Algorithm,
    pub(crate) plaintext: bool,
    pub(crate) max_datagram: usize,
    pub(crate) credit: u32,
    pub(crate) cell_bytes: u16,
}

impl Default for Setup {
    fn default() -> Self {
        let impairments = Impairments {
            delay: Duration::from_millis(15),
            ..Impairments::default()
        };
        Self {
            seed: 1,
            impairments,
            up: None,
            initial_rtt: None,
            algorithm: Algorithm::Bbr,
            plaintext: false,
            max_datagram: 1472,
            credit: 16 << 20,
            cell_bytes: 288,
        }
    }
}

impl Setup {
    /// What control hands out for an association.
    pub(crate) fn secrets(&self, id: u32) -> Secrets {
        if self.plaintext {
            return Secrets::Plaintext;
        }
        Secrets::Aead {
            cipher: if self.seed.is_multiple_of(2) {
                Cipher::Aegis128L
            } else {
                Cipher::Aes128Gcm
            },
            down: [(id - 1000) as u8; 32],
            up: [0x80 ^ (id - 1000) as u8; 32],
        }
    }
}

pub(crate) const SERVER: &str = "10.0.0.1:11490";

/// Packets an eavesdropper remembers.
pub(crate) const CAPTURED_PACKETS: usize = 200;

impl World {
    pub(crate) fn new() -> Self {
        // Not zero: arithmetic around the start of time must work too.
        let now = Timestamp::from_nanos(1_000_000_000);
        Self {
            now,
            endpoint: Endpoint::new(now, 16),
            files: Files::default(),
            peers: Vec::new(),
            events: Vec::new(),
            steps: 0,
            monitor: Monitor::default(),
            late: Duration::ZERO,
            captured: VecDeque::new(),
            buffer: vec![0; MAX_TRAIN_BYTES],
            sends: 0,
        }
    }

    pub(crate) fn add_peer(&mut self, setup: &Setup) -> usize {
        let index = self.peers.len();
        let id = 1000 + u32::try_from(index).expect("few");
        let association = self.associate(id, setup);
        let down = setup.impairments.clone();
        let up = setup.up.clone().unwrap_or_else(|| down.clone());
        let path = Path::new(up, down, setup.seed ^ index as u64).expect("valid impairments");
        self.peers.push(Peer {
            id,
            setup: setup.clone(),
            association,
            path,
            disk: Disk::default(),
            address: SocketAddr::from(([10, 0, 1, index as u8], 40_000)),
            open: BTreeMap::new(),
            verified: HashSet::new(),
            complete: Vec::new(),
            resets: Vec::new(),
            closed: None,
            dead: false,
            bytes_down: 0,
            drop_first: 0,
            datagrams: 0,
            marked: 0,
            router: Router::Honest,
        });
        index
    }

    /// What control does: opens an association at both ends.
    fn associate(&mut self, id: u32, setup: &Setup) -> ClientAssociation {
        let secrets = setup.secrets(id);
        let config = AssociationConfig {
            id,
            secrets: secrets.clone(),
            cell_bytes: setup.cell_bytes,
            max_datagram: setup.max_datagram,
            algorithm: setup.algorithm,
            initial_rtt: None,
            rate_limit: None,
            policy: Policy::Fair,
            seed: [setup.seed as u8; 32],
        };
        assert!(self.endpoint.open(self.now, config));
        let true_rtt = setup.impairments.delay * 2 + Duration::from_millis(1);
        ClientAssociation::new(
            self.now,
            ClientConfig {
                id,
                secrets,
                cell_bytes: setup.cell_bytes,
                server: SERVER.parse().expect("an address"),
                max_datagram: setup.max_datagram,
                credit: setup.credit,
                initial_rtt: setup.initial_rtt.unwrap_or(true_rtt),
                handshake_timeout: Duration::from_secs(30),
            },
        )
    }

    /// The client, or its next process, asks again for what its disk misses, over a new association.
    pub(crate) fn reconnect(&mut self, peer: usize) {
        let id = self.peers[peer].id + 50;
        let setup = self.peers[peer].setup.clone();
        let mut association = self.associate(id, &setup);
        let peer = &mut self.peers[peer];
        for (stream, key) in &peer.open {
            let bytes = self.files.bytes(*key).len() as u64;
            let layout = StreamLayout::new(bytes, setup.cell_bytes).expect("a layout");
            // The trailer always comes, and its first cell may begin in the file.
            let cell = u64::from(setup.cell_bytes);
            peer.disk.forget(*stream, bytes / cell * cell..bytes);
            let mut missing = Vec::new();
            for segment in 0..layout.segments() {
                if !peer.verified.contains(&(*stream, segment)) {
                    // Whole cells are fetched: some bytes of the neighbours come along.
                    let cells = layout.segment_cells(segment, 1);
                    let range = layout.cell_offset(cells.start)..layout.cell_offset(cells.end);
                    peer.disk.forget(*stream, range);
                    missing.push(SegmentRange {
                        first: segment,
                        count: 1,
                    });
                }
            }
            association
                .start_stream(self.now, *stream, bytes, &missing)
                .expect("startable");
            self.endpoint
                .start_stream(self.now, id, *stream, SourceKey(*key), bytes, &missing)
                .expect("startable");
        }
        peer.association = association;
        peer.id = id;
        peer.closed = None;
        peer.dead = false;
    }

    /// The server's process dies and another takes its place: it knows nothing.
    pub(crate) fn restart_server(&mut self) {
        self.endpoint = Endpoint::new(self.now, 16);
    }

    /// An eavesdropper sends captured packet `back` from the last again, upwards from `from`.
    pub(crate) fn replay(&mut self, back: usize, from: SocketAddr) {
        let Some(at) = self.captured.len().checked_sub(back + 1) else {
            return;
        };
        let (index, direction, mut packet) = self.captured[at].clone();
        let now = self.now;
        match direction {
            Direction::Up => {
                if from == self.peers[index].address {
                    self.monitor.server_receives(from, &packet);
                } else {
                    self.monitor.server_is_told(from, &packet);
                }
                self.endpoint.handle_datagram(now, from, None, &mut packet);
            }
            Direction::Down if self.peers[index].dead => {}
            Direction::Down => {
                let peer = &mut self.peers[index];
                peer.association
                    .handle_datagram(now, from, None, &mut packet, &mut peer.disk);
            }
        }
    }

    /// What both directions of a peer's path do from now on.
    pub(crate) fn impair(&mut self, peer: usize, impairments: &Impairments) {
        let now = self.now.as_nanos();
        for direction in Direction::BOTH {
            self.peers[peer]
                .path
                .link_mut(direction)
                .set_impairments(now, impairments.clone())
                .expect("valid impairments");
        }
    }

    /// Starts a download of file `key` as `stream`.
    pub(crate) fn get(&mut self, peer: usize, stream: u32, key: u64, missing: &[SegmentRange]) {
        let bytes = self.files.bytes(key).len();
        let peer = &mut self.peers[peer];
        let id = peer.id;
        peer.disk.add(stream, bytes);
        peer.open.insert(stream, key);
        let now = self.now;
        peer.association
            .start_stream(now, stream, bytes as u64, missing)
            .expect("startable");
        self.endpoint
            .start_stream(now, id, stream, SourceKey(key), bytes as u64, missing)
            .expect("startable");
    }

    fn pump_server(&mut self) {
        loop {
            self.monitor.before_transmit(&self.endpoint);
            let Some(out) =
                self.endpoint
                    .poll_transmit(self.now, &mut self.files, &mut self.buffer)
            else {
                break;
            };
            let train = &self.buffer[..out.bytes];
            self.sends += 1;
            assert!(out.bytes <= MAX_TRAIN_BYTES && out.segment_bytes <= out.bytes);
            self.monitor.server_sent(&self.endpoint, &out, train);
            let Some(index) = self.peers.iter().position(|peer| peer.address == out.to) else {
                continue;
            };
            capture(
                &mut self.captured,
                index,
                Direction::Down,
                &train[..out.segment_bytes],
            );
            let peer = &mut self.peers[index];
            for packet in train.chunks(out.segment_bytes) {
                peer.bytes_down += packet.len() as u64;
                peer.push(Direction::Down, self.now, packet.to_vec(), out.ecn);
            }
        }
        while let Some(event) = self.endpoint.poll_event() {
            self.monitor.server_event(&event);
            if !matches!(event, ServerEvent::RttSample { .. }) {
                self.events.push(event);
            }
        }
    }

    fn pump_peer(&mut self, index: usize) {
        if self.peers[index].dead {
            return;
        }
        self.transmit_of_peer(index);
        self.events_of_peer(index);
        // What the shell did about its events may have to be said at once.
        self.transmit_of_peer(index);
    }

    fn transmit_of_peer(&mut self, index: usize) {
        let now = self.now;
        let peer = &mut self.peers[index];
        while let Some(out) = peer.association.poll_transmit(now, &mut self.buffer) {
            assert_eq!(out.to, SERVER.parse().expect("an address"));
            let packet = self.buffer[..out.bytes].to_vec();
            assert!(peer.closed.is_none(), "nothing is sent after the end");
            self.monitor.client_sent(&packet);
            capture(&mut self.captured, index, Direction::Up, &packet);
            peer.push(Direction::Up, now, packet, out.ecn);
        }
    }

    fn events_of_peer(&mut self, index: usize) {
        let now = self.now;
        let peer = &mut self.peers[index];
        while let Some(event) = peer.association.poll_event() {
            match event {
                ClientEvent::Established => {}
                // Queued before the stream was given up.
                ClientEvent::SegmentComplete { stream, .. }
                | ClientEvent::StreamComplete { stream }
                | ClientEvent::StreamReset { stream, .. }
                    if !peer.open.contains_key(&stream) => {}
                ClientEvent::SegmentComplete { stream, segment } => {
                    check_segment(peer, &self.files, stream, segment);
                    peer.verified.insert((stream, segment));
                }
                ClientEvent::StreamComplete { stream } => {
                    let key = peer.open.remove(&stream).expect("open");
                    let layout = *peer.association.stream(stream).expect("open").layout();
                    let (file, written) = &peer.disk.files[&stream];
                    let source = self.files.bytes(key);
                    for segment in 0..layout.segments() {
                        let range = layout.segment_range(segment);
                        let range = range.start as usize..range.end as usize;
                        if written[range.clone()].iter().all(|flag| *flag) {
                            assert!(file[range.clone()] == source[range], "bytes differ");
                        }
                    }
                    peer.association.finish_stream(now, stream, 0);
                    peer.complete.push((stream, now - Timestamp::ZERO));
                }
                ClientEvent::StreamReset { stream, end } => {
                    peer.open.remove(&stream);
                    peer.association.finish_stream(now, stream, 1);
                    peer.resets.push((stream, end));
                }
                ClientEvent::Closed(reason) => peer.closed = Some(reason),
            }
        }
    }

    /// Moves everything that can move now, then the clock to the next event. False when nothing will ever happen.
    pub(crate) fn step(&mut self) -> bool {
        self.steps += 1;
        self.pump_server();
        for index in 0..self.peers.len() {
            self.pump_peer(index);
        }
        let mut timer = self.endpoint.poll_timeout().map(|due| due + self.late);
        let mut arrival = None;
        for peer in &self.peers {
            let arrives = peer.path.next_delivery().map(Timestamp::from_nanos);
            arrival = [arrival, arrives].into_iter().flatten().min();
            if !peer.dead {
                let due = peer.association.poll_timeout();
                timer = [timer, due].into_iter().flatten().min();
            }
        }
        self.monitor.turn(self.now, timer, self.peers.len());
        let Some(next) = [timer, arrival].into_iter().flatten().min() else {
            return false;
        };
        self.now = self.now.max(next);
        let now = self.now;
        self.endpoint.handle_timeout(now);
        for peer in &mut self.peers {
            while let Some((direction, delivery)) = peer.path.poll_deliver(now.as_nanos()) {
                let Datagram {
                    bytes: mut packet,
                    ecn,
                } = delivery.payload;
                self.monitor.delivered();
                match direction {
                    Direction::Up => {
                        self.monitor.server_receives(peer.address, &packet);
                        let address = peer.address;
                        self.endpoint
                            .handle_datagram(now, address, Some(ecn), &mut packet);
                    }
                    Direction::Down if !peer.dead => {
                        let from = SERVER.parse().expect("an address");
                        peer.association.handle_datagram(
                            now,
                            from,
                            Some(ecn),
                            &mut packet,
                            &mut peer.disk,
                        );
                    }
                    Direction::Down => {}
                }
            }
            if !peer.dead {
                peer.association.handle_timeout(now);
            }
        }
        true
    }

    /// Runs until `done` or until `limit` of virtual time has passed; says which.
    pub(crate) fn run_until(
        &mut self,
        limit: Duration,
        mut done: impl FnMut(&Self) -> bool,
    ) -> bool {
        let end = self.now + limit;
        loop {
            if done(self) {
                return true;
            }
            if self.now >= end || !self.step() {
                self.pump_server();
                for index in 0..self.peers.len() {
                    self.pump_peer(index);
                }
                return done(self);
            }
        }
    }

    /// Runs until every download is complete; panics when that takes longer than `limit`.
    pub(crate) fn finish(&mut self, limit: Duration) -> Duration {
        let start = self.now;
        let done = self.run_until(limit, |world| {
            world.peers.iter().all(|peer| peer.open.is_empty())
        });
        let stuck = self
            .peers
            .iter()
            .position(|peer| !peer.open.is_empty())
            .unwrap_or(0);
        let association = self.endpoint.association(self.peers[stuck].id);
        assert!(
            done,
            "not complete after {limit:?}: {:?} {association:?} {:?} {:?} {:?}",
            self.peers
                .iter()
                .map(|peer| (peer.open.len(), peer.closed))
                .collect::<Vec<_>>(),
            self.events
                .iter()
                .filter(|event| matches!(event, ServerEvent::Closed { .. }))
                .collect::<Vec<_>>(),
            self.peers[stuck].association,
            self.peers[stuck].association.stats(),
        );
        self.now - start
    }

    pub(crate) fn server_stats(&self, peer: usize) -> columba_core::stats::SenderStats {
        *self
            .endpoint
            .association(self.peers[peer].id)
            .expect("open")
            .stats()
    }
}

fn capture(
    captured: &mut VecDeque<(usize, Direction, Vec<u8>)>,
    peer: usize,
    direction: Direction,
    packet: &[u8],
) {
    if captured.len() == CAPTURED_PACKETS {
        captured.pop_front();
    }
    captured.push_back((peer, direction, packet.to_vec()));
}

/// The value that came with a segment is the one of the bytes that came.
fn check_segment(peer: &Peer, files: &Files, stream: u32, segment: u32) {
    let received = peer.association.stream(stream).expect("open");
    let value = received.hash(segment).expect("announced with its value");
    let expected = files.trailer(peer.open[&stream]);
    let at = segment as usize * 32;
    assert_eq!(value, expected[at..at + 32], "segment {segment}");
    let range = received.layout().segment_range(segment);
    let written = &peer.disk.files[&stream].1[range.start as usize..range.end as usize];
    assert!(
        written.iter().all(|flag| *flag),
        "announced before it was whole"
    );
}
