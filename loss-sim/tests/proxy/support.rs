//! A server that echoes, and clients of the proxy.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use columba_loss_sim::Impairments;
use columba_loss_sim::proxy::{PathReport, Proxy, ProxyConfig, ProxyHandle, SpawnedProxy};

/// How long anything may take before a test gives up; nothing is expected to come near it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Sends back whatever it gets, over TCP and UDP of one port. Ends when dropped.
pub(crate) struct EchoServer {
    pub(crate) address: SocketAddr,
    is_over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl EchoServer {
    pub(crate) fn start() -> Self {
        let (tcp, udp, address) = same_port();
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let datagrams = thread::spawn(move || echo_datagrams(&udp, &over));
        let over = Arc::clone(&is_over);
        let streams = thread::spawn(move || {
            for stream in tcp.incoming() {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                thread::spawn(move || stream.map(|stream| echo_stream(&stream)));
            }
        });
        Self {
            address,
            is_over,
            threads: vec![datagrams, streams],
        }
    }

    /// A proxy before this server, with these impairments in both directions.
    pub(crate) fn behind(&self, impairments: Impairments) -> SpawnedProxy {
        self.behind_different(impairments.clone(), impairments)
    }

    /// A proxy before this server, with different impairments up and down.
    pub(crate) fn behind_different(&self, up: Impairments, down: Impairments) -> SpawnedProxy {
        let config = ProxyConfig {
            up,
            down,
            seed: 42,
            ..ProxyConfig::new(self.address)
        };
        Proxy::spawn(&config).expect("a proxy")
    }
}

impl Drop for EchoServer {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        // One packet and one connection end the two threads' waiting.
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
        let _ = udp.send_to(b"over", self.address);
        let _ = TcpStream::connect(self.address);
        for thread in self.threads.drain(..) {
            thread.join().expect("the echo server works");
        }
    }
}

/// TCP and UDP sockets on one port.
fn same_port() -> (TcpListener, UdpSocket, SocketAddr) {
    loop {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = tcp.local_addr().expect("bound");
        if let Ok(udp) = UdpSocket::bind(address) {
            return (tcp, udp, address);
        }
    }
}

fn echo_datagrams(udp: &UdpSocket, is_over: &AtomicBool) {
    let mut buffer = vec![0; 65_536];
    while !is_over.load(Ordering::Relaxed) {
        // An error tells of an answer that found nobody; the next datagram is as good as any.
        if let Ok((len, from)) = udp.recv_from(&mut buffer) {
            let _ = udp.send_to(&buffer[..len], from);
        }
    }
}

fn echo_stream(stream: &TcpStream) -> io::Result<()> {
    let (mut reader, mut writer) = (stream, stream);
    let mut buffer = vec![0; 65_536];
    loop {
        match reader.read(&mut buffer)? {
            0 => return stream.shutdown(Shutdown::Write),
            len => writer.write_all(&buffer[..len])?,
        }
    }
}

/// A UDP client of the proxy.
pub(crate) fn udp_client(proxy: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    socket.connect(proxy).expect("connected");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    socket
}

/// A TCP client of the proxy.
pub(crate) fn tcp_client(proxy: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(proxy).expect("connected");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

/// Receives one datagram.
pub(crate) fn receive(socket: &UdpSocket) -> Vec<u8> {
    let mut buffer = vec![0; 65_536];
    let len = socket.recv(&mut buffer).expect("an answer");
    buffer.truncate(len);
    buffer
}

/// Waits until everything that was sent, `sent` datagrams in all, has come to its end in an echo.
pub(crate) fn settle(proxy: &ProxyHandle, sent: u64) -> PathReport {
    wait_for(proxy, |stats| {
        stats.up.packets >= sent
            && stats.up.queued == 0
            && stats.down.packets >= stats.up.delivered
            && stats.down.queued == 0
    })
}

/// Waits until the counters are as they should be.
pub(crate) fn wait_for(
    proxy: &ProxyHandle,
    mut as_wanted: impl FnMut(&PathReport) -> bool,
) -> PathReport {
    let start = Instant::now();
    loop {
        let stats = proxy.stats();
        if as_wanted(&stats) {
            return stats;
        }
        assert!(start.elapsed() < PATIENCE, "{stats:?}");
        thread::yield_now();
    }
}
