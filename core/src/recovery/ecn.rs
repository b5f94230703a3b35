//! ECN on one path, believed only as long as its reports add up (RFC 9000, section 13.4.2 and appendix A.4).
//!
//! The first packets are sent as ECT(0), then none until an acknowledgement shows that the codepoint arrives. From then on
//! every train is marked. Each report must account for all marked packets acknowledged so far: fewer means that a router
//! on the path clears or rewrites the field. All of the first packets lost, or all of them marked Congestion Experienced,
//! means that the path can't be told apart from a broken one. In each of these cases the path goes on without ECN.
//!
//! Packet numbers ascend, so which packets were marked is two ranges of them, and costs nothing per packet.

use std::ops::Range;

use crate::units::Ecn;

/// Packets that test the path (appendix A.4).
const TEST_PACKETS: u64 = 10;

/// Where the validation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EcnState {
    /// The first packets are sent as ECT(0).
    Testing,
    /// They are on their way; meanwhile nothing is marked.
    Unknown,
    /// The codepoint arrives: everything that is acknowledged goes out as ECT(0).
    Capable,
    /// It doesn't, or what is reported can't be true.
    Failed,
}

/// What an ACK says about packets received since the association began, modulo 2³².
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EcnCounts {
    /// Packets that arrived as ECT(0).
    pub ect0: u32,
    /// Packets that arrived as CE.
    pub ce: u32,
}

/// See the [module](self).
#[derive(Debug, Clone)]
pub struct EcnPath {
    state: EcnState,
    /// Numbers of the packets that test the path, and of those sent since it is capable.
    tested: Range<u64>,
    capable: Range<u64>,
    /// Packets sent as ECT(0), ever.
    sent: u64,
    /// Tested packets sent, and those of them that were lost.
    test_sent: u64,
    test_lost: u64,
    /// Marked packets acknowledged since the test began.
    acked: u64,
    /// The newest report, the sums of all of them, and those since the test began.
    last: EcnCounts,
    reported: u64,
    ect0: u64,
    ce: u64,
    /// Marks that were passed on.
    passed_on: u64,
}

impl Default for EcnPath {
    fn default() -> Self {
        Self {
            state: EcnState::Testing,
            tested: 0..0,
            capable: 0..0,
            sent: 0,
            test_sent: 0,
            test_lost: 0,
            acked: 0,
            last: EcnCounts::default(),
            reported: 0,
            ect0: 0,
            ce: 0,
            passed_on: 0,
        }
    }
}

impl EcnPath {
    /// Where the validation stands.
    #[must_use]
    pub const fn state(&self) -> EcnState {
        self.state
    }

    /// What the next train of DATA is sent as.
    #[must_use]
    pub const fn codepoint(&self) -> Ecn {
        match self.state {
            EcnState::Testing | EcnState::Capable => Ecn::Ect0,
            EcnState::Unknown | EcnState::Failed => Ecn::NotEct,
        }
    }

    /// A train of `packets` whose numbers lie in `numbers` was sent as [`Self::codepoint`] says.
    pub fn on_sent(&mut self, numbers: &Range<u64>, packets: u64) {
        match self.state {
            EcnState::Testing => {
                if self.tested.is_empty() {
                    self.tested.start = numbers.start;
                }
                self.tested.end = numbers.end;
                self.test_sent += packets;
                if self.test_sent >= TEST_PACKETS {
                    self.state = EcnState::Unknown;
                }
            }
            EcnState::Capable => {
                if self.capable.is_empty() {
                    self.capable.start = numbers.start;
                }
                self.capable.end = numbers.end;
            }
            EcnState::Unknown | EcnState::Failed => return,
        }
        self.sent += packets;
    }

    /// Whether the DATA packet `number` was sent as ECT(0).
    #[must_use]
    pub fn is_marked(&self, number: u64) -> bool {
        self.capable.contains(&number) || self.tested.contains(&number)
    }

