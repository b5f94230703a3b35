//! The small pieces that all screens are made of.

use iced::widget::{
    button, column, container, row, rule, scrollable, space, text, text_input, tooltip,
};
use iced::{Center, Color, Element, Fill, Padding, Shrink};

use super::icon::Icon;
use super::look::{BOLD, Kind, Look, size};

/// A piece of a view.
pub(super) type Piece<'a, Message> = Element<'a, Message>;

/// Text of the usual size.
pub(super) fn body<'a>(content: impl text::IntoFragment<'a>) -> text::Text<'a> {
    text(content).size(size::BODY)
}

/// Text that stands out.
pub(super) fn strong<'a>(content: impl text::IntoFragment<'a>) -> text::Text<'a> {
    text(content).size(size::BODY).font(BOLD)
}

/// The name of a pane or dialog.
pub(super) fn heading<'a>(content: impl text::IntoFragment<'a>) -> text::Text<'a> {
    text(content).size(size::HEADING).font(BOLD)
}

/// What stands beside.
pub(super) fn aside<'a>(look: &Look, content: impl text::IntoFragment<'a>) -> text::Text<'a> {
    text(content).size(size::SMALL).color(look.muted)
}

/// The name of a group.
pub(super) fn group<'a>(look: &Look, content: impl text::IntoFragment<'a>) -> text::Text<'a> {
    text(content).size(size::TINY).font(BOLD).color(look.muted)
}

/// A button with an icon and words.
pub(super) fn action<'a, Message: Clone + 'a>(
    look: &'a Look,
    kind: Kind,
    icon: Icon,
    words: &'a str,
    message: Option<Message>,
) -> Piece<'a, Message> {
    let content = row![icon.sized(15.0), text(words).size(13.0)]
        .spacing(7)
        .align_y(Center);
    button(content)
        .padding([7, 12])
        .on_press_maybe(message)
        .style(move |_, status| look.button(kind, status))
        .into()
}

/// A button with words only.
pub(super) fn words_button<'a, Message: Clone + 'a>(
    look: &'a Look,
    kind: Kind,
    words: impl text::IntoFragment<'a>,
    message: Option<Message>,
) -> Piece<'a, Message> {
    button(text(words).size(13.0))
        .padding([7, 14])
        .on_press_maybe(message)
        .style(move |_, status| look.button(kind, status))
        .into()
}

/// A small button in a list.
pub(super) fn small_button<'a, Message: Clone + 'a>(
    look: &'a Look,
    kind: Kind,
    words: impl text::IntoFragment<'a>,
    message: Message,
) -> Piece<'a, Message> {
    button(text(words).size(size::SMALL))
        .padding([4, 10])
        .on_press(message)
        .style(move |_, status| look.button(kind, status))
        .into()
}

/// A button that is only an icon; the tip says what it does.
pub(super) fn tool<'a, Message: Clone + 'a>(
    look: &'a Look,
    icon: Icon,
    tip: &'a str,
    message: Message,
) -> Piece<'a, Message> {
    let face = button(icon.sized(16.0))
        .padding(6)
        .on_press(message)
        .style(move |_, status| look.button(Kind::Quiet, status));
    tipped(look, face, tip)
}

/// The same with a word that tells what a small sign means.
pub(super) fn tipped<'a, Message: 'a>(
    look: &'a Look,
    face: impl Into<Piece<'a, Message>>,
    tip: impl text::IntoFragment<'a>,
) -> Piece<'a, Message> {
    let tip = container(text(tip).size(size::SMALL).color(look.ground))
        .padding([4, 8])
        .style(move |_| Look::surface(look.text).border(iced::border::rounded(5)));
    tooltip(face, tip, tooltip::Position::Bottom)
        .gap(4)
        .delay(std::time::Duration::from_millis(350))
        .into()
}

/// A field with its name above and an error or a hint below.
pub(super) fn field<'a, Message: Clone + 'a>(
    look: &'a Look,
    name: &'a str,
    input: text_input::TextInput<'a, Message>,
    error: Option<&'a str>,
    hint: &'a str,
) -> Piece<'a, Message> {
    let wrong = error.is_some();
    let input = input
        .padding([9, 11])
        .size(size::BODY)
        .style(move |_, status| look.input(wrong, status));
    let below: Option<Piece<'a, Message>> = match error {
        Some(error) => Some(told(look, Icon::ALERT, look.bad, error)),
        None if hint.is_empty() => None,
        None => Some(aside(look, hint).into()),
    };
    column![text(name).size(13.0).font(BOLD), input]
        .push(below)
        .spacing(5)
        .into()
}

/// A line with a sign before it, in one colour.
pub(super) fn told<'a, Message: 'a>(
    look: &Look,
    icon: Icon,
    color: Color,
    words: impl text::IntoFragment<'a>,
) -> Piece<'a, Message> {
    let _ = look;
    row![
        container(icon.coloured(14.0, color)).padding(Padding::ZERO.top(1.5)),
        text(words).size(13.0).color(color).width(Fill)
    ]
    .spacing(6)
    .into()
}

/// A coloured strip across the window: something that everybody should know.
pub(super) fn banner<'a, Message: 'a>(
    look: &'a Look,
    icon: Icon,
    (ground, strong_color): (Color, Color),
    content: impl Into<Piece<'a, Message>>,
    actions: Vec<Piece<'a, Message>>,
) -> Piece<'a, Message> {
    let content = row![
        icon.coloured(17.0, strong_color),
        container(content).width(Fill),
        row(actions).spacing(8).align_y(Center)
    ]
    .spacing(11)
    .align_y(Center);
    container(content)
        .padding([9, 14])
        .width(Fill)
        .style(move |_| look.tinted(ground, strong_color))
        .into()
}

