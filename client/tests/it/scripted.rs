//! A small server whose misbehaviour is scripted: the real control protocol, the real core, one
//! thread.

mod share;

use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use columba_client::storage::verify::segment_value;
use columba_core::congestion::Algorithm;
use columba_core::control::{
    ControlError, ErrorFrame, FEATURES, FileEntry, Frame, FrameDecoder, Framing, Grant, Message,
    OfferEntry, PROTOCOL_VERSION, Purpose, Side, Welcome, Whispered, pages,
};
use columba_core::endpoint::{Endpoint, ServerEvent};
use columba_core::layout::SegmentRange;
use columba_core::limits::{CELL_BYTES_V4, MAX_DATAGRAM_BYTES, MAX_TRAIN_BYTES};
use columba_core::protection::{Cipher, Secrets};
use columba_core::server::association::{AssociationConfig, Policy};
use columba_core::server::source::SourceKey;
use columba_core::units::Timestamp;
use columba_net::clock::Clock;
use columba_net::control_stream::{ControlStream, ReadStop};
use columba_net::identity::Identity;
use columba_net::socket::{BindAddress, bind_pair};
use columba_net::tls::{ServerTls, server_config};
use columba_net::udp::{RecvBatch, SendTrain, UdpOptions, UdpSocket};
use mio::{Events, Interest, Poll, Token, Waker};

use share::{OpenFile, Share};

const LISTENER: Token = Token(0);
const UDP: Token = Token(1);
const WAKER: Token = Token(2);
const FIRST_CLIENT: usize = 3;
/// How often a stalled file is tried again.
const STALL_CHECK: Duration = Duration::from_millis(5);

/// What the server shares and how it misbehaves.
#[derive(Default)]
pub struct Script {
    /// Name and content.
    pub files: BTreeMap<String, Arc<Vec<u8>>>,
    /// Offered under another name than asked for.
    pub lies: HashMap<String, String>,
    /// So many reads of this byte of the file are wrong.
    pub corrupt: HashMap<(String, u64), u32>,
    /// Reading this byte ends the stream as changed, and the file has this content then.
    pub change: Vec<(String, u64, Arc<Vec<u8>>)>,
    /// This byte of every file is never there, so those behind it do not come either.
    pub stall_at: Option<u64>,
    /// The control connection is cut when this byte of a file is read, once.
    pub cut_at: Option<u64>,
    /// Every n-th datagram is lost.
    pub drop_nth: u64,
    /// Hello is refused with this.
    pub refuse: Option<ControlError>,
    /// Nothing is received over UDP.
    pub deaf: bool,
    /// Streams that clients confirmed as stored.
    pub confirmed: u64,
    /// File bytes read to be sent.
    pub read_bytes: u64,
    /// Connections accepted so far.
    pub accepted: u64,
    /// Hellos heard so far.
    pub greeted: u64,
}

/// A running server. Dropping it stops it.
pub struct Scripted {
    pub address: SocketAddr,
    pub fingerprint: Option<columba_net::identity::Fingerprint>,
    script: Arc<Mutex<Script>>,
    stop: Arc<AtomicBool>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
}

impl Scripted {
    pub fn start(script: Script, encrypted: bool) -> Self {
        let identity = encrypted.then(|| Identity::generate().unwrap());
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let pair = bind_pair(BindAddress::Exactly(loopback), &UdpOptions::default()).unwrap();
        let poll = Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), WAKER).unwrap());
        let (script, stop) = (
            Arc::new(Mutex::new(script)),
            Arc::new(AtomicBool::new(false)),
        );
        let address = pair.local_addr();
        let clock = Clock::new();
        let mut server = Server {
            poll,
            listener: pair.tcp,
            udp: pair.udp,
            clock,
            tls: identity
                .as_ref()
                .map(|identity| server_config(identity).unwrap()),
            endpoint: Endpoint::new(clock.now(), 64),
            share: Share {
                script: Arc::clone(&script),
                open: Vec::new(),
                scratch: Vec::new(),
                cut: false,
            },
            clients: HashMap::new(),
            next_client: FIRST_CLIENT,
            next_association: 1,
            sequence: 0,
            sent: 0,
            buffer: vec![0; MAX_TRAIN_BYTES],
            batch: RecvBatch::new(),
        };
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || server.run(&stopped));
        Self {
            address,
            fingerprint: identity.map(|identity| identity.fingerprint()),
            script,
            stop,
            waker,
            thread: Some(thread),
        }
    }

    pub fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap()
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.waker.wake().unwrap();
        let ended = self.thread.take().unwrap().join();
        if !std::thread::panicking() {
            ended.unwrap();
        }
    }
}

