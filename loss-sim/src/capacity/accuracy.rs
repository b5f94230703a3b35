//! How exact delay and loss are at a steady rate.

use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token};
use serde::Serialize;

use super::carrier::{Carrier, Over};
use super::{CapacityError, Plan};
use crate::impairments::{IPV4_UDP_OVERHEAD_BYTES, Impairments};
use crate::proxy::udp_io::UdpIo;

/// What the path is asked for.
pub(crate) const MEGABITS_PER_SECOND: u32 = 100;
const DELAY: Duration = Duration::from_millis(25);
const LOSS: f64 = 0.05;

/// 99.9 % of a normal distribution, which a binomial one of so many packets is near enough.
const DEVIATIONS: f64 = 3.29;

/// How long the receiver waits for what is on its way at the end.
const PATIENCE: Duration = Duration::from_millis(500);

/// How exact it was.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Accuracy {
    pub(crate) megabits_per_second: u32,
    pub(crate) packets: u64,
    pub(crate) delay_error_us: DelayError,
    /// `None` without a carrier.
    pub(crate) loss: Option<Loss>,
}

/// How much later than asked for datagrams arrived, in microseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct DelayError {
    pub(crate) least: f64,
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) most: f64,
}

/// How many datagrams were lost.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Loss {
    pub(crate) asked_for: f64,
    pub(crate) achieved: f64,
    /// Datagrams more than the share that was asked for.
    pub(crate) off_by: f64,
    /// What chance keeps within in 99.9 % of all runs.
    pub(crate) bound: f64,
    /// What was dropped without being asked for.
    pub(crate) queue_drops: u64,
}

/// Sends at a steady rate and compares.
pub(crate) fn measure_accuracy(plan: Plan) -> Result<Accuracy, CapacityError> {
    let up = Impairments {
        delay: DELAY,
        loss: LOSS,
        ..Impairments::default()
    };
    let delay = if plan.over == Over::Direct {
        Duration::ZERO
    } else {
        DELAY
    };
    let mut carrier = Carrier::start(plan, up)?;
    let start = Instant::now();
    let is_over = AtomicBool::new(false);
    let Carrier {
        sender, receiver, ..
    } = &mut carrier;
    let (packets, latencies) = thread::scope(|scope| {
        let receiving = scope.spawn(|| receive(receiver, start, &is_over));
        let sent = send(sender, start, plan);
        thread::sleep(delay + PATIENCE);
        is_over.store(true, Ordering::Relaxed);
        (sent, receiving.join())
    });
    let packets = packets?;
    let mut latencies = latencies.map_err(|_| CapacityError::Nothing)??;
    latencies.sort_unstable();
    let (report, _) = carrier.stop()?;
    Ok(Accuracy {
        megabits_per_second: MEGABITS_PER_SECOND,
        packets,
        delay_error_us: delay_error(&latencies, delay).ok_or(CapacityError::Nothing)?,
        loss: report.map(|report| {
            let up = report.up;
            let mean = up.packets as f64 * LOSS;
            Loss {
                asked_for: LOSS,
                achieved: up.loss_rate(),
                off_by: up.lost as f64 - mean,
                bound: DEVIATIONS * (mean * (1.0 - LOSS)).sqrt(),
                queue_drops: up.queue_drops,
            }
        }),
    })
}

/// Percentiles of sorted latencies, less the delay that was asked for; `None` when there are none.
fn delay_error(sorted: &[u64], delay: Duration) -> Option<DelayError> {
    let last = sorted.len().checked_sub(1)?;
    let at = |per_mille: usize| {
        let latency = sorted.get((sorted.len() * per_mille / 1000).min(last));
        latency.copied().unwrap_or_default() as f64 / 1e3 - delay.as_secs_f64() * 1e6
    };
    Some(DelayError {
        least: at(0),
        p50: at(500),
        p90: at(900),
        p99: at(990),
        p999: at(999),
        most: at(1000),
    })
}

fn nanos_since(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// Sends at a steady rate, each datagram with the time, and says how many went out.
fn send(socket: &UdpSocket, start: Instant, plan: Plan) -> io::Result<u64> {
    let wire_bytes = plan.payload_bytes + IPV4_UDP_OVERHEAD_BYTES as usize;
    let interval = wire_bytes as f64 * 8.0 / (f64::from(MEGABITS_PER_SECOND) * 1e6);
    let mut datagram = vec![0; plan.payload_bytes.max(8)];
    let mut sent = 0;
    loop {
        let due = Duration::from_secs_f64(sent as f64 * interval);
        if due >= plan.duration {
            return Ok(sent);
        }
        thread::sleep(due.saturating_sub(start.elapsed()));
        if let Some(place) = datagram.first_chunk_mut() {
            *place = nanos_since(start).to_be_bytes();
        }
        socket.send(&datagram)?;
        sent += 1;
    }
}

/// Receives until told to end, and gives the nanoseconds that each datagram took.
fn receive(socket: &mut UdpSocket, start: Instant, is_over: &AtomicBool) -> io::Result<Vec<u64>> {
    let mut poll = Poll::new()?;
    poll.registry()
        .register(socket, Token(0), Interest::READABLE)?;
    let mut events = Events::with_capacity(4);
    let (mut io, mut latencies) = (UdpIo::new(), Vec::new());
    while !is_over.load(Ordering::Relaxed) {
        loop {
            let result = io.receive(socket, |received| {
                let sent_at = received
                    .bytes
                    .first_chunk()
                    .copied()
                    .map(u64::from_be_bytes);
                latencies.extend(sent_at.map(|sent_at| nanos_since(start).saturating_sub(sent_at)));
            });
            match result {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        match poll.poll(&mut events, Some(PATIENCE / 10)) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
    }
    Ok(latencies)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_what_is_too_much() {
        assert!(delay_error(&[], DELAY).is_none());
        let sorted: Vec<u64> = (0..1000).map(|number| 25_000_000 + number * 1000).collect();
        let error = delay_error(&sorted, DELAY).expect("some");
        let seen = [
            error.least,
            error.p50,
            error.p90,
            error.p99,
            error.p999,
            error.most,
        ];
        for (seen, expected) in seen
            .into_iter()
            .zip([0.0, 500.0, 900.0, 990.0, 999.0, 999.0])
        {
            assert!((seen - expected).abs() < 1e-6, "{seen} {expected}");
        }
    }
}
