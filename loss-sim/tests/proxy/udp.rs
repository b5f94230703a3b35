//! Datagrams through the proxy.

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use columba_loss_sim::proxy::{Proxy, ProxyConfig, ProxyHandle};
use columba_loss_sim::scenario::{Rebind, Scenario};
use columba_loss_sim::{Direction, DropRule, Impairments, Reorder, Script};

use crate::support::{EchoServer, PATIENCE, receive, settle, udp_client, wait_for};

fn none() -> Impairments {
    Impairments::default()
}

/// Datagrams that may wait at the server: well below what a default socket buffer holds.
const WINDOW: u64 = 100;

/// Sends `count` numbered datagrams, never more than the echo server's socket buffer can hold, and gives
/// the numbers that came back.
fn echo_many(proxy: &ProxyHandle, count: u64) -> Vec<u64> {
    let client = udp_client(proxy.address());
    let mut back = Vec::new();
    let receive_until = |back: &mut Vec<u64>, delivered: u64| {
        while (back.len() as u64) < delivered {
            let bytes = receive(&client).try_into().expect("a number");
            back.push(u64::from_be_bytes(bytes));
        }
    };
    for number in 0..count {
        let stats = wait_for(proxy, |stats| {
            let on_their_way = number - stats.up.packets;
            let at_the_server = stats.up.delivered.saturating_sub(stats.down.packets);
            on_their_way + at_the_server < WINDOW
        });
        receive_until(&mut back, stats.down.delivered);
        client.send(&number.to_be_bytes()).expect("sent");
    }
    receive_until(&mut back, settle(proxy, count).down.delivered);
    back
}

#[test]
fn datagrams_of_any_size_come_back() {
    let server = EchoServer::start();
    let proxy = server.behind(none());
    let client = udp_client(proxy.address());
    for size in [0, 1, 1200, 1472, 8972, 65_507] {
        let payload: Vec<u8> = (0..=255).cycle().take(size).collect();
        client.send(&payload).expect("sent");
        assert!(receive(&client) == payload, "{size} bytes");
    }
    let stats = proxy.stop().expect("counters");
    assert_eq!((stats.up.packets, stats.up.delivered), (6, 6));
    assert_eq!((stats.down.packets, stats.down.delivered), (6, 6));
}

#[test]
fn nothing_is_lost_or_reordered_without_impairments() {
    let server = EchoServer::start();
    let proxy = server.behind(none());
    let back = echo_many(&proxy, 500);
    assert_eq!(back, (0..500).collect::<Vec<_>>());
}

#[test]
fn a_fifth_is_lost_each_way() {
    let server = EchoServer::start();
    let proxy = server.behind(Impairments {
        loss: 0.2,
        ..none()
    });
    let back = echo_many(&proxy, 2000);
    let stats = proxy.stop().expect("counters");
    assert_eq!(stats.up.packets, 2000);
    assert_eq!(stats.up.queue_drops + stats.down.queue_drops, 0);
    assert_eq!(stats.down.packets, stats.up.delivered);
    assert_eq!(back.len() as u64, stats.down.delivered);
    for link in [stats.up, stats.down] {
        assert!(link.add_up(), "{link:?}");
        // Four standard deviations of a binomial distribution.
        let bound = 4.0 * (0.2_f64 * 0.8 / link.packets as f64).sqrt();
        assert!((link.loss_rate() - 0.2).abs() < bound, "{link:?}");
    }
}

#[test]
fn impairments_can_differ_by_direction() {
    let server = EchoServer::start();
    let drop_second = Impairments {
        drop_nth: vec![DropRule::Numbers(2..=2)],
        ..none()
    };
    let corrupting = Impairments {
        corrupt: 1.0,
        ..none()
    };
    let proxy = server.behind_different(drop_second, corrupting);
    let client = udp_client(proxy.address());
    for payload in [&[0; 3], &[0; 3], &[0; 3]] {
        client.send(payload).expect("sent");
    }
    assert_eq!(settle(&proxy, 3).down.delivered, 2);
    for payload in [receive(&client), receive(&client)] {
        let ones: u32 = payload.iter().map(|byte| byte.count_ones()).sum();
        assert_eq!((payload.len(), ones), (3, 1));
    }
    let stats = proxy.stop().expect("counters");
    assert_eq!((stats.up.lost, stats.up.corrupted), (1, 0));
    assert_eq!((stats.down.lost, stats.down.corrupted), (0, 2));
}

