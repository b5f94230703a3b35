//! Startup and Drain: finding the bandwidth by doubling, then emptying the queue that made.

use super::{Bbr, Phase, State, ratio};
use crate::congestion::AckEvent;

/// Least gain that doubles the delivery rate every round: 4·ln 2 (draft-ietf-ccwg-bbr, section
/// 2.4).
pub(super) const PACING_GAIN: f64 = 2.77;

/// `DrainPacingGain` (section 2.4).
pub(super) const DRAIN_PACING_GAIN: f64 = 0.5;

/// Round trips in a row that show a queue: the pipe is full, before anything overflows.
const QUEUE_SAMPLES: u32 = 3;

/// One flat round is enough if this share of it was lost beyond what was lost before: what we send
/// is being dropped without a queue.
const LOSS_JUMP: f64 = 0.15;

/// Fewest packets such a share is taken from.
const LOSS_JUMP_PACKETS: f64 = 64.0;

/// Most of it that Startup makes up for.
const MAX_COMPENSATED: f64 = 0.4;

/// Drain leaves the last quarter to Down, because it learns of what it does a round trip late.
const DRAINED: f64 = 1.25;

/// Drain ends after so many rounds even if others keep the queue filled.
const MAX_DRAIN_ROUNDS: u64 = 4;

impl Bbr {
    /// Startup's gains are about what arrives, so they grow with what doesn't, as long as no queue
    /// and no flat round tells that we lose it ourselves.
    pub(super) fn startup_compensation(&self) -> f64 {
        if self.queue.is_elevated() || self.full_pipe.flat_rounds() > 0 {
            return 1.0;
        }
        1.0 / (1.0 - self.startup_loss().min(MAX_COMPENSATED))
    }

    /// Counts what arrived and what was lost while sending faster still delivered more.
    pub(super) fn count_startup(&mut self, acked: u64, lost: u64) {
        if self.full_pipe.flat_rounds() == 0 && !self.queue.is_elevated() {
            self.startup_acked += acked;
            self.startup_lost += lost;
        }
    }

    fn startup_loss(&self) -> f64 {
        ratio(self.startup_lost, self.startup_lost + self.startup_acked)
    }

    pub(super) fn check_startup_done(&mut self, ack: &AckEvent) {
        let Some(sample) = &ack.rate else { return };
        let loss = ratio(sample.lost, sample.lost + sample.delivered);
        let queue = &self.queue;
        let queueing = queue.filled_run() >= QUEUE_SAMPLES
            || (queue.grown_run() >= QUEUE_SAMPLES && self.full_pipe.is_slowing());
        let packets = ratio(sample.lost + sample.delivered, self.datagram_bytes);
        let dropping = self.full_pipe.flat_rounds() > 0
            && packets >= LOSS_JUMP_PACKETS
            && loss > self.startup_loss() + LOSS_JUMP;
        if self.full_pipe.is_full() || (queueing && self.round.count() > 1) || dropping {
            self.filled_pipe = true;
            self.cycle.begin_phase(self.round.count());
            self.round.restart(ack.delivered_total);
            self.enter(State::Drain);
        }
    }

    pub(super) fn check_drained(&mut self, ack: &AckEvent) {
        let rounds = self.cycle.rounds(self.round.count());
        let empty = ack.in_flight <= self.inflight_target(DRAINED) || self.queue.is_drained();
        if empty || rounds >= MAX_DRAIN_ROUNDS {
            self.start_probe_bw(Phase::Down, ack);
        }
    }
}
