//! What each act of a person changes, and what it asks of the engine.

use iced::Task;
use iced::widget::operation;
use iced::widget::selector;

use super::app::{App, Do, Message};
use super::desktop;
use super::dialog::{self, Dialog, palette, settings};
use super::downloads::choose;
use super::screen::{composer, connect, talk, timeline};
use super::worker::Told;
use crate::engine::CommandError;
use crate::engine::message::{Command, Event};
use crate::model::connection::State;
use crate::model::{Effect, Model};
use crate::preferences::RecentServer;

impl App {
    pub(super) fn on_connect(&mut self, message: connect::Message) -> Task<Message> {
        let submits = matches!(
            message,
            connect::Message::Submit | connect::Message::Recent(_)
        );
        match self.connect.update(message) {
            Some(connect::Event::Connect(wish)) => return self.start(wish),
            Some(connect::Event::Forget(address)) => {
                self.preferences.forget(&address);
                self.save();
            }
            Some(connect::Event::Cancel) => self.leave(),
            Some(connect::Event::TryNow) => return self.carry_out(Model::connect_now()),
            Some(connect::Event::Copy(text)) => return self.copy(text),
            None if submits => return self.connect.focus_wrong(),
            None => {}
        }
        Task::none()
    }

    /// Starts an engine. One that still says goodbye is dropped for it.
    fn start(&mut self, wish: connect::Wish) -> Task<Message> {
        let downloads = self.model.transfers().folder().to_path_buf();
        match self.launch.session(&wish, self.sessions + 1, downloads) {
            Ok(session) => {
                self.sessions += 1;
                let moment = self.launch.watch.moment();
                let server = wish.server.to_string();
                self.model.on_engine_started(moment, &server);
                self.session = Some(session);
                self.commands = None;
                self.waiting.clear();
                self.wish = Some(wish);
                self.talk.key_seen = false;
            }
            Err(error) => self.toast(error.to_string()),
        }
        Task::none()
    }

    pub(super) fn on_engine(&mut self, number: u64, told: Told) -> Task<Message> {
        // What a former engine still tells is about nothing that is shown.
        if self.session.as_ref().map(|session| session.number) != Some(number) {
            return Task::none();
        }
        match told {
            Told::Started(commands) => {
                self.commands = Some(commands);
                for command in std::mem::take(&mut self.waiting) {
                    self.send(command);
                }
                Task::none()
            }
            Told::NotStarted(error) => {
                let events = vec![Event::Ended(Err(crate::exit_code::ClientError::System {
                    action: "start the network engine",
                    source: error,
                }))];
                self.on_events(events)
            }
            Told::Events(events) => self.on_events(events),
        }
    }

    fn on_events(&mut self, events: Vec<Event>) -> Task<Message> {
        let was_talking = self.is_talking();
        let again = events
            .iter()
            .any(|event| matches!(event, Event::Welcome { again: true, .. }));
        let ended = events.iter().any(|event| matches!(event, Event::Ended(_)));
        let notices = self.model.fold(self.launch.watch.moment(), events);
        self.notify(&notices);
        let mut tasks = Vec::new();
        if ended {
            self.session = None;
            self.commands = None;
            if self.closing {
                return iced::exit();
            }
            tasks.push(self.on_end());
        }
        if again {
            // Who is there and what is shared may have changed meanwhile.
            let questions = Model::first_questions().into_iter().map(Effect::Send);
            tasks.push(self.carry_out(questions.collect()));
        }
        if self.is_talking() && !was_talking {
            self.remember_server();
            tasks.push(operation::focus(composer::INPUT));
        }
        Task::batch(tasks)
    }

    fn on_end(&mut self) -> Task<Message> {
        self.dialog = None;
        let trouble = self.model.connection().trouble();
        if let Some(trouble) = trouble {
            self.connect.on_trouble(trouble);
        }
        self.connect.focus(trouble)
    }

    fn remember_server(&mut self) {
        let Some(wish) = &self.wish else { return };
        self.preferences.name.clone_from(&wish.name);
        self.preferences.met(RecentServer {
            address: wish.address.clone(),
            name: wish.name.clone(),
            plaintext: wish.plaintext,
            fingerprint: self.model.connection().fingerprint().map(str::to_owned),
        });
        self.save();
    }

