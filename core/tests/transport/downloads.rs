//! Files of every awkward size over clean and bad paths arrive byte-identical.

use std::time::Duration;

use columba_core::congestion::Algorithm;
use columba_core::layout::SegmentRange;
use columba_core::server::SourceKey;
use columba_loss_sim::{Impairments, Reorder};

use crate::world::{Setup, World, noise};

const MIB: usize = 1 << 20;

fn download(setup: &Setup, sizes: &[usize], limit: Duration) -> World {
    let mut world = World::new();
    let peer = world.add_peer(setup);
    for (index, bytes) in sizes.iter().enumerate() {
        world.files.add(index as u64, noise(index as u64, *bytes));
        world.get(peer, index as u32 + 1, index as u64, &[]);
    }
    world.finish(limit);
    world
}

#[test]
fn awkward_sizes_arrive_identical() {
    let packet = 5 * 288;
    let sizes = [
        0,
        1,
        255,
        256,
        257,
        287,
        288,
        289,
        packet - 1,
        packet,
        packet + 1,
        MIB - 1,
        MIB,
        MIB + 1,
    ];
    for plaintext in [false, true] {
        for max_datagram in [512, 1200, 1472, 65_507] {
            let setup = Setup {
                plaintext,
                max_datagram,
                ..Setup::default()
            };
            let world = download(&setup, &sizes, Duration::from_secs(20));
            assert_eq!(world.peers[0].complete.len(), sizes.len());
        }
    }
}

#[test]
fn a_clean_path_has_no_retransmissions() {
    let world = download(&Setup::default(), &[3 * MIB], Duration::from_secs(10));
    let stats = world.server_stats(0);
    assert_eq!(
        (
            stats.lost_packets,
            stats.retransmitted_packets,
            stats.timeouts
        ),
        (0, 0, 0)
    );
    assert_eq!(
        (
            world.peers[0].association.stats().duplicate_packets,
            stats.tail_packets
        ),
        (0, 0)
    );
}

fn bad_path() -> Impairments {
    Impairments {
        delay: Duration::from_millis(10),
        jitter: Duration::from_millis(2),
        loss: 0.30,
        corrupt: 0.01,
        duplicate: 0.01,
        reorder: Some(Reorder {
            probability: 0.02,
            delay: Duration::from_millis(5),
        }),
        ..Impairments::default()
    }
}

#[test]
fn a_third_lost_and_some_damaged_arrives_identical() {
    for (seed, plaintext) in [(1, false), (2, true), (3, false)] {
        for algorithm in [Algorithm::Bbr, Algorithm::Cubic, Algorithm::Aimd] {
            let setup = Setup {
                seed,
                plaintext,
                algorithm,
                impairments: bad_path(),
                ..Setup::default()
            };
            let world = download(
                &setup,
                &[2 * MIB + 77, 5, 0, 300_000],
                Duration::from_secs(300),
            );
            let stats = world.server_stats(0);
            assert!(stats.retransmitted_packets > 100, "{stats:?}");
        }
    }
}

#[test]
fn small_files_take_no_round_trip_each() {
    let impairments = Impairments {
        delay: Duration::from_millis(20),
        loss: 0.05,
        rate_bits_per_second: Some(100_000_000),
        ..Impairments::default()
    };
    let setup = Setup {
        impairments,
        ..Setup::default()
    };
    let world = download(&setup, &[4096; 1000], Duration::from_secs(5));
    assert_eq!(world.peers[0].complete.len(), 1000);
}

/// A path shorter than any timer, where only the processors at its ends limit the flow.
fn short_path() -> Setup {
    Setup {
        impairments: Impairments {
            delay: Duration::from_micros(50),
            ..Impairments::default()
        },
        ..Setup::default()
    }
}

#[test]
fn many_small_files_share_a_send_on_a_short_path() {
    let world = download(&short_path(), &[4096; 2000], Duration::from_secs(5));
    assert_eq!(world.peers[0].complete.len(), 2000);
    let packets = world
        .endpoint
        .associations()
        .next()
        .map(|all| all.stats().data_packets);
    assert!(packets >= Some(3 * 2000));
    assert!(world.sends < 2000 / 4, "{} sends", world.sends);
}

