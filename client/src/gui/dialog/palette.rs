//! Ctrl+K: any action, person or file by a few letters.

use iced::widget::{button, column, container, row, text, text_input};
use iced::{Center, Fill, Padding};

use crate::gui::app::Do;
use crate::gui::icon::Icon;
use crate::gui::look::{BOLD, Look, size};
use crate::gui::parts::{Piece, aside, line, scrolling};
use crate::model::Model;
use crate::model::timeline::Conversation;
use crate::preferences::ThemeChoice;

/// The id of the field.
pub(in crate::gui) const SEARCH: &str = "palette";
/// Rows that are offered.
const MAX_ROWS: usize = 9;

/// What is typed, and which row is chosen.
#[derive(Clone, Debug, Default)]
pub(in crate::gui) struct Dialog {
    pub(in crate::gui) search: String,
    pub(in crate::gui) chosen: usize,
}

/// What a person does here.
#[derive(Clone, Debug)]
pub enum Message {
    /// Typed.
    Search(String),
    /// Do what is chosen.
    Submit,
    /// Do this.
    Run(Do),
}

struct Offer {
    icon: Icon,
    words: String,
    keys: &'static str,
    act: Do,
}

impl Dialog {
    /// What is chosen now.
    pub(in crate::gui) fn chosen(&self, model: &Model) -> Option<Do> {
        let mut offers = self.offers(model);
        (self.chosen < offers.len()).then(|| offers.swap_remove(self.chosen).act)
    }

    /// Up and down.
    pub(in crate::gui) fn step(&mut self, model: &Model, down: bool) {
        let count = self.offers(model).len().max(1);
        let step = if down { 1 } else { count - 1 };
        self.chosen = (self.chosen + step) % count;
    }

    fn offers(&self, model: &Model) -> Vec<Offer> {
        let words: Vec<String> = self
            .search
            .split_whitespace()
            .map(str::to_lowercase)
            .collect();
        let people = model
            .people()
            .iter()
            .filter(|person| !person.own)
            .map(|person| Offer {
                icon: Icon::USER,
                words: format!("Whisper to {}", person.name),
                keys: "",
                act: Do::Open(Conversation::Person(person.name.clone())),
            });
        // Thousands of files are searched only for somebody who has begun to type.
        let searched = if words.is_empty() { 0 } else { usize::MAX };
        let files = model.files().iter().take(searched).map(|file| Offer {
            icon: Icon::of_file(&file.name),
            words: format!("Get {}", file.name),
            keys: "",
            act: Do::Get(file.name.clone()),
        });
        let all = actions().into_iter().chain(people).chain(files);
        all.filter(|offer| {
            let name = offer.words.to_lowercase();
            words.iter().all(|word| name.contains(word))
        })
        .take(MAX_ROWS)
        .collect()
    }

    pub(in crate::gui) fn view<'a>(
        &'a self,
        look: &'a Look,
        model: &'a Model,
    ) -> Piece<'a, super::Message> {
        let field = text_input("What do you want to do?", &self.search)
            .id(SEARCH)
            .on_input(Message::Search)
            .on_submit(Message::Submit)
            .padding([11, 13])
            .size(size::HEADING)
            .style(move |_, status| {
                let mut style = look.input(false, status);
                style.border.width = 0.0;
                style.background = look.raised.into();
                style
            });
        let offers = self.offers(model).into_iter().enumerate();
        let rows: Vec<Piece<'a, Message>> = offers
            .map(|(index, offer)| offer_row(look, offer, index == self.chosen))
            .collect();
        let list: Piece<'a, Message> = if rows.is_empty() {
            container(aside(look, "Nothing is called like that."))
                .padding(12)
                .into()
        } else {
            scrolling(look, column(rows).padding(Padding::new(6.0))).into()
        };
        let content = column![container(field).padding(5), line(look), list];
        let card: Piece<'a, Message> = container(content)
            .max_width(560)
            .style(move |_| look.card())
            .into();
        card.map(super::Message::Palette)
    }
}

fn actions() -> Vec<Offer> {
    let one = |icon, words: &str, keys, act| Offer {
        icon,
        words: words.to_owned(),
        keys,
        act,
    };
    let theme = |icon, words, choice| one(icon, words, "", Do::Theme(choice));
    vec![
        one(Icon::DOWNLOAD, "Download File", "Ctrl D", Do::Download),
        one(Icon::KEYBOARD, "Show Commands", "F1", Do::Commands),
        one(Icon::LEAVE, "Disconnect", "Ctrl Shift D", Do::Disconnect),
        one(Icon::SEARCH, "Find in the conversation", "Ctrl F", Do::Find),
        one(
            Icon::ACTIVITY,
            "Show or hide transfers",
            "Ctrl J",
            Do::Transfers,
        ),
        one(Icon::FOLDER, "Show or hide files", "Ctrl B", Do::Files),
        one(
            Icon::RETRY_ALL,
            "Retry all failed downloads",
            "",
            Do::RetryAll,
        ),
        one(
            Icon::USERS,
            "Talk to everyone",
            "",
            Do::Open(Conversation::Everybody),
        ),
        one(Icon::SETTINGS, "Settings", "Ctrl ,", Do::Settings),
        theme(Icon::SUN, "Look: light", ThemeChoice::Light),
        theme(Icon::MOON, "Look: dark", ThemeChoice::Dark),
        theme(
            Icon::CONTRAST,
            "Look: high contrast",
            ThemeChoice::HighContrast,
        ),
        theme(Icon::MONITOR, "Look: as the system", ThemeChoice::System),
        one(Icon::PLUS, "Larger", "Ctrl +", Do::Zoom(1)),
        one(Icon::MINUS, "Smaller", "Ctrl −", Do::Zoom(-1)),
    ]
}

fn offer_row<'a>(look: &'a Look, offer: Offer, chosen: bool) -> Piece<'a, Message> {
    let mut words = text(offer.words).size(size::BODY).width(Fill);
    if chosen {
        words = words.font(BOLD);
    }
    let content = row![
        offer.icon.coloured(16.0, look.muted),
        words,
        aside(look, offer.keys)
    ]
    .spacing(11)
    .align_y(Center);
    button(content)
        .padding([7, 10])
        .width(Fill)
        .on_press(Message::Run(offer.act))
        .style(move |_, status| look.choice(chosen, status))
        .into()
}
