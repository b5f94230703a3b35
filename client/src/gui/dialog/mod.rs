//! What opens above the rest: one at a time, closed by Esc.

pub(super) mod commands;
pub(super) mod download;
pub(super) mod palette;
pub(super) mod settings;

use iced::widget::{center, column, container, mouse_area, opaque, row};
use iced::{Center, Fill};

use super::icon::Icon;
use super::look::{BOLD, Look};
use super::parts::{Piece, gap, line, tool};

/// The open dialog.
#[derive(Clone, Debug)]
pub(super) enum Dialog {
    Download(download::Dialog),
    Commands,
    Settings(settings::Dialog),
    Palette(palette::Dialog),
}

/// What a person does in a dialog.
#[derive(Clone, Debug)]
pub enum Message {
    /// Close it.
    Close,
    /// In the download dialog.
    Download(download::Message),
    /// In the settings.
    Settings(settings::Message),
    /// In the list of all actions.
    Palette(palette::Message),
    /// Take this command into the line.
    Command(String),
}

/// A dialog, to stand above the rest, which cannot be touched meanwhile.
pub(super) fn layer<'a>(look: &'a Look, dialog: Piece<'a, Message>) -> Piece<'a, super::app::Act> {
    let dialog = center(opaque(dialog)).padding(20);
    let shade = container(dialog)
        .width(Fill)
        .height(Fill)
        .style(move |_| look.shade());
    let shade = mouse_area(shade).on_press(Message::Close);
    let shade: Piece<'a, Message> = opaque(shade);
    shade.map(super::app::Act::Dialog)
}

/// A dialog's frame: its name, its content, and what closes it.
pub(super) fn frame<'a>(
    look: &'a Look,
    icon: Icon,
    name: &'a str,
    (width, height): (f32, Option<f32>),
    content: Piece<'a, Message>,
) -> Piece<'a, Message> {
    let head = row![
        icon.coloured(18.0, look.accent),
        iced::widget::text(name).size(17.0).font(BOLD),
        gap(),
        tool(look, Icon::CLOSE, "Close (Esc)", Message::Close)
    ]
    .spacing(10)
    .align_y(Center);
    let mut card = container(column![
        container(head).padding([12, 18]),
        line(look),
        container(content).padding(18)
    ])
    .max_width(width)
    .style(move |_| look.card());
    if let Some(height) = height {
        card = card.max_height(height);
    }
    card.into()
}
