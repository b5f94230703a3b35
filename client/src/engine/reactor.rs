//! The engine's loop: what happened, what that means, what is due, sleep.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError};
use std::time::Duration;

use bytes::Bytes;
use columba_core::control::{ControlError, Frame, Side, pages};
use columba_core::units::Timestamp;
use columba_net::clock::Clock;
use columba_net::timer::PreciseTimer;
use mio::{Events, Interest, Poll, Token, Waker};

use super::frames::{get_frame, hello_frame, open_frame, simple_frame};
use super::heard::Heard;
use super::link::{Link, LinkNews};
use super::message::{Command, EngineConfig, Event, FileInfo};
use super::outbox::Outbox;
use super::transfer::{Asked, Transfers};
use crate::exit_code::ClientError;
use crate::storage::verify::Notify;

/// Wakes the loop for commands and helpers.
pub(super) const WAKER: Token = Token(0);
const CONTROL: Token = Token(1);
const UDP: Token = Token(2);
const TIMER: Token = Token(3);

/// Silence after which we ask whether the server lives.
const PING_AFTER: Duration = Duration::from_secs(10);
/// Silence after which it does not.
const DEAD_AFTER: Duration = Duration::from_secs(30);
/// How long saying goodbye may take.
const GOODBYE_FOR: Duration = Duration::from_secs(2);
/// How long the last answers are waited for.
const LAST_ANSWERS_FOR: Duration = Duration::from_secs(10);
/// Asks for the Pong behind which no answer is outstanding.
const LAST_PING: u64 = u64::MAX;
/// How soon a reader that lags is looked after again.
const LAG_CHECK: Duration = Duration::from_millis(5);
/// Most names or files of one list that are kept; a server that lists more is not one of ours.
const MAX_LISTED: usize = 10_000_000;

/// Runs an engine until it has ended; its last event says how.
pub(super) fn run(
    poll: Poll,
    waker: &Arc<Waker>,
    config: EngineConfig,
    first: Vec<Command>,
    commands: Receiver<Command>,
    events: SyncSender<Event>,
    interrupted: Arc<AtomicBool>,
) {
    let mut outbox = Outbox::new(events);
    let notify: Notify = {
        let waker = Arc::clone(waker);
        Arc::new(move || {
            // A poll that cannot be woken has ended.
            let _ = waker.wake();
        })
    };
    let ended = Reactor::new(
        poll,
        config,
        first,
        commands,
        &mut outbox,
        notify,
        interrupted,
    )
    .and_then(|mut reactor| reactor.run());
    outbox.tell(Event::Ended(ended));
    outbox.drain();
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Connecting, or connected and working.
    Working,
    /// Asked to finish: since when the last answers are waited for; `None` when they are here.
    Finishing(Option<Timestamp>),
    /// Asked to stop: what can be resumed is being kept.
    Keeping,
    /// Goodbye is on its way.
    Leaving(Timestamp),
}

struct Reactor<'a> {
    poll: Poll,
    clock: Clock,
    timer: PreciseTimer,
    config: Arc<EngineConfig>,
    commands: Receiver<Command>,
    outbox: &'a mut Outbox,
    notify: Notify,
    link: Link,
    transfers: Transfers,
    phase: Phase,
    was_up: bool,
    /// Commands that wait for the connection.
    held: VecDeque<Command>,
    users: Vec<String>,
    files: Vec<FileInfo>,
    next_request: u32,
    heard_at: Timestamp,
    pinged: bool,
    /// Why the connection cannot be made anew; what comes over UDP may still come.
    link_failure: Option<ClientError>,
}

fn system(action: &'static str) -> impl Fn(io::Error) -> ClientError {
    move |source| ClientError::System { action, source }
}

impl<'a> Reactor<'a> {
    fn new(
        poll: Poll,
        config: EngineConfig,
        first: Vec<Command>,
        commands: Receiver<Command>,
        outbox: &'a mut Outbox,
        notify: Notify,
        interrupted: Arc<AtomicBool>,
    ) -> Result<Self, ClientError> {
        let clock = Clock::new();
        let mut timer = PreciseTimer::new(clock).map_err(system("make a timer"))?;
        poll.registry()
            .register(&mut timer, TIMER, Interest::READABLE)
            .map_err(system("poll a timer"))?;
        let config = Arc::new(config);
        let transfers = Transfers::new(
            Arc::clone(&config),
            clock,
            Arc::clone(&notify),
            interrupted,
            UDP,
        );
        let now = clock.now();
        let mut reactor = Self {
            link: Link::open(
                config.server.clone(),
                config.security.clone(),
                CONTROL,
                Arc::clone(&notify),
                Bytes::new(),
                now + config.connect_for,
            )?,
            poll,
            clock,
            timer,
            config,
            commands,
            outbox,
            notify,
            transfers,
            phase: Phase::Working,
            was_up: false,
            held: VecDeque::new(),
            users: Vec::new(),
            files: Vec::new(),
            next_request: 1,
            heard_at: now,
            pinged: false,
            link_failure: None,
        };
        let mut questions = Vec::new();
        for command in first {
            match command {
                Command::Get {
                    request,
                    names,
                    target,
                    folder: _,
                    roots: _,
                } => reactor.transfers.request(now, request, &names, target)?,
                // Asked twice, when the first connection fails half-way, they do no harm.
                Command::Users | Command::Files { .. } | Command::Stats => questions.push(command),
                Command::Say(_)
                | Command::Whisper { .. }
                | Command::Pause { .. }
                | Command::Resume { .. }
                | Command::Cancel { .. }
                | Command::ConnectNow
                | Command::Finish
                | Command::Stop => {
                    reactor.held.push_back(command);
                }
            }
        }
        reactor.greet(&questions)?;
        Ok(reactor)
    }

