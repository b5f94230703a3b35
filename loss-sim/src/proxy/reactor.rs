//! The proxy's one thread: a poll, the two relays, and the path between their sockets.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use mio::{Events, Poll, Waker};

use crate::Nanos;
use crate::delay::duration_nanos;
use crate::path::{Direction, Path};
use crate::proxy::config::{ProxyConfig, ProxyError};
use crate::proxy::datagram::Datagram;
use crate::proxy::handle::{Mailbox, ProxyHandle, SpawnedProxy};
use crate::proxy::log::DecisionLog;
use crate::proxy::overload::Overload;
use crate::proxy::report::PathReport;
use crate::proxy::signals::Signals;
use crate::proxy::sockets;
use crate::proxy::steering::{self, Wish};
use crate::proxy::tcp::TcpRelay;
use crate::proxy::timer::{Clock, PreciseTimer};
use crate::proxy::token::Source;
use crate::proxy::udp::UdpRelay;
use crate::scenario::{Rebind, Scenario};

/// Events taken from the kernel at once.
const EVENTS: usize = 256;

/// How often silent clients and the kernel's drop counters are looked at while there are UDP clients.
const HOUSEKEEPING: Duration = Duration::from_secs(1);

/// Least time between two deliveries of datagrams while the path is busy, as a network card coalesces
/// interrupts: at high rates packets go out a few at a time, none more than this late, rather than each
/// with a wake-up of its own. A packet that comes alone is in time.
const COALESCE: Duration = Duration::from_micros(100);

/// A relay for TCP and UDP with a bad network inside.
pub struct Proxy {
    poll: Poll,
    clock: Clock,
    timer: PreciseTimer,
    path: Path<Datagram>,
    udp: UdpRelay,
    tcp: TcpRelay,
    /// Sources that had more than their budget: their next event may never come.
    unfinished: Vec<Source>,
    housekeeping_at: Nanos,
    /// Not to deliver before this, see [`COALESCE`].
    deliver_from: Nanos,
    scenario: Option<Scenario>,
    mailbox: Mailbox,
    handle: ProxyHandle,
    signals: Option<Signals>,
    overload: Overload,
    is_stopping: bool,
}

impl Proxy {
    /// Takes the sockets; clients can connect from now on, and are served once [`run`](Self::run) is
    /// called.
    ///
    /// # Errors
    /// An impairment out of range, an address that can't be had, or a system out of descriptors.
    pub fn bind(config: &ProxyConfig) -> Result<Self, ProxyError> {
        config.validate()?;
        let mut path =
            Path::new(config.up.clone(), config.down.clone(), config.seed).map_err(|error| {
                ProxyError::Impairment {
                    direction: Direction::Up,
                    error,
                }
            })?;
        if let Some(script) = config.replay.clone() {
            path.repeat(script);
        }
        let listen_error = |error| ProxyError::Listen {
            address: config.listen,
            error,
        };
        let (tcp, udp) = sockets::listen(config.listen).map_err(listen_error)?;
        let address = tcp.local_addr().map_err(listen_error)?;
        let log = config.log.as_ref().map(|file| {
            DecisionLog::create(file, config.seed).map_err(|error| ProxyError::Log {
                file: file.clone(),
                error,
            })
        });
        let log = log.transpose()?;
        let poll = Poll::new().map_err(ProxyError::system("make a poll"))?;
        let registry = poll.registry();
        let register = ProxyError::system;
        let waker = Waker::new(registry, Source::Waker.into()).map_err(register("make a waker"))?;
        let timer = PreciseTimer::new(registry).map_err(register("make a timer"))?;
        let clock = Clock::new();
        let udp = UdpRelay::new(udp, config.upstream, config.rebinding, log, clock, registry)
            .map_err(register("poll UDP"))?;
        let faults = (config.tcp_faults, config.seed);
        let tcp =
            TcpRelay::new(tcp, config.upstream, faults, registry).map_err(register("poll TCP"))?;
        let (handle, mailbox) = ProxyHandle::new(address, config.upstream, waker);
        Ok(Self {
            poll,
            clock,
            timer,
            path,
            udp,
            tcp,
            unfinished: Vec::new(),
            housekeeping_at: 0,
            deliver_from: 0,
            scenario: config.scenario.clone(),
            mailbox,
            handle,
            signals: None,
            overload: Overload::default(),
            is_stopping: false,
        })
    }

    /// Binds and runs a proxy on a thread of its own.
    ///
    /// # Errors
    /// As [`bind`](Self::bind), or when no thread can be started.
    pub fn spawn(config: &ProxyConfig) -> Result<SpawnedProxy, ProxyError> {
        let proxy = Self::bind(config)?;
        let handle = proxy.handle();
        let thread = thread::Builder::new()
            .name("loss-sim".into())
            .spawn(move || proxy.run())
            .map_err(ProxyError::system("start a thread"))?;
        Ok(SpawnedProxy::new(handle, thread))
    }

