//! A few words at the bottom of the window that go away by themselves.

use iced::widget::{container, text};
use iced::{Fill, Padding};

use super::app::Act;
use super::look::Look;
use super::parts::Piece;

/// The words, to stand above the rest; they take no clicks.
pub(super) fn layer<'a>(look: &'a Look, words: &'a str) -> Piece<'a, Act> {
    let card = container(text(words).size(13.0).color(look.ground))
        .padding([9, 16])
        .max_width(620)
        .style(move |_| Look::surface(look.text).border(iced::border::rounded(9)));
    container(card)
        .align_bottom(Fill)
        .center_x(Fill)
        .padding(Padding::ZERO.bottom(58))
        .into()
}
