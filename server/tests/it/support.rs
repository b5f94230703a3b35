//! A client for tests: real sockets, one thread, frames as they come.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use columba_core::control::{
    ControlError, Frame, FrameDecoder, Framing, Hello, PROTOCOL_VERSION, Purpose, Side,
    agreed_cipher, features_here,
};
use columba_core::protection::Cipher;
use columba_net::control_stream::{ControlStream, ReadStop};
use columba_net::identity::Identity;
use columba_net::tls::{PinCheck, client_config};
use columba_server::config::Config;
use columba_server::{Server, ServerHandle};
use mio::{Events, Interest, Poll, Token};

/// A test that hangs shall fail rather than hang. Far beyond anything that is measured.
const HANG: Duration = Duration::from_secs(60);

/// TLS or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Tls,
    Plaintext,
}

pub(crate) const MODES: [Mode; 2] = [Mode::Tls, Mode::Plaintext];

/// A server with a shared folder.
pub(crate) struct Rig {
    pub(crate) share: tempfile::TempDir,
    pub(crate) server: ServerHandle,
    pub(crate) mode: Mode,
    /// What seals packets where it is TLS.
    pub(crate) cipher: Cipher,
}

impl Rig {
    pub(crate) fn new(mode: Mode) -> Self {
        Self::with(mode, |_| {})
    }

    pub(crate) fn with(mode: Mode, change: impl FnOnce(&mut Config)) -> Self {
        let share = tempfile::tempdir().expect("a temporary folder");
        let mut config = Config::for_tests(share.path());
        config.plaintext = mode == Mode::Plaintext;
        change(&mut config);
        let offered = config.cipher.features();
        let server = Server::spawn(&config).expect("the server starts");
        Self {
            share,
            server,
            mode,
            cipher: agreed_cipher(offered, features_here()),
        }
    }

    pub(crate) fn share(&self) -> &Path {
        self.share.path()
    }

    /// A connection that has said nothing yet.
    pub(crate) fn connect(&self) -> TestClient {
        self.connect_as(&Identity::generate().expect("randomness"))
    }

    pub(crate) fn connect_as(&self, identity: &Identity) -> TestClient {
        TestClient::connect(self.server.address(), self.mode, identity)
    }

    /// A user in the chat.
    pub(crate) fn join(&self, name: &str) -> TestClient {
        self.join_as(name, &Identity::generate().expect("randomness"))
    }

    pub(crate) fn join_as(&self, name: &str, identity: &Identity) -> TestClient {
        let mut client = self.connect_as(identity);
        client.hello(Purpose::Chat, name, "");
        client.expect_welcome();
        client
    }

    /// A client beside the chat.
    pub(crate) fn headless(&self) -> TestClient {
        let mut client = self.connect();
        client.hello(Purpose::Headless, "", "");
        client.expect_welcome();
        client
    }
}

pub(crate) struct TestClient {
    poll: Poll,
    events: Events,
    pub(crate) stream: ControlStream,
    decoder: FrameDecoder,
    framing: Framing,
    ended: bool,
}

impl TestClient {
    pub(crate) fn connect(address: SocketAddr, mode: Mode, identity: &Identity) -> Self {
        let tcp = mio::net::TcpStream::connect(address).expect("a socket");
        let (mut stream, framing) = match mode {
            Mode::Plaintext => (ControlStream::plaintext(tcp, 8 << 20), Framing::Plaintext),
            Mode::Tls => {
                let config = client_config(identity, PinCheck::AcceptAndReport).expect("TLS");
                let mut stream = ControlStream::tls_client(tcp, &config, 8 << 20).expect("TLS");
                stream.trust_peer();
                (stream, Framing::Tls)
            }
        };
        let poll = Poll::new().expect("a poll");
        poll.registry()
            .register(
                &mut stream,
                Token(0),
                Interest::READABLE | Interest::WRITABLE,
            )
            .expect("registered");
        let decoder = FrameDecoder::new(framing, Side::Server);
        Self {
            poll,
            events: Events::with_capacity(8),
            stream,
            decoder,
            framing,
            ended: false,
        }
    }

    pub(crate) fn hello(&mut self, purpose: Purpose, name: &str, password: &str) {
        self.send(&Frame::Hello(Hello {
            version: PROTOCOL_VERSION,
            features: features_here(),
            purpose,
            name,
            password,
            software: "test",
            returns: None,
        }));
    }

    pub(crate) fn encode(&self, frame: &Frame<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        frame
            .encode(self.framing, &mut out)
            .expect("the frame fits");
        out
    }

