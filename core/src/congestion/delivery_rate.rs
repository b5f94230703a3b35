//! Delivery rate estimation (draft-cheng-iccrg-delivery-rate-estimation).
//!
//! Every transmission carries a [`Snapshot`] of the connection's delivery state at the moment it
//! was really sent. When it is acknowledged, what was delivered since, divided by the longer of the
//! time it took to send that and the time it took to acknowledge it, is one rate sample. Two
//! acknowledgements that merely arrive close together therefore never look like a fast path.

use super::rate_over;
use crate::units::Timestamp;
use std::time::Duration;

/// Delivery state at the time of one transmission; stored with the record of what was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Bytes delivered until then (`P.delivered`).
    pub delivered: u64,
    /// When the latest of them was acknowledged (`P.delivered_time`).
    pub delivered_time: Timestamp,
    /// Send time of the packet most recently acknowledged then (`P.first_sent_time`).
    pub first_sent_time: Timestamp,
    /// Bytes lost until then (`P.lost`).
    pub lost: u64,
    /// Bytes in flight after it was sent, itself included (`P.tx_in_flight`).
    pub tx_in_flight: u64,
    /// Whether the sender had nothing more to send (`P.is_app_limited`).
    pub app_limited: bool,
}

/// What one acknowledgement tells about the path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateSample {
    /// Bytes per second that arrived over [`interval`](Self::interval).
    pub delivery_rate_bytes_per_second: u64,
    /// Bytes delivered over the interval.
    pub delivered: u64,
    /// Bytes delivered in all when the packet was sent: tells whose round trip it belongs to.
    pub prior_delivered: u64,
    /// The longer of the send and the acknowledgement interval.
    pub interval: Duration,
    /// The packet was sent while there was nothing more to send.
    pub app_limited: bool,
    /// Bytes in flight when the packet was sent, itself included.
    pub tx_in_flight: u64,
    /// Bytes declared lost between its sending and its acknowledgement.
    pub lost: u64,
    /// Bytes this very acknowledgement delivered.
    pub newly_acked: u64,
    /// When the packet was sent.
    pub sent_time: Timestamp,
}

/// The connection's delivery state (`C.*` in the draft). All counters are 64 bits of bytes.
#[derive(Clone, Debug, Default)]
pub struct DeliveryRate {
    delivered: u64,
    delivered_time: Timestamp,
    first_sent_time: Timestamp,
    lost: u64,
    /// Samples are app-limited until this much has been delivered; 0 = not app-limited.
    app_limited_until: u64,
}

impl DeliveryRate {
    /// State of a connection that has sent nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the snapshot of a packet of `bytes` sent now, with `in_flight_before` bytes
    /// outstanding without it.
    pub fn on_sent(&mut self, now: Timestamp, bytes: u64, in_flight_before: u64) -> Snapshot {
        if in_flight_before == 0 {
            // A silence belongs to no interval.
            self.first_sent_time = now;
            self.delivered_time = now;
        }
        Snapshot {
            delivered: self.delivered,
            delivered_time: self.delivered_time,
            first_sent_time: self.first_sent_time,
            lost: self.lost,
            tx_in_flight: in_flight_before + bytes,
            app_limited: self.app_limited_until != 0,
        }
    }

    /// Takes one acknowledgement as a whole: `newest` and `newest_sent_time` are those of the most
    /// recently sent packet it newly acknowledges. Call [`on_lost`](Self::on_lost) for losses it
    /// revealed before this.
    ///
    /// `None` when the interval is too short to divide by, which happens only if the clock is
    /// coarser than the path or `min_rtt` is wrong.
    pub fn on_ack(
        &mut self,
        now: Timestamp,
        newest: &Snapshot,
        newest_sent_time: Timestamp,
        newly_delivered_bytes: u64,
        min_rtt: Duration,
    ) -> Option<RateSample> {
        self.delivered += newly_delivered_bytes;
        self.delivered_time = now;
        if self.delivered > self.app_limited_until {
            self.app_limited_until = 0;
        }
        let send_elapsed = newest_sent_time - newest.first_sent_time;
        let ack_elapsed = now - newest.delivered_time;
        self.first_sent_time = self.first_sent_time.max(newest_sent_time);
        let interval = send_elapsed.max(ack_elapsed);
        if interval.is_zero() || interval < min_rtt {
            return None;
        }
        let delivered = self.delivered - newest.delivered;
        Some(RateSample {
            delivery_rate_bytes_per_second: rate_over(delivered, interval),
            delivered,
            prior_delivered: newest.delivered,
            interval,
            app_limited: newest.app_limited,
            tx_in_flight: newest.tx_in_flight,
            lost: self.lost.saturating_sub(newest.lost),
            newly_acked: newly_delivered_bytes,
            sent_time: newest_sent_time,
        })
    }

    /// Counts bytes declared lost.
    pub fn on_lost(&mut self, bytes: u64) {
        self.lost += bytes;
    }

