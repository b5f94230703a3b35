//! Faults that other implementations have had and that only whole endpoints show.

use std::time::Duration;

use columba_core::congestion::Algorithm;
use columba_loss_sim::Impairments;

use crate::scenarios::{RATE, base, setup};
use crate::world::{Setup, World, noise};

const MB: usize = 1_000_000;
const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// A download that goes on, over a path whose queue holds half a second.
fn downloading(algorithm: Algorithm, late: Duration) -> World {
    let path = Impairments {
        queue_bytes: Some(RATE / 16),
        ..base()
    };
    let setup = Setup {
        algorithm,
        ..setup(1, path)
    };
    let mut world = World::new();
    world.late = late;
    let peer = world.add_peer(&setup);
    world.files.add(1, noise(1, 12 * MB));
    world.get(peer, 1, 1, &[]);
    world.run_until(3 * SECOND, |_| false);
    world
}

/// quiche#2312: the time a packet was meant to leave instead of when it left. Timers that fire 10 ms late then look like
/// a longer path, and more bytes a second.
#[test]
fn late_timers_are_not_part_of_the_round_trip() {
    let world = downloading(Algorithm::Bbr, 10 * MS);
    let association = world.endpoint.association(1000).expect("open");
    let (least, smoothed) = (association.rtt().min_rtt(), association.rtt().srtt());
    println!(
        "least {least:?}, smoothed {smoothed:?}, window {}",
        association.cwnd()
    );
    assert!(least < 33 * MS && smoothed < 38 * MS);
    // 37,500 bytes are one bandwidth-delay product.
    assert!(association.cwnd() < 3 * 37_500);
}

/// quinn: a pacing rate that never reaches the pacer. What an acknowledgement lets out would leave at once.
#[test]
fn the_rate_reaches_the_pacer() {
    for algorithm in [Algorithm::Bbr, Algorithm::Cubic] {
        let mut world = downloading(algorithm, Duration::ZERO);
        let mut most = 0;
        for _ in 0..400 {
            let before = world.peers[0].bytes_down;
            world.run_until(5 * MS, |_| false);
            most = most.max(world.peers[0].bytes_down - before);
        }
        let paced = RATE / 8 / 200;
        println!("{algorithm}: at most {most} bytes in 5 ms, the path carries {paced}");
        assert!(most < 3 * paced);
    }
}