struct Client {
    stream: ControlStream,
    decoder: FrameDecoder,
    framing: Framing,
    name: String,
    purpose: Purpose,
    association: Option<u32>,
}

struct Server {
    poll: Poll,
    listener: mio::net::TcpListener,
    udp: UdpSocket,
    clock: Clock,
    tls: Option<ServerTls>,
    endpoint: Endpoint,
    share: Share,
    clients: HashMap<usize, Client>,
    next_client: usize,
    next_association: u32,
    sequence: u64,
    sent: u64,
    buffer: Vec<u8>,
    batch: RecvBatch,
}

impl Server {
    fn run(&mut self, stop: &AtomicBool) {
        let interests = Interest::READABLE | Interest::WRITABLE;
        let registry = self.poll.registry();
        registry
            .register(&mut self.listener, LISTENER, Interest::READABLE)
            .unwrap();
        registry.register(&mut self.udp, UDP, interests).unwrap();
        let mut events = Events::with_capacity(256);
        while !stop.load(Ordering::Relaxed) {
            let now = self.clock.now();
            self.accept();
            self.receive(now);
            if self.endpoint.poll_timeout().is_some_and(|at| at <= now) {
                self.endpoint.handle_timeout(now);
            }
            let mut tokens: Vec<usize> = self.clients.keys().copied().collect();
            tokens.sort_unstable();
            for token in tokens {
                self.serve(now, token);
            }
            let more = self.transmit(now);
            while let Some(event) = self.endpoint.poll_event() {
                if let ServerEvent::StreamConfirmed { status: 0, .. } = event {
                    self.share.script.lock().unwrap().confirmed += 1;
                }
            }
            if std::mem::take(&mut self.share.cut) {
                self.clients.clear();
            }
            let next = self.endpoint.poll_timeout();
            let wait = next.map(|at| at.saturating_duration_since(self.clock.now()));
            let mut wait = if more { Some(Duration::ZERO) } else { wait };
            let stalled = self.share.script.lock().unwrap().stall_at.is_some();
            if stalled {
                // What was lost before the stall must still be sent again.
                self.wake_all(now);
                wait = Some(wait.map_or(STALL_CHECK, |wait| wait.min(STALL_CHECK)));
            }
            let _ = self.poll.poll(&mut events, wait);
        }
    }

    fn wake_all(&mut self, now: Timestamp) {
        for association in 1..self.next_association {
            for key in 0..self.share.open.len() as u64 {
                self.endpoint.source_ready(now, association, SourceKey(key));
            }
        }
    }

    fn accept(&mut self) {
        while let Ok((tcp, _)) = self.listener.accept() {
            let mut stream = match &self.tls {
                Some(tls) => ControlStream::tls_server(tcp, tls, 64 << 20).unwrap(),
                None => ControlStream::plaintext(tcp, 64 << 20),
            };
            let framing = if self.tls.is_some() {
                Framing::Tls
            } else {
                Framing::Plaintext
            };
            let token = self.next_client;
            self.next_client += 1;
            self.share.script.lock().unwrap().accepted += 1;
            self.poll
                .registry()
                .register(
                    &mut stream,
                    Token(token),
                    Interest::READABLE | Interest::WRITABLE,
                )
                .unwrap();
            let client = Client {
                stream,
                decoder: FrameDecoder::new(framing, Side::Client),
                framing,
                name: String::new(),
                purpose: Purpose::Headless,
                association: None,
            };
            self.clients.insert(token, client);
        }
    }

    fn receive(&mut self, now: Timestamp) {
        while self.udp.recv(&mut self.batch).is_ok() {
            if self.share.script.lock().unwrap().deaf {
                continue;
            }
            for train in self.batch.iter_mut() {
                for datagram in train.data.chunks_mut(train.segment_bytes) {
                    self.endpoint
                        .handle_datagram(now, train.from, train.ecn, datagram);
                }
            }
        }
    }

