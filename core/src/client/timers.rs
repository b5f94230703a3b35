//! What time does: handshake and CLOSE repeated, idleness noticed.

use std::time::Duration;

use super::association::{CLOSE_TRIES, ClientAssociation, Phase};
use crate::error::CloseReason;
use crate::limits::{IDLE_TIMEOUT, MAX_BACKOFF};
use crate::units::Timestamp;

/// Repetitions of the handshake that wait no longer than the first: on a path that loses much, doubling from the start
/// costs seconds, and a round trip is known from control.
const STEADY_TRIES: u32 = 3;

impl ClientAssociation {
    /// When [`Self::handle_timeout`] must be called next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let idle = self.last_received + IDLE_TIMEOUT;
        let mut next = match self.phase {
            Phase::Closed => return None,
            Phase::Connecting => self
                .repeat_at
                .min(self.started + self.config.handshake_timeout),
            Phase::Confirming => self.repeat_at.min(idle).min(self.ping_at),
            Phase::Open => idle.min(self.ping_at),
            Phase::Closing => self.repeat_at,
        };
        if self.phase == Phase::Connecting {
            return Some(next);
        }
        if let Some(deadline) = self.acks.deadline() {
            next = next.min(deadline);
        }
        if let Some(done_at) = self.done_at {
            next = next.min(done_at);
        }
        Some(next)
    }

    /// Does what is due; what it wants to send comes from [`Self::poll_transmit`].
    pub fn handle_timeout(&mut self, now: Timestamp) {
        match self.phase {
            Phase::Closed => {}
            Phase::Connecting => {
                if now >= self.started + self.config.handshake_timeout {
                    self.end(CloseReason::HandshakeTimeout);
                } else if now >= self.repeat_at {
                    self.tries += 1;
                    self.schedule_syns(now);
                }
            }
            Phase::Confirming if now >= self.repeat_at && self.cookies.is_empty() => {
                self.tries += 1;
                self.repeat_at = now + self.handshake_wait();
                self.cookies.push_back(self.last_cookie);
            }
            Phase::Confirming | Phase::Open => {}
            Phase::Closing => {
                if now >= self.repeat_at && self.tries >= CLOSE_TRIES {
                    self.end(CloseReason::Finished);
                }
            }
        }
        if matches!(self.phase, Phase::Confirming | Phase::Open)
            && now >= self.last_received + IDLE_TIMEOUT
        {
            self.end(CloseReason::Idle);
        }
    }

    pub(super) fn schedule_syns(&mut self, now: Timestamp) {
        self.syns_left = 2;
        self.repeat_at = now + self.handshake_wait();
    }

    /// The probe timeout, doubled with each repetition after the first few.
    fn handshake_wait(&self) -> Duration {
        let doublings = self.tries.saturating_sub(STEADY_TRIES).min(10);
        let wait = self.rtt.pto(Duration::ZERO).saturating_mul(1 << doublings);
        wait.min(MAX_BACKOFF)
    }
}