#[test]
fn delay_applies_each_way() {
    let server = EchoServer::start();
    let delay = Duration::from_millis(30);
    let proxy = server.behind(Impairments { delay, ..none() });
    let client = udp_client(proxy.address());
    let start = Instant::now();
    client.send(b"coo").expect("sent");
    assert_eq!(receive(&client), b"coo");
    assert!(start.elapsed() >= 2 * delay);
}

#[test]
fn duplicates_and_reordering_show() {
    let server = EchoServer::start();
    let up = Impairments {
        duplicate: 1.0,
        ..none()
    };
    let down = Impairments {
        reorder: Some(Reorder {
            probability: 0.3,
            delay: Duration::from_millis(20),
        }),
        ..none()
    };
    let proxy = server.behind_different(up, down);
    let back = echo_many(&proxy, 100);
    assert_eq!(back.len(), 200);
    assert!(!back.is_sorted());
    let stats = proxy.stop().expect("counters");
    assert_eq!(stats.up.duplicated, 100);
    assert!(stats.down.reordered > 0);
}

#[test]
fn clients_are_kept_apart() {
    let server = EchoServer::start();
    let proxy = server.behind(none());
    let clients: Vec<_> = (0..20).map(|_| udp_client(proxy.address())).collect();
    for (number, client) in (0..20_u8).zip(&clients) {
        client.send(&[number]).expect("sent");
    }
    for (number, client) in (0..20_u8).zip(&clients) {
        assert_eq!(receive(client), [number]);
    }
}

#[test]
fn impairments_change_while_it_runs() {
    let server = EchoServer::start();
    let proxy = server.behind(none());
    let client = udp_client(proxy.address());
    client.send(b"before").expect("sent");
    assert_eq!(receive(&client), b"before");
    let everything = Impairments {
        loss: 1.0,
        ..none()
    };
    proxy
        .set_impairments(Direction::Up, everything)
        .expect("valid");
    let wrong = Impairments {
        loss: 3.0,
        ..none()
    };
    assert!(proxy.set_impairments(Direction::Up, wrong).is_err());
    // Commands are obeyed in the turn in which they come, but datagrams may be read before them.
    wait_for(&proxy, |stats| {
        client.send(b"after").expect("sent");
        stats.up.lost > 0
    });
}

#[test]
fn an_upstream_that_is_not_there_stops_nobody() {
    let gone = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    let upstream = gone.local_addr().expect("bound");
    drop(gone);
    let proxy = Proxy::spawn(&ProxyConfig::new(upstream)).expect("a proxy");
    let client = udp_client(proxy.address());
    for _ in 0..10 {
        client.send(b"anybody?").expect("sent");
    }
    let stats = wait_for(&proxy, |stats| {
        stats.up.packets == 10 && stats.up.queued == 0
    });
    assert_eq!(stats.down.packets, 0);
    assert!(stats.up.add_up(), "{stats:?}");
}

#[test]
fn a_rate_takes_its_time() {
    let server = EchoServer::start();
    let up = Impairments {
        // 1000 + 28 bytes take 8.2 ms.
        rate_bits_per_second: Some(1_000_000),
        ..none()
    };
    let proxy = server.behind_different(up, none());
    let client = udp_client(proxy.address());
    let start = Instant::now();
    for _ in 0..20 {
        client.send(&[0; 1000]).expect("sent");
    }
    for _ in 0..20 {
        assert_eq!(receive(&client).len(), 1000);
    }
    assert!(start.elapsed() >= Duration::from_micros(20 * 1028 * 8));
    assert_eq!(proxy.stop().expect("counters").up.queue_drops, 0);
}

