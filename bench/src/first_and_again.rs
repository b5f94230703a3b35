//! Columba's downloads of many small files, each three with a server of their own: the first, for which the server has to
//! open, read and hash every file, the second, for which it does so again and then keeps them, and the third, for which it
//! holds them in memory. The second is not counted.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::columba::{Columba, Wanted};
use crate::measured::{Row, Run, Subject};
use crate::progress::Progress;
use crate::session::ServerOptions;
use crate::stage::Stage;

/// A server looks through its folder when it starts, and others run for long before the first client comes.
const AT_REST_AFTER: Duration = Duration::from_millis(300);

/// What was measured so far.
#[derive(Debug, Default)]
pub(crate) struct FirstAndAgain {
    first: Vec<Run>,
    again: Vec<Run>,
}

impl FirstAndAgain {
    /// Starts a server and downloads three times.
    pub(crate) fn run(
        &mut self,
        stage: &mut Stage,
        server: ServerOptions<'_>,
        wanted: &Wanted<'_>,
        progress: &Progress,
        counts: bool,
    ) -> Result<()> {
        let columba = Columba::start(stage, server, wanted)?;
        stage.wait(Instant::now() + AT_REST_AFTER)?;
        let mut sent_again = 0;
        for runs in [Some(&mut self.first), None, Some(&mut self.again)] {
            let mut run = columba.run(stage, progress)?;
            let sent_again_by_now = columba.counters(stage)?.retransmitted_packets;
            run.retransmitted =
                sent_again_by_now - std::mem::replace(&mut sent_again, sent_again_by_now);
            if let Some(runs) = runs.filter(|_| counts) {
                runs.push(run);
            }
        }
        columba.end(stage)
    }

    /// The row of the first downloads, and that of the third.
    pub(crate) fn into_rows(self, subject: &Subject, settings: &str) -> Result<Vec<Row>> {
        let of = |sent_before, runs: &[Run]| {
            let subject = Subject {
                sent_before: Some(sent_before),
                ..subject.clone()
            };
            Row::of(subject, settings.to_owned(), runs)
        };
        Ok(vec![of(false, &self.first)?, of(true, &self.again)?])
    }
}
