//! The right side: what the server shares, searched and sorted.

use iced::widget::{button, column, container, row, text, text_input};
use iced::{Center, Fill, Padding};

use crate::engine::message::FileInfo;
use crate::gui::icon::Icon;
use crate::gui::look::{BOLD, Kind, Look, size};
use crate::gui::parts::{
    Piece, aside, body, empty, gap, heading, scrolling, small_button, tipped, tool,
};
use crate::gui::screen::talk::Message;
use crate::model::files::SortBy;
use crate::model::transfers::{Transfer, TransferState};
use crate::model::{Model, units};

/// Width of the side.
pub(in crate::gui) const WIDTH: f32 = 304.0;
/// Rows that are drawn; the search finds the others.
const MAX_ROWS: usize = 150;

/// Beside the talk, or in its place when `fills`.
pub(in crate::gui) fn view<'a>(
    look: &'a Look,
    model: &'a Model,
    fills: bool,
) -> Piece<'a, Message> {
    let files = model.files();
    let head = row![
        heading("Files"),
        aside(look, total(model)),
        gap(),
        tool(look, Icon::RETRY, "Look again", Message::RefreshFiles),
        tool(
            look,
            Icon::CLOSE,
            "Hide files (Ctrl+B)",
            Message::ToggleFiles
        ),
    ]
    .spacing(7)
    .align_y(Center);
    let search = text_input("Search files", files.search())
        .on_input(Message::SearchFiles)
        .size(13)
        .padding([7, 10])
        .style(move |_, status| look.input(false, status));
    let content = column![
        container(head).padding(Padding::ZERO.left(4)),
        search,
        sorting(look, model),
        list(look, model)
    ]
    .spacing(9);
    container(content)
        .padding(10)
        .width(if fills { Fill } else { WIDTH.into() })
        .height(Fill)
        .style(move |_| Look::surface(look.panel))
        .into()
}

fn total(model: &Model) -> String {
    let files = model.files();
    match (files.is_loaded(), files.len()) {
        (false, _) | (true, 0) => String::new(),
        (true, count) => format!("{count} · {}", units::size(files.total_bytes())),
    }
}

fn sorting<'a>(look: &'a Look, model: &'a Model) -> Piece<'a, Message> {
    let (by, descending) = model.files().sorting();
    let one = |sort: SortBy, name: &'a str| {
        let chosen = by == sort;
        let mut content = row![text(name).size(size::SMALL)]
            .spacing(4)
            .align_y(Center);
        if chosen {
            let icon = if descending {
                Icon::CHEVRON_DOWN
            } else {
                Icon::CHEVRON_UP
            };
            content = content.push(icon.sized(12.0));
        }
        button(content)
            .padding([3, 9])
            .on_press(Message::SortFiles(sort))
            .style(move |_, status| look.choice(chosen, status))
    };
    row![
        one(SortBy::Name, "Name"),
        one(SortBy::Size, "Size"),
        one(SortBy::Changed, "Changed")
    ]
    .spacing(4)
    .into()
}

/// The list of files with a button each.
pub(in crate::gui) fn list<'a>(look: &'a Look, model: &'a Model) -> Piece<'a, Message> {
    let files = model.files();
    if !files.is_loaded() {
        return empty(look, Icon::HOURGLASS, "Asking for the list…", "");
    }
    if files.is_empty() {
        let words = "Files that the operator puts into the server's folder appear here.";
        return empty(look, Icon::FOLDER_OPEN, "No files shared", words);
    }
    if files.found() == 0 {
        let words = format!("No name holds “{}”.", files.search());
        return empty(look, Icon::SEARCH, "Nothing found", words);
    }
    let mut rows: Vec<Piece<'a, Message>> = files
        .shown(0)
        .take(MAX_ROWS)
        .map(|file| file_row(look, model, file))
        .collect();
    if files.found() > MAX_ROWS {
        let words = format!(
            "and {} more: search for their names",
            files.found() - MAX_ROWS
        );
        rows.push(container(aside(look, words)).padding([6, 9]).into());
    }
    scrolling(
        look,
        column(rows).spacing(1).padding(Padding::ZERO.right(9)),
    )
    .height(Fill)
    .into()
}

fn file_row<'a>(look: &'a Look, model: &'a Model, file: &'a FileInfo) -> Piece<'a, Message> {
    let (folder, name) = file.name.rsplit_once('/').unwrap_or(("", &file.name));
    let mut about = row![aside(look, units::size(file.size))].spacing(6);
    if !folder.is_empty() {
        about = about.push(aside(look, format!("in {folder}/")).wrapping(text::Wrapping::None));
    }
    let words = column![
        body(name).wrapping(text::Wrapping::WordOrGlyph),
        container(about).clip(true)
    ]
    .spacing(1)
    .width(Fill);
    row![
        Icon::of_file(&file.name).coloured(17.0, look.muted),
        words,
        state(look, &file.name, model.transfers().of_file(&file.name)),
    ]
    .spacing(9)
    .padding([6, 6])
    .align_y(Center)
    .into()
}

/// What can be done with a file: get it, look at its progress, or open it.
pub(in crate::gui) fn state<'a>(
    look: &'a Look,
    name: &str,
    transfer: Option<&'a Transfer>,
) -> Piece<'a, Message> {
    let get = || Message::Get(name.to_owned());
    let Some(transfer) = transfer else {
        return small_button(look, Kind::Plain, "Get", get());
    };
    match transfer.state() {
        TransferState::Done => {
            let open = Message::OpenPath(transfer.target().to_path_buf());
            let sign = Icon::SHIELD.coloured(16.0, look.good);
            row![
                tipped(look, sign, "Verified and in place"),
                small_button(look, Kind::Plain, "Open", open)
            ]
            .spacing(6)
            .align_y(Center)
            .into()
        }
        TransferState::Failed => small_button(
            look,
            Kind::Danger,
            "Retry",
            Message::Retry(transfer.request()),
        ),
        TransferState::Cancelled => small_button(look, Kind::Plain, "Get", get()),
        TransferState::Paused => small_button(
            look,
            Kind::Plain,
            "Resume",
            Message::Resume(transfer.request()),
        ),
        TransferState::Active => {
            let share = format!("{:.0} %", transfer.share() * 100.0);
            text(share).size(13).font(BOLD).color(look.accent).into()
        }
        TransferState::Queued
        | TransferState::Preparing
        | TransferState::Stalled
        | TransferState::Verifying => aside(look, transfer.state().word()).into(),
    }
}
