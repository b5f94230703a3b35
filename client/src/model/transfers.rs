//! Downloads as the window lists them.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::Duration;

use columba_core::units::Timestamp;

pub use super::cause::{Advice, Cause};
use super::rate::{MovingRate, Series};
pub use super::transfer::{Failure, FileDone, Transfer, TransferState};
use crate::engine::message::{Command, GetEvent, GetProgress};

/// Downloads that are listed; the oldest ended ones go first.
const MAX_LISTED: usize = 500;

/// All downloads, oldest first.
#[derive(Clone, Debug)]
pub struct Transfers {
    list: VecDeque<Transfer>,
    next_request: u32,
    folder: PathBuf,
}

/// What all downloads do together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Summary {
    /// Downloads that move, or should.
    pub active: usize,
    /// Downloads that wait.
    pub queued: usize,
    /// Downloads that are paused.
    pub paused: usize,
    /// Downloads that failed.
    pub failed: usize,
    /// Downloads that are done.
    pub done: usize,
    /// Bytes per second of all.
    pub bytes_per_second: f64,
}

/// How a download ended, for a notification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::model) enum Ending {
    Done(String),
    Failed(String, String),
}

impl Transfers {
    pub(in crate::model) const fn new(folder: PathBuf) -> Self {
        Self {
            list: VecDeque::new(),
            next_request: 1,
            folder,
        }
    }

