//! What a person does with files and downloads.

use iced::Task;
use iced::widget::operation;

use super::app::{App, Message};
use super::desktop;
use super::dialog::{Dialog, download};
use super::screen::{composer, talk};
use crate::model::Model;

impl App {
    /// What concerns files and downloads.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the rest asks nothing of the engine"
    )]
    pub(super) fn on_files(&mut self, message: talk::Message) -> Task<Message> {
        use talk::Message as M;
        let now = self.launch.watch.now();
        let effects = match message {
            M::RefreshFiles => Model::refresh_files(),
            M::Get(name) => return self.get(name),
            M::Retry(request) => self.model.retry(now, request, None),
            M::RetryAll => self.model.retry_all(now),
            M::Pause(request) => self.model.pause(request),
            M::Resume(request) => self.model.resume(request),
            M::CancelTransfer(request) => self.model.cancel(now, request, true),
            other => {
                self.on_pane(other);
                Vec::new()
            }
        };
        self.carry_out(effects)
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "everything else was taken before"
    )]
    fn on_pane(&mut self, message: talk::Message) {
        use talk::Message as M;
        let pane = &mut self.talk.transfers;
        match message {
            M::SearchFiles(text) => self.model.files_mut().set_search(&text),
            M::SortFiles(by) => self.model.files_mut().sort_by(by),
            M::ToggleFiles => self.toggle_files(),
            M::ForgetTransfer(request) => self.model.forget_transfer(request),
            M::ClearDone => self.model.clear_done_transfers(),
            M::Select(request) => pane.chosen = Some(request),
            M::Figures(tab) => pane.tab = tab,
            M::ToggleBehind => pane.behind = !pane.behind,
            M::ToggleTransfers => self.show_transfers(!self.talk.transfers.open),
            M::Elsewhere(request) => {
                self.dialog = Some(Dialog::Download(download::Dialog {
                    folder: self.folder_text(),
                    again: Some(request),
                    ..download::Dialog::default()
                }));
            }
            _ => {}
        }
    }

    /// Downloads, and shows it.
    pub(super) fn get(&mut self, name: String) -> Task<Message> {
        let now = self.launch.watch.now();
        self.show_downloads();
        let effects = self.model.get(now, vec![name], None);
        self.carry_out(effects)
    }

    pub(super) fn folder_text(&self) -> String {
        self.model
            .transfers()
            .folder()
            .to_string_lossy()
            .into_owned()
    }

    pub(super) const fn toggle_files(&mut self) {
        if !self.room().has_files_beside() {
            self.talk.files_instead = !self.talk.files_instead;
            return;
        }
        self.talk.show_files = !self.talk.show_files;
        self.preferences.show_files = self.talk.show_files;
    }

    pub(super) const fn show_transfers(&mut self, open: bool) {
        self.talk.transfers.open = open;
        self.preferences.show_transfers = open;
    }

    /// Shows a download that begins, where that leaves room for the talk.
    pub(super) const fn show_downloads(&mut self) {
        self.talk.transfers.chosen = None;
        if self.room().is_high() {
            self.show_transfers(true);
        }
    }

    pub(super) fn open_download(&mut self) -> Task<Message> {
        self.dialog = Some(Dialog::Download(download::Dialog {
            folder: self.folder_text(),
            ..download::Dialog::default()
        }));
        let look = self.carry_out(Model::refresh_files());
        Task::batch([look, operation::focus(download::NAME)])
    }

    pub(super) fn on_download(&mut self, message: download::Message) -> Task<Message> {
        let Some(Dialog::Download(dialog)) = &mut self.dialog else {
            return Task::none();
        };
        let now = self.launch.watch.now();
        let effects = match dialog.update(message, &self.model) {
            None => return Task::none(),
            Some(download::Event::Choose(folder)) => return choose(folder),
            Some(download::Event::Get { name, folder }) => {
                self.model.get(now, vec![name], Some(folder))
            }
            Some(download::Event::Again { request, folder }) => {
                self.model.retry(now, request, Some(folder))
            }
        };
        self.dialog = None;
        self.show_downloads();
        let carried = self.carry_out(effects);
        Task::batch([carried, operation::focus(composer::INPUT)])
    }

    pub(super) fn set_downloads(&mut self, folder: String) {
        let path = std::path::PathBuf::from(folder.trim());
        if !path.as_os_str().is_empty() {
            self.preferences.downloads = Some(path.clone());
            self.model.set_download_folder(path);
        }
        if let Some(Dialog::Settings(dialog)) = &mut self.dialog {
            dialog.folder = folder;
        }
    }

    pub(super) fn on_chosen(&mut self, folder: Option<std::path::PathBuf>) -> Task<Message> {
        match (&self.dialog, folder) {
            (Some(Dialog::Settings(_)), Some(folder)) => {
                self.set_downloads(folder.to_string_lossy().into_owned());
            }
            (Some(Dialog::Download(_)), Some(folder)) => {
                return self.on_download(download::Message::Chosen(Some(folder)));
            }
            (Some(_) | None, _) => {}
        }
        Task::none()
    }
}

pub(super) fn choose(start: std::path::PathBuf) -> Task<Message> {
    Task::perform(desktop::choose_folder(start), Message::Chosen)
}
