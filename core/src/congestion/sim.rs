//! A packet-level simulator for congestion controllers: one bottleneck, virtual time, seeded.
//!
//! ```text
//! sender (controller, pacer, rate samples) → policer → queue → bottleneck → loss → delay → receiver
//!    ↑______________________ delay ← loss ← thinned acknowledgements ______________________|
//! ```
//!
//! The senders have endless data and send every packet once, so what arrives is goodput. Losses
//! are detected by time (RACK) and, at last, by a timeout.

mod flow;

use super::{Algorithm, CongestionController};
use crate::units::Timestamp;
use flow::Flow;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

/// The path and the flows on it.
#[derive(Clone, Debug)]
pub(super) struct Scenario {
    /// Bottleneck rate from a time on, bytes per second.
    pub(super) rates: Vec<(Duration, u64)>,
    pub(super) rtt: Duration,
    pub(super) queue_bytes: u64,
    /// Probability that a packet, and that an acknowledgement, is lost behind the bottleneck.
    pub(super) loss: f64,
    pub(super) ack_loss: f64,
    /// Loss in front of the queue instead of behind the bottleneck.
    pub(super) loss_first: bool,
    /// Uniformly distributed extra delay; packets keep their order.
    pub(super) jitter: Duration,
    /// Shortest and longest time for which packets are held behind the bottleneck, then to be released together: a
    /// radio's schedule.
    pub(super) holds: Option<(Duration, Duration)>,
    /// Mean times for which the sender's and the receiver's hosts run, and then run something else.
    pub(super) stalls: Option<(Duration, Duration)>,
    /// Rate in bytes per second and burst in bytes of a policer in front of the queue.
    pub(super) policer: Option<(u64, u64)>,
    pub(super) flows: Vec<FlowSetup>,
    pub(super) datagram: u64,
    pub(super) length: Duration,
    /// From here on the report counts.
    pub(super) warm_up: Duration,
    pub(super) seed: u64,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct FlowSetup {
    pub(super) algorithm: Algorithm,
    pub(super) start: Duration,
    /// Most bytes per second the application offers.
    pub(super) offered: Option<u64>,
}

pub(super) const fn mbit(megabits: u64) -> u64 {
    megabits * 125_000
}

impl Scenario {
    /// One flow over a clean path with a queue of one bandwidth-delay product.
    pub(super) fn new(algorithm: Algorithm, rate: u64, rtt_ms: u64) -> Self {
        Self {
            rates: vec![(Duration::ZERO, rate)],
            rtt: Duration::from_millis(rtt_ms),
            queue_bytes: rate * rtt_ms / 1_000,
            loss: 0.0,
            ack_loss: 0.0,
            loss_first: false,
            jitter: Duration::ZERO,
            holds: None,
            stalls: None,
            policer: None,
            flows: vec![FlowSetup {
                algorithm,
                start: Duration::ZERO,
                offered: None,
            }],
            datagram: 1_472,
            length: Duration::from_secs(20),
            warm_up: Duration::from_secs(5),
            seed: 1,
        }
    }

    pub(super) fn with_loss(mut self, loss: f64) -> Self {
        self.loss = loss;
        self.ack_loss = loss;
        self
    }

    pub(super) fn run(&self) -> Report {
        Sim::new(self).run()
    }
}

/// What happened, from the warm-up's end on unless said otherwise.
#[derive(Clone, Debug, Default)]
pub(super) struct Report {
    /// Delivered bytes per second, flow by flow.
    pub(super) goodput: Vec<f64>,
    /// Share of all packets sent that the queue or the policer dropped.
    pub(super) drop_share: f64,
    /// The same from the very start.
    pub(super) drop_share_total: f64,
    /// Mean queue length an arriving packet finds, in bytes.
    pub(super) mean_queue: f64,
    /// What somebody else's packet would have waited in the queue, at 99 of 100 moments.
    pub(super) wait_p99: Duration,
    /// Packets declared lost that arrived.
    pub(super) spurious: u64,
    /// Bytes delivered in each tenth of a second, flow by flow.
    pub(super) history: Vec<Vec<u64>>,
    /// The first flow's window at the end.
    pub(super) cwnd: u64,
    pub(super) pacing_rate: Option<u64>,
}

impl Report {
    pub(super) fn total_goodput(&self) -> f64 {
        self.goodput.iter().sum()
    }

