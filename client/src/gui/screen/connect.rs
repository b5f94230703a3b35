//! Where one connects: address, name, recent servers, and what went wrong next to its field.

use iced::widget::{button, checkbox, column, container, row, text, text_input};
use iced::{Center, Fill, Length, Task};

use crate::exit_code::ClientError;
use crate::gui::icon::Icon;
use crate::gui::look::{BOLD, Kind, Look, size};
use crate::gui::parts::{
    Piece, action, aside, body, field, group, grouped, line, scrolling, strong, told, tool,
    words_button,
};
use crate::model::connection::{Connection, Field, State, Trouble};
use crate::places::ServerName;
use crate::preferences::RecentServer;
use columba_core::chat::check_name;
use columba_core::units::Timestamp;

const ADDRESS: &str = "connect-address";
const NAME: &str = "connect-name";
const PASSWORD: &str = "connect-password";
/// Width of the card.
const CARD: f32 = 440.0;
/// Servers that are offered.
const OFFERED: usize = 4;

/// What is typed.
#[derive(Clone, Debug, Default)]
pub(in crate::gui) struct Screen {
    address: String,
    name: String,
    password: String,
    plaintext: bool,
    ask_password: bool,
    wrong_address: Option<String>,
    wrong_name: Option<String>,
}

/// What a person does here.
#[derive(Clone, Debug)]
pub enum Message {
    /// Typed into the address.
    Address(String),
    /// Typed into the name.
    Name(String),
    /// Typed into the password.
    Password(String),
    /// Wants no encryption, or wants it.
    Plaintext(bool),
    /// Connect.
    Submit,
    /// Take this recent server.
    Recent(RecentServer),
    /// Take it out of the list.
    Forget(String),
    /// Stop connecting.
    Cancel,
    /// Try again now instead of waiting.
    TryNow,
    /// Copy this.
    Copy(String),
}

/// What is beyond this screen.
#[derive(Clone, Debug)]
pub(in crate::gui) enum Event {
    Connect(Wish),
    Forget(String),
    Cancel,
    TryNow,
    Copy(String),
}

/// Where to connect, and as whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::gui) struct Wish {
    pub(in crate::gui) server: ServerName,
    /// As the person wrote it.
    pub(in crate::gui) address: String,
    pub(in crate::gui) name: String,
    pub(in crate::gui) password: String,
    pub(in crate::gui) plaintext: bool,
}

impl Screen {
    pub(in crate::gui) fn new(
        address: String,
        name: String,
        password: String,
        plaintext: bool,
    ) -> Self {
        Self {
            ask_password: !password.is_empty(),
            address,
            name,
            password,
            plaintext,
            ..Self::default()
        }
    }

