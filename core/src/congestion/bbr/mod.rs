//! BBR, made to tell loss from congestion: the default controller.
//!
//! The skeleton is BBRv3 (draft-ietf-ccwg-bbr): a model of the path's bandwidth and least round
//! trip, probed in turns, with bounds learnt from congestion. Four things differ:
//!
//! - Loss is congestion only with evidence: round trips above the least one ([`queue`]), marks, or
//!   a delivery rate that doesn't follow when we send faster ([`probe_bw`]).
//! - What the path loses at any speed ([`path_loss`]) is made up for in rate and window, so that the
//!   *delivered* rate fills the path.
//! - Windows are smaller than BBR's two bandwidth-delay products, because what a window holds beyond
//!   one stands in the queue; acknowledgements bundled by the receiver are added as measured.
//! - Flows that share a path probe and yield together, and so come to equal shares ([`share`]).
//!
//! To read: this file (events, rate, window), then [`startup`], [`probe_bw`], [`share`],
//! [`probe_rtt`].

mod bandwidth;
mod bounds;
mod path_loss;
mod probe_bw;
mod probe_rtt;
mod queue;
mod round;
mod share;
mod startup;
#[cfg(test)]
mod tests;
mod unpaced;

use super::{AckEvent, CongestionController, LossEvent, rate_over};
use crate::units::Timestamp;
use bandwidth::{ExtraAcked, FullPipe, MaxFilter, bytes_over};
use bounds::Bounds;
use path_loss::{PathLoss, Speed};
use probe_bw::{Cycle, Phase};
use probe_rtt::ProbeRtt;
use queue::QueueWatch;
use round::RoundCounter;
use share::Share;
use std::time::Duration;
use unpaced::Unpaced;

/// Initial window: 32 packets of an Ethernet path, as large servers on the web use; the path has
/// carried a handshake by then. More if four datagrams need it.
const INITIAL_WINDOW_BYTES: u64 = 32 * 1_472;

/// `MinPipeCwnd` (section 2.7).
const MIN_WINDOW_PACKETS: u64 = 4;

/// Rate kept in hand (`PacingMarginPercent`, section 2.5): one hundredth.
const PACING_MARGIN: f64 = 0.99;

/// Round trip assumed for pacing before the first sample: a little more than a burst.
const INITIAL_RTT: Duration = Duration::from_millis(10);

/// Window gains by state. The draft uses 2 nearly everywhere. What Up finds shows in a window of its
/// pacing gain; what is beyond stands in the queue, in the way of others. Where others fill the
/// queue anyway, it is they who would gain.
const STARTUP_CWND_GAIN: f64 = 2.0;
const UP_CWND_GAIN: f64 = 1.3;
const CONTESTED_UP_CWND_GAIN: f64 = 2.0;
const CWND_GAIN: f64 = 1.15;

/// Shortest round trip windows are computed for: timers and schedulers are no finer.
const MIN_MODEL_RTT: Duration = Duration::from_millis(1);

/// Loss beyond the path's own that one round may show without being congestion (`LossThresh`,
/// section 2.7).
const LOSS_THRESHOLD: f64 = 0.02;

/// By how many standard deviations the maximum of rate samples exceeds their mean, cautiously, and
/// the most taken off for it.
const MAXIMUM_DEVIATIONS: f64 = 1.5;
const MAXIMUM_EXCESS: f64 = 0.1;

/// Part of the path's loss that is made up for; how far beyond the average delivered; and over how
/// many rounds that is averaged.
const MADE_UP_FOR: f64 = 0.99;
const AVERAGE_GROWTH: f64 = 1.01;
const AVERAGE_ROUNDS: u64 = 8;

/// How many samples the recent delivery rate is averaged over.
const RECENT_SAMPLES: u64 = 2;

/// How many packets the recent loss is averaged over.
const RECENT_PACKETS: f64 = 1_000.0;

/// On a path whose delay varies, acknowledgements come bundled by so many times its variation from sample to sample,
/// which may be far more than the least round trip.
const JITTER_BUNDLES: u32 = 4;

/// Packets that are declared lost stay in flight longer than others by about this many round trips.
const LOSS_LINGER: f64 = 0.5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Startup,
    Drain,
    ProbeBw(Phase),
    ProbeRtt,
}

