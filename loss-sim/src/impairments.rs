//! What a link does to its packets: the plain configuration, and its validation.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use crate::limits;
use crate::trace::Trace;

/// IPv4 and UDP headers: what a UDP payload costs on the wire beyond itself, in bytes.
pub const IPV4_UDP_OVERHEAD_BYTES: u32 = 28;

/// Everything one direction of a path does to its packets. The default does nothing.
///
/// A packet meets the stages in this order:
/// 1. `max_datagram_bytes`: larger packets are dropped;
/// 2. `rate` (or `trace`) and `queue_bytes`: it waits for the packets before it (drop-tail), then takes its size
///    divided by the rate to leave;
/// 3. `blackhole`, then `drop_nth`, `burst_loss`, `loss`: it may be lost, after having used its share
///    of the queue and the rate, as on a radio link;
/// 4. `ecn_mark`; `duplicate`, and from here the copy has a fate of its own; `truncate`; `corrupt`;
/// 5. `delay` with `jitter`, which keep the order; `reorder`, which holds a packet back.
#[derive(Debug, Clone, PartialEq)]
pub struct Impairments {
    /// Probability that a packet is lost, independently of others.
    pub loss: f64,
    /// Loss in bursts.
    pub burst_loss: Option<BurstLoss>,
    /// At most this many packets in a row are lost to `loss` and `burst_loss`, and at most as many in
    /// a row corrupted; no limit when `None`.
    pub max_burst: Option<u32>,
    /// Packets dropped by their number; the first packet offered to the link is number 1.
    pub drop_nth: Vec<DropRule>,
    /// Time each packet travels.
    pub delay: Duration,
    /// How far the delay varies; a later packet never overtakes an earlier one because of it.
    pub jitter: Duration,
    /// How the jitter is distributed.
    pub distribution: Distribution,
    /// Bits per second on the wire, headers included (see `overhead_bytes`); unlimited when `None`.
    pub rate_bits_per_second: Option<u64>,
    /// A recorded rate that varies; not together with `rate_bits_per_second`. It begins at timestamp 0, or
    /// when it was changed.
    pub trace: Option<Arc<Trace>>,
    /// Bytes that may wait for the rate beside the packet being sent; the default is
    /// [`Impairments::effective_queue_bytes`].
    pub queue_bytes: Option<u64>,
    /// Bytes that each packet takes on the wire beyond its payload; when `None`, what packets of its kind
    /// take ([`Payload::header_bytes`](crate::Payload::header_bytes)).
    pub overhead_bytes: Option<u32>,
    /// Probability that a packet arrives twice.
    pub duplicate: f64,
    /// Packets held back so that later ones overtake them.
    pub reorder: Option<Reorder>,
    /// Probability that one random bit of a packet is flipped.
    pub corrupt: f64,
    /// Probability that a packet is cut to a random shorter length.
    pub truncate: f64,
    /// Largest payload that passes, in bytes; no limit when `None`.
    pub max_datagram_bytes: Option<usize>,
    /// Times of complete silence.
    pub blackhole: Option<Blackhole>,
    /// Probability that a packet capable of ECN is marked Congestion Experienced.
    pub ecn_mark: f64,
}

impl Default for Impairments {
    fn default() -> Self {
        Self {
            loss: 0.0,
            burst_loss: None,
            max_burst: None,
            drop_nth: Vec::new(),
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            distribution: Distribution::default(),
            rate_bits_per_second: None,
            trace: None,
            queue_bytes: None,
            overhead_bytes: None,
            duplicate: 0.0,
            reorder: None,
            corrupt: 0.0,
            truncate: 0.0,
            max_datagram_bytes: None,
            blackhole: None,
            ecn_mark: 0.0,
        }
    }
}

/// Loss in bursts: the Gilbert–Elliott model. Each packet meets the current state (good at first), which
/// may then change. The mean stay in the bad state is `1 / bad_to_good` packets, and the share of time
/// spent there `good_to_bad / (good_to_bad + bad_to_good)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BurstLoss {
    /// p: probability of going from good to bad, per packet.
    pub good_to_bad: f64,
    /// r: probability of going from bad to good, per packet.
    pub bad_to_good: f64,
    /// 1−h: probability of losing a packet in the bad state; the simple Gilbert model has 1.
    pub loss_in_bad: f64,
    /// 1−k: probability of losing a packet in the good state; the simple Gilbert model has 0.
    pub loss_in_good: f64,
}

impl BurstLoss {
    /// The simple Gilbert model: everything is lost in the bad state and nothing in the good one.
    #[must_use]
    pub fn gilbert(good_to_bad: f64, bad_to_good: f64) -> Self {
        Self {
            good_to_bad,
            bad_to_good,
            loss_in_bad: 1.0,
            loss_in_good: 0.0,
        }
    }
}

