//! What chance holds for a packet, drawn before anything happens to it.
//!
//! Every enabled stage draws a fixed number of values for *every* packet offered, even one that is
//! dropped before it gets there. So packet number n meets the same luck whatever else is switched on.

use crate::delay::draw_jitter;
use crate::impairments::Impairments;
use crate::loss::LossStage;
use crate::random::Random;

/// Numbers of the random streams of a link. Appending keeps earlier seeds' meaning.
#[derive(Clone, Copy)]
enum Stream {
    Loss = 1,
    Burst,
    Mark,
    Duplicate,
    Original,
    Copy,
}

/// Streams reserved for each of the two handlings.
const STREAMS_PER_HANDLING: u64 = 16;

/// The fate of one packet, as far as chance decides it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Decision {
    pub(crate) lost: bool,
    pub(crate) marked: bool,
    pub(crate) original: Handling,
    /// How the copy travels, if there is to be one.
    pub(crate) copy: Option<Handling>,
}

/// What happens to one packet, or to its copy, on the way.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Handling {
    /// Length to cut the payload to, in bytes.
    pub(crate) truncate_to: Option<usize>,
    /// Position of the bit to flip, as a share of the payload's length (after cutting).
    pub(crate) flip_at: Option<f64>,
    /// Jitter in nanoseconds, to be added to the delay.
    pub(crate) jitter_ns: i64,
    /// Whether it is held back for others to overtake.
    pub(crate) held_back: bool,
}

impl Handling {
    /// It travels as it is, in time.
    pub(crate) const UNTOUCHED: Self = Self {
        truncate_to: None,
        flip_at: None,
        jitter_ns: 0,
        held_back: false,
    };
}

impl Decision {
    /// It arrives once, as it is, in time.
    pub(crate) const UNTOUCHED: Self = Self {
        lost: false,
        marked: false,
        original: Handling::UNTOUCHED,
        copy: None,
    };
}

/// The random streams of a link and what they remember.
#[derive(Debug, Clone)]
pub(crate) struct Decider {
    loss: LossStage,
    mark: Random,
    duplicate: Random,
    original: HandlingDecider,
    copy: HandlingDecider,
}

impl Decider {
    pub(crate) fn new(seed: u64) -> Self {
        let stream = |stream: Stream| Random::stream(seed, stream as u64);
        Self {
            loss: LossStage::new(stream(Stream::Loss), stream(Stream::Burst)),
            mark: stream(Stream::Mark),
            duplicate: stream(Stream::Duplicate),
            original: HandlingDecider::new(seed, Stream::Original),
            copy: HandlingDecider::new(seed, Stream::Copy),
        }
    }

    /// Draws the fate of packet `number` (counted from 1) with a payload of `len` bytes.
    pub(crate) fn decide(
        &mut self,
        impairments: &Impairments,
        number: u64,
        len: usize,
    ) -> Decision {
        let duplicated =
            impairments.duplicate > 0.0 && self.duplicate.chance(impairments.duplicate);
        // Drawn for every packet as soon as copies are possible, so that the draws stay in step.
        let copy = (impairments.duplicate > 0.0).then(|| self.copy.decide(impairments, len));
        Decision {
            lost: self.loss.decide(impairments, number),
            marked: impairments.ecn_mark > 0.0 && self.mark.chance(impairments.ecn_mark),
            original: self.original.decide(impairments, len),
            copy: copy.filter(|_| duplicated),
        }
    }
}

/// The streams that decide how one packet, or its copy, is handled.
#[derive(Debug, Clone)]
struct HandlingDecider {
    truncate: Random,
    corrupt: Random,
    jitter: Random,
    reorder: Random,
    corrupted_in_a_row: u32,
}

impl HandlingDecider {
    fn new(seed: u64, family: Stream) -> Self {
        let stream = |offset| Random::stream(seed, family as u64 * STREAMS_PER_HANDLING + offset);
        Self {
            truncate: stream(0),
            corrupt: stream(1),
            jitter: stream(2),
            reorder: stream(3),
            corrupted_in_a_row: 0,
        }
    }

