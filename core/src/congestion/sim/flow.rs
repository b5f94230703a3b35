//! The sender's half of a simulated flow, and the receiver's log.

use super::FlowSetup;
use crate::congestion::delivery_rate::{DeliveryRate, Snapshot};
use crate::congestion::{AckEvent, CongestionController, Controller, LossEvent};
use crate::pacing::{Pacer, most_lateness};
use crate::recovery::rtt::RttEstimator;
use crate::units::Timestamp;
use std::collections::BTreeSet;
use std::time::Duration;

const INITIAL_RTT: Duration = Duration::from_millis(100);

#[derive(Clone, Copy)]
struct Sent {
    at: Timestamp,
    snapshot: Snapshot,
    acked: bool,
    lost: bool,
}

/// A sender with its controller, and what its receiver has seen.
pub(super) struct Flow {
    setup: FlowSetup,
    pub(super) controller: Controller,
    pacer: Pacer,
    rate: DeliveryRate,
    pub(super) rtt: RttEstimator,
    packets: Vec<Sent>,
    outstanding: BTreeSet<usize>,
    in_flight: u64,
    newest_acked: Option<usize>,
    processed: usize,
    pub(super) next_wake: Timestamp,
    last_progress: Timestamp,
    back_off: u32,
    /// Packets to send whatever the window and the pacer say.
    probes: u32,
    pub(super) spurious: u64,
    // The receiver's half.
    pub(super) received: Vec<(usize, Timestamp)>,
    pub(super) acknowledged: usize,
    pub(super) largest: Option<usize>,
    pub(super) ack_timer: u64,
    pub(super) last_ack: Timestamp,
    pub(super) last_arrival: Timestamp,
}

impl Flow {
    pub(super) fn new(setup: FlowSetup, start: Timestamp, datagram: u64) -> Self {
        Self {
            setup,
            controller: Controller::new(setup.algorithm, start, datagram),
            pacer: Pacer::new(start, datagram),
            rate: DeliveryRate::new(),
            rtt: RttEstimator::new(INITIAL_RTT),
            packets: Vec::new(),
            outstanding: BTreeSet::new(),
            in_flight: 0,
            newest_acked: None,
            processed: 0,
            next_wake: start,
            last_progress: start,
            back_off: 0,
            probes: 0,
            spurious: 0,
            received: Vec::new(),
            acknowledged: 0,
            largest: None,
            ack_timer: 0,
            last_ack: start,
            last_arrival: start,
        }
    }

    /// Bytes the application still lets us send.
    fn offered(&self, now: Timestamp, datagram: u64) -> u64 {
        let Some(rate) = self.setup.offered else {
            return u64::MAX;
        };
        let elapsed = now - (Timestamp::ZERO + self.setup.start);
        let produced = u64::try_from(elapsed.as_micros()).unwrap() * rate / 1_000_000;
        produced.saturating_sub(self.packets.len() as u64 * datagram)
    }

    pub(super) fn may_send(&mut self, now: Timestamp, datagram: u64) -> bool {
        self.pacer.set_rate(now, self.controller.pacing_rate());
        if self.probes > 0 {
            self.probes -= 1;
            return true;
        }
        let room = self.in_flight + datagram <= self.controller.cwnd();
        if room && self.offered(now, datagram) < datagram {
            self.rate.set_app_limited(self.in_flight);
            return false;
        }
        room && self.pacer.budget(now) >= datagram
    }

    pub(super) fn send(&mut self, now: Timestamp, datagram: u64) -> usize {
        if self.in_flight == 0 {
            self.last_progress = now;
        }
        let snapshot = self.rate.on_sent(now, datagram, self.in_flight);
        self.in_flight += datagram;
        self.pacer.on_sent(now, datagram);
        self.controller.on_sent(now, datagram, self.in_flight);
        let packet = self.packets.len();
        self.packets.push(Sent {
            at: now,
            snapshot,
            acked: false,
            lost: false,
        });
        self.outstanding.insert(packet);
        packet
    }

