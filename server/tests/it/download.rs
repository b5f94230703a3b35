//! Downloads for tests: the core's receiver over a real socket, into memory.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use columba_core::client::{ClientAssociation, ClientConfig, ClientEvent, Storage};
use columba_core::control::{ControlError, Frame, Grant, Open, Policy, SegmentRange, StartEntry};
use columba_core::error::StreamEnd;
use columba_core::layout;
use columba_core::limits::{MAX_DATAGRAM_BYTES, MAX_TRAIN_BYTES, SEGMENT_BYTES};
use columba_core::protection::Secrets;
use columba_net::clock::Clock;
use columba_net::udp::{RecvBatch, SendTrain, UdpOptions, UdpSocket};
use mio::{Events, Interest, Poll, Token};

use crate::support::{Mode, Rig, TestClient};

/// Files in memory, by stream.
#[derive(Default)]
struct Memory {
    files: HashMap<u32, Vec<u8>>,
    room: Vec<u8>,
}

impl Storage for Memory {
    fn reserve(&mut self, _stream: u32, _offset: u64, bytes: usize) -> &mut [u8] {
        self.room.resize(self.room.len().max(bytes), 0);
        &mut self.room[..bytes]
    }

    fn commit(&mut self, stream: u32, offset: u64, bytes: usize) {
        let start = usize::try_from(offset).expect("small files");
        let file = self.files.get_mut(&stream).expect("a known stream");
        file[start..start + bytes].copy_from_slice(&self.room[..bytes]);
    }
}

/// A file as offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Offered {
    pub(crate) file: u32,
    pub(crate) name: String,
    pub(crate) size: u64,
    pub(crate) version: [u8; 16],
}

/// How a stream ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Every byte is there, and every segment's value agrees.
    Verified(Vec<u8>),
    /// The server ended it.
    Reset(StreamEnd),
}

/// A headless client with an association.
pub(crate) struct Downloader {
    pub(crate) control: TestClient,
    grant: Grant,
    association: ClientAssociation,
    socket: UdpSocket,
    batch: RecvBatch,
    poll: Poll,
    events: Events,
    clock: Clock,
    memory: Memory,
    missing: HashMap<u32, Vec<SegmentRange>>,
    ends: HashMap<u32, End>,
    next_stream: u32,
    next_request: u32,
}

impl Downloader {
    pub(crate) fn new(rig: &Rig) -> Self {
        Self::with(
            rig,
            Open {
                max_datagram: 0,
                policy: Policy::Fair,
                rate_limit: 0,
            },
        )
    }

    pub(crate) fn with(rig: &Rig, open: Open) -> Self {
        let mut control = rig.headless();
        control.send(&Frame::Open(open));
        let grant = control.expect(|frame| match frame {
            Frame::Grant(grant) => Some(*grant),
            Frame::Error(error) => panic!("{error:?}"),
            _ => None,
        });
        let server = rig.server.address();
        assert_eq!(grant.udp_port, 0, "the port of the control connection");
        let local: SocketAddr = if server.is_ipv4() {
            "127.0.0.1:0"
        } else {
            "[::1]:0"
        }
        .parse()
        .expect("an address");
        let mut socket = UdpSocket::bind(local, &UdpOptions::default()).expect("a socket");
        let poll = Poll::new().expect("a poll");
        poll.registry()
            .register(
                &mut socket,
                Token(0),
                Interest::READABLE | Interest::WRITABLE,
            )
            .expect("registered");
        let clock = Clock::new();
        let secrets = match rig.mode {
            Mode::Plaintext => Secrets::Plaintext,
            Mode::Tls => Secrets::Aead {
                cipher: rig.cipher,
                down: grant.secret_down,
                up: grant.secret_up,
            },
        };
        let config = ClientConfig {
            id: grant.association,
            secrets,
            cell_bytes: grant.cell_bytes,
            server,
            max_datagram: MAX_DATAGRAM_BYTES,
            credit: u32::try_from(socket.recv_buffer_bytes() / 2).unwrap_or(u32::MAX),
            initial_rtt: Duration::from_millis(1),
            handshake_timeout: Duration::from_secs(30),
        };
        Self {
            control,
            grant,
            association: ClientAssociation::new(clock.now(), config),
            socket,
            batch: RecvBatch::new(),
            poll,
            events: Events::with_capacity(8),
            clock,
            memory: Memory::default(),
            missing: HashMap::new(),
            ends: HashMap::new(),
            next_stream: 1,
            next_request: 1,
        }
    }

    /// Asks for names: what is offered, and how many were refused.
    pub(crate) fn get(&mut self, names: &[&str]) -> (Vec<Offered>, usize) {
        let request = self.next_request;
        self.next_request += 1;
        self.control.send(&Frame::Get {
            request,
            names: names.to_vec(),
        });
        let (mut offered, mut refused) = (Vec::new(), 0);
        self.control.expect(|frame| match frame {
            Frame::Error(error) if error.request == request => {
                refused += 1;
                None
            }
            Frame::Offer {
                request: answered,
                last,
                entries,
            } if *answered == request => {
                offered.extend(entries.iter().map(|entry| Offered {
                    file: entry.file,
                    name: entry.name.to_owned(),
                    size: entry.size,
                    version: entry.version,
                }));
                last.then_some(())
            }
            _ => None,
        });
        // They come as they are found.
        offered.sort_by(|a, b| a.name.cmp(&b.name));
        (offered, refused)
    }

