//! One download: state, progress, rate, what came and what failed.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::Duration;

use columba_core::units::Timestamp;

use super::cause::Cause;
use super::rate::{MovingRate, Series};
use crate::engine::message::{Command, FileReport, GetPhase, GetProgress};
use crate::exit_code::ClientError;

/// Files of one download whose ends are kept.
const MAX_KEPT_FILES: usize = 1000;

/// One download: a file, several, or a folder.
#[derive(Clone, Debug)]
pub struct Transfer {
    pub(super) request: u32,
    pub(super) names: Vec<String>,
    pub(super) folder: PathBuf,
    pub(super) state: TransferState,
    pub(super) progress: GetProgress,
    pub(super) rate: MovingRate,
    pub(super) throughput: Series,
    pub(super) files: VecDeque<FileDone>,
    pub(super) failures: VecDeque<Failure>,
    pub(super) failed_files: usize,
    pub(super) skipped_files: usize,
    pub(super) changed: bool,
    pub(super) started: Timestamp,
    pub(super) ended: Option<Timestamp>,
}

/// What a download does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TransferState {
    /// It waits for the connection, the server's answer, or its turn.
    Queued,
    /// What is here of it is being checked.
    Preparing,
    /// It comes.
    Active,
    /// It should come, and nothing has for a while.
    Stalled,
    /// The person paused it.
    Paused,
    /// All of it is here and is being checked and written.
    Verifying,
    /// All of it is verified and in place.
    Done,
    /// Some of it could not be had: see [`Transfer::failures`].
    Failed,
    /// The person gave it up.
    Cancelled,
}

impl TransferState {
    /// Whether nothing more happens by itself.
    #[must_use]
    pub const fn is_ended(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Cancelled)
    }

    /// Whether it moves, or should.
    #[must_use]
    pub const fn is_moving(self) -> bool {
        matches!(
            self,
            Self::Preparing | Self::Active | Self::Stalled | Self::Verifying
        )
    }

    /// One word for the person.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Preparing => "preparing",
            Self::Active => "downloading",
            Self::Stalled => "stalled",
            Self::Paused => "paused",
            Self::Verifying => "verifying",
            Self::Done => "verified",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// A file that is verified and in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileDone {
    /// The server's name for it.
    pub file: String,
    /// Where it is.
    pub target: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// BLAKE3 of its content; `None` when it was there already and was left alone.
    pub blake3: Option<[u8; 32]>,
    /// Bytes that were here already.
    pub resumed_bytes: u64,
    /// How long it took.
    pub elapsed: Duration,
}

/// A file that could not be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The server's name for it; empty when it concerns the whole download.
    pub file: String,
    /// What kind of thing.
    pub cause: Cause,
    /// One line for the person.
    pub text: String,
}

impl Transfer {
    /// The download's number, in commands and events.
    #[must_use]
    pub const fn request(&self) -> u32 {
        self.request
    }

    /// The names that were asked for.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// What to call it: the file or folder, and how many more.
    #[must_use]
    pub fn title(&self) -> String {
        let first = self.names.first().map_or("everything", String::as_str);
        let first = if first.is_empty() {
            "everything"
        } else {
            first
        };
        match self.names.len() {
            0 | 1 => first.to_owned(),
            more => format!("{first} and {} more", more - 1),
        }
    }

    /// The folder it goes to.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What it does.
    #[must_use]
    pub const fn state(&self) -> TransferState {
        self.state
    }

    /// Bytes that are here, and bytes of all of it; both 0 until the server has answered.
    #[must_use]
    pub const fn bytes(&self) -> (u64, u64) {
        (self.progress.done_bytes, self.progress.total_bytes)
    }