    pub(super) fn wake_time(&mut self, now: Timestamp, datagram: u64) -> Timestamp {
        let mut wake = Timestamp::MAX;
        if self.in_flight + datagram <= self.controller.cwnd() {
            let want = self.pacer.quantum().max(datagram);
            wake = self.pacer.next_release(now, want);
            if self.offered(now, datagram) < datagram {
                wake = now + Duration::from_millis(1);
            } else {
                let most = most_lateness(self.rtt.srtt());
                self.pacer.wait(now, Some(wake), most);
            }
        } else {
            self.pacer.wait(now, None, Duration::ZERO);
        }
        if let Some(first) = self.outstanding.first() {
            wake = wake.min(self.last_progress + self.timeout());
            if self.newest_acked.is_some_and(|newest| newest > *first) {
                wake = wake.min(self.packets[*first].at + self.loss_delay());
            }
        }
        if wake == Timestamp::MAX {
            wake
        } else {
            wake.max(now + Duration::from_nanos(1))
        }
    }

    fn loss_delay(&self) -> Duration {
        self.rtt.srtt().max(self.rtt.latest()) + self.rtt.min_rtt() / 4
    }

    fn timeout(&self) -> Duration {
        self.rtt.pto(self.rtt.srtt() / 4) * (1 << self.back_off.min(6))
    }

    pub(super) fn detect_losses(&mut self, now: Timestamp, datagram: u64) {
        if !self.outstanding.is_empty() && now >= self.last_progress + self.timeout() {
            self.back_off += 1;
            self.last_progress = now;
            self.probes = 2;
            if self.back_off < 3 {
                return;
            }
            self.controller.on_timeout(now);
            let all: Vec<usize> = self.outstanding.iter().copied().collect();
            self.lose(now, &all, datagram);
            return;
        }
        let Some(newest) = self.newest_acked else {
            return;
        };
        let delay = self.loss_delay();
        let overdue: Vec<usize> = self
            .outstanding
            .iter()
            .copied()
            .take_while(|packet| *packet < newest && now >= self.packets[*packet].at + delay)
            .collect();
        self.lose(now, &overdue, datagram);
    }

    fn lose(&mut self, now: Timestamp, packets: &[usize], datagram: u64) {
        let Some(newest) = packets.last() else {
            return;
        };
        for packet in packets {
            self.outstanding.remove(packet);
            self.packets[*packet].lost = true;
        }
        let bytes = packets.len() as u64 * datagram;
        self.in_flight -= bytes;
        self.rate.on_lost(bytes);
        self.controller.on_loss(&LossEvent {
            now,
            lost_bytes: bytes,
            lost_packets: u32::try_from(packets.len()).unwrap(),
            in_flight: self.in_flight,
            largest_lost_sent_time: self.packets[*newest].at,
            delivered_total: self.rate.delivered(),
            tx_in_flight: self.packets[*newest].snapshot.tx_in_flight,
        });
    }

    pub(super) fn on_ack(
        &mut self,
        now: Timestamp,
        received: usize,
        held: Duration,
        datagram: u64,
    ) {
        if received <= self.processed {
            return;
        }
        let prior_in_flight = self.in_flight;
        let (mut packets, mut expected) = (0_u32, 0_u32);
        for index in self.processed..received {
            let packet = self.received[index].0;
            self.packets[packet].acked = true;
            if self.packets[packet].lost {
                self.spurious += 1;
                self.rate.on_spurious_loss(datagram);
                self.controller.on_spurious_loss(now);
            } else {
                expected += u32::from(self.outstanding.first() == Some(&packet));
                self.outstanding.remove(&packet);
                self.in_flight -= datagram;
            }
            packets += 1;
            self.newest_acked = self.newest_acked.max(Some(packet));
        }
        let newest = self.received[received - 1].0;
        self.processed = received;
        self.last_progress = now;
        self.back_off = 0;
        let sent = self.packets[newest];
        self.rtt.update(now, now - sent.at, held);
        self.detect_losses(now, datagram);
        let bytes = u64::from(packets) * datagram;
        let rate = self
            .rate
            .on_ack(now, &sent.snapshot, sent.at, bytes, self.rtt.min_rtt());
        self.controller.on_ack(&AckEvent {
            now,
            newly_acked_bytes: bytes,
            newly_acked_packets: packets,
            expected_packets: expected,
            unexpected_packets: packets - expected,
            in_flight: self.in_flight,
            prior_in_flight,
            rtt: Some((now - sent.at).saturating_sub(held)),
            srtt: self.rtt.srtt(),
            rttvar: self.rtt.rttvar(),
            min_rtt: self.rtt.min_rtt(),
            rate,
            delivered_total: self.rate.delivered(),
            ce_marks: 0,
            app_limited: self.rate.is_app_limited(),
        });
    }
}
