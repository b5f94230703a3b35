//! Paths shorter than any timer: no pacing and a large window, while nothing is lost.
//!
//! On loopback or a fast local network a bandwidth-delay product is a few packets, and what limits
//! the flow is the processors at its ends. Their queues are the sockets' buffers, which flow control
//! watches. The first loss ends this for a while, for longer each time.

use crate::congestion::{AckEvent, UNPACED_RTT};
use crate::units::Timestamp;
use std::time::Duration;

/// The window grows to this.
const MAX_WINDOW_BYTES: u64 = 8 << 20;

/// How long the first loss keeps the controller pacing; doubles up to the other.
const FIRST_PAUSE: Duration = Duration::from_secs(4);
const MAX_PAUSE: Duration = Duration::from_secs(600);

/// See the [module](self).
#[derive(Clone, Debug)]
pub(super) struct Unpaced {
    short: bool,
    window: u64,
    resume: Timestamp,
    pause: Duration,
    now: Timestamp,
}

impl Unpaced {
    pub(super) const fn new(now: Timestamp) -> Self {
        Self {
            short: false,
            window: 0,
            resume: now,
            pause: FIRST_PAUSE,
            now,
        }
    }

    pub(super) fn on_ack(&mut self, ack: &AckEvent, min_rtt: Option<Duration>) {
        self.now = ack.now;
        self.short = min_rtt.is_some_and(|min_rtt| min_rtt < UNPACED_RTT);
        if !self.is_active() {
            self.window = 0;
            return;
        }
        // Grow only as far as it is used.
        self.window = self.window.max(ack.prior_in_flight);
        if ack.prior_in_flight * 2 >= self.window {
            self.window = (self.window + ack.newly_acked_bytes).min(MAX_WINDOW_BYTES);
        }
    }

    pub(super) fn on_loss(&mut self, now: Timestamp) {
        if self.is_active() {
            self.resume = now + self.pause;
            self.pause = (self.pause * 2).min(MAX_PAUSE);
        }
    }

    /// The window in this regime, `None` outside it.
    pub(super) fn window(&self) -> Option<u64> {
        self.is_active().then_some(self.window)
    }

    fn is_active(&self) -> bool {
        self.short && self.now >= self.resume
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOPBACK: Option<Duration> = Some(Duration::from_micros(50));

    fn ack(now_ms: u64, in_flight: u64) -> AckEvent {
        AckEvent {
            now: Timestamp(now_ms * 1_000_000),
            newly_acked_bytes: in_flight,
            prior_in_flight: in_flight,
            ..AckEvent::default()
        }
    }

    #[test]
    fn the_window_doubles_to_megabytes_while_it_is_used() {
        let mut unpaced = Unpaced::new(Timestamp::ZERO);
        let mut in_flight = 15_000;
        for ms in 0..20 {
            unpaced.on_ack(&ack(ms, in_flight), LOOPBACK);
            in_flight = unpaced.window().unwrap();
        }
        assert_eq!(in_flight, MAX_WINDOW_BYTES);
    }

    #[test]
    fn loss_ends_it_for_longer_each_time() {
        let mut unpaced = Unpaced::new(Timestamp::ZERO);
        unpaced.on_ack(&ack(0, 15_000), LOOPBACK);
        unpaced.on_loss(Timestamp(0));
        assert_eq!(unpaced.window(), None);
        unpaced.on_ack(&ack(3_999, 15_000), LOOPBACK);
        assert_eq!(unpaced.window(), None);
        unpaced.on_ack(&ack(4_000, 15_000), LOOPBACK);
        assert!(unpaced.window().is_some());
        unpaced.on_loss(Timestamp(4_000_000_000));
        unpaced.on_ack(&ack(11_999, 15_000), LOOPBACK);
        assert_eq!(unpaced.window(), None);
        unpaced.on_ack(&ack(12_000, 15_000), LOOPBACK);
        assert!(unpaced.window().is_some());
    }

    #[test]
    fn long_paths_are_paced() {
        let mut unpaced = Unpaced::new(Timestamp::ZERO);
        unpaced.on_ack(&ack(0, 15_000), Some(UNPACED_RTT));
        assert_eq!(unpaced.window(), None);
    }
}
