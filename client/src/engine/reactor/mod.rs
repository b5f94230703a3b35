//! The engine's loop: what happened, what that means, what is due, sleep.
//!
//! [`commands`] does what it is told, [`hearing`] what the server says and what becomes of the
//! connection.

mod commands;
mod hearing;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use bytes::Bytes;
use columba_core::control::{Frame, Side};
use columba_core::units::Timestamp;
use columba_net::clock::Clock;
use columba_net::timer::PreciseTimer;
use mio::{Events, Interest, Poll, Token, Waker};

use super::frames::{get_frame, hello_frame, open_frame, simple_frame};
use super::link::Link;
use super::message::{Command, EngineConfig, Event, FileInfo};
use super::outbox::Outbox;
use super::pace::{Comebacks, Pace};
use super::said::Said;
use super::transfer::Transfers;
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
/// Most names or files of one list that are kept; a server that lists more is not one of ours.
const MAX_LISTED: usize = 10_000_000;
/// Commands that wait for the connection at most.
const MAX_HELD: usize = 1024;

/// What an engine is to do.
pub(super) struct Order {
    pub(super) config: EngineConfig,
    /// Goes out in the first flight.
    pub(super) first: Vec<Command>,
    pub(super) commands: Receiver<Command>,
    /// A lost connection is tried again without end.
    pub(super) patient: bool,
    pub(super) interrupted: Arc<AtomicBool>,
}

/// Runs an engine until it has ended; its last event says how.
pub(super) fn run(poll: Poll, waker: &Arc<Waker>, order: Order, mut outbox: Outbox) {
    let notify: Notify = {
        let waker = Arc::clone(waker);
        Arc::new(move || {
            // A poll that cannot be woken has ended.
            let _ = waker.wake();
        })
    };
    let ended =
        Reactor::new(poll, order, &mut outbox, notify).and_then(|mut reactor| reactor.run());
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
    patient: bool,
    outbox: &'a mut Outbox,
    notify: Notify,
    link: Link,
    transfers: Transfers,
    said: Said,
    comebacks: Comebacks,
    /// Attempts to connect since the last connection.
    attempts: u32,
    phase: Phase,
    was_up: bool,
    /// Our name, as the server writes it.
    name: String,
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
        order: Order,
        outbox: &'a mut Outbox,
        notify: Notify,
    ) -> Result<Self, ClientError> {
        let clock = Clock::new();
        let mut timer = PreciseTimer::new(clock).map_err(system("make a timer"))?;
        poll.registry()
            .register(&mut timer, TIMER, Interest::READABLE)
            .map_err(system("poll a timer"))?;
        let config = Arc::new(order.config);
        let transfers = Transfers::new(
            Arc::clone(&config),
            clock,
            Arc::clone(&notify),
            order.interrupted,
            UDP,
        );
        let now = clock.now();
        let mut reactor = Self {
            link: Link::open(
                now,
                config.server.clone(),
                config.security.clone(),
                CONTROL,
                Arc::clone(&notify),
                Pace::until(now + config.connect_for),
                "",
            )?,
            poll,
            clock,
            timer,
            config,
            commands: order.commands,
            patient: order.patient,
            outbox,
            notify,
            transfers,
            said: Said::default(),
            comebacks: Comebacks::default(),
            attempts: 1,
            phase: Phase::Working,
            was_up: false,
            name: String::new(),
            held: VecDeque::new(),
            users: Vec::new(),
            files: Vec::new(),
            next_request: 1,
            heard_at: now,
            pinged: false,
            link_failure: None,
        };
        let questions = reactor.take_first(now, order.first)?;
        reactor.greet(&questions)?;
        Ok(reactor)
    }

    /// What goes out first on every connection: who we are, and all that is asked for.
    fn greet(&mut self, questions: &[Command]) -> Result<(), ClientError> {
        self.transfers.on_connecting();
        let mut bytes = Vec::new();
        let framing = self.link.framing();
        let mut frames = vec![hello_frame(&self.config, self.said.returns())];
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
            self.transfers.hand_over();
            while let Some(event) = self.transfers.next_event() {
                self.outbox.tell(event);
            }
            self.outbox.flush(now);
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
        let tell = self.outbox.deadline(now);
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
        let deadline = [link, self.transfers.deadline(now), tell, life, goodbye]
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
}
