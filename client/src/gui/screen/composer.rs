//! Below the timeline: the line being typed, and what Tab offers.

use iced::keyboard::Key;
use iced::keyboard::key::Named;
use iced::widget::text_editor::{Binding, KeyPress, Motion};
use iced::widget::{button, column, container, row, text, text_editor};
use iced::{Alignment, Center, Fill, Padding};

use crate::gui::icon::Icon;
use crate::gui::look::{BOLD, Kind, Look, size};
use crate::gui::parts::{Piece, aside};
use crate::gui::screen::talk::Message;
use crate::model::Model;
use crate::model::timeline::Conversation;

/// The id of the field.
pub(in crate::gui) const INPUT: &str = "composer";
/// About eight rows: more than that scrolls.
const MAX_HEIGHT: f32 = 170.0;
/// Candidates of Tab that are shown.
const SHOWN: usize = 6;

pub(in crate::gui) fn view<'a>(
    look: &'a Look,
    model: &'a Model,
    line: &'a text_editor::Content,
) -> Piece<'a, Message> {
    let (placeholder, edge) = match model.timelines().current() {
        Conversation::Everybody => (
            "Message everyone, or / for commands".to_owned(),
            look.accent,
        ),
        Conversation::Person(name) => (format!("Whisper to {name}"), look.whisper),
    };
    let row_of_cursor = line.cursor().position.line;
    let at_edge = (row_of_cursor == 0, row_of_cursor + 1 >= line.line_count());
    let field = text_editor(line)
        .id(INPUT)
        .placeholder(placeholder)
        .on_action(Message::Edit)
        .key_binding(move |key| binding(key, at_edge))
        .padding([10, 12])
        .size(size::BODY)
        .max_height(MAX_HEIGHT)
        .wrapping(text::Wrapping::WordOrGlyph)
        .style(move |_, status| look.editor(edge, status));
    let can_send = !model.input().text().trim().is_empty();
    let send = button(Icon::SEND.sized(17.0))
        .padding(11)
        .on_press_maybe(can_send.then_some(Message::Send))
        .style(move |_, status| look.button(Kind::Primary, status));
    let line = row![field, send].spacing(8).align_y(Alignment::End);
    container(column![].push(offers(look, model)).push(line).spacing(6))
        .padding(Padding::new(14.0).top(6))
        .width(Fill)
        .into()
}

/// What a key does in the line; keys that mean something elsewhere are left alone. `at_edge`: whether
/// the cursor is in the first row, and in the last one.
fn binding(key: KeyPress, at_edge: (bool, bool)) -> Option<Binding<Message>> {
    let modifiers = key.modifiers;
    let focused = matches!(key.status, text_editor::Status::Focused { .. });
    if !focused || modifiers.logo() {
        return None;
    }
    if let Key::Named(named) = &key.key {
        let word = |motion| {
            let whole = [Binding::Select(motion), Binding::Backspace];
            Some(Binding::Sequence(whole.into()))
        };
        #[expect(clippy::wildcard_enum_match_arm, reason = "there are hundreds of keys")]
        return match named {
            Named::Enter if modifiers.shift() || modifiers.alt() => Some(Binding::Enter),
            Named::Enter => Some(Binding::Custom(Message::Send)),
            Named::Escape | Named::Tab => None,
            // At the edge they go through what was typed before.
            Named::ArrowUp if modifiers.alt() || at_edge.0 && !modifiers.shift() => None,
            Named::ArrowDown if modifiers.alt() || at_edge.1 && !modifiers.shift() => None,
            Named::End if modifiers.command() => None,
            Named::PageUp | Named::PageDown => None,
            Named::Backspace if modifiers.jump() => word(Motion::WordLeft),
            Named::Delete if modifiers.jump() => word(Motion::WordRight),
            _ => Binding::from_key_press(key),
        };
    }
    let latin = key.key.to_latin(key.physical_key);
    let own = matches!(latin, Some('a' | 'c' | 'v' | 'x')) && !modifiers.shift();
    // AltGr is Ctrl and Alt on some systems, and writes.
    if modifiers.command() && !modifiers.alt() && !own {
        return None;
    }
    Binding::from_key_press(key)
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

#[cfg(test)]
mod tests {
    use super::*;
    use iced::keyboard::Modifiers;
    use iced::keyboard::key::{NativeCode, Physical};

    fn pressed(key: Key, modifiers: Modifiers) -> Option<Binding<Message>> {
        let text = match &key {
            Key::Character(written) => Some(written.clone()),
            Key::Named(_) | Key::Unidentified => None,
        };
        let press = KeyPress {
            modified_key: key.clone(),
            key,
            physical_key: Physical::Unidentified(NativeCode::Unidentified),
            modifiers,
            text,
            status: text_editor::Status::Focused { is_hovered: false },
        };
        binding(press, (true, false))
    }

    #[test]
    fn enter_sends_and_shift_enter_makes_a_row() {
        let enter = Key::Named(Named::Enter);
        let sends = pressed(enter.clone(), Modifiers::empty());
        assert!(matches!(sends, Some(Binding::Custom(Message::Send))));
        let breaks = pressed(enter, Modifiers::SHIFT);
        assert!(matches!(breaks, Some(Binding::Enter)));
    }

    #[test]
    fn keys_for_the_whole_window_pass_the_line() {
        for (key, modifiers) in [
            (Key::Named(Named::Tab), Modifiers::empty()),
            (Key::Named(Named::ArrowUp), Modifiers::empty()),
            (Key::Named(Named::ArrowDown), Modifiers::ALT),
            (Key::Character("f".into()), Modifiers::COMMAND),
            (Key::Character(",".into()), Modifiers::COMMAND),
        ] {
            assert!(pressed(key.clone(), modifiers).is_none(), "{key:?}");
        }
        let down = pressed(Key::Named(Named::ArrowDown), Modifiers::empty());
        assert!(matches!(down, Some(Binding::Move(Motion::Down))));
        let typed = pressed(Key::Character("f".into()), Modifiers::empty());
        assert!(matches!(typed, Some(Binding::Insert('f'))));
    }
}
