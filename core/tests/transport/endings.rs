//! How transfers end: both sides agree, nobody waits for ever, nothing stays behind.

use std::time::Duration;

use columba_core::endpoint::ServerEvent;
use columba_core::error::{CloseReason, StreamEnd};
use columba_core::limits::{DESERTED_TIMEOUT, IDLE_TIMEOUT};
use columba_core::server::SourceKey;
use columba_loss_sim::{Blackhole, Impairments};

use crate::world::{Setup, World, noise};

fn one_download(setup: &Setup, bytes: usize) -> World {
    let mut world = World::new();
    let peer = world.add_peer(setup);
    world.files.add(1, noise(1, bytes));
    world.get(peer, 1, 1, &[]);
    world
}

fn lossy(loss: f64) -> Setup {
    let mut setup = Setup::default();
    setup.impairments.loss = loss;
    setup
}

#[test]
fn both_sides_end_and_agree_even_when_last_packets_are_lost() {
    for seed in 0..40 {
        let mut world = one_download(&Setup { seed, ..lossy(0.4) }, 10_000);
        world.finish(Duration::from_secs(60));
        let now = world.now;
        world.peers[0].association.close(now);
        world.run_until(2 * IDLE_TIMEOUT, |world| {
            world.peers[0].closed.is_some() && world.endpoint.is_empty()
        });
        assert_eq!(
            world.peers[0].closed,
            Some(CloseReason::Finished),
            "seed {seed}"
        );
        assert!(
            world.endpoint.is_empty(),
            "seed {seed}: nothing stays behind"
        );
        let freed = world
            .events
            .iter()
            .filter(|e| matches!(e, ServerEvent::StreamFreed { .. }))
            .count();
        assert_eq!(freed, 1, "seed {seed}");
    }
}

#[test]
fn the_server_learns_that_the_client_has_verified() {
    let mut world = one_download(&lossy(0.3), 50_000);
    world.finish(Duration::from_secs(60));
    let confirmed = ServerEvent::StreamConfirmed {
        association: 1000,
        stream: 1,
        status: 0,
    };
    assert!(world.run_until(Duration::from_secs(20), |world| {
        world.events.contains(&confirmed)
    }));
}

#[test]
fn a_vanished_client_is_forgotten_after_the_idle_limit() {
    let mut world = one_download(&Setup::default(), 4 << 20);
    world.run_until(Duration::from_millis(200), |_| false);
    world.peers[0].dead = true;
    let gone = world.now;
    assert!(world.run_until(3 * IDLE_TIMEOUT, |world| world.endpoint.is_empty()));
    assert!(world.now - gone < IDLE_TIMEOUT + Duration::from_secs(10));
    let closed = ServerEvent::Closed {
        association: 1000,
        reason: CloseReason::Idle,
    };
    assert!(world.events.contains(&closed));
}

#[test]
fn a_client_that_vanished_with_its_control_connection_is_missed_soon() {
    for rtt_ms in [1, 600] {
        let mut setup = Setup::default();
        setup.impairments.delay = Duration::from_millis(rtt_ms / 2);
        let mut world = one_download(&setup, 64 << 20);
        world.run_until(Duration::from_secs(3), |_| false);
        world.peers[0].dead = true;
        let gone = world.now;
        world.endpoint.on_control_lost(gone, 1000);
        assert!(world.run_until(IDLE_TIMEOUT, |world| world.endpoint.is_empty()));
        let took = world.now - gone;
        assert!(took >= DESERTED_TIMEOUT, "{took:?}");
        let limit = DESERTED_TIMEOUT + Duration::from_millis(20 * rtt_ms + 1_000);
        assert!(took < limit, "{rtt_ms} ms: {took:?}");
    }
}

#[test]
fn a_client_that_lost_its_control_connection_alone_is_kept() {
    let mut setup = lossy(0.3);
    setup.impairments.blackhole = Some(Blackhole {
        on: Duration::from_secs(4),
        off: Duration::from_secs(2),
    });
    let mut world = one_download(&setup, 100_000);
    world.run_until(Duration::from_millis(50), |_| false);
    let now = world.now;
    world.endpoint.on_control_lost(now, 1000);
    world.finish(Duration::from_secs(60));
    // Nothing to send any more, and still there.
    world.run_until(10 * DESERTED_TIMEOUT, |world| world.endpoint.is_empty());
    assert!(!world.endpoint.is_empty());
}

#[test]
fn a_vanished_server_is_noticed() {
    let mut world = one_download(&Setup::default(), 4 << 20);
    world.run_until(Duration::from_millis(200), |_| false);
    let dead = Impairments {
        loss: 1.0,
        ..Impairments::default()
    };
    world.peers[0]
        .path
        .down
        .set_impairments(world.now.as_nanos(), dead)
        .expect("valid");
    world.run_until(2 * IDLE_TIMEOUT, |world| world.peers[0].closed.is_some());
    assert_eq!(world.peers[0].closed, Some(CloseReason::Idle));
}

#[test]
fn nobody_answers_the_handshake() {
    let mut world = one_download(&lossy(1.0), 10);
    world.run_until(Duration::from_secs(60), |world| {
        world.peers[0].closed.is_some()
    });
    assert_eq!(world.peers[0].closed, Some(CloseReason::HandshakeTimeout));
}

#[test]
fn a_changed_file_ends_only_its_own_stream() {
    let mut world = one_download(&lossy(0.2), 2 << 20);
    world.files.add(2, noise(2, 2 << 20));
    world.get(0, 2, 2, &[]);
    world.run_until(Duration::from_millis(100), |_| false);
    world
        .files
        .ends
        .insert(SourceKey(1), StreamEnd::FileChanged);
    world.finish(Duration::from_secs(60));
    assert_eq!(world.peers[0].resets, [(1, StreamEnd::FileChanged)]);
    assert_eq!(world.peers[0].complete.len(), 1);
}

#[test]
fn a_blackhole_is_survived_by_the_same_transfer() {
    let mut setup = Setup::default();
    setup.impairments.rate_bits_per_second = Some(10_000_000);
    setup.impairments.blackhole = Some(Blackhole {
        on: Duration::from_secs(5),
        off: Duration::from_secs(2),
    });
    let mut world = one_download(&setup, 10 << 20);
    world.finish(Duration::from_secs(60));
}

#[test]
fn a_new_port_and_a_new_address_are_challenged_and_followed() {
    let mut setup = Setup::default();
    setup.impairments.rate_bits_per_second = Some(20_000_000);
    let mut world = one_download(&setup, 8 << 20);
    for round in 0..4_u8 {
        world.run_until(Duration::from_millis(600), |_| false);
        if round % 2 == 0 {
            world.peers[0].address.set_port(50_000 + u16::from(round));
        } else {
            world.peers[0].address.set_ip([10, 0, 9, round].into());
        }
    }
    world.finish(Duration::from_secs(60));
    assert_eq!(
        world
            .endpoint
            .association(1000)
            .and_then(columba_core::server::ServerAssociation::path),
        Some(world.peers[0].address)
    );
}
