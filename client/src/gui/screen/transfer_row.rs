//! One download in the list.

use iced::widget::{button, column, container, progress_bar, row, text};
use iced::{Center, Color, Fill};

use super::talk::Message;
use crate::gui::desktop::folder_of;
use crate::gui::icon::Icon;
use crate::gui::look::{BOLD, Kind, Look, size};
use crate::gui::parts::{Piece, aside, shortened, small_button, tool};
use crate::model::transfers::{Advice, Transfer, TransferState};
use crate::model::units;

pub(in crate::gui) fn view<'a>(
    look: &'a Look,
    transfer: &'a Transfer,
    chosen: bool,
) -> Piece<'a, Message> {
    let request = transfer.request();
    let (icon, color) = sign(look, transfer.state());
    let title = text(transfer.title())
        .size(13.0)
        .font(BOLD)
        .wrapping(text::Wrapping::None);
    let state = text(transfer.state().word()).size(size::SMALL).color(color);
    let mut head = row![
        icon.coloured(15.0, color),
        container(title).clip(true).width(Fill),
        state
    ]
    .spacing(8)
    .align_y(Center)
    .height(26);
    for tool in tools(look, transfer) {
        head = head.push(tool);
    }
    let mut content = column![head].spacing(4);
    if !transfer.state().is_ended() || transfer.state() == TransferState::Cancelled {
        let bar = progress_bar(0.0..=1.0, transfer.share())
            .girth(6)
            .style(move |_| look.bar(color));
        content = content.push(bar);
    }
    let (done, total) = transfer.bytes();
    if transfer.state() != TransferState::Failed || done + total > 0 {
        content = content.push(figures(look, transfer));
    }
    if transfer.has_changed() && transfer.state() != TransferState::Failed {
        let words = "The file changed on the server, so it started from zero.";
        content = content.push(text(words).size(size::SMALL).color(look.warn));
    }
    for line in failure(look, transfer) {
        content = content.push(line);
    }
    button(content)
        .padding([5, 10])
        .width(Fill)
        .on_press(Message::Select(request))
        .style(move |_, status| look.choice(chosen, status))
        .into()
}

/// The sign of a state: never the colour alone.
fn sign(look: &Look, state: TransferState) -> (Icon, Color) {
    match state {
        TransferState::Queued => (Icon::CLOCK, look.muted),
        TransferState::Preparing => (Icon::DISK, look.accent),
        TransferState::Active => (Icon::DOWNLOAD, look.accent),
        TransferState::Stalled => (Icon::HOURGLASS, look.warn),
        TransferState::Paused => (Icon::PAUSE, look.warn),
        TransferState::Verifying => (Icon::HASH, look.accent),
        TransferState::Done => (Icon::SHIELD, look.good),
        TransferState::Failed => (Icon::ALERT, look.bad),
        TransferState::Cancelled => (Icon::BAN, look.muted),
    }
}

fn tools<'a>(look: &'a Look, transfer: &'a Transfer) -> Vec<Piece<'a, Message>> {
    let request = transfer.request();
    match transfer.state() {
        TransferState::Paused => vec![
            tool(look, Icon::PLAY, "Resume", Message::Resume(request)),
            tool(
                look,
                Icon::CLOSE,
                "Cancel",
                Message::CancelTransfer(request),
            ),
        ],
        TransferState::Queued
        | TransferState::Preparing
        | TransferState::Active
        | TransferState::Stalled
        | TransferState::Verifying => vec![
            tool(look, Icon::PAUSE, "Pause", Message::Pause(request)),
            tool(
                look,
                Icon::CLOSE,
                "Cancel",
                Message::CancelTransfer(request),
            ),
        ],
        TransferState::Done => {
            let target = transfer.target();
            let folder = folder_of(target).to_path_buf();
            vec![
                tool(
                    look,
                    Icon::EXTERNAL,
                    "Open",
                    Message::OpenPath(target.to_path_buf()),
                ),
                tool(
                    look,
                    Icon::FOLDER_OPEN,
                    "Open folder",
                    Message::OpenPath(folder),
                ),
                tool(
                    look,
                    Icon::CLOSE,
                    "Take out of the list",
                    Message::ForgetTransfer(request),
                ),
            ]
        }
        TransferState::Failed => vec![tool(
            look,
            Icon::CLOSE,
            "Take out of the list",
            Message::ForgetTransfer(request),
        )],
        TransferState::Cancelled => vec![
            tool(look, Icon::RETRY, "Try again", Message::Retry(request)),
            tool(
                look,
                Icon::CLOSE,
                "Take out of the list",
                Message::ForgetTransfer(request),
            ),
        ],
    }
}

