//! The link between two namespaces, as a library. These tests need root; without it they are skipped, and
//! say so, unless `COLUMBA_REQUIRE_ROOT_TESTS=1` makes that a failure.

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use columba_loss_sim::ip_link::{End, IpLink, IpLinkConfig, IpLinkError, Side, SpawnedIpLink};
use columba_loss_sim::proxy::PathReport;
use columba_loss_sim::{Direction, Impairments, Reorder};

use crate::support::PATIENCE;

/// Bytes of the headers of IPv4 and UDP.
const HEADERS: u64 = 28;

/// Whether the reason why there is no link is one to skip a test for.
#[expect(clippy::print_stderr, reason = "a skipped test has to say so")]
fn skip(error: &IpLinkError) {
    let lacks_root = matches!(
        error,
        IpLinkError::Privileges { .. } | IpLinkError::NoTun(_)
    );
    let is_required =
        std::env::var_os("COLUMBA_REQUIRE_ROOT_TESTS").is_some_and(|value| value == "1");
    assert!(lacks_root && !is_required, "{error}");
    eprintln!("SKIPPED: {error}");
}

/// Whether links can be made here.
pub(crate) fn can_link() -> bool {
    IpLink::create(&IpLinkConfig::default())
        .map_err(|error| skip(&error))
        .is_ok()
}

/// A link, unless the test is to be skipped.
fn link(up: Impairments) -> Option<SpawnedIpLink> {
    let config = IpLinkConfig {
        up,
        seed: 42,
        ..IpLinkConfig::default()
    };
    IpLink::spawn(&config).map_err(|error| skip(&error)).ok()
}

/// A UDP socket at an end.
fn udp(end: &End, address: IpAddr) -> UdpSocket {
    let socket = end.run_inside(|| UdpSocket::bind((address, 0)));
    let socket = socket.expect("entered").expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    socket
}

/// A sender at the left end, connected to a receiver at the right end.
fn udp_pair(link: &SpawnedIpLink) -> (UdpSocket, UdpSocket) {
    let (left, right) = (link.end(Side::Left), link.end(Side::Right));
    let receiver = udp(right, right.ipv4().into());
    let sender = udp(left, left.ipv4().into());
    let address = receiver.local_addr().expect("bound");
    sender.connect(address).expect("connected");
    (sender, receiver)
}

/// Waits until this many packets have gone up, and none is on its way.
fn settle(link: &SpawnedIpLink, sent: u64) -> PathReport {
    let start = Instant::now();
    loop {
        let stats = link.handle().stats();
        if stats.up.packets >= sent && stats.up.queued == 0 {
            return stats;
        }
        assert!(start.elapsed() < PATIENCE, "{stats:?}");
        thread::yield_now();
    }
}

/// Receives the number in the next datagram.
fn receive_number(socket: &UdpSocket) -> u64 {
    let mut buffer = [0; 2000];
    let len = socket.recv(&mut buffer).expect("a datagram");
    let number = buffer[..len].first_chunk().expect("a number");
    u64::from_be_bytes(*number)
}

/// A counter of the kernel in an end's namespace: `InCEPkts` of `IpExt` in `netstat`, for instance.
fn kernel_counter(end: &End, file: &str, group: &str, name: &str) -> u64 {
    let path = format!("/proc/thread-self/net/{file}");
    let text = end.run_inside(|| fs::read_to_string(path));
    let text = text.expect("entered").expect("counters");
    let mut lines = text.lines().filter_map(|line| line.split_once(": "));
    let mut next = || {
        let line = lines.find(|(found, _)| *found == group);
        line.expect("the group").1.split(' ')
    };
    let (names, values) = (next(), next());
    let (_, value) = names
        .zip(values)
        .find(|(found, _)| *found == name)
        .expect("the counter");
    value.parse().expect("a number")
}

#[test]
fn as_many_datagrams_are_lost_as_should_be() {
    const ROUNDS: u64 = 100;
    const AT_ONCE: u64 = 50;
    let loss = 0.2;
    let Some(link) = link(Impairments {
        loss,
        ..Impairments::default()
    }) else {
        return;
    };
    let (sender, receiver) = udp_pair(&link);
    let mut received = Vec::new();
    for round in 0..ROUNDS {
        for number in round * AT_ONCE..(round + 1) * AT_ONCE {
            sender.send(&number.to_be_bytes()).expect("sent");
        }
        let arrived = settle(&link, (round + 1) * AT_ONCE).up.delivered;
        while (received.len() as u64) < arrived {
            received.push(receive_number(&receiver));
        }
    }
    let stats = link.stop().expect("it worked").up;
    assert!(received.is_sorted_by(|one, next| one < next));
    let sent = ROUNDS * AT_ONCE;
    assert_eq!((stats.packets, stats.bytes), (sent, sent * (8 + HEADERS)));
    assert_eq!(stats.lost, sent - received.len() as u64);
    let mean = sent as f64 * loss;
    let deviation = (mean * (1.0 - loss)).sqrt();
    let off = (stats.lost as f64 - mean).abs();
    assert!(off < 5.0 * deviation, "{stats:?}");
}

