//! HyStart++ (RFC 9406): leaving slow start when round trips grow, before a queue overflows.

use crate::congestion::AckEvent;
use std::time::Duration;

/// Bounds of the round-trip growth that ends slow start (`MIN_RTT_THRESH`, `MAX_RTT_THRESH`).
const MIN_THRESHOLD: Duration = Duration::from_millis(4);
const MAX_THRESHOLD: Duration = Duration::from_millis(16);
const THRESHOLD_DIVISOR: u32 = 8;

/// Samples a round needs before it is judged. RFC 9406 says 8 (`N_RTT_SAMPLE`) for an
/// acknowledgement every other packet; ours come four to eight per round trip.
const MIN_SAMPLES: u32 = 3;

/// Conservative slow start grows this much slower, for so many rounds.
const CSS_GROWTH_DIVISOR: f64 = 4.0;
const CSS_ROUNDS: u32 = 5;

#[derive(Clone, Debug)]
pub(super) struct HyStart {
    round_end_delivered: u64,
    samples: u32,
    last_round_min: Duration,
    round_min: Duration,
    conservative: Option<Conservative>,
}

#[derive(Clone, Debug)]
struct Conservative {
    baseline: Duration,
    rounds: u32,
}

impl Default for HyStart {
    fn default() -> Self {
        Self {
            round_end_delivered: 0,
            samples: 0,
            last_round_min: Duration::MAX,
            round_min: Duration::MAX,
            conservative: None,
        }
    }
}

impl HyStart {
    /// By how much slow start's growth is divided now.
    pub(super) const fn growth_divisor(&self) -> f64 {
        if self.conservative.is_some() {
            CSS_GROWTH_DIVISOR
        } else {
            1.0
        }
    }

    /// Takes an acknowledgement in slow start; true = go on to congestion avoidance.
    pub(super) fn on_ack(&mut self, ack: &AckEvent) -> bool {
        let mut done = false;
        if ack.delivered_total > self.round_end_delivered {
            self.round_end_delivered = ack.delivered_total + ack.in_flight;
            self.last_round_min = self.round_min;
            self.round_min = Duration::MAX;
            self.samples = 0;
            if let Some(css) = &mut self.conservative {
                css.rounds += 1;
                done = css.rounds >= CSS_ROUNDS;
            }
        }
        if let Some(rtt) = ack.rtt {
            self.round_min = self.round_min.min(rtt);
            self.samples += 1;
        }
        self.judge();
        done
    }

    fn judge(&mut self) {
        if self.samples < MIN_SAMPLES {
            return;
        }
        if let Some(css) = &self.conservative {
            if self.round_min < css.baseline {
                self.conservative = None;
            }
        } else if self.last_round_min != Duration::MAX {
            let threshold =
                (self.last_round_min / THRESHOLD_DIVISOR).clamp(MIN_THRESHOLD, MAX_THRESHOLD);
            if self.round_min >= self.last_round_min + threshold {
                self.conservative = Some(Conservative {
                    baseline: self.round_min,
                    rounds: 0,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One round of four acknowledgements; true if it ended slow start.
    fn round(hystart: &mut HyStart, number: u64, rtt_ms: u64) -> bool {
        (0..4).any(|step| {
            hystart.on_ack(&AckEvent {
                rtt: Some(Duration::from_millis(rtt_ms)),
                delivered_total: number * 4_000 + step * 1_000 + 1,
                in_flight: 3_999,
                ..AckEvent::default()
            })
        })
    }

    #[test]
    fn growing_round_trips_end_slow_start_after_five_more_rounds() {
        let mut hystart = HyStart::default();
        assert!(!round(&mut hystart, 0, 50));
        assert!(!round(&mut hystart, 1, 51));
        assert!(hystart.conservative.is_none());
        assert!(!round(&mut hystart, 2, 60));
        assert!(hystart.conservative.is_some());
        let ended = (3..20).find(|number| round(&mut hystart, *number, 61));
        assert_eq!(ended, Some(7));
    }

    #[test]
    fn a_passing_delay_resumes_slow_start() {
        let mut hystart = HyStart::default();
        round(&mut hystart, 0, 50);
        round(&mut hystart, 1, 60);
        assert!(hystart.conservative.is_some());
        round(&mut hystart, 2, 50);
        assert!(hystart.conservative.is_none());
    }
}
