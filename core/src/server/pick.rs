//! Which cells the next DATA packet carries: lost ones first, then new ones, then copies of the unacknowledged tail.

use std::ops::Range;
use std::time::Duration;

use super::association::{Resend, ServerAssociation};
use super::send_stream::Blocked;
use super::source::{Source, SourceKey, TrainState};
use super::transmit::{Stop, Train};
use crate::recovery::sent_packets::Content;
use crate::units::Timestamp;
use crate::wire::DATA_HEADER_BYTES;

/// A path that loses more than one packet in so many is a lossy one, as far as the tail is concerned.
const TAIL_LOSS_INVERSE: u64 = 200;

/// What the next DATA packet carries.
#[derive(Debug, Clone)]
pub(super) struct Pick {
    pub(super) slot: u32,
    pub(super) stream: u32,
    pub(super) source: SourceKey,
    pub(super) run: Range<u32>,
    pub(super) kind: PickKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PickKind {
    New,
    Lost,
    TimeoutProbe,
    Tail,
}

impl ServerAssociation {
    /// Cells that fit a full packet.
    pub(super) fn cells_per_packet(&self) -> u32 {
        let payload = self.mtu.current() - DATA_HEADER_BYTES - self.sealer.tag_bytes();
        // At most 65,507 / 64.
        u32::try_from(payload / usize::from(self.config.cell_bytes)).unwrap_or(1)
    }

    pub(super) fn pick<S: Source>(
        &mut self,
        now: Timestamp,
        train: &mut Train<'_, S>,
    ) -> Result<Pick, Stop> {
        let max = self.cells_per_packet();
        while let Some(pick) = self.pick_resend(max) {
            if self.begin(&pick, train) {
                return Ok(pick);
            }
        }
        while let Some((slot, id)) = self.queue.front().copied() {
            let stream = self.slots[slot as usize].as_mut();
            let Some(stream) = stream.filter(|stream| stream.id == id) else {
                self.queue.pop_front();
                continue;
            };
            let source = stream.source;
            if stream.blocked.is_some() {
                self.unqueue_front();
                continue;
            }
            let probe = Pick {
                slot,
                stream: id,
                source,
                run: 0..0,
                kind: PickKind::New,
            };
            if !self.begin(&probe, train) {
                // It waits and is skipped, or it has ended and its entry is stale.
                continue;
            }
            let Some(stream) = self.slots[slot as usize].as_mut() else {
                continue;
            };
            if let Some(run) = stream.take_new(max) {
                return Ok(Pick { run, ..probe });
            }
            if !stream.is_all_sent() {
                self.block(slot, Blocked::Hashes);
            }
            self.unqueue_front();
        }
        self.pick_tail(now, max, train)
    }

    pub(super) fn unqueue_front(&mut self) {
        let Some((slot, id)) = self.queue.pop_front() else {
            return;
        };
        let stream = self.slots[slot as usize].as_mut();
        if let Some(stream) = stream.filter(|stream| stream.id == id) {
            stream.queued = false;
        }
    }

    /// Asks the shell, once a train and file, whether bytes may be taken.
    pub(super) fn begin<S: Source>(&mut self, pick: &Pick, train: &mut Train<'_, S>) -> bool {
        if let Some((source, hashes)) = train.begun
            && source == pick.source
        {
            self.know_hashes(pick.slot, hashes);
            return true;
        }
        match train.source.begin_train(pick.source) {
            TrainState::Ready { hashes } => {
                train.begun = Some((pick.source, hashes));
                self.know_hashes(pick.slot, hashes);
                true
            }
            TrainState::Pending => {
                if pick.run.is_empty() {
                    self.block(pick.slot, Blocked::Source);
                } else {
                    self.put_back(pick.clone());
                }
                false
            }
            TrainState::End(end) => {
                self.end_stream(pick.stream, end, train.pool, train.events);
                false
            }
        }
    }

