//! Many members of chat services on one thread and one poll.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use columba_core::units::Timestamp;
use columba_net::clock::Clock;
use columba_net::control_stream::{ControlStream, ReadStop};
use columba_net::identity::{Fingerprint, Identity};
use columba_net::timer::PreciseTimer;
use columba_net::tls::{PinCheck, client_config};
use mio::event::Event;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::dialect::{Columba, Dialect, Heard, Nats, Redis};

const TIMER: Token = Token(usize::MAX);
/// Members that connect at the same time.
const JOINING_AT_ONCE: usize = 128;
/// Bytes that may wait for a service that does not read.
const MAX_QUEUED_BYTES: usize = 16 << 20;
/// Bytes read from one member at a time.
const READ_BUDGET_BYTES: usize = 64 << 10;
/// How often whoever runs this is asked whether to go on.
const LOOK_AROUND_EVERY: Duration = Duration::from_millis(100);
/// How long joining may take, all together, without any progress.
const JOIN_PATIENCE: Duration = Duration::from_secs(30);

/// A chat service to talk to.
#[derive(Debug, Clone)]
pub(crate) enum Service {
    Columba {
        address: SocketAddr,
        /// `None`: plaintext.
        key: Option<Fingerprint>,
    },
    Redis(SocketAddr),
    Nats(SocketAddr),
}

impl Service {
    /// The row's name.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Columba { .. } => "columba",
            Self::Redis(_) => "redis",
            Self::Nats(_) => "nats",
        }
    }

    pub(crate) const fn is_encrypted(&self) -> bool {
        matches!(self, Self::Columba { key: Some(_), .. })
    }

    /// Whether publishers need connections of their own.
    pub(crate) const fn has_separate_publishers(&self) -> bool {
        matches!(self, Self::Redis(_))
    }

    const fn address(&self) -> SocketAddr {
        match self {
            Self::Columba { address, .. } | Self::Redis(address) | Self::Nats(address) => *address,
        }
    }

    fn dialect(&self, subscribes: bool) -> Box<dyn Dialect> {
        // A name belongs to the first key that used it, and each connection has its own.
        static NAMES: AtomicU64 = AtomicU64::new(0);
        match self {
            Self::Columba { .. } => {
                let number = NAMES.fetch_add(1, Ordering::Relaxed);
                let name = format!("bench{}n{number}", std::process::id());
                Box::new(Columba::new(name, self.is_encrypted()))
            }
            Self::Redis(_) => Box::new(Redis::new(subscribes)),
            Self::Nats(_) => Box::new(Nats::default()),
        }
    }

    fn stream(&self) -> Result<ControlStream> {
        let address = self.address();
        let tcp = TcpStream::connect(address)
            .with_context(|| format!("cannot connect to {} at {address}", self.name()))?;
        // A socket that is still connecting takes options, too; without this one it is only slower.
        let _ = tcp.set_nodelay(true);
        let Self::Columba { key: Some(key), .. } = self else {
            return Ok(ControlStream::plaintext(tcp, MAX_QUEUED_BYTES));
        };
        let identity = Identity::generate().context("no key can be made")?;
        let tls = client_config(&identity, PinCheck::Exactly(*key))?;
        ControlStream::tls_client(tcp, &tls, MAX_QUEUED_BYTES).map_err(|error| anyhow!("{error}"))
    }
}

/// What a member is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Hears what is published, and publishes where the service lets it.
    Subscriber,
    /// Only publishes.
    Publisher,
    /// Subscribes, but reads only now and then: see [`Crowd::let_slow_readers_read`].
    SlowReader,
}

struct Member {
    service: Service,
    stream: ControlStream,
    dialect: Box<dyn Dialect>,
    part: Part,
    is_in: bool,
    /// Reads what comes.
    reads: bool,
    /// It stands in the list of those with more to read.
    in_unread: bool,
}

/// The members, and the only thing that touches their sockets.
pub(crate) struct Crowd {
    poll: Poll,
    events: Events,
    clock: Clock,
    timer: PreciseTimer,
    members: Vec<Member>,
    /// Members with more to read for which no event will come.
    unread: Vec<usize>,
    scratch: Vec<u8>,
    looked_around: Timestamp,
    /// How often the service cut a slow reader off.
    pub(crate) cut_off: u64,
}