    /// Carries out what the model asks for.
    pub(super) fn carry_out(&mut self, effects: Vec<Effect>) -> Task<Message> {
        for effect in effects {
            match effect {
                Effect::Send(command) => self.send(command),
                Effect::ShowCommands => self.dialog = Some(Dialog::Commands),
                Effect::Disconnect => self.leave(),
            }
        }
        Task::none()
    }

    fn send(&mut self, command: Command) {
        let Some(commands) = &self.commands else {
            if self.session.is_some() {
                // The engine's thread is on its way.
                self.waiting.push(command);
            } else {
                self.toast("There is no connection now.");
            }
            return;
        };
        match commands.send(command) {
            Ok(()) => {}
            Err(CommandError::Full) => self.toast("Too much at once: try again in a moment."),
            // Its last words are on their way.
            Err(CommandError::Ended) => {}
        }
    }

    /// Says goodbye; what can be resumed stays.
    fn leave(&mut self) {
        if let Some(commands) = &self.commands
            && commands.send(Command::Stop).is_ok()
        {
            return;
        }
        // It has not even begun, or has ended.
        self.session = None;
        let moment = self.launch.watch.moment();
        self.model.fold(moment, vec![Event::Ended(Ok(()))]);
    }

    pub(super) fn close(&mut self) -> Task<Message> {
        self.save();
        if self.closing || self.session.is_none() {
            return iced::exit();
        }
        self.closing = true;
        self.leave();
        if self.session.is_none() {
            return iced::exit();
        }
        Task::none()
    }

    fn copy(&mut self, text: String) -> Task<Message> {
        self.toast("Copied");
        iced::clipboard::write(text)
    }

    pub(super) fn on_talk(&mut self, message: talk::Message) -> Task<Message> {
        use talk::Message as M;
        match message {
            M::Edit(action) => {
                let edits = action.is_edit();
                self.talk.line.perform(action);
                if edits {
                    self.model.edit(self.talk.line.text());
                }
            }
            M::Take(text) => return self.take(text),
            M::Send => return self.submit(),
            M::Open(conversation) => return self.on_do(Do::Open(conversation)),
            M::Older => self.model.timelines_mut().shown_mut().page_older(),
            M::Newer => self.model.timelines_mut().shown_mut().page_newer(),
            M::Newest => return self.on_do(Do::Newest),
            M::JumpUnread => return self.jump_to_unread(),
            M::Scrolled(viewport) => self.on_scrolled(viewport),
            M::FindOpen => return self.on_do(Do::Find),
            M::FindTyped(query) => return self.find(query),
            M::FindNext(older) => {
                self.model.timelines_mut().shown_mut().find_next(older);
                return self.show_hit();
            }
            M::FindClose => self.close_find(),
            M::Pointed(talk::Pointer::Link(link)) => self.open(desktop::open_link(&link)),
            M::Pointed(talk::Pointer::File(name)) => return self.get(name),
            M::Copy(text) => return self.copy(text),
            M::KeySeen => self.talk.key_seen = true,
            M::Disconnect => return self.on_do(Do::Disconnect),
            M::Download => return self.on_do(Do::Download),
            M::Commands => return self.on_do(Do::Commands),
            M::Settings => return self.on_do(Do::Settings),
            M::TryNow => return self.carry_out(Model::connect_now()),
            M::OpenPath(path) => self.open(desktop::open_path(&path)),
            M::SearchFiles(_)
            | M::SortFiles(_)
            | M::RefreshFiles
            | M::ToggleFiles
            | M::Get(_)
            | M::Retry(_)
            | M::RetryAll
            | M::Pause(_)
            | M::Resume(_)
            | M::CancelTransfer(_)
            | M::ForgetTransfer(_)
            | M::ClearDone
            | M::Elsewhere(_)
            | M::Select(_)
            | M::Figures(_)
            | M::ToggleBehind
            | M::ToggleTransfers => return self.on_files(message),
        }
        Task::none()
    }

    fn submit(&mut self) -> Task<Message> {
        let effects = self.model.submit(self.launch.watch.moment());
        let gets = effects
            .iter()
            .any(|effect| matches!(effect, Effect::Send(Command::Get { .. })));
        if gets {
            self.show_downloads();
        }
        let carried = self.carry_out(effects);
        Task::batch([carried, self.on_do(Do::Newest)])
    }

