//! What the network did: figures of now, series over time, percentiles of round trips.

use std::time::Duration;

use columba_core::units::Timestamp;

use super::rate::Series;
use super::why::{Why, explain};
use crate::engine::message::{NetworkSample, RTT_PERCENTILES};

/// Figures older than this say nothing about now.
const STALE_AFTER: Duration = Duration::from_secs(3);

/// What the network did since the window was opened.
#[derive(Clone, Debug, Default)]
pub struct Network {
    throughput: Series,
    rtt_ms: Series,
    loss: Series,
    last: Option<(Timestamp, NetworkSample)>,
    why: Option<Why>,
    totals: Totals,
}

/// Sums since the window was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Bytes of files that were new.
    pub new_bytes: u64,
    /// Packets that came.
    pub packets: u64,
    /// Packets of which everything was here already.
    pub duplicate_packets: u64,
    /// Packets that did not come.
    pub missing_packets: u64,
    /// Datagrams that our kernel dropped.
    pub kernel_drops: u64,
    /// Packets that the server sent again.
    pub retransmitted_packets: u64,
}

/// A percentile of packet round trips.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Percentile {
    /// Which one, 0 to 100.
    pub percent: f64,
    /// The round trip.
    pub rtt: Duration,
}

impl Network {
    /// Takes a sample.
    pub(in crate::model) fn record(&mut self, now: Timestamp, sample: NetworkSample) {
        self.throughput.record(now, sample.bytes_per_second());
        if !sample.srtt.is_zero() {
            self.rtt_ms.record(now, sample.srtt.as_secs_f64() * 1e3);
        }
        if sample.packets + sample.missing_packets > 0 {
            self.loss.record(now, sample.loss());
        }
        self.totals.new_bytes += sample.new_bytes;
        self.totals.packets += sample.packets;
        self.totals.duplicate_packets += sample.duplicate_packets;
        self.totals.missing_packets += sample.missing_packets;
        self.totals.kernel_drops += sample.kernel_drops;
        let fresh = sample.sender.filter(|report| {
            self.last
                .is_none_or(|(_, last)| last.sender != Some(*report))
        });
        if let Some(report) = fresh {
            self.totals.retransmitted_packets += u64::from(report.retransmitted_packets);
        }
        self.why = explain(&sample);
        self.last = Some((now, sample));
    }

    /// The last figures, while they are of now.
    #[must_use]
    pub fn now(&self, now: Timestamp) -> Option<&NetworkSample> {
        let (at, sample) = self.last.as_ref()?;
        (now - *at < STALE_AFTER).then_some(sample)
    }

    /// When the last figures are of now no more.
    pub(in crate::model) fn next_tick(&self, now: Timestamp) -> Option<Timestamp> {
        self.now(now)?;
        self.last.map(|(at, _)| at + STALE_AFTER)
    }

    /// Why files come as fast as they do, while they come.
    #[must_use]
    pub fn why(&self, now: Timestamp) -> Option<&Why> {
        self.now(now)?;
        self.why.as_ref()
    }

    /// Bytes of files per second over time.
    #[must_use]
    pub const fn throughput(&self) -> &Series {
        &self.throughput
    }

    /// Smoothed round trip over time, milliseconds.
    #[must_use]
    pub const fn rtt_ms(&self) -> &Series {
        &self.rtt_ms
    }

    /// Share of the packets that did not come over time, 0 to 1.
    #[must_use]
    pub const fn loss(&self) -> &Series {
        &self.loss
    }

    /// Sums since the window was opened.
    #[must_use]
    pub const fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Percentiles of packet round trips of the last association, for the percentile view; empty
    /// before there are any.
    pub fn percentiles(&self) -> impl Iterator<Item = Percentile> {
        let micros = self.last.map_or([0; RTT_PERCENTILES.len()], |(_, sample)| {
            sample.rtt_percentiles_us
        });
        let all = RTT_PERCENTILES.into_iter().zip(micros);
        all.filter(|(_, micros)| *micros > 0)
            .map(|(percent, micros)| Percentile {
                percent,
                rtt: Duration::from_micros(u64::from(micros)),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use columba_core::stats::PathReport;

    fn at(millis: u64) -> Timestamp {
        Timestamp::ZERO + Duration::from_millis(millis)
    }

    #[test]
    fn samples_become_series_and_sums() {
        let mut network = Network::default();
        let report = PathReport {
            retransmitted_packets: 5,
            ..PathReport::default()
        };
        let sample = NetworkSample {
            interval: Duration::from_millis(500),
            new_bytes: 1_000_000,
            srtt: Duration::from_millis(20),
            packets: 95,
            missing_packets: 5,
            sender: Some(report),
            ..NetworkSample::default()
        };
        network.record(at(0), sample);
        network.record(at(500), sample);
        assert_eq!(network.throughput().last(), Some(2e6));
        assert_eq!(network.rtt_ms().last(), Some(20.0));
        assert_eq!(network.loss().last(), Some(0.05));
        assert_eq!(network.totals().new_bytes, 2_000_000);
        assert_eq!(
            network.totals().retransmitted_packets,
            5,
            "a report counts once"
        );
        assert!(network.now(at(1000)).is_some());
        assert!(network.next_tick(at(1000)).is_some());
        assert!(network.now(at(10_000)).is_none(), "old figures are none");
        assert_eq!(network.next_tick(at(10_000)), None);
    }

    #[test]
    fn percentiles_are_of_packets() {
        let mut network = Network::default();
        assert_eq!(network.percentiles().count(), 0);
        let sample = NetworkSample {
            rtt_percentiles_us: [1, 2, 3, 4, 5, 6, 7000],
            ..NetworkSample::default()
        };
        network.record(at(0), sample);
        let last = network.percentiles().last().unwrap();
        assert_eq!(last.rtt, Duration::from_millis(7));
    }
}
