//! CUBIC (RFC 9438) with HyStart++ (RFC 9406), paced.
//!
//! One reaction to loss per round trip, told by the send time of what was lost; undone if the loss
//! turns out to be spurious.

use super::{AckEvent, CongestionController, LossEvent, UNPACED_RTT, rate_over};
use crate::units::Timestamp;
use hystart::HyStart;
use std::time::Duration;

mod hystart;

/// Multiplicative decrease factor β (RFC 9438, section 4.6).
const BETA: f64 = 0.7;

/// Aggressiveness C in segments per second cubed (section 5.1).
const C: f64 = 0.4;

/// Additive increase that makes the Reno-friendly region fair to Reno (section 4.3).
const RENO_ALPHA: f64 = 3.0 * (1.0 - BETA) / (1.0 + BETA);

/// Initial window (RFC 6928): ten segments, but no more than this many bytes unless two need it.
const INITIAL_SEGMENTS: u64 = 10;
const INITIAL_BYTES: u64 = 14_720;

/// `kMinimumWindow` (RFC 9002, section 7.2).
const MIN_SEGMENTS: f64 = 2.0;

/// A path that lost nothing for this long counts as free of loss when it comes to pacing.
const LOSS_MEMORY: Duration = Duration::from_secs(1);

/// What a congestion event changes; kept aside to undo a spurious one.
#[derive(Clone, Copy, Debug)]
struct Window {
    /// All windows in segments.
    cwnd: f64,
    ssthresh: f64,
    w_max: f64,
    w_est: f64,
    cwnd_prior: f64,
    k: f64,
    epoch_start: Option<Timestamp>,
}

/// See the [module](self).
#[derive(Clone, Debug)]
pub struct Cubic {
    window: Window,
    undo: Option<Window>,
    recovery_start: Option<Timestamp>,
    hystart: HyStart,
    srtt: Duration,
    min_rtt: Duration,
    now: Timestamp,
    last_loss: Option<Timestamp>,
    datagram_bytes: u64,
}

impl Cubic {
    /// Slow start, for datagrams of `datagram_bytes` UDP payload.
    #[must_use]
    pub fn new(now: Timestamp, datagram_bytes: u64) -> Self {
        let initial = (INITIAL_BYTES / datagram_bytes.max(1)).clamp(2, INITIAL_SEGMENTS);
        Self {
            window: Window {
                cwnd: to_float(initial),
                ssthresh: f64::INFINITY,
                w_max: 0.0,
                w_est: 0.0,
                cwnd_prior: 0.0,
                k: 0.0,
                epoch_start: None,
            },
            undo: None,
            recovery_start: None,
            hystart: HyStart::default(),
            srtt: Duration::ZERO,
            min_rtt: Duration::MAX,
            now,
            last_loss: None,
            datagram_bytes,
        }
    }

    fn in_slow_start(&self) -> bool {
        self.window.cwnd < self.window.ssthresh
    }

    fn slow_start(&mut self, ack: &AckEvent, acked: f64) {
        self.window.cwnd += acked / self.hystart.growth_divisor();
        if self.hystart.on_ack(ack) {
            self.window.ssthresh = self.window.cwnd;
        }
    }

    fn avoid_congestion(&mut self, ack: &AckEvent, acked: f64) {
        let window = &mut self.window;
        let epoch_start = *window.epoch_start.get_or_insert_with(|| {
            // Slow start ended without a loss, or the last epoch was cut short by a timeout.
            if window.w_max <= window.cwnd {
                window.w_max = window.cwnd;
            }
            window.k = ((window.w_max - window.cwnd) / C).cbrt();
            window.w_est = window.cwnd;
            ack.now
        });
        let since = (ack.now - epoch_start + ack.srtt).as_secs_f64();
        let w_cubic = C * (since - window.k).powi(3) + window.w_max;
        let alpha = if window.w_est < window.cwnd_prior {
            RENO_ALPHA
        } else {
            1.0
        };
        window.w_est += alpha * acked / window.cwnd;
        let target = w_cubic.clamp(window.cwnd, 1.5 * window.cwnd);
        let cubic = window.cwnd + (target - window.cwnd) * (acked / window.cwnd).min(1.0);
        window.cwnd = cubic.max(window.w_est);
    }