    /// The DATA packet `number` was declared lost.
    pub fn on_lost(&mut self, number: u64) {
        if !self.tested.contains(&number) {
            return;
        }
        self.test_lost += 1;
        let testing = matches!(self.state, EcnState::Testing | EcnState::Unknown);
        if testing && self.acked == 0 && self.test_lost >= self.test_sent {
            self.state = EcnState::Failed;
        }
    }

    /// Nothing has been acknowledged for a retransmission timeout: packets that leave now must not be lost to the test.
    pub fn on_timeout(&mut self) {
        if self.state == EcnState::Testing && self.test_sent > 0 {
            self.state = EcnState::Unknown;
        }
    }

    /// Nothing has been acknowledged for several timeouts: the path may have begun to drop marked packets.
    pub fn on_silence(&mut self) {
        if self.state == EcnState::Capable {
            self.restart();
        }
    }

    /// Marked packets were acknowledged, by whatever ACK.
    pub fn on_acked(&mut self, marked: u32) {
        self.acked += u64::from(marked);
    }

    /// Judges the counts of the newest ACK, after all of its packets were reported. Returns how many packets met
    /// congestion that have not been told before.
    pub fn on_counts(&mut self, counts: EcnCounts) -> u32 {
        let ect0 = counts.ect0.wrapping_sub(self.last.ect0);
        let ce = counts.ce.wrapping_sub(self.last.ce);
        self.last = counts;
        if self.state == EcnState::Failed {
            return 0;
        }
        // A count that falls looks like one that rises by almost 2³².
        let news = u64::from(ect0) + u64::from(ce);
        let missing = self.ect0 + self.ce + news < self.acked;
        let invented = self.reported + news > self.sent;
        let all_marked = self.ect0 + u64::from(ect0) == 0 && self.acked >= TEST_PACKETS;
        if missing || invented || all_marked {
            self.state = EcnState::Failed;
            return 0;
        }
        self.ect0 += u64::from(ect0);
        self.ce += u64::from(ce);
        self.reported += news;
        if self.acked > 0 && self.state != EcnState::Capable {
            self.state = EcnState::Capable;
        }
        self.take_marks()
    }

    /// As long as every packet is marked, that may be the path's doing, and not a queue's.
    fn take_marks(&mut self) -> u32 {
        if self.ect0 == 0 {
            return 0;
        }
        let marks = self.ce - self.passed_on;
        self.passed_on = self.ce;
        u32::try_from(marks).unwrap_or(u32::MAX)
    }

