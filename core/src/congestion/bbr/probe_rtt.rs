//! ProbeRTT: a short half-empty pipe to measure the least round trip, where nothing else showed it.

use super::{Bbr, Phase, State, scale};
use crate::congestion::AckEvent;
use crate::units::Timestamp;
use std::time::Duration;

/// `ProbeRTTCwndGain` and `ProbeRTTDuration` (draft-ietf-ccwg-bbr, section 2.14).
const CWND_GAIN: f64 = 0.5;
const DURATION: Duration = Duration::from_millis(200);

/// Share lost lately up to which a path counts as clean.
const CLEAN_LOSS: f64 = 0.01;

/// What the measurement has seen.
#[derive(Clone, Debug, Default)]
pub(super) struct ProbeRtt {
    /// When the pipe was drained, and may be filled again.
    until: Option<Timestamp>,
    drained_round: u64,
    measured: Option<Duration>,
}

impl ProbeRtt {
    pub(super) fn on_sample(&mut self, rtt: Duration) {
        self.measured = Some(self.measured.map_or(rtt, |measured| measured.min(rtt)));
    }
}

impl Bbr {
    /// Starts it when the least round trip wasn't touched for ten seconds. Down drains the queue
    /// in every cycle, so on a path of our own this never happens.
    pub(super) fn check_probe_rtt(&mut self, ack: &AckEvent) {
        let due = self.queue.is_stale(ack.now) && self.state != State::ProbeRtt;
        if !due {
            return;
        }
        if ack.app_limited || self.unpaced.window().is_some() {
            // Too little is sent to cause the queue, or too much to care.
            self.queue.postpone(ack.now);
            return;
        }
        self.probe_rtt = ProbeRtt::default();
        self.enter(State::ProbeRtt);
    }

    pub(super) fn update_probe_rtt(&mut self, ack: &AckEvent) {
        let Some(until) = self.probe_rtt.until else {
            if ack.in_flight <= self.probe_rtt_window() {
                let rtt = ack.srtt.max(DURATION);
                self.probe_rtt.until = Some(ack.now + rtt);
                self.round.restart(ack.delivered_total);
                self.probe_rtt.drained_round = self.round.count();
                self.probe_rtt.measured = None;
            }
            return;
        };
        if ack.now < until || self.round.count() == self.probe_rtt.drained_round {
            return;
        }
        let clean = self.recent_loss < CLEAN_LOSS;
        self.queue
            .replace_min_rtt(ack.now, self.probe_rtt.measured, clean);
        if self.filled_pipe {
            self.start_probe_bw(Phase::Cruise, ack);
        } else {
            self.enter(State::Startup);
        }
    }

    pub(super) fn probe_rtt_window(&self) -> u64 {
        scale(self.inflight_target(1.0), CWND_GAIN).max(self.min_window())
    }
}
