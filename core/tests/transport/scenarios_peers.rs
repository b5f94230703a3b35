//! Peers that lie, fall silent, die, or come back.

use std::time::Duration;

use columba_core::endpoint::ServerEvent;
use columba_core::error::{CloseReason, ProtocolViolation};
use columba_core::limits::{IDLE_TIMEOUT, SEGMENT_BYTES};
use columba_core::wire::{AckHeader, HEADER_BYTES, Kind, ParsedHeader, StreamProgress};
use columba_loss_sim::{Direction, Impairments, Random};
use zerocopy::IntoBytes;
use zerocopy::byteorder::big_endian::{U16, U32, U64};

use crate::scenarios::{base, setup, transfer_time};
use crate::world::{World, noise};

const MIB: usize = SEGMENT_BYTES as usize;
const MS: Duration = Duration::from_millis(1);

fn start(seed: u64, impairments: Impairments, bytes: usize) -> World {
    let mut world = World::new();
    let peer = world.add_peer(&setup(seed, impairments));
    world.files.add(1, noise(1, bytes));
    world.get(peer, 1, 1, &[]);
    world
}

/// What a client may say in an ACK.
struct Lie {
    largest: u64,
    words: Vec<u64>,
    progress: Vec<(u32, u32)>,
}

impl Lie {
    /// Sends it, with the keys of the client of association 1000.
    fn tell(&self, world: &mut World, number: u64) {
        let (mut sealer, _) = world.peers[0].setup.secrets(1000).for_client();
        let header = AckHeader {
            largest: U64::new(self.largest),
            delay_us: U32::new(0),
            credit: U32::new(16 << 20),
            ect0: U32::new(0),
            ce: U32::new(0),
            socket_drops: U32::new(0),
            words: self.words.len() as u8,
            streams: self.progress.len() as u8,
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
        for word in &self.words {
            packet.extend_from_slice(&word.to_be_bytes());
        }
        for (stream, lowest_missing) in &self.progress {
            let progress = StreamProgress {
                stream: U32::new(*stream),
                lowest_missing: U32::new(*lowest_missing),
            };
            packet.extend_from_slice(progress.as_bytes());
        }
        packet.resize(packet.len() + 16, 0);
        sealer.seal_in_place(number, &mut packet, HEADER_BYTES);
        let from = world.peers[0].address;
        world
            .endpoint
            .handle_datagram(world.now, from, None, &mut packet);
    }
}

fn closed_by(world: &World) -> Option<CloseReason> {
    world.events.iter().find_map(|event| {
        if let ServerEvent::Closed { reason, .. } = event {
            Some(*reason)
        } else {
            None
        }
    })
}

#[test]
fn an_optimistic_client_is_found_out() {
    // It acknowledges whatever has left the server, at once: a larger window than its path deserves.
    for seed in 1..=20 {
        let mut world = start(seed, base(), 30 * MIB);
        world.run_until(200 * MS, |_| false);
        let memory = memory(&world);
        let mut number = 1 << 20;
        while closed_by(&world).is_none() {
            let largest = world.monitor.last_down(1000);
            let lie = Lie {
                largest,
                words: vec![u64::MAX; 64],
                progress: Vec::new(),
            };
            lie.tell(&mut world, number);
            number += 1;
            world.step();
            assert!(largest < 20_000, "seed {seed}");
        }
        let skipped = CloseReason::Violation(ProtocolViolation::AckOfSkipped);
        assert_eq!(closed_by(&world), Some(skipped), "seed {seed}");
        assert!(memory_after(&world) <= memory * 8);
        assert!(world.run_until(IDLE_TIMEOUT, |world| world.endpoint.is_empty()));
    }
}

fn memory(world: &World) -> usize {
    world
        .endpoint
        .association(1000)
        .expect("open")
        .memory_bytes()
}

fn memory_after(world: &World) -> usize {
    let association = world.endpoint.association(1000);
    association.map_or(0, columba_core::server::ServerAssociation::memory_bytes)
}

#[test]
fn lies_out_of_range_end_the_transfer() {
    type Make = fn(u64) -> Lie;
    let lies: [(&str, Make, ProtocolViolation); 4] = [
        (
            "the next packet",
            |last| Lie {
                largest: last + 1,
                words: vec![0],
                progress: Vec::new(),
            },
            ProtocolViolation::AckOfUnsent,
        ),
        (
            "the last number there is",
            |_| Lie {
                largest: u64::MAX,
                words: vec![u64::MAX; 64],
                progress: Vec::new(),
            },
            ProtocolViolation::AckOfUnsent,
        ),
        (
            "one cell beyond the end",
            |last| Lie {
                largest: last,
                words: vec![0],
                progress: vec![(1, 4 * MIB as u32 / 288 + 3)],
            },
            ProtocolViolation::CellOutOfRange,
        ),
        (
            "far beyond the end",
            |last| Lie {
                largest: last,
                words: vec![0],
                progress: vec![(77, 5), (1, u32::MAX)],
            },
            ProtocolViolation::CellOutOfRange,
        ),
    ];
    for (name, make, violation) in lies {
        let mut world = start(1, base(), 4 * MIB);
        world.run_until(300 * MS, |_| false);
        let last = world.monitor.last_down(1000);
        make(last).tell(&mut world, 1 << 20);
        world.step();
        let expected = Some(CloseReason::Violation(violation));
        assert_eq!(closed_by(&world), expected, "{name}");
        // The client is told.
        world.run_until(100 * MS, |world| world.peers[0].closed.is_some());
        assert_eq!(world.peers[0].closed, Some(CloseReason::Peer), "{name}");
    }
}

#[test]
fn random_acknowledgements_neither_break_nor_fatten_the_server() {
    let mut random = Random::new(5);
    let mut ended = 0;
    for seed in 0..60 {
        let mut world = start(seed, base(), 4 * MIB);
        world.run_until(300 * MS, |_| false);
        let before = memory(&world);
        for number in 0..500 {
            let back = random.below(400);
            let lie = Lie {
                largest: world.monitor.last_down(1000).saturating_sub(back),
                words: (0..1 + random.below(64))
                    .map(|_| random.next_u64() & random.next_u64() & random.next_u64())
                    .collect(),
                progress: (0..random.below(9))
                    .map(|_| (random.below(3) as u32, random.below(15_000) as u32))
                    .collect(),
            };
            lie.tell(&mut world, (1 << 20) + number);
            if number % 8 == 0 {
                world.step();
            }
            if closed_by(&world).is_some() {
                break;
            }
        }
        assert!(memory_after(&world) <= before * 8, "seed {seed}");
        ended += u32::from(matches!(closed_by(&world), Some(CloseReason::Violation(_))));
    }
    println!("{ended} of 60 ended for a lie");
    assert!(ended > 30);
}

/// The shell closes as soon as its file is complete; the datagrams of `bitmap` after that are lost.
fn lost_ending(bitmap: u64, bytes: usize) {
    let mut world = start(bitmap, base(), bytes);
    world.finish(transfer_time(bytes, 0.0, 0.5) + 1000 * MS);
    world.peers[0].drop_next(bitmap);
    let now = world.now;
    world.peers[0].association.close(now);
    let ended = world.run_until(IDLE_TIMEOUT + 5000 * MS, |world| {
        world.endpoint.is_empty() && world.peers[0].closed.is_some()
    });
    assert!(ended, "bitmap {bitmap:b}");
    assert_eq!(world.peers[0].closed, Some(CloseReason::Finished));
}

#[test]
fn any_of_the_last_datagrams_may_be_lost() {
    for bitmap in 0..256 {
        for bytes in [100, 200_000] {
            lost_ending(bitmap, bytes);
        }
    }
    // All of them, for good.
    lost_ending(u64::MAX, 100);
}

#[test]
fn when_one_direction_falls_silent_at_the_end_both_still_end() {
    for direction in Direction::BOTH {
        let mut world = start(1, base(), 200_000);
        world.finish(5000 * MS);
        let now = world.now;
        let silent = Impairments {
            loss: 1.0,
            ..base()
        };
        world.peers[0]
            .path
            .link_mut(direction)
            .set_impairments(now.as_nanos(), silent)
            .expect("valid");
        world.peers[0].association.close(now);
        let limit = IDLE_TIMEOUT + 5000 * MS;
        assert!(world.run_until(limit, |world| world.peers[0].closed.is_some()));
        assert!(
            world.now - now < 5000 * MS,
            "success does not wait for an answer"
        );
        assert!(world.run_until(limit, |world| world.endpoint.is_empty()));
        assert_eq!(world.peers[0].closed, Some(CloseReason::Finished));
        println!("{direction:?}: the server says {:?}", closed_by(&world));
    }
}

/// Moments of a transfer: densely through handshake and start, then through the rest.
fn moments() -> impl Iterator<Item = Duration> {
    let dense = (0..40).map(|step| 5 * step * MS);
    dense.chain((2..34).map(|step| 100 * step * MS + step * MS))
}

#[test]
fn a_client_killed_at_any_point_resumes_from_its_disk() {
    for moment in moments() {
        let mut world = start(3, base(), 4 * MIB);
        world.run_until(moment, |_| false);
        world.peers[0].dead = true;
        let died = world.now;
        // The next process comes after a second; the server still believes in the first.
        world.run_until(1000 * MS, |_| false);
        let missing = missing_bytes(&world);
        world.reconnect(0);
        world.finish(transfer_time(4 * MIB, 0.0, 0.5) + 2000 * MS);
        assert!(world.peers[0].disk.files[&1].0 == world.files.bytes(1));
        let fetched = world.peers[0].association.stats().new_bytes;
        assert!(
            fetched <= missing + 4 * 32 + 2 * 288,
            "{moment:?}: {fetched} of {missing}"
        );
        // And the server forgets the first.
        let limit = IDLE_TIMEOUT + 10_000 * MS;
        assert!(world.run_until(limit, |world| !world.endpoint.contains(1000)));
        assert!(world.now - died < limit, "{moment:?}");
    }
}

/// Bytes of segments that are not verified on the disk of client 0.
fn missing_bytes(world: &World) -> u64 {
    let whole = 4 - world.peers[0].verified_segments(1) as u64;
    if world.peers[0].open.is_empty() {
        return 0;
    }
    whole * SEGMENT_BYTES
}

#[test]
fn a_server_killed_at_any_point_is_noticed_and_the_next_one_resumes() {
    for moment in moments() {
        let mut world = start(4, base(), 4 * MIB);
        world.run_until(moment, |_| false);
        world.restart_server();
        let died = world.now;
        if world.peers[0].open.is_empty() {
            continue;
        }
        assert!(world.run_until(IDLE_TIMEOUT + 1000 * MS, |world| {
            world.peers[0].closed.is_some()
        }));
        let reason = world.peers[0].closed.expect("closed");
        assert!(
            matches!(reason, CloseReason::Idle | CloseReason::HandshakeTimeout),
            "{moment:?}: {reason:?}"
        );
        // What was on its way still arrived.
        assert!(world.now - died <= IDLE_TIMEOUT + 200 * MS);
        let missing = missing_bytes(&world);
        world.reconnect(0);
        world.finish(transfer_time(4 * MIB, 0.0, 0.5) + 2000 * MS);
        assert!(world.peers[0].disk.files[&1].0 == world.files.bytes(1));
        let fetched = world.peers[0].association.stats().new_bytes;
        assert!(fetched <= missing + 4 * 32 + 2 * 288, "{moment:?}");
    }
}

#[test]
fn a_download_given_up_before_the_handshake_does_not_spin() {
    // Found by the simulation; `monitor` refuses a timer in the past.
    let silent = Impairments {
        loss: 1.0,
        ..base()
    };
    let mut world = start(1, silent, 1000);
    world.run_until(MS, |_| false);
    let now = world.now;
    let peer = &mut world.peers[0];
    peer.open.clear();
    peer.association.finish_stream(now, 1, 1);
    world.run_until(2 * IDLE_TIMEOUT, |world| world.peers[0].closed.is_some());
    assert_eq!(world.peers[0].closed, Some(CloseReason::HandshakeTimeout));
}
