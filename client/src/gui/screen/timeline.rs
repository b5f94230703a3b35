//! The middle: what was said.

use iced::widget::{
    button, column, container, hover, rich_text, row, rule, space, span, stack, text,
};
use iced::{Center, Color, Fill, Padding};

use crate::gui::icon::Icon;
use crate::gui::look::{BOLD, FONT, Kind, Look, mix, size};
use crate::gui::parts::{
    Piece, aside, avatar, empty, person_color, scrolling, small_button, strong, tool,
};
use crate::gui::screen::files::state;
use crate::gui::screen::talk::{Message, Pointer, TIMELINE};
use crate::model::calendar::Day;
use crate::model::text::Piece as Part;
use crate::model::timeline::{Conversation, Entry, EntryId, EntryKind, Row, Timeline};
use crate::model::{Model, units};

/// Messages of one person that follow each other so closely stand under one name.
const TOGETHER_MS: u64 = 5 * 60 * 1000;
/// Room for times and signs at the left.
const GUTTER: f32 = 42.0;

/// The id of an entry's row, where it is needed to scroll to it.
pub(in crate::gui) fn row_id(entry: EntryId) -> iced::widget::Id {
    iced::widget::Id::from(format!("entry-{}", entry.0))
}

/// The id of the unread mark.
pub(in crate::gui) const MARK: &str = "unread-mark";

pub(in crate::gui) fn view<'a>(look: &'a Look, model: &'a Model, today: Day) -> Piece<'a, Message> {
    let timeline = model.timelines().shown();
    if timeline.is_empty() {
        return nothing(look, model.timelines().current());
    }
    let mut rows: Vec<Piece<'a, Message>> = Vec::new();
    if timeline.has_older() {
        rows.push(pager(look, "Show older messages", Message::Older));
    }
    let mut before: Option<&Entry> = None;
    for line in timeline.rows() {
        match line {
            Row::Day(day) => {
                rows.push(day_rule(look, day.title(today)));
                before = None;
            }
            Row::New => {
                rows.push(new_rule(look));
                before = None;
            }
            Row::Entry(entry) => {
                rows.push(entry_row(look, model, timeline, entry, before));
                before = Some(entry);
            }
        }
    }
    if timeline.has_newer() {
        rows.push(pager(look, "Show newer messages", Message::Newer));
    }
    let content = column(rows).padding(Padding::new(16.0).top(10).bottom(10));
    let rows = scrolling(look, content)
        .id(TIMELINE)
        .anchor_bottom()
        .width(Fill)
        .height(Fill)
        .on_scroll(Message::Scrolled);
    if timeline.entries().any(Entry::is_said) {
        return rows.into();
    }
    stack![rows, nothing(look, model.timelines().current())].into()
}

fn nothing<'a>(look: &'a Look, conversation: &'a Conversation) -> Piece<'a, Message> {
    match conversation {
        Conversation::Everybody => {
            let words = "Say hello: everybody who is here will read it. Shift the talk to a whisper by \
                         clicking a name at the left.";
            empty(look, Icon::MESSAGE, "It is quiet here", words)
        }
        Conversation::Person(name) => {
            let words = format!("What you write here is read by {name} only.");
            empty(look, Icon::LOCK, "No whispers yet", words)
        }
    }
}

fn pager<'a>(look: &'a Look, words: &'a str, message: Message) -> Piece<'a, Message> {
    container(small_button(look, Kind::Plain, words, message))
        .center_x(Fill)
        .padding(8)
        .into()
}

fn day_rule<'a>(look: &'a Look, title: String) -> Piece<'a, Message> {
    let side = || rule::horizontal(1).style(move |_| look.rule());
    let title = text(title).size(size::SMALL).font(BOLD).color(look.muted);
    row![side(), title, side()]
        .spacing(12)
        .padding([10, 0])
        .align_y(Center)
        .into()
}

fn new_rule(look: &Look) -> Piece<'_, Message> {
    let content = row![
        rule::horizontal(1).style(move |_| look.rule_of(look.bad)),
        text("NEW").size(size::TINY).font(BOLD).color(look.bad),
    ]
    .spacing(9)
    .align_y(Center);
    container(content).id(MARK).padding([4, 0]).into()
}

