use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::impairments::{BurstLoss, Distribution, DropRule, Reorder};
use crate::random::Random;

const MILLISECOND: Nanos = 1_000_000;

fn none() -> Impairments {
    Impairments::default()
}

fn link(impairments: Impairments) -> Link<Vec<u8>> {
    Link::new(impairments, 42).expect("valid impairments")
}

/// A packet that carries its number.
fn numbered(number: u64) -> Vec<u8> {
    let mut payload = number.to_be_bytes().to_vec();
    payload.resize(100, 0);
    payload
}

fn number(payload: &[u8]) -> u64 {
    let bytes = payload.get(..8).and_then(|bytes| bytes.try_into().ok());
    u64::from_be_bytes(bytes.expect("a numbered packet"))
}

/// Everything that comes out, as (arrival, number).
fn drain(link: &mut Link<Vec<u8>>) -> Vec<(Nanos, u64)> {
    std::iter::from_fn(|| link.poll_deliver(Nanos::MAX))
        .map(|delivery| (delivery.due, number(&delivery.payload)))
        .collect()
}

/// Sends `count` packets, one every `gap`, and gives their arrivals.
fn run(impairments: Impairments, count: u64, gap: Nanos) -> (Vec<(Nanos, u64)>, LinkStats) {
    let mut link = link(impairments);
    for index in 0..count {
        link.push(index * gap, numbered(index));
    }
    let arrivals = drain(&mut link);
    assert!(link.stats().add_up(), "{:?}", link.stats());
    (arrivals, *link.stats())
}

#[test]
fn an_unimpaired_link_delivers_at_once_and_in_order() {
    let (arrivals, stats) = run(none(), 100, 10);
    let expected: Vec<_> = (0..100).map(|index| (index * 10, index)).collect();
    assert_eq!(arrivals, expected);
    assert_eq!(
        (stats.packets, stats.delivered, stats.bytes),
        (100, 100, 10_000)
    );
    assert!(stats.loss_rate() == 0.0);
}

#[test]
fn delay_is_exact() {
    let delay = Duration::from_micros(1500);
    let (arrivals, _) = run(Impairments { delay, ..none() }, 10, 7);
    for (due, index) in arrivals {
        assert_eq!(due, index * 7 + 1_500_000);
    }
}

#[test]
fn achieved_loss_is_reported() {
    let (arrivals, stats) = run(
        Impairments {
            loss: 0.1,
            ..none()
        },
        50_000,
        1,
    );
    assert_eq!(arrivals.len() as u64, stats.delivered);
    // Four standard deviations of a binomial distribution.
    assert!((stats.loss_rate() - 0.1).abs() < 4.0 * (0.1_f64 * 0.9 / 50_000.0).sqrt());
}

#[test]
fn every_distribution_of_jitter_keeps_the_order() {
    for distribution in [
        Distribution::Uniform,
        Distribution::Normal,
        Distribution::Pareto,
    ] {
        let impairments = Impairments {
            delay: Duration::from_millis(20),
            jitter: Duration::from_millis(10),
            distribution,
            ..none()
        };
        let (arrivals, stats) = run(impairments, 5000, MILLISECOND / 10);
        assert!(arrivals.is_sorted_by_key(|(_, index)| *index));
        assert!(arrivals.is_sorted_by_key(|(due, _)| *due));
        assert_eq!(stats.reordered, 0);
        let delays: Vec<_> = arrivals
            .iter()
            .map(|(due, index)| due - index * MILLISECOND / 10)
            .collect();
        assert_ne!(delays.iter().min(), delays.iter().max());
    }
}

#[test]
fn reordering_holds_back_some_packets_and_nobody_else() {
    let impairments = Impairments {
        delay: Duration::from_millis(10),
        reorder: Some(Reorder {
            probability: 0.1,
            delay: Duration::from_millis(5),
        }),
        ..none()
    };
    let (arrivals, stats) = run(impairments, 1000, MILLISECOND);
    let late = arrivals
        .iter()
        .filter(|(due, index)| *due == index * MILLISECOND + 15 * MILLISECOND)
        .count();
    let in_time = arrivals
        .iter()
        .filter(|(due, index)| *due == index * MILLISECOND + 10 * MILLISECOND)
        .count();
    assert_eq!(late + in_time, 1000);
    assert!((60..140).contains(&late), "{late} held back");
    assert!(stats.reordered > 0 && stats.reordered <= late as u64);
    assert!(!arrivals.is_sorted_by_key(|(_, index)| *index));
}

