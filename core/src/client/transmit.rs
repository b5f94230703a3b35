//! What goes out: SYN, handshake and path answers, ACK, DONE, PING, CLOSE.

use std::time::Duration;

use zerocopy::IntoBytes;
use zerocopy::byteorder::big_endian::{U16, U32, U64};

use super::association::{CLOSE_TRIES, ClientAssociation, Phase};
use crate::endpoint::Outgoing;
use crate::error::CloseReason;
use crate::limits::{
    KEEP_ALIVE, MAX_ACK_STREAMS, MAX_BACKOFF, MAX_DATAGRAM_BYTES, MAX_DONE_ENTRIES,
    MIN_DATAGRAM_BYTES, PING_INTERVAL, PROTOCOL_VERSION,
};
use crate::packet_number::low_half;
use crate::server::association::CELLS_LADDER;
use crate::units::Timestamp;
use crate::wire::{
    AckHeader, Close, DATA_HEADER_BYTES, Echo, HEADER_BYTES, HandshakeAck, Kind, ParsedHeader,
    StreamProgress, Syn,
};

impl ClientAssociation {
    /// Sizes of the SYNs: the largest common datagram and the base size at first, so that a path that carries the
    /// larger is known at once and one that does not still answers; a small one when nothing came back.
    pub(super) fn syn_sizes(&self) -> [usize; 2] {
        let max = self
            .config
            .max_datagram
            .clamp(MIN_DATAGRAM_BYTES, MAX_DATAGRAM_BYTES);
        let tag = self.sealer.tag_bytes();
        let size = |cells: u16| {
            let bytes =
                DATA_HEADER_BYTES + usize::from(cells) * usize::from(self.config.cell_bytes) + tag;
            bytes.min(max)
        };
        if self.tries < 2 {
            [size(CELLS_LADDER[3]), size(CELLS_LADDER[2])]
        } else {
            [size(CELLS_LADDER[2]), MIN_DATAGRAM_BYTES]
        }
    }

    /// The next packet, written to the front of `buffer` (a full datagram of 1472 bytes at least: the largest SYN).
    /// Call until `None`.
    pub fn poll_transmit(&mut self, now: Timestamp, buffer: &mut [u8]) -> Option<Outgoing> {
        let bytes = match self.phase {
            Phase::Closed => None,
            Phase::Connecting => self.write_syn(now, buffer),
            Phase::Closing => self
                .write_ack(now, buffer)
                .or_else(|| self.write_done(now, buffer))
                .or_else(|| self.write_close(now, buffer)),
            Phase::Confirming | Phase::Open => self
                .write_handshake_ack(buffer)
                .or_else(|| self.write_echo(buffer))
                .or_else(|| self.write_ack(now, buffer))
                .or_else(|| self.write_done(now, buffer))
                .or_else(|| self.write_ping(now, buffer)),
        }?;
        Some(Outgoing::single(self.config.server, bytes))
    }

    pub(super) fn write(
        &mut self,
        kind: Kind,
        body: &[u8],
        padded_to: usize,
        out: &mut [u8],
    ) -> usize {
        self.sealer.maybe_update();
        let number = self.next_number;
        self.next_number += 1;
        let bytes = (HEADER_BYTES + body.len() + self.sealer.tag_bytes()).max(padded_to);
        let packet = &mut out[..bytes];
        packet.fill(0);
        ParsedHeader {
            kind,
            key_phase: self.sealer.key_phase(),
            stream: 0,
            association: self.config.id,
            packet_number_low: low_half(number),
            first_cell: 0,
        }
        .write(packet);
        packet[HEADER_BYTES..HEADER_BYTES + body.len()].copy_from_slice(body);
        self.sealer.seal_in_place(number, packet, HEADER_BYTES);
        bytes
    }

    pub(super) fn write_syn(&mut self, now: Timestamp, out: &mut [u8]) -> Option<usize> {
        let size = self.syn_sizes()[self.syns_left.checked_sub(1)? as usize];
        self.syns_left -= 1;
        let syn = Syn {
            version: U16::new(PROTOCOL_VERSION),
            // Clamped to 65,507 before.
            max_datagram: U16::new(u16::try_from(self.config.max_datagram).unwrap_or(u16::MAX)),
            credit: U32::new(self.config.credit),
            time: U64::new(now.as_nanos()),
        };
        Some(self.write(Kind::Syn, syn.as_bytes(), size, out))
    }

