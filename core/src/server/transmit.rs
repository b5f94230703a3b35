//! What goes out: small packets first, then path MTU probes, then trains of DATA.
//!
//! A train is what one GSO send carries: packets of equal size, of which only the last may be shorter. What to put into
//! it is chosen in this order: cells that were lost, cells never sent, and when nothing else is left, copies of the
//! packets still unacknowledged (the tail).

use std::net::SocketAddr;

use zerocopy::IntoBytes;
use zerocopy::byteorder::big_endian::{U16, U64};

use super::association::{ControlPacket, ServerAssociation};
use super::path::token_of;
use super::pick::PickKind;
use super::source::{Source, SourceBytes, SourceKey};
use crate::cell_set::ChunkPool;
use crate::congestion::{CongestionController, UNPACED_RTT};
use crate::endpoint::{Outgoing, ServerEvent};
use crate::error::StreamEnd;
use crate::limits::{MAX_TRAIN_BYTES, MAX_TRAIN_SEGMENTS};
use crate::pacing::{Pacer, most_lateness};
use crate::packet_number::low_half;
use crate::recovery::sent_packets::{Content, State};
use crate::units::Timestamp;
use crate::wire::{Close, DATA_HEADER_BYTES, Echo, HEADER_BYTES, Kind, ParsedHeader, Reset};

/// Why a train ended before it was full.
pub(super) enum Stop {
    /// Nothing that could be sent now.
    NothingToSend,
    /// The stream cannot go on; another may.
    Retry,
}

/// What outlives one packet while a train is built.
pub(crate) struct Train<'a, S> {
    pub(crate) source: &'a mut S,
    pub(crate) buffer: &'a mut [u8],
    pub(crate) scratch: &'a mut [u8],
    pub(crate) pool: &'a mut ChunkPool,
    pub(crate) events: &'a mut std::collections::VecDeque<ServerEvent>,
    /// The file that [`Source::begin_train`] was asked about last, and how many of its values are known.
    pub(crate) begun: Option<(SourceKey, u32)>,
}

/// Where a packet goes in its train, and how many bytes of payload it may be padded to.
struct Place {
    at: usize,
    pad_to: usize,
}

impl ServerAssociation {
    /// Whether any stream has something to send (now or once it is unblocked).
    pub(crate) fn wants_to_send(&self) -> bool {
        !self.resend.is_empty() || !self.queue.is_empty()
    }

    /// The next small packet, path probe or train; `None` when nothing may leave now.
    pub(crate) fn poll_transmit<S: Source>(
        &mut self,
        now: Timestamp,
        train: &mut Train<'_, S>,
    ) -> Option<Outgoing> {
        if let Some(packet) = self.control.pop_front() {
            return self.write_control(now, packet, train.buffer);
        }
        if let Some((stream, code)) = self.resets.pop_front() {
            return self.write_control(now, ControlPacket::Reset { stream, code }, train.buffer);
        }
        if !self.is_established() {
            return None;
        }
        let to = self.path?;
        if let Some(size) = self.mtu.poll_probe(now, self.rtt.srtt()) {
            return self.write_probe(now, to, size, train.buffer);
        }
        self.write_train(now, to, train)
    }

    /// When pacing lets the next packet go, if pacing is all that holds it back.
    pub(crate) fn pacing_release(&mut self, now: Timestamp) -> Option<Timestamp> {
        let open = self.is_established() && self.wants_to_send() && self.window_room() > 0;
        let release = open.then(|| self.paced_until(now));
        let most = most_lateness(self.rtt.srtt());
        self.pacer.wait(now, release, most);
        if let Some(limiter) = &mut self.limiter {
            limiter.wait(now, release, most);
        }
        release
    }

    pub(super) fn paced_until(&self, now: Timestamp) -> Timestamp {
        let want = self.worthwhile();
        let release = self.pacer.next_release(now, want);
        self.limiter.as_ref().map_or(release, |limiter| {
            release.max(limiter.next_release(now, want))
        })
    }

    /// Bytes that window and credit leave; zero when not even one full packet fits. With nothing in flight one packet
    /// always may go, unless the client gives no credit at all.
    pub(super) fn window_room(&self) -> u64 {
        let in_flight = self.sent.in_flight_bytes();
        let full = self.mtu.current() as u64;
        let window = self.congestion.cwnd().min(self.credit);
        let room = window.saturating_sub(in_flight);
        if room >= full {
            room
        } else if in_flight == 0 && self.credit > 0 {
            full
        } else {
            0
        }
    }

