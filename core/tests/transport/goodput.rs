//! Goodput of the default controller over a bottleneck, in virtual time: what the path can carry, with few packets
//! dropped by our own overfilling.

use std::time::Duration;

use columba_core::congestion::Algorithm;
use columba_loss_sim::Impairments;

use crate::world::{Setup, World, noise};

struct Outcome {
    ratio: f64,
    queue_drops: f64,
    spurious: f64,
    seconds: f64,
}

/// One download of `megabytes`; ratio to the erasure bound over the whole download.
fn run(mbit: u64, rtt_ms: u64, loss: f64, megabytes: usize, algorithm: Algorithm) -> Outcome {
    let rate = mbit * 1_000_000;
    let bdp = rate / 8 * rtt_ms / 1000;
    let mut setup = Setup {
        algorithm,
        ..Setup::default()
    };
    setup.impairments = Impairments {
        delay: Duration::from_millis(rtt_ms / 2),
        loss,
        rate_bits_per_second: Some(rate),
        queue_bytes: Some(bdp.max(64_000)),
        ..Impairments::default()
    };
    let mut world = World::new();
    let peer = world.add_peer(&setup);
    let bytes = megabytes * 1_000_000;
    world.files.add(1, noise(1, bytes));
    world.get(peer, 1, 1, &[]);
    let seconds = world.finish(Duration::from_secs(200)).as_secs_f64();
    let stats = world.server_stats(0);
    let down = world.peers[0].path.down.stats();
    let bound = rate as f64 / 8.0 * (1.0 - loss) * 0.96;
    Outcome {
        ratio: bytes as f64 / seconds / bound,
        queue_drops: down.queue_drops as f64 / down.packets as f64,
        spurious: stats.spurious_losses as f64 / stats.data_packets as f64,
        seconds,
    }
}

#[test]
fn the_default_controller_fills_a_lossy_path_without_overfilling_it() {
    // (Mbit/s, RTT ms, loss each way, MB, least ratio)
    let cases = [
        (100, 50, 0.0, 40, 0.85),
        (100, 50, 0.01, 40, 0.85),
        (100, 50, 0.05, 40, 0.80),
        (100, 50, 0.10, 30, 0.75),
        (100, 50, 0.30, 20, 0.60),
        (50, 200, 0.02, 30, 0.70),
        (20, 20, 0.02, 10, 0.80),
    ];
    for (mbit, rtt, loss, megabytes, least) in cases {
        let outcome = run(mbit, rtt, loss, megabytes, Algorithm::Bbr);
        println!(
            "{mbit} Mbit/s {rtt} ms {loss}: ratio {:.3} queue drops {:.4} spurious {:.4} in {:.2} s",
            outcome.ratio, outcome.queue_drops, outcome.spurious, outcome.seconds
        );
        assert!(
            outcome.ratio >= least,
            "{mbit} Mbit/s {rtt} ms {loss}: {:.3}",
            outcome.ratio
        );
        assert!(
            outcome.queue_drops < 0.03,
            "{mbit} {rtt} {loss}: {:.4}",
            outcome.queue_drops
        );
        assert!(
            outcome.spurious < 0.001,
            "{mbit} {rtt} {loss}: {:.4}",
            outcome.spurious
        );
    }
}

#[test]
fn loss_alone_stops_the_classic_controllers_but_not_the_default() {
    let bbr = run(100, 50, 0.05, 10, Algorithm::Bbr).ratio;
    let cubic = run(100, 50, 0.05, 1, Algorithm::Cubic).ratio;
    let aimd = run(100, 50, 0.05, 1, Algorithm::Aimd).ratio;
    println!("bbr {bbr:.3} cubic {cubic:.3} aimd {aimd:.3}");
    assert!(bbr > 5.0 * cubic && bbr > 5.0 * aimd);
}
