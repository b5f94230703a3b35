//! Byte streams through the proxy.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use columba_loss_sim::Impairments;
use columba_loss_sim::proxy::{Proxy, ProxyConfig, SpawnedProxy, TcpFaults, Trigger};

use crate::support::{EchoServer, tcp_client, wait_for};

fn none() -> Impairments {
    Impairments::default()
}

/// Bytes that no shifted or repeated part of themselves equals.
fn pattern(len: usize) -> Vec<u8> {
    let mut random = columba_loss_sim::Random::new(1);
    std::iter::repeat_with(|| random.next_u64().to_le_bytes())
        .flatten()
        .take(len)
        .collect()
}

/// Sends everything while receiving, ends the stream, and gives what came back.
fn echo(stream: &TcpStream, payload: &[u8]) -> Vec<u8> {
    let mut back = Vec::with_capacity(payload.len());
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut writer = stream;
            writer.write_all(payload).expect("written");
            stream.shutdown(Shutdown::Write).expect("ended");
        });
        let mut reader = stream;
        reader.read_to_end(&mut back).expect("read to the end");
    });
    back
}

#[test]
fn a_megabyte_comes_back_byte_for_byte() {
    let server = EchoServer::start();
    let proxy = server.behind(none());
    let payload = pattern(1 << 20);
    assert!(echo(&tcp_client(proxy.address()), &payload) == payload);
    let stats = proxy.stop().expect("counters");
    assert!(stats.up.stream_bytes > 1 << 20 && stats.down.stream_bytes > 1 << 20);
    assert_eq!((stats.up.packets, stats.down.packets), (0, 0));
}

#[test]
fn loss_does_not_touch_streams() {
    let server = EchoServer::start();
    let proxy = server.behind(Impairments {
        loss: 1.0,
        corrupt: 1.0,
        delay: Duration::from_millis(5),
        rate_bits_per_second: Some(50_000_000),
        ..none()
    });
    let payload = pattern(200_000);
    assert!(echo(&tcp_client(proxy.address()), &payload) == payload);
}

#[test]
fn delay_and_rate_take_their_time() {
    let server = EchoServer::start();
    let delay = Duration::from_millis(20);
    let up = Impairments {
        delay,
        rate_bits_per_second: Some(8_000_000),
        ..none()
    };
    let proxy = server.behind_different(up, Impairments { delay, ..none() });
    let start = Instant::now();
    let payload = pattern(100_000);
    assert!(echo(&tcp_client(proxy.address()), &payload) == payload);
    // 100 kB at 1 MB/s, and a round trip.
    assert!(start.elapsed() >= Duration::from_millis(100) + 2 * delay);
}

#[test]
fn an_upstream_that_appears_later_serves_later_clients() {
    let placeholder = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let upstream: SocketAddr = placeholder.local_addr().expect("bound");
    drop(placeholder);
    let proxy = Proxy::spawn(&ProxyConfig::new(upstream)).expect("a proxy");
    let mut early = tcp_client(proxy.address());
    let ended = early.read(&mut [0; 8]);
    assert!(
        matches!(&ended, Ok(0))
            || ended.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset)
    );
    let listener = TcpListener::bind(upstream).expect("the same port");
    let mut late = tcp_client(proxy.address());
    let (mut served, _) = listener.accept().expect("relayed");
    served.write_all(b"coo").expect("written");
    drop(served);
    let mut text = String::new();
    late.read_to_string(&mut text).expect("read");
    assert_eq!(text, "coo");
}

#[test]
fn either_side_may_end_first() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let proxy = Proxy::spawn(&ProxyConfig::new(listener.local_addr().expect("bound")));
    let proxy = proxy.expect("a proxy");
    let mut client = tcp_client(proxy.address());
    let (mut served, _) = listener.accept().expect("relayed");
    // The server ends its direction, and still hears the client.
    served.shutdown(Shutdown::Write).expect("ended");
    assert_eq!(client.read(&mut [0; 8]).expect("the end"), 0);
    client.write_all(b"still here").expect("written");
    client.shutdown(Shutdown::Write).expect("ended");
    let mut text = String::new();
    served.read_to_string(&mut text).expect("read");
    assert_eq!(text, "still here");
}