    /// Puts this into the line, to go on from there.
    fn take(&mut self, text: String) -> Task<Message> {
        self.model.edit(text);
        operation::focus(composer::INPUT)
    }

    /// A reader who has scrolled up stays where they are; one at the end follows it.
    fn on_scrolled(&mut self, viewport: iced::widget::scrollable::Viewport) {
        // The timeline is anchored at its end: offsets count from there.
        let at_end = viewport.absolute_offset().y < 24.0;
        if at_end == self.talk.at_end {
            return;
        }
        self.talk.at_end = at_end;
        let shown = self.model.timelines_mut().shown_mut();
        if !at_end {
            shown.hold_page();
        } else if !shown.has_newer() {
            shown.page_newest();
        }
        self.pay_attention();
    }

    fn jump_to_unread(&mut self) -> Task<Message> {
        let shown = self.model.timelines_mut().shown_mut();
        if let Some(mark) = shown.unread_mark() {
            shown.page_to(mark);
        }
        find_and_scroll(iced::widget::Id::new(timeline::MARK))
    }

    fn find(&mut self, query: String) -> Task<Message> {
        self.model.timelines_mut().shown_mut().find(&query);
        self.talk.find = Some(query);
        self.show_hit()
    }

    fn show_hit(&self) -> Task<Message> {
        let hit = self.model.timelines().shown().find_current();
        hit.map_or_else(Task::none, |hit| find_and_scroll(timeline::row_id(hit)))
    }

    fn close_find(&mut self) {
        self.talk.find = None;
        self.model.timelines_mut().shown_mut().find("");
    }

    pub(super) fn on_do(&mut self, what: Do) -> Task<Message> {
        match what {
            Do::Zoom(steps) => self.zoom_by(steps),
            Do::Theme(theme) => {
                self.preferences.theme = theme;
                self.choose_look();
                self.save();
            }
            Do::Settings => return self.open_settings(),
            Do::Escape => return self.escape(),
            Do::Tab { back } if !self.is_talking() || self.dialog.is_some() => {
                return if back {
                    operation::focus_previous()
                } else {
                    operation::focus_next()
                };
            }
            Do::Arrow { down } => return self.arrow(down),
            _ if !self.is_talking() => {}
            Do::Type(_) | Do::Paste if self.dialog.is_some() => {}
            Do::Paste => return iced::clipboard::read().map(Message::Pasted),
            Do::Type(typed) => {
                let text = format!("{}{typed}", self.model.input().text());
                return self.take(text);
            }
            Do::Tab { back } => {
                self.model.complete(back);
                return operation::focus(composer::INPUT);
            }
            Do::NextConversation { back } => {
                self.close_find();
                self.model.open_next(back);
                return self.opened();
            }
            Do::Open(conversation) => {
                self.close_find();
                self.model.open(conversation);
                return self.opened();
            }
            Do::Newest => {
                self.model.timelines_mut().shown_mut().page_newest();
                self.talk.at_end = true;
                self.pay_attention();
                return to_end();
            }
            Do::Download => return self.open_download(),
            Do::Commands => self.dialog = Some(Dialog::Commands),
            Do::Disconnect => {
                self.dialog = None;
                self.leave();
            }
            Do::Get(name) => return self.get(name),
            Do::Find => {
                self.dialog = None;
                self.talk.find.get_or_insert_default();
                return operation::focus(talk::FIND);
            }
            Do::Transfers => self.show_transfers(!self.talk.transfers.open),
            Do::Files => self.toggle_files(),
            Do::Palette => {
                self.dialog = Some(Dialog::Palette(palette::Dialog::default()));
                return operation::focus(palette::SEARCH);
            }
            Do::RetryAll => {
                let effects = self.model.retry_all(self.launch.watch.now());
                return self.carry_out(effects);
            }
        }
        Task::none()
    }

    fn zoom_by(&mut self, steps: i32) {
        let before = u32::from(self.preferences.zoom_percent);
        match steps {
            0 => self.preferences.zoom_percent = 100,
            steps => self.preferences.zoom(steps > 0),
        }
        // The window stays as it is, and holds more or less.
        let now = u32::from(self.preferences.zoom_percent);
        let (width, height) = self.preferences.window;
        self.preferences.window = (width * before / now, height * before / now);
        self.save();
    }

