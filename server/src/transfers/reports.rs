//! What clients are told of the sending to them.

use std::time::Duration;

use columba_core::units::Timestamp;

use super::{Notice, Transfers};

/// How often a client is told how the sending goes.
const REPORT_EVERY: Duration = Duration::from_secs(1);

impl Transfers {
    /// Makes the reports that are due. Whoever sends has turns often enough: nobody is woken for this.
    pub(super) fn make_reports(&mut self, now: Timestamp, notices: &mut Vec<Notice>) {
        if now < self.report_at {
            return;
        }
        self.report_at = now + REPORT_EVERY;
        let wanted = self.known.iter().filter(|(_, known)| known.reports);
        for (&association, known) in wanted {
            if let Some(mut report) = self.endpoint.report(now, association) {
                report.server_limit = self.options.rate_limit.unwrap_or(0);
                notices.push(Notice::Report {
                    client: known.client,
                    report,
                });
            }
        }
    }
}
