//! What a person is told of the network while files come, and whether UDP gets through at all.

use std::time::Duration;

use columba_core::stats::{PathReport, ReceiverStats};
use columba_core::units::Timestamp;

use super::{SEGMENT_BUFFERS, Transfers};
use crate::engine::message::{Event, NetworkSample, RTT_PERCENTILES};
use crate::storage::SEGMENT_BYTES;

/// How often a sample is told.
const SAMPLE_EVERY: Duration = Duration::from_millis(500);
/// A report of the server says nothing about now when it is older.
const REPORT_FOR: Duration = Duration::from_millis(2500);
/// No answer over UDP for so long (several SYNs) while control is up: it does not get through.
const BLOCKED_AFTER: Duration = Duration::from_secs(3);

/// What the last sample has told already.
#[derive(Debug, Default)]
pub(super) struct Sampler {
    /// When the interval began; `None` while nothing comes.
    since: Option<Timestamp>,
    stats: ReceiverStats,
    kernel_drops: u64,
    report: Option<(Timestamp, PathReport)>,
    /// A person was told that UDP does not get through.
    blocked: bool,
}

impl Transfers {
    /// The server's word on its sending.
    pub(in crate::engine) fn on_path_report(&mut self, now: Timestamp, report: PathReport) {
        let ours = self.flow.as_ref().map(|flow| flow.id);
        if ours == Some(report.association) {
            self.sampler.report = Some((now, report));
        }
    }

    /// When [`sample`](Self::sample) has something to tell.
    pub(super) fn sample_deadline(&self) -> Option<Timestamp> {
        let flow = self.flow.as_ref()?;
        if flow.association.handshake_duration().is_none() {
            return (!self.sampler.blocked).then(|| flow.started + BLOCKED_AFTER);
        }
        self.sampler.since.map(|since| since + SAMPLE_EVERY)
    }

    /// Tells what the network does, if it is time.
    pub(super) fn sample(&mut self, now: Timestamp) {
        let Some(flow) = &self.flow else {
            self.sampler.since = None;
            return;
        };
        let answered = flow.association.handshake_duration().is_some();
        let blocked = !answered && now - flow.started >= BLOCKED_AFTER;
        if (blocked && !self.sampler.blocked) || (answered && self.sampler.blocked) {
            self.sampler.blocked = blocked;
            self.out.push_back(Event::Udp { blocked });
        }
        if !answered || self.by_stream.is_empty() {
            self.sampler.since = None;
            return;
        }
        let stats = *flow.association.stats();
        let drops = flow.kernel_drops();
        match self.sampler.since {
            // The association is another one: its counters began anew.
            Some(_) if stats.bytes_received < self.sampler.stats.bytes_received => {
                self.begin_sampling(now, ReceiverStats::default(), 0);
            }
            Some(since) if now >= since + SAMPLE_EVERY => {
                let sample = self.take_sample(now, now - since, &stats, drops);
                self.begin_sampling(now, stats, drops);
                self.out.extend(sample.map(Event::Network));
            }
            Some(_) => {}
            None => self.begin_sampling(now, stats, drops),
        }
    }

    const fn begin_sampling(&mut self, now: Timestamp, stats: ReceiverStats, drops: u64) {
        self.sampler.since = Some(now);
        self.sampler.stats = stats;
        self.sampler.kernel_drops = drops;
    }

    fn take_sample(
        &self,
        now: Timestamp,
        interval: Duration,
        stats: &ReceiverStats,
        drops: u64,
    ) -> Option<NetworkSample> {
        let (flow, before) = (self.flow.as_ref()?, &self.sampler.stats);
        let rtt = flow.association.rtt();
        let measured = flow.association.rtt_histogram();
        let percentile = |percent| match measured.len() {
            0 => 0,
            _ => u32::try_from(measured.value_at_percentile(percent)).unwrap_or(u32::MAX),
        };
        let report = self.sampler.report;
        let fresh =
            report.filter(|(at, report)| now - *at < REPORT_FOR && report.association == flow.id);
        let storage = self.assemblies.credit_bytes();
        let held = (SEGMENT_BUFFERS as u64 * u64::from(SEGMENT_BYTES)).saturating_sub(storage);
        let hashing = self.window.hashing * u64::from(SEGMENT_BYTES);
        Some(NetworkSample {
            interval,
            new_bytes: stats.new_bytes - before.new_bytes,
            srtt: rtt.srtt(),
            min_rtt: rtt.windowed_min_rtt(),
            rtt_percentiles_us: RTT_PERCENTILES.map(percentile),
            packets: stats.packets - before.packets,
            duplicate_packets: stats.duplicate_packets - before.duplicate_packets,
            // Late ones are taken back.
            missing_packets: stats.missing_packets.saturating_sub(before.missing_packets),
            kernel_drops: drops.saturating_sub(self.sampler.kernel_drops),
            credit_bytes: flow.credit_bytes(),
            storage_credit_bytes: storage,
            storage_backlog_bytes: hashing.min(held),
            sender: fresh.map(|(_, report)| report),
        })
    }
}