    /// Bytes for which it is worth to wake up: a millisecond's worth, which is many packets in one send where the path
    /// is fast, and never more than the window leaves, or than a lower limit ever lets through at once.
    fn worthwhile(&self) -> u64 {
        let full = self.mtu.current() as u64;
        let limit = self.limiter.as_ref().map_or(u64::MAX, Pacer::quantum);
        self.pacer
            .quantum()
            .min(limit)
            .min(self.window_room())
            .max(full)
    }

    /// Bytes that may leave now, pacing included.
    pub(super) fn budget(&self, now: Timestamp) -> u64 {
        let mut paced = self.pacer.budget(now);
        if let Some(limiter) = &self.limiter {
            paced = paced.min(limiter.budget(now));
        }
        if paced < self.worthwhile() {
            return 0;
        }
        paced.min(self.window_room()).min(MAX_TRAIN_BYTES as u64)
    }

    pub(super) fn header(
        &self,
        kind: Kind,
        stream: u32,
        number: u64,
        first_cell: u32,
    ) -> ParsedHeader {
        ParsedHeader {
            kind,
            key_phase: self.sealer.key_phase(),
            stream,
            association: self.config.id,
            packet_number_low: low_half(number),
            first_cell,
        }
    }

    /// Leaves a packet number out now and then: a client that acknowledges it lies.
    pub(super) fn maybe_skip_number(&mut self) {
        let next = self.sent.next_number();
        if next >= self.next_skip {
            self.sent.push_skipped();
            self.next_skip = next + 2048 + token_of(&self.config.seed, b"skip", next) % 14_336;
        }
    }

    pub(super) fn write_control(
        &mut self,
        now: Timestamp,
        packet: ControlPacket,
        out: &mut [u8],
    ) -> Option<Outgoing> {
        if !self.sent.reserve(2) {
            if let ControlPacket::Reset { stream, code } = packet {
                self.resets.push_front((stream, code));
            } else {
                self.control.push_front(packet);
            }
            return None;
        }
        let path = self.path;
        let (to, bytes) = match packet {
            ControlPacket::SynAck {
                to,
                cookie,
                time,
                bytes,
            } => {
                let body = Self::syn_ack_body(cookie, time);
                (
                    Some(to),
                    self.write_small(Kind::SynAck, 0, body.as_bytes(), bytes, out),
                )
            }
            ControlPacket::Echo { to, kind, token } => {
                let body = Echo {
                    token: U64::new(token),
                };
                (Some(to), self.write_small(kind, 0, body.as_bytes(), 0, out))
            }
            ControlPacket::DoneAck => {
                let statuses = std::mem::take(&mut self.done);
                let bytes =
                    self.write_small(Kind::DoneAck, 0, statuses.as_slice().as_bytes(), 0, out);
                self.done = statuses;
                self.done.clear();
                (path, bytes)
            }
            ControlPacket::Close { kind, code } => {
                let body = Close {
                    code: U16::new(code),
                };
                (path, self.write_small(kind, 0, body.as_bytes(), 0, out))
            }
            ControlPacket::Reset { stream, code } => {
                let body = Reset {
                    code: U16::new(code),
                };
                self.maybe_skip_number();
                let number = self.sent.next_number();
                let bytes = self.seal_small(number, Kind::Reset, stream, body.as_bytes(), 0, out);
                self.record(now, number, Content::Reset { stream, code }, bytes);
                (path, bytes)
            }
        };
        self.stats.bytes_sent += bytes as u64;
        Some(Outgoing::single(to?, bytes))
    }

    /// A small packet that no ACK answers. It has a packet number like any other (its nonce), which is taken out of
    /// the record at once: nobody acknowledges it, and nobody waits for that.
    pub(super) fn write_small(
        &mut self,
        kind: Kind,
        stream: u32,
        body: &[u8],
        padded_to: usize,
        out: &mut [u8],
    ) -> usize {
        let number = self.take_unacknowledged_number();
        self.seal_small(number, kind, stream, body, padded_to, out)
    }

    /// The client acknowledges every packet number it sees, so these need a record: settled from the start.
    pub(super) fn take_unacknowledged_number(&mut self) -> u64 {
        let number = self.sent.next_number();
        self.sent.push_settled();
        number
    }

