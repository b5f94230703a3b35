//! Finding the largest datagram the path carries (DPLPMTUD, RFC 8899).
//!
//! The search climbs a ladder of sizes, one probe at a time, three attempts each. Probes are extra
//! packets whose loss is no sign of congestion. A size that worked and stops working (a black
//! hole) is noticed by losses of large packets only, and leads back to the base size.

use crate::units::Timestamp;
use std::time::Duration;

/// Most rungs a ladder may have.
pub const MAX_RUNGS: usize = 8;

/// Probes of one size before it is given up (`MAX_PROBES`, RFC 8899, section 5.1.2).
pub const MAX_PROBES: u32 = 3;

/// Time until a larger size is tried again (`PMTU_RAISE_TIMER`, section 5.1.1).
pub const RAISE_INTERVAL: Duration = Duration::from_secs(600);

/// Large packets lost in a row before a black hole is suspected.
const BLACK_HOLE_LOSSES: u32 = 3;

/// Probe timeouts in a row after which the base size is the better guess.
const BLACK_HOLE_PTOS: u32 = 3;

/// A probe whose fate was never reported counts as lost after this many round trips and a second
/// (`PROBE_TIMER`, section 5.1.1, asks for at least a second).
const PROBE_TIMEOUT_ROUND_TRIPS: u32 = 4;
const PROBE_TIMEOUT_FLOOR: Duration = Duration::from_secs(1);

/// Losses since the last acknowledged packet of at least that size.
#[derive(Clone, Copy, Debug)]
struct Suspicion {
    since: Timestamp,
    smallest_lost: usize,
    losses: u32,
    smaller_acked: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Search {
    /// A probe of the next rung may leave.
    Ready { attempts: u32 },
    /// One is on its way.
    Waiting { attempts: u32, until: Timestamp },
    /// The next rung doesn't work, or there is none.
    Complete { again: Timestamp },
}

/// The datagram sizes in use and searched for, in bytes of UDP payload.
#[derive(Clone, Debug)]
pub struct Mtu {
    ladder: [usize; MAX_RUNGS],
    rungs: usize,
    current: usize,
    search: Search,
    suspicion: Option<Suspicion>,
}

impl Mtu {
    /// Starts at the lowest rung of `ladder`, which must be ascending; rungs above `max` and beyond
    /// [`MAX_RUNGS`] are left out, the lowest is always kept.
    #[must_use]
    pub fn new(ladder: &[usize], max: usize) -> Self {
        debug_assert!(ladder.is_sorted(), "{ladder:?}");
        let mut rungs = [0; MAX_RUNGS];
        let mut count = 0;
        for size in ladder.iter().take(MAX_RUNGS) {
            if count == 0 || *size <= max {
                rungs[count] = *size;
                count += 1;
            }
        }
        Self {
            ladder: rungs,
            rungs: count.max(1),
            current: 0,
            search: Search::Ready { attempts: 0 },
            suspicion: None,
        }
    }

    /// The sizes on the ladder, smallest first.
    #[must_use]
    pub fn sizes(&self) -> &[usize] {
        &self.ladder[..self.rungs]
    }

    /// The size known to work.
    #[must_use]
    pub const fn current(&self) -> usize {
        self.ladder[self.current]
    }

    /// The size every path is taken to carry; use it for packets that must get through.
    #[must_use]
    pub const fn base(&self) -> usize {
        self.ladder[0]
    }

    /// Whether nothing larger is being tried at present.
    #[must_use]
    pub const fn is_search_complete(&self) -> bool {
        matches!(self.search, Search::Complete { .. })
    }

    /// The size of a probe to send now. The sender reports its fate with
    /// [`on_probe_acked`](Self::on_probe_acked), [`on_probe_lost`](Self::on_probe_lost) or
    /// [`on_packet_too_large`](Self::on_packet_too_large).
    pub fn poll_probe(&mut self, now: Timestamp, rtt: Duration) -> Option<usize> {
        match self.search {
            Search::Waiting { until, .. } if now >= until => {
                let size = self.ladder[self.current + 1];
                self.on_probe_lost(size, now);
            }
            Search::Complete { again } if now >= again => {
                self.search = Search::Ready { attempts: 0 };
            }
            Search::Waiting { .. } | Search::Complete { .. } | Search::Ready { .. } => {}
        }
        let Search::Ready { attempts } = self.search else {
            return None;
        };
        if self.current + 1 >= self.rungs {
            self.complete(now);
            return None;
        }
        self.search = Search::Waiting {
            attempts: attempts + 1,
            until: now + PROBE_TIMEOUT_FLOOR + rtt * PROBE_TIMEOUT_ROUND_TRIPS,
        };
        Some(self.ladder[self.current + 1])
    }