/// Which packets to drop, by number. Numbers start at 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DropRule {
    /// These packets, once.
    Numbers(RangeInclusive<u64>),
    /// Each packet whose number is a multiple of this.
    Every(u64),
}

impl DropRule {
    /// Whether the packet of that number is to be dropped.
    #[must_use]
    pub fn matches(&self, number: u64) -> bool {
        match self {
            Self::Numbers(range) => range.contains(&number),
            Self::Every(step) => *step != 0 && number.is_multiple_of(*step),
        }
    }
}

/// How jitter is distributed around the delay. The sum is never less than zero.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Distribution {
    /// Evenly within ± jitter.
    #[default]
    Uniform,
    /// Normal, with the jitter as standard deviation (cut at ±6).
    Normal,
    /// Pareto of shape 4, heavy towards long delays, with mean 0 and the jitter as standard deviation
    /// (cut at 30).
    Pareto,
}

/// Packets held back so that others overtake them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reorder {
    /// Probability that a packet is held back.
    pub probability: f64,
    /// How much later than its turn it arrives.
    pub delay: Duration,
}

/// A link that works for a while, then swallows everything for a while, and so on. The first phase
/// begins at timestamp 0, or when it was changed. A packet's fate depends on the phase in
/// which it leaves the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blackhole {
    /// How long the link works.
    pub on: Duration,
    /// How long it then swallows packets.
    pub off: Duration,
}

/// What is wrong with a configuration; each message starts with the field, named as on the command line.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ImpairmentError {
    /// Not a probability.
    #[error("{field}: {value} is not a probability between 0 and 1")]
    Probability {
        /// The field.
        field: &'static str,
        /// Its value.
        value: f64,
    },
    /// Too long a time.
    #[error("{field}: {value:?} is too long (at most {:?})", limits::MAX_TIME)]
    TooLong {
        /// The field.
        field: &'static str,
        /// Its value.
        value: Duration,
    },
    /// A number outside its range.
    #[error("{field}: {value} is out of range ({least} to {most})")]
    OutOfRange {
        /// The field.
        field: &'static str,
        /// Its value.
        value: u64,
        /// The least allowed value.
        least: u64,
        /// The greatest allowed value.
        most: u64,
    },
    /// A field that means nothing without another.
    #[error("{field}: has no effect without {needs}")]
    Needs {
        /// The field.
        field: &'static str,
        /// The one it needs.
        needs: &'static str,
    },
    /// Two fields that exclude each other.
    #[error("{field}: cannot be used together with {other}")]
    Conflict {
        /// The field.
        field: &'static str,
        /// The other one.
        other: &'static str,
    },
    /// A range of packet numbers that holds none.
    #[error("drop-nth: packet numbers start at 1 and ranges must not be empty")]
    DropRule,
}

impl Impairments {
    /// Checks every field.
    ///
    /// # Errors
    /// The first field found wrong.
    pub fn validate(&self) -> Result<(), ImpairmentError> {
        self.validate_probabilities()?;
        self.validate_times()?;
        self.validate_numbers()?;
        let has_rate = self.rate_bits_per_second.is_some();
        if self.queue_bytes.is_some() && !has_rate && self.trace.is_none() {
            return Err(ImpairmentError::Needs {
                field: "queue",
                needs: "rate or trace",
            });
        }
        if self.trace.is_some() && has_rate {
            return Err(ImpairmentError::Conflict {
                field: "trace",
                other: "rate",
            });
        }
        let empty = |rule: &DropRule| match rule {
            DropRule::Numbers(range) => *range.start() == 0 || range.is_empty(),
            DropRule::Every(step) => *step == 0,
        };
        if self.drop_nth.iter().any(empty) {
            return Err(ImpairmentError::DropRule);
        }
        Ok(())
    }

    fn validate_times(&self) -> Result<(), ImpairmentError> {
        for (field, value) in [
            ("delay", self.delay),
            ("jitter", self.jitter),
            (
                "reorder",
                self.reorder.map_or(Duration::ZERO, |it| it.delay),
            ),
            (
                "blackhole",
                self.blackhole.map_or(Duration::ZERO, |it| it.on),
            ),
            (
                "blackhole",
                self.blackhole.map_or(Duration::ZERO, |it| it.off),
            ),
        ] {
            if value > limits::MAX_TIME {
                return Err(ImpairmentError::TooLong { field, value });
            }
        }
        Ok(())
    }