fn entry_row<'a>(
    look: &'a Look,
    model: &'a Model,
    timeline: &'a Timeline,
    entry: &'a Entry,
    before: Option<&'a Entry>,
) -> Piece<'a, Message> {
    let found = timeline.find_current() == Some(entry.id);
    let content = match &entry.kind {
        EntryKind::Said { from, own, .. } => {
            said(look, model, entry, (from, *own), follows(entry, before))
        }
        EntryKind::Joined(_) | EntryKind::Left(_) => aside_row(look, entry, None),
        EntryKind::Info => aside_row(look, entry, Some((Icon::INFO, look.accent))),
        EntryKind::Missed(_) => aside_row(look, entry, Some((Icon::CLOCK, look.warn))),
        EntryKind::Error(_) => told_row(look, entry, Icon::ALERT, ""),
        EntryKind::Undelivered => {
            told_row(look, entry, Icon::WIFI_OFF, "This may not have arrived: ")
        }
    };
    if found {
        return container(content)
            .id(row_id(entry.id))
            .width(Fill)
            .style(move |_| look.framed(look.warn_soft, look.warn))
            .into();
    }
    content
}

/// Whether an entry stands under the same name as the one before.
fn follows(entry: &Entry, before: Option<&Entry>) -> bool {
    let (EntryKind::Said { from, .. }, Some(before)) = (&entry.kind, before) else {
        return false;
    };
    let same = matches!(&before.kind, EntryKind::Said { from: other, .. } if other == from);
    same && entry.unix_ms.saturating_sub(before.unix_ms) < TOGETHER_MS
}

fn said<'a>(
    look: &'a Look,
    model: &'a Model,
    entry: &'a Entry,
    (from, own): (&'a str, bool),
    follows: bool,
) -> Piece<'a, Message> {
    let mention = matches!(entry.kind, EntryKind::Said { mention: true, .. });
    let whisper = matches!(entry.kind, EntryKind::Said { whisper: true, .. });
    let left: Piece<'a, Message> = if follows {
        space::horizontal().width(GUTTER).into()
    } else {
        container(avatar(look, from)).width(GUTTER).into()
    };
    let mut content = column![].spacing(3).width(Fill);
    if !follows {
        content = content.push(name_line(look, entry, (from, own), (mention, whisper)));
    }
    content = content.push(bubble(look, entry, own, mention, whisper));
    for part in &entry.pieces {
        if let Part::File { name, .. } = part {
            content = content.push(file_card(look, model, name));
        }
    }
    let line = row![left, content].padding(Padding::ZERO.top(if follows { 2.0 } else { 9.0 }));
    let copy = container(tool(look, Icon::COPY, "Copy", Message::Copy(entry.text())))
        .align_right(Fill)
        .padding(Padding::ZERO.top(if follows { 0.0 } else { 4.0 }));
    hover(line, copy)
}

fn name_line<'a>(
    look: &'a Look,
    entry: &'a Entry,
    (from, own): (&'a str, bool),
    (mention, whisper): (bool, bool),
) -> Piece<'a, Message> {
    let mut line = row![strong(from).color(person_color(look, from))]
        .spacing(7)
        .align_y(Center);
    if own {
        line = line.push(aside(look, "you"));
    }
    line = line.push(aside(look, entry.time.to_string()));
    if whisper {
        line = line.push(Icon::LOCK.coloured(11.0, look.whisper));
        line = line.push(text("whisper").size(size::TINY).color(look.whisper));
    }
    if mention {
        line = line.push(Icon::AT.coloured(12.0, look.warn));
        line = line.push(text("names you").size(size::TINY).color(look.warn));
    }
    line.into()
}

fn bubble<'a>(
    look: &'a Look,
    entry: &'a Entry,
    own: bool,
    mention: bool,
    whisper: bool,
) -> Piece<'a, Message> {
    let words = message(look, entry);
    let (ground, edge) = match (mention, whisper, own) {
        (true, ..) => (look.warn_soft, look.warn),
        (_, true, _) => (look.whisper_soft, look.whisper),
        (_, _, true) => (look.accent_soft, look.accent),
        (false, false, false) => return container(words).padding(Padding::ZERO.right(40)).into(),
    };
    let bubble = container(words)
        .padding([5, 10])
        .style(move |_| look.tinted(ground, edge));
    container(bubble).padding(Padding::ZERO.right(40)).into()
}