    /// Mean rate of one flow between two times, bytes per second.
    pub(super) fn rate_between(&self, flow: usize, from_ms: usize, to_ms: usize) -> f64 {
        let slots = &self.history[flow][from_ms / 100..to_ms / 100];
        slots.iter().sum::<u64>() as f64 * 10.0 / slots.len() as f64
    }
}

/// SplitMix64: small, seeded, good enough to flip coins.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// The bottleneck has put the packet at the head of the queue on the wire.
    Dequeued,
    Arrived {
        flow: usize,
        packet: usize,
    },
    AckDue {
        flow: usize,
        armed: u64,
    },
    /// `received` packets of the receiver's log are acknowledged.
    Acked {
        flow: usize,
        received: usize,
        held: Duration,
    },
    Wake {
        flow: usize,
    },
    /// A look at the queue.
    Look,
}

/// Whose processor it is.
#[derive(Clone, Copy)]
enum Host {
    Sender(usize),
    Receiver(usize),
}

/// A stretch of time in which a host runs, or is away for something else.
#[derive(Clone, Copy)]
struct Shift {
    away: bool,
    ends: Timestamp,
}

struct Sim<'a> {
    scenario: &'a Scenario,
    now: Timestamp,
    events: BinaryHeap<Reverse<(Timestamp, u64, Event)>>,
    sequence: u64,
    random: Random,
    queue: VecDeque<(usize, usize)>,
    tokens: f64,
    tokens_at: Timestamp,
    flows: Vec<Flow>,
    /// Of each flow's sender and receiver.
    shifts: Vec<Shift>,
    /// When packets are released again.
    release: Timestamp,
    report: Report,
    delivered: Vec<u64>,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    sent: u64,
    dropped: u64,
    sent_early: u64,
    dropped_early: u64,
    queue_sum: f64,
    waits: Vec<Duration>,
}

/// How often the queue is looked at.
const LOOK: Duration = Duration::from_millis(1);

impl<'a> Sim<'a> {
    fn new(scenario: &'a Scenario) -> Self {
        let start = Timestamp::ZERO;
        let flows: Vec<Flow> = scenario
            .flows
            .iter()
            .map(|setup| Flow::new(*setup, start + setup.start, scenario.datagram))
            .collect();
        let slots = usize::try_from(scenario.length.as_millis() / 100 + 1).unwrap();
        let mut sim = Self {
            scenario,
            now: start,
            events: BinaryHeap::new(),
            sequence: 0,
            random: Random(scenario.seed),
            queue: VecDeque::new(),
            tokens: scenario.policer.map_or(0.0, |(_, burst)| burst as f64),
            tokens_at: start,
            report: Report {
                history: vec![vec![0; slots]; flows.len()],
                ..Report::default()
            },
            delivered: vec![0; flows.len()],
            shifts: vec![
                Shift {
                    away: false,
                    ends: start,
                };
                2 * flows.len()
            ],
            flows,
            release: start,
            counts: Counts::default(),
        };
        for flow in 0..sim.flows.len() {
            let begin = sim.flows[flow].next_wake;
            sim.schedule(begin, Event::Wake { flow });
        }
        sim.schedule(start + scenario.warm_up, Event::Look);
        sim
    }

    fn schedule(&mut self, at: Timestamp, event: Event) {
        self.sequence += 1;
        self.events.push(Reverse((at, self.sequence, event)));
    }