/// What has happened in the present round.
#[derive(Clone, Copy, Debug, Default)]
struct RoundTally {
    acked_bytes: u64,
    /// Lost while a queue was in evidence.
    queue_lost_bytes: u64,
    ce_marks: u32,
    /// Highest rate and most bytes delivered in an interval.
    bw_latest: u64,
    inflight_latest: u64,
}

/// How congestion shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Congestion {
    /// By loss with a queue, or by marks.
    Queue,
    /// By loss without one: a shallow buffer, or a policer.
    Shallow,
}

/// What a congestion event changed; kept to undo a spurious one.
#[derive(Clone, Copy, Debug)]
struct Undo {
    bounds: Bounds,
    cwnd: u64,
}

/// See the [module](self).
#[derive(Clone, Debug)]
pub struct Bbr {
    datagram_bytes: u64,
    now: Timestamp,
    state: State,
    round: RoundCounter,
    tally: RoundTally,
    bandwidth: MaxFilter,
    full_pipe: FullPipe,
    filled_pipe: bool,
    has_rtt: bool,
    average_bw: u64,
    /// Delivery rate over the last few samples, which span a round trip each.
    recent_bw: u64,
    startup_acked: u64,
    startup_lost: u64,
    /// Share of packets lost, averaged over thousands.
    recent_loss: f64,
    extra_acked: ExtraAcked,
    queue: QueueWatch,
    path_loss: PathLoss,
    bounds: Bounds,
    cycle: Cycle,
    share: Share,
    probe_rtt: ProbeRtt,
    unpaced: Unpaced,
    undo: Option<Undo>,
    delivered: u64,
    cwnd: u64,
    pacing_rate: u64,
}

impl Bbr {
    /// Startup, for datagrams of `datagram_bytes` UDP payload.
    #[must_use]
    pub fn new(now: Timestamp, datagram_bytes: u64) -> Self {
        let datagram_bytes = datagram_bytes.max(1);
        let cwnd = INITIAL_WINDOW_BYTES.max(MIN_WINDOW_PACKETS * datagram_bytes);
        Self {
            datagram_bytes,
            now,
            state: State::Startup,
            round: RoundCounter::default(),
            tally: RoundTally::default(),
            bandwidth: MaxFilter::default(),
            full_pipe: FullPipe::default(),
            filled_pipe: false,
            has_rtt: false,
            average_bw: 0,
            recent_bw: 0,
            startup_acked: 0,
            startup_lost: 0,
            recent_loss: 0.0,
            extra_acked: ExtraAcked::default(),
            queue: QueueWatch::new(now),
            path_loss: PathLoss::new(now),
            bounds: Bounds::default(),
            cycle: Cycle::new(now),
            share: Share::new(),
            probe_rtt: ProbeRtt::default(),
            unpaced: Unpaced::new(now),
            undo: None,
            delivered: 0,
            cwnd,
            pacing_rate: scale(rate_over(cwnd, INITIAL_RTT), startup::PACING_GAIN),
        }
    }

    /// The delivered bandwidth the model believes in, bytes per second.
    fn bandwidth(&self) -> u64 {
        let max = self.bandwidth.max();
        self.bounds.bw_lo.map_or(max, |bw_lo| max.min(bw_lo))
    }

    /// The rate at which sending makes that bandwidth arrive.
    ///
    /// Random loss makes rate samples noisy, and the maximum of noisy samples too high; the excess
    /// is taken off. Loss is made up for on the average delivered, not on the maximum, and not
    /// wholly: where several flows overfill a queue that each takes for the path, none of them
    /// must chase the others.
    fn sending_bandwidth(&self) -> u64 {
        let bandwidth = self.bandwidth();
        let average = if self.state == State::ProbeBw(Phase::Up) {
            // What Up finds must pay off at once, or it would end before finding more.
            bandwidth
        } else {
            scale(self.average_bw, AVERAGE_GROWTH)
        };
        let lost = if self.is_loss_the_paths() {
            MADE_UP_FOR * self.path_loss.compensated()
        } else {
            0.0
        };
        let compensated = scale(bandwidth.min(average), 1.0 / (1.0 - lost));
        scale(bandwidth, 1.0 - self.excess_of_maximum()).max(compensated)
    }

