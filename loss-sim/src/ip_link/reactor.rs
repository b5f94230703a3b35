//! The link's one thread: a poll, two devices, and the path between them.

use std::io::{self, ErrorKind};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use mio::{Events, Poll, Waker};
use tracing::debug;

use super::config::{IpLinkConfig, IpLinkError};
use super::device::Device;
use super::end::{End, Side};
use super::namespace::{self, Namespace};
use super::packet::IpPacket;
use crate::Nanos;
use crate::delay::duration_nanos;
use crate::path::{Direction, Path};
use crate::proxy::PathReport;
use crate::proxy::datagram::BufferPool;
use crate::proxy::handle::{Mailbox, PathHandle};
use crate::proxy::log::{self, DecisionLog, push_logged};
use crate::proxy::overload::Overload;
use crate::proxy::signals::Signals;
use crate::proxy::steering::{self, Wish};
use crate::proxy::timer::{Clock, PreciseTimer};
use crate::proxy::token::Source;
use crate::scenario::Scenario;

/// Events taken from the kernel at once.
const EVENTS: usize = 16;
/// Packets read from one device before the other gets its turn.
const READ_BUDGET: usize = 256;
/// Room for any IP packet.
const MAX_PACKET_BYTES: usize = 65_536;
/// How often the kernel's drop counters are looked at.
const HOUSEKEEPING: Duration = Duration::from_secs(1);
/// Least time between two deliveries while the link is busy, as in the proxy: packets then go out a few at
/// a time, none more than this late.
const COALESCE: Duration = Duration::from_micros(100);
/// Links that one process may have at a time.
const MAX_LINKS: u32 = 1000;

/// A link between two network namespaces, with a bad network inside.
pub struct IpLink {
    // The devices go before the namespaces they are in.
    devices: Devices,
    left: End,
    right: End,
    poll: Poll,
    clock: Clock,
    timer: PreciseTimer,
    path: Path<IpPacket>,
    pool: BufferPool,
    scratch: Vec<u8>,
    /// Devices that had more than their budget: their next event may never come.
    unfinished: Vec<Direction>,
    housekeeping_at: Nanos,
    /// Not to deliver before this, see [`COALESCE`].
    deliver_from: Nanos,
    ends_at: Option<Nanos>,
    lifetime: Option<Duration>,
    scenario: Option<Scenario>,
    log: Option<DecisionLog>,
    mailbox: Mailbox,
    handle: PathHandle,
    signals: Option<Signals>,
    overload: Overload,
    is_stopping: bool,
}

/// Both devices, by where they stand.
struct Devices {
    left: Device,
    right: Device,
}

impl Devices {
    /// The one where packets of a direction come in.
    fn near(&mut self, direction: Direction) -> &mut Device {
        match direction {
            Direction::Up => &mut self.left,
            Direction::Down => &mut self.right,
        }
    }

    /// The one where they go out.
    fn far(&mut self, direction: Direction) -> &mut Device {
        self.near(direction.opposite())
    }
}

impl IpLink {
    /// Makes two namespaces with a device each. Programs can use them from now on; their packets are
    /// relayed once [`run`](Self::run) is called. Also removes what links have left behind whose process
    /// was killed.
    ///
    /// # Errors
    /// An impairment out of range; a caller who is not root; a system without TUN devices.
    pub fn create(config: &IpLinkConfig) -> Result<Self, IpLinkError> {
        config.validate()?;
        let mut path =
            Path::new(config.up.clone(), config.down.clone(), config.seed).map_err(|error| {
                IpLinkError::Impairment {
                    direction: Direction::Up,
                    error,
                }
            })?;
        if let Some(script) = config.replay.clone() {
            path.repeat(script);
        }
        let log = config.log.as_ref().map(|file| {
            DecisionLog::create(file, config.seed).map_err(|error| IpLinkError::Log {
                file: file.clone(),
                error,
            })
        });
        let log = log.transpose()?;
        namespace::prepare_directory()
            .map_err(IpLinkError::system("make the directory /run/netns"))?;
        namespace::remove_leftovers().map_err(IpLinkError::system("list /run/netns"))?;
        let [left, right] =
            create_namespaces().map_err(IpLinkError::system("make a network namespace"))?;
        let (left, left_device) = End::create(Side::Left, config.mtu, left)?;
        let (right, right_device) = End::create(Side::Right, config.mtu, right)?;
        let devices = Devices {
            left: left_device,
            right: right_device,
        };
        Self::assemble(config, path, log, (left, right), devices)
            .map_err(IpLinkError::system("poll the devices"))
    }

