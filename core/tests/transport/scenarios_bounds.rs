//! Files whose offsets do not fit 32 bits, from a source that makes its bytes up and a storage that checks them.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

use columba_core::client::{ClientAssociation, ClientConfig, ClientEvent, Storage};
use columba_core::congestion::Algorithm;
use columba_core::endpoint::Endpoint;
use columba_core::layout::{SegmentRange, StreamLayout};
use columba_core::limits::{MAX_TRAIN_BYTES, SEGMENT_BYTES};
use columba_core::protection::{Cipher, Secrets};
use columba_core::server::{AssociationConfig, Policy, Source, SourceBytes, SourceKey, TrainState};
use columba_core::units::Timestamp;
use columba_loss_sim::{Direction, Impairments, Path};

const GIB: u64 = 1 << 30;
const ID: u32 = 6;
/// What stands in the trailer, so that a byte of it tells its place too.
const TRAILER: u64 = 1 << 40;

/// The byte at `offset` of the synthetic file: no two nearby offsets, and none 4 GiB apart, look alike.
fn byte_at(offset: u64) -> u8 {
    (offset.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

fn fill(offset: u64, out: &mut [u8]) {
    for (at, byte) in (offset..).zip(out) {
        *byte = byte_at(at);
    }
}

#[derive(Default)]
struct Synthetic(Vec<u8>);

impl Source for Synthetic {
    fn begin_train(&mut self, _: SourceKey) -> TrainState {
        TrainState::Ready { hashes: u32::MAX }
    }

    fn file(&mut self, _: SourceKey, offset: u64, len: usize) -> SourceBytes<'_> {
        self.0.resize(len, 0);
        fill(offset, &mut self.0);
        SourceBytes::Ready(&self.0)
    }

    fn copy_hashes(&mut self, _: SourceKey, offset: u64, out: &mut [u8]) {
        fill(TRAILER + offset, out);
    }
}

/// Checks each byte as it comes, and that only the segments asked for come.
struct Checking {
    wanted: Vec<SegmentRange>,
    file_bytes: u64,
    room: Vec<u8>,
    committed: u64,
}

impl Storage for Checking {
    fn reserve(&mut self, _: u32, _: u64, bytes: usize) -> &mut [u8] {
        self.room.resize(bytes, 0);
        &mut self.room
    }

    fn commit(&mut self, _: u32, offset: u64, bytes: usize) {
        assert!(offset + bytes as u64 <= self.file_bytes);
        let mut expected = vec![0; bytes];
        fill(offset, &mut expected);
        assert!(self.room[..bytes] == expected, "at {offset}");
        self.committed += bytes as u64;
        // Cells do not end where segments do: a cell's worth beyond either end may come along.
        let near = |range: &SegmentRange| {
            let start = u64::from(range.first) * SEGMENT_BYTES;
            let end = start + u64::from(range.count) * SEGMENT_BYTES;
            offset + 288 > start && offset + (bytes as u64) < end + 288
        };
        // The last cell of the file may hold the trailer's first bytes.
        assert!(
            self.wanted.iter().any(near) || self.file_bytes - offset < 288,
            "{offset} was not asked for"
        );
    }
}

struct Fetch {
    now: Timestamp,
    server: Endpoint,
    client: ClientAssociation,
    path: Path<Vec<u8>>,
    storage: Checking,
    segments: HashSet<u32>,
    complete: bool,
}

impl Fetch {
    fn new(file_bytes: u64, missing: &[SegmentRange]) -> Self {
        let now = Timestamp::from_nanos(1);
        let mut server = Endpoint::new(now, 1);
        let secrets = Secrets::Aead {
            cipher: Cipher::Aes128Gcm,
            down: [1; 32],
            up: [2; 32],
        };
        assert!(server.open(
            now,
            AssociationConfig {
                id: ID,
                secrets: secrets.clone(),
                cell_bytes: 288,
                max_datagram: 1472,
                algorithm: Algorithm::Bbr,
                initial_rtt: None,
                rate_limit: None,
                policy: Policy::Fair,
                seed: [9; 32],
            }
        ));
        let mut client = ClientAssociation::new(
            now,
            ClientConfig {
                id: ID,
                secrets,
                cell_bytes: 288,
                server: "10.0.0.1:1".parse().expect("an address"),
                max_datagram: 1472,
                credit: 4 << 20,
                initial_rtt: Duration::from_millis(10),
                handshake_timeout: Duration::from_secs(10),
            },
        );
        client
            .start_stream(now, 1, file_bytes, missing)
            .expect("startable");
        server
            .start_stream(now, ID, 1, SourceKey(0), file_bytes, missing)
            .expect("startable");
        let path = Impairments {
            delay: Duration::from_millis(5),
            loss: 0.05,
            rate_bits_per_second: Some(100_000_000),
            ..Impairments::default()
        };
        Self {
            now,
            server,
            client,
            path: Path::symmetric(path, 1).expect("valid"),
            storage: Checking {
                wanted: missing.to_vec(),
                file_bytes,
                room: Vec::new(),
                committed: 0,
            },
            segments: HashSet::new(),
            complete: false,
        }
    }

    fn turn(&mut self, source: &mut Synthetic, buffer: &mut [u8]) {
        while let Some(out) = self.server.poll_transmit(self.now, source, buffer) {
            for packet in buffer[..out.bytes].chunks(out.segment_bytes) {
                self.path
                    .push(Direction::Down, self.now.as_nanos(), packet.to_vec());
            }
        }
        while self.server.poll_event().is_some() {}
        while let Some(out) = self.client.poll_transmit(self.now, buffer) {
            let packet = buffer[..out.bytes].to_vec();
            self.path.push(Direction::Up, self.now.as_nanos(), packet);
        }
        while let Some(event) = self.client.poll_event() {
            match event {
                ClientEvent::SegmentComplete { segment, .. } => {
                    let value = self.client.stream(1).expect("open").hash(segment);
                    let mut expected = [0; 32];
                    fill(TRAILER + u64::from(segment) * 32, &mut expected);
                    assert_eq!(value, Some(expected));
                    assert!(self.segments.insert(segment));
                }
                ClientEvent::StreamComplete { .. } => self.complete = true,
                ClientEvent::Established => {}
                ClientEvent::StreamReset { .. } | ClientEvent::Closed(_) => panic!("{event:?}"),
            }
        }
        let timers = [self.server.poll_timeout(), self.client.poll_timeout()];
        let arrival = self.path.next_delivery().map(Timestamp::from_nanos);
        let next = timers.into_iter().chain([arrival]).flatten().min();
        self.now = self.now.max(next.expect("something happens"));
        self.server.handle_timeout(self.now);
        let client: SocketAddr = "10.0.0.2:2".parse().expect("an address");
        while let Some((direction, delivery)) = self.path.poll_deliver(self.now.as_nanos()) {
            let mut packet = delivery.payload;
            match direction {
                Direction::Up => {
                    self.server
                        .handle_datagram(self.now, client, None, &mut packet);
                }
                Direction::Down => self.client.handle_datagram(
                    self.now,
                    client,
                    None,
                    &mut packet,
                    &mut self.storage,
                ),
            }
        }
        self.client.handle_timeout(self.now);
    }
}

fn fetch(file_bytes: u64, missing: &[SegmentRange]) {
    let mut fetch = Fetch::new(file_bytes, missing);
    let mut buffer = vec![0; MAX_TRAIN_BYTES];
    let end = fetch.now + Duration::from_secs(60);
    while !fetch.complete {
        fetch.turn(&mut Synthetic::default(), &mut buffer);
        assert!(fetch.now < end, "not within a minute");
    }
    let asked: HashSet<u32> = missing
        .iter()
        .flat_map(|range| range.first..range.first + range.count)
        .collect();
    assert_eq!(fetch.segments, asked);
    let layout = StreamLayout::new(file_bytes, 288).expect("a layout");
    let bytes: u64 = asked
        .iter()
        .map(|segment| layout.segment_range(*segment))
        .map(|range| range.end - range.start)
        .sum();
    // Whole cells around each range, and the one the trailer begins in.
    let slack = 288 * (2 * missing.len() as u64 + 1);
    assert!((bytes..=bytes + slack).contains(&fetch.storage.committed));
}

fn segments(first: u64, count: u32) -> SegmentRange {
    SegmentRange {
        first: u32::try_from(first).expect("below 2^32"),
        count,
    }
}

#[test]
fn offsets_around_4_gib_and_the_end_of_a_large_file() {
    let last = 6 * GIB / SEGMENT_BYTES;
    let around = 4 * GIB / SEGMENT_BYTES - 1;
    let missing = [
        segments(0, 1),
        segments(2 * GIB / SEGMENT_BYTES - 1, 2),
        segments(around, 2),
        segments(last - 1, 2),
    ];
    // Not a multiple of anything, so that the last segment is short.
    fetch(6 * GIB + 12_345, &missing);
}

#[test]
fn the_end_of_a_terabyte() {
    let last = (1024 * GIB - 1) / SEGMENT_BYTES;
    fetch(1024 * GIB, &[segments(last, 1)]);
}
