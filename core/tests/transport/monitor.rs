//! What must hold whatever happens, checked on every packet and every turn of every test:
//!
//! * no packet number twice in a direction of an association (so no nonce twice: the key changes, the number never
//!   comes again);
//! * no more bytes in flight than window and credit allow, beyond the two probes of a timeout;
//! * no DATA to an address that has not proved that it receives, and at most three times its bytes of anything else;
//! * after the end only the answers to CLOSE;
//! * no timer in the past, no loop of timers that does nothing, bounded memory.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;

use columba_core::endpoint::{Endpoint, Outgoing, ServerEvent};
use columba_core::limits::{AMPLIFICATION_FACTOR, MAX_WINDOW_PACKETS};
use columba_core::packet_number::expand;
use columba_core::units::Timestamp;
use columba_core::wire::{Kind, ParsedHeader};

/// Turns within one virtual second in which no packet moved, beyond as many as there were with packets, at most for
/// each client.
const IDLE_TURNS_PER_SECOND: u64 = 400;
/// Memory of one association for packets and streams, at most: the window's records, at 128 bytes each, and slots.
const MEMORY_BYTES: usize = MAX_WINDOW_PACKETS * 160 + (1 << 20);

#[derive(Default)]
struct Watched {
    last_down: Option<u64>,
    last_up: Option<u64>,
    proven: HashSet<SocketAddr>,
    /// Bytes from and to addresses that have not proved anything.
    unproven: HashMap<SocketAddr, (u64, u64)>,
    closed: bool,
    in_flight_before: u64,
}

#[derive(Default)]
pub(crate) struct Monitor {
    watched: HashMap<u32, Watched>,
    moved: bool,
    idle_turns: u64,
    busy_turns: u64,
    second: u64,
    /// The most such turns so far.
    pub(crate) most_idle_turns: u64,
}

impl Monitor {
    pub(crate) fn before_transmit(&mut self, endpoint: &Endpoint) {
        for association in endpoint.associations() {
            let watched = self.watched.entry(association.id()).or_default();
            watched.in_flight_before = association.in_flight_bytes();
        }
    }

    pub(crate) fn server_sent(&mut self, endpoint: &Endpoint, out: &Outgoing, train: &[u8]) {
        self.moved = true;
        let first = ParsedHeader::parse(train).expect("a packet of ours");
        let watched = self.watched.entry(first.association).or_default();
        for packet in train.chunks(out.segment_bytes) {
            let header = ParsedHeader::parse(packet).expect("a packet of ours");
            assert_eq!(header.association, first.association);
            ascends(&mut watched.last_down, header.packet_number_low);
            if watched.closed {
                let answer = matches!(header.kind, Kind::Close | Kind::CloseAck);
                assert!(answer, "{:?} after the end", header.kind);
            }
        }
        if !watched.proven.contains(&out.to) {
            assert_ne!(first.kind, Kind::Data, "DATA to {} unasked", out.to);
            let (received, sent) = watched.unproven.entry(out.to).or_default();
            *sent += out.bytes as u64;
            assert!(
                *sent <= *received * AMPLIFICATION_FACTOR,
                "{sent} bytes to {} for {received}",
                out.to
            );
        }
        let association = endpoint.association(first.association).expect("it sent");
        assert!(association.memory_bytes() < MEMORY_BYTES);
        if first.kind == Kind::Data {
            let window = association.cwnd().min(association.credit());
            let probes = watched.in_flight_before + 2 * association.datagram_bytes() as u64;
            assert!(
                association.in_flight_bytes() <= window.max(probes),
                "{} bytes in flight, window {window}, {} before",
                association.in_flight_bytes(),
                watched.in_flight_before
            );
        }
    }

    pub(crate) fn server_event(&mut self, event: &ServerEvent) {
        if let ServerEvent::Closed { association, .. } = event {
            self.watched.entry(*association).or_default().closed = true;
        }
    }

    pub(crate) fn client_sent(&mut self, packet: &[u8]) {
        self.moved = true;
        let header = ParsedHeader::parse(packet).expect("a packet of ours");
        let watched = self.watched.entry(header.association).or_default();
        ascends(&mut watched.last_up, header.packet_number_low);
    }

    pub(crate) fn server_receives(&mut self, from: SocketAddr, packet: &[u8]) {
        let Ok(header) = ParsedHeader::parse(packet) else {
            return;
        };
        let watched = self.watched.entry(header.association).or_default();
        if matches!(header.kind, Kind::HandshakeAck | Kind::PathResponse) {
            watched.proven.insert(from);
        }
        watched.unproven.entry(from).or_default().0 += packet.len() as u64;
    }

    /// The largest packet number the server has used.
    pub(crate) fn last_down(&self, association: u32) -> u64 {
        self.watched[&association].last_down.expect("it has sent")
    }

    pub(crate) fn delivered(&mut self) {
        self.moved = true;
    }

    /// Everything that could move at `now` has; the earliest timer is `timer`.
    pub(crate) fn turn(&mut self, now: Timestamp, timer: Option<Timestamp>, clients: usize) {
        assert!(timer.is_none_or(|timer| timer > now), "a timer in the past");
        let second = now.as_nanos() / 1_000_000_000;
        if second != self.second {
            (self.second, self.idle_turns, self.busy_turns) = (second, 0, 0);
        }
        if std::mem::take(&mut self.moved) {
            self.busy_turns += 1;
            return;
        }
        self.idle_turns += 1;
        let beyond = self.idle_turns.saturating_sub(self.busy_turns) / clients.max(1) as u64;
        self.most_idle_turns = self.most_idle_turns.max(beyond);
        assert!(beyond < IDLE_TURNS_PER_SECOND, "timers that do nothing");
    }
}

/// Packet numbers ascend strictly; only their low half travels.
fn ascends(last: &mut Option<u64>, low: u32) {
    let number = expand(low, last.map_or(0, |last| last + 1));
    assert!(last.is_none_or(|last| number > last), "{number} again");
    *last = Some(number);
}