    /// Sends some trains; whether there may be more.
    fn transmit(&mut self, now: Timestamp) -> bool {
        let drop_nth = self.share.script.lock().unwrap().drop_nth;
        for _ in 0..16 {
            let Some(outgoing) =
                self.endpoint
                    .poll_transmit(now, &mut self.share, &mut self.buffer)
            else {
                return false;
            };
            for datagram in self.buffer[..outgoing.bytes].chunks(outgoing.segment_bytes) {
                self.sent += 1;
                if drop_nth > 0 && self.sent.is_multiple_of(drop_nth) {
                    continue;
                }
                let train = SendTrain {
                    to: outgoing.to,
                    segment_bytes: datagram.len(),
                    data: datagram,
                    ecn: None,
                };
                // What the kernel does not take is lost, as on any path.
                let _ = self.udp.send(&train);
            }
        }
        self.endpoint.has_ready()
    }

    fn serve(&mut self, now: Timestamp, token: usize) {
        let Some(mut client) = self.clients.remove(&token) else {
            return;
        };
        let closed = match client.stream.read(client.decoder.sink(), 1 << 20) {
            Ok(outcome) => matches!(outcome.stop, ReadStop::PeerClosed | ReadStop::Truncated),
            Err(_) => true,
        };
        let mut replies = Vec::new();
        let mut says = Vec::new();
        let mut decoder = std::mem::replace(
            &mut client.decoder,
            FrameDecoder::new(client.framing, Side::Client),
        );
        let mut alive = !closed;
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => {
                    alive &= self.on_frame(now, &mut client, &frame, &mut replies, &mut says);
                }
                Ok(None) => break,
                Err(_) => {
                    alive = false;
                    break;
                }
            }
        }
        client.decoder = decoder;
        for reply in replies {
            client.stream.queue(Bytes::from(reply)).unwrap();
        }
        let _ = client.stream.flush();
        if alive {
            self.clients.insert(token, client);
        } else {
            client.stream.close();
            let _ = client.stream.flush();
        }
        for message in says {
            for (other, client) in &mut self.clients {
                if *other != token && client.purpose == Purpose::Chat {
                    client.stream.queue(Bytes::from(message.clone())).unwrap();
                    let _ = client.stream.flush();
                }
            }
        }
    }

    /// Answers one frame; false to hang up.
    fn on_frame(
        &mut self,
        now: Timestamp,
        client: &mut Client,
        frame: &Frame<'_>,
        replies: &mut Vec<Vec<u8>>,
        says: &mut Vec<Vec<u8>>,
    ) -> bool {
        let framing = client.framing;
        let mut reply = |frame: Frame<'_>| {
            let mut bytes = Vec::new();
            frame.encode(framing, &mut bytes).unwrap();
            replies.push(bytes);
        };
        match frame {
            Frame::Hello(hello) => {
                self.share.script.lock().unwrap().greeted += 1;
                if let Some(code) = self.share.script.lock().unwrap().refuse {
                    reply(error(code, true, 0, "refused by the script"));
                    return false;
                }
                client.name = hello.name.to_owned();
                client.purpose = hello.purpose;
                reply(Frame::Welcome(Welcome {
                    version: PROTOCOL_VERSION,
                    features: FEATURES,
                    software: "scripted",
                    name: hello.name,
                    sequence: self.sequence,
                    time_ms: 1,
                    history: None,
                }));
            }
            Frame::Open(open) => {
                let grant = self.open(now, client, open.max_datagram);
                reply(Frame::Grant(grant));
            }
            Frame::Get { request, names } => {
                let mut found = Vec::new();
                for name in names {
                    let offers = self.offers(name);
                    if offers.is_empty() {
                        let text = format!("there is no file {name}");
                        reply(error(ControlError::NoSuchFile, false, *request, &text));
                    }
                    found.extend(offers);
                }
                let entries: Vec<OfferEntry<'_>> = found
                    .iter()
                    .map(|(file, name, size, version)| OfferEntry {
                        file: *file,
                        name,
                        size: *size,
                        version: *version,
                    })
                    .collect();
                for (page, last) in pages(&entries) {
                    reply(Frame::Offer {
                        request: *request,
                        last,
                        entries: page.to_vec(),
                    });
                }
            }
            Frame::Start { entries } => {
                for entry in entries {
                    let open = &self.share.open[entry.file as usize];
                    let missing: Vec<SegmentRange> = entry
                        .missing
                        .iter()
                        .map(|range| SegmentRange {
                            first: range.first,
                            count: range.count,
                        })
                        .collect();
                    self.endpoint
                        .start_stream(
                            now,
                            client.association.expect("opened before"),
                            entry.stream,
                            SourceKey(u64::from(entry.file)),
                            open.data.len() as u64,
                            &missing,
                        )
                        .unwrap();
                }
            }
            Frame::Say { text } => {
                self.sequence += 1;
                reply(Frame::Message(Message {
                    sequence: self.sequence,
                    time_ms: 1,
                    from: &client.name,
                    text,
                }));
                says.extend(replies.last().cloned());
            }
            Frame::Whisper { to, text } if *to == client.name => {
                reply(Frame::Whispered(Whispered {
                    time_ms: 1,
                    from: to,
                    to,
                    text,
                }));
            }
            Frame::Whisper { to, .. } => {
                let text = format!("nobody is called {to}");
                reply(error(ControlError::NoSuchUser, false, 0, &text));
            }
            Frame::Users => reply(Frame::UserList {
                last: true,
                names: vec!["alice", &client.name],
            }),
            Frame::Files { request, prefix } => {
                let files = self.share.script.lock().unwrap().files.clone();
                let entries: Vec<FileEntry<'_>> = files
                    .iter()
                    .filter(|(name, _)| name.starts_with(*prefix))
                    .map(|(name, data)| FileEntry {
                        name,
                        size: data.len() as u64,
                        mtime_s: 5,
                    })
                    .collect();
                reply(Frame::FileList {
                    request: *request,
                    last: true,
                    entries,
                });
            }
            Frame::Stats => reply(Frame::StatsReport {
                json: "{\"clients\":1}",
            }),
            Frame::Ping { nonce, .. } => reply(Frame::Pong {
                from: Side::Server,
                nonce: *nonce,
            }),
            Frame::Leave => return false,
            _ => {}
        }
        true
    }

    fn open(&mut self, now: Timestamp, client: &mut Client, max_datagram: u16) -> Grant {
        let id = self.next_association;
        self.next_association += 1;
        let (down, up) = ([id as u8; 32], [id as u8 + 100; 32]);
        let secrets = if self.tls.is_some() {
            Secrets::Aead {
                // Its Welcome offers nothing else.
                cipher: Cipher::Aes128Gcm,
                down,
                up,
            }
        } else {
            Secrets::Plaintext
        };
        let config = AssociationConfig {
            id,
            secrets,
            cell_bytes: CELL_BYTES_V4,
            max_datagram: match max_datagram {
                0 => MAX_DATAGRAM_BYTES,
                limit => usize::from(limit),
            },
            algorithm: Algorithm::default(),
            initial_rtt: None,
            rate_limit: None,
            policy: Policy::Fair,
            seed: [7; 32],
        };
        assert!(self.endpoint.open(now, config));
        client.association = Some(id);
        Grant {
            association: id,
            udp_port: self.udp.local_addr().port(),
            cell_bytes: CELL_BYTES_V4,
            secret_down: down,
            secret_up: up,
            idle_ms: 30_000,
        }
    }

    /// The file of this name, or the files below it.
    fn offers(&mut self, asked: &str) -> Vec<(u32, String, u64, [u8; 16])> {
        let script = self.share.script.lock().unwrap();
        let folder = format!("{asked}/");
        let found: Vec<(String, Arc<Vec<u8>>)> = script
            .files
            .iter()
            .filter(|(name, _)| *name == asked || name.starts_with(&folder))
            .map(|(name, data)| (name.clone(), Arc::clone(data)))
            .collect();
        let mut offers = Vec::new();
        for (name, data) in found {
            let file = self.share.open.len() as u32;
            let count = data.len().div_ceil(1 << 20).max(1);
            let chunks = data.chunks(1 << 20);
            let mut values: Vec<u8> = (0u32..)
                .zip(chunks)
                .flat_map(|(index, chunk)| segment_value(index, count as u32, chunk))
                .collect();
            if data.is_empty() {
                values = segment_value(0, 1, &[]).to_vec();
            }
            let mut version = [0; 16];
            version.copy_from_slice(&blake3::hash(&data).as_bytes()[..16]);
            let shown = script.lies.get(&name).cloned().unwrap_or(name.clone());
            offers.push((file, shown, data.len() as u64, version));
            self.share.open.push(OpenFile { name, data, values });
        }
        offers
    }
}

fn error(code: ControlError, fatal: bool, request: u32, text: &str) -> Frame<'_> {
    Frame::Error(ErrorFrame {
        code,
        fatal,
        request,
        text,
    })
}