/// The line of figures below the bar.
fn figures<'a>(look: &'a Look, transfer: &'a Transfer) -> Piece<'a, Message> {
    let (done, total) = transfer.bytes();
    let (files, all_files) = transfer.file_counts();
    let mut parts = Vec::new();
    match transfer.state() {
        TransferState::Done => parts.push(units::size(total)),
        TransferState::Queued if total == 0 => parts.push("waits for its turn".to_owned()),
        TransferState::Preparing if total == 0 => {
            parts.push("looking for what is here already".to_owned());
        }
        TransferState::Queued
        | TransferState::Preparing
        | TransferState::Active
        | TransferState::Stalled
        | TransferState::Paused
        | TransferState::Verifying
        | TransferState::Failed
        | TransferState::Cancelled => {
            parts.push(format!("{:.0} %", transfer.share() * 100.0));
            parts.push(format!("{} of {}", units::size(done), units::size(total)));
        }
    }
    if all_files > 1 {
        parts.push(format!("{files} of {all_files} files"));
    }
    if let Some(rate) = transfer
        .rate()
        .filter(|_| transfer.state() == TransferState::Active)
    {
        parts.push(units::rate(rate));
    }
    if let Some(eta) = transfer.eta() {
        parts.push(format!("{} left", units::clock(eta)));
    }
    if transfer.skipped_files() > 0 {
        parts.push(format!("{} were there", transfer.skipped_files()));
    }
    if transfer.state() == TransferState::Stalled {
        parts.push("nothing has come for a while; it goes on by itself".to_owned());
    }
    let mut content = row![aside(look, parts.join(" · "))]
        .spacing(8)
        .align_y(Center);
    if let Some(hash) = transfer
        .hash()
        .filter(|_| transfer.state() == TransferState::Done)
    {
        let words = format!("BLAKE3 {}", shortened(&hash));
        let link = button(text(words).size(size::SMALL))
            .padding(0)
            .on_press(Message::Copy(hash))
            .style(move |_, status| look.link(status));
        content = content.push(link);
    }
    content.into()
}

/// Why it failed and what to do.
fn failure<'a>(look: &'a Look, transfer: &'a Transfer) -> Vec<Piece<'a, Message>> {
    if transfer.state() != TransferState::Failed {
        return Vec::new();
    }
    let Some(failure) = transfer.failures().next() else {
        return Vec::new();
    };
    let mut words = failure.text.clone();
    if transfer.failed_files() > 1 {
        words = format!(
            "{} files failed. The first: {words}",
            transfer.failed_files()
        );
    }
    let advice = failure.cause.advice();
    let request = transfer.request();
    let mut actions = row![small_button(
        look,
        Kind::Plain,
        "Try again",
        Message::Retry(request)
    )]
    .spacing(6);
    if matches!(advice, Advice::MakeRoom | Advice::ChooseFolder) {
        let elsewhere = Message::Elsewhere(request);
        actions = actions.push(small_button(
            look,
            Kind::Plain,
            "Another folder…",
            elsewhere,
        ));
    }
    vec![
        text(words).size(size::SMALL).color(look.bad).into(),
        aside(look, advice.text()).into(),
        actions.into(),
    ]
}