    fn decide(&mut self, impairments: &Impairments, len: usize) -> Handling {
        let reorder = impairments.reorder.unwrap_or(crate::Reorder {
            probability: 0.0,
            delay: std::time::Duration::ZERO,
        });
        Handling {
            truncate_to: self.decide_truncation(impairments.truncate, len),
            flip_at: self.decide_corruption(impairments),
            jitter_ns: draw_jitter(impairments, &mut self.jitter),
            held_back: reorder.probability > 0.0 && self.reorder.chance(reorder.probability),
        }
    }

    fn decide_truncation(&mut self, probability: f64, len: usize) -> Option<usize> {
        if probability <= 0.0 {
            return None;
        }
        let cut = self.truncate.chance(probability);
        let shorter = self.truncate.below(len as u64);
        (cut && len > 0).then(|| usize::try_from(shorter).unwrap_or(0))
    }

    fn decide_corruption(&mut self, impairments: &Impairments) -> Option<f64> {
        if impairments.corrupt <= 0.0 {
            return None;
        }
        let chosen = self.corrupt.chance(impairments.corrupt);
        let position = self.corrupt.unit();
        let capped = impairments
            .max_burst
            .is_some_and(|most| self.corrupted_in_a_row >= most);
        let corrupted = chosen && !capped;
        self.corrupted_in_a_row = if corrupted {
            self.corrupted_in_a_row.saturating_add(1)
        } else {
            0
        };
        corrupted.then_some(position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Reorder;
    use std::time::Duration;

    fn everything() -> Impairments {
        Impairments {
            loss: 0.2,
            duplicate: 0.3,
            corrupt: 0.2,
            truncate: 0.2,
            jitter: Duration::from_millis(3),
            reorder: Some(Reorder {
                probability: 0.2,
                delay: Duration::from_millis(1),
            }),
            ecn_mark: 0.1,
            ..Impairments::default()
        }
    }

    fn draw(impairments: &Impairments, seed: u64) -> Vec<Decision> {
        let mut decider = Decider::new(seed);
        (1..=2000)
            .map(|number| decider.decide(impairments, number, 100))
            .collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_decisions() {
        assert_eq!(draw(&everything(), 5), draw(&everything(), 5));
        assert_ne!(draw(&everything(), 5), draw(&everything(), 6));
    }

    #[test]
    fn switching_a_stage_off_leaves_the_others_alone() {
        let reference = draw(&everything(), 5);
        let without_loss = draw(
            &Impairments {
                loss: 0.0,
                ..everything()
            },
            5,
        );
        assert!(
            reference
                .iter()
                .zip(&without_loss)
                .all(|(with, without)| *without
                    == Decision {
                        lost: false,
                        ..*with
                    })
        );
        let without_copies = draw(
            &Impairments {
                duplicate: 0.0,
                ..everything()
            },
            5,
        );
        assert!(
            reference
                .iter()
                .zip(&without_copies)
                .all(|(with, without)| *without
                    == Decision {
                        copy: None,
                        ..*with
                    })
        );
        let without_corruption = draw(
            &Impairments {
                corrupt: 0.0,
                ..everything()
            },
            5,
        );
        assert!(
            reference
                .iter()
                .zip(&without_corruption)
                .all(|(with, without)| {
                    let original = Handling {
                        flip_at: None,
                        ..with.original
                    };
                    without.original == original && without.lost == with.lost
                })
        );
    }

    #[test]
    fn corruption_in_a_row_can_be_capped() {
        let impairments = Impairments {
            corrupt: 0.8,
            max_burst: Some(2),
            ..Impairments::default()
        };
        let decisions = draw(&impairments, 1);
        let longest = decisions
            .split(|decision| decision.original.flip_at.is_none())
            .map(<[Decision]>::len)
            .max();
        assert_eq!(longest, Some(2));
    }

    #[test]
    fn an_empty_packet_is_never_cut() {
        let impairments = Impairments {
            truncate: 1.0,
            ..Impairments::default()
        };
        let decision = Decider::new(1).decide(&impairments, 1, 0);
        assert_eq!(decision.original.truncate_to, None);
    }
}
