//! ProbeBW: the steady state, in cycles of Down (drain), Cruise, Refill and Up (probe).

use super::bounds::BETA;
use super::{Bbr, LOSS_THRESHOLD, State, ratio, scale};
use crate::congestion::AckEvent;
use crate::congestion::delivery_rate::RateSample;
use crate::units::Timestamp;
use std::time::Duration;

/// Pacing gains (draft-ietf-ccwg-bbr, section 5.3.3).
const DOWN_PACING_GAIN: f64 = 0.9;
const UP_PACING_GAIN: f64 = 1.25;

/// Probing starts two to three seconds after the last time (section 5.3.3.5.1).
const PROBE_WAIT: Duration = Duration::from_secs(2);
const PROBE_WAIT_SPREAD_NANOS: u64 = 1_000_000_000;

/// Rounds that Down lasts at least, to measure the path's loss, and at most.
const MIN_DOWN_ROUNDS: u64 = 1;
const MAX_DOWN_ROUNDS: u64 = 8;

/// Rounds after which the measurement has to do with the packets it has.
const MEASURING_ROUNDS: u64 = 4;

/// Growth of the delivery rate that says that Up has found more.
const UP_GROWTH: f64 = 1.05;

/// Rounds after which Cruise may be compared with Down.
const SETTLING_ROUNDS: u64 = 2;

/// Rounds after which Up is judged: by then a whole round of what it sent has been acknowledged.
const UP_JUDGED_ROUNDS: u64 = 2;

/// Where the cycle stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Slower than the path, until the queue is gone.
    Down,
    /// As fast as the path.
    Cruise,
    /// As fast as the path without the short-lived bounds, to fill it before probing.
    Refill,
    /// Faster, to see whether there is more.
    Up,
}

impl Phase {
    pub(super) const fn pacing_gain(self) -> f64 {
        match self {
            Self::Down => DOWN_PACING_GAIN,
            Self::Cruise | Self::Refill => 1.0,
            Self::Up => UP_PACING_GAIN,
        }
    }
}

/// The cycle's clock and memory.
#[derive(Clone, Debug)]
pub(super) struct Cycle {
    phase_round: u64,
    next_probe: Timestamp,
    /// Bandwidth and round trip when Up began.
    up_bandwidth: u64,
    up_rtt: Duration,
    /// Bytes by which Up raises `inflight_hi` per round; doubles.
    up_step: u64,
}

impl Cycle {
    pub(super) const fn new(now: Timestamp) -> Self {
        Self {
            phase_round: 0,
            next_probe: now,
            up_bandwidth: 0,
            up_rtt: Duration::ZERO,
            up_step: 0,
        }
    }

    pub(super) fn begin_phase(&mut self, round: u64) {
        self.phase_round = round;
    }

    /// Rounds since the phase began.
    pub(super) const fn rounds(&self, round: u64) -> u64 {
        round - self.phase_round
    }

    /// Draws the time of the next probe. Flows that met the same event differ in the nanoseconds
    /// at which they saw it, which is randomness enough not to probe together.
    fn schedule_probe(&mut self, now: Timestamp) {
        let mixed = now.as_nanos().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
        self.next_probe = now + PROBE_WAIT + Duration::from_nanos(mixed % PROBE_WAIT_SPREAD_NANOS);
    }
}

impl Bbr {
    pub(super) fn start_probe_bw(&mut self, phase: Phase, ack: &AckEvent) {
        self.cycle.begin_phase(self.round.count());
        self.round.restart(ack.delivered_total);
        match phase {
            Phase::Down => {
                self.bandwidth.advance();
                self.cycle.schedule_probe(ack.now);
            }
            Phase::Cruise => {}
            Phase::Refill => {
                self.path_loss.advance();
                self.bounds.drop_lower();
                self.undo = None;
            }
            Phase::Up => {
                self.cycle.up_bandwidth = self.bandwidth();
                self.cycle.up_rtt = self.queue.latest();
                self.cycle.up_step = self.datagram_bytes;
            }
        }
        self.enter(State::ProbeBw(phase));
    }

    /// Cruise has lasted long enough that the losses of Down have come to light.
    pub(super) fn settled(&self) -> bool {
        self.state == State::ProbeBw(Phase::Cruise)
            && self.cycle.rounds(self.round.count()) >= SETTLING_ROUNDS
    }

    pub(super) fn update_probe_bw(&mut self, phase: Phase, ack: &AckEvent) {
        let rounds = self.cycle.rounds(self.round.count());
        match phase {
            Phase::Down => {
                let empty = ack.in_flight <= self.inflight_target(1.0) || self.queue.is_drained();
                let measured = rounds >= MEASURING_ROUNDS
                    || (rounds >= MIN_DOWN_ROUNDS && self.path_loss.has_enough());
                if rounds >= MAX_DOWN_ROUNDS || (measured && empty) {
                    self.start_probe_bw(Phase::Cruise, ack);
                }
            }
            Phase::Cruise => {
                if ack.now >= self.cycle.next_probe {
                    self.start_probe_bw(Phase::Refill, ack);
                }
            }
            Phase::Refill => {
                if rounds >= 1 {
                    self.start_probe_bw(Phase::Up, ack);
                }
            }
            Phase::Up => self.update_up(rounds, ack),
        }
    }

    fn update_up(&mut self, rounds: u64, ack: &AckEvent) {
        if let Some(sample) = &ack.rate
            && rounds >= 1
            && self.is_inflight_too_high(sample)
        {
            let target = scale(self.inflight_target(1.0), BETA);
            self.bounds.inflight_hi = Some(sample.tx_in_flight.max(target));
            self.start_probe_bw(Phase::Down, ack);
            return;
        }
        let held_back = self.raise_inflight_hi(ack);
        if rounds >= 1 && self.queue.has_grown_since(self.cycle.up_rtt) {
            self.start_probe_bw(Phase::Down, ack);
            return;
        }
        if self.round.started() && rounds >= UP_JUDGED_ROUNDS {
            if self.bandwidth() < scale(self.cycle.up_bandwidth, UP_GROWTH) {
                if !held_back {
                    self.start_probe_bw(Phase::Down, ack);
                }
            } else {
                self.cycle.up_bandwidth = self.bandwidth();
            }
        }
    }

    /// Whether what was in flight lost more than the path does at any speed, and that is our doing:
    /// a queue shows, or the delivery rate hasn't followed.
    fn is_inflight_too_high(&self, sample: &RateSample) -> bool {
        let resolved = sample.lost + sample.delivered;
        let packets = ratio(resolved, self.datagram_bytes);
        let usual = self.path_loss.usual(packets) + LOSS_THRESHOLD;
        let excess = ratio(sample.lost, resolved) > usual;
        let followed =
            sample.delivery_rate_bytes_per_second >= scale(self.cycle.up_bandwidth, UP_GROWTH);
        excess && (self.queue.is_elevated() || !followed)
    }

    /// The upper bound gives way slowly at first, then faster (`BBRProbeInflightHiUpward`, section
    /// 5.3.3.5.2). Returns whether it is what holds us back.
    fn raise_inflight_hi(&mut self, ack: &AckEvent) -> bool {
        let Some(hi) = &mut self.bounds.inflight_hi else {
            return false;
        };
        if self.cwnd < *hi {
            return false;
        }
        let share = ratio(ack.newly_acked_bytes, self.cwnd);
        *hi += scale(self.cycle.up_step, share);
        if self.round.started() {
            self.cycle.up_step = (self.cycle.up_step * 2).min(*hi);
        }
        true
    }
}
