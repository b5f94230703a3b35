//! The settings, and what is known about the server.

use std::path::PathBuf;

use iced::widget::{button, checkbox, column, row, text, text_input};
use iced::{Center, Fill};

use super::frame;
use crate::gui::icon::Icon;
use crate::gui::look::{BOLD, Kind, Look, size};
use crate::gui::parts::{Piece, action, aside, group, grouped, line, tool, words_button};
use crate::model::Model;
use crate::preferences::{Preferences, ThemeChoice};

/// What is typed.
#[derive(Clone, Debug, Default)]
pub(in crate::gui) struct Dialog {
    pub(in crate::gui) folder: String,
}

/// What a person does here.
#[derive(Clone, Debug)]
pub enum Message {
    /// Choose a theme.
    Theme(ThemeChoice),
    /// Larger or smaller by steps; 0 as designed.
    Zoom(i32),
    /// Notifications or none.
    Notifications(bool),
    /// Typed into the folder.
    Folder(String),
    /// Wants to choose the folder.
    Choose,
    /// The folder was chosen, or not.
    Chosen(Option<PathBuf>),
    /// Copy this.
    Copy(String),
}

impl Dialog {
    pub(in crate::gui) fn view<'a>(
        &'a self,
        look: &'a Look,
        preferences: &'a Preferences,
        model: &'a Model,
    ) -> Piece<'a, super::Message> {
        let zoom = row![
            tool(look, Icon::MINUS, "Smaller (Ctrl −)", Message::Zoom(-1)),
            text(format!("{} %", preferences.zoom_percent))
                .size(size::BODY)
                .width(52)
                .center(),
            tool(look, Icon::PLUS, "Larger (Ctrl +)", Message::Zoom(1)),
            words_button(look, Kind::Quiet, "As designed", Some(Message::Zoom(0)))
        ]
        .spacing(4)
        .align_y(Center);
        let notify = checkbox(preferences.notifications)
            .label("Tell me of mentions, whispers and finished downloads while I look elsewhere")
            .size(16)
            .text_size(13)
            .on_toggle(Message::Notifications);
        let folder = text_input("Folder", &self.folder)
            .on_input(Message::Folder)
            .size(13)
            .padding([8, 11])
            .style(move |_, status| look.input(false, status));
        let choose = words_button(look, Kind::Plain, "Choose…", Some(Message::Choose));
        let content: Piece<'a, Message> = column![
            column![group(look, "LOOK"), themes(look, preferences.theme)].spacing(8),
            column![group(look, "SIZE OF EVERYTHING"), zoom].spacing(6),
            column![group(look, "NOTIFICATIONS"), notify].spacing(8),
            column![
                group(look, "DOWNLOADS GO TO"),
                row![folder, choose].spacing(8).align_y(Center)
            ]
            .spacing(8),
            line(look),
            server(look, model)
        ]
        .spacing(18)
        .into();
        let content = content.map(super::Message::Settings);
        frame(look, Icon::SETTINGS, "Settings", (540.0, None), content)
    }
}

fn themes(look: &Look, current: ThemeChoice) -> Piece<'_, Message> {
    let one = |choice: ThemeChoice, icon: Icon, name: &'static str| {
        let chosen = choice == current;
        let mut words = text(name).size(13.0);
        if chosen {
            words = words.font(BOLD);
        }
        let sign = if chosen { Icon::CHECK } else { icon };
        let content = column![sign.sized(18.0), words]
            .spacing(6)
            .width(Fill)
            .align_x(Center);
        button(content)
            .padding([10, 6])
            .width(Fill)
            .on_press(Message::Theme(choice))
            .style(move |_, status| {
                let mut style = look.choice(chosen, status);
                style.border.color = if chosen { look.accent } else { look.edge };
                style.border.width = 1.0;
                style
            })
    };
    row![
        one(ThemeChoice::System, Icon::MONITOR, "System"),
        one(ThemeChoice::Light, Icon::SUN, "Light"),
        one(ThemeChoice::Dark, Icon::MOON, "Dark"),
        one(ThemeChoice::HighContrast, Icon::CONTRAST, "High contrast"),
    ]
    .spacing(8)
    .into()
}

fn server<'a>(look: &'a Look, model: &'a Model) -> Piece<'a, Message> {
    let connection = model.connection();
    let mut content = column![group(look, "THIS SERVER")].spacing(6);
    if connection.server().is_empty() {
        return content.push(aside(look, "Not connected.")).into();
    }
    let software = connection.software();
    content = content.push(text(connection.server()).size(13.0).font(BOLD));
    if !software.is_empty() {
        content = content.push(aside(look, software));
    }
    if let Some(key) = connection.fingerprint() {
        content = content.push(aside(look, format!("Key {}", grouped(key))));
        let copy = Some(Message::Copy(key.to_owned()));
        content = content.push(action(look, Kind::Plain, Icon::COPY, "Copy the key", copy));
    }
    content.into()
}
