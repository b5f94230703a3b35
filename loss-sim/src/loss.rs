//! Which packets are lost: by number, in bursts, by chance.

use crate::impairments::{BurstLoss, Impairments};
use crate::random::Random;

/// The Gilbert–Elliott chain's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Channel {
    Good,
    Bad,
}

/// Decides for one packet after another whether it is lost. Each mechanism has its own random stream
/// and draws the same number of times for every packet, so that none shifts another's decisions.
#[derive(Debug, Clone)]
pub(crate) struct LossStage {
    independent: Random,
    burst: Random,
    channel: Channel,
    lost_in_a_row: u32,
}

impl LossStage {
    pub(crate) fn new(independent: Random, burst: Random) -> Self {
        Self {
            independent,
            burst,
            channel: Channel::Good,
            lost_in_a_row: 0,
        }
    }

    /// Whether packet `number` (counted from 1) is lost.
    pub(crate) fn decide(&mut self, impairments: &Impairments, number: u64) -> bool {
        let by_chance = impairments.loss > 0.0 && self.independent.chance(impairments.loss);
        let in_burst = impairments
            .burst_loss
            .is_some_and(|model| self.step_channel(&model));
        let by_number = impairments.drop_nth.iter().any(|rule| rule.matches(number));
        let capped = impairments
            .max_burst
            .is_some_and(|most| self.lost_in_a_row >= most);
        let lost = by_number || ((by_chance || in_burst) && !capped);
        self.lost_in_a_row = if lost {
            self.lost_in_a_row.saturating_add(1)
        } else {
            0
        };
        lost
    }

    /// Judges a packet by the current state, then lets the state change.
    fn step_channel(&mut self, model: &BurstLoss) -> bool {
        let (loss, change, other) = match self.channel {
            Channel::Good => (model.loss_in_good, model.good_to_bad, Channel::Bad),
            Channel::Bad => (model.loss_in_bad, model.bad_to_good, Channel::Good),
        };
        let lost = self.burst.chance(loss);
        if self.burst.chance(change) {
            self.channel = other;
        }
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::impairments::DropRule;

    const SEED: u64 = 42;

    fn decisions(impairments: &Impairments, count: u64) -> Vec<bool> {
        let mut stage = LossStage::new(Random::stream(SEED, 1), Random::stream(SEED, 2));
        (1..=count)
            .map(|number| stage.decide(impairments, number))
            .collect()
    }

    fn count(decisions: &[bool]) -> usize {
        decisions.iter().filter(|lost| **lost).count()
    }

    /// Lengths of the runs of consecutive losses.
    fn bursts(decisions: &[bool]) -> Vec<usize> {
        decisions
            .split(|lost| !lost)
            .map(<[bool]>::len)
            .filter(|length| *length > 0)
            .collect()
    }

    #[test]
    fn independent_loss_is_within_binomial_bounds() {
        const COUNT: f64 = 100_000.0;
        for probability in [0.01, 0.1, 0.5, 0.9] {
            let impairments = Impairments {
                loss: probability,
                ..Impairments::default()
            };
            let lost = count(&decisions(&impairments, 100_000)) as f64;
            let deviation = (COUNT * probability * (1.0 - probability)).sqrt();
            assert!(
                (lost - COUNT * probability).abs() < 4.0 * deviation,
                "{lost} lost at {probability}, seed {SEED}"
            );
        }
    }

    #[test]
    fn bursts_have_the_length_and_share_of_the_model() {
        let impairments = Impairments {
            burst_loss: Some(BurstLoss::gilbert(0.01, 0.25)),
            ..Impairments::default()
        };
        let decisions = decisions(&impairments, 400_000);
        let bursts = bursts(&decisions);
        let mean = bursts.iter().sum::<usize>() as f64 / bursts.len() as f64;
        assert!((mean - 4.0).abs() < 0.2, "mean burst {mean}, seed {SEED}");
        let share = count(&decisions) as f64 / decisions.len() as f64;
        let expected = 0.01 / 0.26;
        assert!(
            (share - expected).abs() < 0.003,
            "share {share}, seed {SEED}"
        );
    }

    #[test]
    fn loss_within_states_follows_the_model() {
        let impairments = Impairments {
            burst_loss: Some(BurstLoss {
                good_to_bad: 0.1,
                bad_to_good: 0.1,
                loss_in_bad: 0.6,
                loss_in_good: 0.2,
            }),
            ..Impairments::default()
        };
        let share = count(&decisions(&impairments, 200_000)) as f64 / 200_000.0;
        assert!((share - 0.4).abs() < 0.01, "share {share}, seed {SEED}");
    }

    #[test]
    fn packets_are_dropped_by_number() {
        let impairments = Impairments {
            drop_nth: vec![
                DropRule::Numbers(1..=1),
                DropRule::Numbers(3..=4),
                DropRule::Every(5),
            ],
            ..Impairments::default()
        };
        let lost: Vec<u64> = (1..)
            .zip(decisions(&impairments, 12))
            .filter_map(|(number, lost)| lost.then_some(number))
            .collect();
        assert_eq!(lost, [1, 3, 4, 5, 10]);
    }

    #[test]
    fn bursts_can_be_capped() {
        let impairments = Impairments {
            loss: 0.7,
            max_burst: Some(3),
            ..Impairments::default()
        };
        let bursts = bursts(&decisions(&impairments, 10_000));
        assert_eq!(bursts.iter().max(), Some(&3));
    }

    #[test]
    fn adding_bursts_does_not_change_independent_decisions() {
        let alone = Impairments {
            loss: 0.1,
            ..Impairments::default()
        };
        let both = Impairments {
            burst_loss: Some(BurstLoss::gilbert(0.05, 0.5)),
            ..alone.clone()
        };
        let (alone, both) = (decisions(&alone, 5000), decisions(&both, 5000));
        assert!(alone.iter().zip(&both).all(|(alone, both)| !alone || *both));
        assert!(count(&both) > count(&alone));
    }
}
