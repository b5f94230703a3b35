//! Below the timeline: the line being typed, and what Tab offers.

use iced::widget::{button, column, container, row, text, text_input};
use iced::{Center, Fill, Padding};

use crate::gui::icon::Icon;
use crate::gui::look::{BOLD, Kind, Look, size};
use crate::gui::parts::{Piece, aside};
use crate::gui::screen::talk::Message;
use crate::model::Model;
use crate::model::timeline::Conversation;

/// The id of the field.
pub(in crate::gui) const INPUT: &str = "composer";
/// Candidates of Tab that are shown.
const SHOWN: usize = 6;

pub(in crate::gui) fn view<'a>(look: &'a Look, model: &'a Model) -> Piece<'a, Message> {
    let typed = model.input().text();
    let whispers = matches!(model.timelines().current(), Conversation::Person(_));
    let placeholder = match model.timelines().current() {
        Conversation::Everybody => "Message everyone, or / for commands".to_owned(),
        Conversation::Person(name) => format!("Whisper to {name}"),
    };
    let field = text_input(&placeholder, typed)
        .id(INPUT)
        .on_input(Message::Typed)
        .on_submit(Message::Send)
        .padding([10, 12])
        .size(size::BODY)
        .style(move |_, status| {
            let mut style = look.input(false, status);
            if whispers && matches!(status, text_input::Status::Focused { .. }) {
                style.border.color = look.whisper;
            }
            style
        });
    let can_send = !typed.trim().is_empty();
    let send = button(Icon::SEND.sized(17.0))
        .padding(11)
        .on_press_maybe(can_send.then_some(Message::Send))
        .style(move |_, status| look.button(Kind::Primary, status));
    let line = row![field, send].spacing(8).align_y(Center);
    container(column![].push(offers(look, model)).push(line).spacing(6))
        .padding(Padding::new(14.0).top(6))
        .width(Fill)
        .into()
}

/// What Tab goes through, or the commands that begin like this.
fn offers<'a>(look: &'a Look, model: &'a Model) -> Option<Piece<'a, Message>> {
    let (candidates, current) = model.input().completions();
    if !candidates.is_empty() {
        return Some(candidates_row(look, candidates, current));
    }
    let typed = model.input().text().strip_prefix('/')?;
    if typed.contains(char::is_whitespace) {
        return None;
    }
    let fitting = Model::commands().filter(|(usage, _)| usage[1..].starts_with(typed));
    let rows: Vec<Piece<'a, Message>> = fitting
        .map(|(usage, about)| command_row(look, usage, about))
        .collect();
    (!rows.is_empty()).then(|| {
        container(column(rows))
            .padding(6)
            .width(Fill)
            .style(move |_| look.framed(look.raised, look.line))
            .into()
    })
}

fn candidates_row<'a>(
    look: &'a Look,
    candidates: &'a [String],
    current: usize,
) -> Piece<'a, Message> {
    // The window of candidates that holds the current one.
    let from = (current / SHOWN) * SHOWN;
    let shown = candidates.iter().enumerate().skip(from).take(SHOWN);
    let mut line = row![aside(look, "Tab")].spacing(6).align_y(Center);
    for (index, candidate) in shown {
        let chosen = index == current;
        let mut words = text(candidate.trim_end())
            .size(size::SMALL)
            .wrapping(text::Wrapping::None);
        if chosen {
            words = words.font(BOLD);
        }
        line = line.push(container(words).padding([3, 8]).style(move |_| {
            if chosen {
                look.framed(look.accent_soft, look.accent)
            } else {
                look.framed(look.panel, look.line)
            }
        }));
    }
    let more = candidates.len().saturating_sub(from + SHOWN);
    if more > 0 {
        line = line.push(aside(look, format!("{more} more")));
    }
    container(line).clip(true).width(Fill).into()
}

fn command_row<'a>(look: &'a Look, usage: String, about: &'static str) -> Piece<'a, Message> {
    let command = usage.split(' ').next().unwrap_or_default().to_owned();
    let takes_more = usage.contains(' ');
    let line = row![
        text(usage).size(13.0).font(BOLD).width(180),
        aside(look, about)
    ]
    .spacing(8)
    .align_y(Center);
    let typed = if takes_more {
        format!("{command} ")
    } else {
        command
    };
    button(line)
        .padding([4, 8])
        .width(Fill)
        .on_press(Message::Take(typed))
        .style(move |_, status| look.choice(false, status))
        .into()
}
