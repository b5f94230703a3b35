//! A TUN device: the end of a link as the programs in a namespace see it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use tracing::debug;

use super::kernel;

/// The device's name in its namespace.
pub(super) const DEVICE: &str = "columba0";
/// Packets that may wait to be read; more are dropped by the kernel, and counted.
const QUEUE_PACKETS: u16 = 10_000;
/// Least MTU that IPv6 needs (RFC 8200, section 5).
const IPV6_LEAST_MTU: u16 = 1280;
const IPV4_MASK: Ipv4Addr = Ipv4Addr::new(255, 255, 255, 0);
const IPV6_PREFIX_LEN: u8 = 64;
/// How long an IPv6 address may take until it can be used, and how often to look.
const IPV6_PATIENCE: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_micros(200);

/// How a device is to be set up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    pub(super) mtu: u16,
    pub(super) ipv4: Ipv4Addr,
    pub(super) ipv6: Ipv6Addr,
}

/// A device, from outside: what its namespace sends is read here.
#[derive(Debug)]
pub(super) struct Device {
    file: File,
    /// The namespace's own `/proc/net/dev`.
    counters: File,
    /// The kernel's count of packets dropped before they could be read, as last seen.
    dropped: u64,
}

/// Why a device can't be had.
#[derive(Debug)]
pub(super) enum SetupError {
    /// `/dev/net/tun` can't be opened.
    NoTun(io::Error),
    /// Something else.
    System(&'static str, io::Error),
}

impl Device {
    /// Makes a device in the namespace of the calling thread, with addresses and switched on. Says whether
    /// it has an IPv6 address, which not every system allows.
    pub(super) fn create(settings: Settings) -> Result<(Self, bool), SetupError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open("/dev/net/tun")
            .map_err(SetupError::NoTun)?;
        let failed = |action| move |error| SetupError::System(action, error);
        kernel::make_tun(file.as_fd(), DEVICE).map_err(failed("make a TUN device"))?;
        keep_quiet();
        let socket =
            UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).map_err(failed("open a socket"))?;
        let socket = socket.as_fd();
        kernel::set_mtu(socket, DEVICE, settings.mtu).map_err(failed("set the MTU"))?;
        kernel::set_queue_packets(socket, DEVICE, QUEUE_PACKETS)
            .map_err(failed("set the device's queue"))?;
        kernel::set_ipv4(socket, DEVICE, settings.ipv4, IPV4_MASK)
            .map_err(failed("set the IPv4 address"))?;
        for name in ["lo", DEVICE] {
            kernel::bring_up(socket, name).map_err(failed("bring a device up"))?;
        }
        let has_ipv6 = settings.mtu >= IPV6_LEAST_MTU && add_ipv6(settings.ipv6);
        let counters = File::open("/proc/thread-self/net/dev")
            .map_err(failed("read the device's counters"))?;
        let device = Self {
            file,
            counters,
            dropped: 0,
        };
        Ok((device, has_ipv6))
    }

    /// Has the poll report packets to read.
    pub(super) fn register(&self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(
            &mut SourceFd(&self.file.as_raw_fd()),
            token,
            Interest::READABLE,
        )
    }

    /// Reads one packet and gives its length, or 0 when there is none.
    pub(super) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match (&self.file).read(buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(0),
                result => return result,
            }
        }
    }

    /// Hands a packet to the namespace.
    pub(super) fn write(&self, packet: &[u8]) -> io::Result<()> {
        // Nothing is left of it to arrive: it was cut to no length at all.
        if packet.is_empty() {
            return Ok(());
        }
        (&self.file).write(packet).map(drop)
    }

    /// How many packets the kernel has dropped since the last call because they were not read in time.
    pub(super) fn dropped_since_last(&mut self) -> u64 {
        let mut text = String::new();
        let read = self
            .counters
            .seek(SeekFrom::Start(0))
            .and_then(|_| self.counters.read_to_string(&mut text));
        if let Err(error) = read {
            debug!("the device's counters: {error}");
            return 0;
        }
        let now = transmit_drops(&text, DEVICE).unwrap_or(self.dropped);
        let more = now.saturating_sub(self.dropped);
        self.dropped = now;
        more
    }
}

/// Has the kernel send nothing of its own over the device (router solicitations, reports of link-local
/// groups), so that packets have the numbers that programs give them. Where that can't be set, some
/// packets more are seen.
fn keep_quiet() {
    let settings = Path::new("/proc/sys/net/ipv6/conf").join(DEVICE);
    for (name, value) in [
        ("addr_gen_mode", "1"),
        ("accept_ra", "0"),
        ("router_solicitations", "0"),
    ] {
        if let Err(error) = fs::write(settings.join(name), value) {
            debug!("cannot set {name} of the device: {error}");
        }
    }
}

/// Gives the device an IPv6 address, if the system has IPv6, and waits until it can be used.
fn add_ipv6(address: Ipv6Addr) -> bool {
    let added = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))
        .and_then(|socket| kernel::add_ipv6(socket.as_fd(), DEVICE, address, IPV6_PREFIX_LEN))
        .and_then(|()| wait_for_ipv6(address));
    if let Err(error) = &added {
        debug!("no IPv6 on this link: {error}");
    }
    added.is_ok()
}

/// Waits until a worker of the kernel has seen that there is nobody to ask whether the address is taken
/// (RFC 4862, section 5.4): nobody can bind to it before. That takes milliseconds at most.
fn wait_for_ipv6(address: Ipv6Addr) -> io::Result<()> {
    let start = Instant::now();
    loop {
        match UdpSocket::bind((address, 0)) {
            Err(error)
                if error.kind() == ErrorKind::AddrNotAvailable
                    && start.elapsed() < IPV6_PATIENCE =>
            {
                thread::sleep(LOOK_AGAIN);
            }
            result => return result.map(drop),
        }
    }
}

/// The count of packets that a device could not send, of `/proc/net/dev`.
fn transmit_drops(text: &str, device: &str) -> Option<u64> {
    /// Its place: eight numbers about receiving, then bytes, packets and errors.
    const PLACE: usize = 11;
    text.lines().find_map(|line| {
        let (name, numbers) = line.split_once(':')?;
        if name.trim() != device {
            return None;
        }
        numbers.split_ascii_whitespace().nth(PLACE)?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_are_read() {
        let text = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:       1       2    3    4    5     6          7         8        9      10   11   12   13    14      15         16
columba0: 1 2 3 4 5 6 7 8 9 10 11 42 13 14 15 16
";
        assert_eq!(transmit_drops(text, "columba0"), Some(42));
        assert_eq!(transmit_drops(text, "lo"), Some(12));
        assert_eq!(transmit_drops(text, "eth0"), None);
        assert_eq!(transmit_drops("columba0: 1 2", "columba0"), None);
    }
}