    fn run(mut self) -> Report {
        let end = Timestamp::ZERO + self.scenario.length;
        while let Some(Reverse((at, _, event))) = self.events.pop() {
            if at >= end {
                break;
            }
            self.now = at;
            match event {
                Event::Dequeued => self.dequeued(),
                Event::Arrived { flow, packet } => match self.stalled(Host::Receiver(flow)) {
                    Some(until) => self.schedule(until, event),
                    None => self.arrived(flow, packet),
                },
                Event::AckDue { flow, armed } => {
                    if self.flows[flow].ack_timer == armed {
                        self.acknowledge(flow);
                    }
                }
                Event::Acked {
                    flow,
                    received,
                    held,
                } => match self.stalled(Host::Sender(flow)) {
                    Some(until) => self.schedule(until, event),
                    None => self.acked(flow, received, held),
                },
                Event::Wake { flow } => match self.stalled(Host::Sender(flow)) {
                    Some(until) => self.schedule(until, event),
                    None if self.flows[flow].next_wake <= at => self.work(flow),
                    None => {}
                },
                Event::Look => self.look(),
            }
        }
        self.finish()
    }

    fn finish(mut self) -> Report {
        let span = (self.scenario.length - self.scenario.warm_up).as_secs_f64();
        let counts = &self.counts;
        self.report.goodput = self
            .delivered
            .iter()
            .map(|bytes| *bytes as f64 / span)
            .collect();
        self.report.drop_share = counts.dropped as f64 / counts.sent.max(1) as f64;
        self.report.drop_share_total = (counts.dropped + counts.dropped_early) as f64
            / (counts.sent + counts.sent_early).max(1) as f64;
        self.report.mean_queue = counts.queue_sum / counts.sent.max(1) as f64;
        let waits = &mut self.counts.waits;
        waits.sort_unstable();
        self.report.wait_p99 = waits
            .get(waits.len() * 99 / 100)
            .copied()
            .unwrap_or_default();
        self.report.spurious = self.flows.iter().map(|flow| flow.spurious).sum();
        self.report.cwnd = self.flows[0].controller.cwnd();
        self.report.pacing_rate = self.flows[0].controller.pacing_rate();
        self.report
    }

    /// Until when a host runs something else, if it does.
    fn stalled(&mut self, host: Host) -> Option<Timestamp> {
        let (running, away) = self.scenario.stalls?;
        let index = match host {
            Host::Sender(flow) => 2 * flow,
            Host::Receiver(flow) => 2 * flow + 1,
        };
        while self.shifts[index].ends <= self.now {
            let shift = self.shifts[index];
            let mean = if shift.away { running } else { away };
            let length = mean.mul_f64(-self.random.unit().max(1e-9).ln());
            self.shifts[index] = Shift {
                away: !shift.away,
                ends: shift.ends + length,
            };
        }
        let shift = self.shifts[index];
        shift.away.then_some(shift.ends)
    }

    fn look(&mut self) {
        let bytes = self.queue.len() as u64 * self.scenario.datagram;
        let wait = Duration::from_nanos(bytes * 1_000_000_000 / self.rate());
        self.counts.waits.push(wait);
        self.schedule(self.now + LOOK, Event::Look);
    }

    fn warm(&self) -> bool {
        self.now >= Timestamp::ZERO + self.scenario.warm_up
    }

    fn rate(&self) -> u64 {
        let elapsed = self.now - Timestamp::ZERO;
        let in_force = self
            .scenario
            .rates
            .iter()
            .rev()
            .find(|(from, _)| *from <= elapsed);
        in_force.expect("a rate from the start on").1
    }

    fn work(&mut self, flow: usize) {
        let now = self.now;
        self.flows[flow].detect_losses(now, self.scenario.datagram);
        while self.flows[flow].may_send(now, self.scenario.datagram) {
            let packet = self.flows[flow].send(now, self.scenario.datagram);
            self.enqueue(flow, packet);
        }
        let next = self.flows[flow].wake_time(now, self.scenario.datagram);
        self.flows[flow].next_wake = next;
        if next != Timestamp::MAX {
            self.schedule(next, Event::Wake { flow });
        }
    }