    /// Another path, or one that nothing passed for long: the test begins anew.
    pub fn restart(&mut self) {
        *self = Self {
            sent: self.sent,
            last: self.last,
            reported: self.reported,
            ..Self::default()
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(ect0: u32, ce: u32) -> EcnCounts {
        EcnCounts { ect0, ce }
    }

    /// Ten packets of the test are on their way.
    fn tested() -> EcnPath {
        let mut path = EcnPath::default();
        path.on_sent(&(5..15), 10);
        path
    }

    /// And their codepoint has arrived.
    fn capable() -> EcnPath {
        let mut path = tested();
        path.on_acked(10);
        assert_eq!(path.on_counts(counts(10, 0)), 0);
        assert_eq!(path.state(), EcnState::Capable);
        path
    }

    #[test]
    fn ten_packets_test_the_path_and_then_none_until_they_are_acknowledged() {
        let mut path = EcnPath::default();
        assert_eq!(path.codepoint(), Ecn::Ect0);
        path.on_sent(&(5..9), 4);
        assert_eq!(path.codepoint(), Ecn::Ect0);
        path.on_sent(&(10..16), 6);
        assert_eq!(
            (path.codepoint(), path.state()),
            (Ecn::NotEct, EcnState::Unknown)
        );
        assert!(
            path.is_marked(5) && path.is_marked(15) && !path.is_marked(16) && !path.is_marked(4)
        );
        path.on_sent(&(16..20), 4);
        path.on_acked(2);
        assert_eq!(path.on_counts(counts(2, 0)), 0);
        assert_eq!(path.codepoint(), Ecn::Ect0);
        path.on_sent(&(20..30), 10);
        assert!(!path.is_marked(16) && path.is_marked(20) && path.is_marked(29));
    }

    #[test]
    fn marks_are_told_once() {
        let mut path = capable();
        path.on_sent(&(20..40), 20);
        path.on_acked(10);
        assert_eq!(path.on_counts(counts(18, 2)), 2);
        assert_eq!(path.on_counts(counts(18, 2)), 0);
        path.on_acked(10);
        assert_eq!(path.on_counts(counts(27, 3)), 1);
        assert_eq!(path.state(), EcnState::Capable);
    }

    #[test]
    fn what_is_missing_from_the_counts_ends_it() {
        let mut path = capable();
        path.on_sent(&(20..40), 20);
        path.on_acked(10);
        path.on_counts(counts(19, 0));
        assert_eq!(
            (path.state(), path.codepoint()),
            (EcnState::Failed, Ecn::NotEct)
        );
        let mut bleached = tested();
        bleached.on_acked(1);
        bleached.on_counts(counts(0, 0));
        assert_eq!(bleached.state(), EcnState::Failed);
    }

    #[test]
    fn counts_beyond_what_was_sent_or_that_fall_end_it() {
        let mut path = capable();
        path.on_counts(counts(11, 0));
        assert_eq!(path.state(), EcnState::Failed);
        let mut path = capable();
        path.on_counts(counts(9, 0));
        assert_eq!(path.state(), EcnState::Failed);
    }

    #[test]
    fn a_path_that_marks_everything_is_told_nothing_and_given_up() {
        let mut path = tested();
        path.on_acked(4);
        assert_eq!(path.on_counts(counts(0, 4)), 0);
        assert_eq!(path.state(), EcnState::Capable);
        path.on_acked(6);
        assert_eq!(path.on_counts(counts(0, 10)), 0);
        assert_eq!(path.state(), EcnState::Failed);
        // Where one arrives unmarked, the marks before it count.
        let mut path = tested();
        path.on_acked(4);
        assert_eq!(path.on_counts(counts(0, 4)), 0);
        path.on_acked(6);
        assert_eq!(path.on_counts(counts(6, 4)), 4);
    }

    #[test]
    fn a_test_that_is_lost_as_a_whole_ends_it() {
        let mut path = tested();
        for number in 4..15 {
            assert_ne!(path.state(), EcnState::Failed);
            path.on_lost(number);
        }
        assert_eq!(path.state(), EcnState::Failed);
        let mut few = EcnPath::default();
        few.on_sent(&(0..2), 2);
        few.on_timeout();
        assert_eq!(few.codepoint(), Ecn::NotEct);
        few.on_lost(0);
        few.on_lost(1);
        assert_eq!(few.state(), EcnState::Failed);
    }

    #[test]
    fn another_path_is_tested_anew_and_counts_go_on() {
        let mut path = capable();
        path.on_acked(1);
        path.on_counts(counts(9, 0));
        assert_eq!(path.state(), EcnState::Failed);
        path.restart();
        assert_eq!(path.codepoint(), Ecn::Ect0);
        assert!(!path.is_marked(5));
        path.on_sent(&(50..60), 10);
        path.on_acked(10);
        assert_eq!(path.on_counts(counts(18, 1)), 1);
        assert_eq!(path.state(), EcnState::Capable);
    }

    #[test]
    fn counts_go_on_beyond_their_32_bits() {
        let mut path = EcnPath {
            last: counts(u32::MAX - 4, u32::MAX),
            ..EcnPath::default()
        };
        path.on_sent(&(0..12), 12);
        path.on_acked(12);
        assert_eq!(path.on_counts(counts(5, 1)), 2);
        assert_eq!(path.state(), EcnState::Capable);
    }
}
