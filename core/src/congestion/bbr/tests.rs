//! Single events; whole transfers are simulated in `congestion::scenarios`.

use super::*;
use crate::congestion::delivery_rate::RateSample;

const DATAGRAM: u64 = 1_472;
const RTT: Duration = Duration::from_millis(50);

/// A flow of one acknowledgement per half round trip at a steady rate.
struct Steady {
    bbr: Bbr,
    now: Timestamp,
    delivered: u64,
}

impl Steady {
    fn new(datagram: u64) -> Self {
        Self {
            bbr: Bbr::new(Timestamp::ZERO, datagram),
            now: Timestamp::ZERO,
            delivered: 0,
        }
    }

    fn ack(&mut self, rate: u64, rtt: Duration, ce_marks: u32) {
        let half = RTT / 2;
        let acked = bytes_over(rate, half);
        let per_round = bytes_over(rate, RTT);
        self.now += half;
        self.delivered += acked;
        let sample = RateSample {
            delivery_rate_bytes_per_second: rate,
            delivered: per_round,
            prior_delivered: self.delivered.saturating_sub(per_round),
            interval: RTT,
            tx_in_flight: per_round,
            newly_acked: acked,
            sent_time: Timestamp(self.now.0.saturating_sub(50_000_000)),
            ..RateSample::default()
        };
        self.bbr.on_ack(&AckEvent {
            now: self.now,
            newly_acked_bytes: acked,
            newly_acked_packets: u32::try_from(acked / DATAGRAM).unwrap(),
            in_flight: per_round,
            prior_in_flight: per_round,
            rtt: Some(rtt),
            srtt: rtt,
            min_rtt: RTT,
            rate: Some(sample),
            delivered_total: self.delivered,
            ce_marks,
            ..AckEvent::default()
        });
    }

    /// Long enough at 100 Mbit/s to cruise.
    fn cruising() -> Self {
        let mut flow = Self::new(DATAGRAM);
        while flow.bbr.state != State::ProbeBw(Phase::Cruise) || !flow.bbr.settled() {
            flow.ack(12_500_000, RTT, 0);
        }
        flow
    }
}

#[test]
fn cruises_at_the_bandwidth_with_little_more_than_its_product() {
    let flow = Steady::cruising();
    let rate = flow.bbr.pacing_rate().unwrap();
    assert!((12_000_000..=12_500_000).contains(&rate), "{rate}");
    let product = 625_000;
    let cwnd = flow.bbr.cwnd();
    assert!((product..2 * product).contains(&cwnd), "{cwnd}");
}

#[test]
fn a_mark_lowers_the_window_and_a_spurious_loss_restores_it() {
    let mut flow = Steady::cruising();
    let before = flow.bbr.cwnd();
    for _ in 0..6 {
        flow.ack(11_000_000, RTT, 1);
    }
    assert!(flow.bbr.cwnd() < before, "{} {before}", flow.bbr.cwnd());
    assert!(flow.bbr.bounds.bw_lo.is_some());
    flow.bbr.on_spurious_loss(flow.now);
    assert!(flow.bbr.bounds.bw_lo.is_none());
    assert!(flow.bbr.cwnd() >= before);
}

#[test]
fn loss_without_a_queue_lowers_nothing_at_once() {
    let mut flow = Steady::cruising();
    let before = flow.bbr.cwnd();
    for _ in 0..4 {
        flow.bbr.on_loss(&LossEvent {
            now: flow.now,
            lost_bytes: 30 * DATAGRAM,
            lost_packets: 30,
            largest_lost_sent_time: Timestamp(flow.now.0 - 50_000_000),
            ..LossEvent::default()
        });
        flow.ack(12_500_000, RTT, 0);
    }
    assert!(flow.bbr.bounds.inflight_lo.is_none());
    assert!(flow.bbr.cwnd() >= before * 9 / 10);
}

#[test]
fn loss_with_a_queue_lowers_the_bounds() {
    let mut flow = Steady::cruising();
    // Else we would join those who probe.
    flow.bbr.share.set_contested(true);
    for _ in 0..6 {
        flow.bbr.on_loss(&LossEvent {
            now: flow.now,
            lost_bytes: 60 * DATAGRAM,
            lost_packets: 60,
            largest_lost_sent_time: Timestamp(flow.now.0 - 50_000_000),
            ..LossEvent::default()
        });
        flow.ack(10_000_000, RTT * 2, 0);
    }
    assert!(flow.bbr.bounds.inflight_lo.is_some());
    assert!(flow.bbr.bandwidth() < 12_500_000);
}

#[test]
fn a_timeout_leaves_four_packets_that_grow_back() {
    let mut flow = Steady::cruising();
    let before = flow.bbr.cwnd();
    flow.bbr.on_timeout(flow.now);
    assert_eq!(flow.bbr.cwnd(), 4 * DATAGRAM);
    for _ in 0..6 {
        flow.ack(12_500_000, RTT, 0);
    }
    assert!(flow.bbr.cwnd() >= before * 9 / 10);
}

#[test]
fn a_silent_minimum_leads_to_a_short_probe() {
    let mut flow = Steady::cruising();
    let mut probed = 0;
    for _ in 0..600 {
        flow.ack(12_500_000, RTT + RTT / 10, 0);
        if flow.bbr.state == State::ProbeRtt {
            probed += 1;
            // The window is halved as long as it lasts.
            assert!(flow.bbr.cwnd() <= 2 * 625_000);
        }
    }
    assert!(probed > 0);
}

#[test]
fn another_path_begins_anew() {
    let mut flow = Steady::cruising();
    flow.bbr.on_path_change(flow.now);
    assert_eq!(flow.bbr.state, State::Startup);
    assert_eq!(flow.bbr.cwnd(), INITIAL_WINDOW_BYTES);
}

#[test]
fn huge_datagrams_get_four_of_them() {
    let mut bbr = Bbr::new(Timestamp::ZERO, 1_184);
    assert_eq!(bbr.cwnd(), INITIAL_WINDOW_BYTES);
    bbr.set_datagram_bytes(65_407);
    assert_eq!(bbr.cwnd(), 4 * 65_407);
    assert!(bbr.pacing_rate().is_some());
}