#[test]
fn datagrams_are_delayed_in_order() {
    let Some(link) = link(Impairments {
        delay: Duration::from_millis(20),
        jitter: Duration::from_millis(10),
        ..Impairments::default()
    }) else {
        return;
    };
    let (sender, receiver) = udp_pair(&link);
    let start = Instant::now();
    let mut sent_at = Vec::new();
    for number in 0_u64..100 {
        sent_at.push(start.elapsed());
        sender.send(&number.to_be_bytes()).expect("sent");
    }
    for (number, sent_at) in (0..).zip(sent_at) {
        assert_eq!(receive_number(&receiver), number);
        assert!(start.elapsed() - sent_at >= Duration::from_millis(10));
    }
    assert_eq!(link.stop().expect("it worked").up.reordered, 0);
}

#[test]
fn datagrams_held_back_are_overtaken() {
    let Some(link) = link(Impairments {
        rate_bits_per_second: Some(1_000_000),
        reorder: Some(Reorder {
            probability: 0.2,
            delay: Duration::from_millis(1),
        }),
        ..Impairments::default()
    }) else {
        return;
    };
    let (sender, receiver) = udp_pair(&link);
    for number in 0_u64..200 {
        sender.send(&number.to_be_bytes()).expect("sent");
    }
    let received: Vec<_> = (0..200).map(|_| receive_number(&receiver)).collect();
    let mut highest = 0;
    let overtaken = received.iter().filter(|number| {
        highest = highest.max(**number);
        **number < highest
    });
    let overtaken = overtaken.count() as u64;
    assert!(overtaken > 0);
    assert_eq!(link.stop().expect("it worked").up.reordered, overtaken);
}

#[test]
fn whole_packets_count_against_the_rate() {
    const PAYLOAD: usize = 972;
    const ON_THE_WIRE: u64 = PAYLOAD as u64 + HEADERS;
    const SENT: u64 = 100;
    const RATE: u64 = 8_000_000;
    let Some(link) = link(Impairments {
        rate_bits_per_second: Some(RATE),
        queue_bytes: Some(50 * ON_THE_WIRE),
        ..Impairments::default()
    }) else {
        return;
    };
    let (sender, receiver) = udp_pair(&link);
    let start = Instant::now();
    for number in 0..SENT {
        let mut datagram = [0; PAYLOAD];
        datagram[..8].copy_from_slice(&number.to_be_bytes());
        sender.send(&datagram).expect("sent");
    }
    let arrived = settle(&link, SENT).up.delivered;
    // Those that fit the queue, the one being sent, and those that left meanwhile.
    assert!((51..=SENT).contains(&arrived), "{arrived}");
    for _ in 0..arrived {
        receive_number(&receiver);
    }
    let bits = arrived * ON_THE_WIRE * 8;
    let least = Duration::from_secs_f64(bits as f64 / RATE as f64);
    assert!(start.elapsed() >= least, "{:?}", start.elapsed());
    let stats = link.stop().expect("it worked").up;
    assert_eq!(stats.queue_drops, SENT - arrived);
    assert!(stats.add_up(), "{stats:?}");
}

