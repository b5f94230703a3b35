//! How exact delay and loss are: sends datagrams at a steady rate through the proxy, or over a link
//! (Linux, root), and compares what arrives with what was asked for.
//!
//! ```sh
//! cargo run --release -p columba-loss-sim --example accuracy -- proxy
//! cargo run --release -p columba-loss-sim --example accuracy -- link --seconds 20 --loss 0.01
//! ```
//!
//! `direct` sends without either and shows the error of the measurement itself: sockets and scheduling.

use std::error::Error;
use std::io::{self, Write};
use std::net::{Ipv4Addr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use columba_loss_sim::proxy::{PathReport, Proxy, ProxyConfig, SpawnedProxy};
use columba_loss_sim::{IPV4_UDP_OVERHEAD_BYTES, Impairments};

/// How long the receiver waits for more.
const PATIENCE: Duration = Duration::from_secs(1);

/// Measures delay and loss of a path.
#[derive(Parser)]
struct Options {
    /// proxy, link or direct
    kind: String,
    /// Rate on the wire, headers included
    #[arg(long, default_value_t = 100)]
    megabits_per_second: u32,
    /// Bytes of each datagram
    #[arg(long, default_value_t = 1472)]
    payload_bytes: usize,
    /// One-way delay
    #[arg(long, default_value_t = 25)]
    delay_ms: u64,
    /// Probability of loss
    #[arg(long, default_value_t = 0.05)]
    loss: f64,
    /// How long to send
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// From this follow the losses
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// What carries the datagrams, kept alive while they are sent.
enum Carrier {
    Nothing,
    Proxy(SpawnedProxy),
    #[cfg(target_os = "linux")]
    Link(columba_loss_sim::ip_link::SpawnedIpLink),
}

impl Carrier {
    /// Ends it and gives its counters.
    fn stop(self) -> Result<Option<PathReport>, Box<dyn Error>> {
        Ok(match self {
            Self::Nothing => None,
            Self::Proxy(proxy) => Some(proxy.stop()?),
            #[cfg(target_os = "linux")]
            Self::Link(link) => Some(link.stop()?),
        })
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    let (carrier, sender, receiver) = set_up(&options)?;
    large_buffer(&receiver)?;
    receiver.set_read_timeout(Some(PATIENCE))?;
    let start = Instant::now();
    let (sent, latencies) = thread::scope(|scope| {
        let receiving = scope.spawn(|| receive(&receiver, start));
        let sent = send(&sender, start, &options);
        (sent, receiving.join())
    });
    let mut latencies = latencies.map_err(|_| "the receiver failed")??;
    latencies.sort_unstable();
    let report = carrier.stop()?;
    print(&options, sent?, &latencies, report.as_ref())?;
    Ok(())
}

fn set_up(options: &Options) -> Result<(Carrier, UdpSocket, UdpSocket), Box<dyn Error>> {
    let up = Impairments {
        delay: Duration::from_millis(options.delay_ms),
        loss: options.loss,
        ..Impairments::default()
    };
    let receiver = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    match options.kind.as_str() {
        "direct" => {
            sender.connect(receiver.local_addr()?)?;
            Ok((Carrier::Nothing, sender, receiver))
        }
        "proxy" => {
            let config = ProxyConfig {
                up,
                seed: options.seed,
                ..ProxyConfig::new(receiver.local_addr()?)
            };
            let proxy = Proxy::spawn(&config)?;
            sender.connect(proxy.address())?;
            Ok((Carrier::Proxy(proxy), sender, receiver))
        }
        #[cfg(target_os = "linux")]
        "link" => {
            use columba_loss_sim::ip_link::{IpLink, IpLinkConfig, Side};
            let link = IpLink::spawn(&IpLinkConfig {
                up,
                seed: options.seed,
                ..IpLinkConfig::default()
            })?;
            let bind = |side: Side| {
                let end = link.end(side);
                end.run_inside(|| UdpSocket::bind((end.ipv4(), 0)))?
            };
            let (sender, receiver) = (bind(Side::Left)?, bind(Side::Right)?);
            sender.connect(receiver.local_addr()?)?;
            Ok((Carrier::Link(link), sender, receiver))
        }
        other => Err(format!("'{other}' is not proxy, link or direct").into()),
    }
}

/// So that nothing is lost but on purpose.
fn large_buffer(socket: &UdpSocket) -> io::Result<()> {
    socket2::SockRef::from(socket).set_recv_buffer_size(4 << 20)
}

/// Sends at a steady rate and says how many went out.
fn send(socket: &UdpSocket, start: Instant, options: &Options) -> io::Result<u64> {
    let wire_bytes = options.payload_bytes + IPV4_UDP_OVERHEAD_BYTES as usize;
    let interval = wire_bytes as f64 * 8.0 / (f64::from(options.megabits_per_second) * 1e6);
    let mut datagram = vec![0; options.payload_bytes.max(8)];
    let mut sent = 0;
    loop {
        let due = Duration::from_secs_f64(sent as f64 * interval);
        if due.as_secs() >= options.seconds {
            return Ok(sent);
        }
        thread::sleep(due.saturating_sub(start.elapsed()));
        let now = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        if let Some(place) = datagram.first_chunk_mut() {
            *place = now.to_be_bytes();
        }
        socket.send(&datagram)?;
        sent += 1;
    }
}

/// Receives until nothing more comes, and gives the nanoseconds each datagram took.
fn receive(socket: &UdpSocket, start: Instant) -> io::Result<Vec<u64>> {
    let mut latencies = Vec::new();
    let mut buffer = vec![0; 65_536];
    loop {
        match socket.recv(&mut buffer) {
            Ok(_) => {}
            Err(_) if !latencies.is_empty() => return Ok(latencies),
            Err(error) => return Err(error),
        }
        let now = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let sent_at = buffer
            .first_chunk()
            .copied()
            .map_or(now, u64::from_be_bytes);
        latencies.push(now.saturating_sub(sent_at));
    }
}

fn print(
    options: &Options,
    sent: u64,
    latencies: &[u64],
    report: Option<&PathReport>,
) -> io::Result<()> {
    let delay = match options.kind.as_str() {
        "direct" => 0.0,
        _ => options.delay_ms as f64 * 1000.0,
    };
    let error_us = |share: usize| {
        let index = (latencies.len() * share / 1000).min(latencies.len().saturating_sub(1));
        let latency = latencies.get(index).copied().unwrap_or_default();
        latency as f64 / 1000.0 - delay
    };
    let mut out = io::stdout().lock();
    let arrived = latencies.len();
    writeln!(out, "{}: sent {sent}, arrived {arrived}", options.kind)?;
    writeln!(
        out,
        "delay error in us: least {:.0}, p50 {:.0}, p90 {:.0}, p99 {:.0}, p99.9 {:.0}, most {:.0}",
        error_us(0),
        error_us(500),
        error_us(900),
        error_us(990),
        error_us(999),
        error_us(1000)
    )?;
    let Some(report) = report else {
        return Ok(());
    };
    let up = &report.up;
    let mean = up.packets as f64 * options.loss;
    // 99.9 % of a normal distribution, which a binomial one of so many packets is near enough.
    let bound = 3.29 * (mean * (1.0 - options.loss)).sqrt();
    writeln!(
        out,
        "loss: {} of {} ({:.4} %), asked for {:.4} %, off by {:+.0} where chance allows {bound:.0}; queue drops {}",
        up.lost,
        up.packets,
        up.loss_rate() * 100.0,
        options.loss * 100.0,
        up.lost as f64 - mean,
        up.queue_drops
    )
}
