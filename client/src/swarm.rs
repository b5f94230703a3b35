//! Many real clients on one thread and one poll, and the latency of the chat between them.
//!
//! Open loop: message k is due at a fixed time, whatever happened to those before, and carries that
//! time. Each recipient's latency counts from it, so falling behind shows (no coordinated
//! omission). Every client, the sender too, is a recipient.

use std::net::ToSocketAddrs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use columba_core::control::{Frame, Framing, Hello, PROTOCOL_VERSION, Purpose, Side};
use columba_core::units::Timestamp;
use columba_net::clock::Clock;
use columba_net::identity::Identity;
use columba_net::timer::PreciseTimer;
use hdrhistogram::Histogram;
use mio::{Events, Interest, Poll, Token};
use serde_json::json;

use crate::cli::args::Swarm as Options;
use crate::cli::{Settings, security};
use crate::engine::link::{Link, LinkNews};
use crate::engine::message::{CONNECT_FOR, Security, Trust};
use crate::engine::pace::Pace;
use crate::exit_code::ClientError;
use crate::known_servers::Known;
use crate::storage::verify::Notify;

const TIMER: Token = Token(usize::MAX);
/// Clients that connect at the same time.
const JOINING_AT_ONCE: usize = 128;
/// How long deliveries are waited for after the last message was due.
const STRAGGLERS_FOR: Duration = Duration::from_secs(5);
/// Longest goodbye.
const GOODBYE_FOR: Duration = Duration::from_secs(2);
/// Longest latency that is told apart.
const MAX_LATENCY_US: u64 = 600_000_000;
/// Hexadecimal digits of the due time (microseconds) and of the run's mark in a message.
const TIME_DIGITS: usize = 10;
const MARK_DIGITS: usize = 6;

struct Member {
    link: Link,
    joined: bool,
}

/// What a swarm has seen.
#[derive(Debug)]
struct Tally {
    sent: u64,
    delivered: u64,
    expected: u64,
    lost_clients: usize,
    latency_us: Histogram<u64>,
}

struct Swarm<'a> {
    settings: &'a Settings,
    options: &'a Options,
    poll: Poll,
    clock: Clock,
    timer: PreciseTimer,
    security: Security,
    addresses: Vec<std::net::SocketAddr>,
    members: Vec<Member>,
    joining: Vec<usize>,
    joined: usize,
    /// Members with more to read, for which no event will come.
    unread: Vec<usize>,
    mark: u32,
    tally: Tally,
    stop: Arc<AtomicBool>,
}

fn system(action: &'static str) -> impl Fn(std::io::Error) -> ClientError {
    move |source| ClientError::System { action, source }
}

/// `columba swarm`
///
/// # Errors
/// A client cannot join, or some lost their connection.
pub fn run(settings: &Settings, options: &Options) -> Result<(), ClientError> {
    raise_descriptor_limit();
    let mut swarm = Swarm::new(settings, options)?;
    swarm.join_all()?;
    swarm.say(&json!({"event": "joined", "clients": swarm.joined}), || {
        format!("{} clients have joined", options.clients)
    })?;
    swarm.work()?;
    swarm.leave()?;
    swarm.report()
}

impl<'a> Swarm<'a> {
    fn new(settings: &'a Settings, options: &'a Options) -> Result<Self, ClientError> {
        let poll = Poll::new().map_err(system("make a poll"))?;
        let clock = Clock::new();
        let mut timer = PreciseTimer::new(clock).map_err(system("make a timer"))?;
        poll.registry()
            .register(&mut timer, TIMER, Interest::READABLE)
            .map_err(system("poll a timer"))?;
        let server = &settings.server;
        let addresses: Vec<_> = (server.host.as_str(), server.port)
            .to_socket_addrs()
            .map_err(|error| ClientError::Connect {
                server: server.to_string(),
                reason: format!("its name has no address ({error})"),
            })?
            .collect();
        let seed = blake3::hash(
            format!("{} {:?}", std::process::id(), std::time::SystemTime::now()).as_bytes(),
        );
        let [a, b, c, ..] = *seed.as_bytes();
        Ok(Self {
            settings,
            options,
            poll,
            clock,
            timer,
            security: security(settings)?,
            addresses,
            members: Vec::new(),
            joining: Vec::new(),
            joined: 0,
            unread: Vec::new(),
            mark: u32::from_be_bytes([0, a, b, c]),
            tally: Tally {
                sent: 0,
                delivered: 0,
                expected: 0,
                lost_clients: 0,
                latency_us: Histogram::new_with_bounds(1, MAX_LATENCY_US, 3)
                    .map_err(|error| ClientError::Usage(error.to_string()))?,
            },
            stop: stop_flag(),
        })
    }

