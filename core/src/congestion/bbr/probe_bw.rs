//! ProbeBW: the steady state, in cycles of Down (drain), Cruise, Refill and Up (probe).

use super::bounds::BETA;
use super::share::{CYCLE, next_common};
use super::{Bbr, LOSS_THRESHOLD, State, ratio, scale};
use crate::congestion::AckEvent;
use crate::congestion::delivery_rate::RateSample;
use crate::units::Timestamp;
use std::time::Duration;

/// Pacing gains (draft-ietf-ccwg-bbr, section 5.3.3).
const DOWN_PACING_GAIN: f64 = 0.9;
const UP_PACING_GAIN: f64 = 1.25;

/// Down where the queue is long, so that it drains within a few rounds.
const STEEP_DOWN_PACING_GAIN: f64 = 0.75;

/// Cruise where others keep a queue filled, or where we may have made one by overestimating the
/// loss: it sinks slowly if it is ours.
const YIELDING_PACING_GAIN: f64 = 0.98;

/// Rounds that Down lasts at least, to measure the path's loss, and at most.
const MIN_DOWN_ROUNDS: u64 = 1;
const MAX_DOWN_ROUNDS: u64 = 16;

/// The same on a contested path, and how many rounds it takes there to see whether the queue sinks.
const CONTESTED_DOWN_ROUNDS: u64 = 8;
const SINKING_ROUNDS: u64 = 4;

/// Rounds after which the measurement has to do with the packets it has.
const MEASURING_ROUNDS: u64 = 4;

/// The same where all flows leave Down together: long enough for any of them, if anything is lost.
const COMMON_MEASURING_ROUNDS: u64 = 2;
const LOSSLESS: f64 = 0.001;

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

/// The cycle's clock and memory.
#[derive(Clone, Debug)]
pub(super) struct Cycle {
    phase_round: u64,
    next_probe: Timestamp,
    /// When Up began, and bandwidth and round trip then.
    up_start: Timestamp,
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
            up_start: now,
        }
    }

    pub(super) fn begin_phase(&mut self, round: u64) {
        self.phase_round = round;
    }

    /// Rounds since the phase began.
    pub(super) const fn rounds(&self, round: u64) -> u64 {
        round - self.phase_round
    }

    /// Moves the next probe.
    pub(super) fn probe_at(&mut self, at: Timestamp) {
        self.next_probe = at;
    }

    /// Time since Up began, and the bandwidth then.
    pub(super) fn since_up(&self, now: Timestamp) -> (Duration, u64) {
        (now - self.up_start, self.up_bandwidth)
    }
}

impl Bbr {
    pub(super) fn start_probe_bw(&mut self, phase: Phase, ack: &AckEvent) {
        self.cycle.begin_phase(self.round.count());
        self.round.restart(ack.delivered_total);
        match phase {
            Phase::Down => {
                let peak = self.state != State::Drain && self.queue.has_grown();
                self.share.begin_down(ack.now, peak);
                if !self.share.is_due() {
                    self.bandwidth.advance();
                }
                self.cycle.probe_at(next_common(ack.now, CYCLE));
            }
            Phase::Cruise => {}
            Phase::Refill => self.begin_cycle(),
            Phase::Up => {
                if self.state == State::ProbeBw(Phase::Cruise) {
                    self.begin_cycle();
                }
                self.cycle.up_bandwidth = self.bandwidth();
                self.cycle.up_rtt = self.queue.latest();
                self.cycle.up_step = self.datagram_bytes;
                self.cycle.up_start = ack.now;
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
        if self.queue.is_empty() {
            self.share.set_contested(false);
        }
        match phase {
            Phase::Down => self.update_down(rounds, ack),
            Phase::Cruise | Phase::Refill if self.others_probe() => {
                self.start_probe_bw(Phase::Up, ack);
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

    /// Down ends when all flows see the queue gone, so that they go on together.
    fn update_down(&mut self, rounds: u64, ack: &AckEvent) {
        if rounds >= 1 && self.share.is_due() {
            self.take_share(ack.now);
        }
        let measured = if self.share.is_contested() || !self.queue.has_room() {
            rounds >= MEASURING_ROUNDS || self.path_loss.has_enough()
        } else {
            let known = self.recent_loss < LOSSLESS || self.path_loss.is_known();
            rounds >= COMMON_MEASURING_ROUNDS || known
        };
        let (most, empty) = if self.share.is_contested() {
            let drained = ack.in_flight <= self.inflight_target(1.0) || self.queue.is_drained();
            let stands = rounds >= SINKING_ROUNDS && !self.queue.is_sinking();
            (CONTESTED_DOWN_ROUNDS, drained && stands)
        } else {
            (MAX_DOWN_ROUNDS, self.queue.is_empty())
        };
        let over = empty && measured && rounds >= MIN_DOWN_ROUNDS && !self.queue.is_falling();
        if rounds >= most {
            self.share.set_contested(true);
        }
        if rounds >= most || over {
            self.start_probe_bw(Phase::Cruise, ack);
        }
    }

    /// What the last cycle has taught becomes the past.
    fn begin_cycle(&mut self) {
        self.path_loss.advance();
        self.queue.advance();
        self.bounds.drop_lower();
        self.undo = None;
    }

    pub(super) fn probe_bw_gain(&self, phase: Phase) -> f64 {
        let contested = self.share.is_contested();
        match phase {
            Phase::Up if !contested => self.ramp_gain(UP_PACING_GAIN),
            Phase::Up => UP_PACING_GAIN,
            Phase::Down if self.queue.is_falling() || (self.queue.is_long() && !contested) => {
                STEEP_DOWN_PACING_GAIN
            }
            Phase::Down => DOWN_PACING_GAIN,
            Phase::Cruise if contested || (self.is_lossy() && self.queue.is_beginning()) => {
                YIELDING_PACING_GAIN
            }
            Phase::Cruise | Phase::Refill => 1.0,
        }
    }

    fn update_up(&mut self, rounds: u64, ack: &AckEvent) {
        if let Some(sample) = &ack.rate
            && rounds >= 1
            && (self.tally.ce_marks > 0 || self.is_inflight_too_high(sample))
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
        let ramped = self.probe_bw_gain(Phase::Up) >= UP_PACING_GAIN;
        if !ramped && self.round.started() {
            // Nothing is judged before the ramp is at its end.
            self.cycle.begin_phase(self.round.count() - 1);
        }
        if ramped && self.round.started() && rounds >= UP_JUDGED_ROUNDS {
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
