//! The same seed and the same input give the same decisions: shown by comparing logs.

use std::path::Path as File;

use columba_loss_sim::proxy::{PathReport, Proxy, ProxyConfig};
use columba_loss_sim::{BurstLoss, Direction, Distribution, Impairments, Path, Reorder, Script};
use std::time::Duration;

use crate::support::{EchoServer, receive, udp_client, wait_for};

const DATAGRAMS: u64 = 400;
const SEED: u64 = 9;

/// All that chance decides.
fn chance() -> Impairments {
    Impairments {
        loss: 0.1,
        burst_loss: Some(BurstLoss::gilbert(0.05, 0.4)),
        delay: Duration::from_millis(2),
        jitter: Duration::from_millis(1),
        distribution: Distribution::Pareto,
        duplicate: 0.1,
        corrupt: 0.1,
        truncate: 0.1,
        ecn_mark: 0.5,
        reorder: Some(Reorder {
            probability: 0.1,
            delay: Duration::from_millis(1),
        }),
        ..Impairments::default()
    }
}

/// Sends numbered datagrams of different sizes through a proxy that logs.
fn relay(impairments: Impairments, seed: u64, replay: Option<Script>, log: &File) -> PathReport {
    let server = EchoServer::start();
    let config = ProxyConfig {
        up: impairments.clone(),
        down: impairments,
        seed,
        log: Some(log.to_owned()),
        replay,
        ..ProxyConfig::new(server.address)
    };
    let proxy = Proxy::spawn(&config).expect("a proxy");
    let client = udp_client(proxy.address());
    let mut arrived = 0;
    for number in 0..DATAGRAMS {
        let size = 1 + usize::try_from(number).expect("small") % 700;
        client.send(&vec![0x5a; size]).expect("sent");
        // One after the other, so that the way back sees one order.
        let stats = wait_for(&proxy, |stats| {
            stats.up.packets > number
                && stats.up.queued == 0
                && stats.down.packets >= stats.up.delivered
                && stats.down.queued == 0
        });
        while arrived < stats.down.delivered {
            receive(&client);
            arrived += 1;
        }
    }
    proxy.stop().expect("counters")
}

/// A log without the times at which datagrams happened to be read, and without what it says of itself.
fn decisions(log: &File) -> Vec<String> {
    let text = std::fs::read_to_string(log).expect("a log");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let without_time = lines.map(|line| {
        let fields = line.split(' ').enumerate();
        let kept = fields
            .filter(|(index, _)| *index != 2)
            .map(|(_, field)| field);
        kept.collect::<Vec<_>>().join(" ")
    });
    without_time.collect()
}

#[test]
fn the_same_seed_and_input_give_the_same_log() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = |name: &str| folder.path().join(name);
    let report = relay(chance(), SEED, None, &log("a"));
    relay(chance(), SEED, None, &log("b"));
    let once = decisions(&log("a"));
    assert!(once == decisions(&log("b")), "seed {SEED}");
    assert_eq!(once.len() as u64, report.up.packets + report.down.packets);
    assert!(report.up.lost > 0 && report.down.duplicated > 0);
    relay(chance(), SEED + 1, None, &log("c"));
    assert!(once != decisions(&log("c")));
    // The log alone says the same, whatever the seed and the impairments.
    let script = std::fs::read_to_string(log("a")).expect("a log");
    let script = script.parse().expect("a script");
    let in_order = Impairments {
        reorder: chance().reorder,
        delay: chance().delay,
        ..Impairments::default()
    };
    relay(in_order, SEED + 1, Some(script), &log("d"));
    // A datagram that is dropped has no other fate to be told of.
    assert!(once == decisions(&log("d")));
}

/// What arrival times have a say in: rate, queue and blackholes too.
#[test]
fn the_engine_repeats_a_recorded_run_to_the_letter() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("recorded");
    let impairments = Impairments {
        rate_bits_per_second: Some(20_000_000),
        queue_bytes: Some(3000),
        ..chance()
    };
    relay(impairments.clone(), SEED, None, &log);
    let recorded = std::fs::read_to_string(&log).expect("a log");
    let lines = recorded.lines().filter(|line| !line.starts_with('#'));
    let recorded: Vec<&str> = lines.collect();
    let mut path = Path::symmetric(impairments, SEED).expect("valid");
    for line in recorded {
        let mut fields = line.split(' ');
        let direction = match fields.next() {
            Some("up") => Direction::Up,
            _ => Direction::Down,
        };
        let mut number = || fields.nth(1).and_then(|field| field.parse::<u64>().ok());
        let time = number().expect("a time");
        let len = fields.next().and_then(|field| field.parse().ok());
        let datagram = vec![0x5a; len.expect("a length")];
        while path.poll_deliver(time).is_some() {}
        let record = path.push_recorded(direction, time, datagram);
        // The payload here has no ECN field to mark, but the decision is the same.
        assert_eq!(record.to_string(), line);
    }
}
