//! ProbeRTT: a short half-empty pipe to measure the least round trip, where nothing else showed it.

use super::share::next_common;
use super::{Bbr, Phase, State, scale};
use crate::congestion::AckEvent;
use crate::units::Timestamp;
use std::time::Duration;

/// `ProbeRTTCwndGain` and `ProbeRTTDuration` (draft-ietf-ccwg-bbr, section 2.14).
const CWND_GAIN: f64 = 0.5;
const DURATION: Duration = Duration::from_millis(200);

/// Share lost lately up to which a path counts as clean.
const CLEAN_LOSS: f64 = 0.01;

/// Flows of a server look for the least round trip when its clock passes multiples of this: a
/// queue that all of them fill drains only if all of them let it.
const TOGETHER: Duration = Duration::from_secs(5);

/// Loss that makes a floor suspicious that has not been seen together with a longer round trip
/// for so long: it may be that of a full queue, and the loss its overflow.
const SUSPICIOUS_LOSS: f64 = 0.02;
const SUSPICIOUS_AFTER: Duration = Duration::from_secs(3);

/// A fall of the floor by this part of it confirms the suspicion; else it is dispelled for this
/// long, and looked at again a while before that.
const CONFIRMED_DIVISOR: u32 = 32;
const TRUSTED_FOR: Duration = Duration::from_secs(30);
const RENEWED_BEFORE: Duration = Duration::from_secs(10);

/// What the measurement has seen.
#[derive(Clone, Debug, Default)]
pub(super) struct ProbeRtt {
    /// When the pipe was drained, and may be filled again.
    until: Option<Timestamp>,
    drained_round: u64,
    measured: Option<Duration>,
    /// The next moment at which all flows look.
    next: Timestamp,
    /// The floor was confirmed, and is believed until then.
    trusted_until: Timestamp,
    /// When the queue was last seen empty for certain.
    sound_at: Timestamp,
    /// The floor when the measurement began.
    floor: Duration,
}

impl ProbeRtt {
    /// The floor was measured with little in flight, and is no queue.
    pub(super) fn is_trusted(&self, now: Timestamp) -> bool {
        now < self.trusted_until
    }

    pub(super) fn on_sample(&mut self, rtt: Duration) {
        self.measured = Some(self.measured.map_or(rtt, |measured| measured.min(rtt)));
    }
}

impl Bbr {
    /// Starts it when the least round trip wasn't touched for ten seconds, or is suspicious, or
    /// the queue doesn't drain. Down drains it in every cycle, so on a path of our own this never
    /// happens.
    pub(super) fn check_probe_rtt(&mut self, ack: &AckEvent) {
        if self.queue.is_sound() {
            self.probe_rtt.sound_at = ack.now;
        }
        if ack.now < self.probe_rtt.next {
            return;
        }
        self.probe_rtt.next = next_common(ack.now, TOGETHER);
        // Those who keep a queue filled may all be flows of this server that never saw it empty.
        let due = self.queue.is_stale(ack.now)
            || self.is_floor_suspicious(ack.now)
            || self.share.is_contested();
        // Startup looks for more, and would take a look at less for the end of the path.
        if !due || !self.filled_pipe || self.state == State::ProbeRtt {
            return;
        }
        if ack.app_limited || self.unpaced.window().is_some() {
            // Too little is sent to cause the queue, or too much to care.
            self.queue.postpone(ack.now);
            return;
        }
        self.probe_rtt.until = None;
        self.probe_rtt.measured = None;
        self.probe_rtt.floor = self.queue.floor();
        self.enter(State::ProbeRtt);
    }

    fn is_floor_suspicious(&self, now: Timestamp) -> bool {
        self.recent_loss > SUSPICIOUS_LOSS
            && now - self.probe_rtt.sound_at > SUSPICIOUS_AFTER
            && now + RENEWED_BEFORE >= self.probe_rtt.trusted_until
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
        let before = self.probe_rtt.floor;
        if self.queue.floor() + before / CONFIRMED_DIVISOR > before {
            self.probe_rtt.trusted_until = ack.now + TRUSTED_FOR;
        }
        let clean = self.recent_loss < CLEAN_LOSS;
        self.queue
            .replace_min_rtt(ack.now, self.probe_rtt.measured, clean);
        self.start_probe_bw(Phase::Cruise, ack);
    }

    pub(super) fn probe_rtt_window(&self) -> u64 {
        scale(self.inflight_target(1.0), CWND_GAIN).max(self.min_window())
    }
}