    fn opened(&mut self) -> Task<Message> {
        self.talk.at_end = true;
        self.pay_attention();
        Task::batch([to_end(), operation::focus(composer::INPUT)])
    }

    fn open_settings(&mut self) -> Task<Message> {
        self.dialog = Some(Dialog::Settings(settings::Dialog {
            folder: self.folder_text(),
        }));
        Task::none()
    }

    fn escape(&mut self) -> Task<Message> {
        if self.dialog.take().is_some() {
            self.save();
        } else if self.talk.find.is_some() {
            self.close_find();
        }
        if self.is_talking() {
            operation::focus(composer::INPUT)
        } else {
            Task::none()
        }
    }

    fn arrow(&mut self, down: bool) -> Task<Message> {
        let talks = self.is_talking() && self.talk.find.is_none();
        match &mut self.dialog {
            Some(Dialog::Palette(dialog)) => dialog.step(&self.model, down),
            None if talks => {
                self.model.recall(!down);
                return operation::focus(composer::INPUT);
            }
            Some(_) | None => {}
        }
        Task::none()
    }

    pub(super) fn on_dialog(&mut self, message: dialog::Message) -> Task<Message> {
        match message {
            dialog::Message::Close => self.escape(),
            dialog::Message::Command(text) => {
                self.dialog = None;
                self.take(text)
            }
            dialog::Message::Download(message) => self.on_download(message),
            dialog::Message::Settings(message) => self.on_settings(message),
            dialog::Message::Palette(message) => self.on_palette(message),
        }
    }

    fn on_settings(&mut self, message: settings::Message) -> Task<Message> {
        match message {
            settings::Message::Theme(theme) => return self.on_do(Do::Theme(theme)),
            settings::Message::Zoom(steps) => self.zoom_by(steps),
            settings::Message::Notifications(wanted) => {
                self.preferences.notifications = wanted;
                self.save();
            }
            settings::Message::Folder(folder) => self.set_downloads(folder),
            settings::Message::Choose => {
                return choose(self.model.transfers().folder().to_path_buf());
            }
            settings::Message::Chosen(folder) => return self.on_chosen(folder),
            settings::Message::Copy(text) => return self.copy(text),
        }
        Task::none()
    }

    fn on_palette(&mut self, message: palette::Message) -> Task<Message> {
        let Some(Dialog::Palette(dialog)) = &mut self.dialog else {
            return Task::none();
        };
        let what = match message {
            palette::Message::Search(text) => {
                dialog.search = text;
                dialog.chosen = 0;
                return Task::none();
            }
            palette::Message::Submit => dialog.chosen(&self.model),
            palette::Message::Run(what) => Some(what),
        };
        let Some(what) = what else {
            return Task::none();
        };
        self.dialog = None;
        let focus = operation::focus(composer::INPUT);
        Task::batch([focus, self.on_do(what)])
    }

    /// Whether the first connection is being made.
    #[must_use]
    pub const fn is_connecting(&self) -> bool {
        matches!(self.model.connection().state(), State::Connecting { .. })
    }
}

/// To the end of the timeline, from where its offsets count.
fn to_end() -> Task<Message> {
    operation::snap_to(talk::TIMELINE, operation::RelativeOffset::START)
}

/// Finds out where a row is, then scrolls to it.
fn find_and_scroll(row: iced::widget::Id) -> Task<Message> {
    selector::find(row).then(|row| {
        let row = row.map(|target| target.bounds().y);
        let timeline = selector::find(iced::widget::Id::new(talk::TIMELINE));
        timeline.map(move |timeline| {
            let offset = row.zip(timeline);
            Message::Found(offset.and_then(|(row, timeline)| offset_of(row, &timeline)))
        })
    })
}

/// How far above the end the timeline stands when a row is in its upper third.
#[expect(clippy::wildcard_enum_match_arm, reason = "only this one scrolls")]
fn offset_of(row: f32, timeline: &selector::Target) -> Option<f32> {
    match timeline {
        selector::Target::Scrollable {
            bounds,
            content_bounds,
            ..
        } => {
            let above = row - bounds.y - bounds.height / 3.0;
            let most = (content_bounds.height - bounds.height).max(0.0);
            Some((most - above).clamp(0.0, most))
        }
        _ => None,
    }
}