    fn know_hashes(&mut self, slot: u32, hashes: u32) {
        if let Some(stream) = &mut self.slots[slot as usize] {
            stream.set_hashes(hashes);
        }
    }

    /// The next lost cells that are still unacknowledged.
    pub(super) fn pick_resend(&mut self, max: u32) -> Option<Pick> {
        while let Some(resend) = self.resend.pop_front() {
            let open = self
                .slots
                .get(resend.slot as usize)
                .and_then(Option::as_ref);
            let Some(stream) = open.filter(|stream| stream.id == resend.stream) else {
                continue;
            };
            let all = resend.first..resend.first + u32::from(resend.count);
            let Some(run) = stream.acked.first_missing_run(all.clone()) else {
                continue;
            };
            let run = run.start..run.end.min(run.start + max);
            let rest = run.end..all.end;
            if !rest.is_empty() {
                let count = u16::try_from(rest.end - rest.start).unwrap_or(u16::MAX);
                self.resend.push_front(Resend {
                    first: rest.start,
                    count,
                    ..resend
                });
            }
            let kind = if resend.timeout_probe {
                PickKind::TimeoutProbe
            } else {
                PickKind::Lost
            };
            return Some(Pick {
                slot: resend.slot,
                stream: resend.stream,
                source: stream.source,
                run,
                kind,
            });
        }
        None
    }

    /// With nothing else left to send: a copy of the oldest packet in flight that has none yet, once it is old enough.
    /// Costs some packets at the very end and saves whole round trips and timeouts.
    pub(super) fn pick_tail<S: Source>(
        &mut self,
        now: Timestamp,
        max: u32,
        train: &mut Train<'_, S>,
    ) -> Result<Pick, Stop> {
        if !self.waiting.is_empty() {
            return Err(Stop::NothingToSend);
        }
        while let Some((number, record)) = self.sent.in_flight_from(self.tail_cursor) {
            if record.sent + self.tail_age() > now {
                break;
            }
            self.tail_cursor = number + 1;
            if record.tail_copied {
                continue;
            }
            let Content::Cells {
                slot,
                stream,
                first,
                count,
            } = record.content
            else {
                continue;
            };
            self.sent.mark_tail_copied(number);
            self.queue_resend(slot, stream, &(first..first + u32::from(count)), false);
            if let Some(pick) = self.pick_resend(max)
                && self.begin(&pick, train)
            {
                return Ok(Pick {
                    kind: PickKind::Tail,
                    ..pick
                });
            }
        }
        Err(Stop::NothingToSend)
    }

    /// Whether a tail copy may become due, and when.
    pub(crate) fn tail_deadline(&self, now: Timestamp) -> Option<Timestamp> {
        let more_to_come = self.wants_to_send() || !self.waiting.is_empty();
        if more_to_come || !self.is_established() || self.window_room() == 0 {
            return None;
        }
        let (_, record) = self.sent.in_flight_from(self.tail_cursor)?;
        Some((record.sent + self.tail_age()).max(self.paced_until(now)))
    }

    /// Age at which a packet of the tail is copied. Where packets get lost, half a round trip: the copy is there when
    /// the loss would be noticed. On a clean path only what should have been acknowledged long since.
    pub(super) fn tail_age(&self) -> Duration {
        let srtt = self.rtt.srtt();
        if self.stats.lost_packets * TAIL_LOSS_INVERSE > self.stats.data_packets {
            srtt / 2
        } else {
            srtt + srtt / 2 + 4 * self.rtt.rttvar()
        }
    }

    /// A packet could not be made because its bytes are not in memory: it waits at its stream.
    pub(super) fn put_back(&mut self, pick: Pick) {
        let Some(stream) = &mut self.slots[pick.slot as usize] else {
            return;
        };
        if pick.kind == PickKind::New {
            stream.put_back_new(pick.run);
        } else {
            stream.deferred.push(pick.run);
        }
        self.block(pick.slot, Blocked::Source);
    }
}