/// A word in a pill.
pub(super) fn chip<'a, Message: 'a>(
    look: &'a Look,
    icon: Icon,
    (ground, color): (Color, Color),
    words: impl text::IntoFragment<'a>,
) -> Piece<'a, Message> {
    let content = row![
        icon.coloured(12.0, color),
        text(words).size(size::SMALL).color(color)
    ]
    .spacing(5)
    .align_y(Center);
    container(content)
        .padding([3, 8])
        .style(move |_| {
            let style = look.tinted(ground, color);
            style.border(style.border.rounded(10))
        })
        .into()
}

/// A number in a small filled pill.
pub(super) fn badge<'a, Message: 'a>(
    look: &'a Look,
    ground: Color,
    count: u32,
) -> Piece<'a, Message> {
    let words = if count > 99 {
        "99+".to_owned()
    } else {
        count.to_string()
    };
    container(
        text(words)
            .size(size::TINY)
            .font(BOLD)
            .color(look.on_accent),
    )
    .padding([1, 7])
    .style(move |_| Look::surface(ground).border(iced::border::rounded(9)))
    .into()
}

/// What stands where there is nothing yet.
pub(super) fn empty<'a, Message: 'a>(
    look: &'a Look,
    icon: Icon,
    title: &'a str,
    words: impl text::IntoFragment<'a>,
) -> Piece<'a, Message> {
    let content = column![
        icon.coloured(30.0, look.edge),
        text(title).size(size::BODY).font(BOLD).color(look.muted),
        text(words)
            .size(13.0)
            .color(look.muted)
            .width(Fill)
            .align_x(Center)
    ]
    .spacing(8)
    .max_width(300)
    .align_x(Center);
    container(content).center(Fill).padding(20).into()
}

/// What scrolls from top to bottom.
pub(super) fn scrolling<'a, Message: 'a>(
    look: &'a Look,
    content: impl Into<Piece<'a, Message>>,
) -> scrollable::Scrollable<'a, Message> {
    let bar = scrollable::Scrollbar::new()
        .width(6)
        .scroller_width(6)
        .margin(2);
    scrollable(content)
        .direction(scrollable::Direction::Vertical(bar))
        .style(move |theme, status| look.scroll(theme, status))
}

/// A thin line from left to right.
pub(super) fn line<'a, Message: 'a>(look: &'a Look) -> Piece<'a, Message> {
    rule::horizontal(1).style(move |_| look.rule()).into()
}

/// A thin line from top to bottom.
pub(super) fn upright<'a, Message: 'a>(look: &'a Look) -> Piece<'a, Message> {
    rule::vertical(1).style(move |_| look.rule()).into()
}

/// The sign that stands for a person: the first letter on their colour.
pub(super) fn avatar<'a, Message: 'a>(look: &'a Look, name: &str) -> Piece<'a, Message> {
    let letter: String = name.chars().take(1).flat_map(char::to_uppercase).collect();
    let ground = person_color(look, name);
    container(text(letter).size(13.0).font(BOLD).color(look.ground))
        .center(30)
        .style(move |_| Look::surface(ground).border(iced::border::rounded(15)))
        .into()
}

/// The colour of a person's name: the same wherever it stands.
pub(super) fn person_color(look: &Look, name: &str) -> Color {
    let all = [
        look.accent,
        look.good,
        look.warn,
        look.whisper,
        super::look::mix(look.accent, look.good, 0.55),
        super::look::mix(look.bad, look.whisper, 0.45),
        super::look::mix(look.warn, look.bad, 0.5),
        super::look::mix(look.accent, look.whisper, 0.5),
    ];
    let sum = name.chars().fold(7usize, |sum, c| {
        sum.wrapping_mul(31).wrapping_add(c as usize)
    });
    all[sum % all.len()]
}

/// Takes the room between what is left and right of it.
pub(super) fn gap<'a, Message: 'a>() -> Piece<'a, Message> {
    space::horizontal().width(Fill).height(Shrink).into()
}

/// A key of the keyboard.
pub(super) fn key<'a, Message: 'a>(look: &'a Look, name: &'a str) -> Piece<'a, Message> {
    container(text(name).size(size::SMALL).font(BOLD))
        .padding([2, 7])
        .style(move |_| {
            let style = look.framed(look.panel, look.edge);
            style.border(style.border.rounded(5))
        })
        .into()
}

/// A fingerprint or hash in groups of four, which people can compare.
pub(super) fn grouped(hex: &str) -> String {
    let letters: Vec<char> = hex.chars().collect();
    let groups: Vec<String> = letters
        .chunks(4)
        .map(|group| group.iter().collect())
        .collect();
    groups.join(" ")
}

/// The two ends of a long hash.
pub(super) fn shortened(hex: &str) -> String {
    match (hex.get(..8), hex.get(hex.len().saturating_sub(8)..)) {
        (Some(start), Some(end)) if hex.len() > 20 => format!("{start}…{end}"),
        _ => hex.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_for_people() {
        assert_eq!(grouped("0123456789"), "0123 4567 89");
        let hash = "0123456789abcdef0123456789abcdef";
        assert_eq!(shortened(hash), "01234567…89abcdef");
        assert_eq!(shortened("ab"), "ab");
    }
}