    fn validate_numbers(&self) -> Result<(), ImpairmentError> {
        for (field, value, least, most) in [
            (
                "rate",
                self.rate_bits_per_second,
                1,
                limits::MAX_RATE_BITS_PER_SECOND,
            ),
            ("queue", self.queue_bytes, 0, limits::MAX_HELD_BYTES),
            (
                "max-burst",
                self.max_burst.map(u64::from),
                1,
                u64::from(u32::MAX),
            ),
            (
                "overhead",
                self.overhead_bytes.map(u64::from),
                0,
                u64::from(limits::MAX_OVERHEAD_BYTES),
            ),
            (
                "drop-nth",
                u64::try_from(self.drop_nth.len()).ok(),
                0,
                limits::MAX_DROP_RULES as u64,
            ),
        ] {
            if let Some(value) = value
                && !(least..=most).contains(&value)
            {
                return Err(ImpairmentError::OutOfRange {
                    field,
                    value,
                    least,
                    most,
                });
            }
        }
        Ok(())
    }

    fn validate_probabilities(&self) -> Result<(), ImpairmentError> {
        let burst = self.burst_loss.unwrap_or(BurstLoss::gilbert(0.0, 1.0));
        for (field, value) in [
            ("loss", self.loss),
            ("burst-loss", burst.good_to_bad),
            ("burst-loss", burst.bad_to_good),
            ("burst-loss", burst.loss_in_bad),
            ("burst-loss", burst.loss_in_good),
            ("duplicate", self.duplicate),
            ("reorder", self.reorder.map_or(0.0, |it| it.probability)),
            ("corrupt", self.corrupt),
            ("truncate", self.truncate),
            ("ecn-mark", self.ecn_mark),
        ] {
            // Written so that NaN fails too.
            if !(0.0..=1.0).contains(&value) {
                return Err(ImpairmentError::Probability { field, value });
            }
        }
        Ok(())
    }

    /// The queue's size in bytes: as configured, else one bandwidth-delay product with `delay` taken
    /// as one way (rate × 2 × delay), but at least 64 KiB. `None` without a rate: nothing ever waits.
    #[must_use]
    pub fn effective_queue_bytes(&self) -> Option<u64> {
        let rate = match &self.trace {
            Some(trace) => trace.mean_bits_per_second(),
            None => self.rate_bits_per_second?,
        };
        if let Some(configured) = self.queue_bytes {
            return Some(configured);
        }
        let bits_in_nanos = u128::from(rate) * 2 * self.delay.as_nanos();
        let product = u64::try_from(bits_in_nanos / 8 / 1_000_000_000).unwrap_or(u64::MAX);
        Some(product.clamp(limits::MIN_DEFAULT_QUEUE_BYTES, limits::MAX_HELD_BYTES))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_valid_and_does_nothing() {
        let impairments = Impairments::default();
        assert_eq!(impairments.validate(), Ok(()));
        assert_eq!(impairments.effective_queue_bytes(), None);
    }

    #[test]
    fn errors_name_the_field() {
        let none = Impairments::default;
        let message = |impairments: Impairments| {
            let error = impairments.validate().expect_err("should be refused");
            error.to_string()
        };
        for (impairments, expected) in [
            (
                Impairments {
                    loss: 1.5,
                    ..none()
                },
                "loss: 1.5 is not a probability",
            ),
            (
                Impairments {
                    corrupt: f64::NAN,
                    ..none()
                },
                "corrupt: NaN",
            ),
            (
                Impairments {
                    delay: Duration::from_secs(7200),
                    ..none()
                },
                "delay: 7200s is too long (at most 3600s)",
            ),
            (
                Impairments {
                    rate_bits_per_second: Some(0),
                    ..none()
                },
                "rate: 0 is out of range",
            ),
            (
                Impairments {
                    queue_bytes: Some(9),
                    ..none()
                },
                "queue: has no effect without rate or trace",
            ),
            (
                Impairments {
                    drop_nth: vec![DropRule::Every(0)],
                    ..none()
                },
                "drop-nth: ",
            ),
            (
                Impairments {
                    burst_loss: Some(BurstLoss::gilbert(0.1, -1.0)),
                    ..none()
                },
                "burst-loss: -1 is not",
            ),
        ] {
            let message = message(impairments);
            assert!(message.starts_with(expected), "{message}");
        }
    }

    #[test]
    fn the_default_queue_is_one_bandwidth_delay_product() {
        let mut impairments = Impairments {
            rate_bits_per_second: Some(100_000_000),
            delay: Duration::from_millis(25),
            ..Impairments::default()
        };
        assert_eq!(impairments.effective_queue_bytes(), Some(625_000));
        impairments.rate_bits_per_second = Some(1_000_000);
        assert_eq!(impairments.effective_queue_bytes(), Some(64 * 1024));
        impairments.queue_bytes = Some(3000);
        assert_eq!(impairments.effective_queue_bytes(), Some(3000));
    }
}