    pub(super) fn seal_small(
        &mut self,
        number: u64,
        kind: Kind,
        stream: u32,
        body: &[u8],
        padded_to: usize,
        out: &mut [u8],
    ) -> usize {
        self.sealer.maybe_update();
        let bytes = (HEADER_BYTES + body.len() + self.sealer.tag_bytes()).max(padded_to);
        let packet = &mut out[..bytes];
        packet.fill(0);
        self.header(kind, stream, number, 0).write(packet);
        packet[HEADER_BYTES..HEADER_BYTES + body.len()].copy_from_slice(body);
        self.sealer.seal_in_place(number, packet, HEADER_BYTES);
        bytes
    }

    /// Notes a transmission for recovery, pacing and congestion control.
    pub(super) fn record(&mut self, now: Timestamp, number: u64, content: Content, bytes: usize) {
        let in_flight = self.sent.in_flight_bytes();
        let snapshot = self.rate.on_sent(now, bytes as u64, in_flight);
        // A datagram has at most 65,507 bytes.
        let bytes_u32 = u32::try_from(bytes).unwrap_or(u32::MAX);
        let pushed = self.sent.push(now, snapshot, content, bytes_u32);
        debug_assert_eq!(pushed, number);
        if content != Content::Probe {
            self.pacer.on_sent(now, bytes as u64);
            if let Some(limiter) = &mut self.limiter {
                limiter.on_sent(now, bytes as u64);
            }
            self.congestion
                .on_sent(now, bytes as u64, self.sent.in_flight_bytes());
        }
    }

    pub(super) fn write_probe(
        &mut self,
        now: Timestamp,
        to: SocketAddr,
        size: usize,
        out: &mut [u8],
    ) -> Option<Outgoing> {
        if !self.sent.reserve(2) {
            return None;
        }
        self.maybe_skip_number();
        let number = self.sent.next_number();
        let bytes = self.seal_small(number, Kind::Probe, 0, &[], size, out);
        self.record(now, number, Content::Probe, bytes);
        self.stats.bytes_sent += bytes as u64;
        Some(Outgoing {
            is_mtu_probe: true,
            ..Outgoing::single(to, bytes)
        })
    }

    pub(super) fn write_train<S: Source>(
        &mut self,
        now: Timestamp,
        to: SocketAddr,
        train: &mut Train<'_, S>,
    ) -> Option<Outgoing> {
        if !self.sent.reserve(MAX_TRAIN_SEGMENTS as u64 * 2) {
            return None;
        }
        let full = self.mtu.current();
        let budget = usize::try_from(self.budget(now)).unwrap_or(MAX_TRAIN_BYTES);
        let mut written = 0;
        let mut segment = 0;
        let mut segments = 0;
        let pad_to = self.padded_payload();
        train.begun = None;
        let first_number = self.sent.next_number();
        while segments < MAX_TRAIN_SEGMENTS && written + full <= MAX_TRAIN_BYTES {
            let probing = self.probes_left > 0 && segments == 0;
            if written + full > budget && !probing {
                break;
            }
            let place = Place {
                at: written,
                pad_to,
            };
            let bytes = match self.write_data(now, train, &place) {
                Ok(bytes) => bytes,
                Err(Stop::Retry) => continue,
                Err(Stop::NothingToSend) => {
                    self.note_app_limited();
                    break;
                }
            };
            if segments == 0 {
                segment = bytes;
            }
            segments += 1;
            written += bytes;
            self.probes_left = self.probes_left.saturating_sub(1);
            if bytes < segment || segment < full {
                break;
            }
        }
        if segments == 0 {
            return None;
        }
        self.stats.bytes_sent += written as u64;
        let ecn = self.ecn.codepoint();
        let numbers = first_number..self.sent.next_number();
        self.ecn.on_sent(&numbers, segments as u64);
        Some(Outgoing {
            to,
            bytes: written,
            segment_bytes: segment,
            is_mtu_probe: false,
            ecn,
        })
    }

    pub(super) fn note_app_limited(&mut self) {
        if self.window_room() > 0 {
            self.rate.set_app_limited(self.sent.in_flight_bytes());
        }
    }

    /// Bytes of payload to which the last packet of a stream is padded, so that the train goes on with other streams:
    /// a send for each small file costs more than some zeros, as long as nothing but this machine holds it back.
    fn padded_payload(&self) -> usize {
        let short = self.rtt.min_rtt() < UNPACED_RTT;
        if !short || self.pacer.rate().is_some() || self.limiter.is_some() {
            return 0;
        }
        self.mtu.current() - DATA_HEADER_BYTES - self.sealer.tag_bytes()
    }

