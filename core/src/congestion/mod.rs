//! Congestion control: how many bytes may be in flight, and how fast they leave.
//!
//! [`Controller`] holds one of the three algorithms and dispatches by `match`; all of them follow
//! [`CongestionController`]. The sender reports what it sent, what each acknowledgement and loss
//! said, and asks for [`cwnd`](CongestionController::cwnd) and
//! [`pacing_rate`](CongestionController::pacing_rate) after each report. Rate samples come from
//! [`delivery_rate`]. Bytes are UDP payload bytes everywhere; path probes (MTU) are not reported.

pub mod aimd;
pub mod bbr;
pub mod cubic;
pub mod delivery_rate;

use crate::units::Timestamp;
use delivery_rate::RateSample;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// One acknowledgement packet, judged as a whole.
///
/// Losses that the same acknowledgement reveals are reported first, as a [`LossEvent`].
#[derive(Clone, Debug, Default)]
pub struct AckEvent {
    /// When it arrived.
    pub now: Timestamp,
    /// Bytes it newly acknowledges.
    pub newly_acked_bytes: u64,
    /// Packets it newly acknowledges.
    pub newly_acked_packets: u32,
    /// Those of them that were the lowest outstanding packet in turn.
    pub expected_packets: u32,
    /// Those of them with a lower packet still outstanding.
    pub unexpected_packets: u32,
    /// Bytes in flight after it.
    pub in_flight: u64,
    /// Bytes in flight before it.
    pub prior_in_flight: u64,
    /// Round trip of the most recently sent packet it newly acknowledges, less the
    /// acknowledgement delay the receiver reports.
    pub rtt: Option<Duration>,
    /// Smoothed round-trip time.
    pub srtt: Duration,
    /// Variation of the round-trip time.
    pub rttvar: Duration,
    /// Least round-trip time seen on this path.
    pub min_rtt: Duration,
    /// Delivery rate sample of this acknowledgement.
    pub rate: Option<RateSample>,
    /// Bytes delivered in all, these included.
    pub delivered_total: u64,
    /// Packets newly reported as marked "congestion experienced".
    pub ce_marks: u32,
    /// Whether the sender has had nothing more to send lately.
    pub app_limited: bool,
}

/// Packets declared lost together. Lost path probes are not reported.
#[derive(Clone, Debug, Default)]
pub struct LossEvent {
    /// When they were declared lost.
    pub now: Timestamp,
    /// Bytes lost.
    pub lost_bytes: u64,
    /// Packets lost.
    pub lost_packets: u32,
    /// Bytes in flight after removing them.
    pub in_flight: u64,
    /// Send time of the most recently sent of them.
    pub largest_lost_sent_time: Timestamp,
    /// Bytes delivered in all.
    pub delivered_total: u64,
    /// Bytes in flight when the most recently sent of them was sent.
    pub tx_in_flight: u64,
}

/// What every congestion control algorithm answers to.
pub trait CongestionController {
    /// A packet of `bytes` left; `in_flight` includes it.
    fn on_sent(&mut self, now: Timestamp, bytes: u64, in_flight: u64);

    /// An acknowledgement with something new arrived.
    fn on_ack(&mut self, ack: &AckEvent);

    /// Packets were declared lost.
    fn on_loss(&mut self, loss: &LossEvent);

    /// The packets of a loss reported earlier did arrive.
    fn on_spurious_loss(&mut self, now: Timestamp);

    /// The retransmission timer fired and nothing has been acknowledged since it was armed.
    fn on_timeout(&mut self, now: Timestamp);

    /// The peer has another address: nothing learnt so far holds.
    fn on_path_change(&mut self, now: Timestamp);

    /// Full datagrams have this many bytes of UDP payload from now on.
    fn set_datagram_bytes(&mut self, bytes: u64);

    /// Most bytes that may be in flight.
    fn cwnd(&self) -> u64;

    /// Bytes per second; `None` = send whenever the window allows.
    fn pacing_rate(&self) -> Option<u64>;

    /// The algorithm's name as the user writes it.
    fn name(&self) -> &'static str;
}

