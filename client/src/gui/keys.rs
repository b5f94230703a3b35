//! The keyboard: which keys do what, wherever the focus is.

use iced::keyboard::key::Named;
use iced::keyboard::{Event as Keyboard, Key, Modifiers};
use iced::{Event, event, window};

use super::app::{Do, Message};

/// What an event of the window means, if anything.
pub(super) fn understand(event: Event, status: event::Status, _: window::Id) -> Option<Message> {
    match event {
        Event::Keyboard(Keyboard::KeyPressed {
            key,
            physical_key,
            modifiers,
            text,
            ..
        }) => {
            let latin = key.to_latin(physical_key);
            let free = status == event::Status::Ignored;
            shortcut(&key, latin, modifiers, free)
                .or_else(|| typed(text.as_deref().filter(|_| free)?, modifiers))
                .map(Message::Key)
        }
        Event::Window(window::Event::Focused) => Some(Message::Focused(true)),
        Event::Window(window::Event::Unfocused) => Some(Message::Focused(false)),
        Event::Window(window::Event::Resized(size)) => Some(Message::Resized(size)),
        Event::Window(_)
        | Event::Keyboard(_)
        | Event::Mouse(_)
        | Event::Touch(_)
        | Event::InputMethod(_) => None,
    }
}

/// What a key does; `free` when no field has used it.
#[expect(clippy::wildcard_enum_match_arm, reason = "there are hundreds of keys")]
fn shortcut(key: &Key, latin: Option<char>, modifiers: Modifiers, free: bool) -> Option<Do> {
    if let Key::Named(named) = key {
        return match named {
            Named::Escape => Some(Do::Escape),
            Named::F1 => Some(Do::Commands),
            Named::ArrowUp if modifiers.alt() => Some(Do::NextConversation { back: true }),
            Named::ArrowDown if modifiers.alt() => Some(Do::NextConversation { back: false }),
            Named::End if modifiers.command() => Some(Do::Newest),
            Named::Tab if free => Some(Do::Tab {
                back: modifiers.shift(),
            }),
            Named::ArrowUp if free => Some(Do::Arrow { down: false }),
            Named::ArrowDown if free => Some(Do::Arrow { down: true }),
            _ => None,
        };
    }
    if !modifiers.command() {
        return None;
    }
    if let Key::Character(written) = key {
        // These stand on different keys of different keyboards: what is written counts.
        match written.as_str() {
            "+" | "=" => return Some(Do::Zoom(1)),
            "-" => return Some(Do::Zoom(-1)),
            "0" => return Some(Do::Zoom(0)),
            "," => return Some(Do::Settings),
            _ => {}
        }
    }
    match (latin?.to_ascii_lowercase(), modifiers.shift()) {
        ('d', true) => Some(Do::Disconnect),
        ('d', false) => Some(Do::Download),
        ('k', false) => Some(Do::Palette),
        ('f', false) => Some(Do::Find),
        ('v', false) if free => Some(Do::Paste),
        ('j', false) => Some(Do::Transfers),
        ('b', false) => Some(Do::Files),
        _ => None,
    }
}

/// Text that no field has taken.
fn typed(text: &str, modifiers: Modifiers) -> Option<Do> {
    let commands = modifiers.intersects(Modifiers::CTRL | Modifiers::ALT | Modifiers::LOGO);
    let written = !text.is_empty() && !text.chars().any(char::is_control);
    (written && !commands).then(|| Do::Type(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pressed(key: char, modifiers: Modifiers) -> Option<Do> {
        shortcut(
            &Key::Character(key.to_string().into()),
            Some(key),
            modifiers,
            true,
        )
    }

    #[test]
    fn the_three_buttons_have_keys() {
        let both = Modifiers::COMMAND | Modifiers::SHIFT;
        assert_eq!(pressed('d', Modifiers::COMMAND), Some(Do::Download));
        assert_eq!(pressed('d', both), Some(Do::Disconnect));
        let f1 = shortcut(&Key::Named(Named::F1), None, Modifiers::empty(), false);
        assert_eq!(f1, Some(Do::Commands));
        assert_eq!(pressed('d', Modifiers::empty()), None);
    }

    #[test]
    fn text_without_a_field_is_for_the_line_and_control_characters_are_not() {
        assert_eq!(typed("é", Modifiers::SHIFT), Some(Do::Type("é".to_owned())));
        assert_eq!(typed("\r", Modifiers::empty()), None);
        assert_eq!(typed("a", Modifiers::CTRL), None);
    }

    #[test]
    fn a_field_keeps_its_keys() {
        let tab = Key::Named(Named::Tab);
        assert_eq!(shortcut(&tab, None, Modifiers::empty(), false), None);
        let back = shortcut(&tab, None, Modifiers::SHIFT, true);
        assert_eq!(back, Some(Do::Tab { back: true }));
    }
}