/// The words of a message, with what can be clicked.
fn message<'a>(look: &'a Look, entry: &'a Entry) -> Piece<'a, Message> {
    if let [Part::Plain(words)] = &entry.pieces[..] {
        return text(words.as_str())
            .size(size::BODY)
            .wrapping(text::Wrapping::WordOrGlyph)
            .into();
    }
    let spans: Vec<_> = entry
        .pieces
        .iter()
        .map(|part| match part {
            Part::Plain(words) => span(words.as_str()),
            Part::Link(link) => span(link.as_str())
                .color(look.accent)
                .underline(true)
                .link(Pointer::Link(link.clone())),
            Part::File { shown, name } => span(shown.as_str())
                .font(BOLD)
                .color(look.accent)
                .link(Pointer::File(name.clone())),
            Part::Mention(name) => span(name.as_str())
                .font(BOLD)
                .color(look.warn)
                .background(mix(look.warn_soft, look.warn, 0.12))
                .padding([0, 2]),
        })
        .collect();
    rich_text(spans)
        .size(size::BODY)
        .font(FONT)
        .wrapping(text::Wrapping::WordOrGlyph)
        .on_link_click(Message::Pointed)
        .into()
}

fn file_card<'a>(look: &'a Look, model: &'a Model, name: &'a str) -> Piece<'a, Message> {
    let size_of = model.files().get(name).map(|file| units::size(file.size));
    let content = row![
        Icon::of_file(name).coloured(20.0, look.accent),
        column![
            strong(name).wrapping(text::Wrapping::WordOrGlyph),
            aside(
                look,
                size_of.unwrap_or_else(|| "no longer shared".to_owned())
            )
        ]
        .width(Fill)
        .spacing(1),
        state(look, name, model.transfers().of_file(name))
    ]
    .spacing(11)
    .align_y(Center);
    container(content)
        .padding([8, 12])
        .max_width(400)
        .style(move |_| look.framed(look.panel, look.line))
        .into()
}

fn aside_row<'a>(
    look: &'a Look,
    entry: &'a Entry,
    sign: Option<(Icon, Color)>,
) -> Piece<'a, Message> {
    let sign: Piece<'a, Message> = match sign {
        Some((icon, color)) => container(icon.coloured(14.0, color)).center_x(30).into(),
        None => space::horizontal().width(30).into(),
    };
    row![
        container(sign).width(GUTTER).padding(Padding::ZERO.top(2)),
        text(entry.text())
            .size(13.0)
            .color(look.muted)
            .wrapping(text::Wrapping::WordOrGlyph)
            .width(Fill),
        aside(look, entry.time.to_string())
    ]
    .padding([3, 0])
    .into()
}

fn told_row<'a>(
    look: &'a Look,
    entry: &'a Entry,
    icon: Icon,
    before: &'static str,
) -> Piece<'a, Message> {
    let words = format!("{before}{}", entry.text());
    let mut content = row![
        icon.coloured(15.0, look.bad),
        text(words).size(13.0).width(Fill),
    ]
    .spacing(9)
    .align_y(Center);
    if matches!(entry.kind, EntryKind::Undelivered) {
        let again = Message::Take(entry.text());
        content = content.push(small_button(look, Kind::Plain, "Write again", again));
    }
    let card = container(content)
        .padding([7, 11])
        .width(Fill)
        .style(move |_| look.framed(look.bad_soft, look.bad));
    container(card)
        .padding(Padding::ZERO.left(GUTTER).top(5).bottom(3))
        .into()
}

/// The way to what was not read, or to the end, above the field.
pub(in crate::gui) fn jumps<'a>(
    look: &'a Look,
    timeline: &'a Timeline,
    at_end: bool,
) -> Option<Piece<'a, Message>> {
    let away = !at_end || timeline.has_newer();
    let unread = timeline.unread();
    if !away {
        return None;
    }
    let jump = |icon: Icon, words: String, message| {
        button(
            row![icon.sized(13.0), text(words).size(size::SMALL)]
                .spacing(6)
                .align_y(Center),
        )
        .padding([5, 12])
        .on_press(message)
        .style(move |_, status| {
            let mut style = look.button(Kind::Primary, status);
            style.border = style.border.rounded(14);
            style
        })
    };
    let mut all = row![].spacing(8);
    if unread > 0 && timeline.unread_mark().is_some() {
        let words = format!("{unread} new");
        all = all.push(jump(Icon::CHEVRON_UP, words, Message::JumpUnread));
    }
    all = all.push(jump(
        Icon::ARROW_DOWN,
        "To the end".to_owned(),
        Message::Newest,
    ));
    Some(container(all).center_x(Fill).padding([4, 0]).into())
}
