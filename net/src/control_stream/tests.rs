//! Both ends over real loopback TCP, in one thread with one poll.

mod arrivals;

use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;

use mio::{Events, Interest, Poll, Token};

use super::*;
use crate::identity::Identity;
use crate::tls::{client_config, server_config};

const NO_BOUND: usize = usize::MAX;

/// One end: the stream, what it received and how its reading ended.
struct End {
    stream: ControlStream,
    sink: Vec<u8>,
    budget: usize,
    ended: Option<Result<ReadStop, ControlError>>,
    reading: bool,
}

impl End {
    fn new(stream: ControlStream) -> Self {
        Self {
            stream,
            sink: Vec::new(),
            budget: 100_000,
            ended: None,
            reading: true,
        }
    }

    /// Does what is possible; returns whether that was anything.
    fn pump(&mut self) -> bool {
        let mut moved = false;
        while self.reading && self.ended.is_none() {
            let before = self.stream.queued_bytes();
            match self.stream.read(&mut self.sink, self.budget) {
                Ok(outcome) => {
                    moved |= outcome.bytes > 0 || self.stream.queued_bytes() != before;
                    match outcome.stop {
                        ReadStop::Drained => break,
                        ReadStop::BudgetSpent => moved = true,
                        stop @ (ReadStop::PeerClosed | ReadStop::Truncated) => {
                            self.ended = Some(Ok(stop));
                        }
                    }
                }
                Err(error) => self.ended = Some(Err(error)),
            }
            moved |= self.ended.is_some();
        }
        let before = self.stream.queued_bytes();
        // A peer that is gone shows in the read.
        let _ = self.stream.flush().map(|_| ());
        moved || self.stream.queued_bytes() != before
    }

    fn send(&mut self, bytes: &[u8]) {
        self.stream.queue(Bytes::copy_from_slice(bytes)).unwrap();
    }

    fn stop(&self) -> Option<ReadStop> {
        match self.ended {
            Some(Ok(stop)) => Some(stop),
            Some(Err(_)) | None => None,
        }
    }

    fn error(&self) -> Option<&ControlError> {
        self.ended.as_ref().and_then(|ended| ended.as_ref().err())
    }
}

struct Pair {
    server: End,
    client: End,
    poll: Poll,
}

impl Pair {
    fn new(
        server: impl FnOnce(TcpStream) -> ControlStream,
        client: impl FnOnce(TcpStream) -> ControlStream,
    ) -> Self {
        let (server_tcp, client_tcp) = connected();
        let mut server = End::new(server(server_tcp));
        let mut client = End::new(client(client_tcp));
        let poll = Poll::new().unwrap();
        let interest = Interest::READABLE | Interest::WRITABLE;
        let registry = poll.registry();
        registry
            .register(&mut server.stream, Token(0), interest)
            .unwrap();
        registry
            .register(&mut client.stream, Token(1), interest)
            .unwrap();
        Self {
            server,
            client,
            poll,
        }
    }

    fn plain() -> Self {
        Self::new(plain, plain)
    }

    fn tls() -> Self {
        let keys = Keys::new();
        keys.pair(PinCheck::Exactly(keys.server.fingerprint()))
    }

    /// Pumps both ends until `done`; sleeps only while neither end can do anything.
    fn run(&mut self, done: impl Fn(&Self) -> bool) {
        let mut events = Events::with_capacity(8);
        while !done(self) {
            let client = self.client.pump();
            let server = self.server.pump();
            if !client && !server && !done(self) {
                self.poll.poll(&mut events, None).unwrap();
            }
        }
    }

    fn finish_handshake(&mut self) {
        self.run(|pair| {
            !pair.client.stream.is_handshaking() && !pair.server.stream.is_handshaking()
        });
    }

    fn run_until_both_ended(&mut self) {
        self.run(|pair| pair.client.ended.is_some() && pair.server.ended.is_some());
    }
}

struct Keys {
    server: Identity,
    client: Identity,
}

impl Keys {
    fn new() -> Self {
        Self {
            server: Identity::generate().unwrap(),
            client: Identity::generate().unwrap(),
        }
    }

    fn server_tls(&self) -> ServerTls {
        server_config(&self.server).unwrap()
    }

    fn client_tls(&self, check: PinCheck) -> ClientTls {
        client_config(&self.client, check).unwrap()
    }