    fn say(
        &self,
        event: &serde_json::Value,
        plain: impl FnOnce() -> String,
    ) -> Result<(), ClientError> {
        use std::io::Write;
        let text = if self.options.json {
            event.to_string()
        } else {
            plain()
        };
        let mut out = std::io::stdout().lock();
        writeln!(out, "{text}")
            .and_then(|()| out.flush())
            .map_err(system("write to standard output"))
    }

    /// The first client meets the server, so that the others know its key; then all at once, a
    /// bounded number at a time.
    fn join_all(&mut self) -> Result<(), ClientError> {
        let total = self.options.clients as usize;
        let mut events = Events::with_capacity(1024);
        while self.joined < total {
            let now = self.clock.now();
            let at_once = if self.joined == 0 { 1 } else { JOINING_AT_ONCE };
            while self.members.len() < total && self.joining.len() < at_once {
                self.add_member(now)?;
            }
            let before = self.joined;
            let mut next = None;
            for index in std::mem::take(&mut self.joining) {
                self.serve(now, index)?;
                let member = &self.members[index];
                if !member.joined {
                    self.joining.push(index);
                    next = [next, member.link.deadline(now)]
                        .into_iter()
                        .flatten()
                        .min();
                }
            }
            if before == 0 && self.joined > 0 {
                self.pin()?;
            }
            if self.joined == before {
                self.sleep(&mut events, next)?;
            }
        }
        Ok(())
    }

    fn add_member(&mut self, now: Timestamp) -> Result<(), ClientError> {
        let index = self.members.len();
        let mut security = self.security.clone();
        if let Security::Tls { identity, .. } = &mut security {
            *identity = Identity::generate()?;
        }
        let framing = match security {
            Security::Plaintext => Framing::Plaintext,
            Security::Tls { .. } => Framing::Tls,
        };
        let mut greeting = Vec::new();
        Frame::Hello(Hello {
            version: PROTOCOL_VERSION,
            // Nobody reads what comes beside the chat.
            features: 0,
            purpose: Purpose::Chat,
            name: &format!("swarm{:06x}n{index}", self.mark),
            password: &self.settings.password,
            software: concat!("columba-swarm/", env!("CARGO_PKG_VERSION")),
            returns: None,
        })
        .encode(framing, &mut greeting)
        .map_err(|error| ClientError::Usage(error.to_string()))?;
        // Nothing of a link with known addresses runs on another thread.
        let notify: Notify = Arc::new(|| ());
        let mut link = Link::open_at(
            self.settings.server.clone(),
            self.addresses.clone(),
            security,
            Token(index),
            notify,
            Pace::until(now + CONNECT_FOR),
        )?;
        link.set_greeting(Bytes::from(greeting));
        self.members.push(Member {
            link,
            joined: false,
        });
        self.joining.push(index);
        Ok(())
    }

    /// The first client has met the server: the others accept that key only.
    fn pin(&mut self) -> Result<(), ClientError> {
        if let Security::Tls { trust, .. } = &mut self.security
            && let Trust::FirstUse(known) = trust
        {
            let look_up = known.look_up(&self.settings.server.to_string());
            let path = known.path().to_path_buf();
            match look_up.map_err(|error| ClientError::state("use", &path, error))? {
                Known::Key(key) => *trust = Trust::Pinned(key),
                Known::Unknown => {}
            }
        }
        Ok(())
    }