#[test]
fn rate_includes_headers_and_the_queue_drops() {
    // 100 + 28 bytes at 1.024 Mbit/s take 1 ms.
    let impairments = Impairments {
        rate_bits_per_second: Some(1_024_000),
        queue_bytes: Some(3 * 128),
        delay: Duration::from_millis(2),
        ..none()
    };
    let mut link = link(impairments);
    let fates: Vec<_> = (0..6).map(|index| link.push(0, numbered(index))).collect();
    assert_eq!(
        fates,
        [
            Fate::Sent,
            Fate::Sent,
            Fate::Sent,
            Fate::Sent,
            Fate::QueueDrop,
            Fate::QueueDrop
        ]
    );
    let arrivals = drain(&mut link);
    let expected: Vec<_> = (0..4)
        .map(|index| ((index + 3) * MILLISECOND, index))
        .collect();
    assert_eq!(arrivals, expected);
    let stats = link.stats();
    assert_eq!(stats.queue_drops, 2);
    assert_eq!(stats.queue_ns, (1 + 2 + 3 + 4) * MILLISECOND);
    assert_eq!(stats.mean_queue_delay(), Duration::from_micros(2500));
    assert_eq!(stats.longest_queue_bytes, 3 * 128);
}

#[test]
fn packets_taken_out_too_late_are_counted() {
    let mut link = link(none());
    for (pushed, taken) in [(0, MILLISECOND), (5 * MILLISECOND, 6 * MILLISECOND + 1)] {
        link.push(pushed, numbered(1));
        assert!(link.poll_deliver(taken).is_some());
    }
    assert_eq!((link.stats().delivered, link.stats().late), (2, 1));
}

#[test]
fn lost_packets_use_the_rate_like_others() {
    let impairments = Impairments {
        rate_bits_per_second: Some(1_024_000),
        drop_nth: vec![DropRule::Numbers(1..=2)],
        ..none()
    };
    let (arrivals, stats) = run(impairments, 3, 0);
    assert_eq!(arrivals, [(3 * MILLISECOND, 2)]);
    assert_eq!(stats.lost, 2);
}

#[test]
fn duplicates_arrive_twice() {
    let (arrivals, stats) = run(
        Impairments {
            duplicate: 0.5,
            ..none()
        },
        1000,
        1,
    );
    assert_eq!(arrivals.len() as u64, 1000 + stats.duplicated);
    assert!((400..600).contains(&stats.duplicated));
    assert!(arrivals.is_sorted());
    assert_eq!(stats.reordered, 0);
}

#[test]
fn corruption_flips_exactly_one_bit() {
    let mut link = link(Impairments {
        corrupt: 1.0,
        ..none()
    });
    let mut positions = std::collections::HashSet::new();
    for now in 0..500 {
        link.push(now, vec![0; 10]);
        let payload = link.poll_deliver(now).expect("delivered").payload;
        let ones: u32 = payload.iter().map(|byte| byte.count_ones()).sum();
        assert_eq!((ones, payload.len()), (1, 10));
        positions.insert(payload);
    }
    assert!(positions.len() > 70, "{} of 80 bits hit", positions.len());
    link.push(500, Vec::new());
    assert_eq!(link.stats().corrupted, 500);
}

#[test]
fn truncation_shortens() {
    let mut link = link(Impairments {
        truncate: 1.0,
        ..none()
    });
    for now in 0..200 {
        link.push(now, vec![7; 50]);
        let delivery = link.poll_deliver(now).expect("delivered");
        assert!(delivery.payload.len() < 50);
    }
    assert_eq!(link.stats().truncated, 200);
}

#[test]
fn only_what_fits_passes() {
    let mut link = link(Impairments {
        max_datagram_bytes: Some(1200),
        ..none()
    });
    assert_eq!(link.push(0, vec![0; 1200]), Fate::Sent);
    assert_eq!(link.push(0, vec![0; 1201]), Fate::Oversize);
    assert_eq!((link.stats().oversize, link.stats().lost), (1, 0));
}

#[test]
fn a_blackhole_comes_and_goes() {
    let blackhole = Blackhole {
        on: Duration::from_nanos(5),
        off: Duration::from_nanos(2),
    };
    let mut link = link(Impairments {
        blackhole: Some(blackhole),
        ..none()
    });
    let silent: Vec<_> = (0..16)
        .filter(|now| link.push(*now, vec![0]) == Fate::Blackholed)
        .collect();
    assert_eq!(silent, [5, 6, 12, 13]);
    assert_eq!((link.stats().blackholed, link.stats().lost), (4, 4));
    // Streams wait instead.
    assert_eq!(link.carry_stream(19, 1).due, 21);
    assert_eq!(link.carry_stream(21, 1).due, 21);
}

#[test]
fn a_blackhole_without_phases_is_none() {
    let blackhole = Blackhole {
        on: Duration::ZERO,
        off: Duration::ZERO,
    };
    let mut link = link(Impairments {
        blackhole: Some(blackhole),
        ..none()
    });
    assert_eq!(link.push(3, vec![0]), Fate::Sent);
}

#[test]
fn streams_share_the_rate_with_packets() {
    let mut link = link(Impairments {
        rate_bits_per_second: Some(1_024_000),
        delay: Duration::from_millis(1),
        ..none()
    });
    let passage = link.carry_stream(0, 128);
    assert_eq!(
        (passage.departure, passage.due),
        (MILLISECOND, 2 * MILLISECOND)
    );
    link.push(0, numbered(0));
    assert_eq!(link.next_delivery(), Some(3 * MILLISECOND));
    assert_eq!((link.stats().packets, link.stats().stream_bytes), (1, 128));
}