    /// A probe of `size` arrived: the path carries it. Returns true if that raised the size.
    pub fn on_probe_acked(&mut self, size: usize) -> bool {
        let reached = self.rung_of(size);
        if reached <= self.current {
            return false;
        }
        self.current = reached;
        self.search = Search::Ready { attempts: 0 };
        self.suspicion = None;
        true
    }

    /// A probe of `size` was lost.
    pub fn on_probe_lost(&mut self, size: usize, now: Timestamp) {
        let Search::Waiting { attempts, .. } = self.search else {
            return;
        };
        if self.current + 1 >= self.rungs || self.ladder[self.current + 1] != size {
            return;
        }
        if attempts >= MAX_PROBES {
            self.complete(now);
        } else {
            self.search = Search::Ready { attempts };
        }
    }

    /// The socket refused a datagram of `size` (EMSGSIZE). Returns true if that lowered the size.
    ///
    /// Larger ones are not tried again before [`RAISE_INTERVAL`].
    pub fn on_packet_too_large(&mut self, size: usize, now: Timestamp) -> bool {
        let fitting = self.ladder[..self.rungs]
            .iter()
            .rposition(|rung| *rung < size)
            .unwrap_or(0);
        if fitting <= self.current {
            self.complete(now);
        }
        let lowered = fitting < self.current;
        self.current = self.current.min(fitting);
        lowered
    }

    /// A packet of `size`, probe or not, was acknowledged.
    pub fn on_acked(&mut self, size: usize) {
        if let Some(suspicion) = &mut self.suspicion {
            if size >= suspicion.smallest_lost {
                self.suspicion = None;
            } else {
                suspicion.smaller_acked = true;
            }
        }
    }

    /// A packet of `size` that was no probe was lost. Returns true if the path turned out to be a
    /// black hole for it, so that the size fell to the base.
    ///
    /// That takes several losses in a row over at least two round trips, while smaller packets
    /// arrive: congestion spares no size.
    pub fn on_lost(&mut self, size: usize, now: Timestamp, rtt: Duration) -> bool {
        if size <= self.base() || self.current == 0 {
            return false;
        }
        let suspicion = self.suspicion.get_or_insert(Suspicion {
            since: now,
            smallest_lost: size,
            losses: 0,
            smaller_acked: false,
        });
        suspicion.losses = suspicion.losses.saturating_add(1);
        suspicion.smallest_lost = suspicion.smallest_lost.min(size);
        let proven = suspicion.losses >= BLACK_HOLE_LOSSES
            && suspicion.smaller_acked
            && now - suspicion.since >= rtt * 2;
        if proven {
            self.fall_to_base();
        }
        proven
    }

    /// The probe timeout fired `count` times in a row without any acknowledgement. Returns true if
    /// the size fell to the base.
    pub fn on_pto(&mut self, count: u32) -> bool {
        let falls = count >= BLACK_HOLE_PTOS && self.current > 0;
        if falls {
            self.fall_to_base();
        }
        falls
    }

    /// Another path: everything begins anew at the base.
    pub fn reset(&mut self) {
        self.fall_to_base();
    }

    fn fall_to_base(&mut self) {
        self.current = 0;
        self.search = Search::Ready { attempts: 0 };
        self.suspicion = None;
    }

    fn complete(&mut self, now: Timestamp) {
        self.search = Search::Complete {
            again: now + RAISE_INTERVAL,
        };
    }