    /// What goes out first on every connection: who we are, and all that is asked for.
    fn greet(&mut self, questions: &[Command]) -> Result<(), ClientError> {
        self.transfers.on_connecting();
        let mut bytes = Vec::new();
        let framing = self.link.framing();
        let mut frames = vec![hello_frame(&self.config)];
        let asked = self.transfers.asks(self.clock.now());
        if self.transfers.wants_open() {
            frames.push(open_frame(&self.config));
        }
        frames.extend(asked.iter().map(get_frame));
        for question in questions {
            self.next_request += 1;
            frames.extend(simple_frame(question, self.next_request));
        }
        for frame in &frames {
            frame
                .encode(framing, &mut bytes)
                .map_err(|error| ClientError::Usage(error.to_string()))?;
        }
        self.link.set_greeting(Bytes::from(bytes));
        Ok(())
    }

    fn run(&mut self) -> Result<(), ClientError> {
        let mut events = Events::with_capacity(64);
        let mut failure = None;
        loop {
            let now = self.clock.now();
            if let Err(error) = self.work(now) {
                // The first reason counts; what is there of files is kept all the same.
                failure.get_or_insert(error);
                self.stop();
            }
            while let Some(event) = self.transfers.next_event() {
                self.outbox.tell(event);
            }
            self.outbox.flush();
            if self.is_over(now) {
                return failure.map_or(Ok(()), Err);
            }
            self.sleep(&mut events)?;
        }
    }

    fn work(&mut self, now: Timestamp) -> Result<(), ClientError> {
        self.take_commands(now)?;
        self.serve_link(now)?;
        self.transfers.turn(now);
        self.send_starts(now)?;
        self.check_phase(now)
    }

    /// Ends what has nothing left to do.
    fn check_phase(&mut self, now: Timestamp) -> Result<(), ClientError> {
        if self.link_failure.is_some() && !self.transfers.is_receiving() {
            return self.link_failure.take().map_or(Ok(()), Err);
        }
        if let Phase::Finishing(since) = self.phase {
            let answered = since.is_none_or(|since| now >= since + LAST_ANSWERS_FOR);
            if answered && !self.transfers.is_busy() {
                self.stop();
            }
        }
        if self.outbox.is_gone() {
            self.stop();
        }
        Ok(())
    }