    pub(super) fn write_handshake_ack(&mut self, out: &mut [u8]) -> Option<usize> {
        let (cookie, bytes) = self.cookies.pop_front()?;
        let ack = HandshakeAck {
            cookie: U64::new(cookie),
            credit: U32::new(self.config.credit),
            bytes: U16::new(bytes),
            reserved: U16::ZERO,
        };
        Some(self.write(Kind::HandshakeAck, ack.as_bytes(), 0, out))
    }

    pub(super) fn write_echo(&mut self, out: &mut [u8]) -> Option<usize> {
        let (kind, token) = self.echoes.pop_front()?;
        Some(
            self.write(
                kind,
                Echo {
                    token: U64::new(token),
                }
                .as_bytes(),
                0,
                out,
            ),
        )
    }

    pub(super) fn write_ack(&mut self, now: Timestamp, out: &mut [u8]) -> Option<usize> {
        if self.acks.deadline().is_none_or(|deadline| deadline > now) {
            return None;
        }
        let largest = self.received.largest()?;
        let words = self.acks.on_ack_sent(now, &self.received);
        let mut body = [0_u8; crate::wire::ack::MAX_ACK_BODY_BYTES];
        let mut at = size_of::<AckHeader>();
        for back in 0..words as u64 {
            let word = (largest / 64)
                .checked_sub(back)
                .map_or(0, |index| self.received.word(index));
            body[at..at + 8].copy_from_slice(&word.to_be_bytes());
            at += 8;
        }
        let mut streams = 0;
        for id in self.acks.recent_streams().take(MAX_ACK_STREAMS) {
            let Some(stream) = self.by_id.get(&id).map(|slot| &self.streams[*slot]) else {
                continue;
            };
            let progress = StreamProgress {
                stream: U32::new(id),
                lowest_missing: U32::new(stream.cells.lowest_missing()),
            };
            body[at..at + 8].copy_from_slice(progress.as_bytes());
            at += 8;
            streams += 1;
        }
        let delay = u32::try_from(self.acks.delay(now).as_micros()).unwrap_or(u32::MAX);
        let header = AckHeader {
            largest: U64::new(largest),
            delay_us: U32::new(delay),
            credit: U32::new(self.config.credit),
            ect0: U32::new(self.ecn.0),
            ce: U32::new(self.ecn.1),
            socket_drops: U32::new(self.socket_drops),
            // Both counts are bounded by constants that fit a byte.
            words: u8::try_from(words).unwrap_or(u8::MAX),
            streams,
            reserved: U16::new(0),
        };
        body[..size_of::<AckHeader>()].copy_from_slice(header.as_bytes());
        self.stats.acks_sent += 1;
        Some(self.write(Kind::Ack, &body[..at], 0, out))
    }

    pub(super) fn write_done(&mut self, now: Timestamp, out: &mut [u8]) -> Option<usize> {
        let due = self.done_at.is_some_and(|at| at <= now)
            || self.phase == Phase::Closing && self.tries == 0;
        if self.done.is_empty() || !due {
            return None;
        }
        let count = self.done.len().min(MAX_DONE_ENTRIES);
        let body = self.done[..count].as_bytes().to_vec();
        // The rest, and what is not answered, comes in turn.
        self.done.rotate_left(count);
        self.done_at = Some(if self.done.len() > count {
            now + self.rtt.srtt() / 8
        } else {
            now + self.rtt.pto(Duration::ZERO)
        });
        if self.phase == Phase::Closing && self.tries == 0 {
            self.tries = 1;
        }
        Some(self.write(Kind::Done, &body, 0, out))
    }

    pub(super) fn write_close(&mut self, now: Timestamp, out: &mut [u8]) -> Option<usize> {
        if now < self.repeat_at || self.tries >= CLOSE_TRIES {
            return None;
        }
        self.tries += 1;
        self.repeat_at = now + self.rtt.pto(Duration::ZERO).min(MAX_BACKOFF);
        let close = Close {
            code: U16::new(CloseReason::Finished.code()),
        };
        Some(self.write(Kind::Close, close.as_bytes(), 0, out))
    }

    pub(super) fn write_ping(&mut self, now: Timestamp, out: &mut [u8]) -> Option<usize> {
        if now < self.ping_at {
            return None;
        }
        let busy = !self.streams.is_empty();
        self.ping_at = now
            + if busy {
                PING_INTERVAL.max(self.rtt.srtt())
            } else {
                KEEP_ALIVE
            };
        Some(
            self.write(
                Kind::Ping,
                Echo {
                    token: U64::new(now.as_nanos()),
                }
                .as_bytes(),
                0,
                out,
            ),
        )
    }
}
