//! What holds the sender back, as shares of time, and the report that tells the client.
//!
//! The endpoint says what became of each turn to send: a packet left (then the sending computer is what
//! the next one waits for), or why none could. The time until the next such word counts for that.

use std::time::Duration;

use super::association::ServerAssociation;
use crate::congestion::CongestionController;
use crate::stats::{LIMITS, LimitedBy, PathReport, SenderStats};
use crate::units::Timestamp;

/// Time spent under each limit since the last report.
#[derive(Debug)]
pub(crate) struct LimitClock {
    by: LimitedBy,
    since: Timestamp,
    spent: [Duration; LIMITS],
    reported_at: Timestamp,
    reported: SenderStats,
}

impl LimitClock {
    pub(crate) fn new(now: Timestamp) -> Self {
        Self {
            by: LimitedBy::Nothing,
            since: now,
            spent: [Duration::ZERO; LIMITS],
            reported_at: now,
            reported: SenderStats::default(),
        }
    }

    /// From `now` on this is what holds the sender back.
    pub(crate) fn set(&mut self, now: Timestamp, by: LimitedBy) {
        self.spent[self.by as usize] += now - self.since;
        self.since = self.since.max(now);
        self.by = by;
    }

    /// Thousandths of `interval` under each limit; begins anew.
    fn take(&mut self, now: Timestamp, interval: Duration) -> [u16; LIMITS] {
        self.set(now, self.by);
        let whole = interval.as_micros().max(1);
        std::mem::take(&mut self.spent).map(|spent| {
            let share = (spent.as_micros() * 1000 + whole / 2) / whole;
            u16::try_from(share.min(1000)).unwrap_or(1000)
        })
    }
}

impl ServerAssociation {
    /// Why nothing could be sent just now.
    pub(crate) fn judge_limit(&self, now: Timestamp) -> LimitedBy {
        let unsent = self.wants_to_send();
        if !self.is_established() || !unsent && self.waiting.is_empty() {
            return LimitedBy::Nothing;
        }
        if unsent && self.window_room() == 0 {
            return if self.credit < self.congestion.cwnd() {
                LimitedBy::Receiver
            } else {
                LimitedBy::Path
            };
        }
        if unsent && self.budget(now) == 0 {
            let paced = self.pacer.next_release(now, self.pacer.quantum());
            let limited = self
                .limiter
                .as_ref()
                .is_some_and(|limiter| limiter.next_release(now, limiter.quantum()) > paced);
            return if limited {
                LimitedBy::ClientLimit
            } else {
                LimitedBy::Path
            };
        }
        if self.waiting.is_empty() {
            LimitedBy::Nothing
        } else {
            LimitedBy::Source
        }
    }

    /// How the sending went since the last report; `None` when nothing was sent.
    pub(crate) fn report(&mut self, now: Timestamp) -> Option<PathReport> {
        let interval = now - self.limits.reported_at;
        let limited = self.limits.take(now, interval);
        let before = std::mem::replace(&mut self.limits.reported, self.stats);
        self.limits.reported_at = now;
        let counted = |count: fn(&SenderStats) -> u64| {
            u32::try_from(count(&self.stats).saturating_sub(count(&before))).unwrap_or(u32::MAX)
        };
        let sent_packets = counted(|stats| stats.data_packets);
        if sent_packets == 0 && self.sent.in_flight_bytes() == 0 {
            return None;
        }
        let delivered = self.stats.delivered_bytes - before.delivered_bytes;
        let rate = u128::from(delivered) * 1_000_000 / interval.as_micros().max(1);
        let micros = |time: Duration| u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
        Some(PathReport {
            association: self.config.id,
            interval_ms: u32::try_from(interval.as_millis()).unwrap_or(u32::MAX),
            srtt_us: micros(self.rtt.srtt()),
            min_rtt_us: micros(self.rtt.windowed_min_rtt()),
            cwnd: self.congestion.cwnd(),
            in_flight: self.sent.in_flight_bytes(),
            credit: self.credit,
            pacing_rate: self.congestion.pacing_rate().unwrap_or(0),
            delivery_rate: u64::try_from(rate).unwrap_or(u64::MAX),
            server_limit: 0,
            sent_packets,
            lost_packets: counted(|stats| stats.lost_packets)
                .saturating_sub(counted(|stats| stats.spurious_losses)),
            retransmitted_packets: counted(|stats| stats.retransmitted_packets),
            datagram_bytes: u16::try_from(self.mtu.current()).unwrap_or(u16::MAX),
            limited,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::ZERO + Duration::from_millis(millis)
    }

    #[test]
    fn time_counts_for_the_limit_in_force() {
        let mut clock = LimitClock::new(at(0));
        clock.set(at(100), LimitedBy::Path);
        clock.set(at(400), LimitedBy::Host);
        clock.set(at(500), LimitedBy::Path);
        let shares = clock.take(at(1000), Duration::from_secs(1));
        assert_eq!(shares[LimitedBy::Nothing as usize], 100);
        assert_eq!(shares[LimitedBy::Path as usize], 800);
        assert_eq!(shares[LimitedBy::Host as usize], 100);
        let shares = clock.take(at(1500), Duration::from_millis(500));
        assert_eq!(shares[LimitedBy::Path as usize], 1000, "it goes on");
        assert_eq!(shares.iter().sum::<u16>(), 1000);
    }

    #[test]
    fn a_clock_that_stands_still_is_no_division_by_zero() {
        let mut clock = LimitClock::new(at(5));
        assert_eq!(clock.take(at(5), Duration::ZERO), [0; LIMITS]);
    }

    #[test]
    fn the_longest_limit_is_named_and_idleness_is_not() {
        let mut report = PathReport::default();
        assert_eq!(report.mostly_limited_by(), None);
        report.limited = [900, 30, 0, 70, 0, 0, 0];
        let (by, share) = report.mostly_limited_by().expect("busy");
        assert_eq!(by, LimitedBy::ServerLimit);
        assert!((0.69..0.71).contains(&share));
    }
}