    fn sleep(&mut self, events: &mut Events) -> Result<(), ClientError> {
        let now = self.clock.now();
        let lag = self.outbox.is_waiting().then(|| now + LAG_CHECK);
        let life = match (self.link.is_up(), self.pinged) {
            (true, false) => Some(self.heard_at + PING_AFTER),
            (true, true) => Some(self.heard_at + DEAD_AFTER),
            (false, _) => None,
        };
        let goodbye = match self.phase {
            Phase::Leaving(since) => Some(since + GOODBYE_FOR),
            Phase::Finishing(since) => since.map(|since| since + LAST_ANSWERS_FOR),
            Phase::Working | Phase::Keeping => None,
        };
        let link = self.link.deadline(now).filter(|_| !self.outbox.is_full());
        let deadline = [link, self.transfers.deadline(now), lag, life, goodbye]
            .into_iter()
            .flatten()
            .min();
        match deadline {
            Some(at) if at > now => self.timer.arm(at),
            Some(_) => Ok(()),
            None => self.timer.disarm(),
        }
        .map_err(system("set a timer"))?;
        let timeout = self.timer.poll_timeout(now, deadline);
        match self.poll.poll(events, timeout) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => events.clear(),
            Err(source) => return Err(system("wait for events")(source)),
        }
        if events.iter().any(|event| event.token() == TIMER) {
            self.timer.acknowledge();
        }
        Ok(())
    }

    fn is_over(&mut self, now: Timestamp) -> bool {
        if self.phase == Phase::Keeping && self.transfers.is_kept() {
            self.phase = Phase::Leaving(now);
            // A connection that is gone needs no goodbye.
            let _ = self.link.send(&Frame::Leave);
            self.link.close();
            self.link.advance(now, self.poll.registry());
        }
        let Phase::Leaving(since) = self.phase else {
            return false;
        };
        let closed = self.transfers.close(now);
        closed && self.link.is_closed() || now >= since + GOODBYE_FOR
    }

    fn stop(&mut self) {
        if matches!(self.phase, Phase::Working | Phase::Finishing(_)) {
            self.phase = Phase::Keeping;
            self.transfers.stop();
        }
    }

    fn take_commands(&mut self, now: Timestamp) -> Result<(), ClientError> {
        loop {
            match self.commands.try_recv() {
                Ok(Command::Stop) | Err(TryRecvError::Disconnected) => {
                    self.stop();
                    return Ok(());
                }
                Ok(command) if self.link.is_up() => self.perform(now, command)?,
                Ok(command) => self.held.push_back(command),
                Err(TryRecvError::Empty) => return Ok(()),
            }
        }
    }

    /// Says it to the server; the connection is up.
    fn perform(&mut self, now: Timestamp, command: Command) -> Result<(), ClientError> {
        match command {
            Command::Get {
                request,
                names,
                target,
                folder: _,
                roots: _,
            } => {
                self.transfers.request(now, request, &names, target)?;
                return Ok(());
            }
            Command::Finish => {
                if self.phase == Phase::Working {
                    self.phase = Phase::Finishing(Some(now));
                    self.send(&Frame::Ping {
                        from: Side::Client,
                        nonce: LAST_PING,
                    });
                }
                return Ok(());
            }
            Command::Stop => {
                self.stop();
                return Ok(());
            }
            Command::Say(_)
            | Command::Whisper { .. }
            | Command::Pause { .. }
            | Command::Resume { .. }
            | Command::Cancel { .. }
            | Command::ConnectNow
            | Command::Users
            | Command::Files { .. }
            | Command::Stats => {}
        }
        self.next_request = self.next_request.wrapping_add(1).max(1);
        let Some(frame) = simple_frame(&command, self.next_request) else {
            return Ok(());
        };
        if let Err(error) = self.link.send(&frame) {
            self.outbox.tell(Event::Refused {
                code: ControlError::TooFast,
                text: error.to_string(),
            });
        }
        Ok(())
    }

    fn send_asked(&mut self, asked: &[Asked]) {
        let config = Arc::clone(&self.config);
        if self.transfers.wants_open() {
            self.send(&open_frame(&config));
        }
        for one in asked {
            self.send(&get_frame(one));
        }
    }

    /// A connection that takes no frame is lost.
    fn send(&mut self, frame: &Frame<'_>) {
        if let Err(error) = self.link.send(frame) {
            self.link.lose(error.to_string());
        }
    }

    fn send_starts(&mut self, now: Timestamp) -> Result<(), ClientError> {
        if !self.link.is_up() {
            return Ok(());
        }
        let asked = self.transfers.asks(now);
        self.send_asked(&asked);
        let entries = self.transfers.starts(now);
        if entries.is_empty() {
            return self.flush_link(now);
        }
        for (page, _) in pages(&entries) {
            self.send(&Frame::Start {
                entries: page.to_vec(),
            });
        }
        self.flush_link(now)
    }

    fn flush_link(&mut self, now: Timestamp) -> Result<(), ClientError> {
        if self.link.queued_bytes() > 0 {
            self.serve_link(now)?;
        }
        Ok(())
    }

    fn serve_link(&mut self, now: Timestamp) -> Result<(), ClientError> {
        if self.outbox.is_full() {
            return Ok(());
        }
        self.link.advance(now, self.poll.registry());
        loop {
            match self.link.next_frame() {
                Ok(Some(frame)) => {
                    let heard = Heard::from(frame);
                    self.heard_at = now;
                    self.pinged = false;
                    self.on_heard(now, heard)?;
                }
                Ok(None) => break,
                Err(error) => {
                    self.on_garbage(error)?;
                    break;
                }
            }
        }
        while let Some(news) = self.link.next_news() {
            self.on_news(now, news)?;
        }
        self.check_life(now);
        Ok(())
    }

    fn check_life(&mut self, now: Timestamp) {
        if !self.link.is_up() {
            self.heard_at = now;
        } else if now >= self.heard_at + DEAD_AFTER {
            self.link.lose("the server does not answer".to_owned());
        } else if now >= self.heard_at + PING_AFTER && !self.pinged {
            self.pinged = true;
            self.send(&Frame::Ping {
                from: Side::Client,
                nonce: now.as_nanos(),
            });
        }
    }

    fn on_garbage(&mut self, error: columba_core::control::ParseError) -> Result<(), ClientError> {
        use columba_core::control::ParseError;
        if matches!(error, ParseError::Version { .. }) || !self.was_up {
            return Err(ClientError::Connect {
                server: self.config.server.to_string(),
                reason: error.to_string(),
            });
        }
        self.link.lose(error.to_string());
        Ok(())
    }

    fn on_news(&mut self, now: Timestamp, news: LinkNews) -> Result<(), ClientError> {
        match news {
            LinkNews::FirstContact(fingerprint) => {
                self.outbox.tell(Event::FirstContact { fingerprint });
                Ok(())
            }
            LinkNews::Failed(error) if self.was_up && self.transfers.is_busy() => {
                let text = format!("{error}; run the same command again to go on");
                self.link_failure = Some(ClientError::Stalled(text));
                Ok(())
            }
            LinkNews::Failed(error) => Err(error),
            LinkNews::Lost(_) if matches!(self.phase, Phase::Keeping | Phase::Leaving(_)) => Ok(()),
            LinkNews::Lost(reason) => {
                if !self.config.reconnect && !self.transfers.is_busy() {
                    return Err(ClientError::Lost(reason));
                }
                self.outbox.tell(Event::Reconnecting { reason });
                self.reconnect(now)
            }
        }
    }

    fn reconnect(&mut self, now: Timestamp) -> Result<(), ClientError> {
        self.link = Link::open(
            self.config.server.clone(),
            self.config.security.clone(),
            CONTROL,
            Arc::clone(&self.notify),
            Bytes::new(),
            now + self.config.connect_for,
        )?;
        self.users.clear();
        self.files.clear();
        self.greet(&[])
    }

    fn on_heard(&mut self, now: Timestamp, heard: Heard) -> Result<(), ClientError> {
        match heard {
            Heard::Event(event) => self.outbox.tell(event),
            Heard::Welcome {
                name,
                software,
                sequence,
            } => {
                self.link.set_up();
                let again = std::mem::replace(&mut self.was_up, true);
                self.outbox.tell(Event::Welcome {
                    name,
                    software,
                    sequence,
                    again,
                });
                for command in std::mem::take(&mut self.held) {
                    self.perform(now, command)?;
                }
            }
            Heard::Error {
                code,
                fatal,
                request,
                text,
            } => return self.on_error(code, fatal, request, &text),
            Heard::Users { last, names } => {
                let room = MAX_LISTED.saturating_sub(self.users.len());
                self.users.extend(names.into_iter().take(room));
                if last {
                    let users = std::mem::take(&mut self.users);
                    self.outbox.tell(Event::Users(users));
                }
            }
            Heard::Files { last, files } => {
                let room = MAX_LISTED.saturating_sub(self.files.len());
                self.files.extend(files.into_iter().take(room));
                if last {
                    let files = std::mem::take(&mut self.files);
                    self.outbox.tell(Event::Files(files));
                }
            }
            Heard::Grant(grant) => {
                if let Some(peer) = self.link.peer {
                    let rtt = self.link.connect_rtt;
                    let registry = self.poll.registry();
                    self.transfers.on_grant(now, &grant, peer, rtt, registry);
                }
            }
            Heard::Offer {
                request,
                last,
                files,
            } => self.transfers.on_offer(now, request, last, files),
            Heard::Ended { stream, code, text } => self.transfers.on_ended(stream, code, &text),
            Heard::Ping(nonce) => self.send(&Frame::Pong {
                from: Side::Client,
                nonce,
            }),
            Heard::Pong(nonce) => {
                if nonce == LAST_PING && matches!(self.phase, Phase::Finishing(_)) {
                    self.phase = Phase::Finishing(None);
                }
            }
            Heard::PathReport(_) | Heard::Nonsense => {}
        }
        Ok(())
    }

    fn on_error(
        &mut self,
        code: ControlError,
        fatal: bool,
        request: u32,
        text: &str,
    ) -> Result<(), ClientError> {
        if fatal {
            let error = ClientError::from_server(code, text);
            return Err(match (code, self.was_up) {
                (
                    ControlError::ServerFull | ControlError::ShuttingDown | ControlError::Version,
                    false,
                ) => ClientError::Connect {
                    server: self.config.server.to_string(),
                    reason: error.to_string(),
                },
                _ => error,
            });
        }
        let now = self.clock.now();
        if request != 0 && self.transfers.on_refused(now, request, code, text) {
            return Ok(());
        }
        if code == ControlError::TooManyTransfers && self.transfers.open_later(now) {
            return Ok(());
        }
        if self.transfers.is_busy()
            && matches!(code, ControlError::TooManyTransfers | ControlError::Address)
        {
            self.transfers
                .fail_all(|| ClientError::from_server(code, text));
            return Ok(());
        }
        self.outbox.tell(Event::Refused {
            code,
            text: columba_core::chat::printable(text).into_owned(),
        });
        Ok(())
    }
}
