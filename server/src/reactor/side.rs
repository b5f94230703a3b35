//! Small connections beside the clients': Prometheus asking for metrics, the operator's commands. One request each.

use std::io::{self, Read, Write};

use mio::event::Source;
use mio::{Interest, Registry, Token};

use super::tokens::FIRST_SIDE;

/// Connections at once; a further one takes the place of the oldest.
const MAX_SIDE_CONNECTIONS: usize = 16;

/// Bytes of a request.
const MAX_REQUEST_BYTES: usize = 8 * 1_024;

/// What connects here.
pub(super) trait SideStream: Read + Write + Source + Send {}

impl<T: Read + Write + Source + Send> SideStream for T {}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SideKind {
    /// One HTTP request; the answer is the metrics.
    Metrics,
    /// One line; the answer is a text.
    Admin,
}

struct SideConnection {
    stream: Box<dyn SideStream>,
    kind: SideKind,
    input: Vec<u8>,
    output: Vec<u8>,
    /// How much of the output was written; `None` until there is one.
    written: Option<usize>,
}

/// The connections, in their places.
#[derive(Default)]
pub(super) struct Side {
    places: Vec<Option<SideConnection>>,
    next: usize,
}

impl Side {
    /// Takes a new connection.
    pub(super) fn insert(
        &mut self,
        registry: &Registry,
        mut stream: Box<dyn SideStream>,
        kind: SideKind,
    ) {
        let place = self.next;
        self.next = (self.next + 1) % MAX_SIDE_CONNECTIONS;
        self.remove(registry, place);
        let token = Token(FIRST_SIDE.0 + place);
        if let Err(error) =
            stream.register(registry, token, Interest::READABLE | Interest::WRITABLE)
        {
            tracing::warn!(%error, "a side connection was refused");
            return;
        }
        if self.places.len() <= place {
            self.places.resize_with(place + 1, || None);
        }
        self.places[place] = Some(SideConnection {
            stream,
            kind,
            input: Vec::new(),
            output: Vec::new(),
            written: None,
        });
    }

    /// Whether the token is one of ours.
    pub(super) fn owns(token: Token) -> bool {
        (FIRST_SIDE.0..FIRST_SIDE.0 + MAX_SIDE_CONNECTIONS).contains(&token.0)
    }

    /// Goes on with a connection. A request that is complete is returned once, for [`answer`](Self::answer).
    pub(super) fn on_event(
        &mut self,
        registry: &Registry,
        token: Token,
    ) -> Option<(SideKind, String)> {
        let place = token.0 - FIRST_SIDE.0;
        let connection = self.places.get_mut(place)?.as_mut()?;
        match connection.step() {
            Ok(Step::Wait) => None,
            Ok(Step::Request(request)) => Some((connection.kind, request)),
            Ok(Step::Done) | Err(_) => {
                self.remove(registry, place);
                None
            }
        }
    }

    /// Answers the request of a connection.
    pub(super) fn answer(&mut self, registry: &Registry, token: Token, text: &str) {
        let place = token.0 - FIRST_SIDE.0;
        if let Some(Some(connection)) = self.places.get_mut(place) {
            connection.output = match connection.kind {
                SideKind::Admin => text.as_bytes().to_vec(),
                SideKind::Metrics => format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
                    text.len()
                )
                .into_bytes(),
            };
            connection.written = Some(0);
        }
        // What is written at once needs no further event.
        let _ = self.on_event(registry, token);
    }

    fn remove(&mut self, registry: &Registry, place: usize) {
        if let Some(mut connection) = self.places.get_mut(place).and_then(Option::take)
            && let Err(error) = connection.stream.deregister(registry)
        {
            tracing::debug!(%error, "a side connection could not be taken out of the poll");
        }
    }
}

enum Step {
    Wait,
    Request(String),
    Done,
}

impl SideConnection {
    fn step(&mut self) -> io::Result<Step> {
        if let Some(mut written) = self.written {
            while written < self.output.len() {
                match self.stream.write(&self.output[written..]) {
                    Ok(0) => return Ok(Step::Done),
                    Ok(count) => written += count,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        self.written = Some(written);
                        return Ok(Step::Wait);
                    }
                    Err(error) => return Err(error),
                }
            }
            return Ok(Step::Done);
        }
        let mut buffer = [0; 1_024];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Ok(Step::Done),
                Ok(count) => self.input.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Step::Wait),
                Err(error) => return Err(error),
            }
            if self.input.len() > MAX_REQUEST_BYTES {
                return Err(io::ErrorKind::InvalidData.into());
            }
            let complete = match self.kind {
                SideKind::Admin => self.input.contains(&b'\n'),
                SideKind::Metrics => self.input.windows(4).any(|end| end == b"\r\n\r\n"),
            };
            if complete {
                return Ok(Step::Request(
                    String::from_utf8_lossy(&self.input).into_owned(),
                ));
            }
        }
    }
}
