//! Saying so when the simulator itself is the bottleneck: what it then does to packets was not asked for.

use std::time::Duration;

use tracing::warn;

use crate::Nanos;
use crate::delay::duration_nanos;
use crate::limits::LATE;
use crate::proxy::report::PathReport;

/// How often a warning may come.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// From this share of late packets on they are worth a warning, in percent.
const LATE_PERCENT: u64 = 1;

/// Packets below which a share says little.
const FEW: u64 = 1000;

/// Watches whether the simulator keeps up.
#[derive(Debug, Default)]
pub(crate) struct Overload {
    last_warning: Option<Nanos>,
    /// Delivered and late packets as of the last look.
    seen: (u64, u64),
}

impl Overload {
    /// Looks at the counters, and at what the kernel has dropped since the last look because nobody read
    /// it: upwards and downwards.
    pub(crate) fn look(&mut self, now: Nanos, report: &PathReport, dropped: (u64, u64)) {
        let Some(complaint) = self.judge(report, dropped) else {
            return;
        };
        let every = duration_nanos(WARN_EVERY);
        if self
            .last_warning
            .is_none_or(|last| now.saturating_sub(last) >= every)
        {
            self.last_warning = Some(now);
            warn!("{complaint}");
        }
    }

    /// What there is to complain about.
    fn judge(&mut self, report: &PathReport, (up, down): (u64, u64)) -> Option<String> {
        let delivered = report.up.delivered + report.down.delivered;
        let late = report.up.late + report.down.late;
        let (delivered_before, late_before) = std::mem::replace(&mut self.seen, (delivered, late));
        let of = delivered.saturating_sub(delivered_before);
        let late = late.saturating_sub(late_before);
        if up + down > 0 {
            return Some(format!(
                "columba-loss-sim is the bottleneck: the kernel dropped {up} packets on their way up and {down} \
                 down before they could be read (counted as queue drops); it needs more CPU time than it \
                 gets, or larger receive buffers (net.core.rmem_max)"
            ));
        }
        (of >= FEW && late * 100 > of * LATE_PERCENT).then(|| {
            format!(
                "columba-loss-sim is the bottleneck: {late} of the last {of} packets left more than {LATE:?} after \
                 their time; it needs more CPU time than it gets"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(delivered: u64, late: u64) -> PathReport {
        let mut report = PathReport::default();
        (report.down.delivered, report.down.late) = (delivered, late);
        report
    }

    #[test]
    fn a_simulator_that_keeps_up_says_nothing() {
        let mut overload = Overload::default();
        for delivered in [0, 1000, 2000] {
            assert_eq!(
                overload.judge(&report(delivered, delivered / 100), (0, 0)),
                None
            );
        }
    }

    #[test]
    fn late_packets_are_worth_a_word_when_there_are_many_at_once() {
        let mut overload = Overload::default();
        assert_eq!(overload.judge(&report(100_000, 500), (0, 0)), None);
        let complaint = overload.judge(&report(101_000, 520), (0, 0));
        assert!(
            complaint
                .expect("one")
                .contains("20 of the last 1000 packets")
        );
        assert_eq!(overload.judge(&report(101_999, 560), (0, 0)), None);
    }

    #[test]
    fn what_the_kernel_drops_is_worth_a_word() {
        let complaint = Overload::default().judge(&report(0, 0), (3, 1));
        assert!(complaint.expect("one").contains("dropped 3 packets"));
    }
}
