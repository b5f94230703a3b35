//! What time does: retransmission deadlines, detected losses, pacing, idleness, forgetting.

use std::collections::VecDeque;
use std::time::Duration;

use super::association::{ControlPacket, Phase, ServerAssociation};
use crate::cell_set::ChunkPool;
use crate::congestion::{Algorithm, CongestionController};
use crate::endpoint::ServerEvent;
use crate::error::CloseReason;
use crate::limits::{MAX_ACK_DELAY, MAX_BACKOFF};
use crate::recovery::sent_packets::Content;
use crate::units::Timestamp;
use crate::wire::Kind;

/// Packets that may leave after a timeout, whatever the window says (RFC 9002, 6.2.4).
const PROBES_PER_TIMEOUT: u32 = 2;
/// Timeouts in a row after which everything in flight is given up.
const PERSISTENT_TIMEOUTS: u32 = 3;

impl ServerAssociation {
    /// The retransmission timeout with its back-off: `srtt + 4 rttvar + ack delay` (RFC 9002, 6.2.1).
    pub(crate) fn timeout(&self) -> Duration {
        let ack_delay = (self.rtt.srtt() / 4).min(MAX_ACK_DELAY);
        let pto = self.rtt.pto(ack_delay);
        let cap = MAX_BACKOFF.max(pto);
        pto.saturating_mul(1 << self.timeout_count.min(10)).min(cap)
    }

    /// The earliest deadline of a packet in flight: the oldest one's, for packets are sent in order of time.
    fn retransmission_deadline(&mut self) -> Option<Timestamp> {
        let timeout = self.timeout();
        let base = self.timeout_base;
        if let Some((_, oldest)) = self.sent.oldest_in_flight() {
            return Some(oldest.sent.max(base) + timeout);
        }
        // Nothing in flight but something to send and no credit: ask with a probe (as TCP's persist timer does).
        (self.wants_to_send() && self.credit == 0).then(|| base + timeout)
    }

    /// When [`Self::handle_timeout`] must be called next.
    pub(crate) fn next_timeout(&mut self) -> Timestamp {
        if let Phase::Closed { until } = self.phase {
            return until;
        }
        let mut next = self.idle_deadline();
        if !self.is_established() {
            return next;
        }
        next = next.min(self.keep_alive);
        if let Some(deadline) = self.retransmission_deadline() {
            next = next.min(deadline);
        }
        if let Some(deadline) = self.loss.next_deadline(&mut self.sent, &self.rtt) {
            next = next.min(deadline);
        }
        next
    }

    /// Does what is due. True when the association is to be forgotten.
    pub(crate) fn handle_timeout(
        &mut self,
        now: Timestamp,
        pool: &mut ChunkPool,
        events: &mut VecDeque<ServerEvent>,
    ) -> bool {
        if let Phase::Closed { until } = self.phase {
            return now >= until;
        }
        if now >= self.idle_deadline() {
            let established = self.is_established();
            let reason = if established {
                CloseReason::Idle
            } else {
                CloseReason::HandshakeTimeout
            };
            self.enter_closed(now, reason, pool, events);
            return false;
        }
        if !self.is_established() {
            return false;
        }
        if now >= self.keep_alive {
            self.keep_alive = now + self.keep_alive_interval();
            if let Some(to) = self.path {
                self.push_control(ControlPacket::Echo {
                    to,
                    kind: Kind::Ping,
                    token: now.as_nanos(),
                });
            }
        }
        self.detect_losses(now);
        self.expire_probes(now);
        if self
            .retransmission_deadline()
            .is_some_and(|deadline| now >= deadline)
        {
            self.on_retransmission_timeout(now);
        }
        false
    }

    /// A path probe that is overdue is lost by itself: it says something about its size and nothing about the path.
    fn expire_probes(&mut self, now: Timestamp) {
        let timeout = self.timeout();
        while let Some((number, record)) = self.sent.oldest_in_flight() {
            if record.content != Content::Probe || record.sent + timeout > now {
                return;
            }
            let bytes = record.bytes as usize;
            self.sent.declare_lost(number);
            self.mtu.on_probe_lost(bytes, now);
        }
    }

    /// The oldest packet's deadline passed: send two packets again as probes, so that a black hole does not draw a
    /// whole window; after several timeouts in a row give up everything in flight.
    fn on_retransmission_timeout(&mut self, now: Timestamp) {
        self.stats.timeouts += 1;
        self.timeout_count += 1;
        self.timeout_base = now;
        self.probes_left = PROBES_PER_TIMEOUT;
        self.ecn.on_timeout();
        if self.mtu.on_pto(self.timeout_count) {
            self.apply_datagram_bytes();
        }
        if self.timeout_count >= PERSISTENT_TIMEOUTS {
            self.give_up_in_flight(now, true);
            self.ecn.on_silence();
            self.congestion.on_timeout(now);
            self.refresh_pacing(now);
            return;
        }
        if self.config.algorithm == Algorithm::Aimd && self.sent.in_flight_packets() > 0 {
            // The original's window shrinks on every timeout.
            self.congestion.on_timeout(now);
        }
        let mut from = 0;
        for _ in 0..PROBES_PER_TIMEOUT {
            let Some((number, record)) = self.sent.in_flight_from(from) else {
                break;
            };
            from = number + 1;
            if let Content::Cells {
                slot,
                stream,
                first,
                count,
            } = record.content
            {
                let run = first..first + u32::from(count);
                self.queue_resend(slot, stream, &run, true);
                self.resend.rotate_right(1);
            }
        }
    }
}
