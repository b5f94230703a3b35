//! Show Commands: what can be typed, and all keys.

use iced::widget::{button, column, row, text};
use iced::{Center, Fill, Padding};

use super::{Message, frame};
use crate::gui::icon::Icon;
use crate::gui::look::{BOLD, Look};
use crate::gui::parts::{Piece, aside, group, key, scrolling};
use crate::model::Model;

/// All keys and what they do.
pub(in crate::gui) const KEYS: [(&[&str], &str); 15] = [
    (&["Ctrl", "K"], "find any action, person or file"),
    (&["Ctrl", "D"], "Download File"),
    (&["F1"], "Show Commands"),
    (&["Ctrl", "Shift", "D"], "Disconnect"),
    (&["Ctrl", "F"], "find in the conversation"),
    (&["Ctrl", "J"], "show or hide transfers"),
    (&["Ctrl", "B"], "show or hide files"),
    (&["Alt", "↑ ↓"], "previous or next conversation"),
    (&["Shift", "Enter"], "another row in the line"),
    (&["Tab"], "complete a name, command or file"),
    (&["↑ ↓"], "what you typed before"),
    (&["Ctrl", "End"], "to the end of the conversation"),
    (&["Ctrl", "+ −"], "larger, smaller; Ctrl 0 as designed"),
    (&["Ctrl", ","], "settings"),
    (&["Esc"], "close what is open"),
];

pub(in crate::gui) fn view(look: &Look) -> Piece<'_, Message> {
    let commands = Model::commands().map(|(usage, about)| {
        let command = usage.split(' ').next().unwrap_or_default().to_owned();
        let line = row![
            text(usage).size(13.0).font(BOLD).width(190),
            text(about).size(13.0).width(Fill)
        ]
        .spacing(10);
        button(line)
            .padding([5, 8])
            .width(Fill)
            .on_press(Message::Command(format!("{command} ")))
            .style(move |_, status| look.choice(false, status))
            .into()
    });
    let commands: Vec<Piece<'_, Message>> = commands.collect();
    let keys = KEYS.iter().map(|(keys, about)| {
        let mut names = row![].spacing(4).align_y(Center).width(190);
        for name in *keys {
            names = names.push(key(look, name));
        }
        row![names, text(*about).size(13.0).width(Fill)]
            .spacing(10)
            .padding([3, 8])
            .align_y(Center)
            .into()
    });
    let keys: Vec<Piece<'_, Message>> = keys.collect();
    let content = column![
        group(look, "TYPE INTO THE CHAT"),
        column(commands),
        aside(
            look,
            "Click a command to begin typing it. Everything else that you type is a message."
        ),
        group(look, "KEYS"),
        column(keys)
    ]
    .spacing(8)
    .padding(Padding::ZERO.right(12));
    let content = scrolling(look, content);
    let size = (580.0, Some(680.0));
    frame(
        look,
        Icon::KEYBOARD,
        "Commands and keys",
        size,
        content.into(),
    )
}
