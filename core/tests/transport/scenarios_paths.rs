//! Paths that change under a transfer: other ports and addresses, smaller packets; and addresses that are not the
//! client's. That no DATA goes to an address before it answered a challenge, and nothing beyond three times its bytes,
//! `monitor` asserts in all of these.

use std::net::SocketAddr;
use std::time::Duration;

use columba_core::wire::{Kind, ParsedHeader};
use columba_loss_sim::Impairments;

use crate::scenarios::{base, download, setup, transfer_time};
use crate::world::{Setup, World, noise};

const MB: usize = 1_000_000;
const SECOND: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, PartialEq)]
enum Rebinding {
    Port,
    Address,
    /// To a new port, and back to the first one.
    ThereAndBack,
}

impl Rebinding {
    fn next(self, address: SocketAddr, round: u8) -> SocketAddr {
        let port = 40_001 + u16::from(round);
        match self {
            Self::Port => SocketAddr::new(address.ip(), port),
            Self::Address => SocketAddr::from(([10, 0, 9, round], port)),
            Self::ThereAndBack => {
                SocketAddr::new(address.ip(), 40_000 + u16::from(round.is_multiple_of(2)))
            }
        }
    }
}

/// 10 MB; the first change after 2 s, then one every 5 s.
fn rebind(kind: Rebinding, loss: f64) {
    let mut world = World::new();
    let path = Impairments { loss, ..base() };
    let peer = world.add_peer(&setup(7, path));
    world.files.add(1, noise(1, 10 * MB));
    world.get(peer, 1, 1, &[]);
    let start = world.now;
    let mut changes = 0_u8;
    let mut wait = 2 * SECOND;
    while !world.run_until(wait, |world| world.peers[0].open.is_empty()) {
        let address = kind.next(world.peers[0].address, changes);
        world.peers[0].address = address;
        changes += 1;
        wait = 5 * SECOND;
        // What is on its way to the old address is lost; then a challenge, and slow start on a new path.
        let deadline = transfer_time(10 * MB, loss, 0.75) + u32::from(changes) * SECOND;
        assert!(world.now - start < deadline, "{kind:?}, {changes} changes");
    }
    let association = world.endpoint.association(1000).expect("open");
    assert_eq!(association.path(), Some(world.peers[0].address));
    println!(
        "{kind:?}, loss {loss}: {:.2?}, {changes} changes; {:?}",
        world.now - start,
        association.stats()
    );
    assert!(changes >= 2);
}

#[test]
fn ports_and_addresses_change_in_mid_transfer() {
    for kind in [Rebinding::Port, Rebinding::Address, Rebinding::ThereAndBack] {
        for loss in [0.0, 0.1, 0.3] {
            rebind(kind, loss);
        }
    }
}

#[test]
fn an_address_that_does_not_answer_is_not_followed() {
    let mut world = World::new();
    let peer = world.add_peer(&setup(1, base()));
    world.files.add(1, noise(1, 4 * MB));
    world.get(peer, 1, 1, &[]);
    world.run_until(SECOND, |_| false);
    // Someone on the path sends the client's newest packets from an address that is not there.
    let victim: SocketAddr = "10.9.9.9:9".parse().expect("an address");
    let client = world.peers[0].address;
    for _ in 0..20 {
        world.peers[0].address = victim;
        world.run_until(Duration::from_millis(20), |_| false);
        world.peers[0].address = client;
        world.run_until(Duration::from_millis(100), |_| false);
        let association = world.endpoint.association(1000).expect("open");
        assert_eq!(association.path(), Some(client));
    }
    world.finish(transfer_time(4 * MB, 0.0, 0.5));
}

/// What a server sends to an address that brought these datagrams and stays silent.
fn drawn_by(world: &mut World, from: SocketAddr, datagrams: &[Vec<u8>]) -> usize {
    let mut buffer = vec![0; 65_536];
    let mut drawn = 0;
    for datagram in datagrams {
        world
            .endpoint
            .handle_datagram(world.now, from, None, &mut datagram.clone());
    }
    for _ in 0..400 {
        while let Some(out) = world
            .endpoint
            .poll_transmit(world.now, &mut world.files, &mut buffer)
        {
            assert_eq!(out.to, from);
            let kind = ParsedHeader::parse(&buffer).expect("ours").kind;
            assert_eq!(kind, Kind::SynAck);
            drawn += out.bytes;
        }
        world.now += Duration::from_millis(100);
        world.endpoint.handle_timeout(world.now);
    }
    assert!(world.endpoint.is_empty(), "forgotten");
    drawn
}

