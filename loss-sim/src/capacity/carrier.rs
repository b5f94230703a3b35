//! What carries the datagrams that are measured.

use std::net::{Ipv4Addr, SocketAddr};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use mio::net::UdpSocket;

use super::{CapacityError, Plan};
use crate::impairments::Impairments;
#[cfg(target_os = "linux")]
use crate::ip_link::{IpLink, IpLinkConfig, Side};
use crate::proxy::{PathHandle, PathReport, Proxy, ProxyConfig, ProxyError, udp_io};

/// What stands between sender and receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    /// Nothing: the error of the measurement itself, sockets and scheduling.
    Direct,
    Proxy,
    #[cfg(target_os = "linux")]
    Link,
}

impl Over {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Proxy => "proxy",
            #[cfg(target_os = "linux")]
            Self::Link => "link",
        }
    }
}

/// How it ended, and the CPU time that its thread took.
type End = (Result<PathReport, CapacityError>, Option<Duration>);

/// A carrier that runs, with a sender at one side of it and a receiver at the other.
pub(crate) struct Carrier {
    pub(crate) sender: UdpSocket,
    pub(crate) receiver: UdpSocket,
    running: Option<(PathHandle, JoinHandle<End>)>,
}

impl Carrier {
    /// Starts one that does this on the way to the receiver.
    pub(crate) fn start(plan: Plan, up: Impairments) -> Result<Self, CapacityError> {
        match plan.over {
            Over::Direct => Self::direct(),
            Over::Proxy => Self::proxy(plan, up),
            #[cfg(target_os = "linux")]
            Over::Link => Self::link(plan, up),
        }
    }

    fn direct() -> Result<Self, CapacityError> {
        let (sender, receiver) = (socket()?, socket()?);
        sender.connect(receiver.local_addr()?)?;
        Ok(Self {
            sender,
            receiver,
            running: None,
        })
    }

    fn proxy(plan: Plan, up: Impairments) -> Result<Self, CapacityError> {
        let (sender, receiver) = (socket()?, socket()?);
        let proxy = Proxy::bind(&ProxyConfig {
            up,
            seed: plan.seed,
            ..ProxyConfig::new(receiver.local_addr()?)
        })?;
        sender.connect(proxy.address())?;
        let handle = proxy.handle().into();
        let thread = start_thread(move || Ok(proxy.run()?))?;
        Ok(Self {
            sender,
            receiver,
            running: Some((handle, thread)),
        })
    }

    #[cfg(target_os = "linux")]
    fn link(plan: Plan, up: Impairments) -> Result<Self, CapacityError> {
        let link = IpLink::create(&IpLinkConfig {
            up,
            seed: plan.seed,
            ..IpLinkConfig::default()
        })?;
        let bind = |side: Side| {
            let end = link.end(side);
            let address = SocketAddr::from((end.ipv4(), 0));
            let inside = end.run_inside(move || UdpSocket::bind(address));
            inside.and_then(|socket| {
                let socket = socket?;
                udp_io::prepare(&socket);
                Ok(socket)
            })
        };
        let (sender, receiver) = (bind(Side::Left)?, bind(Side::Right)?);
        sender.connect(receiver.local_addr()?)?;
        let handle = link.handle();
        let thread = start_thread(move || Ok(link.run()?))?;
        Ok(Self {
            sender,
            receiver,
            running: Some((handle, thread)),
        })
    }

    /// Ends it; gives its counters and the CPU time it took. There are none where there is no carrier.
    pub(crate) fn stop(self) -> Result<(Option<PathReport>, Option<Duration>), CapacityError> {
        let Some((handle, thread)) = self.running else {
            return Ok((None, None));
        };
        handle.stop();
        let (report, cpu) = thread.join().map_err(|_| ProxyError::Stopped)?;
        Ok((Some(report?), cpu))
    }
}

fn start_thread(
    run: impl FnOnce() -> Result<PathReport, CapacityError> + Send + 'static,
) -> Result<JoinHandle<End>, CapacityError> {
    let thread = thread::Builder::new().name("loss-sim".into());
    Ok(thread.spawn(|| (run(), thread_cpu_time()))?)
}

/// A socket with large buffers, so that nothing is lost but on purpose.
fn socket() -> Result<UdpSocket, CapacityError> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0).into())?;
    udp_io::prepare(&socket);
    Ok(socket)
}

/// CPU time of the calling thread, where the system tells.
fn thread_cpu_time() -> Option<Duration> {
    #[cfg(unix)]
    {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        let seconds = u64::try_from(time.tv_sec).ok()?;
        Some(Duration::new(seconds, u32::try_from(time.tv_nsec).ok()?))
    }
    #[cfg(not(unix))]
    None
}