    /// Writes one DATA packet; returns its bytes.
    fn write_data<S: Source>(
        &mut self,
        now: Timestamp,
        train: &mut Train<'_, S>,
        place: &Place,
    ) -> Result<usize, Stop> {
        let pick = self.pick(now, train)?;
        let first = pick.run.start;
        let count = pick.run.end - first;
        let Some(stream) = self.slots[pick.slot as usize].as_ref() else {
            return Err(Stop::Retry);
        };
        let layout = stream.layout;
        let offset = layout.cell_offset(first);
        let payload_bytes = layout.run_bytes(first, count);
        let in_file = layout
            .file_bytes()
            .saturating_sub(offset)
            .min(payload_bytes as u64);
        let in_file = usize::try_from(in_file).unwrap_or(payload_bytes);

        let ends = pick.kind == PickKind::New && pick.run.end == layout.cells();
        let worth = payload_bytes * 2 >= place.pad_to && self.queue.len() > 1;
        let padded_bytes = if ends && worth {
            payload_bytes.max(place.pad_to)
        } else {
            payload_bytes
        };

        let file = if in_file == 0 {
            SourceBytes::Ready(&[])
        } else {
            train.source.file(pick.source, offset, in_file)
        };
        let payload: &[u8] = match file {
            SourceBytes::Ready(bytes) if in_file == payload_bytes => bytes,
            SourceBytes::Ready(bytes) => {
                // A stream ends with its trailer: what is padded always comes here.
                let scratch = &mut train.scratch[..padded_bytes];
                scratch[..in_file].copy_from_slice(bytes);
                let (held, padding) = scratch.split_at_mut(payload_bytes);
                padding.fill(0);
                let from = (offset + in_file as u64) - layout.file_bytes();
                train
                    .source
                    .copy_hashes(pick.source, from, &mut held[in_file..]);
                scratch
            }
            SourceBytes::Pending => {
                self.put_back(pick);
                return Err(Stop::Retry);
            }
            SourceBytes::End(end) => {
                self.end_stream(pick.stream, end, train.pool, train.events);
                return Err(Stop::Retry);
            }
        };

        self.sealer.maybe_update();
        self.maybe_skip_number();
        let number = self.sent.next_number();
        let bytes = DATA_HEADER_BYTES + payload.len() + self.sealer.tag_bytes();
        let packet = &mut train.buffer[place.at..place.at + bytes];
        self.header(Kind::Data, pick.stream, number, first)
            .write(packet);
        self.sealer
            .seal_from(number, packet, DATA_HEADER_BYTES, payload);
        let count = u16::try_from(count).unwrap_or(u16::MAX);
        let content = Content::Cells {
            slot: pick.slot,
            stream: pick.stream,
            first,
            count,
        };
        self.record(now, number, content, bytes);
        self.count(pick.kind);
        Ok(bytes)
    }

    pub(super) fn count(&mut self, kind: PickKind) {
        self.stats.data_packets += 1;
        match kind {
            PickKind::New => {}
            PickKind::Lost => self.stats.retransmitted_packets += 1,
            PickKind::TimeoutProbe => self.stats.timeout_probes += 1,
            PickKind::Tail => self.stats.tail_packets += 1,
        }
    }

    /// The kernel refused a datagram of this size (EMSGSIZE): lower the size, count nothing as congestion.
    pub(crate) fn on_too_large(&mut self, now: Timestamp, bytes: usize) {
        let last = self.sent.next_number().saturating_sub(1);
        let probe = self.sent.get(last).is_some_and(|record| {
            record.content == Content::Probe && record.state == State::InFlight
        });
        if self.mtu.on_packet_too_large(bytes, now) {
            self.apply_datagram_bytes();
        }
        if probe {
            self.sent.declare_lost(last);
        } else {
            self.give_up_in_flight(now, false);
        }
    }

    /// Ends every stream of a file.
    pub(crate) fn end_source(
        &mut self,
        source: SourceKey,
        end: StreamEnd,
        pool: &mut ChunkPool,
        events: &mut std::collections::VecDeque<ServerEvent>,
    ) {
        let ids: Vec<u32> = self
            .slots
            .iter()
            .flatten()
            .filter(|s| s.source == source)
            .map(|s| s.id)
            .collect();
        for id in ids {
            self.end_stream(id, end, pool, events);
        }
    }
}