    /// Starts files; returns their streams.
    pub(crate) fn start(&mut self, files: &[Offered], missing: &[SegmentRange]) -> Vec<u32> {
        let now = self.clock.now();
        let mut entries = Vec::new();
        for offered in files {
            let stream = self.next_stream;
            self.next_stream += 1;
            self.memory.files.insert(
                stream,
                vec![0; usize::try_from(offered.size).expect("small files")],
            );
            self.missing.insert(stream, missing.to_vec());
            let core: Vec<layout::SegmentRange> = missing
                .iter()
                .map(|range| layout::SegmentRange {
                    first: range.first,
                    count: range.count,
                })
                .collect();
            self.association
                .start_stream(now, stream, offered.size, &core)
                .expect("a possible stream");
            entries.push(StartEntry {
                stream,
                file: offered.file,
                missing: missing.to_vec(),
            });
        }
        let streams = entries.iter().map(|entry| entry.stream).collect();
        for page in entries.chunks(1_000) {
            self.control.send(&Frame::Start {
                entries: page.to_vec(),
            });
        }
        streams
    }

    /// Runs until the stream has ended.
    pub(crate) fn wait(&mut self, stream: u32) -> End {
        loop {
            self.drain();
            if let Some(end) = self.ends.remove(&stream) {
                return end;
            }
            self.step();
        }
    }

    /// Runs until so many bytes of the stream may have come: any event is enough.
    pub(crate) fn run_until(&mut self, mut done: impl FnMut(&ClientAssociation) -> bool) {
        while !done(&self.association) {
            self.drain();
            self.step();
        }
        self.drain();
    }

    /// Closes the association and waits until the server knows.
    pub(crate) fn close(&mut self) {
        self.association.close(self.clock.now());
        while !self.association.is_closed() {
            self.drain();
            if !self.association.is_closed() {
                self.step();
            }
        }
    }

    fn step(&mut self) {
        let now = self.clock.now();
        let timeout = self.association.poll_timeout().map(|at| at - now);
        self.poll
            .poll(&mut self.events, timeout)
            .expect("the poll works");
        let now = self.clock.now();
        while let Ok(_count) = self.socket.recv(&mut self.batch) {
            for mut train in self.batch.iter_mut() {
                let (from, ecn) = (train.from, train.ecn);
                for datagram in train.datagrams() {
                    self.association
                        .handle_datagram(now, from, ecn, datagram, &mut self.memory);
                }
            }
        }
        if self.association.poll_timeout().is_some_and(|at| at <= now) {
            self.association.handle_timeout(now);
        }
    }

    fn drain(&mut self) {
        let mut buffer = vec![0; MAX_TRAIN_BYTES];
        let now = self.clock.now();
        while let Some(outgoing) = self.association.poll_transmit(now, &mut buffer) {
            let data = &buffer[..outgoing.bytes];
            let train = SendTrain {
                to: outgoing.to,
                segment_bytes: outgoing.segment_bytes,
                data,
                ecn: None,
            };
            // What is not sent is lost: recovery sees to it.
            let _ = self.socket.send(&train).expect("loopback");
        }
        while let Some(event) = self.association.poll_event() {
            match event {
                ClientEvent::StreamComplete { stream } => self.verify(stream),
                ClientEvent::StreamReset { stream, end } => {
                    self.ends.insert(stream, End::Reset(end));
                }
                ClientEvent::Closed(reason) => assert!(self.association.is_closed(), "{reason:?}"),
                ClientEvent::Established | ClientEvent::SegmentComplete { .. } => {}
            }
        }
    }

    fn verify(&mut self, stream: u32) {
        let content = self.memory.files.remove(&stream).expect("a known stream");
        let received = self.association.stream(stream).expect("it is complete");
        let count = columba_server::files::hashes::segments(content.len() as u64);
        let wanted = &self.missing[&stream];
        for index in 0..count {
            let start = index as usize * usize::try_from(SEGMENT_BYTES).expect("1 MiB");
            let end = content.len().min(start + (1 << 20));
            let value = received.hash(index).expect("every value came");
            let missing =
                |range: &SegmentRange| (range.first..range.first + range.count).contains(&index);
            if wanted.is_empty() || wanted.iter().any(missing) {
                let expected =
                    columba_server::files::hashes::segment_hash(index, count, &content[start..end]);
                assert_eq!(value, expected, "segment {index} of stream {stream}");
            }
        }
        self.association.finish_stream(self.clock.now(), stream, 0);
        self.ends.insert(stream, End::Verified(content));
    }

    /// Fetches one file.
    pub(crate) fn fetch(&mut self, name: &str) -> Vec<u8> {
        let (offered, _) = self.get(&[name]);
        assert_eq!(offered.len(), 1, "{name}");
        let streams = self.start(&offered, &[]);
        match self.wait(streams[0]) {
            End::Verified(content) => content,
            end => panic!("{end:?}"),
        }
    }

    pub(crate) fn cell_bytes(&self) -> u16 {
        self.grant.cell_bytes
    }

    /// The next Ended frame.
    pub(crate) fn expect_ended(&mut self) -> (u32, ControlError) {
        self.control.expect(|frame| match frame {
            Frame::Ended { stream, code, .. } => Some((*stream, *code)),
            _ => None,
        })
    }
}

impl Drop for Downloader {
    /// Says goodbye, so that the server need not wait for a client that is gone.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.association.close(self.clock.now());
            self.drain();
        }
    }
}
