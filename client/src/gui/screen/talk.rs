//! The main screen: people, timeline and files, with banners above and downloads below.

use std::path::PathBuf;

use iced::widget::{column, container, row, scrollable, stack, text, text_editor, text_input};
use iced::{Center, Fill, Padding};

use super::connect::sentence;
use super::{composer, files, people, timeline};
use crate::gui::icon::Icon;
use crate::gui::look::{Kind, Look, size};
use crate::gui::parts::{
    Piece, action, aside, banner, chip, gap, grouped, heading, line, small_button, strong, tool,
    upright,
};
use crate::gui::room::Room;
use crate::model::Model;
use crate::model::calendar::Day;
use crate::model::connection::State;
use crate::model::files::SortBy;
use crate::model::timeline::Conversation;
use crate::model::units;
use crate::preferences::Preferences;
use columba_core::units::Timestamp;

/// The id of the timeline.
pub(in crate::gui) const TIMELINE: &str = "timeline";
/// The id of the field that is searched from.
pub(in crate::gui) const FIND: &str = "find";

/// What a message can point to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pointer {
    /// A page in the browser.
    Link(String),
    /// A shared file.
    File(String),
}

/// What a person does here.
#[derive(Clone, Debug)]
pub enum Message {
    /// Typed, or moved, in the line.
    Edit(text_editor::Action),
    /// Put this into the line, to go on from there.
    Take(String),
    /// Enter.
    Send,
    /// Show a conversation.
    Open(Conversation),
    /// Show older entries.
    Older,
    /// Show newer entries.
    Newer,
    /// Go to the end.
    Newest,
    /// Go to the first entry that was not read.
    JumpUnread,
    /// The timeline was scrolled.
    Scrolled(scrollable::Viewport),
    /// Open the search.
    FindOpen,
    /// Typed into the search.
    FindTyped(String),
    /// The next hit: older, or newer.
    FindNext(bool),
    /// Close the search.
    FindClose,
    /// Clicked on something in a message.
    Pointed(Pointer),
    /// Copy this.
    Copy(String),
    /// Search the files.
    SearchFiles(String),
    /// Sort the files.
    SortFiles(SortBy),
    /// Ask for the files anew.
    RefreshFiles,
    /// Show or hide the files.
    ToggleFiles,
    /// Download this.
    Get(String),
    /// Download again what failed.
    Retry(u32),
    /// Retry all that failed.
    RetryAll,
    /// Pause a download.
    Pause(u32),
    /// Go on with it.
    Resume(u32),
    /// Give it up.
    CancelTransfer(u32),
    /// Take it out of the list.
    ForgetTransfer(u32),
    /// Take all that are done out of the list.
    ClearDone,
    /// Choose another folder and try again.
    Elsewhere(u32),
    /// Show this download's figures.
    Select(u32),
    /// Show this view of the figures.
    Figures(super::transfers::Tab),
    /// Show or hide the figures behind the sentence.
    ToggleBehind,
    /// Show or hide the downloads.
    ToggleTransfers,
    /// Open a file or folder.
    OpenPath(PathBuf),
    /// Try to connect now.
    TryNow,
    /// The first-contact banner was read.
    KeySeen,
    /// The button Disconnect.
    Disconnect,
    /// The button Download File.
    Download,
    /// The button Show Commands.
    Commands,
    /// The settings.
    Settings,
}

/// What this screen knows besides the model.
#[derive(Clone, Debug)]
pub(in crate::gui) struct Screen {
    /// The search is open, with this in its field.
    pub(in crate::gui) find: Option<String>,
    pub(in crate::gui) show_files: bool,
    /// Files stand in the place of the talk: there is no room beside it.
    pub(in crate::gui) files_instead: bool,
    /// Whether the end of the timeline is in sight.
    pub(in crate::gui) at_end: bool,
    /// The line being typed, with its cursor: the model's text.
    pub(in crate::gui) line: text_editor::Content,
    /// The new key was looked at.
    pub(in crate::gui) key_seen: bool,
    pub(in crate::gui) transfers: super::transfers::Pane,
}

impl Screen {
    /// As it was when the window was closed.
    pub(in crate::gui) fn new(preferences: &Preferences) -> Self {
        let transfers = super::transfers::Pane {
            open: preferences.show_transfers,
            ..super::transfers::Pane::default()
        };
        Self {
            find: None,
            show_files: preferences.show_files,
            files_instead: false,
            at_end: true,
            line: text_editor::Content::new(),
            key_seen: false,
            transfers,
        }
    }

    /// Shows the model's line, with the cursor at its end, unless it is what was typed here.
    pub(in crate::gui) fn follow(&mut self, typed: &str) {
        if self.line.text() != typed {
            self.line = text_editor::Content::with_text(typed);
            let end = text_editor::Motion::DocumentEnd;
            self.line.perform(text_editor::Action::Move(end));
        }
    }