    /// A new congestion event unless what was lost left before the last one.
    fn on_congestion(&mut self, now: Timestamp, sent: Timestamp) -> bool {
        if self.recovery_start.is_some_and(|start| sent <= start) {
            return false;
        }
        self.recovery_start = Some(now);
        self.undo = Some(self.window);
        let window = &mut self.window;
        window.cwnd_prior = window.cwnd;
        // Fast convergence (section 4.7).
        window.w_max = if window.cwnd < window.w_max {
            window.cwnd * (1.0 + BETA) / 2.0
        } else {
            window.cwnd
        };
        window.ssthresh = (window.cwnd * BETA).max(MIN_SEGMENTS);
        window.cwnd = window.ssthresh;
        window.k = ((window.w_max - window.cwnd).max(0.0) / C).cbrt();
        window.w_est = window.cwnd;
        window.epoch_start = Some(now);
        true
    }
}

impl CongestionController for Cubic {
    fn on_sent(&mut self, now: Timestamp, _bytes: u64, in_flight: u64) {
        // A silence is no time in which the window could have grown (section 5.8).
        if in_flight <= self.datagram_bytes
            && now - self.now > self.srtt
            && let Some(start) = &mut self.window.epoch_start
        {
            *start += now - self.now;
        }
        self.now = now;
    }

    fn on_ack(&mut self, ack: &AckEvent) {
        self.now = ack.now;
        self.srtt = ack.srtt;
        self.min_rtt = ack.min_rtt;
        let sent = Timestamp::from_nanos(
            ack.now
                .as_nanos()
                .saturating_sub(as_nanos(ack.rtt.unwrap_or(ack.srtt))),
        );
        if ack.ce_marks > 0 && self.on_congestion(ack.now, sent) {
            self.undo = None;
        }
        let recovering = self.recovery_start.is_some_and(|start| sent <= start);
        // A window that isn't used says nothing about a larger one (section 5.8).
        let unused = ack.app_limited && ack.prior_in_flight * 2 < self.cwnd();
        if recovering || unused {
            return;
        }
        let acked = to_float(ack.newly_acked_bytes) / to_float(self.datagram_bytes);
        if self.in_slow_start() {
            self.slow_start(ack, acked);
        } else {
            self.avoid_congestion(ack, acked);
        }
    }

    fn on_loss(&mut self, loss: &LossEvent) {
        self.last_loss = Some(loss.now);
        self.on_congestion(loss.now, loss.largest_lost_sent_time);
    }

    fn on_spurious_loss(&mut self, _now: Timestamp) {
        if let Some(before) = self.undo.take() {
            if before.cwnd > self.window.cwnd {
                self.window = before;
            }
            self.recovery_start = None;
        }
    }

    fn on_timeout(&mut self, now: Timestamp) {
        self.recovery_start = None;
        self.on_congestion(now, now);
        self.undo = None;
        self.last_loss = Some(now);
        self.window.cwnd = MIN_SEGMENTS;
        self.window.epoch_start = None;
        self.hystart = HyStart::default();
    }

    fn on_path_change(&mut self, now: Timestamp) {
        *self = Self::new(now, self.datagram_bytes);
    }

    fn set_datagram_bytes(&mut self, bytes: u64) {
        // The window in bytes stays; it is kept in segments.
        let scale = to_float(self.datagram_bytes) / to_float(bytes.max(1));
        for window in [Some(&mut self.window), self.undo.as_mut()] {
            let Some(window) = window else { continue };
            window.cwnd = (window.cwnd * scale).max(MIN_SEGMENTS);
            window.ssthresh *= scale;
            window.w_max *= scale;
            window.w_est *= scale;
            window.cwnd_prior *= scale;
        }
        self.datagram_bytes = bytes.max(1);
    }

