//! What a person does: typing, opening conversations, fetching files.

use std::path::PathBuf;

use columba_core::chat::COMMANDS;
use columba_core::units::Timestamp;

use super::calendar::Moment;
use super::input::{Asked, Candidates};
use super::timeline::{Conversation, EntryKind};
use super::{Effect, Model, units};
use crate::engine::message::{Command, FileInfo};

/// Lines of a list of files that is told in the timeline.
const MAX_TOLD_FILES: usize = 50;

impl Model {
    /// The line being typed has changed.
    pub fn edit(&mut self, text: String) {
        self.input.set(text);
    }

    /// Tab, or Shift+Tab for `backwards`: completes commands, names and files.
    pub fn complete(&mut self, backwards: bool) {
        let mut candidates = Candidates::default();
        if self.input.completions().0.is_empty() {
            let others = self.people.iter().filter(|person| !person.own);
            candidates.names = others.map(|person| person.name.clone()).collect();
            candidates.files = self.files.iter().map(|file| file.name.clone()).collect();
        }
        self.input.complete(backwards, &candidates);
    }

    /// Up for `older`, or Down: goes through the lines typed before.
    pub fn recall(&mut self, older: bool) {
        self.input.recall(older);
    }

    /// Enter.
    #[must_use]
    pub fn submit(&mut self, moment: Moment) -> Vec<Effect> {
        let asked = match self.input.submit() {
            Ok(asked) => asked,
            Err(error) => {
                self.tell(moment, EntryKind::Error(None), &error);
                return Vec::new();
            }
        };
        let needs_server = !matches!(asked, Asked::Nothing | Asked::Help | Asked::Disconnect);
        if needs_server && !self.connection.is_active() {
            // What was typed is in the history.
            let text = "You are offline: connect first, then press ↑ to get this line again.";
            self.tell(moment, EntryKind::Error(None), text);
            return Vec::new();
        }
        self.shown_is_read();
        match asked {
            Asked::Nothing => Vec::new(),
            Asked::Say(text) => vec![Effect::Send(self.saying(text))],
            Asked::Whisper { to, text } => vec![Effect::Send(Command::Whisper { to, text })],
            Asked::Users => {
                self.tell_users(moment);
                vec![Effect::Send(Command::Users)]
            }
            Asked::Files { prefix } => {
                self.asked_files = Some(prefix.clone());
                vec![Effect::Send(Command::Files { prefix })]
            }
            Asked::Get { file } => self.get(moment.now, vec![file], None),
            Asked::Disconnect => vec![Effect::Disconnect],
            Asked::Help => vec![Effect::ShowCommands],
        }
    }

    /// Who speaks has seen what was said before.
    fn shown_is_read(&mut self) {
        let shown = self.timelines.shown_mut();
        shown.page_newest();
        shown.clear_mark();
    }

    fn saying(&self, text: String) -> Command {
        match self.timelines.current() {
            Conversation::Everybody => Command::Say(text),
            Conversation::Person(to) => Command::Whisper {
                to: to.clone(),
                text,
            },
        }
    }

    fn tell_users(&mut self, moment: Moment) {
        let names: Vec<&str> = self
            .people
            .iter()
            .filter(|person| person.present)
            .map(|person| person.name.as_str())
            .collect();
        let text = format!("{} here: {}", names.len(), names.join(", "));
        self.tell(moment, EntryKind::Info, &text);
    }

    /// Answers a typed `/files`.
    pub(in crate::model) fn tell_files(
        &mut self,
        moment: Moment,
        prefix: &str,
        files: &[FileInfo],
    ) {
        let mut text = match files.len() {
            0 if prefix.is_empty() => "The server shares no files.".to_owned(),
            0 => format!("No shared file starts with {prefix}."),
            1 => "1 file:".to_owned(),
            count => format!("{count} files:"),
        };
        for file in files.iter().take(MAX_TOLD_FILES) {
            text += &format!("\n{}  {}", file.name, units::size(file.size));
        }
        if files.len() > MAX_TOLD_FILES {
            text += "\nThe list of files shows them all.";
        }
        self.tell(moment, EntryKind::Info, &text);
    }

    /// What to ask for right after connecting: who is there, and what is shared.
    #[must_use]
    pub fn first_questions() -> Vec<Command> {
        vec![
            Command::Users,
            Command::Files {
                prefix: String::new(),
            },
        ]
    }

    /// Asks for the list of files anew.
    #[must_use]
    pub fn refresh_files() -> Vec<Effect> {
        let prefix = String::new();
        vec![Effect::Send(Command::Files { prefix })]
    }

