//! Where a workload takes place: a temporary folder, processes, and one queue of everything they say.
//!
//! Dropping the stage kills all processes and removes the folder, whether the workload succeeded, failed or was
//! interrupted. Every wait has a deadline.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tempfile::TempDir;

use crate::os;
use crate::processes::{Heard, Launch, Place, Process, ProcessId};
use crate::roles::Role;

/// Lines that may wait to be looked at; then their writers wait.
const MAX_UNHEARD: usize = 4096;
/// How long a process may take to be ready, to answer a question, or to end.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// This process was told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Interrupted(i32);

impl Interrupted {
    /// As shells have it.
    pub(crate) fn exit_code(self) -> u8 {
        u8::try_from(128 + self.0).unwrap_or(1)
    }
}

impl fmt::Display for Interrupted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

/// A process refused its arguments, which came from ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BadUsage(pub(crate) String);

impl fmt::Display for BadUsage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for BadUsage {}

/// The exit code of all our programs for wrong usage.
pub(crate) const USAGE: u8 = 2;

/// The processes of a workload and their folder.
#[derive(Debug)]
pub(crate) struct Stage {
    // Dropped in this order: no process may be left that writes to the folder.
    processes: Vec<Process>,
    heard: Receiver<Heard>,
    told: SyncSender<Heard>,
    folder: TempDir,
    own_sessions: bool,
}

impl Stage {
    /// An empty stage, in a temporary folder below `parent` or where the system has them.
    pub(crate) fn new(parent: Option<&Path>) -> Result<Self> {
        let mut builder = tempfile::Builder::new();
        let builder = builder.prefix("columba-bench-");
        let folder = match parent {
            Some(parent) => builder.tempdir_in(parent),
            None => builder.tempdir(),
        };
        let folder = folder.context("cannot make a temporary folder")?;
        let (told, heard) = sync_channel(MAX_UNHEARD);
        let to_stage = told.clone();
        os::watch_signals(move |signal| {
            // A stage that is gone cannot be interrupted.
            let _ = to_stage.send(Heard::Signal(signal));
        })
        .context("cannot watch for signals")?;
        Ok(Self {
            processes: Vec::new(),
            heard,
            told,
            folder,
            own_sessions: false,
        })
    }

    /// Processes that are started from now on have a session each, as services and people's programs have.
    pub(crate) const fn give_sessions(&mut self) {
        self.own_sessions = true;
    }

    /// A path in the temporary folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A new folder in the temporary folder.
    pub(crate) fn make_folder(&self, name: &str) -> Result<PathBuf> {
        let path = self.path(name);
        std::fs::create_dir_all(&path)
            .with_context(|| format!("cannot create {}", path.display()))?;
        Ok(path)
    }

    /// A new folder in the temporary folder whose name begins like this.
    pub(crate) fn make_unique_folder(&self, name: &str) -> Result<PathBuf> {
        let made = tempfile::Builder::new()
            .prefix(name)
            .tempdir_in(&self.folder);
        // It goes with the folder it is in.
        Ok(made
            .with_context(|| format!("cannot create a folder {name}"))?
            .keep())
    }

    /// Starts a process.
    pub(crate) fn start(&mut self, launch: &Launch<'_>) -> Result<ProcessId> {
        let id = ProcessId(self.processes.len());
        let log = self.path(&format!("{}-{}.log", launch.role.id(), id.0));
        let place = Place {
            folder: self.folder.path(),
            log,
            own_session: self.own_sessions,
        };
        let process = Process::start(launch, id, place, &self.told)?;
        self.processes.push(process);
        Ok(id)
    }

    /// A process.
    pub(crate) fn process(&mut self, id: ProcessId) -> &mut Process {
        &mut self.processes[id.0]
    }

    /// What happens next; `None` when nothing does before `deadline`.
    pub(crate) fn next(&mut self, deadline: Instant) -> Result<Option<Heard>> {
        let wait = deadline.saturating_duration_since(Instant::now());
        match self.heard.recv_timeout(wait) {
            Ok(Heard::Signal(signal)) => bail!(Interrupted(signal)),
            Ok(heard) => Ok(Some(heard)),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => Ok(None),
        }
    }

    /// Lets time pass; what anybody says meanwhile is lost.
    pub(crate) fn wait(&mut self, until: Instant) -> Result<()> {
        // Listening, so that an interruption is heard.
        while self.next(until)?.is_some() {}
        Ok(())
    }

    /// The next line of one process; what others say meanwhile is lost.
    pub(crate) fn next_line_of(&mut self, id: ProcessId, what: &str) -> Result<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.next(deadline)? {
                Some(Heard::Line { from, text, .. }) if from == id => return Ok(text),
                Some(Heard::Closed { from }) if from == id => {
                    let process = self.process(id);
                    let status = process.wait(PATIENCE)?;
                    let words = process.last_words();
                    if status.code() == Some(USAGE.into()) {
                        bail!(BadUsage(format!(
                            "the {} refuses to start:{words}",
                            process.name()
                        )));
                    }
                    bail!(
                        "the {} ended without {what} ({status}){words}",
                        process.name()
                    );
                }
                Some(_) => {}
                None => {
                    let process = self.process(id);
                    bail!(
                        "no {what} from the {} within {PATIENCE:?}{}",
                        process.name(),
                        process.last_words()
                    );
                }
            }
        }
    }

    /// The next line of one process, as JSON.
    pub(crate) fn next_json_of(&mut self, id: ProcessId, what: &str) -> Result<Value> {
        let line = self.next_line_of(id, what)?;
        serde_json::from_str(&line).with_context(|| {
            format!(
                "the {} said {line:?} instead of {what}",
                self.process(id).name()
            )
        })
    }

    /// Starts a process that serves, and waits for its ready line.
    pub(crate) fn start_serving(
        &mut self,
        role: Role,
        name: &str,
        arguments: Vec<OsString>,
    ) -> Result<(ProcessId, Value)> {
        let id = self.start(&Launch {
            role,
            name,
            arguments,
        })?;
        let ready = self.next_json_of(id, "a ready line")?;
        if ready["event"] != "ready" || !ready["address"].is_string() {
            bail!("the {name} said {ready} instead of a ready line");
        }
        Ok((id, ready))
    }

    /// Runs a process that answers and ends; returns its lines.
    pub(crate) fn ask(
        &mut self,
        role: Role,
        name: &str,
        arguments: Vec<OsString>,
    ) -> Result<Vec<String>> {
        let id = self.start(&Launch {
            role,
            name,
            arguments,
        })?;
        let deadline = Instant::now() + PATIENCE;
        let mut lines = Vec::new();
        loop {
            match self.next(deadline)? {
                Some(Heard::Line { from, text, .. }) if from == id => lines.push(text),
                Some(Heard::Closed { from }) if from == id => break,
                Some(_) => {}
                None => bail!(
                    "no answer from the {name} within {PATIENCE:?}{}",
                    self.process(id).last_words()
                ),
            }
        }
        self.process(id).expect_success(PATIENCE)?;
        Ok(lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_goes_with_the_stage() {
        let stage = Stage::new(None).unwrap();
        let path = stage.make_folder("a/b").unwrap();
        assert!(path.is_dir());
        drop(stage);
        assert!(!path.exists());
    }

    #[test]
    fn waiting_for_nothing_ends() {
        let mut stage = Stage::new(None).unwrap();
        assert!(stage.next(Instant::now()).unwrap().is_none());
    }
}