/// Where the upstream sees the next datagram come from.
fn source_of_next(upstream: &UdpSocket) -> SocketAddr {
    let (_, from) = upstream.recv_from(&mut [0; 64]).expect("a datagram");
    from
}

#[test]
fn clients_move_and_still_get_their_answers() {
    let upstream = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    upstream
        .set_read_timeout(Some(PATIENCE))
        .expect("a timeout");
    let config = ProxyConfig::new(upstream.local_addr().expect("bound"));
    let proxy = Proxy::spawn(&config).expect("a proxy");
    let client = udp_client(proxy.address());
    client.send(b"one").expect("sent");
    let before = source_of_next(&upstream);
    for kind in [Rebind::Port, Rebind::Address] {
        proxy.rebind(kind).expect("told");
        // The order of a command and a datagram is not certain: the move shows in one of the next.
        let moved = std::iter::repeat_with(|| {
            client.send(b"two").expect("sent");
            source_of_next(&upstream)
        });
        let after = moved.take(10_000).find(|source| match kind {
            Rebind::Port => source.port() != before.port(),
            Rebind::Address => source.ip() != before.ip(),
        });
        upstream
            .send_to(b"answer", after.expect("a move"))
            .expect("sent");
        assert_eq!(receive(&client), b"answer");
    }
}

#[test]
fn moves_and_scenarios_come_by_themselves() {
    let upstream = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    upstream
        .set_read_timeout(Some(PATIENCE))
        .expect("a timeout");
    let text = "step = [{at = '10ms', down-loss = 1.0}]";
    let scenario = Scenario::parse(text, &none(), &none()).expect("a scenario");
    let mut config = ProxyConfig::new(upstream.local_addr().expect("bound"));
    config.rebinding.port = "5ms".parse().ok();
    config.scenario = Some(scenario);
    let proxy = Proxy::spawn(&config).expect("a proxy");
    let client = udp_client(proxy.address());
    let mut sources = HashSet::new();
    wait_for(&proxy, |stats| {
        client.send(b"coo").expect("sent");
        let from = source_of_next(&upstream);
        sources.insert(from);
        upstream.send_to(b"roo", from).expect("sent");
        sources.len() >= 3 && stats.down.lost > 0
    });
}

#[test]
fn other_addresses_need_a_loopback_upstream() {
    let mut config = ProxyConfig::new("192.0.2.1:9".parse().expect("an address"));
    config.rebinding.address = "5s".parse().ok();
    let error = Proxy::bind(&config).err().expect("refused");
    assert!(error.to_string().starts_with("rebind-address:"), "{error}");
}

#[test]
fn a_log_repeats_a_run() {
    let server = EchoServer::start();
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("decisions");
    let bad = Impairments {
        loss: 0.3,
        corrupt: 0.2,
        duplicate: 0.2,
        ..none()
    };
    let run = |impairments: &Impairments, log, replay, seed| {
        let config = ProxyConfig {
            up: impairments.clone(),
            log,
            replay,
            seed,
            ..ProxyConfig::new(server.address)
        };
        let proxy = Proxy::spawn(&config).expect("a proxy");
        let back = echo_many(&proxy, 200);
        (back, proxy.stop().expect("counters").up)
    };
    let (once, stats) = run(&bad, Some(log.clone()), None, 1);
    let script: Script = std::fs::read_to_string(&log)
        .expect("a log")
        .parse()
        .expect("a script");
    // Neither the impairments nor the seed of the first run: the log alone.
    let again = run(&none(), None, Some(script), 2);
    assert_eq!(again, (once.clone(), stats));
    assert!(stats.lost > 0 && stats.corrupted > 0 && stats.duplicated > 0);
    let (other, _) = run(&bad, None, None, 2);
    assert_ne!(once, other);
}
