//! What comes in: every packet is authenticated first, then goes where its kind belongs.

use std::collections::VecDeque;
use std::net::SocketAddr;

use zerocopy::FromBytes;

use super::association::{ControlPacket, ServerAssociation};
use crate::cell_set::ChunkPool;
use crate::endpoint::ServerEvent;
use crate::error::{CloseReason, DropReason, StreamEnd};
use crate::limits::{MAX_DONE_ENTRIES, MAX_FORGERIES};
use crate::packet_number::expand;
use crate::units::{Ecn, Timestamp};
use crate::wire::{Ack, Close, Echo, Kind, ParsedHeader, StreamStatuses};

impl ServerAssociation {
    /// Handles one datagram of this association, whose header is parsed.
    #[expect(
        clippy::too_many_arguments,
        reason = "a datagram, where it came from, and what it may change"
    )]
    pub(crate) fn handle_packet(
        &mut self,
        now: Timestamp,
        from: SocketAddr,
        _ecn: Option<Ecn>,
        header: ParsedHeader,
        packet: &mut [u8],
        pool: &mut ChunkPool,
        events: &mut VecDeque<ServerEvent>,
    ) {
        let bytes = packet.len();
        let number = expand(header.packet_number_low, self.received.expected());
        if self.received.is_replay(number) {
            return self.drops.count(DropReason::Replayed);
        }
        let opened = self
            .opener
            .open_in_place(number, header.key_phase, packet, header.len());
        let Some(body) = opened else {
            self.drops.count(DropReason::Unauthentic);
            if self.opener.forgeries() >= MAX_FORGERIES {
                self.close(now, CloseReason::Local, pool, events);
            }
            return;
        };
        let newest = self
            .received
            .largest()
            .is_none_or(|largest| number > largest);
        self.received.insert(number);
        if self.is_closed() {
            return self.answer_when_closed(now, header.kind);
        }
        self.last_received = now;
        let body: &[u8] = body;
        let handled = if header.kind == Kind::Syn {
            self.on_syn(from, body, bytes)
        } else if header.kind == Kind::HandshakeAck {
            self.on_handshake_ack(now, from, body, events)
        } else if self.is_established() {
            self.observe_path(now, from, bytes, newest);
            self.on_established(now, from, number, header.kind, body, pool, events)
        } else {
            Err(DropReason::Unexpected)
        };
        if let Err(reason) = handled {
            self.drops.count(reason);
        }
    }

    #[expect(clippy::too_many_arguments, reason = "as handle_packet")]
    pub(super) fn on_established(
        &mut self,
        now: Timestamp,
        from: SocketAddr,
        number: u64,
        kind: Kind,
        body: &[u8],
        pool: &mut ChunkPool,
        events: &mut VecDeque<ServerEvent>,
    ) -> Result<(), DropReason> {
        match kind {
            Kind::Ack => {
                let ack = Ack::parse(body).map_err(|_| DropReason::Unparsable)?;
                if let Err(violation) = self.on_ack(now, number, &ack, pool, events) {
                    self.close(now, violation.into(), pool, events);
                }
            }
            Kind::Ping => {
                let echo = Echo::ref_from_bytes(body).map_err(|_| DropReason::Unparsable)?;
                let token = echo.token.get();
                self.push_control(ControlPacket::Echo {
                    to: from,
                    kind: Kind::Pong,
                    token,
                });
            }
            Kind::PathResponse => {
                let echo = Echo::ref_from_bytes(body).map_err(|_| DropReason::Unparsable)?;
                self.on_path_response(now, from, echo.token.get());
            }
            Kind::Done => self.on_done(body, pool, events)?,
            Kind::Close => {
                self.push_control(ControlPacket::Close {
                    kind: Kind::CloseAck,
                    code: 0,
                });
                let code = Close::ref_from_bytes(body).map_or(0, |close| close.code.get());
                let finished = code == CloseReason::Finished.code();
                let reason = if finished {
                    CloseReason::Finished
                } else {
                    CloseReason::Peer
                };
                self.enter_closed(now, reason, pool, events);
            }
            Kind::CloseAck | Kind::Pong => {}
            Kind::Syn
            | Kind::SynAck
            | Kind::HandshakeAck
            | Kind::Data
            | Kind::Probe
            | Kind::PathChallenge
            | Kind::DoneAck
            | Kind::Reset => return Err(DropReason::Unexpected),
        }
        Ok(())
    }

    /// Whoever still talks to a closed association is told so, once a round trip: the first CLOSE may be lost.
    fn answer_when_closed(&mut self, now: Timestamp, kind: Kind) {
        if kind == Kind::Close {
            self.push_control(ControlPacket::Close {
                kind: Kind::CloseAck,
                code: 0,
            });
        } else if now >= self.close_reply_at && self.path.is_some() {
            self.close_reply_at = now + self.rtt.srtt();
            self.push_control(ControlPacket::Close {
                kind: Kind::Close,
                code: CloseReason::Local.code(),
            });
        }
    }

    pub(super) fn on_done(
        &mut self,
        body: &[u8],
        pool: &mut ChunkPool,
        events: &mut VecDeque<ServerEvent>,
    ) -> Result<(), DropReason> {
        let statuses = StreamStatuses::parse(body).map_err(|_| DropReason::Unparsable)?;
        for status in statuses.0 {
            let stream = status.stream();
            if self.unconfirmed.remove(&stream) {
                events.push_back(ServerEvent::StreamConfirmed {
                    association: self.config.id,
                    stream,
                    status: status.status,
                });
            }
            if let Some(source) = self.free_stream(stream, pool) {
                events.push_back(ServerEvent::StreamFreed {
                    association: self.config.id,
                    stream,
                    source,
                    end: (status.status != 0).then_some(StreamEnd::Cancelled),
                });
            }
            if self.done.len() < MAX_DONE_ENTRIES {
                self.done.push(*status);
            }
        }
        if !self
            .control
            .iter()
            .any(|packet| matches!(packet, ControlPacket::DoneAck))
        {
            self.push_control(ControlPacket::DoneAck);
        }
        Ok(())
    }
}
