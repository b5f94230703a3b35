//! ECN over whole downloads: what routers do to the field, and what comes of it (RFC 9000, section 13.4).

use std::time::Duration;

use columba_core::congestion::Algorithm;
use columba_core::recovery::ecn::EcnState;
use columba_loss_sim::Impairments;

use crate::router::Router;
use crate::scenarios::{base, setup, transfer_time};
use crate::world::{Setup, World, noise};

const MB: usize = 1_000_000;
const SECOND: Duration = Duration::from_secs(1);

/// A peer behind `router`, and a download of `bytes` that has begun.
fn behind(router: Router, setup: &Setup, bytes: usize) -> World {
    let mut world = World::new();
    let peer = world.add_peer(setup);
    world.peers[peer].router = router;
    world.files.add(1, noise(1, bytes));
    world.get(peer, 1, 1, &[]);
    world
}

fn state(world: &World) -> EcnState {
    let id = world.peers[0].id;
    world.endpoint.association(id).expect("open").ecn()
}

#[test]
fn a_path_that_keeps_the_field_is_used() {
    for loss in [0.0, 0.1, 0.3] {
        let path = Impairments { loss, ..base() };
        let mut world = behind(Router::Honest, &setup(1, path), MB);
        world.finish(transfer_time(MB, loss, 0.5) + SECOND);
        assert_eq!(state(&world), EcnState::Capable, "loss {loss}");
        let sent = world.server_stats(0).data_packets;
        assert!(world.peers[0].marked * 10 > sent * 9, "loss {loss}");
        assert_eq!(world.server_stats(0).ecn_ce, 0);
    }
}

#[test]
fn a_router_that_clears_the_field_ends_it() {
    let mut world = behind(Router::Bleaches, &setup(1, base()), MB);
    world.finish(transfer_time(MB, 0.0, 0.8) + SECOND);
    assert_eq!(state(&world), EcnState::Failed);
    assert!(world.peers[0].marked < 64, "{}", world.peers[0].marked);
}

#[test]
fn a_router_that_begins_to_clear_the_field_ends_it() {
    let mut world = behind(Router::Honest, &setup(1, base()), 4 * MB);
    world.run_until(SECOND, |_| false);
    assert_eq!(state(&world), EcnState::Capable);
    world.peers[0].router = Router::Bleaches;
    world.finish(transfer_time(4 * MB, 0.0, 0.8) + SECOND);
    assert_eq!(state(&world), EcnState::Failed);
}

#[test]
fn a_router_that_marks_everything_is_not_believed() {
    for algorithm in [Algorithm::Bbr, Algorithm::Cubic] {
        let setup = Setup {
            algorithm,
            ..setup(1, base())
        };
        let mut world = behind(Router::MarksAll, &setup, 2 * MB);
        world.finish(transfer_time(2 * MB, 0.0, 0.8) + SECOND);
        assert_eq!(state(&world), EcnState::Failed);
        assert_eq!(world.server_stats(0).ecn_ce, 0, "nobody slowed down");
    }
}

#[test]
fn a_router_that_drops_the_marked_costs_a_few_packets() {
    let mut world = behind(Router::BlackHole, &setup(1, base()), MB);
    let took = world.finish(transfer_time(MB, 0.0, 0.7) + SECOND);
    assert_eq!(state(&world), EcnState::Failed);
    assert!(world.peers[0].marked < 64, "{}", world.peers[0].marked);
    println!("{took:?} {:?}", world.server_stats(0));
}

#[test]
fn a_router_that_begins_to_drop_the_marked_is_survived() {
    let mut world = behind(Router::Honest, &setup(1, base()), 4 * MB);
    world.run_until(SECOND, |_| false);
    world.peers[0].router = Router::BlackHole;
    world.finish(transfer_time(4 * MB, 0.0, 0.7) + 6 * SECOND);
    assert_eq!(state(&world), EcnState::Failed);
}

#[test]
fn another_address_is_another_path_for_ecn() {
    let mut world = behind(Router::Bleaches, &setup(1, base()), 4 * MB);
    world.run_until(SECOND, |_| false);
    assert_eq!(state(&world), EcnState::Failed);
    world.peers[0].router = Router::Honest;
    world.peers[0].address = ([10, 0, 9, 1], 40_001).into();
    world.finish(transfer_time(4 * MB, 0.0, 0.7) + 2 * SECOND);
    assert_eq!(state(&world), EcnState::Capable);
}

/// An AQM that marks a tenth of the packets: senders slow down as for losses, without any; nothing is sent again.
#[test]
fn marks_slow_down_and_cost_nothing_else() {
    for algorithm in Algorithm::ALL {
        let run = |ecn_mark| {
            let path = Impairments {
                ecn_mark,
                queue_bytes: Some(1 << 20),
                ..base()
            };
            let setup = Setup {
                algorithm,
                ..setup(1, path)
            };
            let mut world = behind(Router::Honest, &setup, MB);
            let took = world.finish(60 * SECOND);
            (took, world.server_stats(0))
        };
        let ((clean, _), (marked, stats)) = (run(0.0), run(0.1));
        println!("{algorithm}: {clean:.2?} without marks, {marked:.2?} with; {stats:?}");
        assert!(stats.ecn_ce > 10 && stats.lost_packets == 0);
        assert!(marked > clean, "{algorithm} slows down");
        assert!(algorithm != Algorithm::Cubic || marked > clean * 3 / 2);
    }
}