    /// The highest rung not above `size`.
    fn rung_of(&self, size: usize) -> usize {
        self.ladder[..self.rungs]
            .iter()
            .rposition(|rung| *rung <= size)
            .unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LADDER: [usize; 6] = [320, 896, 1_184, 1_472, 8_960, 65_407];
    const RTT: Duration = Duration::from_millis(50);

    fn at(ms: u64) -> Timestamp {
        Timestamp(ms * 1_000_000)
    }

    /// Searches on a path that carries `path` bytes; returns how many probes that took.
    fn search(mtu: &mut Mtu, path: usize, now: Timestamp) -> u32 {
        let mut probes = 0;
        while let Some(size) = mtu.poll_probe(now, RTT) {
            probes += 1;
            if size <= path {
                assert!(mtu.on_probe_acked(size));
            } else {
                mtu.on_probe_lost(size, now);
            }
        }
        assert!(mtu.is_search_complete());
        probes
    }

    #[test]
    fn climbs_to_what_the_path_carries() {
        for (path, expected, probes) in [
            (1_472, 1_472, 6),
            (1_400, 1_184, 5),
            (65_507, 65_407, 5),
            (100, 320, 3),
        ] {
            let mut mtu = Mtu::new(&LADDER, usize::MAX);
            assert_eq!(mtu.current(), 320);
            assert_eq!(search(&mut mtu, path, at(0)), probes);
            assert_eq!(mtu.current(), expected);
        }
    }

    #[test]
    fn respects_the_maximum() {
        let mut mtu = Mtu::new(&LADDER, 1_200);
        assert_eq!(search(&mut mtu, usize::MAX, at(0)), 2);
        assert_eq!(mtu.current(), 1_184);
        assert_eq!(Mtu::new(&LADDER, 0).current(), 320);
    }

    #[test]
    fn one_probe_at_a_time_and_silence_counts_as_loss() {
        let mut mtu = Mtu::new(&LADDER, usize::MAX);
        assert_eq!(mtu.poll_probe(at(0), RTT), Some(896));
        assert_eq!(mtu.poll_probe(at(1_199), RTT), None);
        assert_eq!(mtu.poll_probe(at(1_200), RTT), Some(896));
        assert_eq!(mtu.poll_probe(at(2_400), RTT), Some(896));
        assert_eq!(mtu.poll_probe(at(3_600), RTT), None);
        assert!(mtu.is_search_complete());
    }

    #[test]
    fn searches_again_after_ten_minutes() {
        let mut mtu = Mtu::new(&LADDER, usize::MAX);
        search(&mut mtu, 1_472, at(0));
        assert_eq!(mtu.poll_probe(at(599_999), RTT), None);
        assert_eq!(search(&mut mtu, 9_000, at(600_000)), 4);
        assert_eq!(mtu.current(), 8_960);
    }

    #[test]
    fn a_late_acknowledgement_of_a_probe_still_counts() {
        let mut mtu = Mtu::new(&LADDER, usize::MAX);
        search(&mut mtu, 320, at(0));
        assert!(mtu.on_probe_acked(896));
        assert!(!mtu.on_probe_acked(896));
        assert_eq!(mtu.poll_probe(at(1), RTT), Some(1_184));
    }

    #[test]
    fn a_refusing_socket_ends_the_search_below() {
        let mut mtu = Mtu::new(&LADDER, usize::MAX);
        mtu.on_probe_acked(1_472);
        assert_eq!(mtu.poll_probe(at(0), RTT), Some(8_960));
        assert!(!mtu.on_packet_too_large(8_960, at(0)));
        assert_eq!(mtu.poll_probe(at(1), RTT), None);
        assert_eq!(mtu.current(), 1_472);
        assert!(mtu.on_packet_too_large(1_472, at(2)));
        assert_eq!(mtu.current(), 1_184);
    }

    fn at_full_size() -> Mtu {
        let mut mtu = Mtu::new(&LADDER, 1_472);
        search(&mut mtu, 1_472, at(0));
        mtu
    }

    #[test]
    fn one_lost_round_trip_is_no_black_hole() {
        let mut mtu = at_full_size();
        for packet in 0..100 {
            assert!(!mtu.on_lost(1_472, at(1_000 + packet / 4), RTT));
        }
        mtu.on_acked(320);
        mtu.on_acked(1_472);
        assert!(!mtu.on_lost(1_472, at(1_200), RTT));
        assert_eq!(mtu.current(), 1_472);
    }

    #[test]
    fn large_losses_while_small_packets_pass_are_a_black_hole() {
        let mut mtu = at_full_size();
        assert!(!mtu.on_lost(1_472, at(1_000), RTT));
        mtu.on_acked(320);
        assert!(!mtu.on_lost(1_472, at(1_050), RTT));
        assert!(mtu.on_lost(1_472, at(1_100), RTT));
        assert_eq!(mtu.current(), 320);
        search(&mut mtu, 1_200, at(1_100));
        assert_eq!(mtu.current(), 1_184);
    }

    #[test]
    fn losing_every_size_is_not_the_sizes_fault() {
        let mut mtu = at_full_size();
        for round in 0..50 {
            assert!(!mtu.on_lost(1_472, at(1_000 + round * 50), RTT));
            assert!(!mtu.on_lost(320, at(1_000 + round * 50), RTT));
        }
        assert_eq!(mtu.current(), 1_472);
    }

    #[test]
    fn three_probe_timeouts_lead_to_the_base() {
        let mut mtu = at_full_size();
        assert!(!mtu.on_pto(1));
        assert!(!mtu.on_pto(2));
        assert!(mtu.on_pto(3));
        assert_eq!(mtu.current(), 320);
        assert!(!mtu.on_pto(4));
    }

    #[test]
    fn a_new_path_begins_at_the_base() {
        let mut mtu = at_full_size();
        mtu.reset();
        assert_eq!((mtu.current(), mtu.base()), (320, 320));
        assert_eq!(mtu.poll_probe(at(0), RTT), Some(896));
    }
}
