//! What an ACK does: cells acknowledged, round trips sampled, losses found, windows moved.

use std::collections::VecDeque;
use std::time::Duration;

use super::association::ServerAssociation;
use crate::cell_set::ChunkPool;
use crate::congestion::delivery_rate::Snapshot;
use crate::congestion::{AckEvent, CongestionController, LossEvent};
use crate::endpoint::ServerEvent;
use crate::error::ProtocolViolation;
use crate::recovery::ecn::EcnCounts;
use crate::recovery::sent_packets::{Content, SentPacket, State};
use crate::units::Timestamp;
use crate::wire::ack::Ack;

/// What one ACK newly acknowledged.
#[derive(Default)]
struct Newly {
    bytes: u64,
    packets: u32,
    expected: u32,
    spurious_bytes: u64,
    spurious_packets: u64,
    /// Those that were sent as ECT(0).
    ecn_marked: u32,
    /// The most recently sent packet among those that were in flight.
    newest: Option<(u64, Timestamp, Snapshot)>,
}

impl ServerAssociation {
    /// Bytes sent and neither acknowledged nor given up.
    #[must_use]
    pub const fn in_flight_bytes(&self) -> u64 {
        self.sent.in_flight_bytes()
    }

    /// Bytes the client lets be in flight (its newest ACK says so).
    #[must_use]
    pub const fn credit(&self) -> u64 {
        self.credit
    }

    pub(crate) fn on_ack(
        &mut self,
        now: Timestamp,
        number: u64,
        ack: &Ack<'_>,
        pool: &mut ChunkPool,
        events: &mut VecDeque<ServerEvent>,
    ) -> Result<(), ProtocolViolation> {
        let largest = ack.header.largest.get();
        if largest >= self.sent.next_number() {
            return Err(ProtocolViolation::AckOfUnsent);
        }
        self.stats.acks_received += 1;
        let prior_in_flight = self.sent.in_flight_bytes();
        let mut newly = Newly::default();
        let last_word = largest / 64;
        // From the oldest word upwards, so that "the lowest outstanding" means what it says.
        for (back, word) in ack.words.iter().enumerate().rev() {
            let Some(index) = last_word.checked_sub(back as u64) else {
                continue;
            };
            let fresh = self.sent.new_bits(index, word.get());
            self.acknowledge_word(now, index * 64, fresh, &mut newly, pool, events)?;
        }
        self.apply_progress(ack, pool, events)?;
        self.ecn.on_acked(newly.ecn_marked);
        let ce_marks = self.apply_newest(number, ack);

        let delay = Duration::from_micros(u64::from(ack.header.delay_us.get()));
        let sample = newly
            .newest
            .filter(|(newest, ..)| *newest == largest)
            .map(|(_, sent, _)| now - sent);
        if let Some(sample) = sample {
            self.rtt.update(now, sample, delay);
            events.push_back(ServerEvent::RttSample {
                association: self.config.id,
                rtt: self.rtt.latest(),
            });
        }
        if newly.spurious_packets > 0 {
            self.stats.spurious_losses += newly.spurious_packets;
            self.loss.on_spurious(now);
            self.rate.on_spurious_loss(newly.spurious_bytes);
            self.congestion.on_spurious_loss(now);
        }
        self.detect_losses(now);
        if newly.packets > 0 {
            self.timeout_count = 0;
            self.timeout_base = now;
        }
        self.report_ack(
            now,
            &newly,
            prior_in_flight,
            sample.map(|s| s.saturating_sub(delay)),
            ce_marks,
        );
        self.refresh_pacing(now);
        Ok(())
    }