    /// Sends what is due until the time is over, then waits for stragglers.
    fn work(&mut self) -> Result<(), ClientError> {
        let mut events = Events::with_capacity(1024);
        let start = self.clock.now();
        let end = start + self.options.seconds;
        let mut number = 0u64;
        let mut due = self.due(start, number).filter(|due| *due < end);
        loop {
            let now = self.clock.now();
            if self.stop.load(Ordering::Relaxed) {
                return Err(ClientError::Stopped { terminated: false });
            }
            while let Some(at) = due.filter(|at| *at <= now) {
                self.send(at, number);
                number += 1;
                due = self.due(start, number).filter(|due| *due < end);
            }
            for index in std::mem::take(&mut self.unread) {
                self.serve(now, index)?;
            }
            let complete = self.tally.delivered >= self.tally.expected;
            if due.is_none() && now >= end && (complete || now >= end + STRAGGLERS_FOR) {
                return Ok(());
            }
            let wait_until = due.unwrap_or(if now < end { end } else { end + STRAGGLERS_FOR });
            let wake_at = if self.unread.is_empty() {
                wait_until
            } else {
                now
            };
            self.sleep(&mut events, Some(wake_at))?;
            let now = self.clock.now();
            for event in &events {
                if event.token() != TIMER {
                    self.serve(now, event.token().0)?;
                }
            }
        }
    }

    /// When message `number` is due; never with a rate of 0.
    fn due(&self, start: Timestamp, number: u64) -> Option<Timestamp> {
        #[expect(clippy::cast_precision_loss, reason = "exact far beyond any run")]
        let seconds = number as f64 / self.options.rate;
        let after = Duration::try_from_secs_f64(seconds).ok()?;
        start.checked_add(after)
    }

    fn send(&mut self, due: Timestamp, number: u64) {
        let micros = due.as_nanos() / 1000;
        let mut text = format!("{micros:0TIME_DIGITS$x}{:0MARK_DIGITS$x}", self.mark);
        let size = usize::from(self.options.size);
        text.extend(std::iter::repeat_n('.', size.saturating_sub(text.len())));
        let sender = usize::try_from(number % self.members.len() as u64).unwrap_or(0);
        let now = self.clock.now();
        let member = &mut self.members[sender];
        self.tally.sent += 1;
        self.tally.expected += self.joined as u64;
        if member.link.send(&Frame::Say { text: &text }).is_err() {
            return;
        }
        member.link.advance(now, self.poll.registry());
        if member.link.has_more() {
            self.unread.push(sender);
        }
    }