#[test]
fn silent_and_spoofed_sources_draw_no_more_than_three_times_their_bytes() {
    for plaintext in [false, true] {
        let mut world = World::new();
        let peer = world.add_peer(&Setup {
            plaintext,
            ..setup(1, base())
        });
        world.files.add(1, noise(1, MB));
        world.get(peer, 1, 1, &[]);
        // Everything a client sends that hears nothing for 10 s, replayed three times from elsewhere.
        let mut buffer = vec![0; 65_536];
        let mut syns = Vec::new();
        for _ in 0..100 {
            let association = &mut world.peers[0].association;
            while let Some(out) = association.poll_transmit(world.now, &mut buffer) {
                syns.push(buffer[..out.bytes].to_vec());
            }
            world.now += Duration::from_millis(100);
            association.handle_timeout(world.now);
        }
        let brought: usize = syns.iter().map(Vec::len).sum();
        let replayed: Vec<_> = syns.iter().cycle().take(syns.len() * 3).cloned().collect();
        let drawn = drawn_by(&mut world, "10.9.9.9:9".parse().expect("one"), &replayed);
        println!("{} SYNs, {brought} bytes draw {drawn}", syns.len());
        assert!(drawn > 0 && drawn <= brought * 3);
    }
}

#[test]
fn a_path_that_shrinks_to_1200_in_mid_flow() {
    for seed in 1..=5 {
        let mut world = World::new();
        let peer = world.add_peer(&setup(seed, base()));
        world.files.add(1, noise(1, 2 * MB));
        world.get(peer, 1, 1, &[]);
        world.run_until(Duration::from_millis(500 + seed * 37), |_| false);
        assert_eq!(datagram_bytes(&world), 1472);
        world.impair(
            peer,
            &Impairments {
                max_datagram_bytes: Some(1200 - 28),
                ..base()
            },
        );
        let took = world.finish(transfer_time(2 * MB, 0.0, 0.5) + SECOND);
        let down = world.peers[0].path.down.stats();
        println!("{took:.2?}, {} too large", down.oversize);
        assert!(datagram_bytes(&world) <= 1172 && down.oversize < 200);
    }
}

#[test]
fn a_path_that_carries_no_more_than_1280() {
    let path = Impairments {
        max_datagram_bytes: Some(1280 - 28),
        ..base()
    };
    for max_datagram in [1472, 65_507] {
        let setup = Setup {
            max_datagram,
            ..setup(1, path.clone())
        };
        let (world, took) = download(&setup, 2 * MB, transfer_time(2 * MB, 0.0, 0.8));
        println!("{took:.2?}");
        // The largest datagram of whole cells that fits.
        assert_eq!(datagram_bytes(&world), 16 + 4 * 288 + 16);
    }
}

#[test]
fn one_lost_round_trip_is_not_a_black_hole() {
    for seed in 1..=20 {
        let mut world = World::new();
        let peer = world.add_peer(&setup(seed, base()));
        world.files.add(1, noise(1, 4 * MB));
        world.get(peer, 1, 1, &[]);
        world.run_until(Duration::from_millis(900 + seed * 13), |_| false);
        let round_trip = world.endpoint.association(1000).expect("open").rtt().srtt();
        world.impair(
            peer,
            &Impairments {
                loss: 1.0,
                ..base()
            },
        );
        world.run_until(round_trip, |_| false);
        world.impair(peer, &base());
        while !world.peers[0].open.is_empty() {
            assert!(world.step());
            assert_eq!(datagram_bytes(&world), 1472, "seed {seed}");
        }
    }
}

#[test]
fn datagrams_the_socket_refuses_are_made_smaller() {
    let mut world = World::new();
    let peer = world.add_peer(&setup(1, base()));
    world.files.add(1, noise(1, 2 * MB));
    world.get(peer, 1, 1, &[]);
    world.run_until(Duration::from_millis(500), |_| false);
    let address = world.peers[0].address;
    world.endpoint.on_too_large(world.now, address, 1472);
    assert!(datagram_bytes(&world) < 1472);
    world.finish(transfer_time(2 * MB, 0.0, 0.5));
}

fn datagram_bytes(world: &World) -> usize {
    let association = world.endpoint.association(world.peers[0].id);
    association.expect("open").datagram_bytes()
}
