//! Compares what was received with what the sender says it sent, segment by segment.

use super::verify::root_of;
use super::{ChainingValue, segment_count};

/// Values of one file, from both sides.
#[derive(Debug)]
pub struct Verdict {
    size_bytes: u64,
    received: Vec<Option<ChainingValue>>,
    sent: Vec<Option<ChainingValue>>,
    /// How often a segment did not match.
    mismatches: Vec<u8>,
    verified: u32,
    /// All segments before this one are verified.
    prefix: u32,
}

/// The outcome for one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged {
    /// One of the two values is still to come.
    Waiting,
    /// They agree.
    Verified,
    /// They differ for the first time: fetch the segment again.
    Bad,
    /// They differ once more: the source or the disk is at fault.
    BadAgain,
}

impl Verdict {
    /// Nothing is known yet but the values of segments an earlier run left.
    #[must_use]
    pub fn new(size_bytes: u64, have: &[(u32, ChainingValue)]) -> Self {
        let count = segment_count(size_bytes).unwrap_or(u32::MAX) as usize;
        let mut verdict = Self {
            size_bytes,
            received: vec![None; count],
            sent: vec![None; count],
            mismatches: vec![0; count],
            verified: 0,
            prefix: 0,
        };
        for (index, value) in have {
            if let Some(place) = verdict.received.get_mut(*index as usize) {
                *place = Some(*value);
            }
        }
        verdict
    }

    /// Of a file that is not judged by segments, or not yet: takes no memory, and knows nothing.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            size_bytes: 0,
            received: Vec::new(),
            sent: Vec::new(),
            mismatches: Vec::new(),
            verified: 0,
            prefix: 0,
        }
    }

    /// The segment arrived and hashes to `value`.
    pub fn received(&mut self, index: u32, value: ChainingValue) -> Judged {
        let Some(place) = self.received.get_mut(index as usize) else {
            return Judged::Waiting;
        };
        *place = Some(value);
        self.judge(index)
    }

    /// The sender's value of the segment is `value`.
    pub fn sent(&mut self, index: u32, value: ChainingValue) -> Judged {
        let at = index as usize;
        let Some(place) = self.sent.get_mut(at) else {
            return Judged::Waiting;
        };
        let before = place.replace(value);
        if before == Some(value) {
            return Judged::Waiting;
        }
        if before.is_some() && before == self.received[at] {
            // It was verified against a value that the sender no longer stands by.
            self.verified -= 1;
            self.prefix = self.prefix.min(index);
        }
        self.judge(index)
    }

    fn judge(&mut self, index: u32) -> Judged {
        let at = index as usize;
        let (Some(received), Some(sent)) = (self.received[at], self.sent[at]) else {
            return Judged::Waiting;
        };
        if received == sent {
            self.verified += 1;
            while self.is_verified(self.prefix) {
                self.prefix += 1;
            }
            return Judged::Verified;
        }
        self.received[at] = None;
        // The value itself may be what was damaged: it comes again with the segment.
        self.sent[at] = None;
        self.mismatches[at] = self.mismatches[at].saturating_add(1);
        if self.mismatches[at] > 1 {
            Judged::BadAgain
        } else {
            Judged::Bad
        }
    }

    fn is_verified(&self, index: u32) -> bool {
        let at = index as usize;
        matches!((self.received.get(at), self.sent.get(at)),
            (Some(Some(received)), Some(Some(sent))) if received == sent)
    }

    /// Number of verified segments from the file's beginning on.
    #[must_use]
    pub const fn verified_prefix(&self) -> u32 {
        self.prefix
    }

    /// Segments that are here, whether the sender's value is or not: what a resume may use.
    pub fn complete(&self) -> impl Iterator<Item = (u32, ChainingValue)> + '_ {
        (0u32..)
            .zip(&self.received)
            .filter_map(|(index, value)| Some((index, (*value)?)))
    }

    /// How many segments are here.
    #[must_use]
    pub fn complete_count(&self) -> usize {
        self.received.iter().flatten().count()
    }

    /// The root hash once every segment is verified.
    #[must_use]
    pub fn root(&self) -> Option<ChainingValue> {
        if self.verified as usize != self.received.len() {
            return None;
        }
        let values: Option<Vec<_>> = self.received.iter().copied().collect();
        values.map(|values| root_of(&values, self.size_bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THREE: u64 = 3 << 20;

    #[test]
    fn values_may_come_in_any_order_from_either_side() {
        let mut verdict = Verdict::new(THREE, &[]);
        assert_eq!(verdict.sent(2, [2; 32]), Judged::Waiting);
        assert_eq!(verdict.received(2, [2; 32]), Judged::Verified);
        assert_eq!(verdict.verified_prefix(), 0);
        assert_eq!(verdict.received(0, [0; 32]), Judged::Waiting);
        assert_eq!(verdict.sent(0, [0; 32]), Judged::Verified);
        assert_eq!(verdict.verified_prefix(), 1);
        assert_eq!(verdict.root(), None);
        assert_eq!(verdict.sent(1, [1; 32]), Judged::Waiting);
        assert_eq!(verdict.received(1, [1; 32]), Judged::Verified);
        assert_eq!(verdict.verified_prefix(), 3);
        assert_eq!(
            verdict.root(),
            Some(root_of(&[[0; 32], [1; 32], [2; 32]], THREE))
        );
    }

    #[test]
    fn a_bad_segment_is_bad_once_and_then_fatal() {
        let mut verdict = Verdict::new(THREE, &[(1, [9; 32])]);
        assert_eq!(verdict.sent(1, [1; 32]), Judged::Bad);
        assert_eq!(verdict.complete_count(), 0);
        assert_eq!(verdict.sent(1, [1; 32]), Judged::Waiting);
        assert_eq!(verdict.received(1, [8; 32]), Judged::BadAgain);
    }

    #[test]
    fn a_trailer_that_changed_takes_the_verdict_back() {
        let mut verdict = Verdict::new(THREE, &[(0, [0; 32])]);
        assert_eq!(verdict.sent(0, [0; 32]), Judged::Verified);
        assert_eq!(verdict.sent(0, [0; 32]), Judged::Waiting);
        assert_eq!(verdict.verified_prefix(), 1);
        assert_eq!(verdict.sent(0, [5; 32]), Judged::Bad);
        assert_eq!(verdict.verified_prefix(), 0);
    }

    #[test]
    fn indices_beyond_the_file_are_ignored() {
        let mut verdict = Verdict::new(10, &[(7, [0; 32])]);
        assert_eq!(verdict.sent(1, [0; 32]), Judged::Waiting);
        assert_eq!(verdict.received(1, [0; 32]), Judged::Waiting);
    }
}