    fn cwnd(&self) -> u64 {
        to_bytes(self.window.cwnd * to_float(self.datagram_bytes))
    }

    /// 1.25 windows per round trip, two in slow start; none on a path so short that timers are
    /// coarser than it, while it loses nothing.
    fn pacing_rate(&self) -> Option<u64> {
        let calm = self
            .last_loss
            .is_none_or(|last| self.now - last > LOSS_MEMORY);
        if self.srtt.is_zero() || (self.min_rtt < UNPACED_RTT && calm) {
            return None;
        }
        let (numerator, denominator) = if self.in_slow_start() { (2, 1) } else { (5, 4) };
        Some(rate_over(self.cwnd(), self.srtt).saturating_mul(numerator) / denominator)
    }

    fn name(&self) -> &'static str {
        "cubic"
    }
}

fn as_nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "windows are far below 2^53 bytes"
)]
fn to_float(bytes: u64) -> f64 {
    bytes as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float cast saturates, and windows are positive"
)]
fn to_bytes(window: f64) -> u64 {
    window as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATAGRAM: u64 = 1_000;
    const RTT: Duration = Duration::from_millis(50);

    fn at(ms: u64) -> Timestamp {
        Timestamp(ms * 1_000_000)
    }

    fn ack(now_ms: u64, bytes: u64, in_flight: u64) -> AckEvent {
        AckEvent {
            now: at(now_ms),
            newly_acked_bytes: bytes,
            prior_in_flight: in_flight,
            rtt: Some(RTT),
            srtt: RTT,
            min_rtt: RTT,
            ..AckEvent::default()
        }
    }

    fn loss(now_ms: u64, sent_ms: u64) -> LossEvent {
        LossEvent {
            now: at(now_ms),
            lost_bytes: DATAGRAM,
            lost_packets: 1,
            largest_lost_sent_time: at(sent_ms),
            ..LossEvent::default()
        }
    }

    /// A controller that left slow start at 100 segments, at t = 1 s.
    fn after_first_loss() -> Cubic {
        let mut cubic = Cubic::new(at(0), DATAGRAM);
        cubic.on_ack(&ack(50, 90 * DATAGRAM, 100 * DATAGRAM));
        assert_eq!(cubic.cwnd(), 100 * DATAGRAM);
        cubic.on_loss(&loss(1_000, 950));
        cubic
    }

    #[test]
    fn slow_start_doubles_per_round() {
        let mut cubic = Cubic::new(at(0), DATAGRAM);
        assert_eq!(cubic.cwnd(), 10 * DATAGRAM);
        cubic.on_ack(&ack(50, 10 * DATAGRAM, 10 * DATAGRAM));
        assert_eq!(cubic.cwnd(), 20 * DATAGRAM);
        assert_eq!(cubic.pacing_rate(), Some(20 * DATAGRAM * 20 * 2));
    }

    #[test]
    fn one_reaction_per_round_trip() {
        let mut cubic = after_first_loss();
        assert_eq!(cubic.cwnd(), 70 * DATAGRAM);
        cubic.on_loss(&loss(1_020, 990));
        cubic.on_loss(&loss(1_040, 1_000));
        assert_eq!(cubic.cwnd(), 70 * DATAGRAM);
        cubic.on_loss(&loss(1_060, 1_001));
        assert_eq!(cubic.cwnd(), 49 * DATAGRAM);
    }

    #[test]
    fn the_window_returns_to_its_maximum_after_k_seconds() {
        let mut cubic = after_first_loss();
        // K = cbrt(30 / 0.4) = 4.217 s; round trips long enough that Reno would be slower.
        let long = Duration::from_millis(200);
        let mut now_ms = 1_200;
        let mut run_until = |cubic: &mut Cubic, end_ms: u64| {
            while now_ms < end_ms {
                let window = cubic.cwnd();
                cubic.on_ack(&AckEvent {
                    rtt: Some(long),
                    srtt: long,
                    ..ack(now_ms, window, window)
                });
                now_ms += 200;
            }
            cubic.cwnd() / DATAGRAM
        };
        let at_k = run_until(&mut cubic, 5_217);
        assert!((95..=105).contains(&at_k), "{at_k}");
        // And far beyond it afterwards: the convex region.
        let later = run_until(&mut cubic, 12_000);
        assert!(later > 200, "{later}");
    }

    #[test]
    fn small_windows_grow_like_reno() {
        let mut cubic = Cubic::new(at(0), DATAGRAM);
        cubic.on_loss(&loss(1_000, 990));
        assert_eq!(cubic.cwnd(), 7 * DATAGRAM);
        for round in 1..=20 {
            let window = cubic.cwnd();
            cubic.on_ack(&ack(1_000 + round * 50, window, window));
        }
        // 0.53 segments per round up to the old window of 10, then one per round.
        let segments = cubic.cwnd() / DATAGRAM;
        assert!((20..=25).contains(&segments), "{segments}");
    }

    #[test]
    fn fast_convergence_gives_way() {
        let mut cubic = after_first_loss();
        cubic.on_loss(&loss(1_100, 1_050));
        assert!((cubic.window.w_max - 70.0 * 0.85).abs() < 1e-9);
    }

    #[test]
    fn a_spurious_loss_is_undone_once() {
        let mut cubic = after_first_loss();
        cubic.on_spurious_loss(at(1_010));
        assert_eq!(cubic.cwnd(), 100 * DATAGRAM);
        assert!(cubic.in_slow_start());
        cubic.on_loss(&loss(1_100, 1_090));
        cubic.on_timeout(at(2_000));
        cubic.on_spurious_loss(at(2_010));
        assert_eq!(cubic.cwnd(), 2 * DATAGRAM);
    }

    #[test]
    fn after_a_timeout_it_starts_slowly() {
        let mut cubic = after_first_loss();
        cubic.on_timeout(at(2_000));
        assert_eq!(cubic.cwnd(), 2 * DATAGRAM);
        assert!(cubic.in_slow_start());
        cubic.on_ack(&ack(2_100, 2 * DATAGRAM, 2 * DATAGRAM));
        assert_eq!(cubic.cwnd(), 4 * DATAGRAM);
    }

    #[test]
    fn a_mark_counts_like_a_loss() {
        let mut cubic = Cubic::new(at(0), DATAGRAM);
        let mut marked = ack(100, DATAGRAM, 10 * DATAGRAM);
        marked.ce_marks = 1;
        cubic.on_ack(&marked);
        assert_eq!(cubic.cwnd(), 7 * DATAGRAM);
    }

    #[test]
    fn an_idle_window_does_not_grow() {
        let mut cubic = Cubic::new(at(0), DATAGRAM);
        let mut idle = ack(100, DATAGRAM, 2 * DATAGRAM);
        idle.app_limited = true;
        cubic.on_ack(&idle);
        assert_eq!(cubic.cwnd(), 10 * DATAGRAM);
    }

    #[test]
    fn short_paths_are_not_paced_until_they_lose() {
        let mut cubic = Cubic::new(at(0), DATAGRAM);
        let mut short = ack(1, DATAGRAM, 10 * DATAGRAM);
        short.srtt = Duration::from_micros(50);
        short.min_rtt = short.srtt;
        short.rtt = Some(short.srtt);
        cubic.on_ack(&short);
        assert_eq!(cubic.pacing_rate(), None);
        cubic.on_loss(&loss(2, 1));
        assert!(cubic.pacing_rate().is_some());
        short.now = at(2_000);
        cubic.on_ack(&short);
        assert_eq!(cubic.pacing_rate(), None);
    }

    #[test]
    fn large_datagrams_keep_the_window_in_bytes() {
        let mut cubic = after_first_loss();
        cubic.set_datagram_bytes(7_000);
        assert_eq!(cubic.cwnd(), 70_000);
        cubic.set_datagram_bytes(65_407);
        assert_eq!(cubic.cwnd(), 2 * 65_407);
        assert_eq!(Cubic::new(at(0), 65_407).cwnd(), 2 * 65_407);
    }
}