/// Called now and then; an error ends everything.
pub(crate) type LookAround<'l> = &'l mut dyn FnMut() -> Result<()>;

/// Hears every published text: the member, the text, when it came.
pub(crate) type Ears<'e> = &'e mut dyn FnMut(&[u8], Timestamp);

impl Crowd {
    /// Nobody yet.
    pub(crate) fn new() -> Result<Self> {
        let clock = Clock::new();
        let poll = Poll::new().context("cannot make a poll")?;
        let mut timer = PreciseTimer::new(clock).context("cannot make a timer")?;
        poll.registry()
            .register(&mut timer, TIMER, Interest::READABLE)
            .context("cannot poll a timer")?;
        Ok(Self {
            poll,
            events: Events::with_capacity(1024),
            clock,
            timer,
            members: Vec::new(),
            unread: Vec::new(),
            scratch: Vec::new(),
            looked_around: Timestamp::ZERO,
            cut_off: 0,
        })
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Members join, a bounded number at a time; returns when all are in. `joined` hears how many there are.
    pub(crate) fn join(
        &mut self,
        service: &Service,
        part: Part,
        count: usize,
        look_around: LookAround<'_>,
        joined: &mut dyn FnMut(usize),
    ) -> Result<()> {
        let first = self.members.len();
        let mut give_up_at = self.now() + JOIN_PATIENCE;
        let mut in_before = 0;
        loop {
            let is_in = self.members[first..].iter().filter(|one| one.is_in).count();
            if is_in > in_before {
                in_before = is_in;
                give_up_at = self.now() + JOIN_PATIENCE;
                joined(is_in);
            }
            if is_in == count {
                return Ok(());
            }
            while self.members.len() - first < count
                && self.members.len() - first - is_in < JOINING_AT_ONCE
            {
                self.add(service, part)?;
            }
            if self.now() >= give_up_at {
                bail!(
                    "{} let in {is_in} of {count} members, then none for {JOIN_PATIENCE:?}",
                    service.name()
                );
            }
            self.turn(give_up_at, look_around, &mut |_, _| {})?;
        }
    }

    fn add(&mut self, service: &Service, part: Part) -> Result<()> {
        let member = self.make(self.members.len(), service, part)?;
        self.members.push(member);
        Ok(())
    }

    fn make(&mut self, index: usize, service: &Service, part: Part) -> Result<Member> {
        let mut stream = service.stream()?;
        let mut dialect = service.dialect(part != Part::Publisher);
        let mut greeting = Vec::new();
        dialect.greet(&mut greeting)?;
        stream.queue(Bytes::from(greeting))?;
        let interests = Interest::READABLE | Interest::WRITABLE;
        self.poll
            .registry()
            .register(&mut stream, Token(index), interests)
            .context("cannot poll a connection")?;
        Ok(Member {
            service: service.clone(),
            stream,
            dialect,
            part,
            is_in: false,
            reads: true,
            in_unread: false,
        })
    }

    /// A member publishes a text. False when the service is so far behind that it takes no more.
    pub(crate) fn publish(&mut self, member: usize, text: &str) -> Result<bool> {
        let member = &mut self.members[member];
        self.scratch.clear();
        member.dialect.publish(text, &mut self.scratch)?;
        Ok(member
            .stream
            .queue(Bytes::copy_from_slice(&self.scratch))
            .is_ok())
    }

    /// Sends what a member has queued.
    pub(crate) fn flush(&mut self, member: usize) -> Result<()> {
        let stream = &mut self.members[member].stream;
        match stream.flush() {
            Ok(_) => Ok(()),
            Err(error) => Err(self.lost(member, &error)),
        }
    }

    fn lost(&self, member: usize, error: &dyn std::fmt::Display) -> anyhow::Error {
        let service = &self.members[member].service;
        let (name, address) = (service.name(), service.address());
        anyhow!("member {member} lost {name} at {address}: {error}")
    }

    /// Waits until something comes or `until`, and hears it.
    pub(crate) fn turn(
        &mut self,
        until: Timestamp,
        look_around: LookAround<'_>,
        ears: Ears<'_>,
    ) -> Result<()> {
        let now = self.now();
        if now >= self.looked_around + LOOK_AROUND_EVERY {
            self.looked_around = now;
            look_around()?;
        }
        let until = if self.unread.is_empty() {
            until.min(now + LOOK_AROUND_EVERY)
        } else {
            now
        };
        let timeout = if until > now {
            self.timer.arm(until).context("cannot set a timer")?;
            self.timer.poll_timeout(now, Some(until))
        } else {
            Some(Duration::ZERO)
        };
        let mut events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        let polled = match self.poll.poll(&mut events, timeout) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {
                events.clear();
                Ok(())
            }
            polled => polled.context("cannot wait for events"),
        };
        polled?;
        for index in std::mem::take(&mut self.unread) {
            self.members[index].in_unread = false;
            self.serve(index, None, ears)?;
        }
        for event in &events {
            if event.token() == TIMER {
                self.timer.acknowledge();
            } else {
                self.serve(event.token().0, Some(event), ears)?;
            }
        }
        self.events = events;
        Ok(())
    }

