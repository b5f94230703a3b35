//! Download File: type a name or pick from the list, and choose the folder.

use std::path::PathBuf;

use iced::widget::{button, column, container, row, text, text_input};
use iced::{Center, Fill, Padding};

use super::frame;
use crate::engine::message::FileInfo;
use crate::gui::icon::Icon;
use crate::gui::look::{Kind, Look};
use crate::gui::parts::{
    Piece, aside, body, empty, field, gap, group, scrolling, told, words_button,
};
use crate::model::{Model, units};

/// The id of the name's field.
pub(in crate::gui) const NAME: &str = "download-name";
/// Rows that are drawn; typing finds the others.
const MAX_ROWS: usize = 100;

/// What is typed and chosen.
#[derive(Clone, Debug, Default)]
pub(in crate::gui) struct Dialog {
    pub(in crate::gui) name: String,
    pub(in crate::gui) folder: String,
    pub(in crate::gui) wrong: Option<String>,
    /// A failed download to try again elsewhere, instead of a new one.
    pub(in crate::gui) again: Option<u32>,
}

/// What a person does here.
#[derive(Clone, Debug)]
pub enum Message {
    /// Typed into the name.
    Name(String),
    /// Picked this file.
    Pick(String),
    /// Typed into the folder.
    Folder(String),
    /// Wants to choose the folder.
    Choose,
    /// The folder was chosen, or not.
    Chosen(Option<PathBuf>),
    /// Download it.
    Submit,
}

/// What is beyond this dialog.
#[derive(Clone, Debug)]
pub(in crate::gui) enum Event {
    Choose(PathBuf),
    Get { name: String, folder: PathBuf },
    Again { request: u32, folder: PathBuf },
}

impl Dialog {
    pub(in crate::gui) fn update(&mut self, message: Message, model: &Model) -> Option<Event> {
        match message {
            Message::Name(name) => {
                self.name = name;
                self.wrong = None;
            }
            Message::Pick(name) => {
                // Picking what is picked already means it.
                if self.name == name {
                    return self.submit(model);
                }
                self.name = name;
                self.wrong = None;
            }
            Message::Folder(folder) => self.folder = folder,
            Message::Choose => return Some(Event::Choose(PathBuf::from(&self.folder))),
            Message::Chosen(Some(folder)) => self.folder = folder.to_string_lossy().into_owned(),
            Message::Chosen(None) => {}
            Message::Submit => return self.submit(model),
        }
        None
    }

    fn submit(&mut self, model: &Model) -> Option<Event> {
        let folder = PathBuf::from(self.folder.trim());
        if folder.as_os_str().is_empty() {
            self.wrong = Some("Choose a folder.".to_owned());
            return None;
        }
        if let Some(request) = self.again {
            return Some(Event::Again { request, folder });
        }
        let name = self.name.trim();
        if name.is_empty() {
            self.wrong = Some("Type a name or pick a file below.".to_owned());
            return None;
        }
        // The one file that fits is meant.
        let fitting: Vec<&FileInfo> = fitting(model, name).take(2).collect();
        let exact = model.files().get(name).is_some();
        let name = match fitting[..] {
            [only] if !exact => only.name.clone(),
            _ => name.to_owned(),
        };
        Some(Event::Get { name, folder })
    }

    pub(in crate::gui) fn view<'a>(
        &'a self,
        look: &'a Look,
        model: &'a Model,
    ) -> Piece<'a, super::Message> {
        let mut content = column![].spacing(14);
        if self.again.is_none() {
            let name = text_input("Type a name, or pick below", &self.name)
                .id(NAME)
                .on_input(Message::Name)
                .on_submit(Message::Submit);
            content = content.push(field(look, "File or folder", name, None, ""));
            content = content.push(container(self.list(look, model)).height(270));
        }
        content = content.push(self.folder(look));
        if let Some(wrong) = &self.wrong {
            content = content.push(told(look, Icon::ALERT, look.bad, wrong.as_str()));
        }
        let words = if self.again.is_some() {
            "Download here"
        } else {
            "Download"
        };
        let buttons: Piece<'a, super::Message> = row![
            gap(),
            words_button(look, Kind::Plain, "Cancel", Some(super::Message::Close)),
            words_button(
                look,
                Kind::Primary,
                words,
                Some(super::Message::Download(Message::Submit))
            ),
        ]
        .spacing(8)
        .into();
        let content: Piece<'a, Message> = content.into();
        let all = column![content.map(super::Message::Download), buttons].spacing(18);
        let name = if self.again.is_some() {
            "Download to another folder"
        } else {
            "Download File"
        };
        frame(look, Icon::DOWNLOAD, name, (580.0, None), all.into())
    }

    fn folder<'a>(&'a self, look: &'a Look) -> Piece<'a, Message> {
        let input = text_input("Folder", &self.folder)
            .on_input(Message::Folder)
            .on_submit(Message::Submit)
            .size(13)
            .padding([8, 11])
            .style(move |_, status| look.input(false, status));
        let choose = words_button(look, Kind::Plain, "Choose…", Some(Message::Choose));
        column![
            text("To folder").size(13.0).font(crate::gui::look::BOLD),
            row![input, choose].spacing(8).align_y(Center)
        ]
        .spacing(5)
        .into()
    }

    fn list<'a>(&'a self, look: &'a Look, model: &'a Model) -> Piece<'a, Message> {
        if model.files().is_empty() {
            let words = "You can still type a name.";
            return empty(look, Icon::FOLDER_OPEN, "No files listed", words);
        }
        let mut found = fitting(model, self.name.trim()).peekable();
        if found.peek().is_none() {
            return empty(look, Icon::SEARCH, "No such file is listed", "");
        }
        let rows = found.take(MAX_ROWS).map(|file| {
            let chosen = file.name == self.name;
            let line = row![
                Icon::of_file(&file.name).coloured(16.0, look.muted),
                body(file.name.as_str())
                    .wrapping(text::Wrapping::WordOrGlyph)
                    .width(Fill),
                aside(look, units::size(file.size)),
            ]
            .spacing(10)
            .align_y(Center);
            button(line)
                .padding([6, 9])
                .width(Fill)
                .on_press(Message::Pick(file.name.clone()))
                .style(move |_, status| look.choice(chosen, status))
                .into()
        });
        let rows: Vec<Piece<'a, Message>> = rows.collect();
        let list = scrolling(look, column(rows).padding(Padding::ZERO.right(10))).height(Fill);
        column![group(look, "SHARED FILES"), list].spacing(6).into()
    }
}

/// Files whose names hold all words of `search`, or all when one of them is chosen.
fn fitting<'a>(model: &'a Model, search: &str) -> impl Iterator<Item = &'a FileInfo> {
    let chosen = model.files().get(search).is_some();
    let words: Vec<String> = search.split_whitespace().map(str::to_lowercase).collect();
    model.files().iter().filter(move |file| {
        let name = file.name.to_lowercase();
        chosen || words.iter().all(|word| name.contains(word))
    })
}
