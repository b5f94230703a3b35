//! Peers that lie, forge, replay: dropped and counted, or the association ends; never a panic, never growth.

use std::net::SocketAddr;
use std::time::Duration;

use columba_core::endpoint::ServerEvent;
use columba_core::error::{CloseReason, DropReason, ProtocolViolation};
use columba_core::protection::{Cipher, Secrets};
use columba_core::wire::{AckHeader, HEADER_BYTES, Kind, ParsedHeader};
use zerocopy::IntoBytes;
use zerocopy::byteorder::big_endian::{U16, U32, U64};

use crate::world::{Setup, World, noise};

/// An established download, with the client's sealer in an attacker's hands.
fn established() -> World {
    let mut world = World::new();
    let peer = world.add_peer(&Setup::default());
    world.files.add(1, noise(1, 4 << 20));
    world.get(peer, 1, 1, &[]);
    // Past the first packet number that is skipped on purpose.
    world.run_until(Duration::from_secs(5), |world| {
        world
            .endpoint
            .association(1000)
            .is_some_and(|a| a.stats().data_packets > 700)
    });
    assert!(!world.peers[0].open.is_empty(), "still under way");
    world
}

fn forge_ack(number: u64, largest: u64, words: &[u64]) -> Vec<u8> {
    let (mut sealer, _) = Secrets::Aead {
        cipher: Cipher::Aes128Gcm,
        down: [0; 32],
        up: [0x80; 32],
    }
    .for_client();
    let header = AckHeader {
        largest: U64::new(largest),
        delay_us: U32::new(0),
        credit: U32::new(1 << 20),
        ect0: U32::new(0),
        ce: U32::new(0),
        socket_drops: U32::new(0),
        words: words.len() as u8,
        streams: 0,
        reserved: U16::new(0),
    };
    let mut packet = vec![0; HEADER_BYTES];
    ParsedHeader {
        kind: Kind::Ack,
        key_phase: false,
        stream: 0,
        association: 1000,
        packet_number_low: number as u32,
        first_cell: 0,
    }
    .write(&mut packet);
    packet.extend_from_slice(header.as_bytes());
    for word in words {
        packet.extend_from_slice(&word.to_be_bytes());
    }
    packet.resize(packet.len() + 16, 0);
    sealer.seal_in_place(number, &mut packet, HEADER_BYTES);
    packet
}

fn closes_with(world: &mut World, mut packet: Vec<u8>, violation: ProtocolViolation) {
    let address = world.peers[0].address;
    world
        .endpoint
        .handle_datagram(world.now, address, None, &mut packet);
    world.step();
    let closed = ServerEvent::Closed {
        association: 1000,
        reason: CloseReason::Violation(violation),
    };
    assert!(world.events.contains(&closed), "{:?}", world.events);
}

#[test]
fn acknowledging_the_future_ends_the_association() {
    let mut world = established();
    let packet = forge_ack(1_000_000, 1 << 40, &[u64::MAX]);
    closes_with(&mut world, packet, ProtocolViolation::AckOfUnsent);
}

#[test]
fn acknowledging_everything_runs_into_a_skipped_number() {
    let mut world = established();
    let sent = world.server_stats(0).data_packets;
    assert!(sent > 700, "past the first skipped number");
    let packet = forge_ack(1_000_000, sent - 1, &[u64::MAX; 64]);
    closes_with(&mut world, packet, ProtocolViolation::AckOfSkipped);
}

#[test]
fn garbage_forgeries_and_replays_are_counted() {
    let mut world = established();
    let address = world.peers[0].address;
    let now = world.now;
    for seed in 0..2_000_u64 {
        let mut garbage = noise(seed, (seed % 80) as usize);
        world
            .endpoint
            .handle_datagram(now, address, None, &mut garbage);
        // With the right association number, so that it reaches authentication.
        let mut forged = noise(seed, 60);
        forged[0] = 1 + (seed % 15) as u8;
        forged[4..8].copy_from_slice(&1000_u32.to_be_bytes());
        world
            .endpoint
            .handle_datagram(now, address, None, &mut forged);
    }
    let drops = *world.endpoint.association(1000).expect("open").drops();
    assert_eq!(drops.total(), 2_000);
    assert!(drops.get(DropReason::Unauthentic) + drops.get(DropReason::Replayed) == 2_000);
    assert_eq!(world.endpoint.drops().total(), 2_000);

    let ack = forge_ack(500_000, 1, &[0b10]);
    for _ in 0..2 {
        world
            .endpoint
            .handle_datagram(now, address, None, &mut ack.clone());
    }
    let after = *world.endpoint.association(1000).expect("open").drops();
    assert_eq!(
        after.get(DropReason::Replayed),
        drops.get(DropReason::Replayed) + 1
    );
}

#[test]
fn the_client_survives_garbage_and_forgeries() {
    let mut world = established();
    let now = world.now;
    let server: SocketAddr = crate::world::SERVER.parse().expect("an address");
    for seed in 0..4_000_u64 {
        let mut packet = noise(seed, 16 + (seed % 1500) as usize);
        packet[0] = (seed % 32) as u8;
        packet[4..8].copy_from_slice(&1000_u32.to_be_bytes());
        let peer = &mut world.peers[0];
        peer.association
            .handle_datagram(now, server, None, &mut packet, &mut peer.disk);
    }
    assert_eq!(world.peers[0].association.stats().drops.total(), 4_000);
    world.finish(Duration::from_secs(20));
}

#[test]
fn a_replayed_syn_draws_no_more_than_it_brought() {
    let mut world = World::new();
    world.add_peer(&Setup::default());
    let mut buffer = vec![0; 65_536];
    let mut syn = {
        let out = world.peers[0]
            .association
            .poll_transmit(world.now, &mut buffer)
            .expect("SYN");
        buffer[..out.bytes].to_vec()
    };
    let victim: SocketAddr = "10.9.9.9:9".parse().expect("an address");
    let brought = syn.len();
    world
        .endpoint
        .handle_datagram(world.now, victim, None, &mut syn.clone());
    world
        .endpoint
        .handle_datagram(world.now, victim, None, &mut syn);
    let mut drawn = 0;
    for _ in 0..100 {
        while let Some(out) = world
            .endpoint
            .poll_transmit(world.now, &mut world.files, &mut buffer)
        {
            assert_eq!(out.to, victim);
            drawn += out.bytes;
        }
        world.now += Duration::from_secs(1);
        world.endpoint.handle_timeout(world.now);
    }
    assert!(drawn <= brought, "{drawn} bytes for {brought}");
}