    /// Moves one member's bytes.
    fn serve(&mut self, index: usize, event: Option<&Event>, ears: Ears<'_>) -> Result<()> {
        let member = &mut self.members[index];
        let outcome = advance(member, event, &self.clock, ears);
        match outcome {
            Ok(true) => {
                if !member.in_unread {
                    member.in_unread = true;
                    self.unread.push(index);
                }
                Ok(())
            }
            Ok(false) => Ok(()),
            // A slow reader is cut off for being one, and comes again.
            Err(_) if member.part == Part::SlowReader && member.is_in => self.come_again(index),
            Err(error) => Err(self.lost(index, &format!("{error:#}"))),
        }
    }

    fn come_again(&mut self, index: usize) -> Result<()> {
        self.cut_off += 1;
        let old = &mut self.members[index];
        // A socket that is closed leaves the poll by itself.
        let _ = self.poll.registry().deregister(&mut old.stream);
        let service = old.service.clone();
        let again = self.make(index, &service, Part::SlowReader)?;
        self.members[index] = again;
        Ok(())
    }

    /// Slow readers read what has gathered, until there is no more, or stop reading.
    pub(crate) fn let_slow_readers_read(&mut self, reads: bool) {
        for (index, member) in self.members.iter_mut().enumerate() {
            if member.part == Part::SlowReader {
                member.reads = reads;
                if reads && !member.in_unread {
                    member.in_unread = true;
                    self.unread.push(index);
                }
            }
        }
    }
}

/// Reads, hears, answers and sends. `Ok(true)`: there is more to read at once.
fn advance(
    member: &mut Member,
    event: Option<&Event>,
    clock: &Clock,
    ears: Ears<'_>,
) -> Result<bool> {
    if event.is_some_and(Event::is_writable)
        && let Some(error) = member.stream.take_error()?
    {
        bail!("{error}");
    }
    let mut more = false;
    let is_readable = event.is_none_or(|event| event.is_readable() || event.is_read_closed());
    if is_readable && (member.reads || !member.is_in) {
        let read = member
            .stream
            .read(member.dialect.inbox(), READ_BUDGET_BYTES)?;
        let at = clock.now();
        let mut answers = Vec::new();
        while let Some(heard) = member.dialect.next()? {
            match heard {
                Heard::Ready => member.is_in = true,
                Heard::Text(text) if member.part == Part::Subscriber => ears(text, at),
                Heard::Text(_) | Heard::Other => {}
                Heard::Answer(answer) => answers.push(answer),
            }
        }
        for answer in answers {
            member.stream.queue(Bytes::from(answer))?;
        }
        match read.stop {
            // A slow reader reads no more until it is told to.
            ReadStop::Drained => member.reads = member.part != Part::SlowReader || !member.is_in,
            ReadStop::BudgetSpent => more = true,
            ReadStop::PeerClosed | ReadStop::Truncated => bail!("it hung up"),
        }
    }
    if member.stream.wants_write() {
        // What is left leaves with the next writable event.
        let _ = member.stream.flush()?;
    }
    Ok(more)
}

/// As many descriptors as the system lets us have, which is what it returns; children get the same.
pub(crate) fn raise_descriptor_limit() -> Option<u64> {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let limit = getrlimit(Resource::Nofile);
        let raised = Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        };
        // A limit that stays as it is, is told.
        let _ = setrlimit(Resource::Nofile, raised);
        getrlimit(Resource::Nofile).current
    }
    #[cfg(not(unix))]
    None
}
