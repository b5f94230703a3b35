//! What comes only after a long life: packet numbers beyond 32 bits, and keys that have served their time.
#![expect(
    clippy::cast_possible_truncation,
    reason = "offsets of a small file, and patterns"
)]

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use super::{AssociationConfig, Policy, Source, SourceBytes, SourceKey, TrainState};
use crate::client::{ClientAssociation, ClientConfig, ClientEvent, Storage};
use crate::congestion::Algorithm;
use crate::endpoint::Endpoint;
use crate::limits::MAX_TRAIN_BYTES;
use crate::protection::{Cipher, Opener, Sealer, Secrets};
use crate::recovery::sent_packets::SentPackets;
use crate::units::Timestamp;
use crate::wire::ParsedHeader;

const ID: u32 = 5;
const FILE_BYTES: usize = 3_000_000;
/// Packets are handed over after so many turns, every other one a turn later than its successor.
const TURNS_ON_THE_WAY: u64 = 3;
const TURN: Duration = Duration::from_millis(1);

fn byte_at(offset: usize) -> u8 {
    (offset.wrapping_mul(0x9e37_79b9) >> 13) as u8
}

struct File(Vec<u8>);

impl Source for File {
    fn begin_train(&mut self, _: SourceKey) -> TrainState {
        TrainState::Ready { hashes: u32::MAX }
    }

    fn file(&mut self, _: SourceKey, offset: u64, len: usize) -> SourceBytes<'_> {
        let offset = offset as usize;
        SourceBytes::Ready(&self.0[offset..offset + len])
    }

    fn copy_hashes(&mut self, _: SourceKey, _: u64, out: &mut [u8]) {
        out.fill(7);
    }
}

struct Copy(Vec<u8>);

impl Storage for Copy {
    fn reserve(&mut self, _: u32, offset: u64, bytes: usize) -> &mut [u8] {
        let offset = offset as usize;
        &mut self.0[offset..offset + bytes]
    }

    fn commit(&mut self, _: u32, _: u64, _: usize) {}
}

/// One direction: loses, duplicates and reorders by a fixed pattern.
#[derive(Default)]
struct Wire {
    packets: VecDeque<(u64, Vec<u8>)>,
    count: u64,
    phases: u32,
    phase: bool,
}

impl Wire {
    fn push(&mut self, turn: u64, packet: &[u8]) {
        let header = ParsedHeader::parse(packet).expect("ours");
        if header.key_phase != self.phase {
            (self.phase, self.phases) = (header.key_phase, self.phases + 1);
        }
        self.count += 1;
        if self.count.is_multiple_of(9) {
            return;
        }
        let due = turn + TURNS_ON_THE_WAY + self.count % 2;
        self.packets.push_back((due, packet.to_vec()));
        if self.count.is_multiple_of(7) {
            self.packets.push_back((due + 5, packet.to_vec()));
        }
    }

    fn pop(&mut self, turn: u64) -> Option<Vec<u8>> {
        let at = self.packets.iter().position(|(due, _)| *due <= turn)?;
        self.packets.remove(at).map(|(_, packet)| packet)
    }
}

struct Life {
    turn: u64,
    server: Endpoint,
    client: ClientAssociation,
    file: File,
    copy: Copy,
    down: Wire,
    up: Wire,
    buffer: Vec<u8>,
    complete: bool,
}