    /// The field that a person fills in first.
    pub(in crate::gui) fn focus<M: 'static>(&self, trouble: Option<&Trouble>) -> Task<M> {
        let id = match trouble.map(Trouble::field) {
            Some(Field::Name) => NAME,
            Some(Field::Password) => PASSWORD,
            Some(Field::Address | Field::Key | Field::None) => ADDRESS,
            None if self.name.is_empty() && !self.address.is_empty() => NAME,
            None => ADDRESS,
        };
        iced::widget::operation::focus(id)
    }

    /// The first field that is wrong, to be corrected.
    pub(in crate::gui) fn focus_wrong<M: 'static>(&self) -> Task<M> {
        match (&self.wrong_address, &self.wrong_name) {
            (Some(_), _) => iced::widget::operation::focus(ADDRESS),
            (None, Some(_)) => iced::widget::operation::focus(NAME),
            (None, None) => Task::none(),
        }
    }

    pub(in crate::gui) fn update(&mut self, message: Message) -> Option<Event> {
        match message {
            Message::Address(text) => {
                self.address = text;
                self.wrong_address = None;
            }
            Message::Name(text) => {
                self.name = text;
                self.wrong_name = None;
            }
            Message::Password(text) => self.password = text,
            Message::Plaintext(plaintext) => self.plaintext = plaintext,
            Message::Submit => return self.submit(),
            Message::Recent(server) => {
                self.address = server.address;
                self.plaintext = server.plaintext;
                if !server.name.is_empty() {
                    self.name = server.name;
                }
                return self.submit();
            }
            Message::Forget(address) => return Some(Event::Forget(address)),
            Message::Cancel => return Some(Event::Cancel),
            Message::TryNow => return Some(Event::TryNow),
            Message::Copy(text) => return Some(Event::Copy(text)),
        }
        None
    }

    fn submit(&mut self) -> Option<Event> {
        let name = self.name.trim();
        let server = ServerName::parse(&self.address);
        self.wrong_address = match &server {
            Ok(_) => None,
            Err(ClientError::Usage(text)) => Some(text.clone()),
            Err(error) => Some(error.to_string()),
        };
        self.wrong_name = check_name(name).err().map(|error| error.to_string());
        if self.wrong_name.is_some() {
            return None;
        }
        Some(Event::Connect(Wish {
            server: server.ok()?,
            address: self.address.trim().to_owned(),
            name: name.to_owned(),
            password: self.password.clone(),
            plaintext: self.plaintext,
        }))
    }

    /// The server asks for a password: the field appears and stays.
    pub(in crate::gui) const fn on_trouble(&mut self, trouble: &Trouble) {
        if matches!(trouble, Trouble::PasswordWanted { .. }) {
            self.ask_password = true;
        }
    }

    pub(in crate::gui) fn view<'a>(
        &'a self,
        look: &'a Look,
        connection: &'a Connection,
        recent: &'a [RecentServer],
        now: Timestamp,
    ) -> Piece<'a, Message> {
        let trouble = connection.trouble();
        let mut card = column![head(look)].spacing(16);
        if let Some(Trouble::KeyChanged { known, shown, file }) = trouble {
            card = card.push(key_changed(look, known, shown, file.as_deref()));
        }
        card = card.push(self.fields(look, trouble));
        let general = trouble.filter(|trouble| {
            trouble.field() == Field::None || matches!(trouble, Trouble::KeyRefused { .. })
        });
        if let Some(trouble) = general {
            card = card.push(refusal(look, trouble));
        }
        card = match connection.state() {
            State::Connecting { retry, .. } => {
                let words = retry.as_ref().map_or_else(
                    || format!("Connecting to {}…", connection.server()),
                    |retry| {
                        let left = retry.seconds_left(now);
                        format!("{} Next try in {left} s.", sentence(&retry.reason))
                    },
                );
                card.push(connecting(look, words, retry.is_some()))
            }
            State::Offline(_) | State::Online { .. } | State::Reconnecting { .. } => {
                card.push(connect_button(look))
            }
        };
        if !recent.is_empty() && !connection.is_active() {
            card = card.push(recent_list(look, recent));
        }
        let card = container(card)
            .padding(28)
            .width(CARD)
            .style(move |_| look.card());
        let all = scrolling(look, container(card).center_x(Fill).padding([28, 16]));
        container(all)
            .center_y(Fill)
            .width(Fill)
            .style(move |_| Look::surface(look.panel))
            .into()
    }

    fn fields<'a>(&'a self, look: &'a Look, trouble: Option<&'a Trouble>) -> Piece<'a, Message> {
        let of = |field: Field| {
            trouble
                .filter(|trouble| trouble.field() == field)
                .map(Trouble::text)
        };
        let address = text_input("localhost", &self.address)
            .id(ADDRESS)
            .on_input(Message::Address)
            .on_submit(Message::Submit);
        let name = text_input("one word, like alice", &self.name)
            .id(NAME)
            .on_input(Message::Name)
            .on_submit(Message::Submit);
        let wrong_address = self.wrong_address.as_deref().or_else(|| of(Field::Address));
        let wrong_name = self.wrong_name.as_deref().or_else(|| of(Field::Name));
        let hint = "Name or address, with :PORT if it is not 11490. Empty is this computer.";
        let mut fields = column![
            field(look, "Server", address, wrong_address, hint),
            field(look, "Your name", name, wrong_name, ""),
        ]
        .spacing(14);
        if self.ask_password || of(Field::Password).is_some() {
            let password = text_input("", &self.password)
                .id(PASSWORD)
                .secure(true)
                .on_input(Message::Password)
                .on_submit(Message::Submit);
            let wrong = of(Field::Password);
            fields = fields.push(field(look, "Password of the server", password, wrong, ""));
        }
        let plaintext = checkbox(self.plaintext)
            .label("Without encryption")
            .size(16)
            .text_size(13)
            .on_toggle(Message::Plaintext);
        fields = fields.push(plaintext);
        if self.plaintext {
            let words =
                "Everybody on the way can read along. Only for servers that run with --plaintext.";
            fields = fields.push(told(look, Icon::ALERT, look.warn, words));
        }
        fields.into()
    }
}

/// The words with an end.
pub(in crate::gui) fn sentence(words: &str) -> String {
    if words.ends_with(['.', '?', '!']) {
        words.to_owned()
    } else {
        format!("{words}.")
    }
}

fn head(look: &Look) -> Piece<'_, Message> {
    let sign = container(Icon::PIGEON.coloured(34.0, look.on_accent))
        .center(52)
        .style(move |_| Look::surface(look.accent).border(iced::border::rounded(14)));
    row![
        sign,
        column![
            text("Columba").size(size::TITLE).font(BOLD),
            aside(look, "Chat and files that get through bad networks"),
        ]
        .spacing(2)
    ]
    .spacing(14)
    .align_y(Center)
    .into()
}

fn connect_button(look: &Look) -> Piece<'_, Message> {
    let words = text("Connect").size(size::HEADING).font(BOLD);
    button(container(words).center_x(Fill))
        .padding([10, 16])
        .width(Fill)
        .on_press(Message::Submit)
        .style(move |_, status| look.button(Kind::Primary, status))
        .into()
}