    /// Shows a conversation; what is in it is read.
    pub fn open(&mut self, conversation: Conversation) {
        if let Conversation::Person(name) = &conversation {
            self.people.read(name);
        }
        self.timelines.shown_mut().clear_mark();
        self.timelines.open(conversation);
    }

    /// All conversations in the order in which they are listed: everybody first.
    #[must_use]
    pub fn conversations(&self) -> Vec<Conversation> {
        let others = self.people.iter().filter(|person| !person.own);
        let people = others.map(|person| Conversation::Person(person.name.clone()));
        std::iter::once(Conversation::Everybody)
            .chain(people)
            .collect()
    }

    /// Alt+Down, or Alt+Up for `back`: shows the next conversation, round at the ends.
    pub fn open_next(&mut self, back: bool) {
        let all = self.conversations();
        let current = self.timelines.current();
        let at = all.iter().position(|one| one == current).unwrap_or(0);
        let step = if back { all.len() - 1 } else { 1 };
        if let Some(next) = all.get((at + step) % all.len()) {
            self.open(next.clone());
        }
    }

    /// Whether the window has the keyboard, and whether the end of the shown conversation is in sight.
    pub fn set_attention(&mut self, focused: bool, at_end: bool) {
        self.focused = focused;
        let watched = focused && at_end;
        self.timelines.set_watched(watched);
        if let Conversation::Person(name) = self.timelines.current()
            && watched
        {
            self.people.read(name);
        }
    }

    /// Downloads files or folders by their listed names, to `folder` or the usual one. Nothing happens
    /// while there is no engine.
    #[must_use]
    pub fn get(
        &mut self,
        now: Timestamp,
        names: Vec<String>,
        folder: Option<PathBuf>,
    ) -> Vec<Effect> {
        if !self.connection.is_active() {
            return Vec::new();
        }
        vec![Effect::Send(self.transfers.add(now, names, folder))]
    }

    /// Pauses a download.
    #[must_use]
    pub fn pause(&mut self, request: u32) -> Vec<Effect> {
        sending(self.transfers.pause(request))
    }

    /// Goes on with a paused download.
    #[must_use]
    pub fn resume(&mut self, request: u32) -> Vec<Effect> {
        sending(self.transfers.resume(request))
    }

    /// Gives a download up; with `keep` what is here of it stays for a later try.
    #[must_use]
    pub fn cancel(&mut self, now: Timestamp, request: u32, keep: bool) -> Vec<Effect> {
        sending(self.transfers.cancel(now, request, keep))
    }

    /// Fetches again what failed of a download, or all of a cancelled one, perhaps to another folder.
    #[must_use]
    pub fn retry(&mut self, now: Timestamp, request: u32, folder: Option<PathBuf>) -> Vec<Effect> {
        if !self.connection.is_active() {
            return Vec::new();
        }
        sending(self.transfers.retry(now, request, folder))
    }

    /// Retries all downloads that failed.
    #[must_use]
    pub fn retry_all(&mut self, now: Timestamp) -> Vec<Effect> {
        use super::transfers::TransferState::Failed;
        if !self.connection.is_active() {
            return Vec::new();
        }
        let failed = self.transfers.iter().filter(|one| one.state() == Failed);
        let failed: Vec<u32> = failed.map(super::transfers::Transfer::request).collect();
        let again = failed
            .into_iter()
            .filter_map(|request| self.transfers.retry(now, request, None));
        again.map(Effect::Send).collect()
    }

    /// Takes an ended download out of the list.
    pub fn forget_transfer(&mut self, request: u32) {
        self.transfers.remove(request);
    }

    /// Takes all downloads out of the list that are done or cancelled.
    pub fn clear_done_transfers(&mut self) {
        self.transfers.clear_done();
    }

    /// Changes the folder that downloads go to unless told otherwise.
    pub fn set_download_folder(&mut self, folder: PathBuf) {
        self.transfers.set_folder(folder);
    }

    /// Tries to connect at once instead of waiting.
    #[must_use]
    pub fn connect_now() -> Vec<Effect> {
        vec![Effect::Send(Command::ConnectNow)]
    }

    /// When the window should be drawn anew though nothing comes: countdowns, figures that grow old.
    #[must_use]
    pub fn next_tick(&self, now: Timestamp) -> Option<Timestamp> {
        let all = [self.connection.next_tick(now), self.network.next_tick(now)];
        all.into_iter().flatten().min()
    }

    /// The commands as the window lists them: usage and what it does.
    pub fn commands() -> impl Iterator<Item = (String, &'static str)> {
        COMMANDS.iter().map(|command| {
            let usage = format!("/{} {}", command.name, command.arguments);
            (usage.trim_end().to_owned(), command.about)
        })
    }
}

fn sending(command: Option<Command>) -> Vec<Effect> {
    command.map(Effect::Send).into_iter().collect()
}