    /// Share that is here, 0 to 1.
    #[must_use]
    pub fn share(&self) -> f32 {
        let (done, total) = self.bytes();
        if self.state == TransferState::Done {
            return 1.0;
        }
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            reason = "for display"
        )]
        let share = (done as f64 / total.max(1) as f64) as f32;
        share.clamp(0.0, 1.0)
    }

    /// Files that ended, and all files; both 0 until the server has answered.
    #[must_use]
    pub const fn file_counts(&self) -> (usize, usize) {
        (self.progress.done_files, self.progress.total_files)
    }

    /// A file that is coming.
    #[must_use]
    pub fn current(&self) -> &str {
        &self.progress.current
    }

    /// Bytes per second over the last seconds, while it comes.
    #[must_use]
    pub fn rate(&self) -> Option<f64> {
        self.state
            .is_moving()
            .then(|| self.rate.per_second())
            .flatten()
    }

    /// How long the rest takes at this rate.
    #[must_use]
    pub fn eta(&self) -> Option<Duration> {
        let (done, total) = self.bytes();
        if self.state != TransferState::Active || total == 0 {
            return None;
        }
        self.rate.time_for(total.saturating_sub(done))
    }

    /// Bytes per second over time.
    #[must_use]
    pub const fn throughput(&self) -> &Series {
        &self.throughput
    }

    /// Files that are verified and in place, or were left alone; the latest thousand.
    pub fn files(&self) -> impl DoubleEndedIterator<Item = &FileDone> {
        self.files.iter()
    }

    /// The hash of a download of one file, as 64 hex digits.
    #[must_use]
    pub fn hash(&self) -> Option<String> {
        let only = self.files.front().filter(|_| self.files.len() == 1)?;
        only.blake3
            .map(|hash| blake3::Hash::from(hash).to_hex().to_string())
    }

    /// Files that could not be had; the first thousand.
    pub fn failures(&self) -> impl DoubleEndedIterator<Item = &Failure> {
        self.failures.iter()
    }

    /// How many files could not be had.
    #[must_use]
    pub const fn failed_files(&self) -> usize {
        self.failed_files
    }

    /// How many files were there already and were left alone.
    #[must_use]
    pub const fn skipped_files(&self) -> usize {
        self.skipped_files
    }

    /// Whether a file changed on the server while it came, and started from zero.
    #[must_use]
    pub const fn has_changed(&self) -> bool {
        self.changed
    }

    /// How long it has taken, pauses included.
    #[must_use]
    pub fn elapsed(&self, now: Timestamp) -> Duration {
        self.ended.unwrap_or(now) - self.started
    }

    /// What to open to show it: its file, or its folder.
    #[must_use]
    pub fn target(&self) -> &Path {
        match self.files.front() {
            Some(only) if self.files.len() == 1 => &only.target,
            Some(_) | None => &self.folder,
        }
    }

    pub(super) fn command(&self, names: Vec<String>) -> Command {
        Command::Get {
            request: self.request,
            names,
            target: None,
            folder: Some(self.folder.clone()),
            roots: self.names.clone(),
        }
    }

    pub(super) fn on_progress(&mut self, now: Timestamp, progress: GetProgress) {
        let state = match progress.phase {
            GetPhase::Queued => TransferState::Queued,
            GetPhase::Preparing => TransferState::Preparing,
            GetPhase::Active => TransferState::Active,
            GetPhase::Stalled => TransferState::Stalled,
            GetPhase::Paused => TransferState::Paused,
            GetPhase::Verifying => TransferState::Verifying,
        };
        if state != TransferState::Active && state != self.state {
            self.rate.clear();
        }
        self.state = state;
        if self.state == TransferState::Active {
            self.rate.record(now, progress.done_bytes);
            if let Some(rate) = self.rate.per_second() {
                self.throughput.record(now, rate);
            }
        }
        self.progress = progress;
    }

    pub(super) fn on_done(&mut self, report: FileReport) {
        // A retried file is no failure any more.
        self.forget_failure(&report.file);
        self.keep(FileDone {
            file: report.file,
            target: report.target,
            bytes: report.bytes,
            blake3: Some(report.blake3),
            resumed_bytes: report.resumed_bytes,
            elapsed: report.elapsed,
        });
    }

    pub(super) fn keep(&mut self, file: FileDone) {
        self.files.push_back(file);
        if self.files.len() > MAX_KEPT_FILES {
            self.files.pop_front();
        }
    }

    pub(super) fn forget_failure(&mut self, file: &str) {
        let before = self.failures.len();
        self.failures.retain(|failure| failure.file != file);
        self.failed_files -= before - self.failures.len();
    }

    pub(super) fn on_failed(&mut self, file: String, error: &ClientError) {
        self.failed_files += 1;
        if self.failures.len() < MAX_KEPT_FILES {
            self.failures.push_back(Failure {
                file,
                cause: Cause::of(error),
                text: error.to_string(),
            });
        }
    }

    pub(super) fn on_finished(&mut self, now: Timestamp) {
        self.ended = Some(now);
        if self.state == TransferState::Cancelled {
            return;
        }
        self.state = if self.failed_files > 0 {
            TransferState::Failed
        } else {
            self.progress.done_bytes = self.progress.total_bytes;
            self.progress.done_files = self.progress.total_files;
            TransferState::Done
        };
    }
}