impl Life {
    fn new(secrets: &Secrets) -> Self {
        let now = Timestamp::from_nanos(1);
        let mut server = Endpoint::new(now, 1);
        let config = AssociationConfig {
            id: ID,
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
                id: ID,
                secrets: secrets.clone(),
                cell_bytes: 288,
                server: "10.0.0.1:1".parse().expect("an address"),
                max_datagram: 1472,
                credit: 300_000,
                initial_rtt: Duration::from_millis(10),
                handshake_timeout: Duration::from_secs(10),
            },
        );
        let bytes = FILE_BYTES as u64;
        client.start_stream(now, 1, bytes, &[]).expect("startable");
        server
            .start_stream(now, ID, 1, SourceKey(0), bytes, &[])
            .expect("startable");
        Self {
            turn: 0,
            server,
            client,
            file: File((0..FILE_BYTES).map(byte_at).collect()),
            copy: Copy(vec![0; FILE_BYTES]),
            down: Wire::default(),
            up: Wire::default(),
            buffer: vec![0; MAX_TRAIN_BYTES],
            complete: false,
        }
    }

    fn step(&mut self) {
        self.turn += 1;
        let now = Timestamp::from_nanos(1) + TURN * self.turn as u32;
        let address: SocketAddr = "10.0.0.2:2".parse().expect("an address");
        while let Some(mut packet) = self.up.pop(self.turn) {
            self.server.handle_datagram(now, address, None, &mut packet);
        }
        while let Some(mut packet) = self.down.pop(self.turn) {
            let storage = &mut self.copy;
            self.client
                .handle_datagram(now, address, None, &mut packet, storage);
        }
        self.server.handle_timeout(now);
        self.client.handle_timeout(now);
        while let Some(out) = self
            .server
            .poll_transmit(now, &mut self.file, &mut self.buffer)
        {
            for packet in self.buffer[..out.bytes].chunks(out.segment_bytes) {
                self.down.push(self.turn, packet);
            }
        }
        while let Some(out) = self.client.poll_transmit(now, &mut self.buffer) {
            self.up.push(self.turn, &self.buffer[..out.bytes]);
        }
        while self.server.poll_event().is_some() {}
        while let Some(event) = self.client.poll_event() {
            self.complete |= matches!(event, ClientEvent::StreamComplete { .. });
            assert!(!matches!(event, ClientEvent::Closed(_)), "{event:?}");
        }
    }

    fn finish(&mut self, mut each_turn: impl FnMut(&mut Self)) {
        while !self.complete {
            each_turn(self);
            self.step();
            assert!(
                self.turn < 60_000,
                "{:?}",
                self.server.associations().next()
            );
        }
        assert!(self.copy.0 == self.file.0, "bytes differ");
    }
}

fn both_secrets() -> [Secrets; 2] {
    let aead = Secrets::Aead {
        cipher: Cipher::Aes128Gcm,
        down: [1; 32],
        up: [2; 32],
    };
    [aead, Secrets::Plaintext]
}

#[test]
fn packet_numbers_pass_32_bits() {
    for secrets in both_secrets() {
        // Beyond 32 bits during the handshake, and in mid-transfer.
        for before in [1, 2, 70, 999] {
            let mut life = Life::new(&secrets);
            let start = (1 << 32) - before;
            life.server.association_mut(ID).sent = SentPackets::starting_at(start);
            life.client.next_number = (1 << 32) - before.min(40);
            life.finish(|_| {});
            assert!(life.server.association_mut(ID).sent.next_number() > (1 << 32) + 1000);
            assert!(life.client.next_number > 1 << 32);
        }
    }
}

#[test]
fn keys_change_in_mid_transfer() {
    let [secrets, _] = both_secrets();
    for (down, up) in [(200, 1000), (150, 16), (1000, 8)] {
        let mut life = Life::new(&secrets);
        life.finish(|life| {
            // Set anew each turn: a change of datagram size sets it too.
            let association = life.server.association_mut(ID);
            association.sealer.set_key_lifetime(down);
            life.client.sealer.set_key_lifetime(up);
        });
        println!("{} phases down, {} up", life.down.phases, life.up.phases);
        assert!(life.down.phases >= 2 && life.up.phases + u32::from(up == 1000) >= 1);
        assert!(matches!(life.client.opener, Opener::Aead(_)));
        assert!(matches!(life.client.sealer, Sealer::Aead(_)));
        let forged = life.client.opener.forgeries();
        assert_eq!(forged, 0, "every packet opened with its key");
    }
}
