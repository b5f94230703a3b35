//! Paths shorter than any timer: no pacing and a large window, while nothing is lost.
//!
//! On loopback or a fast local network a bandwidth-delay product is a few packets, and what limits
//! the flow is the processors at its ends. Their queues are the sockets' buffers, which flow control
//! watches. A loss halves the window, as a socket's buffer that overflowed once needs; where losses
//! go on until little of it is left, the path loses by itself, and is paced for a while: for longer
//! each time, but what is long ago is forgotten.

use crate::congestion::{AckEvent, UNPACED_RTT};
use crate::units::Timestamp;
use std::time::Duration;

/// The window grows to this, unless the model's own is larger. What is in flight here lies in the receiver's socket: more
/// keeps nobody busier, but makes whoever shares the processors wait while it is worked off.
const MAX_WINDOW_BYTES: u64 = 1 << 20;

/// Losses that leave less than this end the regime.
const MIN_WINDOW_BYTES: u64 = 256 << 10;

/// After a loss the window no longer doubles in a round trip: it grows by this part of itself.
const CAREFUL_GROWTH: u64 = 64;

/// Losses closer together than this are one: a window's round trip, with its queues.
const ONE_LOSS: Duration = Duration::from_millis(2);

/// How long the controller then paces; doubles up to the other.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const MAX_PAUSE: Duration = Duration::from_secs(16);

/// Without a pause for so long, the next one is short again.
const FORGET: Duration = Duration::from_secs(32);

/// See the [module](self).
#[derive(Clone, Debug)]
pub(super) struct Unpaced {
    short: bool,
    window: u64,
    resume: Timestamp,
    pause: Duration,
    cut: Timestamp,
    /// Since the regime began.
    has_lost: bool,
    now: Timestamp,
}

impl Unpaced {
    pub(super) const fn new(now: Timestamp) -> Self {
        Self {
            short: false,
            window: 0,
            resume: now,
            pause: FIRST_PAUSE,
            cut: now,
            has_lost: false,
            now,
        }
    }

    pub(super) fn on_ack(&mut self, ack: &AckEvent, min_rtt: Option<Duration>) {
        self.now = ack.now;
        self.short = min_rtt.is_some_and(|min_rtt| min_rtt < UNPACED_RTT);
        if !self.is_active() {
            self.window = 0;
            self.has_lost = false;
            return;
        }
        if self.window == 0 {
            self.window = ack.prior_in_flight;
        }
        // Grow only as far as it is used.
        if ack.prior_in_flight * 2 >= self.window {
            let share = if self.has_lost { CAREFUL_GROWTH } else { 1 };
            self.window = (self.window + ack.newly_acked_bytes / share).min(MAX_WINDOW_BYTES);
        }
    }

    pub(super) fn on_loss(&mut self, now: Timestamp) {
        if !self.is_active() || now - self.cut < ONE_LOSS {
            return;
        }
        self.cut = now;
        self.has_lost = true;
        self.window /= 2;
        if self.window < MIN_WINDOW_BYTES {
            self.rest(now);
        }
    }

    /// Nothing comes back any more.
    pub(super) fn on_timeout(&mut self, now: Timestamp) {
        if self.is_active() {
            self.rest(now);
        }
    }

    fn rest(&mut self, now: Timestamp) {
        if now - self.resume > FORGET {
            self.pause = FIRST_PAUSE;
        }
        self.resume = now + self.pause;
        self.pause = (self.pause * 2).min(MAX_PAUSE);
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
    fn the_window_doubles_to_a_megabyte_while_it_is_used() {
        let mut unpaced = Unpaced::new(Timestamp::ZERO);
        let mut in_flight = 15_000;
        for ms in 0..20 {
            unpaced.on_ack(&ack(ms, in_flight), LOOPBACK);
            in_flight = unpaced.window().unwrap();
        }
        assert_eq!(in_flight, MAX_WINDOW_BYTES);
    }

    fn grown() -> Unpaced {
        let mut unpaced = Unpaced::new(Timestamp::ZERO);
        for ms in 0..20 {
            let in_flight = unpaced.window().unwrap_or(15_000).max(15_000);
            unpaced.on_ack(&ack(ms, in_flight), LOOPBACK);
        }
        unpaced
    }

    #[test]
    fn one_drop_costs_half_a_window_and_no_pause() {
        let mut unpaced = grown();
        unpaced.on_loss(Timestamp(20_000_000));
        unpaced.on_loss(Timestamp(20_100_000));
        assert_eq!(unpaced.window(), Some(MAX_WINDOW_BYTES / 2));
        for ms in 21..68 {
            let in_flight = unpaced.window().unwrap();
            unpaced.on_ack(&ack(ms, in_flight), LOOPBACK);
        }
        assert_eq!(unpaced.window(), Some(MAX_WINDOW_BYTES));
    }

    /// Losses again and again, until it paces.
    fn lose_until_paced(unpaced: &mut Unpaced, mut ms: u64) -> u64 {
        while unpaced.window().is_some() {
            ms += 3;
            unpaced.on_loss(Timestamp(ms * 1_000_000));
        }
        ms
    }

    #[test]
    fn steady_loss_ends_it_for_longer_each_time_and_is_forgotten() {
        let mut unpaced = grown();
        let mut ended = 20;
        for pause in [250, 500, 1_000, 2_000] {
            ended = lose_until_paced(&mut unpaced, ended);
            unpaced.on_ack(&ack(ended + pause - 1, 15_000), LOOPBACK);
            assert_eq!(unpaced.window(), None, "{pause}");
            ended += pause;
            unpaced.on_ack(&ack(ended, 15_000), LOOPBACK);
            assert!(unpaced.window().is_some(), "{pause}");
        }
        ended = lose_until_paced(&mut unpaced, ended + 40_000);
        unpaced.on_ack(&ack(ended + 250, 15_000), LOOPBACK);
        assert!(unpaced.window().is_some());
    }

    #[test]
    fn long_paths_are_paced() {
        let mut unpaced = Unpaced::new(Timestamp::ZERO);
        unpaced.on_ack(&ack(0, 15_000), Some(UNPACED_RTT));
        assert_eq!(unpaced.window(), None);
    }
}
