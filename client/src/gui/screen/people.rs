//! The left side: conversations and who is there.

use iced::widget::{button, column, container, row, text};
use iced::{Center, Fill, Padding};

use crate::gui::icon::Icon;
use crate::gui::look::{BOLD, Look, size};
use crate::gui::parts::{Piece, aside, badge, empty, group, scrolling, tipped};
use crate::gui::screen::talk::Message;
use crate::model::Model;
use crate::model::people::Person;
use crate::model::timeline::Conversation;

/// Width of the side.
pub(in crate::gui) const WIDTH: f32 = 216.0;

pub(in crate::gui) fn view<'a>(look: &'a Look, model: &'a Model) -> Piece<'a, Message> {
    let current = model.timelines().current();
    let everybody = model.timelines().everybody();
    let mentions = everybody.unread_mentions();
    let mut end = row![].spacing(4).align_y(Center);
    if mentions > 0 {
        let sign = badge(look, look.bad, mentions);
        end = end.push(tipped(look, sign, "messages that name you"));
    }
    if everybody.unread() > mentions {
        end = end.push(badge(look, look.accent, everybody.unread() - mentions));
    }
    let chosen = *current == Conversation::Everybody;
    let top = choice(
        look,
        Icon::HASH.coloured(15.0, look.muted).into(),
        "Everyone",
        everybody.unread() > 0,
        (chosen, Some(Conversation::Everybody)),
        end.into(),
    );
    let people = model.people();
    let rows: Vec<Piece<'a, Message>> = people
        .iter()
        .map(|person| person_row(look, person, current))
        .collect();
    let list: Piece<'a, Message> = if rows.is_empty() {
        empty(
            look,
            Icon::USERS,
            "Nobody to be seen",
            "The list comes with the connection.",
        )
    } else {
        scrolling(look, column(rows).spacing(1)).height(Fill).into()
    };
    let title = format!("PEOPLE · {}", people.present());
    let content = column![
        column![top].padding(Padding::ZERO.bottom(10)),
        container(group(look, title)).padding([4, 9]),
        list
    ];
    container(content)
        .padding(8)
        .width(WIDTH)
        .height(Fill)
        .style(move |_| Look::surface(look.panel))
        .into()
}

fn person_row<'a>(
    look: &'a Look,
    person: &'a Person,
    current: &Conversation,
) -> Piece<'a, Message> {
    let color = if person.present {
        look.good
    } else {
        look.muted
    };
    let sign = container("").width(9).height(9).style(move |_| {
        // Filled for who is there, a ring for who is not.
        let ground = if person.present { color } else { look.panel };
        let mut style = Look::surface(ground).border(iced::border::rounded(5));
        style.border.color = color;
        style.border.width = 1.5;
        style
    });
    let sign = container(sign).center_x(15);
    let end: Piece<'a, Message> = if person.unread > 0 {
        badge(look, look.whisper, person.unread)
    } else if person.own {
        aside(look, "you").into()
    } else if !person.present {
        aside(look, "away").into()
    } else {
        row![].into()
    };
    let chosen = matches!(current, Conversation::Person(name) if *name == person.name);
    let open = (!person.own).then(|| Conversation::Person(person.name.clone()));
    choice(
        look,
        sign.into(),
        &person.name,
        person.unread > 0,
        (chosen, open),
        end,
    )
}

fn choice<'a>(
    look: &'a Look,
    sign: Piece<'a, Message>,
    name: &'a str,
    unread: bool,
    (chosen, open): (bool, Option<Conversation>),
    end: Piece<'a, Message>,
) -> Piece<'a, Message> {
    let mut words = text(name)
        .size(size::BODY)
        .width(Fill)
        .wrapping(text::Wrapping::None);
    if unread || chosen {
        words = words.font(BOLD);
    }
    let name = container(words).clip(true).width(Fill);
    let content = row![sign, name, end].spacing(8).align_y(Center);
    button(content)
        .padding([6, 9])
        .width(Fill)
        .on_press_maybe(open.map(Message::Open))
        .style(move |_, status| look.choice(chosen, status))
        .into()
}