    fn acknowledge_word(
        &mut self,
        now: Timestamp,
        base: u64,
        mut fresh: u64,
        newly: &mut Newly,
        pool: &mut ChunkPool,
        events: &mut VecDeque<ServerEvent>,
    ) -> Result<(), ProtocolViolation> {
        while fresh != 0 {
            let number = base + u64::from(fresh.trailing_zeros());
            fresh &= fresh - 1;
            let expected = self.sent.is_oldest(number);
            let record = self.sent.acknowledge(number);
            let bytes = u64::from(record.bytes);
            match record.state {
                State::InFlight => {
                    self.loss.on_acked(now, number, record.sent);
                    newly.bytes += bytes;
                    newly.packets += 1;
                    newly.expected += u32::from(expected);
                    newly.newest = Some((number, record.sent, record.snapshot));
                    if record.content != Content::Probe {
                        self.mtu.on_acked(record.bytes as usize);
                    }
                }
                State::Lost => {
                    newly.spurious_packets += 1;
                    newly.spurious_bytes += bytes;
                }
                State::Skipped => return Err(ProtocolViolation::AckOfSkipped),
                State::Acked => continue,
            }
            let is_data = matches!(record.content, Content::Cells { .. });
            newly.ecn_marked += u32::from(is_data && self.ecn.is_marked(number));
            self.settle_content(&record, pool, events);
        }
        Ok(())
    }

    fn settle_content(
        &mut self,
        record: &SentPacket,
        pool: &mut ChunkPool,
        events: &mut VecDeque<ServerEvent>,
    ) {
        match record.content {
            Content::Cells {
                slot,
                stream,
                first,
                count,
            } => {
                let held = self.slots.get_mut(slot as usize).and_then(Option::as_mut);
                if let Some(held) = held.filter(|held| held.id == stream) {
                    held.acked
                        .insert_range(first..first + u32::from(count), pool);
                    if held.acked.is_complete() {
                        self.finish_stream(stream, pool, events);
                    }
                }
            }
            Content::Probe => {
                if self.mtu.on_probe_acked(record.bytes as usize) {
                    self.apply_datagram_bytes();
                }
            }
            Content::Reset { .. } | Content::Skipped => {}
        }
    }

    fn finish_stream(
        &mut self,
        stream: u32,
        pool: &mut ChunkPool,
        events: &mut VecDeque<ServerEvent>,
    ) {
        if let Some(source) = self.free_stream(stream, pool) {
            let association = self.config.id;
            events.push_back(ServerEvent::StreamFreed {
                association,
                stream,
                source,
                end: None,
            });
        }
    }

    /// Cumulative progress of streams heals what lost ACKs left open.
    fn apply_progress(
        &mut self,
        ack: &Ack<'_>,
        pool: &mut ChunkPool,
        events: &mut VecDeque<ServerEvent>,
    ) -> Result<(), ProtocolViolation> {
        for progress in ack.streams {
            let (stream, lowest) = (progress.stream.get(), progress.lowest_missing.get());
            let Some(slot) = self.by_id.get(&stream) else {
                continue;
            };
            let Some(held) = self.slots[*slot as usize].as_mut() else {
                continue;
            };
            if lowest > held.layout.cells() {
                return Err(ProtocolViolation::CellOutOfRange);
            }
            let known = held.acked.lowest_missing();
            if lowest > known {
                held.acked.insert_range(known..lowest, pool);
                if held.acked.is_complete() {
                    self.finish_stream(stream, pool, events);
                }
            }
        }
        Ok(())
    }

    /// Credit and counters count only from the newest ACK. Returns newly reported ECN marks.
    fn apply_newest(&mut self, number: u64, ack: &Ack<'_>) -> u32 {
        if number < self.largest_ack_number {
            return 0;
        }
        self.largest_ack_number = number;
        self.credit = u64::from(ack.header.credit.get());
        self.stats.socket_drops = u64::from(ack.header.socket_drops.get());
        let marks = self.ecn.on_counts(EcnCounts {
            ect0: ack.header.ect0.get(),
            ce: ack.header.ce.get(),
        });
        self.stats.ecn_ce += u64::from(marks);
        marks
    }

