//! How many datagrams pass when the sender waits only for those that have not arrived yet.

use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token};
use serde::Serialize;
use socket2::SockRef;

use super::carrier::Carrier;
use super::{CapacityError, Plan};
use crate::impairments::{IPV4_UDP_OVERHEAD_BYTES, Impairments};
use crate::proxy::udp_io::{BATCH, MAX_DATAGRAM_BYTES, Outgoing, OutgoingBatch, UdpIo};

/// How the sender hands over its datagrams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Sender {
    /// Many in one call that the kernel cuts (`UDP_SEGMENT`), as fast transports do.
    Trains,
    /// Each by itself, as most programs do.
    Single,
}

impl Sender {
    pub(crate) const BOTH: [Self; 2] = [Self::Trains, Self::Single];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Trains => "trains",
            Self::Single => "single",
        }
    }
}

/// What passed.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Throughput {
    pub(crate) payload_bytes: usize,
    pub(crate) packets_per_second: f64,
    /// With the headers of IPv4 and UDP.
    pub(crate) gbit_per_second: f64,
    /// CPU time that the simulator's thread took for each; `None` where the system doesn't tell.
    pub(crate) cpu_us_per_packet: Option<f64>,
    /// What did not arrive.
    pub(crate) dropped: u64,
}

/// Kernel memory that a waiting datagram takes at most beside its bytes.
const BOOKKEEPING_BYTES: usize = 2048;
/// Most datagrams on their way: more would only wait.
const MAX_WINDOW: u64 = 4096;
/// How long to wait for room, and at the end for what is still on its way.
const NAP: Duration = Duration::from_micros(50);
const PATIENCE: Duration = Duration::from_millis(500);

/// Sends through the carrier as fast as everything arrives.
pub(crate) fn measure_throughput(plan: Plan, sender: Sender) -> Result<Throughput, CapacityError> {
    let mut carrier = Carrier::start(plan, Impairments::default())?;
    let window = window(&carrier.receiver, plan.payload_bytes)?;
    let (received, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    let Carrier {
        sender: from,
        receiver: to,
        ..
    } = &mut carrier;
    let start = Instant::now();
    let (sent, seconds, outcome) = thread::scope(|scope| {
        let counting = scope.spawn(|| count(to, &received, &is_over));
        let outgoing = Source::new(plan, sender, window);
        let sent = outgoing.send_all(from, start, &received);
        let seconds = start.elapsed().as_secs_f64();
        if let Ok(sent) = sent {
            await_rest(sent, &received);
        }
        is_over.store(true, Ordering::Relaxed);
        (sent, seconds, counting.join())
    });
    outcome.map_err(|_| CapacityError::Nothing)??;
    let sent = sent?;
    let arrived = received.into_inner();
    let (_, cpu) = carrier.stop()?;
    if arrived == 0 {
        return Err(CapacityError::Nothing);
    }
    let wire_bytes = plan.payload_bytes + IPV4_UDP_OVERHEAD_BYTES as usize;
    let packets_per_second = arrived as f64 / seconds;
    Ok(Throughput {
        payload_bytes: plan.payload_bytes,
        packets_per_second,
        gbit_per_second: packets_per_second * wire_bytes as f64 * 8.0 / 1e9,
        cpu_us_per_packet: cpu.map(|cpu| cpu.as_secs_f64() * 1e6 / arrived as f64),
        dropped: sent.saturating_sub(arrived),
    })
}

/// How many datagrams may be on their way without any buffer running over.
fn window(receiver: &UdpSocket, payload_bytes: usize) -> io::Result<u64> {
    let room = SockRef::from(receiver).recv_buffer_size()?;
    let each = payload_bytes + BOOKKEEPING_BYTES;
    Ok((room / 2 / each)
        .max(1)
        .try_into()
        .unwrap_or(MAX_WINDOW)
        .min(MAX_WINDOW))
}

/// Sends without a pause, but never more than a window ahead of the receiver.
struct Source {
    plan: Plan,
    io: UdpIo,
    window: u64,
    bytes: Vec<u8>,
}

impl Source {
    fn new(plan: Plan, sender: Sender, window: u64) -> Self {
        let largest_segment_bytes = match sender {
            Sender::Trains => MAX_DATAGRAM_BYTES,
            Sender::Single => 0,
        };
        Self {
            plan,
            io: UdpIo::with_largest_segment(largest_segment_bytes),
            window,
            bytes: vec![0x5a; plan.payload_bytes],
        }
    }

    /// Says how many went out.
    fn send_all(
        mut self,
        socket: &UdpSocket,
        start: Instant,
        received: &AtomicU64,
    ) -> io::Result<u64> {
        let packet = Outgoing {
            to: None,
            is_ipv4: true,
            ecn: 0,
            bytes: &self.bytes,
        };
        let batch = OutgoingBatch::from_iter(std::iter::repeat_n(packet, BATCH));
        let mut sent = 0;
        while start.elapsed() < self.plan.duration {
            let on_their_way = sent - received.load(Ordering::Relaxed);
            let room = usize::try_from(self.window.saturating_sub(on_their_way)).unwrap_or(0);
            if room < BATCH.min(usize::try_from(self.window).unwrap_or(BATCH)) {
                thread::sleep(NAP);
                continue;
            }
            let packets = batch.as_slice();
            match self.io.send(socket, packets.get(..room).unwrap_or(packets)) {
                Ok(count) => sent += count as u64,
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(NAP),
                Err(error) => return Err(error),
            }
        }
        Ok(sent)
    }
}

/// Counts what arrives, until told to end.
fn count(socket: &mut UdpSocket, received: &AtomicU64, is_over: &AtomicBool) -> io::Result<()> {
    let mut poll = Poll::new()?;
    poll.registry()
        .register(socket, Token(0), Interest::READABLE)?;
    let mut events = Events::with_capacity(4);
    let mut io = UdpIo::new();
    while !is_over.load(Ordering::Relaxed) {
        loop {
            match io.receive(socket, |_| {}) {
                Ok(count) => received.fetch_add(count as u64, Ordering::Relaxed),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            };
        }
        match poll.poll(&mut events, Some(NAP * 100)) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Waits for what is still on its way.
fn await_rest(sent: u64, received: &AtomicU64) {
    let end = Instant::now() + PATIENCE;
    while received.load(Ordering::Relaxed) < sent && Instant::now() < end {
        thread::sleep(NAP);
    }
}
