//! The engine as a window uses it, with the real server: batches, pauses, restarts, blocked UDP.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use columba_client::engine::message::{
    Command, EngineConfig, Event, FileReport, GetEvent, GetPhase, GetProgress,
};
use columba_client::engine::{CommandSender, Engine};
use columba_client::storage::memory::MemoryStorage;
use columba_core::control::ControlError;
use columba_core::stats::LimitedBy;
use columba_loss_sim::proxy::{Proxy, ProxyConfig};
use columba_net::identity::Fingerprint;
use columba_server::config::Config;
use columba_server::{Server, ServerHandle};

use super::support::{Target, config, content, on_disk, tree};

const MIB: usize = 1 << 20;

/// An engine and the events it has told.
struct Window {
    commands: CommandSender,
    batches: Receiver<Vec<Event>>,
    waiting: VecDeque<Event>,
    thread: JoinHandle<()>,
}

impl Window {
    fn open(config: EngineConfig, first: Vec<Command>) -> Self {
        let (told, batches) = sync_channel(4);
        let every = Duration::from_millis(100);
        let (commands, thread) = Engine::start_batched(config, first, told, every).unwrap();
        Self {
            commands,
            batches,
            waiting: VecDeque::new(),
            thread,
        }
    }

    fn send(&self, command: Command) {
        self.commands.send(command).unwrap();
    }

    fn next(&mut self) -> Event {
        while self.waiting.is_empty() {
            let batch = self.batches.recv().expect("the engine tells its end");
            assert!(!batch.is_empty());
            self.waiting.extend(batch);
        }
        self.waiting.pop_front().unwrap()
    }

    /// The first event that `wanted` makes something of.
    fn until<T>(&mut self, wanted: impl Fn(&Event) -> Option<T>) -> T {
        loop {
            let event = self.next();
            if let Some(found) = wanted(&event) {
                return found;
            }
            assert!(!matches!(event, Event::Ended(_)), "{event:?}");
        }
    }

    fn until_up(&mut self, wanted_again: bool) {
        self.until(|event| match event {
            Event::Welcome { again, .. } => (*again == wanted_again).then_some(()),
            _ => None,
        });
    }

    fn progress(&mut self, wanted: impl Fn(&GetProgress) -> bool) -> GetProgress {
        self.until(|event| match event {
            Event::Get {
                event: GetEvent::Progress(progress),
                ..
            } => wanted(progress).then(|| progress.clone()),
            _ => None,
        })
    }

    fn done(&mut self) -> FileReport {
        self.until(|event| match event {
            Event::Get {
                event: GetEvent::Done(report),
                ..
            } => Some(report.clone()),
            _ => None,
        })
    }

    fn finished(&mut self) {
        self.until(|event| {
            let finished = matches!(
                event,
                Event::Get {
                    event: GetEvent::Finished,
                    ..
                }
            );
            finished.then_some(())
        });
    }

    /// Messages to everybody up to this text.
    fn said_until(&mut self, last: &str) -> Vec<(u64, String)> {
        let mut said = Vec::new();
        loop {
            let (sequence, text) = self.until(|event| match event {
                Event::Message { sequence, text, .. } => Some((*sequence, text.clone())),
                _ => None,
            });
            said.push((sequence, text.clone()));
            if text == last {
                return said;
            }
        }
    }

    fn stop(mut self) {
        self.send(Command::Stop);
        while !matches!(self.next(), Event::Ended(_)) {}
        self.thread.join().unwrap();
    }
}

struct Place {
    share: tempfile::TempDir,
    state: tempfile::TempDir,
    address: SocketAddr,
    fingerprint: Option<Fingerprint>,
    server: Option<ServerHandle>,
}

impl Target for Place {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn fingerprint(&self) -> Option<Fingerprint> {
        self.fingerprint
    }
}

impl Place {
    fn sharing(files: &[(&str, &Arc<Vec<u8>>)]) -> Self {
        let share = tempfile::tempdir().unwrap();
        for (name, data) in files {
            let path = share.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, &***data).unwrap();
        }
        let mut place = Self {
            share,
            state: tempfile::tempdir().unwrap(),
            address: (std::net::Ipv4Addr::LOCALHOST, 0).into(),
            fingerprint: None,
            server: None,
        };
        place.start();
        place
    }

    /// Starts the server, where it was before.
    fn start(&mut self) {
        let mut config = Config::for_tests(self.share.path());
        config.listen = self.address;
        config.state_dir = Some(self.state.path().to_path_buf());
        let server = Server::spawn(&config).unwrap();
        self.address = server.address();
        self.fingerprint = server.fingerprint().parse().ok();
        self.server = Some(server);
    }

    fn stop(&mut self) {
        self.server.take().unwrap().stop().unwrap();
    }

    fn join(&self, at: SocketAddr, name: &str) -> Window {
        let mut config = config(self, Arc::new(MemoryStorage::dropping()));
        config.server.port = at.port();
        config.name = Some(name.to_owned());
        config.reconnect = true;
        let mut window = Window::open(config, Vec::new());
        window.until_up(false);
        window
    }
}

