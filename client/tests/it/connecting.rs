//! Connecting where the first attempt gets no further.

use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use columba_client::engine::Engine;
use columba_client::engine::message::{Command, Event, Security};
use columba_client::storage::memory::MemoryStorage;
use columba_net::identity::{Fingerprint, Identity};

use super::scripted::Scripted;
use super::support::{Target, config, first_use, sharing};

/// A way to a server on which the first connections end nowhere: they are accepted, and that is all.
struct Swallowing<'a> {
    server: &'a Scripted,
    address: SocketAddr,
    came: Arc<AtomicUsize>,
}

impl<'a> Swallowing<'a> {
    fn start(server: &'a Scripted, swallowed: usize) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let came = Arc::new(AtomicUsize::new(0));
        let (counter, upstream) = (Arc::clone(&came), server.address);
        // It ends with the test's process.
        std::thread::spawn(move || {
            let mut held = Vec::new();
            for client in listener.incoming().map(Result::unwrap) {
                if counter.fetch_add(1, Ordering::SeqCst) < swallowed {
                    held.push(client);
                    continue;
                }
                let upstream = TcpStream::connect(upstream).unwrap();
                for (from, to) in [(&client, &upstream), (&upstream, &client)] {
                    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    std::thread::spawn(move || {
                        // Either end may go at any time.
                        let _ = io::copy(&mut from, &mut to);
                        let _ = to.shutdown(Shutdown::Write);
                    });
                }
            }
        });
        Self {
            server,
            address,
            came,
        }
    }

    fn came(&self) -> usize {
        self.came.load(Ordering::SeqCst)
    }
}

impl Target for Swallowing<'_> {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn fingerprint(&self) -> Option<Fingerprint> {
        self.server.fingerprint
    }
}

#[test]
fn a_swallowed_attempt_is_overtaken_and_the_server_greeted_once() {
    let state = tempfile::tempdir().unwrap();
    let server = Scripted::start(sharing(&[]), true);
    let way = Swallowing::start(&server, 1);
    let mut config = config(&way, Arc::new(MemoryStorage::dropping()));
    config.name = Some("bob".into());
    config.security = Security::Tls {
        identity: Identity::generate().unwrap(),
        trust: first_use(state.path()),
    };
    let engine = Engine::start(config, vec![Command::Users, Command::Finish]).unwrap();
    let events: Vec<Event> = engine.events().iter().collect();
    assert!(
        matches!(events.last(), Some(Event::Ended(Ok(())))),
        "{events:?}"
    );
    let count = |wanted: fn(&Event) -> bool| events.iter().filter(|event| wanted(event)).count();
    assert_eq!(count(|event| matches!(event, Event::Welcome { .. })), 1);
    assert_eq!(
        count(|event| matches!(event, Event::FirstContact { .. })),
        1
    );
    assert_eq!(count(|event| matches!(event, Event::Users(_))), 1);
    let known = std::fs::read_to_string(state.path().join("known_servers")).unwrap();
    assert_eq!(known.lines().count(), 1, "{known}");
    assert!(way.came() > 1);
    let script = server.script();
    assert_eq!(script.greeted, 1, "of {} connections", script.accepted);
}

#[test]
fn one_connection_is_enough_where_nothing_is_lost() {
    for encrypted in [false, true] {
        let server = Scripted::start(sharing(&[]), encrypted);
        let way = Swallowing::start(&server, 0);
        let config = config(&way, Arc::new(MemoryStorage::dropping()));
        let engine = Engine::start(config, vec![Command::Users, Command::Finish]).unwrap();
        let events: Vec<Event> = engine.events().iter().collect();
        assert!(
            matches!(events.last(), Some(Event::Ended(Ok(())))),
            "{events:?}"
        );
        assert_eq!((way.came(), server.script().greeted), (1, 1));
    }
}