#[test]
fn padded_packets_change_no_file() {
    for plaintext in [false, true] {
        for max_datagram in [1472, 8972] {
            let sizes: Vec<usize> = (0..300).map(|index| index * 37 % 9_500).collect();
            let setup = Setup {
                plaintext,
                max_datagram,
                ..short_path()
            };
            let world = download(&setup, &sizes, Duration::from_secs(5));
            assert_eq!(world.peers[0].complete.len(), sizes.len());
        }
    }
}

#[test]
fn resuming_fetches_only_the_missing_segments() {
    let mut world = World::new();
    let peer = world.add_peer(&Setup::default());
    world.files.add(7, noise(7, 8 * MIB + 5));
    let missing = [
        SegmentRange { first: 2, count: 1 },
        SegmentRange { first: 8, count: 1 },
    ];
    world.get(peer, 1, 7, &missing);
    world.finish(Duration::from_secs(20));
    let received = world.peers[0].association.stats().new_bytes as usize;
    assert!((MIB..MIB + 4096).contains(&received), "{received}");
}

#[test]
fn hashes_that_come_late_hold_only_the_trailer_back() {
    let mut world = World::new();
    let peer = world.add_peer(&Setup::default());
    world.files.add(1, noise(1, 3 * MIB));
    world.files.hashes.insert(SourceKey(1), 0);
    world.get(peer, 1, 1, &[]);
    assert!(!world.run_until(Duration::from_secs(5), |world| {
        world.peers[0].open.is_empty()
    }));
    let written = &world.peers[0].disk.files[&1].1;
    assert!(
        written[..3 * MIB - 288].iter().all(|flag| *flag),
        "the file itself is there"
    );
    world.files.hashes.insert(SourceKey(1), 3);
    world.endpoint.source_ready(world.now, 1000, SourceKey(1));
    world.finish(Duration::from_secs(1));
}

#[test]
fn a_cold_file_waits_and_others_go_on() {
    let mut world = World::new();
    let peer = world.add_peer(&Setup::default());
    world.files.add(1, noise(1, MIB));
    world.files.add(2, noise(2, MIB));
    world.files.cold.insert(SourceKey(1), true);
    world.get(peer, 1, 1, &[]);
    world.get(peer, 2, 2, &[]);
    world.run_until(Duration::from_secs(5), |world| {
        world.peers[0].complete.len() == 1
    });
    assert_eq!(world.peers[0].complete[0].0, 2);
    world.files.cold.insert(SourceKey(1), false);
    world.endpoint.source_ready(world.now, 1000, SourceKey(1));
    world.finish(Duration::from_secs(5));
}

#[test]
fn the_datagram_grows_to_what_the_path_takes() {
    for (limit, expected) in [
        (1_200, 1184),
        (1_472, 1472),
        (9_000, 8960),
        (65_507, 65_408),
    ] {
        let mut setup = Setup {
            max_datagram: 65_507,
            ..Setup::default()
        };
        setup.impairments.max_datagram_bytes = Some(limit);
        let world = download(&setup, &[3 * MIB], Duration::from_secs(30));
        let association = world.endpoint.associations().next().expect("open");
        assert_eq!(association.datagram_bytes(), expected, "path of {limit}");
    }
}

#[test]
fn a_path_that_shrinks_in_mid_flow_is_survived() {
    let mut setup = Setup {
        max_datagram: 9_000,
        ..Setup::default()
    };
    setup.impairments.rate_bits_per_second = Some(10_000_000);
    let mut world = World::new();
    let peer = world.add_peer(&setup);
    world.files.add(1, noise(1, 4 * MIB));
    world.get(peer, 1, 1, &[]);
    world.run_until(Duration::from_secs(1), |_| false);
    let narrow = Impairments {
        max_datagram_bytes: Some(1172),
        ..setup.impairments.clone()
    };
    world.peers[0]
        .path
        .down
        .set_impairments(world.now.as_nanos(), narrow)
        .expect("valid");
    world.finish(Duration::from_secs(30));
}

#[test]
fn many_clients_share_one_endpoint() {
    let mut world = World::new();
    world.files.add(1, noise(1, 300_000));
    for index in 0..20 {
        let setup = Setup {
            seed: index,
            impairments: bad_path(),
            ..Setup::default()
        };
        let peer = world.add_peer(&setup);
        world.get(peer, 1, 1, &[]);
    }
    world.finish(Duration::from_secs(60));
}