    /// All downloads, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Transfer> {
        self.list.iter()
    }

    /// How many are listed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, request: u32) -> Option<&Transfer> {
        self.list.iter().find(|one| one.request == request)
    }

    /// The download of this file that has not ended, or the last one that did.
    #[must_use]
    pub fn of_file(&self, name: &str) -> Option<&Transfer> {
        let mut of = self.list.iter().rev();
        of.find(|one| one.names.iter().any(|asked| asked == name))
    }

    /// The folder that downloads go to unless told otherwise.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What all do together.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let mut sum = Summary::default();
        for one in &self.list {
            match one.state {
                TransferState::Queued => sum.queued += 1,
                TransferState::Paused => sum.paused += 1,
                TransferState::Failed => sum.failed += 1,
                TransferState::Done => sum.done += 1,
                TransferState::Cancelled => {}
                TransferState::Preparing
                | TransferState::Active
                | TransferState::Stalled
                | TransferState::Verifying => sum.active += 1,
            }
            sum.bytes_per_second += one.rate().unwrap_or(0.0);
        }
        sum
    }

    pub(in crate::model) fn set_folder(&mut self, folder: PathBuf) {
        self.folder = folder;
    }

    pub(in crate::model) fn add(
        &mut self,
        now: Timestamp,
        names: Vec<String>,
        folder: Option<PathBuf>,
    ) -> Command {
        let transfer = Transfer {
            request: self.next_request,
            names: names.clone(),
            folder: folder.unwrap_or_else(|| self.folder.clone()),
            state: TransferState::Queued,
            progress: GetProgress::default(),
            rate: MovingRate::default(),
            throughput: Series::default(),
            files: VecDeque::new(),
            failures: VecDeque::new(),
            failed_files: 0,
            skipped_files: 0,
            changed: false,
            started: now,
            ended: None,
        };
        self.next_request = self.next_request.wrapping_add(1).max(1);
        let command = transfer.command(names);
        self.list.push_back(transfer);
        self.bound();
        command
    }

    fn bound(&mut self) {
        while self.list.len() > MAX_LISTED {
            let ended = self.list.iter().position(|one| one.state.is_ended());
            let Some(at) = ended else { return };
            self.list.remove(at);
        }
    }

    fn find(&mut self, request: u32) -> Option<&mut Transfer> {
        self.list.iter_mut().find(|one| one.request == request)
    }

    pub(in crate::model) fn pause(&mut self, request: u32) -> Option<Command> {
        let one = self.find(request).filter(|one| !one.state.is_ended())?;
        one.state = TransferState::Paused;
        one.rate.clear();
        Some(Command::Pause { request })
    }

    pub(in crate::model) fn resume(&mut self, request: u32) -> Option<Command> {
        let one = self.find(request)?;
        (one.state == TransferState::Paused).then(|| {
            one.state = TransferState::Queued;
            Command::Resume { request }
        })
    }

    pub(in crate::model) fn cancel(
        &mut self,
        now: Timestamp,
        request: u32,
        keep: bool,
    ) -> Option<Command> {
        let one = self.find(request).filter(|one| !one.state.is_ended())?;
        one.state = TransferState::Cancelled;
        one.ended = Some(now);
        Some(Command::Cancel { request, keep })
    }

    /// Fetches again what failed, or all of a cancelled download; `folder` for another place.
    pub(in crate::model) fn retry(
        &mut self,
        now: Timestamp,
        request: u32,
        folder: Option<PathBuf>,
    ) -> Option<Command> {
        let fresh = self.next_request;
        let one = self.find(request)?;
        if !matches!(one.state, TransferState::Failed | TransferState::Cancelled) {
            return None;
        }
        let failed: Vec<String> = one
            .failures
            .drain(..)
            .map(|failure| failure.file)
            .filter(|file| !file.is_empty())
            .collect();
        // Failures that were not kept, or concern all of it, need all of it again.
        let all = failed.len() != one.failed_files || failed.is_empty();
        let names = if all { one.names.clone() } else { failed };
        one.failed_files = 0;
        one.state = TransferState::Queued;
        one.progress = GetProgress::default();
        one.rate.clear();
        one.throughput = Series::default();
        (one.started, one.ended) = (now, None);
        if let Some(folder) = folder {
            one.folder = folder;
        }
        // Another number: what the old one's events still say is not about this.
        one.request = fresh;
        let command = one.command(names);
        self.next_request = fresh.wrapping_add(1).max(1);
        Some(command)
    }

    /// Takes an ended download out of the list.
    pub(in crate::model) fn remove(&mut self, request: u32) {
        self.list
            .retain(|one| one.request != request || !one.state.is_ended());
    }

    /// Takes all downloads out of the list that are done or cancelled.
    pub(in crate::model) fn clear_done(&mut self) {
        self.list
            .retain(|one| !one.state.is_ended() || one.state == TransferState::Failed);
    }

    pub(in crate::model) fn on_event(
        &mut self,
        now: Timestamp,
        request: u32,
        event: GetEvent,
    ) -> Option<Ending> {
        let one = self.find(request)?;
        match event {
            // What was under way when the person paused or gave it up.
            GetEvent::Progress(_) if one.state.is_ended() => {}
            GetEvent::Progress(progress) => one.on_progress(now, progress),
            GetEvent::Done(report) => one.on_done(report),
            GetEvent::Skipped { file, target } => {
                one.forget_failure(&file);
                one.skipped_files += 1;
                one.keep(FileDone {
                    file,
                    target,
                    bytes: 0,
                    blake3: None,
                    resumed_bytes: 0,
                    elapsed: Duration::ZERO,
                });
            }
            GetEvent::StartsOver { .. } => one.changed = true,
            GetEvent::Failed { file, error } => one.on_failed(file, &error),
            GetEvent::Finished => {
                one.on_finished(now);
                return if one.state == TransferState::Done {
                    Some(Ending::Done(one.title()))
                } else if one.state == TransferState::Failed {
                    let reason = one.failures.front().map(|failure| failure.text.clone());
                    Some(Ending::Failed(one.title(), reason.unwrap_or_default()))
                } else {
                    None
                };
            }
        }
        None
    }

    /// The engine has ended: nothing of it comes any more. Paused and unfinished downloads can be
    /// fetched again from where they are.
    pub(in crate::model) fn on_engine_ended(&mut self, now: Timestamp, reason: &str) {
        for one in self.list.iter_mut().filter(|one| !one.state.is_ended()) {
            one.failed_files += 1;
            one.failures.push_back(Failure {
                file: String::new(),
                cause: Cause::Unreachable,
                text: reason.to_owned(),
            });
            one.ended = Some(now);
            one.state = TransferState::Failed;
        }
    }

    /// The download that a person most likely means: one that moves, else the newest.
    #[must_use]
    pub fn foremost(&self) -> Option<&Transfer> {
        let moving = self.list.iter().find(|one| one.state.is_moving());
        moving.or_else(|| self.list.back())
    }
}

#[cfg(test)]
#[path = "transfers_tests.rs"]
mod tests;
