//! A few words at the bottom of the window that go away by themselves.

use iced::widget::{container, stack, text};
use iced::{Fill, Padding};

use super::app::Act;
use super::look::Look;
use super::parts::Piece;

/// Puts the words above the rest; they take no clicks.
pub(super) fn above<'a>(look: &'a Look, below: Piece<'a, Act>, words: &'a str) -> Piece<'a, Act> {
    let card = container(text(words).size(13.0).color(look.ground))
        .padding([9, 16])
        .max_width(620)
        .style(move |_| Look::surface(look.text).border(iced::border::rounded(9)));
    let place = container(card)
        .align_bottom(Fill)
        .center_x(Fill)
        .padding(Padding::ZERO.bottom(58));
    stack![below, place].into()
}
