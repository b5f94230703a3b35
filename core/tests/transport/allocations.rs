//! In steady state neither end allocates for a packet.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::SocketAddr;
use std::time::Duration;

use columba_core::client::{ClientAssociation, ClientConfig, Storage};
use columba_core::congestion::Algorithm;
use columba_core::endpoint::Endpoint;
use columba_core::limits::MAX_TRAIN_BYTES;
use columba_core::protection::{Cipher, Secrets};
use columba_core::server::{AssociationConfig, Policy, Source, SourceBytes, SourceKey, TrainState};
use columba_core::units::Timestamp;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: forwards to the system allocator; the counter is a plain thread-local cell without a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's contract is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A file of any size whose bytes are all alike.
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

struct Run {
    now: Timestamp,
    server: Endpoint,
    client: ClientAssociation,
    source: Endless,
    sink: Sink,
    buffer: Vec<u8>,
    packets: u64,
}

impl Run {
    fn new(secrets: &Secrets, file_bytes: u64) -> Self {
        let now = Timestamp::from_nanos(1);
        let mut server = Endpoint::new(now, 4);
        let config = AssociationConfig {
            id: 9,
            secrets: secrets.clone(),
            cell_bytes: 288,
            max_datagram: 1472,
            algorithm: Algorithm::Bbr,
            initial_rtt: None,
            rate_limit: None,
            policy: Policy::Fair,
            seed: [3; 32],
        };
        assert!(server.open(now, config));
        let mut client = ClientAssociation::new(
            now,
            ClientConfig {
                id: 9,
                secrets: secrets.clone(),
                cell_bytes: 288,
                server: "10.0.0.1:1".parse().expect("an address"),
                max_datagram: 1472,
                credit: 1 << 20,
                initial_rtt: Duration::from_millis(1),
                handshake_timeout: Duration::from_secs(1),
            },
        );
        client
            .start_stream(now, 1, file_bytes, &[])
            .expect("startable");
        server
            .start_stream(now, 9, 1, SourceKey(0), file_bytes, &[])
            .expect("startable");
        Self {
            now,
            server,
            client,
            source: Endless(vec![0x55; 65_536]),
            sink: Sink(vec![0; 65_536]),
            buffer: vec![0; MAX_TRAIN_BYTES],
            packets: 0,
        }
    }

    /// Ten round trips a millisecond; every `drop`-th DATA packet is lost.
    fn turn(&mut self, drop: u64) {
        let address: SocketAddr = "10.0.0.2:2".parse().expect("an address");
        while let Some(out) = self.client.poll_transmit(self.now, &mut self.buffer) {
            self.server
                .handle_datagram(self.now, address, None, &mut self.buffer[..out.bytes]);
        }
        self.now += Duration::from_micros(50);
        self.server.handle_timeout(self.now);
        while let Some(out) =
            self.server
                .poll_transmit(self.now, &mut self.source, &mut self.buffer)
        {
            for packet in self.buffer[..out.bytes].chunks_mut(out.segment_bytes) {
                self.packets += 1;
                if !self.packets.is_multiple_of(drop) {
                    self.client
                        .handle_datagram(self.now, out.to, None, packet, &mut self.sink);
                }
            }
        }
        while self.server.poll_event().is_some() {}
        self.now += Duration::from_micros(50);
        self.client.handle_timeout(self.now);
        while self.client.poll_event().is_some() {}
    }
}

#[test]
fn no_allocation_per_packet_in_steady_state() {
    for secrets in [
        Secrets::Aead {
            cipher: Cipher::Aes128Gcm,
            down: [1; 32],
            up: [2; 32],
        },
        Secrets::Aead {
            cipher: Cipher::Aegis128L,
            down: [1; 32],
            up: [2; 32],
        },
        Secrets::Plaintext,
    ] {
        let mut run = Run::new(&secrets, 8 << 30);
        for _ in 0..600 {
            run.turn(500);
        }
        let (packets, allocations) = (run.packets, ALLOCATIONS.get());
        for _ in 0..600 {
            run.turn(500);
        }
        let (packets, allocations) = (run.packets - packets, ALLOCATIONS.get() - allocations);
        println!("{secrets:?}: {allocations} allocations for {packets} packets");
        assert!(packets > 10_000, "{packets}");
        assert_eq!(allocations, 0, "for {packets} packets");
    }
}