    fn assemble(
        config: &IpLinkConfig,
        path: Path<IpPacket>,
        log: Option<DecisionLog>,
        (left, right): (End, End),
        mut devices: Devices,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let registry = poll.registry();
        for direction in Direction::BOTH {
            let device = devices.near(direction);
            device.register(registry, Source::Device(direction).into())?;
        }
        let waker = Waker::new(registry, Source::Waker.into())?;
        let timer = PreciseTimer::new(registry)?;
        let (handle, mailbox) = PathHandle::new(None, waker);
        Ok(Self {
            devices,
            left,
            right,
            poll,
            clock: Clock::new(),
            timer,
            path,
            pool: BufferPool::default(),
            scratch: vec![0; MAX_PACKET_BYTES],
            // What was sent before the poll knew of the devices.
            unfinished: Direction::BOTH.to_vec(),
            housekeeping_at: 0,
            deliver_from: 0,
            ends_at: None,
            lifetime: config.lifetime,
            scenario: config.scenario.clone(),
            log,
            mailbox,
            handle,
            signals: None,
            overload: Overload::default(),
            is_stopping: false,
        })
    }

    /// Makes a link and runs it on a thread of its own.
    ///
    /// # Errors
    /// As [`create`](Self::create), or when no thread can be started.
    pub fn spawn(config: &IpLinkConfig) -> Result<SpawnedIpLink, IpLinkError> {
        let link = Self::create(config)?;
        let (left, right, handle) = (link.left.clone(), link.right.clone(), link.handle());
        let thread = thread::Builder::new()
            .name("loss-sim-link".into())
            .spawn(move || link.run())
            .map_err(IpLinkError::system("start a thread"))?;
        Ok(SpawnedIpLink {
            left,
            right,
            handle,
            thread: Some(thread),
        })
    }

    /// One of its ends.
    #[must_use]
    pub fn end(&self, side: Side) -> &End {
        match side {
            Side::Left => &self.left,
            Side::Right => &self.right,
        }
    }

    /// A handle that works from any thread.
    #[must_use]
    pub fn handle(&self) -> PathHandle {
        self.handle.clone()
    }

    /// Has SIGINT, SIGTERM and SIGQUIT end [`run`](Self::run) in good order.
    ///
    /// # Errors
    /// Signals that can't be caught.
    pub fn stop_on_signals(&mut self) -> Result<(), IpLinkError> {
        let signals = Signals::new(self.poll.registry(), &self.handle)
            .map_err(IpLinkError::system("catch signals"))?;
        self.signals = Some(signals);
        Ok(())
    }