    fn report_ack(
        &mut self,
        now: Timestamp,
        newly: &Newly,
        prior_in_flight: u64,
        rtt: Option<Duration>,
        ce_marks: u32,
    ) {
        let delivered = newly.bytes + newly.spurious_bytes;
        self.stats.delivered_bytes += delivered;
        let Some((_, sent, snapshot)) = newly.newest else {
            return;
        };
        let rate = self
            .rate
            .on_ack(now, &snapshot, sent, delivered, self.rtt.min_rtt());
        self.congestion.on_ack(&AckEvent {
            now,
            newly_acked_bytes: delivered,
            newly_acked_packets: newly.packets,
            expected_packets: newly.expected,
            unexpected_packets: newly.packets - newly.expected,
            in_flight: self.sent.in_flight_bytes(),
            prior_in_flight,
            rtt,
            srtt: self.rtt.srtt(),
            rttvar: self.rtt.rttvar(),
            min_rtt: self.rtt.min_rtt(),
            rate,
            delivered_total: self.rate.delivered(),
            ce_marks,
            app_limited: self.rate.is_app_limited(),
        });
    }

    /// Declares lost what time says is lost, queues it again, and tells the congestion controller once.
    pub(crate) fn detect_losses(&mut self, now: Timestamp) {
        let mut event = LossEvent {
            now,
            ..LossEvent::default()
        };
        while let Some(number) = self.loss.next_lost(now, &mut self.sent, &self.rtt) {
            self.lose(now, number, &mut event);
        }
        self.report_loss(event);
    }

    /// Gives up everything in flight: the path was silent for several timeouts, or moved. Only what says something
    /// about congestion is reported to the controller.
    pub(crate) fn give_up_in_flight(&mut self, now: Timestamp, report: bool) {
        let mut event = LossEvent {
            now,
            ..LossEvent::default()
        };
        while let Some(number) = self.sent.oldest_in_flight().map(|(number, _)| number) {
            if report {
                self.lose(now, number, &mut event);
            } else {
                let record = self.sent.declare_lost(number);
                self.requeue(&record);
            }
        }
        self.report_loss(event);
    }

    fn lose(&mut self, now: Timestamp, number: u64, event: &mut LossEvent) {
        let record = self.sent.declare_lost(number);
        self.requeue(&record);
        if record.content == Content::Probe {
            self.mtu.on_probe_lost(record.bytes as usize, now);
            return;
        }
        self.stats.lost_packets += 1;
        if matches!(record.content, Content::Cells { .. }) {
            self.ecn.on_lost(number);
        }
        self.rate.on_lost(u64::from(record.bytes));
        if self
            .mtu
            .on_lost(record.bytes as usize, now, self.rtt.srtt())
        {
            self.apply_datagram_bytes();
        }
        event.lost_bytes += u64::from(record.bytes);
        event.lost_packets += 1;
        if record.sent >= event.largest_lost_sent_time {
            event.largest_lost_sent_time = record.sent;
            event.tx_in_flight = record.snapshot.tx_in_flight;
        }
    }

    fn report_loss(&mut self, mut event: LossEvent) {
        if event.lost_packets == 0 {
            return;
        }
        event.in_flight = self.sent.in_flight_bytes();
        event.delivered_total = self.rate.delivered();
        self.loss.on_recovery(event.now);
        self.congestion.on_loss(&event);
        self.refresh_pacing(event.now);
    }

    fn requeue(&mut self, record: &SentPacket) {
        if self.is_closed() {
            return;
        }
        match record.content {
            Content::Cells {
                slot,
                stream,
                first,
                count,
            } => {
                let open = self.slots.get(slot as usize).and_then(Option::as_ref);
                if open.is_some_and(|held| held.id == stream) {
                    self.queue_resend(slot, stream, &(first..first + u32::from(count)), false);
                }
            }
            Content::Reset { stream, code } => {
                self.resets.push_back((stream, code));
            }
            Content::Probe | Content::Skipped => {}
        }
    }

    /// Takes the controller's rate to the pacer at once.
    pub(crate) fn refresh_pacing(&mut self, now: Timestamp) {
        let rate = self.congestion.pacing_rate();
        if self.pacer.rate() != rate {
            self.pacer.set_rate(now, rate);
        }
    }
}