    pub(in crate::gui) fn view<'a>(
        &'a self,
        look: &'a Look,
        model: &'a Model,
        today: Day,
        now: Timestamp,
        room: Room,
    ) -> Piece<'a, Message> {
        let top =
            column![bar(look, model, now, room), line(look)].push(self.banners(look, model, now));
        let bottom = self.transfers.view(look, model, now, room);
        if self.transfers.is_open(model, room) && !room.is_high() {
            return top.push(bottom).into();
        }
        let mut body = row![].height(Fill);
        if room.is_wide() {
            body = body.push(people::view(look, model));
            body = body.push(upright(look));
        }
        let beside = room.has_files_beside();
        body = body.push(if self.files_instead && !beside {
            files::view(look, model, true)
        } else {
            self.middle(look, model, today)
        });
        if self.show_files && beside {
            body = body.push(upright(look));
            body = body.push(files::view(look, model, false));
        }
        top.push(body).push(line(look)).push(bottom).into()
    }

    /// The conversation, and the line for it.
    fn middle<'a>(&'a self, look: &'a Look, model: &'a Model, today: Day) -> Piece<'a, Message> {
        let mut middle = column![].width(Fill).height(Fill);
        middle = middle.push(title(look, model));
        middle = middle.push(line(look));
        if let Some(query) = &self.find {
            middle = middle.push(find_bar(look, model, query));
            middle = middle.push(line(look));
        }
        let shown = model.timelines().shown();
        let jumps = timeline::jumps(look, shown, self.at_end)
            .map(|jumps| container(jumps).align_bottom(Fill).width(Fill));
        middle = middle.push(
            stack![timeline::view(look, model, today)]
                .push(jumps)
                .height(Fill),
        );
        middle = middle.push(composer::view(look, model, &self.line));
        container(middle)
            .width(Fill)
            .height(Fill)
            .style(move |_| Look::surface(look.ground))
            .into()
    }

    fn banners<'a>(
        &self,
        look: &'a Look,
        model: &'a Model,
        now: Timestamp,
    ) -> Option<Piece<'a, Message>> {
        let connection = model.connection();
        let mut all: Vec<Piece<'a, Message>> = Vec::new();
        if let State::Reconnecting { reason, retry, .. } = connection.state() {
            let words = match retry {
                Some(retry) => {
                    let left = retry.seconds_left(now);
                    let reason = sentence(reason);
                    format!(
                        "{reason} Attempt {} in {left} s. What you missed comes then.",
                        retry.attempt
                    )
                }
                None => format!("{} Connecting again now.", sentence(reason)),
            };
            let content = column![
                strong("Connection lost, reconnecting"),
                text(words).size(13.0)
            ]
            .spacing(1);
            let try_now = small_button(look, Kind::Plain, "Try now", Message::TryNow);
            let colors = (look.warn_soft, look.warn);
            all.push(banner(look, Icon::WIFI_OFF, colors, content, vec![try_now]));
        }
        if connection.is_udp_blocked() {
            let content = column![
                strong("UDP is blocked, so downloads cannot start"),
                text(
                    "The chat works. Files come over UDP on the same port number as the server's address: \
                     let it through the firewall. Downloads start by themselves when it opens."
                )
                .size(13.0)
            ]
            .spacing(1);
            let colors = (look.warn_soft, look.warn);
            all.push(banner(look, Icon::ALERT, colors, content, Vec::new()));
        }
        if let Some(key) = connection
            .fingerprint()
            .filter(|_| connection.is_first_contact() && !self.key_seen)
        {
            let content = column![
                strong("First contact: this server's key is trusted from now on"),
                text(grouped(key)).size(size::SMALL)
            ]
            .spacing(2);
            let actions = vec![
                small_button(look, Kind::Plain, "Copy", Message::Copy(key.to_owned())),
                small_button(look, Kind::Plain, "Got it", Message::KeySeen),
            ];
            let colors = (look.accent_soft, look.accent);
            all.push(banner(look, Icon::KEY, colors, content, actions));
        }
        (!all.is_empty()).then(|| {
            container(column(all).spacing(6))
                .padding(8)
                .style(move |_| Look::surface(look.panel))
                .into()
        })
    }
}

