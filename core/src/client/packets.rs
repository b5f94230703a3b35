//! What comes in: bounds and replays first, then authentication, then each kind where it belongs.

use std::net::SocketAddr;
use std::time::Duration;

use zerocopy::FromBytes;

use super::association::{ClientAssociation, ClientEvent, Phase};
use super::storage::Storage;
use crate::error::{CloseReason, DropReason, StreamEnd};
use crate::limits::{MAX_BACKOFF, MAX_DONE_ENTRIES, MAX_FORGERIES};
use crate::packet_number::expand;
use crate::units::{Ecn, Timestamp};
use crate::wire::{Close, Echo, Kind, ParsedHeader, Reset, StreamStatuses, SynAck};

impl ClientAssociation {
    /// Handles one datagram (not a train: the shell splits it).
    pub fn handle_datagram(
        &mut self,
        now: Timestamp,
        from: SocketAddr,
        ecn: Option<Ecn>,
        packet: &mut [u8],
        storage: &mut impl Storage,
    ) {
        if let Err(reason) = self.try_handle(now, from, ecn, packet, storage) {
            self.stats.drops.count(reason);
            if self.opener.forgeries() >= MAX_FORGERIES {
                self.end(CloseReason::Local);
            }
        }
    }

    pub(super) fn try_handle(
        &mut self,
        now: Timestamp,
        from: SocketAddr,
        ecn: Option<Ecn>,
        packet: &mut [u8],
        storage: &mut impl Storage,
    ) -> Result<(), DropReason> {
        let header = ParsedHeader::parse(packet).map_err(|_| DropReason::Unparsable)?;
        if header.association != self.config.id {
            return Err(DropReason::UnknownAssociation);
        }
        if from.port() == 0 {
            return Err(DropReason::PortZero);
        }
        if self.is_closed() {
            return Err(DropReason::Unexpected);
        }
        let expected = self.received.expected();
        let number = expand(header.packet_number_low, expected);
        if self.received.is_replay(number) {
            return Err(DropReason::Replayed);
        }
        let bytes = packet.len();
        let eliciting = matches!(header.kind, Kind::Data | Kind::Probe | Kind::Reset);
        if header.kind == Kind::Data {
            self.on_data(number, header, packet, storage)?;
        } else {
            let opened = self
                .opener
                .open_in_place(number, header.key_phase, packet, header.len());
            let body: &[u8] = opened.ok_or(DropReason::Unauthentic)?;
            self.on_small(now, header, body, bytes)?;
        }
        self.received.insert(number);
        self.note_received(now, ecn, bytes, number, expected, eliciting);
        Ok(())
    }

    pub(super) fn note_received(
        &mut self,
        now: Timestamp,
        ecn: Option<Ecn>,
        bytes: usize,
        number: u64,
        expected: u64,
        eliciting: bool,
    ) {
        self.last_received = now;
        self.stats.bytes_received += bytes as u64;
        self.stats.packets += u64::from(eliciting);
        self.stats.missing_packets = self.received.expected() - self.received.count();
        match ecn {
            Some(Ecn::Ect0) => self.ecn.0 = self.ecn.0.wrapping_add(1),
            Some(Ecn::Ce) => self.ecn.1 = self.ecn.1.wrapping_add(1),
            Some(Ecn::Ect1 | Ecn::NotEct) | None => {}
        }
        if eliciting && self.phase == Phase::Confirming {
            self.phase = Phase::Open;
        }
        let (largest, gap) = (number >= expected, number != expected);
        self.acks
            .on_packet(now, self.rtt.srtt(), number, largest, gap, eliciting);
    }

    pub(super) fn on_small(
        &mut self,
        now: Timestamp,
        header: ParsedHeader,
        body: &[u8],
        bytes: usize,
    ) -> Result<(), DropReason> {
        let echo = || Echo::ref_from_bytes(body).map_err(|_| DropReason::Unparsable);
        match header.kind {
            Kind::SynAck => self.on_syn_ack(now, body, bytes)?,
            Kind::Probe | Kind::Data => {}
            Kind::Ping => self.push_echo(Kind::Pong, echo()?.token.get()),
            Kind::PathChallenge => self.push_echo(Kind::PathResponse, echo()?.token.get()),
            Kind::Pong => {
                let sent = Timestamp::from_nanos(echo()?.token.get());
                self.sample_rtt(now, now - sent);
            }
            Kind::DoneAck => {
                let statuses = StreamStatuses::parse(body).map_err(|_| DropReason::Unparsable)?;
                self.on_done_ack(statuses);
            }
            Kind::Reset => {
                let reset = Reset::ref_from_bytes(body).map_err(|_| DropReason::Unparsable)?;
                if self.by_id.contains_key(&header.stream) {
                    let end = StreamEnd::from_code(reset.code.get());
                    self.events.push_back(ClientEvent::StreamReset {
                        stream: header.stream,
                        end,
                    });
                }
            }
            Kind::Close => {
                Close::ref_from_bytes(body).map_err(|_| DropReason::Unparsable)?;
                let closing = self.phase == Phase::Closing;
                self.end(if closing {
                    CloseReason::Finished
                } else {
                    CloseReason::Peer
                });
            }
            Kind::CloseAck => {
                if self.phase == Phase::Closing {
                    self.end(CloseReason::Finished);
                }
            }
            Kind::Syn | Kind::HandshakeAck | Kind::Ack | Kind::PathResponse | Kind::Done => {
                return Err(DropReason::Unexpected);
            }
        }
        Ok(())
    }

    fn on_done_ack(&mut self, acked: StreamStatuses<'_>) {
        let mut streams = [0; MAX_DONE_ENTRIES];
        let streams = &mut streams[..acked.0.len().min(MAX_DONE_ENTRIES)];
        for (stream, status) in streams.iter_mut().zip(acked.0) {
            *stream = status.stream();
        }
        streams.sort_unstable();
        self.done
            .retain(|entry| streams.binary_search(&entry.stream()).is_err());
        if self.done.is_empty() {
            self.done_at = None;
        }
    }

    pub(super) fn push_echo(&mut self, kind: Kind, token: u64) {
        // The peer repeats what is dropped.
        if self.echoes.len() < 16 {
            self.echoes.push_back((kind, token));
        }
    }

    pub(super) fn sample_rtt(&mut self, now: Timestamp, sample: Duration) {
        self.rtt.update(now, sample, Duration::ZERO);
        let micros = u64::try_from(sample.as_micros()).unwrap_or(u64::MAX).max(1);
        self.rtt_histogram.saturating_record(micros);
    }

    pub(super) fn on_syn_ack(
        &mut self,
        now: Timestamp,
        body: &[u8],
        bytes: usize,
    ) -> Result<(), DropReason> {
        let (ack, _) = SynAck::ref_from_prefix(body).map_err(|_| DropReason::Unparsable)?;
        if self.phase == Phase::Connecting {
            self.phase = Phase::Confirming;
            self.handshake = Some(now - self.started);
            self.tries = 0;
            self.sample_rtt(now, now - Timestamp::from_nanos(ack.time.get()));
            self.events.push_back(ClientEvent::Established);
        }
        // A datagram has at most 65,507 bytes.
        self.last_cookie = (ack.cookie.get(), u16::try_from(bytes).unwrap_or(u16::MAX));
        if self.cookies.len() < 8 {
            self.cookies.push_back(self.last_cookie);
        }
        self.repeat_at = now + self.rtt.pto(Duration::ZERO).min(MAX_BACKOFF);
        Ok(())
    }
}