#[test]
fn a_reader_that_does_not_read_holds_its_sender_up() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let proxy = Proxy::spawn(&ProxyConfig::new(listener.local_addr().expect("bound")));
    let proxy = proxy.expect("a proxy");
    let mut client = tcp_client(proxy.address());
    let patience = Some(Duration::from_millis(200));
    client.set_write_timeout(patience).expect("a timeout");
    let (mut served, _) = listener.accept().expect("relayed");
    let block = pattern(1 << 16);
    let mut sent = 0_u64;
    // The kernel's buffers and the proxy's take some; then nothing goes any more.
    let held_up = loop {
        match client.write(&block) {
            Ok(count) => sent += count as u64,
            Err(error) => break error.kind(),
        }
        assert!(sent < 256 << 20, "the proxy takes everything");
    };
    assert!(matches!(
        held_up,
        ErrorKind::WouldBlock | ErrorKind::TimedOut
    ));
    client.shutdown(Shutdown::Write).expect("ended");
    let received = std::io::copy(&mut served, &mut std::io::sink()).expect("read");
    assert_eq!(received, sent);
}

#[test]
fn many_connections_at_once() {
    let server = EchoServer::start();
    let proxy = server.behind(Impairments {
        delay: Duration::from_millis(2),
        ..none()
    });
    let streams: Vec<_> = (0..50).map(|_| tcp_client(proxy.address())).collect();
    for (number, mut stream) in (0..50_u8).zip(&streams) {
        stream.write_all(&[number; 100]).expect("written");
    }
    for (number, mut stream) in (0..50_u8).zip(&streams) {
        let mut back = [0; 100];
        stream.read_exact(&mut back).expect("echoed");
        assert_eq!(back, [number; 100]);
    }
}

/// A proxy before the server with these faults.
fn faulty(server: &EchoServer, tcp_faults: TcpFaults) -> SpawnedProxy {
    let config = ProxyConfig {
        tcp_faults,
        ..ProxyConfig::new(server.address)
    };
    Proxy::spawn(&config).expect("a proxy")
}

#[test]
fn connections_are_cut() {
    let server = EchoServer::start();
    let proxy = faulty(
        &server,
        TcpFaults {
            cut: Some(Trigger::Chance(1.0)),
            ..TcpFaults::default()
        },
    );
    let mut stream = tcp_client(proxy.address());
    stream.write_all(b"lost on its way").expect("written");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an orderly end");
    assert!("lost on its way".starts_with(&text), "{text}");
}

#[test]
fn connections_are_reset() {
    let server = EchoServer::start();
    let proxy = faulty(
        &server,
        TcpFaults {
            reset: "10ms".parse().ok(),
            ..TcpFaults::default()
        },
    );
    let error = tcp_client(proxy.address()).read(&mut [0; 8]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn connections_fall_silent() {
    let server = EchoServer::start();
    let proxy = faulty(
        &server,
        TcpFaults {
            half_open: "100%".parse().ok(),
            ..TcpFaults::default()
        },
    );
    let mut stream = tcp_client(proxy.address());
    stream.write_all(b"anybody?").expect("written");
    // Read by the proxy, and then nothing more is.
    let before = wait_for(&proxy, |stats| stats.up.stream_bytes > 0);
    stream.write_all(b"still there?").expect("written");
    // Another connection's data shows that the proxy has had its turn since.
    let mut other = tcp_client(proxy.address());
    other.write_all(b"x").expect("written");
    wait_for(&proxy, |stats| {
        stats.up.stream_bytes > before.up.stream_bytes
    });
    stream.set_nonblocking(true).expect("non-blocking");
    let error = stream.read(&mut [0; 8]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
}

#[test]
fn data_comes_in_slices() {
    let server = EchoServer::start();
    let proxy = faulty(
        &server,
        TcpFaults {
            slice: "100%".parse().ok(),
            ..TcpFaults::default()
        },
    );
    let payload = pattern(3000);
    assert!(echo(&tcp_client(proxy.address()), &payload) == payload);
}
