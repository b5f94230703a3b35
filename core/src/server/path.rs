//! Where the client is: the handshake's cookies, and addresses that change under way.

use std::collections::VecDeque;
use std::net::SocketAddr;

use zerocopy::FromBytes;
use zerocopy::byteorder::big_endian::U64;

use super::association::{ControlPacket, Phase, ServerAssociation};
use crate::congestion::CongestionController;
use crate::endpoint::ServerEvent;
use crate::error::DropReason;
use crate::limits::{AMPLIFICATION_FACTOR, PROTOCOL_VERSION};
use crate::units::Timestamp;
use crate::wire::{Echo, HandshakeAck, Kind, Syn, SynAck};

/// A new source address that has to prove that it receives (RFC 9000, 8.2).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate {
    pub(crate) address: SocketAddr,
    pub(crate) token: u64,
    pub(crate) received_bytes: u64,
    pub(crate) sent_bytes: u64,
    pub(crate) next_challenge: Timestamp,
}

impl ServerAssociation {
    /// Answers each SYN with as many bytes as it brought; the cookie binds address and size.
    pub(super) fn on_syn(
        &mut self,
        from: SocketAddr,
        body: &[u8],
        bytes: usize,
    ) -> Result<(), DropReason> {
        let (syn, _) = Syn::read_from_prefix(body).map_err(|_| DropReason::Unparsable)?;
        if syn.version.get() != PROTOCOL_VERSION {
            return Err(DropReason::Unexpected);
        }
        let cookie = self.cookie(from, bytes);
        let time = syn.time.get();
        self.push_control(ControlPacket::SynAck {
            to: from,
            cookie,
            time,
            bytes,
        });
        Ok(())
    }

    pub(super) fn cookie(&self, address: SocketAddr, bytes: usize) -> u64 {
        let mut hasher = blake3::Hasher::new_keyed(&self.config.seed);
        hasher.update(b"cookie");
        hasher.update(address.to_string().as_bytes());
        hasher.update(&bytes.to_be_bytes());
        first_u64(&hasher)
    }

    pub(super) fn on_handshake_ack(
        &mut self,
        now: Timestamp,
        from: SocketAddr,
        body: &[u8],
        events: &mut VecDeque<ServerEvent>,
    ) -> Result<(), DropReason> {
        let ack = HandshakeAck::ref_from_bytes(body).map_err(|_| DropReason::Unparsable)?;
        let proven = usize::from(ack.bytes.get());
        if self.cookie(from, proven) != ack.cookie.get() {
            return Err(DropReason::Unauthentic);
        }
        // A SYN and a SYN-ACK of this size passed: the first probes rode in the handshake.
        if self.mtu.on_probe_acked(proven) {
            self.apply_datagram_bytes();
        }
        if self.is_established() {
            return Ok(());
        }
        self.phase = Phase::Established;
        self.path = Some(from);
        self.credit = u64::from(ack.credit.get());
        self.timeout_base = now;
        events.push_back(ServerEvent::Established {
            association: self.config.id,
            address: from,
        });
        Ok(())
    }

    pub(crate) fn apply_datagram_bytes(&mut self) {
        let bytes = self.mtu.current();
        self.congestion.set_datagram_bytes(bytes as u64);
        self.pacer.set_datagram_bytes(bytes as u64);
        self.sealer.set_datagram_bytes(bytes);
        if let Some(limiter) = &mut self.limiter {
            limiter.set_datagram_bytes(bytes as u64);
        }
    }

    /// Notices a client that comes from a new address; only the highest packet number may move it.
    pub(super) fn observe_path(
        &mut self,
        now: Timestamp,
        from: SocketAddr,
        bytes: usize,
        newest: bool,
    ) {
        if self.path == Some(from) {
            if newest {
                self.candidate = None;
            }
            return;
        }
        match &mut self.candidate {
            Some(candidate) if candidate.address == from => {
                candidate.received_bytes += bytes as u64;
            }
            _ if !newest => return,
            _ => {
                self.challenges += 1;
                self.candidate = Some(Candidate {
                    address: from,
                    token: token_of(&self.config.seed, b"path", self.challenges),
                    received_bytes: bytes as u64,
                    sent_bytes: 0,
                    next_challenge: now,
                });
            }
        }
        self.challenge(now);
    }

    /// Asks the candidate again, at most once a round trip and within three times its bytes.
    pub(super) fn challenge(&mut self, now: Timestamp) {
        let allowed = self.control_packet_bytes::<Echo>();
        let pace = self.rtt.srtt();
        let Some(candidate) = &mut self.candidate else {
            return;
        };
        let within = candidate.sent_bytes + allowed
            <= candidate
                .received_bytes
                .saturating_mul(AMPLIFICATION_FACTOR);
        if now < candidate.next_challenge || !within {
            return;
        }
        candidate.next_challenge = now + pace;
        candidate.sent_bytes += allowed;
        let packet = ControlPacket::Echo {
            to: candidate.address,
            kind: Kind::PathChallenge,
            token: candidate.token,
        };
        self.push_control(packet);
    }

    pub(super) fn control_packet_bytes<Body>(&self) -> u64 {
        (crate::wire::HEADER_BYTES + size_of::<Body>() + self.sealer.tag_bytes()) as u64
    }

    pub(super) fn on_path_response(&mut self, now: Timestamp, from: SocketAddr, token: u64) {
        let Some(candidate) = self
            .candidate
            .filter(|c| c.token == token && c.address == from)
        else {
            return;
        };
        let moved = self
            .path
            .is_none_or(|old| old.ip() != candidate.address.ip());
        self.path = Some(candidate.address);
        self.candidate = None;
        // A NAT that merely took another port changes nothing about the path (RFC 9000, 9.4).
        if moved {
            self.rtt.reset();
            self.loss.reset();
            self.congestion.on_path_change(now);
            self.mtu.reset();
            self.apply_datagram_bytes();
            self.refresh_pacing(now);
        }
        self.ecn.restart();
        self.timeout_count = 0;
        self.timeout_base = now;
        // What was sent to the old address is most likely gone.
        self.give_up_in_flight(now, false);
    }

    pub(crate) fn syn_ack_body(cookie: u64, time: u64) -> SynAck {
        SynAck {
            cookie: U64::new(cookie),
            time: U64::new(time),
        }
    }
}

fn first_u64(hasher: &blake3::Hasher) -> u64 {
    let mut bytes = [0; 8];
    hasher.finalize_xof().fill(&mut bytes);
    u64::from_be_bytes(bytes)
}

/// An unpredictable number from the association's seed.
pub(crate) fn token_of(seed: &[u8; 32], purpose: &[u8], counter: u64) -> u64 {
    let mut hasher = blake3::Hasher::new_keyed(seed);
    hasher.update(purpose);
    hasher.update(&counter.to_be_bytes());
    first_u64(&hasher)
}