/// The top of the window: where we are, and the three buttons.
fn bar<'a>(look: &'a Look, model: &'a Model, now: Timestamp, room: Room) -> Piece<'a, Message> {
    let connection = model.connection();
    let mut left = row![Icon::PIGEON.coloured(24.0, look.accent)]
        .spacing(10)
        .align_y(Center);
    if room.is_wide() {
        // It stands in the title of the window, too.
        left = left.push(strong(connection.server()).wrapping(text::Wrapping::None));
    }
    left = left.push(state_chip(look, connection.state(), now));
    if let Some(sample) = model.network().now(now) {
        let figures = format!(
            "{} · {} lost",
            units::latency(sample.srtt),
            units::percent(sample.loss())
        );
        left = left.push(aside(look, figures).wrapping(text::Wrapping::None));
    }
    let content = row![container(left).clip(true).width(Fill), buttons(look, room)]
        .spacing(12)
        .align_y(Center);
    container(content)
        .padding([9, 14])
        .width(Fill)
        .style(move |_| Look::surface(look.panel))
        .into()
}

/// The three buttons, and settings.
fn buttons(look: &Look, room: Room) -> Piece<'_, Message> {
    let three = [
        (
            Kind::Plain,
            Icon::KEYBOARD,
            ["Show Commands", "Commands"],
            Message::Commands,
        ),
        (
            Kind::Primary,
            Icon::DOWNLOAD,
            ["Download File", "Download"],
            Message::Download,
        ),
        (
            Kind::Plain,
            Icon::LEAVE,
            ["Disconnect"; 2],
            Message::Disconnect,
        ),
    ];
    let three = three.map(|(kind, icon, [words, short], message)| {
        if room.is_wide() {
            action(look, kind, icon, words, Some(message))
        } else {
            small_button(look, kind, short, message)
        }
    });
    row(three)
        .push(tool(
            look,
            Icon::SETTINGS,
            "Settings (Ctrl+,)",
            Message::Settings,
        ))
        .spacing(8)
        .align_y(Center)
        .into()
}

fn state_chip<'a>(look: &'a Look, state: &State, now: Timestamp) -> Piece<'a, Message> {
    match state {
        State::Online { .. } => chip(look, Icon::WIFI, (look.good_soft, look.good), "Online"),
        State::Connecting { .. } => chip(
            look,
            Icon::LOADER,
            (look.accent_soft, look.accent),
            "Connecting",
        ),
        State::Reconnecting { retry, .. } => {
            let words = retry.as_ref().map_or_else(
                || "Reconnecting".to_owned(),
                |retry| format!("Reconnecting in {} s", retry.seconds_left(now)),
            );
            chip(look, Icon::RECONNECT, (look.warn_soft, look.warn), words)
        }
        State::Offline(_) => chip(look, Icon::WIFI_OFF, (look.bad_soft, look.bad), "Offline"),
    }
}

fn title<'a>(look: &'a Look, model: &'a Model) -> Piece<'a, Message> {
    let words: Piece<'a, Message> = match model.timelines().current() {
        Conversation::Everybody => {
            let present = model.people().present();
            let people = match present {
                0 => String::new(),
                1 => "only you are here".to_owned(),
                count => format!("{count} people here"),
            };
            row![heading("Everyone"), aside(look, people)]
                .spacing(10)
                .align_y(Center)
                .into()
        }
        Conversation::Person(name) => row![
            Icon::LOCK.coloured(15.0, look.whisper),
            heading(name.as_str()),
            aside(look, "whispers: only the two of you read this")
        ]
        .spacing(9)
        .align_y(Center)
        .into(),
    };
    let tools = row![
        tool(look, Icon::SEARCH, "Find (Ctrl+F)", Message::FindOpen),
        tool(
            look,
            Icon::PANEL,
            "Show or hide files (Ctrl+B)",
            Message::ToggleFiles
        ),
    ]
    .spacing(2);
    container(row![words, gap(), tools].align_y(Center))
        .padding(Padding::from([6, 12]).left(16))
        .into()
}

fn find_bar<'a>(look: &'a Look, model: &'a Model, query: &'a str) -> Piece<'a, Message> {
    let (at, count) = model.timelines().shown().find_count();
    let told = match (query.is_empty(), count) {
        (true, _) => String::new(),
        (false, 0) => "nothing found".to_owned(),
        (false, _) => format!("{at} of {count}"),
    };
    let field = text_input("Find in this conversation", query)
        .id(FIND)
        .on_input(Message::FindTyped)
        .on_submit(Message::FindNext(true))
        .size(13)
        .padding([6, 10])
        .width(280)
        .style(move |_, status| look.input(false, status));
    let content = row![
        Icon::SEARCH.coloured(15.0, look.muted),
        field,
        aside(look, told),
        gap(),
        tool(
            look,
            Icon::CHEVRON_UP,
            "Older (Enter)",
            Message::FindNext(true)
        ),
        tool(look, Icon::CHEVRON_DOWN, "Newer", Message::FindNext(false)),
        tool(look, Icon::CLOSE, "Close (Esc)", Message::FindClose),
    ]
    .spacing(8)
    .align_y(Center);
    container(content)
        .padding([5, 12])
        .style(move |_| Look::surface(look.panel))
        .into()
}