    pub(crate) fn send(&mut self, frame: &Frame<'_>) {
        let bytes = self.encode(frame);
        self.send_bytes(&bytes);
    }

    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream
            .queue(Bytes::copy_from_slice(bytes))
            .expect("there is room");
        self.flush();
    }

    fn flush(&mut self) {
        while self.stream.wants_write() {
            match self.stream.flush() {
                Ok(columba_net::control_stream::Flush::Drained) => {}
                // The rest goes with the next event.
                Ok(_) | Err(_) => return,
            }
        }
    }

    /// The first frame that `look` wants; others are passed by. `None` when the server ended the connection.
    pub(crate) fn find<T>(&mut self, mut look: impl FnMut(&Frame<'_>) -> Option<T>) -> Option<T> {
        loop {
            while let Some(frame) = self
                .decoder
                .next_frame()
                .expect("the server's frames are good")
            {
                if let Some(found) = look(&frame) {
                    return Some(found);
                }
            }
            if self.ended {
                return None;
            }
            self.read();
        }
    }

    pub(crate) fn expect<T>(&mut self, look: impl FnMut(&Frame<'_>) -> Option<T>) -> T {
        self.find(look).expect("the connection goes on")
    }

    fn read(&mut self) {
        loop {
            self.flush();
            match self.stream.read(self.decoder.sink(), 1 << 20) {
                Ok(outcome)
                    if matches!(outcome.stop, ReadStop::PeerClosed | ReadStop::Truncated) =>
                {
                    self.ended = true;
                    return;
                }
                Ok(outcome) if outcome.bytes > 0 => return self.flush(),
                Ok(_) => {}
                // Not connected yet.
                Err(columba_net::control_stream::ControlError::Io(error))
                    if error.kind() == std::io::ErrorKind::NotConnected => {}
                Err(_) => {
                    self.ended = true;
                    return;
                }
            }
            self.flush();
            match self.poll.poll(&mut self.events, Some(HANG)) {
                Ok(()) => assert!(!self.events.is_empty(), "nothing happens any more"),
                // Tests of signals run in this process too.
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => panic!("the poll fails: {error}"),
            }
        }
    }

    pub(crate) fn expect_welcome(&mut self) -> (String, u64) {
        self.expect(|frame| match frame {
            Frame::Welcome(welcome) => Some((welcome.name.to_owned(), welcome.sequence)),
            Frame::Error(error) => panic!("{error:?}"),
            _ => None,
        })
    }

    /// The next error: its code, whether it is fatal, its text.
    pub(crate) fn expect_error(&mut self) -> (ControlError, bool, String) {
        self.expect(|frame| match frame {
            Frame::Error(error) => Some((error.code, error.fatal, error.text.to_owned())),
            _ => None,
        })
    }

    /// The last words, and then the end.
    pub(crate) fn expect_end(&mut self) -> ControlError {
        let (code, fatal, text) = self.expect_error();
        assert!(fatal, "{code:?} {text}");
        assert_eq!(self.find(|_| None::<()>), None, "the connection ends");
        code
    }

    /// The next message: number, sender, text.
    pub(crate) fn expect_message(&mut self) -> (u64, String, String) {
        self.expect(|frame| match frame {
            Frame::Message(message) => Some((
                message.sequence,
                message.from.to_owned(),
                message.text.to_owned(),
            )),
            Frame::Error(error) => panic!("{error:?}"),
            _ => None,
        })
    }

    pub(crate) fn say(&mut self, text: &str) {
        self.send(&Frame::Say { text });
    }

    /// Everybody in the chat.
    pub(crate) fn users(&mut self) -> Vec<String> {
        self.send(&Frame::Users);
        let mut all = Vec::new();
        self.expect(|frame| match frame {
            Frame::UserList { last, names } => {
                all.extend(names.iter().map(|&name| name.to_owned()));
                last.then_some(())
            }
            _ => None,
        });
        all
    }

    /// Goes on until the server has handled everything that was sent before.
    pub(crate) fn settle(&mut self) {
        self.send(&Frame::Ping {
            from: Side::Client,
            nonce: 77,
        });
        self.expect(|frame| matches!(frame, Frame::Pong { nonce: 77, .. }).then_some(()));
    }

    /// One counter of the server's report.
    pub(crate) fn counter(&mut self, path: &[&str]) -> u64 {
        self.send(&Frame::Stats);
        self.expect(|frame| match frame {
            Frame::StatsReport { json } => {
                let report: serde_json::Value = serde_json::from_str(json).expect("JSON");
                let value = path.iter().fold(&report, |value, key| &value[*key]);
                Some(
                    value
                        .as_u64()
                        .unwrap_or_else(|| panic!("{path:?} in {report}")),
                )
            }
            _ => None,
        })
    }
}