/// The algorithms a user can choose from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// The default: models the path and tells loss from congestion.
    #[default]
    Bbr,
    /// The standard of today's TCP (RFC 9438): loss is congestion.
    Cubic,
    /// One more per expected acknowledgement, half per unexpected one.
    Aimd,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Bbr, Self::Cubic, Self::Aimd];

    /// The name as the user writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bbr => "bbr",
            Self::Cubic => "cubic",
            Self::Aimd => "aimd",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No algorithm has this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown congestion control; choose bbr, cubic or aimd")]
pub struct UnknownAlgorithm;

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    fn from_str(name: &str) -> Result<Self, UnknownAlgorithm> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.name() == name)
            .ok_or(UnknownAlgorithm)
    }
}

/// One of the algorithms, dispatched without indirection.
#[expect(
    clippy::large_enum_variant,
    reason = "one per association, and the default algorithm is the largest"
)]
#[derive(Clone, Debug)]
pub enum Controller {
    /// See [`bbr`].
    Bbr(bbr::Bbr),
    /// See [`cubic`].
    Cubic(cubic::Cubic),
    /// See [`aimd`].
    Aimd(aimd::Aimd),
}

impl Controller {
    /// Starts `algorithm` for datagrams of `datagram_bytes` UDP payload.
    #[must_use]
    pub fn new(algorithm: Algorithm, now: Timestamp, datagram_bytes: u64) -> Self {
        match algorithm {
            Algorithm::Bbr => Self::Bbr(bbr::Bbr::new(now, datagram_bytes)),
            Algorithm::Cubic => Self::Cubic(cubic::Cubic::new(now, datagram_bytes)),
            Algorithm::Aimd => Self::Aimd(aimd::Aimd::new(datagram_bytes)),
        }
    }
}

/// Calls the same method of whichever algorithm is in use.
macro_rules! dispatch {
    ($self:ident, $controller:ident => $call:expr) => {
        match $self {
            Controller::Bbr($controller) => $call,
            Controller::Cubic($controller) => $call,
            Controller::Aimd($controller) => $call,
        }
    };
}

impl CongestionController for Controller {
    fn on_sent(&mut self, now: Timestamp, bytes: u64, in_flight: u64) {
        dispatch!(self, c => c.on_sent(now, bytes, in_flight));
    }

    fn on_ack(&mut self, ack: &AckEvent) {
        dispatch!(self, c => c.on_ack(ack));
    }

    fn on_loss(&mut self, loss: &LossEvent) {
        dispatch!(self, c => c.on_loss(loss));
    }

    fn on_spurious_loss(&mut self, now: Timestamp) {
        dispatch!(self, c => c.on_spurious_loss(now));
    }

    fn on_timeout(&mut self, now: Timestamp) {
        dispatch!(self, c => c.on_timeout(now));
    }

    fn on_path_change(&mut self, now: Timestamp) {
        dispatch!(self, c => c.on_path_change(now));
    }

    fn set_datagram_bytes(&mut self, bytes: u64) {
        dispatch!(self, c => c.set_datagram_bytes(bytes));
    }

    fn cwnd(&self) -> u64 {
        dispatch!(self, c => c.cwnd())
    }

    fn pacing_rate(&self) -> Option<u64> {
        dispatch!(self, c => c.pacing_rate())
    }

    fn name(&self) -> &'static str {
        dispatch!(self, c => c.name())
    }
}

/// Paths with a shorter round trip than this are not paced while they lose nothing: their queues
/// drain faster than timers fire.
pub(crate) const UNPACED_RTT: Duration = Duration::from_millis(2);

/// `bytes` over `span` as bytes per second, saturating.
fn rate_over(bytes: u64, span: Duration) -> u64 {
    let rate = u128::from(bytes) * 1_000_000_000 / span.as_nanos().max(1);
    u64::try_from(rate).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod jitter;
#[cfg(test)]
mod known_bugs;
#[cfg(test)]
mod matrix;
#[cfg(test)]
mod scenarios;
#[cfg(test)]
mod sim;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_others_are_refused() {
        for algorithm in Algorithm::ALL {
            assert_eq!(algorithm.to_string().parse(), Ok(algorithm));
            let controller = Controller::new(algorithm, Timestamp::ZERO, 1_472);
            assert_eq!(controller.name(), algorithm.name());
            assert!(controller.cwnd() >= 2 * 1_472);
        }
        assert_eq!("reno".parse::<Algorithm>(), Err(UnknownAlgorithm));
    }
}