    /// Moves one client's bytes and takes its frames.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "a swarm looks at messages and ignores the rest of the chat"
    )]
    fn serve(&mut self, now: Timestamp, index: usize) -> Result<(), ClientError> {
        let Some(member) = self.members.get_mut(index) else {
            return Ok(());
        };
        member.link.advance(now, self.poll.registry());
        let mut pings = Vec::new();
        loop {
            let frame = match member.link.next_frame() {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(error) => return Err(ClientError::Server(error.to_string())),
            };
            match frame {
                Frame::Message(message) => {
                    if let Some(due_us) = due_of(message.text, self.mark) {
                        let latency = (now.as_nanos() / 1000).saturating_sub(due_us);
                        self.tally.delivered += 1;
                        self.tally.latency_us.saturating_record(latency.max(1));
                    }
                }
                Frame::Welcome(_) if !std::mem::replace(&mut member.joined, true) => {
                    self.joined += 1;
                }
                Frame::Error(error) if error.fatal || !member.joined => {
                    return Err(ClientError::from_server(error.code, error.text));
                }
                Frame::Ping { nonce, .. } => pings.push(nonce),
                _ => {}
            }
            if member.joined {
                member.link.set_up();
            }
        }
        for nonce in pings {
            let from = Side::Client;
            // A connection that takes no answer is lost, and told so below or at the next event.
            let _ = member.link.send(&Frame::Pong { from, nonce });
        }
        if member.link.queued_bytes() > 0 {
            member.link.advance(now, self.poll.registry());
        }
        if member.link.has_more() && member.joined {
            self.unread.push(index);
        }
        while let Some(news) = member.link.next_news() {
            match news {
                LinkNews::FirstContact(_) | LinkNews::Pausing { .. } => {}
                LinkNews::Failed(error) => return Err(error),
                LinkNews::Lost(reason) => {
                    tracing::warn!(client = index, reason, "a client lost its connection");
                    self.tally.lost_clients += 1;
                }
            }
        }
        Ok(())
    }

    fn sleep(&mut self, events: &mut Events, until: Option<Timestamp>) -> Result<(), ClientError> {
        let now = self.clock.now();
        match until {
            Some(at) if at > now => self.timer.arm(at),
            Some(_) => Ok(()),
            None => self.timer.disarm(),
        }
        .map_err(system("set a timer"))?;
        let timeout = self.timer.poll_timeout(now, until);
        match self.poll.poll(events, timeout) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => events.clear(),
            Err(source) => return Err(system("wait for events")(source)),
        }
        if events.iter().any(|event| event.token() == TIMER) {
            self.timer.acknowledge();
        }
        if self.stop.load(Ordering::Relaxed) {
            return Err(ClientError::Stopped { terminated: false });
        }
        Ok(())
    }

    /// Says goodbye for all.
    fn leave(&mut self) -> Result<(), ClientError> {
        let mut events = Events::with_capacity(1024);
        let give_up_at = self.clock.now() + GOODBYE_FOR;
        let lost = self.tally.lost_clients;
        for member in &mut self.members {
            // A connection that is gone needs no goodbye.
            let _ = member.link.send(&Frame::Leave);
            member.link.close();
        }
        loop {
            let now = self.clock.now();
            let mut open = 0;
            for index in 0..self.members.len() {
                if !self.members[index].link.is_closed() {
                    self.members[index].link.advance(now, self.poll.registry());
                    while self.members[index].link.next_news().is_some() {}
                    open += usize::from(!self.members[index].link.is_closed());
                }
            }
            if open == 0 || now >= give_up_at {
                self.tally.lost_clients = lost;
                return Ok(());
            }
            self.sleep(&mut events, Some(give_up_at))?;
        }
    }

    fn report(&mut self) -> Result<(), ClientError> {
        let tally = &mut self.tally;
        let missing = tally.expected.saturating_sub(tally.delivered);
        // What never came counts as a value, too: the time for which it was waited.
        if missing > 0 {
            let waited = u64::try_from(STRAGGLERS_FOR.as_micros()).unwrap_or(MAX_LATENCY_US);
            tally.latency_us.saturating_record_n(waited, missing);
        }
        let tally = &self.tally;
        let latency = &tally.latency_us;
        let at = |quantile| latency.value_at_quantile(quantile);
        let event = json!({
            "event": "done",
            "clients": self.joined,
            "sent": tally.sent,
            "delivered": tally.delivered,
            "expected": tally.expected,
            "latency_us": {
                "p50": at(0.5),
                "p90": at(0.9),
                "p99": at(0.99),
                "p999": at(0.999),
                "max": latency.max(),
            },
        });
        self.say(&event, || {
            format!(
                "{} clients, {} messages sent, {} of {} deliveries; \
                 latency p50 {} µs, p99 {} µs, p99.9 {} µs, max {} µs",
                self.joined,
                tally.sent,
                tally.delivered,
                tally.expected,
                at(0.5),
                at(0.99),
                at(0.999),
                latency.max()
            )
        })?;
        if tally.lost_clients > 0 {
            return Err(ClientError::Lost(format!(
                "{} of {} clients",
                tally.lost_clients, self.joined
            )));
        }
        Ok(())
    }
}

/// When a message of this run was due, in microseconds of the swarm's clock.
fn due_of(text: &str, mark: u32) -> Option<u64> {
    let (time, rest) = text.split_at_checked(TIME_DIGITS)?;
    let (theirs, _) = rest.split_at_checked(MARK_DIGITS)?;
    if u32::from_str_radix(theirs, 16).ok()? != mark {
        return None;
    }
    u64::from_str_radix(time, 16).ok()
}

#[cfg(unix)]
fn stop_flag() -> Arc<AtomicBool> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // The second signal ends the program at once.
        let code = 128 + signal;
        let registered =
            signal_hook::flag::register_conditional_shutdown(signal, code, Arc::clone(&flag))
                .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&flag)));
        if let Err(error) = registered {
            tracing::debug!(%error, signal, "the signal ends the program at once");
        }
    }
    flag
}

#[cfg(not(unix))]
fn stop_flag() -> Arc<AtomicBool> {
    Arc::default()
}

/// As many descriptors as the system lets us have.
fn raise_descriptor_limit() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let limit = getrlimit(Resource::Nofile);
        let raised = Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::debug!(%error, "the descriptor limit stays as it is");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_carry_when_they_were_due() {
        let text = format!("{:010x}{:06x}....", 123_456_789_u64, 0xab_cdef);
        assert_eq!(due_of(&text, 0xab_cdef), Some(123_456_789));
        assert_eq!(due_of(&text, 0xab_cdee), None);
        for other in ["", "hello", "ééééééééééééééééé", "0123456789abcdeg"] {
            assert_eq!(due_of(other, 0xab_cdef), None);
        }
    }
}