fn get(request: u32, names: &[&str]) -> Command {
    Command::Get {
        request,
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        target: None,
        folder: None,
        roots: Vec::new(),
    }
}

/// Slow enough to be stopped on the way.
fn slowly(place: &Place, folder: &Path, bytes_per_second: u64) -> EngineConfig {
    let mut config = config(place, on_disk(folder));
    config.transfer.rate_limit = bytes_per_second;
    config
}

fn names(folder: &Path) -> Vec<PathBuf> {
    tree(folder).into_iter().map(|(name, _)| name).collect()
}

#[test]
fn a_pause_keeps_what_is_here_and_the_rest_follows() {
    let data = content(24 * MIB, 3);
    let place = Place::sharing(&[("a", &data)]);
    let folder = tempfile::tempdir().unwrap();
    let config = slowly(&place, folder.path(), 12 << 20);
    let mut window = Window::open(config.clone(), vec![get(1, &["a"])]);
    window.progress(|now| now.phase == GetPhase::Active && now.done_bytes > 4 << 20);
    window.send(Command::Pause { request: 1 });
    let paused = window.progress(|now| now.phase == GetPhase::Paused);
    assert!(paused.done_bytes < 24 << 20, "{paused:?}");
    // Another engine may go on, too: nothing is lost with this one.
    let settled = window.progress_when_settled(folder.path());
    assert!(settled >= 2 << 20, "{settled}");
    window.send(Command::Resume { request: 1 });
    let report = window.done();
    assert!(report.resumed_bytes >= 2 << 20, "{report:?}");
    window.finished();
    window.stop();
    let there = tree(folder.path());
    assert_eq!(there.len(), 1);
    assert!(there[0].1 == *data);
}

impl Window {
    /// Waits until the paused file's map is on the disk; returns the bytes that another run would find.
    fn progress_when_settled(&mut self, folder: &Path) -> u64 {
        let map = folder.join("a.part.columba");
        loop {
            if let Ok(meta) = map.metadata() {
                // 32 bytes for each segment, behind the header and before the digest.
                let segments = (meta.len().saturating_sub(32 + 32 + 3)) / 32;
                return segments << 20;
            }
            std::thread::yield_now();
        }
    }
}

#[test]
fn a_download_that_is_given_up_leaves_what_was_asked_for() {
    let data = content(24 * MIB, 4);
    let place = Place::sharing(&[("a", &data), ("b", &content(100, 5))]);
    for keep in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let config = slowly(&place, folder.path(), 12 << 20);
        let mut window = Window::open(config, vec![get(7, &["a"])]);
        window.progress(|now| now.done_bytes > 3 << 20);
        window.send(Command::Cancel { request: 7, keep });
        window.finished();
        // The engine goes on with other things.
        window.send(get(8, &["b"]));
        window.done();
        window.stop();
        let expected: &[&str] = if keep {
            &["a.part", "a.part.columba", "b"]
        } else {
            &["b"]
        };
        let expected: Vec<PathBuf> = expected.iter().map(PathBuf::from).collect();
        assert_eq!(names(folder.path()), expected);
    }
}

#[test]
fn a_get_may_have_a_folder_of_its_own_and_single_files_of_a_tree() {
    let data = content(2 * MIB, 6);
    let place = Place::sharing(&[("x/tree/one", &data), ("x/tree/two", &content(10, 7))]);
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let command = Command::Get {
        request: 1,
        names: vec!["x/tree/one".to_owned()],
        target: None,
        folder: Some(other.path().to_path_buf()),
        roots: vec!["x/tree".to_owned()],
    };
    let mut window = Window::open(config(&place, on_disk(folder.path())), vec![command]);
    let report = window.done();
    assert_eq!(report.target, other.path().join("tree/one"));
    window.stop();
    assert!(names(folder.path()).is_empty());
}