    /// At the floor the queue isn't full, or we have looked and found that it is the floor: so what
    /// is lost there is lost by the path.
    fn is_loss_the_paths(&self) -> bool {
        self.queue.has_room() || self.probe_rtt.is_trusted(self.now)
    }

    fn excess_of_maximum(&self) -> f64 {
        (MAXIMUM_DEVIATIONS * self.deviation()).min(MAXIMUM_EXCESS)
    }

    /// Relative standard deviation of rate samples that random loss causes.
    fn deviation(&self) -> f64 {
        let loss = self.path_loss.measured();
        let Some(min_rtt) = self.queue.min_rtt() else {
            return 0.0;
        };
        let per_sample = ratio(bytes_over(self.bandwidth(), min_rtt), self.datagram_bytes);
        (loss / (1.0 - loss) / per_sample.max(1.0)).sqrt()
    }

    /// `gain` bandwidth-delay products, counted in sent bytes, plus what lost packets add.
    fn inflight_target(&self, gain: f64) -> u64 {
        let Some(min_rtt) = self.queue.min_rtt() else {
            return self.initial_window();
        };
        let product = bytes_over(self.sending_bandwidth(), min_rtt.max(MIN_MODEL_RTT));
        let lingering = LOSS_LINGER * self.path_loss.measured();
        scale(product, gain + lingering)
    }

    /// What bundled acknowledgements need on top of it, within reason.
    fn bundling(&self) -> u64 {
        let jitter = bytes_over(self.bandwidth(), self.queue.jitter() * JITTER_BUNDLES);
        let most = self.inflight_target(1.0).max(jitter);
        self.extra_acked.max().min(most)
    }

    fn average_loss(&mut self, packets: u32, lost: f64) {
        let weight = (f64::from(packets) / RECENT_PACKETS).min(1.0);
        self.recent_loss += weight * (lost - self.recent_loss);
    }

    fn initial_window(&self) -> u64 {
        INITIAL_WINDOW_BYTES.max(self.min_window())
    }

    fn min_window(&self) -> u64 {
        MIN_WINDOW_PACKETS * self.datagram_bytes
    }

    fn is_probing(&self) -> bool {
        matches!(
            self.state,
            State::Startup | State::ProbeBw(Phase::Refill | Phase::Up)
        )
    }

    fn update_model(&mut self, ack: &AckEvent) {
        self.now = ack.now;
        self.delivered = ack.delivered_total;
        match &ack.rate {
            Some(sample) => self
                .round
                .on_ack(sample.prior_delivered, ack.delivered_total),
            None => self.round.no_sample(),
        }
        if let Some(rtt) = ack.rtt {
            if self.queue.on_sample(ack.now, rtt, self.round.started()) {
                self.path_loss.forget();
            }
            self.probe_rtt.on_sample(rtt);
        }
        if self.round.started() {
            self.end_round(ack);
        }
        self.tally.acked_bytes += ack.newly_acked_bytes;
        self.tally.ce_marks += ack.ce_marks;
        if let Some(sample) = &ack.rate {
            if self.queue.is_low() {
                let packets = ack.newly_acked_packets;
                self.path_loss
                    .on_acked(sample.sent_time, packets, ack.srtt / 4);
            }
            let rate = sample.delivery_rate_bytes_per_second;
            self.tally.bw_latest = self.tally.bw_latest.max(rate);
            self.tally.inflight_latest = self.tally.inflight_latest.max(sample.delivered);
            self.share.on_sample(sample, self.recent_bw);
            self.recent_bw -= self.recent_bw / RECENT_SAMPLES;
            self.recent_bw += rate / RECENT_SAMPLES;
            if !sample.app_limited || rate >= self.bandwidth.max() {
                self.bandwidth.update(rate);
            }
        }
        self.extra_acked.on_ack(
            ack.now,
            ack.newly_acked_bytes,
            self.bandwidth.max(),
            self.round.count(),
        );
    }