    /// Takes back bytes whose loss turned out to be none.
    pub fn on_spurious_loss(&mut self, bytes: u64) {
        self.lost = self.lost.saturating_sub(bytes);
    }

    /// Says that there is nothing to send now although the window would allow it: samples of
    /// packets sent from here until `in_flight` bytes more are delivered may understate the path.
    pub fn set_app_limited(&mut self, in_flight: u64) {
        self.app_limited_until = (self.delivered + in_flight).max(1);
    }

    /// Whether a packet sent now would be marked app-limited.
    #[must_use]
    pub const fn is_app_limited(&self) -> bool {
        self.app_limited_until != 0
    }

    /// Bytes delivered in all.
    #[must_use]
    pub const fn delivered(&self) -> u64 {
        self.delivered
    }

    /// Bytes declared lost in all.
    #[must_use]
    pub const fn lost(&self) -> u64 {
        self.lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn at(ms: u32) -> Timestamp {
        Timestamp::ZERO + MS * ms
    }

    #[test]
    fn a_steady_flow_shows_its_rate() {
        // 1000 bytes every millisecond, acknowledged one by one 10 ms later.
        let mut rate = DeliveryRate::new();
        let mut snapshots = Vec::new();
        let mut last = None;
        for ms in 0..100_u32 {
            if let Some(newest) = ms.checked_sub(10).map(|sent| snapshots[sent as usize]) {
                last = rate.on_ack(at(ms), &newest, at(ms - 10), 1000, MS * 10);
            }
            let in_flight = u64::from(ms.min(9)) * 1000;
            snapshots.push(rate.on_sent(at(ms), 1000, in_flight));
        }
        let sample = last.unwrap();
        assert_eq!(sample.delivery_rate_bytes_per_second, 1_000_000);
        assert_eq!(sample.tx_in_flight, 10_000);
        assert!(!sample.app_limited);
    }

    #[test]
    fn compressed_acknowledgements_do_not_look_fast() {
        // Sent over 100 ms, acknowledged within 1 ms: the send interval rules.
        let mut rate = DeliveryRate::new();
        let mut snapshots = Vec::new();
        for ms in 0..100_u32 {
            snapshots.push(rate.on_sent(at(ms), 1000, u64::from(ms) * 1000));
        }
        let mut fastest = 0;
        for (ms, snapshot) in (0_u32..).zip(&snapshots) {
            let now = at(150) + Duration::from_micros(u64::from(ms) * 10);
            if let Some(sample) = rate.on_ack(now, snapshot, at(ms), 1000, MS * 50) {
                fastest = fastest.max(sample.delivery_rate_bytes_per_second);
            }
        }
        assert!((500_000..=1_000_000).contains(&fastest), "{fastest}");
    }

    #[test]
    fn losses_between_sending_and_acknowledgement_are_counted() {
        let mut rate = DeliveryRate::new();
        rate.on_lost(500);
        let snapshot = rate.on_sent(at(0), 1000, 0);
        rate.on_lost(3000);
        rate.on_spurious_loss(1000);
        let sample = rate.on_ack(at(10), &snapshot, at(0), 1000, MS).unwrap();
        assert_eq!((sample.lost, sample.newly_acked), (2000, 1000));
        assert_eq!((rate.lost(), rate.delivered()), (2500, 1000));
    }

    #[test]
    fn app_limited_packets_are_marked_one_by_one() {
        let mut rate = DeliveryRate::new();
        let first = rate.on_sent(at(0), 1000, 0);
        rate.set_app_limited(1000);
        let second = rate.on_sent(at(1), 1000, 1000);
        assert!(rate.is_app_limited());
        let sample = rate.on_ack(at(10), &first, at(0), 1000, MS).unwrap();
        assert!(!sample.app_limited);
        let sample = rate.on_ack(at(11), &second, at(1), 1000, MS).unwrap();
        assert!(sample.app_limited);
        assert!(!rate.is_app_limited());
    }

    #[test]
    fn silence_is_not_part_of_an_interval() {
        let mut rate = DeliveryRate::new();
        let first = rate.on_sent(at(0), 1000, 0);
        rate.on_ack(at(10), &first, at(0), 1000, MS);
        let second = rate.on_sent(at(60_000), 1000, 0);
        let sample = rate
            .on_ack(at(60_010), &second, at(60_000), 1000, MS)
            .unwrap();
        assert_eq!(sample.interval, MS * 10);
    }

    #[test]
    fn counters_pass_four_gigabytes() {
        let mut rate = DeliveryRate::new();
        let step = 3_000_000_000;
        for round in 0..4 {
            let snapshot = rate.on_sent(at(round * 20), step, 0);
            let sample = rate
                .on_ack(at(round * 20 + 10), &snapshot, at(round * 20), step, MS)
                .unwrap();
            assert_eq!(sample.delivery_rate_bytes_per_second, step * 100);
        }
        assert_eq!(rate.delivered(), 4 * step);
    }
}