fn connecting(look: &Look, words: String, waits: bool) -> Piece<'_, Message> {
    let icon = if waits { Icon::CLOCK } else { Icon::LOADER };
    let try_now = waits.then(|| words_button(look, Kind::Plain, "Try now", Some(Message::TryNow)));
    let content = column![
        row![icon.coloured(16.0, look.accent), body(words).width(Fill)].spacing(9),
        row![words_button(
            look,
            Kind::Plain,
            "Cancel",
            Some(Message::Cancel)
        )]
        .push(try_now)
        .spacing(8)
    ]
    .spacing(10);
    container(content)
        .padding(12)
        .width(Fill)
        .style(move |_| look.tinted(look.accent_soft, look.accent))
        .into()
}

fn refusal<'a>(look: &'a Look, trouble: &'a Trouble) -> Piece<'a, Message> {
    let (title, more) = match trouble {
        Trouble::KeyRefused { .. } => (
            "The server does not know this computer's key",
            "Send the key's fingerprint to the operator: columba key show prints it.",
        ),
        Trouble::Replaced { .. } => (
            "You joined from somewhere else",
            "The same name and key are connected there now. Connect to come back here.",
        ),
        Trouble::Unreachable { .. }
        | Trouble::NameTaken { .. }
        | Trouble::NameOwned { .. }
        | Trouble::NameInvalid { .. }
        | Trouble::PasswordWanted { .. }
        | Trouble::KeyChanged { .. }
        | Trouble::Other { .. } => ("The connection ended", ""),
    };
    let mut content = column![
        row![
            Icon::BAN.coloured(16.0, look.bad),
            strong(title).color(look.bad)
        ]
        .spacing(8),
        text(trouble.text()).size(13.0),
    ]
    .spacing(6);
    if !more.is_empty() {
        content = content.push(aside(look, more));
    }
    container(content)
        .padding(12)
        .width(Fill)
        .style(move |_| look.framed(look.bad_soft, look.bad))
        .into()
}

fn key_changed<'a>(
    look: &'a Look,
    known: &'a str,
    shown: &'a str,
    file: Option<&'a std::path::Path>,
) -> Piece<'a, Message> {
    let print = |name: &'a str, key: &str| {
        column![
            group(look, name).color(look.text),
            text(grouped(key)).size(size::SMALL)
        ]
        .spacing(2)
    };
    let what = match file {
        Some(file) => format!(
            "Somebody may be in between, or the server was set up anew. Ask its operator for the key. \
             If the new one is right, remove the server's line from {} and connect again.",
            crate::storage::paths::shown(file)
        ),
        None => "The key is not the one that was asked for with --fingerprint.".to_owned(),
    };
    let both = format!("known: {known}\nshown now: {shown}\n");
    let content = column![
        row![
            Icon::SHIELD_ALERT.coloured(22.0, look.bad),
            text("The server's key has changed")
                .size(size::HEADING)
                .font(BOLD)
                .color(look.bad)
        ]
        .spacing(9)
        .align_y(Center),
        strong("Connecting is blocked. Nothing was sent."),
        text(what).size(13.0),
        print("KNOWN KEY", known),
        print("KEY SHOWN NOW", shown),
        action(
            look,
            Kind::Plain,
            Icon::COPY,
            "Copy both",
            Some(Message::Copy(both))
        ),
    ]
    .spacing(9);
    container(content)
        .padding(14)
        .width(Fill)
        .style(move |_| {
            let mut style = look.framed(look.bad_soft, look.bad);
            style.border.width = 2.0;
            style
        })
        .into()
}

fn recent_list<'a>(look: &'a Look, recent: &'a [RecentServer]) -> Piece<'a, Message> {
    let rows = recent.iter().take(OFFERED).map(|server| {
        let shown = if server.address.is_empty() {
            "localhost"
        } else {
            &server.address
        };
        let lock = if server.plaintext {
            Icon::ALERT
        } else {
            Icon::SERVER
        };
        let words = row![
            lock.coloured(15.0, look.muted),
            body(shown).width(Length::Shrink),
            aside(look, format!("as {}", server.name)).width(Fill),
        ]
        .spacing(9)
        .align_y(Center);
        let choice = button(words)
            .padding([7, 9])
            .width(Fill)
            .on_press(Message::Recent(server.clone()))
            .style(move |_, status| look.choice(false, status));
        let forget = Message::Forget(server.address.clone());
        row![
            choice,
            tool(look, Icon::CLOSE, "Forget this server", forget)
        ]
        .spacing(4)
        .align_y(Center)
        .into()
    });
    let rows: Vec<Piece<'a, Message>> = rows.collect();
    column![line(look), group(look, "RECENT SERVERS"), column(rows)]
        .spacing(9)
        .into()
}