    /// Judges the round that has just ended.
    fn end_round(&mut self, ack: &AckEvent) {
        let standing = self.queue.is_standing();
        self.path_loss.on_round(standing);
        if let Some(congestion) = self.congestion()
            && !self.is_probing()
        {
            self.undo.get_or_insert(Undo {
                bounds: self.bounds,
                cwnd: self.cwnd,
            });
            self.bounds.lower_bw(self.bandwidth(), self.tally.bw_latest);
            // What is lost from now on isn't lost by sending too fast.
            self.path_loss.set_speed(self.now, Speed::Slow);
            if congestion == Congestion::Queue {
                let arrived = 1.0 - self.path_loss.measured();
                let inflight_latest = scale(self.tally.inflight_latest, 1.0 / arrived);
                self.bounds.lower_inflight(self.cwnd, inflight_latest);
            }
        }
        self.average_bandwidth(ack);
        if standing && self.settled() {
            self.bounds
                .follow_bw(self.bandwidth.max(), self.tally.bw_latest);
        }
        if !self.filled_pipe && ack.rate.is_some_and(|sample| !sample.app_limited) {
            self.full_pipe.on_round(self.bandwidth.max());
            if self.tally.ce_marks > 0 {
                self.full_pipe.on_marked_round();
            }
        }
        self.tally = RoundTally::default();
    }

    fn average_bandwidth(&mut self, ack: &AckEvent) {
        let latest = self.tally.bw_latest;
        if self.is_starting() {
            self.average_bw = self.bandwidth.max();
        } else if latest >= self.average_bw || (self.settled() && !ack.app_limited) {
            self.average_bw += latest / AVERAGE_ROUNDS;
            self.average_bw -= self.average_bw / (AVERAGE_ROUNDS + 1);
        }
    }

    /// Up to the first Cruise: what is sent says little about what could be.
    fn is_starting(&self) -> bool {
        match self.state {
            State::Startup | State::Drain => true,
            State::ProbeBw(Phase::Down) => !self.path_loss.has_past(),
            State::ProbeBw(_) | State::ProbeRtt => false,
        }
    }

    /// Judges the present round: marks, or more loss with a queue than the path causes; or that
    /// sending at the estimated bandwidth has been losing more than sending slower.
    fn congestion(&mut self) -> Option<Congestion> {
        let RoundTally {
            acked_bytes,
            queue_lost_bytes,
            ce_marks,
            ..
        } = self.tally;
        let resolved = acked_bytes + queue_lost_bytes;
        let packets = ratio(resolved, self.datagram_bytes);
        let usual = self.path_loss.usual(packets) + LOSS_THRESHOLD;
        if ce_marks > 0 || ratio(queue_lost_bytes, resolved) > usual {
            Some(Congestion::Queue)
        } else if self.settled() && self.path_loss.take_excess(LOSS_THRESHOLD) {
            Some(Congestion::Shallow)
        } else {
            None
        }
    }

    fn update_state(&mut self, ack: &AckEvent) {
        match self.state {
            State::Startup => {
                self.count_startup(ack.newly_acked_bytes, 0);
                self.check_startup_done(ack);
            }
            State::Drain => self.check_drained(ack),
            State::ProbeBw(phase) => self.update_probe_bw(phase, ack),
            State::ProbeRtt => self.update_probe_rtt(ack),
        }
        self.check_probe_rtt(ack);
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        let speed = match state {
            State::Startup | State::ProbeBw(Phase::Up) => Speed::Fast,
            State::Drain | State::ProbeBw(Phase::Down) | State::ProbeRtt => Speed::Slow,
            State::ProbeBw(Phase::Cruise | Phase::Refill) => Speed::Even,
        };
        self.path_loss.set_speed(self.now, speed);
    }

    fn pacing_gain(&self) -> f64 {
        match self.state {
            State::Startup => startup::PACING_GAIN * self.startup_compensation(),
            State::Drain => startup::DRAIN_PACING_GAIN,
            State::ProbeBw(phase) => self.probe_bw_gain(phase),
            State::ProbeRtt => 1.0,
        }
    }

    fn update_pacing_rate(&mut self, ack: &AckEvent) {
        if !self.has_rtt {
            // The first round trip gives the first rate a meaning (section 5.6.2).
            let Some(rtt) = ack.rtt else { return };
            self.has_rtt = true;
            self.pacing_rate = scale(rate_over(self.cwnd, rtt), startup::PACING_GAIN);
        }
        let rate = scale(self.sending_bandwidth(), self.pacing_gain() * PACING_MARGIN);
        // In Startup the first, small samples don't slow it down.
        if self.filled_pipe || rate > self.pacing_rate {
            self.pacing_rate = rate.max(1);
        }
    }