    /// Where clients connect and send to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.handle.address()
    }

    /// A handle that works from any thread.
    #[must_use]
    pub fn handle(&self) -> ProxyHandle {
        self.handle.clone()
    }

    /// Has SIGINT and SIGTERM end [`run`](Self::run) in good order.
    ///
    /// # Errors
    /// Signals that can't be caught.
    pub fn stop_on_signals(&mut self) -> Result<(), ProxyError> {
        let signals = Signals::new(self.poll.registry(), &self.handle)
            .map_err(ProxyError::system("catch signals"))?;
        self.signals = Some(signals);
        Ok(())
    }

    /// Relays until it is told to stop, and gives the final counters.
    ///
    /// # Errors
    /// A failing poll or timer.
    pub fn run(mut self) -> Result<PathReport, ProxyError> {
        let mut events = Events::with_capacity(EVENTS);
        while !self.is_stopping {
            let timeout = self
                .timeout()
                .map_err(ProxyError::system("set the timer"))?;
            match self.poll.poll(&mut events, timeout) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(ProxyError::system("poll")(error)),
            }
            self.turn(&events);
            self.mailbox.publish(self.report());
        }
        let dropped = self.udp.count_kernel_drops(&mut self.path);
        self.overload
            .look(self.clock.now(), &self.report(), dropped);
        self.udp.finish_log();
        self.mailbox.publish(self.report());
        Ok(self.report())
    }

    fn report(&self) -> PathReport {
        steering::report_of(&self.path)
    }

    /// How long to poll: until the next packet, or not at all while there is work.
    fn timeout(&mut self) -> io::Result<Option<Duration>> {
        if !self.unfinished.is_empty() {
            return Ok(Some(Duration::ZERO));
        }
        let housekeeping = self.udp.has_flows().then_some(self.housekeeping_at);
        let delivery = self.path.next_delivery();
        let times = [
            delivery.map(|due| due.max(self.deliver_from)),
            self.tcp.next_due(),
            housekeeping,
            self.udp.next_rebind(),
            self.scenario.as_ref().and_then(Scenario::next_step),
        ];
        let deadline = times.into_iter().flatten().min();
        self.timer.arm(self.clock.now(), deadline)
    }

    /// One turn of the loop: sockets in, then everything that is due out.
    fn turn(&mut self, events: &Events) {
        self.follow_scenario();
        for source in std::mem::take(&mut self.unfinished) {
            self.serve(source, (true, false));
        }
        for event in events {
            let readable = event.is_readable() || event.is_read_closed() || event.is_error();
            let writable = event.is_writable() || event.is_write_closed() || event.is_error();
            if let Ok(source) = Source::try_from(event.token()) {
                self.serve(source, (readable, writable));
            }
        }
        let now = self.clock.now();
        self.udp
            .rebind_due(now, &mut self.path, self.poll.registry());
        let now = self.clock.now();
        if self.tcp.advance(now, &mut self.path, self.poll.registry()) {
            self.unfinished.push(Source::TcpListener);
        }
        if self.path.next_delivery().is_some_and(|due| due <= now) {
            self.udp.deliver(now, &mut self.path);
            self.deliver_from = now.saturating_add(duration_nanos(COALESCE));
        }
        if now >= self.housekeeping_at && self.udp.has_flows() {
            self.housekeeping_at = now.saturating_add(duration_nanos(HOUSEKEEPING));
            let dropped = self.udp.count_kernel_drops(&mut self.path);
            self.overload.look(now, &self.report(), dropped);
            self.udp.expire(now, self.poll.registry());
        }
    }

    /// Sees to one source.
    fn serve(&mut self, source: Source, readiness: (bool, bool)) {
        // Anew for each source, since reading one takes time: timestamps must not go back.
        let now = self.clock.now();
        let registry = self.poll.registry();
        let has_more = match source {
            Source::UdpListener => self.udp.read_clients(&mut self.path, registry),
            Source::Flow(slot) => self.udp.read_upstream(slot, &mut self.path),
            Source::TcpListener => self.tcp.accept(now, registry),
            Source::Client(slot) => {
                self.tcp.client_event(now, slot, readiness, &mut self.path);
                false
            }
            Source::Upstream(slot) => {
                self.tcp
                    .upstream_event(now, slot, readiness, &mut self.path);
                false
            }
            Source::Timer => {
                self.timer.fired();
                false
            }
            Source::Waker => {
                self.obey();
                false
            }
            Source::Signals => {
                self.is_stopping |= self.signals.as_mut().is_some_and(Signals::received);
                false
            }
            // A proxy has none.
            Source::Device(_) => false,
        };
        if has_more {
            self.unfinished.push(source);
        }
    }

    /// Does what handles have asked for.
    fn obey(&mut self) {
        while let Some(wish) = steering::obey(&self.mailbox, &mut self.path, self.clock.now()) {
            match wish {
                Wish::Stop => self.is_stopping = true,
                Wish::Rebind(kind) => self.rebind(kind),
            }
        }
    }

    /// Takes the steps of the scenario that are due. Each has a time of its own: moving clients reads what has come
    /// meanwhile.
    fn follow_scenario(&mut self) {
        while let Some(kind) =
            steering::follow(self.scenario.as_mut(), &mut self.path, self.clock.now())
        {
            self.rebind(kind);
        }
    }

    fn rebind(&mut self, kind: Rebind) {
        let registry = self.poll.registry();
        self.udp.rebind_all(kind, &mut self.path, registry);
    }
}
