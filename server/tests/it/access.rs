//! Who is let in, and what the operator can do.

use columba_core::control::{ControlError, Purpose};
use columba_net::identity::Identity;

use crate::support::{MODES, Mode, Rig};

#[test]
fn a_password_is_asked_for() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("password");
    std::fs::write(&path, "open sesame\n").expect("writable");
    for mode in MODES {
        let rig = Rig::with(mode, |config| config.password_file = Some(path.clone()));
        for (purpose, name) in [(Purpose::Chat, "alice"), (Purpose::Headless, "")] {
            for wrong in ["", "open barley"] {
                let mut client = rig.connect();
                client.hello(purpose, name, wrong);
                assert_eq!(client.expect_end(), ControlError::Password);
            }
            let mut client = rig.connect();
            client.hello(purpose, name, "open sesame");
            client.expect_welcome();
        }
    }
}

#[test]
fn only_listed_keys_are_let_in() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("keys");
    let friend = Identity::generate().expect("randomness");
    std::fs::write(&path, format!("{} a friend\n", friend.fingerprint())).expect("writable");
    let rig = Rig::with(Mode::Tls, |config| config.authorized_keys = Some(path));
    rig.join_as("friend", &friend);
    let mut stranger = rig.connect();
    stranger.hello(Purpose::Headless, "", "");
    assert_eq!(stranger.expect_end(), ControlError::KeyNotAuthorized);
}

#[test]
fn a_full_server_says_so() {
    let rig = Rig::with(Mode::Tls, |config| config.max_clients = 2);
    let (mut alice, _bob) = (rig.join("alice"), rig.join("bob"));
    let mut third = rig.connect();
    third.hello(Purpose::Chat, "carol", "");
    assert_eq!(third.expect_end(), ControlError::ServerFull);
    drop(third);
    assert_eq!(alice.users(), ["alice", "bob"]);
}

#[cfg(unix)]
#[test]
fn the_operator_kicks_bans_and_frees_names() {
    use std::io::{Read, Write};
    let state = tempfile::tempdir().expect("a temporary folder");
    let socket = state.path().join("admin.sock");
    let rig = Rig::with(Mode::Tls, |config| {
        config.state_dir = Some(state.path().to_owned());
        config.admin_socket = Some(socket.clone());
    });
    let ask = |line: &str| {
        let mut stream =
            std::os::unix::net::UnixStream::connect(&socket).expect("the socket is there");
        stream
            .write_all(format!("{line}\n").as_bytes())
            .expect("it listens");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        answer
    };
    let key = Identity::generate().expect("randomness");
    let mut alice = rig.join_as("alice", &key);
    assert_eq!(ask("names"), format!("{} alice\n", key.fingerprint()));
    assert!(ask("kick nobody").starts_with("error: "));
    assert!(ask("dance").starts_with("error: "));
    assert_eq!(ask("kick alice"), "alice was disconnected\n");
    assert_eq!(alice.expect_end(), ControlError::KeyNotAuthorized);
    let mut alice = rig.join_as("alice", &key);
    assert_eq!(ask("ban alice"), "alice was banned\n");
    assert_eq!(alice.expect_end(), ControlError::KeyNotAuthorized);
    let mut again = rig.connect_as(&key);
    again.hello(Purpose::Headless, "", "");
    assert_eq!(again.expect_end(), ControlError::KeyNotAuthorized);
    assert_eq!(ask("forget alice"), "the name alice is free\n");
    rig.join("alice");
}

#[test]
fn metrics_are_served_as_text() {
    use std::io::{Read, Write};
    // The port is not told, so the test asks the kernel for a free one first.
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a port");
    let rig = Rig::with(Mode::Tls, |config| config.metrics = Some(free));
    let _alice = rig.join("alice");
    let mut stream = std::net::TcpStream::connect(free).expect("it listens");
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        .expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("\ncolumba_users 1\n"), "{answer}");
}