    fn pair(&self, check: PinCheck) -> Pair {
        pair_of(&self.server_tls(), &self.client_tls(check))
    }
}

fn pair_of(server: &ServerTls, client: &ClientTls) -> Pair {
    Pair::new(
        |tcp| ControlStream::tls_server(tcp, server, NO_BOUND).unwrap(),
        |tcp| ControlStream::tls_client(tcp, client, NO_BOUND).unwrap(),
    )
}

fn plain(tcp: TcpStream) -> ControlStream {
    ControlStream::plaintext(tcp, NO_BOUND)
}

/// Two ends of one connection, the accepting one first.
fn connected() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    client.set_nonblocking(true).unwrap();
    server.set_nonblocking(true).unwrap();
    (TcpStream::from_std(server), TcpStream::from_std(client))
}

/// Numbers that look random, the same for the same seed (xorshift64).
struct Numbers(u64);

impl Numbers {
    fn seeded(seed: u64) -> Self {
        Self((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn below(&mut self, bound: u64) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from((self.0 >> 11) % bound).unwrap()
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        let byte = |_| u8::try_from(self.below(256)).unwrap();
        (0..count).map(byte).collect()
    }
}

#[test]
fn a_megabyte_crosses_both_ways_in_odd_pieces() {
    for (mut pair, budgets) in [
        (Pair::plain(), [777, 50_001]),
        (Pair::tls(), [777, 50_001]),
        (Pair::tls(), [1_000_000, 16_406]),
    ] {
        let mut numbers = Numbers::seeded(7);
        let up = numbers.bytes(1 << 20);
        let down = numbers.bytes(1 << 20);
        pair.server.budget = budgets[0];
        pair.client.budget = budgets[1];
        for (end, data) in [(&mut pair.client, &up), (&mut pair.server, &down)] {
            let mut rest = data.as_slice();
            while !rest.is_empty() {
                let piece = (1 + numbers.below(65_536)).min(rest.len());
                end.send(&rest[..piece]);
                rest = &rest[piece..];
            }
            assert_eq!(end.stream.queue.bytes(), data.len());
        }
        pair.run(|pair| pair.server.sink.len() == up.len() && pair.client.sink.len() == down.len());
        assert!(pair.server.sink == up && pair.client.sink == down);
        pair.client.stream.close();
        pair.server.stream.close();
        pair.run_until_both_ended();
        assert_eq!(pair.client.stop(), Some(ReadStop::PeerClosed));
        assert_eq!(pair.server.stop(), Some(ReadStop::PeerClosed));
        assert_eq!(pair.client.sink.len(), down.len());
    }
}

#[test]
fn a_handshake_may_come_byte_by_byte() {
    for mut pair in [Pair::tls(), Pair::plain()] {
        pair.server.budget = 1;
        pair.client.budget = 1;
        pair.client.send(b"hello");
        pair.server.send(b"welcome");
        pair.run(|pair| pair.server.sink == b"hello" && pair.client.sink == b"welcome");
    }
}

#[test]
fn both_ends_learn_the_key_of_the_other() {
    let keys = Keys::new();
    for check in [
        PinCheck::AcceptAndReport,
        PinCheck::Exactly(keys.server.fingerprint()),
    ] {
        let mut pair = keys.pair(check);
        assert_eq!(pair.client.stream.peer_key_fingerprint(), None);
        pair.finish_handshake();
        let seen_by_client = pair.client.stream.peer_key_fingerprint();
        let seen_by_server = pair.server.stream.peer_key_fingerprint();
        assert_eq!(seen_by_client, Some(keys.server.fingerprint()));
        assert_eq!(seen_by_server, Some(keys.client.fingerprint()));
    }
}

#[test]
fn a_changed_key_is_refused_before_anything_is_said() {
    let keys = Keys::new();
    let expected = Identity::generate().unwrap().fingerprint();
    let mut pair = keys.pair(PinCheck::Exactly(expected));
    pair.client.send(b"password");
    pair.run_until_both_ended();
    let presented = keys.server.fingerprint();
    match pair.client.error() {
        Some(ControlError::PinMismatch(mismatch)) => {
            assert_eq!(mismatch.expected, expected);
            assert_eq!(mismatch.presented, presented);
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(pair.server.error(), Some(ControlError::Tls(_))));
    assert!(pair.server.sink.is_empty());
    assert_eq!(pair.server.stream.peer_key_fingerprint(), None);
    let refused = pair.client.stream.queue(Bytes::from_static(b"more"));
    assert_eq!(refused, Err(QueueError::Closed));
}

#[test]
fn on_first_contact_nothing_is_said_before_the_key_is_accepted() {
    let keys = Keys::new();
    let mut pair = keys.pair(PinCheck::AcceptAndReport);
    pair.client.send(b"hello");
    // The server's own data may arrive: it proves that the handshake is over at both ends.
    pair.server.send(b"welcome");
    pair.run(|pair| pair.client.sink == b"welcome");
    assert!(pair.client.stream.is_awaiting_trust());
    assert!(!pair.client.stream.wants_write());
    assert_eq!(pair.client.stream.flush().unwrap(), Flush::Waiting);
    assert_eq!(pair.client.stream.queued_bytes(), 5);
    assert!(pair.server.sink.is_empty());
    pair.client.stream.trust_peer();
    assert!(pair.client.stream.wants_write());
    pair.run(|pair| pair.server.sink == b"hello");
}

#[test]
fn an_untrusted_server_gets_no_data_on_closing_either() {
    let mut pair = Keys::new().pair(PinCheck::AcceptAndReport);
    pair.client.send(b"hello");
    pair.finish_handshake();
    pair.client.stream.close();
    pair.run(|pair| pair.server.ended.is_some());
    assert_eq!(pair.server.stop(), Some(ReadStop::PeerClosed));
    assert!(pair.server.sink.is_empty());
}

#[test]
fn closing_sends_what_is_queued_and_says_so() {
    for mut pair in [Pair::plain(), Pair::tls()] {
        pair.finish_handshake();
        pair.client.send(&[7; 100_000]);
        pair.client.stream.close();
        let refused = pair.client.stream.queue(Bytes::from_static(b"more"));
        assert_eq!(refused, Err(QueueError::Closed));
        assert!(pair.client.stream.wants_write());
        pair.run(|pair| pair.server.ended.is_some());
        assert_eq!(pair.server.stop(), Some(ReadStop::PeerClosed));
        assert_eq!(pair.server.sink, [7; 100_000]);
        assert!(!pair.client.stream.wants_write());
        assert_eq!(pair.client.stream.flush().unwrap(), Flush::Closed);
        // The other direction is still open.
        pair.server.send(b"bye");
        pair.server.stream.close();
        pair.run(|pair| pair.client.ended.is_some());
        assert_eq!(pair.client.sink, b"bye");
    }
}

#[test]
fn an_abrupt_end_is_told_from_a_farewell() {
    let mut pair = Pair::tls();
    pair.client.send(b"hello");
    pair.run(|pair| pair.server.sink == b"hello");
    pair.client.stream.tcp.shutdown(Shutdown::Write).unwrap();
    pair.run(|pair| pair.server.ended.is_some());
    assert_eq!(pair.server.stop(), Some(ReadStop::Truncated));
}

#[test]
fn a_connection_closed_during_the_handshake_says_so() {
    let keys = Keys::new();
    let config = keys.client_tls(PinCheck::AcceptAndReport);
    let mut pair = Pair::new(plain, |tcp| {
        ControlStream::tls_client(tcp, &config, NO_BOUND).unwrap()
    });
    pair.server.stream.close();
    pair.server.reading = false;
    pair.run(|pair| pair.client.ended.is_some());
    let error = pair.client.error();
    assert!(matches!(error, Some(ControlError::ClosedInHandshake)));
}

#[test]
fn a_tls_server_and_a_plaintext_client_understand_what_is_wrong() {
    let keys = Keys::new();
    let config = keys.server_tls();
    let mut pair = Pair::new(
        |tcp| ControlStream::tls_server(tcp, &config, NO_BOUND).unwrap(),
        plain,
    );
    pair.client.send(&[0, 0, 0, 2, 1, 0]);
    pair.run_until_both_ended();
    let error = pair.server.error();
    assert!(matches!(error, Some(ControlError::PeerSpeaksPlaintext)));
    let error = pair.client.error();
    assert!(matches!(error, Some(ControlError::PeerSpeaksTls)));
}

#[test]
fn a_plaintext_server_and_a_tls_client_understand_what_is_wrong() {
    let keys = Keys::new();
    let config = keys.client_tls(PinCheck::AcceptAndReport);
    let mut pair = Pair::new(plain, |tcp| {
        ControlStream::tls_client(tcp, &config, NO_BOUND).unwrap()
    });
    pair.run(|pair| pair.server.ended.is_some());
    let error = pair.server.error();
    assert!(matches!(error, Some(ControlError::PeerSpeaksTls)));
    pair.server.send(&[0, 0, 0, 1, 0x82]);
    pair.server.stream.close();
    pair.run(|pair| pair.client.ended.is_some());
    let error = pair.client.error();
    assert!(matches!(error, Some(ControlError::PeerSpeaksPlaintext)));
    // The failed stream still reads, so that its end is clean.
    let mut sink = Vec::new();
    let outcome = pair.server.stream.read(&mut sink, 100).unwrap();
    assert_eq!(outcome.bytes, 0);
    assert!(sink.is_empty());
}

#[test]
fn other_application_protocols_are_refused() {
    let keys = Keys::new();
    for offered in [vec![], vec![b"http/1.1".to_vec()]] {
        let mut client = keys.client_tls(PinCheck::AcceptAndReport);
        Arc::make_mut(&mut client.config).alpn_protocols = offered.clone();
        let mut pair = pair_of(&keys.server_tls(), &client);
        pair.run(|pair| pair.server.ended.is_some());
        let error = pair.server.error();
        assert!(matches!(error, Some(ControlError::WrongProtocol)));
    }
    let mut server = keys.server_tls();
    Arc::make_mut(&mut server.config).alpn_protocols.clear();
    let client = keys.client_tls(PinCheck::AcceptAndReport);
    let mut pair = pair_of(&server, &client);
    pair.run(|pair| pair.client.ended.is_some());
    let error = pair.client.error();
    assert!(matches!(error, Some(ControlError::WrongProtocol)));
}

#[test]
fn a_client_without_a_key_is_refused() {
    let keys = Keys::new();
    let mut client = keys.client_tls(PinCheck::AcceptAndReport);
    let config = Arc::make_mut(&mut client.config);
    config.client_auth_cert_resolver = Arc::new(NoKey);
    let mut pair = pair_of(&keys.server_tls(), &client);
    pair.run(|pair| pair.server.ended.is_some());
    assert!(matches!(pair.server.error(), Some(ControlError::Tls(_))));
    assert_eq!(pair.server.stream.peer_key_fingerprint(), None);
}

#[derive(Debug)]
struct NoKey;

impl rustls::client::ResolvesClientCert for NoKey {
    fn resolve(
        &self,
        _hints: &[&[u8]],
        _schemes: &[rustls::SignatureScheme],
    ) -> Option<Arc<rustls::sign::CertifiedKey>> {
        None
    }

    fn only_raw_public_keys(&self) -> bool {
        true
    }

    fn has_certs(&self) -> bool {
        false
    }
}

#[test]
fn someone_elses_public_key_is_refused() {
    let keys = Keys::new();
    let mut client = keys.client_tls(PinCheck::AcceptAndReport);
    // The victim's public key with the thief's private half.
    let victim = Identity::generate().unwrap().certified_key();
    let thief = keys.client.certified_key();
    let stolen = rustls::sign::CertifiedKey::new(victim.cert.clone(), Arc::clone(&thief.key));
    let resolver = rustls::client::AlwaysResolvesClientRawPublicKeys::new(Arc::new(stolen));
    Arc::make_mut(&mut client.config).client_auth_cert_resolver = Arc::new(resolver);
    let mut pair = pair_of(&keys.server_tls(), &client);
    pair.run(|pair| pair.server.ended.is_some());
    assert!(matches!(pair.server.error(), Some(ControlError::Tls(_))));
    assert_eq!(pair.server.stream.peer_key_fingerprint(), None);
}

#[test]
fn the_queue_is_bounded() {
    let (tcp, _peer) = connected();
    let mut stream = ControlStream::plaintext(tcp, 100);
    stream.queue(Bytes::from(vec![1; 60])).unwrap();
    let refused = stream.queue(Bytes::from(vec![1; 41]));
    assert_eq!(refused, Err(QueueError::Full { queued_bytes: 60 }));
    stream.queue(Bytes::from(vec![1; 40])).unwrap();
    assert_eq!(stream.queued_bytes(), 100);
    assert_eq!(stream.flush().unwrap(), Flush::Drained);
    assert_eq!(stream.queued_bytes(), 0);
}

#[test]
fn a_slow_reader_blocks_only_itself_and_catches_up() {
    for mut pair in [Pair::plain(), Pair::tls()] {
        pair.finish_handshake();
        pair.server.reading = false;
        let data = Numbers::seeded(3).bytes(16 << 20);
        for piece in data.chunks(60_000) {
            pair.client.send(piece);
        }
        assert_eq!(pair.client.stream.flush().unwrap(), Flush::Blocked);
        assert!(pair.client.stream.wants_write());
        let waiting = pair.client.stream.queued_bytes();
        assert!(waiting > 0 && waiting < data.len());
        pair.server.reading = true;
        pair.run(|pair| pair.server.sink.len() == data.len());
        assert!(pair.server.sink == data);
        assert_eq!(pair.client.stream.queued_bytes(), 0);
    }
}

#[test]
fn an_idle_connection_holds_no_buffers() {
    let mut pair = Pair::tls();
    pair.client.send(&[1; 200_000]);
    pair.server.send(&[2; 200_000]);
    pair.run(|pair| pair.server.sink.len() == 200_000 && pair.client.sink.len() == 200_000);
    for end in [&pair.client, &pair.server] {
        let Channel::Tls(session) = &end.stream.channel else {
            panic!("not encrypted");
        };
        assert_eq!(session.buffer_bytes(), 0);
    }
}

#[test]
fn garbage_after_a_tls_beginning_is_an_error_and_no_panic() {
    let keys = Keys::new();
    let config = keys.server_tls();
    for seed in 0..200 {
        let mut numbers = Numbers::seeded(seed);
        let (tcp, peer) = connected();
        let mut server = End::new(ControlStream::tls_server(tcp, &config, NO_BOUND).unwrap());
        let length = 1 + numbers.below(3000);
        let mut bytes = numbers.bytes(length);
        let header = [TLS_HANDSHAKE, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3];
        let kept = numbers.below(header.len() as u64 + 1).min(length);
        bytes[..kept].copy_from_slice(&header[..kept]);
        bytes[0] = TLS_HANDSHAKE;
        (&peer).write_all(&bytes).unwrap();
        peer.shutdown(Shutdown::Write).unwrap();
        wait_readable_and_pump(&mut server);
        assert!(server.error().is_some(), "seed {seed}: {:?}", server.ended);
    }
}

#[test]
fn a_flipped_bit_ends_the_connection() {
    for seed in 0..30 {
        let mut numbers = Numbers::seeded(seed);
        let mut pair = Pair::tls();
        pair.finish_handshake();
        pair.client.send(&numbers.bytes(500));
        // Encrypts without writing, so that the test can spoil it.
        let Channel::Tls(session) = &mut pair.client.stream.channel else {
            panic!("not encrypted");
        };
        session.encrypt(&mut pair.client.stream.queue).unwrap();
        let mut bytes = session.outgoing().to_vec();
        session.advance(bytes.len());
        let place = numbers.below(bytes.len() as u64);
        bytes[place] ^= 1 << numbers.below(8);
        (&pair.client.stream.tcp).write_all(&bytes).unwrap();
        pair.client.stream.tcp.shutdown(Shutdown::Write).unwrap();
        pair.run(|pair| pair.server.ended.is_some());
        let ended = &pair.server.ended;
        // A longer length leaves the record incomplete at the end of the stream.
        let noticed = matches!(ended, Some(Err(_)) | Some(Ok(ReadStop::Truncated)));
        assert!(noticed, "seed {seed}: {ended:?}");
        assert!(pair.server.sink.is_empty(), "seed {seed}");
    }
}

/// Pumps one end, whose peer has sent everything already, until its reading ends.
fn wait_readable_and_pump(end: &mut End) {
    let mut poll = Poll::new().unwrap();
    let interest = Interest::READABLE;
    poll.registry()
        .register(&mut end.stream, Token(0), interest)
        .unwrap();
    let mut events = Events::with_capacity(4);
    loop {
        end.pump();
        if end.ended.is_some() {
            return;
        }
        poll.poll(&mut events, None).unwrap();
    }
}