    fn update_cwnd(&mut self, ack: &AckEvent) {
        let gain = match self.state {
            State::Startup => STARTUP_CWND_GAIN * self.startup_compensation(),
            State::ProbeBw(Phase::Up) if self.share.is_contested() => CONTESTED_UP_CWND_GAIN,
            State::ProbeBw(Phase::Up) => UP_CWND_GAIN + self.path_loss.measured(),
            State::Drain | State::ProbeBw(_) | State::ProbeRtt => CWND_GAIN,
        };
        let target = self
            .inflight_target(gain)
            .saturating_add(self.bundling())
            .max(3 * self.quantum());
        let grown = self.cwnd.saturating_add(ack.newly_acked_bytes);
        if self.filled_pipe {
            self.cwnd = grown.min(target);
        } else if self.cwnd < target || self.delivered < 2 * self.initial_window() {
            self.cwnd = grown;
        }
        let floor = self.inflight_target(1.0).saturating_add(self.bundling());
        let mut cap = self.bounds.inflight(self.is_probing(), floor);
        if self.state == State::ProbeRtt {
            cap = cap.min(self.probe_rtt_window());
        }
        self.cwnd = self.cwnd.min(cap).max(self.min_window());
    }

    /// What leaves in one go when paced: a millisecond's worth.
    fn quantum(&self) -> u64 {
        bytes_over(self.pacing_rate, Duration::from_millis(1)).clamp(
            2 * self.datagram_bytes,
            crate::pacing::MAX_TRAIN_BYTES.max(2 * self.datagram_bytes),
        )
    }
}

impl CongestionController for Bbr {
    fn on_sent(&mut self, now: Timestamp, bytes: u64, in_flight: u64) {
        if in_flight <= bytes && now - self.now > Duration::from_secs(1) {
            // Restart from idle (section 5.4.1).
            self.extra_acked.restart(now);
            self.queue.postpone(now);
        }
    }

    fn on_ack(&mut self, ack: &AckEvent) {
        self.average_loss(ack.newly_acked_packets, 0.0);
        self.update_model(ack);
        self.update_state(ack);
        self.update_pacing_rate(ack);
        self.update_cwnd(ack);
        self.unpaced.on_ack(ack, self.queue.min_rtt());
    }

    fn on_loss(&mut self, loss: &LossEvent) {
        self.unpaced.on_loss(loss.now);
        self.average_loss(loss.lost_packets, 1.0);
        if !self.filled_pipe {
            self.count_startup(0, loss.lost_bytes);
        }
        if self.queue.is_elevated() {
            self.tally.queue_lost_bytes += loss.lost_bytes;
        }
        if self.queue.is_low() {
            let spread = self.queue.latest() / 4;
            self.path_loss
                .on_lost(loss.largest_lost_sent_time, loss.lost_packets, spread);
        }
    }

    fn on_spurious_loss(&mut self, _now: Timestamp) {
        if let Some(undo) = self.undo.take() {
            self.bounds = undo.bounds;
            self.cwnd = self.cwnd.max(undo.cwnd);
        }
    }

    /// Nothing came back: a minimal window finds out whether the path still lives, and grows back
    /// by what is acknowledged.
    fn on_timeout(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
        self.unpaced.on_timeout(now);
        self.cwnd = self.min_window();
    }

    fn on_path_change(&mut self, now: Timestamp) {
        *self = Self::new(now, self.datagram_bytes);
    }

    fn set_datagram_bytes(&mut self, bytes: u64) {
        self.datagram_bytes = bytes.max(1);
        self.cwnd = self.cwnd.max(self.min_window());
    }

    fn cwnd(&self) -> u64 {
        self.unpaced
            .window()
            .map_or(self.cwnd, |window| window.max(self.cwnd))
    }

    fn pacing_rate(&self) -> Option<u64> {
        self.unpaced.window().is_none().then_some(self.pacing_rate)
    }

    fn name(&self) -> &'static str {
        "bbr"
    }
}

/// `bytes` × `factor`, where the factor is a gain: a small positive number.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "float casts saturate, and bytes are far below 2^53"
)]
fn scale(bytes: u64, factor: f64) -> u64 {
    (bytes as f64 * factor) as u64
}

/// `part` of `whole` as a number; 0 of nothing.
#[expect(clippy::cast_precision_loss, reason = "bytes are far below 2^53")]
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}