    fn enqueue(&mut self, flow: usize, packet: usize) {
        let size = self.scenario.datagram;
        let length = self.queue.len() as u64 * size;
        // The packet on the wire has left the queue.
        let waiting = length.saturating_sub(size);
        let erased = self.scenario.loss_first && self.random.chance(self.scenario.loss);
        let dropped = !erased && (self.police(size) || waiting + size > self.scenario.queue_bytes);
        if self.warm() {
            self.counts.sent += 1;
            self.counts.dropped += u64::from(dropped);
            self.counts.queue_sum += waiting as f64;
        } else {
            self.counts.sent_early += 1;
            self.counts.dropped_early += u64::from(dropped);
        }
        if dropped || erased {
            return;
        }
        self.queue.push_back((flow, packet));
        if self.queue.len() == 1 {
            self.serialise();
        }
    }

    /// Whether the policer drops a packet of `size`.
    fn police(&mut self, size: u64) -> bool {
        let Some((rate, burst)) = self.scenario.policer else {
            return false;
        };
        let refill = (self.now - self.tokens_at).as_secs_f64() * rate as f64;
        self.tokens = (self.tokens + refill).min(burst as f64);
        self.tokens_at = self.now;
        let over = self.tokens < size as f64;
        if !over {
            self.tokens -= size as f64;
        }
        over
    }

    fn serialise(&mut self) {
        let nanos = self.scenario.datagram * 1_000_000_000 / self.rate();
        self.schedule(self.now + Duration::from_nanos(nanos), Event::Dequeued);
    }

    fn dequeued(&mut self) {
        let (flow, packet) = self.queue.pop_front().expect("one was on the wire");
        if !self.queue.is_empty() {
            self.serialise();
        }
        if !self.scenario.loss_first && self.random.chance(self.scenario.loss) {
            return;
        }
        let jitter = self.scenario.jitter.mul_f64(self.random.unit());
        let released = self.released();
        let at = (released + self.scenario.rtt / 2 + jitter).max(self.flows[flow].last_arrival);
        self.flows[flow].last_arrival = at;
        self.schedule(at, Event::Arrived { flow, packet });
    }

    /// When a packet that has passed the bottleneck may go on.
    fn released(&mut self) -> Timestamp {
        let Some((least, most)) = self.scenario.holds else {
            return self.now;
        };
        while self.release < self.now {
            let hold = least + (most - least).mul_f64(self.random.unit());
            self.release += hold;
        }
        self.release
    }

    fn arrived(&mut self, flow: usize, packet: usize) {
        let now = self.now;
        if self.warm() {
            self.delivered[flow] += self.scenario.datagram;
        }
        let slot = usize::try_from((now - Timestamp::ZERO).as_millis() / 100).unwrap();
        self.report.history[flow][slot] += self.scenario.datagram;
        let f = &mut self.flows[flow];
        f.received.push((packet, now));
        let gap = f.largest.is_some_and(|largest| packet != largest + 1);
        f.largest = Some(packet);
        let pending = (f.received.len() - f.acknowledged) as u64;
        let every = (f.controller.cwnd() / self.scenario.datagram / 4).clamp(2, 256);
        let srtt = f.rtt.srtt();
        if pending >= every || (gap && now - f.last_ack >= srtt / 8) {
            self.acknowledge(flow);
        } else if pending == 1 {
            f.ack_timer += 1;
            let armed = f.ack_timer;
            self.schedule(now + srtt / 4, Event::AckDue { flow, armed });
        }
    }

    fn acknowledge(&mut self, flow: usize) {
        let now = self.now;
        let f = &mut self.flows[flow];
        f.ack_timer += 1;
        f.acknowledged = f.received.len();
        f.last_ack = now;
        let received = f.acknowledged;
        let held = f
            .received
            .last()
            .map_or(Duration::ZERO, |(_, at)| now - *at);
        if !self.random.chance(self.scenario.ack_loss) {
            let at = now + self.scenario.rtt / 2;
            self.schedule(
                at,
                Event::Acked {
                    flow,
                    received,
                    held,
                },
            );
        }
    }

    fn acked(&mut self, flow: usize, received: usize, held: Duration) {
        self.flows[flow].on_ack(self.now, received, held, self.scenario.datagram);
        self.work(flow);
    }
}
