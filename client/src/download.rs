//! Downloading as a library: one call that fetches files and tells how it went.

use std::path::PathBuf;

use crate::engine::message::{Command, EngineConfig, Event, FileReport, GetEvent};
use crate::engine::{CommandSender, Engine};
use crate::exit_code::ClientError;

/// How a download went.
#[derive(Debug, Default)]
pub struct GetSummary {
    /// Files that arrived, in the order in which they did.
    pub reports: Vec<FileReport>,
    /// Files left out on request.
    pub skipped: usize,
    /// Files that could not be had, and why.
    pub failures: Vec<(String, ClientError)>,
}

impl GetSummary {
    /// One answer for all: fine, the one thing that went wrong, or that some of several did.
    ///
    /// # Errors
    /// As said; each failure was told by itself before.
    pub fn outcome(mut self) -> Result<Vec<FileReport>, ClientError> {
        let Some((_, first)) = self.failures.first() else {
            return Ok(self.reports);
        };
        let failed = self.failures.len();
        let total = self.reports.len() + self.skipped + failed;
        let code = first.exit_code();
        let all_alike = failed == total
            && self
                .failures
                .iter()
                .all(|(_, error)| error.exit_code() == code);
        if all_alike {
            return Err(self.failures.swap_remove(0).1);
        }
        Err(ClientError::Partial { failed, total })
    }
}

/// Fetches `names` and calls `on_event` for everything that happens. `control` is given the means
/// to stop it from elsewhere, once.
///
/// # Errors
/// What ended all of it: no connection, a refusal, a stall. Failures of single files are in the
/// summary.
pub fn get(
    config: EngineConfig,
    names: Vec<String>,
    target: Option<PathBuf>,
    control: impl FnOnce(CommandSender),
    mut on_event: impl FnMut(&Event),
) -> Result<GetSummary, ClientError> {
    let request = 1;
    let first = vec![
        Command::Get {
            request,
            names,
            target,
            folder: None,
            roots: Vec::new(),
        },
        Command::Finish,
    ];
    let engine = Engine::start_together(config, first).map_err(|source| ClientError::System {
        action: "start the network engine",
        source,
    })?;
    control(engine.commands());
    let mut summary = GetSummary::default();
    let mut finished = false;
    for event in engine.events().iter().flatten() {
        on_event(&event);
        match event {
            Event::Get { event, .. } => match event {
                GetEvent::Done(report) => summary.reports.push(report),
                GetEvent::Skipped { .. } => summary.skipped += 1,
                GetEvent::Failed { file, error } => summary.failures.push((file, error)),
                GetEvent::Finished => finished = true,
                GetEvent::Progress(_) | GetEvent::StartsOver { .. } => {}
            },
            Event::Ended(_) if finished => return Ok(summary),
            Event::Ended(Err(error)) => return Err(error),
            Event::Ended(Ok(())) => return Err(ClientError::Stopped { terminated: false }),
            Event::FirstContact { .. }
            | Event::Welcome { .. }
            | Event::Message { .. }
            | Event::Whispered { .. }
            | Event::Presence { .. }
            | Event::Users(_)
            | Event::Files(_)
            | Event::Stats(_)
            | Event::Refused { .. }
            | Event::Denied { .. }
            | Event::Reconnecting { .. }
            | Event::NextAttempt { .. }
            | Event::Missed { .. }
            | Event::Undelivered { .. }
            | Event::Udp { .. }
            | Event::Network(_) => {}
        }
    }
    Err(ClientError::Lost(
        "the network engine has failed".to_owned(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit_code::ExitCode;

    fn failing(codes: &[ClientErrorKind], good: usize) -> ExitCode {
        let summary = GetSummary {
            skipped: good,
            failures: codes
                .iter()
                .map(|kind| (String::new(), kind.error()))
                .collect(),
            ..GetSummary::default()
        };
        match summary.outcome() {
            Ok(_) => ExitCode::Ok,
            Err(error) => error.exit_code(),
        }
    }

    #[derive(Clone, Copy)]
    enum ClientErrorKind {
        NoSuchFile,
        Stalled,
    }

    impl ClientErrorKind {
        fn error(self) -> ClientError {
            match self {
                Self::NoSuchFile => ClientError::NoSuchFile(String::new()),
                Self::Stalled => ClientError::Stalled(String::new()),
            }
        }
    }

    #[test]
    fn one_answer_for_all() {
        use ClientErrorKind::{NoSuchFile, Stalled};
        assert_eq!(failing(&[], 0), ExitCode::Ok);
        assert_eq!(failing(&[], 3), ExitCode::Ok);
        assert_eq!(failing(&[NoSuchFile], 0), ExitCode::NoSuchFile);
        assert_eq!(failing(&[NoSuchFile, NoSuchFile], 0), ExitCode::NoSuchFile);
        assert_eq!(failing(&[NoSuchFile, Stalled], 0), ExitCode::Partial);
        assert_eq!(failing(&[NoSuchFile], 1), ExitCode::Partial);
    }
}
