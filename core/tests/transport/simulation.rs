//! Deterministic simulation: many clients, a swarm of faults, one seed.
//!
//! Each seed leaves out each fault with probability one half and draws the strength of the rest. Safety is asserted after
//! every event (no byte twice, no wrong byte, no segment announced before it is whole: see `world`), liveness after the
//! links have healed. A failure prints the line that repeats it. `SIM_SEED=n` runs one seed, `SIM_SEEDS=n` so many.

use std::time::Duration;

use columba_core::congestion::Algorithm;
use columba_loss_sim::{Blackhole, BurstLoss, Distribution, Impairments, Random, Reorder};

use crate::world::{Setup, World, noise};

const DEFAULT_SEEDS: u64 = 150;

fn pick<T: Copy>(random: &mut Random, choices: &[T]) -> T {
    choices[random.below(choices.len() as u64) as usize]
}

fn draw_faults(random: &mut Random) -> Impairments {
    let mut faults = Impairments {
        delay: Duration::from_millis(random.below(60)),
        ..Impairments::default()
    };
    let mut with = |probability: f64| random.chance(probability);
    let (loss, burst, jitter, rate, duplicate, reorder, corrupt, truncate, blackhole, mtu) = (
        with(0.5),
        with(0.3),
        with(0.5),
        with(0.5),
        with(0.5),
        with(0.5),
        with(0.4),
        with(0.3),
        with(0.2),
        with(0.3),
    );
    if loss {
        faults.loss = pick(random, &[0.001, 0.01, 0.05, 0.1, 0.3, 0.5]);
    }
    if burst {
        faults.burst_loss = Some(BurstLoss::gilbert(0.01, 0.3));
    }
    if jitter {
        faults.jitter = Duration::from_millis(1 + random.below(20));
        faults.distribution = pick(
            random,
            &[
                Distribution::Uniform,
                Distribution::Normal,
                Distribution::Pareto,
            ],
        );
    }
    if rate {
        faults.rate_bits_per_second = Some(pick(random, &[1, 10, 50, 200]) * 1_000_000);
        faults.queue_bytes = Some(20_000 + random.below(400_000));
    }
    if duplicate {
        faults.duplicate = 0.1;
    }
    if reorder {
        faults.reorder = Some(Reorder {
            probability: 0.05,
            delay: Duration::from_millis(random.below(30)),
        });
    }
    if corrupt {
        faults.corrupt = pick(random, &[0.001, 0.02, 0.1]);
    }
    if truncate {
        faults.truncate = 0.02;
    }
    if blackhole {
        faults.blackhole = Some(Blackhole {
            on: Duration::from_millis(200 + random.below(3000)),
            off: Duration::from_millis(100 + random.below(2500)),
        });
    }
    if mtu {
        faults.max_datagram_bytes = Some(pick(random, &[1172, 1252, 1472, 9000]));
    }
    faults
}

fn simulate(seed: u64) {
    let mut random = Random::new(seed);
    let mut world = World::new();
    let files = 1 + random.below(6);
    for key in 0..files {
        let bytes = pick(
            &mut random,
            &[
                0, 1, 287, 4096, 30_000, 300_000, 1_048_575, 1_048_577, 2_500_000,
            ],
        );
        world.files.add(key, noise(seed ^ key, bytes));
    }
    let peers = 1 + random.below(4) as usize;
    for peer in 0..peers {
        let setup = Setup {
            seed: random.next_u64(),
            impairments: draw_faults(&mut random),
            algorithm: pick(
                &mut random,
                &[Algorithm::Bbr, Algorithm::Cubic, Algorithm::Aimd],
            ),
            plaintext: random.chance(0.3),
            max_datagram: pick(&mut random, &[512, 1200, 1472, 9000, 65_507]),
            credit: pick(&mut random, &[20_000, 200_000, 16 << 20]),
            cell_bytes: pick(&mut random, &[284, 288]),
            ..Setup::default()
        };
        world.add_peer(&setup);
        for key in 0..files {
            world.get(peer, key as u32 + 1, key, &[]);
        }
    }
    // A while under faults …
    world.run_until(Duration::from_secs(5), |world| {
        world.peers.iter().all(|peer| peer.open.is_empty())
    });
    // … then the links heal, and everything ends within a bounded time and number of events.
    let now = world.now;
    for peer in &mut world.peers {
        let healed = Impairments {
            delay: Duration::from_millis(10),
            ..Impairments::default()
        };
        for link in [&mut peer.path.up, &mut peer.path.down] {
            link.set_impairments(now.as_nanos(), healed.clone())
                .expect("valid");
        }
    }
    let before = world.steps;
    world.finish(Duration::from_secs(60));
    assert!(
        world.steps - before < 2_000_000,
        "too many events: {}",
        world.steps - before
    );
    let now = world.now;
    for peer in &mut world.peers {
        peer.association.close(now);
    }
    let ended = world.run_until(Duration::from_secs(60), |world| {
        world.endpoint.is_empty() && world.peers.iter().all(|peer| peer.closed.is_some())
    });
    assert!(ended, "associations stay behind");
}

#[test]
fn seeds() {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .and_then(|value| value.parse::<u64>().ok())
    };
    let range = match number("SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIM_SEEDS").unwrap_or(DEFAULT_SEEDS),
    };
    for seed in range {
        let outcome = std::panic::catch_unwind(|| simulate(seed));
        if let Err(panic) = outcome {
            eprintln!(
                "repeat with: SIM_SEED={seed} cargo test -p columba-core --test transport simulation"
            );
            std::panic::resume_unwind(panic);
        }
    }
}
