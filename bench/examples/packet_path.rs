//! The packet path alone: the core's sender and receiver over a perfect link in memory, without a socket, a file or a
//! clock, in plaintext mode (the AEAD's vector code is another library's, and callgrind cannot follow all of it).
//!
//! `packet_path PACKETS` moves at least so many DATA packets and prints how many it were. `bench/instructions.sh` counts
//! the instructions.

use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use columba_core::client::{ClientAssociation, ClientConfig, Storage};
use columba_core::congestion::Algorithm;
use columba_core::endpoint::Endpoint;
use columba_core::limits::MAX_TRAIN_BYTES;
use columba_core::protection::Secrets;
use columba_core::server::{AssociationConfig, Policy, Source, SourceBytes, SourceKey, TrainState};
use columba_core::units::Timestamp;

const ASSOCIATION: u32 = 9;
const STREAM: u32 = 1;
const CELL_BYTES: u16 = 288;
const MAX_DATAGRAM: usize = 1472;
const ONE_WAY: Duration = Duration::from_micros(50);
/// More than is ever sent here.
const FILE_BYTES: u64 = 64 << 30;

/// A file whose bytes are all alike.
struct Endless(Vec<u8>);

impl Source for Endless {
    fn begin_train(&mut self, _: SourceKey) -> TrainState {
        TrainState::Ready { hashes: 0 }
    }

    fn file(&mut self, _: SourceKey, _: u64, len: usize) -> SourceBytes<'_> {
        SourceBytes::Ready(&self.0[..len])
    }

    fn copy_hashes(&mut self, _: SourceKey, _: u64, out: &mut [u8]) {
        out.fill(0);
    }
}

struct Sink(Vec<u8>);

impl Storage for Sink {
    fn reserve(&mut self, _: u32, _: u64, bytes: usize) -> &mut [u8] {
        &mut self.0[..bytes]
    }

    fn commit(&mut self, _: u32, _: u64, _: usize) {}
}

struct World {
    now: Timestamp,
    server: Endpoint,
    client: ClientAssociation,
    source: Endless,
    sink: Sink,
    buffer: Vec<u8>,
    packets: u64,
}

impl World {
    fn new(server_address: SocketAddr) -> Option<Self> {
        let now = Timestamp::from_nanos(1);
        let mut server = Endpoint::new(now, 4);
        let opened = server.open(
            now,
            AssociationConfig {
                id: ASSOCIATION,
                secrets: Secrets::Plaintext,
                cell_bytes: CELL_BYTES,
                max_datagram: MAX_DATAGRAM,
                algorithm: Algorithm::Bbr,
                initial_rtt: None,
                rate_limit: None,
                policy: Policy::Fair,
                seed: [3; 32],
            },
        );
        let mut client = ClientAssociation::new(
            now,
            ClientConfig {
                id: ASSOCIATION,
                secrets: Secrets::Plaintext,
                cell_bytes: CELL_BYTES,
                server: server_address,
                max_datagram: MAX_DATAGRAM,
                credit: 1 << 20,
                initial_rtt: 2 * ONE_WAY,
                handshake_timeout: Duration::from_secs(1),
            },
        );
        client.start_stream(now, STREAM, FILE_BYTES, &[]).ok()?;
        server
            .start_stream(now, ASSOCIATION, STREAM, SourceKey(0), FILE_BYTES, &[])
            .ok()?;
        opened.then(|| Self {
            now,
            server,
            client,
            source: Endless(vec![0x55; MAX_TRAIN_BYTES]),
            sink: Sink(vec![0; MAX_TRAIN_BYTES]),
            buffer: vec![0; MAX_TRAIN_BYTES],
            packets: 0,
        })
    }

    /// One round trip.
    fn turn(&mut self, client_address: SocketAddr) {
        while let Some(out) = self.client.poll_transmit(self.now, &mut self.buffer) {
            let datagram = &mut self.buffer[..out.bytes];
            self.server
                .handle_datagram(self.now, client_address, None, datagram);
        }
        self.now += ONE_WAY;
        self.server.handle_timeout(self.now);
        while let Some(out) =
            self.server
                .poll_transmit(self.now, &mut self.source, &mut self.buffer)
        {
            for packet in self.buffer[..out.bytes].chunks_mut(out.segment_bytes) {
                self.packets += 1;
                self.client
                    .handle_datagram(self.now, out.to, None, packet, &mut self.sink);
            }
        }
        while self.server.poll_event().is_some() {}
        self.now += ONE_WAY;
        self.client.handle_timeout(self.now);
        while self.client.poll_event().is_some() {}
    }
}

fn main() -> ExitCode {
    let packets = std::env::args().nth(1).and_then(|text| text.parse().ok());
    let (Some(packets), Ok(server), Ok(client)) = (
        packets,
        "192.0.2.1:11490".parse(),
        "192.0.2.2:40000".parse(),
    ) else {
        let _ = writeln!(std::io::stderr(), "usage: packet_path PACKETS");
        return ExitCode::from(2);
    };
    let Some(mut world) = World::new(server) else {
        let _ = writeln!(std::io::stderr(), "the association does not start");
        return ExitCode::FAILURE;
    };
    while world.packets < packets {
        world.turn(client);
    }
    match writeln!(std::io::stdout(), "{}", world.packets) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