#[test]
fn changes_apply_to_the_queue_at_once() {
    let mut link = link(Impairments {
        rate_bits_per_second: Some(1_024_000),
        ..none()
    });
    for index in 0..3 {
        link.push(0, numbered(index));
    }
    let faster = Impairments {
        rate_bits_per_second: Some(10_240_000),
        ..none()
    };
    link.set_impairments(0, faster).expect("valid");
    let expected = [(MILLISECOND, 0), (1_100_000, 1), (1_200_000, 2)];
    assert_eq!(drain(&mut link), expected);
    let wrong = Impairments {
        loss: 2.0,
        ..none()
    };
    assert!(link.set_impairments(0, wrong).is_err());
    assert_eq!(link.impairments().rate_bits_per_second, Some(10_240_000));
}

#[test]
fn memory_is_bounded() {
    let mut link: Link<Vec<u8>> = link(Impairments {
        delay: Duration::from_secs(1),
        ..none()
    });
    for _ in 0..=limits::MAX_HELD_PACKETS {
        link.push(0, Vec::new());
    }
    assert_eq!(link.stats().queue_drops, 1);
    assert!(link.stats().add_up());
}

#[test]
fn drops_outside_are_counted() {
    let mut link = link(none());
    link.push(0, vec![0; 5]);
    assert!(link.poll_deliver(0).is_some());
    link.record_drops_after(1, 5);
    link.record_drops_before(3);
    let stats = link.stats();
    assert_eq!(
        (stats.packets, stats.queue_drops, stats.delivered),
        (4, 4, 0)
    );
    assert!(stats.add_up());
}

fn impairments() -> impl Strategy<Value = Impairments> {
    let probability = || prop_oneof![Just(0.0), 0.0..1.0_f64];
    let chances = (
        probability(),
        probability(),
        probability(),
        probability(),
        probability(),
    );
    let times = (0..50_u64, 0..20_u64, 0..30_u64);
    let sizes = (
        proptest::option::of(8_000..10_000_000_u64),
        proptest::option::of(50..1500_usize),
        proptest::option::of(1..5_u32),
    );
    (chances, times, sizes, any::<bool>()).prop_map(|(chances, times, sizes, bursts)| {
        let (loss, duplicate, reorder, corrupt, truncate) = chances;
        let (delay, jitter, hold) = times;
        Impairments {
            loss,
            burst_loss: bursts.then(|| BurstLoss::gilbert(0.05, 0.3)),
            max_burst: sizes.2,
            delay: Duration::from_millis(delay),
            jitter: Duration::from_millis(jitter),
            rate_bits_per_second: sizes.0,
            duplicate,
            reorder: Some(Reorder {
                probability: reorder,
                delay: Duration::from_millis(hold),
            }),
            corrupt,
            truncate,
            max_datagram_bytes: sizes.1,
            blackhole: bursts.then(|| Blackhole {
                on: Duration::from_millis(40),
                off: Duration::from_millis(10),
            }),
            ..none()
        }
    })
}

/// What a run gives: the fates, the deliveries and the counters.
type Outcome = (Vec<Fate>, Vec<(Nanos, Vec<u8>)>, LinkStats);

/// Random traffic over a link, with deliveries taken out in between; checks what must always hold.
fn random_traffic(impairments: Impairments, seed: u64) -> Outcome {
    let mut link = Link::new(impairments, seed).expect("valid impairments");
    let mut traffic = Random::new(seed);
    let (mut fates, mut deliveries, mut now) = (Vec::new(), Vec::new(), 0);
    for _ in 0..300 {
        now += traffic.below(3 * MILLISECOND);
        let size = usize::try_from(traffic.below(1600)).unwrap();
        fates.push(link.push(now, vec![0xa5; size]));
        if traffic.chance(0.5) {
            while let Some(delivery) = link.poll_deliver(now) {
                assert!(delivery.due <= now);
                deliveries.push((delivery.due, delivery.payload));
            }
            assert!(link.next_delivery().is_none_or(|next| next > now));
        }
        assert!(link.stats().add_up(), "{:?}", link.stats());
    }
    while let Some(next) = link.next_delivery() {
        let delivery = link.poll_deliver(next).expect("due by next_delivery");
        assert_eq!(delivery.due, next);
        deliveries.push((delivery.due, delivery.payload));
    }
    assert_eq!((link.stats().queued, link.held_bytes), (0, 0));
    assert!(link.stats().add_up());
    (fates, deliveries, *link.stats())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn counters_add_up_and_seeds_repeat(impairments in impairments(), seed: u64) {
        let once = random_traffic(impairments.clone(), seed);
        prop_assert_eq!(&once, &random_traffic(impairments, seed));
        prop_assert!(once.1.is_sorted_by_key(|(due, _)| *due));
    }
}