    /// Relays until it is told to stop or its time is over, removes the namespaces, and gives the final
    /// counters.
    ///
    /// # Errors
    /// A failing poll, timer or device.
    pub fn run(mut self) -> Result<PathReport, IpLinkError> {
        let mut events = Events::with_capacity(EVENTS);
        let start = self.clock.now();
        self.ends_at = self
            .lifetime
            .map(|lifetime| start.saturating_add(duration_nanos(lifetime)));
        while !self.is_stopping {
            let timeout = self
                .timeout()
                .map_err(IpLinkError::system("set the timer"))?;
            match self.poll.poll(&mut events, timeout) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(IpLinkError::system("poll")(error)),
            }
            self.turn(&events)
                .map_err(IpLinkError::system("read from a device"))?;
            self.mailbox.publish(self.report());
        }
        let dropped = self.count_kernel_drops();
        self.overload
            .look(self.clock.now(), &self.report(), dropped);
        log::finish(&mut self.log);
        self.mailbox.publish(self.report());
        Ok(self.report())
    }

    fn report(&self) -> PathReport {
        steering::report_of(&self.path)
    }

    /// How long to poll: until something is due, or not at all while there is work.
    fn timeout(&mut self) -> io::Result<Option<Duration>> {
        if !self.unfinished.is_empty() {
            return Ok(Some(Duration::ZERO));
        }
        let delivery = self.path.next_delivery();
        let times = [
            delivery.map(|due| due.max(self.deliver_from)),
            Some(self.housekeeping_at),
            self.ends_at,
            self.scenario.as_ref().and_then(Scenario::next_step),
        ];
        let deadline = times.into_iter().flatten().min();
        self.timer.arm(self.clock.now(), deadline)
    }

    /// One turn of the loop: packets in, then everything that is due out.
    fn turn(&mut self, events: &Events) -> io::Result<()> {
        let now = self.clock.now();
        // There are no clients to be moved.
        while steering::follow(self.scenario.as_mut(), &mut self.path, now).is_some() {}
        for direction in std::mem::take(&mut self.unfinished) {
            self.read(direction)?;
        }
        for event in events {
            match Source::try_from(event.token()) {
                Ok(Source::Device(direction)) => self.read(direction)?,
                Ok(Source::Timer) => self.timer.fired(),
                Ok(Source::Waker) => self.obey(self.clock.now()),
                Ok(Source::Signals) => {
                    self.is_stopping |= self.signals.as_mut().is_some_and(Signals::received);
                }
                // The proxy's; a link has none of them.
                Ok(
                    Source::UdpListener
                    | Source::TcpListener
                    | Source::Flow(_)
                    | Source::Client(_)
                    | Source::Upstream(_),
                )
                | Err(()) => {}
            }
        }
        let now = self.clock.now();
        if self.path.next_delivery().is_some_and(|due| due <= now) {
            self.deliver(now);
            self.deliver_from = now.saturating_add(duration_nanos(COALESCE));
        }
        if now >= self.housekeeping_at {
            self.housekeeping_at = now.saturating_add(duration_nanos(HOUSEKEEPING));
            let dropped = self.count_kernel_drops();
            self.overload.look(now, &self.report(), dropped);
        }
        self.is_stopping |= self.ends_at.is_some_and(|end| end <= now);
        Ok(())
    }

    /// Offers the path what a device has, up to a budget.
    fn read(&mut self, direction: Direction) -> io::Result<()> {
        for _ in 0..READ_BUDGET {
            let len = self.devices.near(direction).read(&mut self.scratch)?;
            if len == 0 {
                return Ok(());
            }
            // The time after reading it: one from before would have it arrive too early.
            let now = self.clock.now();
            let bytes = self.scratch.get(..len).unwrap_or_default();
            let packet = IpPacket(self.pool.copy_of(bytes));
            push_logged(&mut self.log, &mut self.path, direction, now, packet);
        }
        if !self.unfinished.contains(&direction) {
            self.unfinished.push(direction);
        }
        Ok(())
    }

    /// Hands on everything that has arrived by `now`.
    fn deliver(&mut self, now: Nanos) {
        for direction in Direction::BOTH {
            let device = self.devices.far(direction);
            let link = self.path.link_mut(direction);
            while let Some(delivery) = link.poll_deliver(now) {
                let IpPacket(bytes) = delivery.payload;
                if let Err(error) = device.write(&bytes) {
                    debug!("a packet of {} bytes is refused: {error}", bytes.len());
                    link.record_drops_after(1, bytes.len() as u64);
                }
                self.pool.give_back(bytes);
            }
        }
    }

    /// Counts what the kernel dropped because it was not read in time, and tells how much: upwards and
    /// downwards.
    fn count_kernel_drops(&mut self) -> (u64, u64) {
        let [up, down] = Direction::BOTH.map(|direction| {
            let drops = self.devices.near(direction).dropped_since_last();
            self.path.link_mut(direction).record_drops_before(drops);
            drops
        });
        (up, down)
    }

    /// Does what handles have asked for.
    fn obey(&mut self, now: Nanos) {
        while let Some(wish) = steering::obey(&self.mailbox, &mut self.path, now) {
            match wish {
                Wish::Stop => self.is_stopping = true,
                // The handle has refused it: there are no clients.
                Wish::Rebind(_) => {}
            }
        }
    }
}

/// Makes two namespaces of this process that nobody has yet.
fn create_namespaces() -> io::Result<[Namespace; 2]> {
    for number in 1..MAX_LINKS {
        let [left, right] = namespace::names(number);
        let left = match Namespace::create(left) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
            result => result?,
        };
        match Namespace::create(right) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            result => return Ok([left, result?]),
        }
    }
    Err(ErrorKind::AlreadyExists.into())
}

/// A link on a thread of its own; it ends when this is dropped.
#[derive(Debug)]
pub struct SpawnedIpLink {
    left: End,
    right: End,
    handle: PathHandle,
    thread: Option<JoinHandle<Result<PathReport, IpLinkError>>>,
}

impl SpawnedIpLink {
    /// One of its ends.
    #[must_use]
    pub fn end(&self, side: Side) -> &End {
        match side {
            Side::Left => &self.left,
            Side::Right => &self.right,
        }
    }

    /// To read its counters and to change it.
    #[must_use]
    pub fn handle(&self) -> &PathHandle {
        &self.handle
    }

    /// Ends the link and gives the final counters.
    ///
    /// # Errors
    /// What ended the link before.
    pub fn stop(mut self) -> Result<PathReport, IpLinkError> {
        self.handle.stop();
        self.join()
    }

    fn join(&mut self) -> Result<PathReport, IpLinkError> {
        let gone = || io::Error::from(ErrorKind::BrokenPipe);
        let failed = || IpLinkError::system("reach the thread of the link")(gone());
        let thread = self.thread.take().ok_or_else(failed)?;
        thread.join().unwrap_or_else(|_| Err(failed()))
    }
}

impl Drop for SpawnedIpLink {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.handle.stop();
            // Whoever drops the link has no use for its counters or its error.
            let _ = self.join();
        }
    }
}