#[test]
fn the_server_says_what_bounds_the_speed() {
    let data = content(24 * MIB, 8);
    let place = Place::sharing(&[("a", &data)]);
    let mut config = config(&place, Arc::new(MemoryStorage::dropping()));
    config.transfer.rate_limit = 6 << 20;
    let mut window = Window::open(config, vec![get(1, &["a"])]);
    let sample = window.until(|event| match event {
        Event::Network(sample) if sample.sender.is_some() => Some(*sample),
        _ => None,
    });
    let report = sample.sender.unwrap();
    let (by, _) = report.mostly_limited_by().unwrap();
    assert_eq!(by, LimitedBy::ClientLimit, "{report:?}");
    assert!(
        sample.new_bytes > 0 && sample.credit_bytes > 0,
        "{sample:?}"
    );
    assert!(sample.rtt_percentiles_us[6] > 0, "{sample:?}");
    assert!(report.cwnd > 0 && report.datagram_bytes > 0, "{report:?}");
    window.stop();
}

#[test]
fn nothing_is_lost_while_the_connection_is() {
    let place = Place::sharing(&[]);
    let proxy = Proxy::spawn(&ProxyConfig::new(place.address)).unwrap();
    let relay = proxy.address();
    let mut alice = place.join(relay, "alice");
    let mut bob = place.join(place.address, "bob");
    bob.send(Command::Say("one".to_owned()));
    assert_eq!(alice.said_until("one"), [(1, "one".to_owned())]);
    proxy.stop().unwrap();
    alice.until(|event| matches!(event, Event::Reconnecting { .. }).then_some(()));
    for text in ["two", "three"] {
        bob.send(Command::Say(text.to_owned()));
    }
    bob.said_until("three");
    let delay = alice.until(|event| match event {
        Event::NextAttempt { delay, .. } => Some(*delay),
        _ => None,
    });
    assert!(delay >= Duration::from_secs(1), "{delay:?}");
    let mut path = ProxyConfig::new(place.address);
    path.listen = relay;
    let proxy = Proxy::spawn(&path).unwrap();
    alice.send(Command::ConnectNow);
    alice.until_up(true);
    bob.send(Command::Say("four".to_owned()));
    let expected = [(2, "two"), (3, "three"), (4, "four")];
    assert_eq!(
        alice.said_until("four"),
        expected.map(|(sequence, text)| (sequence, text.to_owned()))
    );
    alice.stop();
    bob.stop();
    drop(proxy);
}

#[test]
fn a_restarted_server_is_found_again() {
    let mut place = Place::sharing(&[]);
    let mut alice = place.join(place.address, "alice");
    alice.send(Command::Say("before".to_owned()));
    alice.said_until("before");
    place.stop();
    alice.until(|event| match event {
        Event::Denied { code, .. } => (*code == ControlError::ShuttingDown).then_some(()),
        _ => None,
    });
    alice.until(|event| matches!(event, Event::Reconnecting { .. }).then_some(()));
    // What is typed meanwhile waits.
    alice.send(Command::Say("held".to_owned()));
    alice.until(|event| matches!(event, Event::NextAttempt { .. }).then_some(()));
    place.start();
    let mut bob = place.join(place.address, "bob");
    bob.send(Command::Say("while away".to_owned()));
    bob.said_until("while away");
    alice.send(Command::ConnectNow);
    // She may have come back before or after he spoke; she hears it in either case.
    let mut texts = vec!["held", "while away"];
    while let Some(last) = texts.pop() {
        let said = alice.said_until(last);
        texts.retain(|text| said.iter().all(|(_, heard)| heard != text));
    }
    alice.stop();
    bob.stop();
}

#[test]
fn blocked_udp_is_told_and_so_is_its_end() {
    let data = content(MIB, 9);
    let place = Place::sharing(&[("a", &data)]);
    let mut path = ProxyConfig::new(place.address);
    path.up.loss = 1.0;
    let proxy = Proxy::spawn(&path).unwrap();
    let mut config = config(&place, Arc::new(MemoryStorage::dropping()));
    config.server.port = proxy.address().port();
    config.connect_for = Duration::from_secs(60);
    let mut window = Window::open(config, vec![get(1, &["a"])]);
    let udp = |event: &Event| match event {
        Event::Udp { blocked } => Some(*blocked),
        _ => None,
    };
    assert!(window.until(udp));
    let open = BTreeMap::from([("up-loss".to_owned(), "off".to_owned())]);
    proxy.change(open).unwrap();
    assert!(!window.until(udp));
    window.done();
    window.stop();
}

#[test]
fn an_engine_without_a_window_ends() {
    let place = Place::sharing(&[]);
    let mut window = place.join(place.address, "alice");
    let (unused, nothing) = sync_channel(1);
    drop(unused);
    window.batches = nothing;
    // Whatever it tells next finds nobody.
    let _ = window.commands.send(Command::Users);
    window.thread.join().unwrap();
}
