//! Downloads as the window lists them: state, progress, rate, and what to do about a failure.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use columba_core::units::Timestamp;

use super::rate::{MovingRate, Series};
use crate::engine::message::{Command, FileReport, GetEvent, GetPhase, GetProgress};
use crate::exit_code::ClientError;
use crate::storage::StorageError;

/// Downloads that are listed; the oldest ended ones go first.
const MAX_LISTED: usize = 500;
/// Files of one download whose ends are kept.
const MAX_KEPT_FILES: usize = 1000;

/// All downloads, oldest first.
#[derive(Clone, Debug)]
pub struct Transfers {
    list: VecDeque<Transfer>,
    next_request: u32,
    folder: PathBuf,
}

/// One download: a file, several, or a folder.
#[derive(Clone, Debug)]
pub struct Transfer {
    request: u32,
    names: Vec<String>,
    folder: PathBuf,
    state: TransferState,
    progress: GetProgress,
    rate: MovingRate,
    throughput: Series,
    files: VecDeque<FileDone>,
    failures: VecDeque<Failure>,
    failed_files: usize,
    skipped_files: usize,
    changed: bool,
    started: Timestamp,
    ended: Option<Timestamp>,
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

/// Why a file could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The server shares no such file (any more).
    NoSuchFile,
    /// It changed on the server while it came, twice.
    SourceChanged,
    /// What came is not what the server has.
    Integrity,
    /// There is no room on the disk.
    DiskFull,
    /// We may not write there.
    NotWritable,
    /// A file of this name is there.
    Exists,
    /// The disk failed otherwise, or the name is impossible here.
    Disk,
    /// UDP does not get through.
    UdpBlocked,
    /// The server cannot be reached, or nothing came for too long.
    Unreachable,
    /// The server refused it.
    Server,
}

/// What a person may do about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Advice {
    /// Try again: it goes on where it stopped.
    Retry,
    /// Make room on the disk, or choose another folder, then try again.
    MakeRoom,
    /// Choose another folder.
    ChooseFolder,
    /// Look at the list of files: it may have another name now.
    LookAtFiles,
    /// Let UDP through the firewall.
    OpenFirewall,
    /// Nothing but asking the server's operator.
    AskOperator,
}

impl Cause {
    /// What a person may do about it.
    #[must_use]
    pub const fn advice(self) -> Advice {
        match self {
            Self::NoSuchFile => Advice::LookAtFiles,
            Self::SourceChanged | Self::Unreachable | Self::Integrity => Advice::Retry,
            Self::DiskFull => Advice::MakeRoom,
            Self::NotWritable | Self::Exists | Self::Disk => Advice::ChooseFolder,
            Self::UdpBlocked => Advice::OpenFirewall,
            Self::Server => Advice::AskOperator,
        }
    }

    /// What an error is.
    #[must_use]
    pub fn of(error: &ClientError) -> Self {
        match error {
            ClientError::NoSuchFile(_) => Self::NoSuchFile,
            ClientError::Integrity { reason, .. } if reason.contains("changed") => {
                Self::SourceChanged
            }
            ClientError::Integrity { .. } => Self::Integrity,
            ClientError::Connect { reason, .. } if reason.contains("UDP") => Self::UdpBlocked,
            ClientError::Connect { .. } | ClientError::Stalled(_) | ClientError::Lost(_) => {
                Self::Unreachable
            }
            ClientError::Storage(StorageError::Exists { .. }) => Self::Exists,
            ClientError::Storage(StorageError::Io { source, .. }) => Self::of_disk(source),
            ClientError::Storage(_) | ClientError::State { .. } => Self::Disk,
            ClientError::Usage(_)
            | ClientError::KeyChanged { .. }
            | ClientError::Fingerprint { .. }
            | ClientError::Refused(_)
            | ClientError::Partial { .. }
            | ClientError::Stopped { .. }
            | ClientError::Server(_)
            | ClientError::System { .. } => Self::Server,
        }
    }

    fn of_disk(error: &io::Error) -> Self {
        let full = [
            io::ErrorKind::StorageFull,
            io::ErrorKind::QuotaExceeded,
            io::ErrorKind::FileTooLarge,
        ];
        let closed = [
            io::ErrorKind::PermissionDenied,
            io::ErrorKind::ReadOnlyFilesystem,
        ];
        if full.contains(&error.kind()) {
            Self::DiskFull
        } else if closed.contains(&error.kind()) {
            Self::NotWritable
        } else {
            Self::Disk
        }
    }
}

impl Advice {
    /// One line for the person.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Retry => "Try again: it goes on where it stopped.",
            Self::MakeRoom => "Make room on the disk or choose another folder, then try again.",
            Self::ChooseFolder => "Choose another folder and try again.",
            Self::LookAtFiles => "Look at the list of files: it may have another name now.",
            Self::OpenFirewall => {
                "Let UDP through the firewall, on the same port number as the server's address."
            }
            Self::AskOperator => "Ask the server's operator.",
        }
    }
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

    fn command(&self, names: Vec<String>) -> Command {
        Command::Get {
            request: self.request,
            names,
            target: None,
            folder: Some(self.folder.clone()),
            roots: self.names.clone(),
        }
    }

    fn on_progress(&mut self, now: Timestamp, progress: GetProgress) {
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

    fn on_done(&mut self, report: FileReport) {
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

    fn keep(&mut self, file: FileDone) {
        self.files.push_back(file);
        if self.files.len() > MAX_KEPT_FILES {
            self.files.pop_front();
        }
    }

    fn forget_failure(&mut self, file: &str) {
        let before = self.failures.len();
        self.failures.retain(|failure| failure.file != file);
        self.failed_files -= before - self.failures.len();
    }

    fn on_failed(&mut self, file: String, error: &ClientError) {
        self.failed_files += 1;
        if self.failures.len() < MAX_KEPT_FILES {
            self.failures.push_back(Failure {
                file,
                cause: Cause::of(error),
                text: error.to_string(),
            });
        }
    }

    fn on_finished(&mut self, now: Timestamp) {
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
                return match one.state {
                    TransferState::Done => Some(Ending::Done(one.title())),
                    TransferState::Failed => {
                        let reason = one.failures.front().map(|failure| failure.text.clone());
                        Some(Ending::Failed(one.title(), reason.unwrap_or_default()))
                    }
                    _ => None,
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