#[test]
fn kernel_tcp_gets_a_megabyte_through_loss() {
    let Some(link) = link(Impairments {
        loss: 0.02,
        delay: Duration::from_millis(1),
        ..Impairments::default()
    }) else {
        return;
    };
    let (left, right) = (link.end(Side::Left), link.end(Side::Right));
    let address = SocketAddr::from((right.ipv4(), 0));
    let listener = right.run_inside(|| TcpListener::bind(address));
    let listener = listener.expect("entered").expect("a port");
    let address = listener.local_addr().expect("bound");
    let content: Vec<u8> = (0..1_000_000_u32).map(|n| n.to_le_bytes()[1]).collect();
    let received = thread::scope(|scope| {
        let receiver = scope.spawn(|| {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut received = Vec::new();
            stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            stream.read_to_end(&mut received).expect("all of it");
            received
        });
        let stream = left.run_inside(|| TcpStream::connect(address));
        let mut stream = stream.expect("entered").expect("connected");
        stream.write_all(&content).expect("sent");
        stream.shutdown(Shutdown::Write).expect("ended");
        receiver.join().expect("received")
    });
    assert!(received == content);
    let stats = link.stop().expect("it worked").up;
    assert!(stats.lost > 0, "{stats:?}");
    // In packets as on the wire, not in the large ones that the kernel hands to network cards.
    assert!(stats.packets >= 1_000_000 / 1460, "{stats:?}");
}

#[test]
fn capable_packets_are_marked() {
    let Some(link) = link(Impairments {
        ecn_mark: 1.0,
        ..Impairments::default()
    }) else {
        return;
    };
    let (sender, receiver) = udp_pair(&link);
    let right = link.end(Side::Right);
    for (sent, service) in [(1_u64, 0b00), (2, 0b10), (3, 0b01)] {
        socket2::SockRef::from(&sender)
            .set_tos_v4(service)
            .expect("set");
        sender.send(&sent.to_be_bytes()).expect("sent");
        // The kernel drops packets whose header checksum is wrong.
        assert_eq!(receive_number(&receiver), sent);
        let marked = kernel_counter(right, "netstat", "IpExt", "InCEPkts");
        assert_eq!(marked, sent - 1);
    }
    assert_eq!(link.stop().expect("it worked").up.ecn_marked, 2);
}

#[test]
fn damaged_packets_are_recognised_by_the_kernel() {
    const LAST: u64 = 1000;
    let damage = [
        Impairments {
            corrupt: 1.0,
            ..Impairments::default()
        },
        Impairments {
            truncate: 1.0,
            ..Impairments::default()
        },
    ];
    for impairments in damage {
        let Some(link) = link(impairments) else {
            return;
        };
        let (sender, receiver) = udp_pair(&link);
        for number in 0_u64..100 {
            sender.send(&number.to_be_bytes()).expect("sent");
        }
        let stats = settle(&link, 100).up;
        assert_eq!(stats.corrupted + stats.truncated, 100);
        assert_eq!(stats.delivered, 100);
        let healthy = link
            .handle()
            .set_impairments(Direction::Up, Impairments::default());
        healthy.expect("valid");
        // The command goes another way than packets: one may still be hit.
        loop {
            let packets = link.handle().stats().up.packets;
            sender.send(&LAST.to_be_bytes()).expect("sent");
            let stats = settle(&link, packets + 1).up;
            if stats.corrupted + stats.truncated < stats.packets {
                break;
            }
        }
        // A flipped bit that makes the checksum 0 means that there is none.
        let unnoticed = (0..).find(|_| receive_number(&receiver) == LAST);
        assert!(unnoticed <= Some(1));
    }
}

#[test]
fn duplicates_arrive_over_ipv6_too() {
    let Some(link) = link(Impairments {
        duplicate: 1.0,
        ..Impairments::default()
    }) else {
        return;
    };
    let (left, right) = (link.end(Side::Left), link.end(Side::Right));
    let (Some(from), Some(to)) = (left.ipv6(), right.ipv6()) else {
        return;
    };
    let receiver = udp(right, to.into());
    let sender = udp(left, from.into());
    let address = receiver.local_addr().expect("bound");
    sender.send_to(&9_u64.to_be_bytes(), address).expect("sent");
    assert_eq!(
        [receive_number(&receiver), receive_number(&receiver)],
        [9, 9]
    );
}

#[test]
fn names_go_with_the_link() {
    let Some(link) = link(Impairments::default()) else {
        return;
    };
    let paths = Side::BOTH.map(|side| link.end(side).path().to_owned());
    assert!(paths.iter().all(|path| path.exists()));
    let names = Side::BOTH.map(|side| link.end(side).name().to_owned());
    for (side, name) in Side::BOTH.into_iter().zip(names) {
        assert!(side.running().expect("listed").contains(&name));
    }
    drop(link);
    assert!(!paths.iter().any(|path| path.exists()));
}

#[test]
fn nonsense_is_refused_before_anything_is_made() {
    let config = IpLinkConfig {
        mtu: 20,
        ..IpLinkConfig::default()
    };
    assert!(matches!(IpLink::create(&config), Err(IpLinkError::Mtu(20))));
}
