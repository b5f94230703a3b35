//! The window's state, and where each message goes.

use iced::{Element, Size, Subscription, Task, Theme, theme, window};

use super::clock::Watch;
use super::dialog::{self, Dialog};
use super::launch::Launch;
use super::look::{DARK, HIGH_CONTRAST, LIGHT, Look};
use super::room::Room;
use super::screen::{connect, talk};
use super::worker::{self, Session, Told};
use super::{desktop, keys};
use crate::engine::CommandSender;
use crate::engine::message::Command;
use crate::model::Model;
use crate::model::calendar::LocalTime;
use crate::model::connection::State;
use crate::model::timeline::Conversation;
use crate::preferences::{Preferences, ThemeChoice};

/// How long a word at the bottom stays.
const TOAST_FOR: std::time::Duration = std::time::Duration::from_secs(4);
/// How long a closing window waits for the engine's goodbye.
const GOODBYE_FOR: std::time::Duration = std::time::Duration::from_secs(2);

/// Something that happens to the window.
#[derive(Debug)]
pub enum Message {
    /// A person did something.
    Act(Act),
    /// An engine told something; its number comes with it.
    Engine(u64, Told),
    /// A key was pressed.
    Key(Do),
    /// The window has the keyboard, or not.
    Focused(bool),
    /// The window has this size.
    Resized(Size),
    /// The system's theme.
    System(theme::Mode),
    /// Draw anew: a countdown goes on.
    Tick,
    /// The word at the bottom has stood long enough.
    ToastOver,
    /// Somebody wants to close the window.
    Close,
    /// The engine had its time to say goodbye.
    CloseNow,
    /// What was to be pasted.
    Pasted(Option<String>),
    /// A folder was chosen, or not.
    Chosen(Option<std::path::PathBuf>),
    /// Where an entry is, to scroll to it: how far above the end.
    Found(Option<f32>),
}

/// Something that a person does with what is shown.
#[derive(Clone, Debug)]
pub enum Act {
    /// While connecting.
    Connect(connect::Message),
    /// On the main screen.
    Talk(talk::Message),
    /// In a dialog.
    Dialog(dialog::Message),
}

/// Something that can be done from anywhere: by a key, or from the list of all actions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Do {
    /// Close what is open.
    Escape,
    /// Tab.
    Tab {
        /// With Shift.
        back: bool,
    },
    /// Up or down.
    Arrow {
        /// Down.
        down: bool,
    },
    /// Something was typed while no field had the keyboard: it belongs into the line.
    Type(String),
    /// Paste, while no field has the keyboard.
    Paste,
    /// The next conversation, or the one before.
    NextConversation {
        /// The one before.
        back: bool,
    },
    /// Open a conversation.
    Open(Conversation),
    /// To the end of the conversation.
    Newest,
    /// The button Download File.
    Download,
    /// The button Show Commands.
    Commands,
    /// The button Disconnect.
    Disconnect,
    /// Download a file.
    Get(String),
    /// Find in the conversation.
    Find,
    /// Show or hide transfers.
    Transfers,
    /// Show or hide files.
    Files,
    /// All actions.
    Palette,
    /// Settings.
    Settings,
    /// Retry all that failed.
    RetryAll,
    /// Larger or smaller by steps; 0 as designed.
    Zoom(i32),
    /// Another theme.
    Theme(ThemeChoice),
}

/// The whole window.
#[derive(Debug)]
pub struct App {
    pub(super) launch: Launch,
    pub(super) model: Model,
    pub(super) preferences: Preferences,
    pub(super) connect: connect::Screen,
    pub(super) talk: talk::Screen,
    pub(super) dialog: Option<Dialog>,
    pub(super) toast: Option<String>,
    pub(super) session: Option<Session>,
    pub(super) commands: Option<CommandSender>,
    /// What the engine is told as soon as it runs.
    pub(super) waiting: Vec<Command>,
    /// The wish that the session fulfils; remembered once it has.
    pub(super) wish: Option<connect::Wish>,
    pub(super) sessions: u64,
    pub(super) focused: bool,
    pub(super) closing: bool,
    system: theme::Mode,
    theme: Theme,
    look: &'static Look,
}

impl App {
    /// A window as it begins, and what it does first.
    pub fn new(launch: Launch) -> (Self, Task<Message>) {
        let (preferences, broken) = launch.load();
        let last = preferences.recent.first();
        let address = launch
            .server
            .clone()
            .or_else(|| last.map(|server| server.address.clone()))
            .unwrap_or_default();
        let name = launch
            .name
            .clone()
            .unwrap_or_else(|| preferences.name.clone());
        let plaintext = launch.plaintext
            || (launch.server.is_none() && last.is_some_and(|server| server.plaintext));
        let connect = connect::Screen::new(address, name, launch.password.clone(), plaintext);
        let folder = launch
            .downloads
            .clone()
            .unwrap_or_else(|| preferences.download_folder());
        let at_once = launch.server.is_some() && launch.name.is_some();
        let mut app = Self {
            model: Model::new(folder),
            toast: launch.warning.clone().or(broken),
            launch,
            connect,
            talk: talk::Screen::new(&preferences),
            preferences,
            dialog: None,
            session: None,
            commands: None,
            waiting: Vec::new(),
            wish: None,
            sessions: 0,
            focused: true,
            closing: false,
            system: theme::Mode::None,
            theme: LIGHT.theme(),
            look: &LIGHT,
        };
        app.choose_look();
        app.pay_attention();
        let task = if at_once {
            app.on_connect(connect::Message::Submit)
        } else {
            app.connect.focus(None)
        };
        (app, task)
    }

    /// What a window of the system does first, besides.
    pub fn ask_system() -> Task<Message> {
        iced::system::theme().map(Message::System)
    }

    /// Takes a message.
    pub fn update(&mut self, message: Message) -> Task<Message> {
        let before = self.dialog.as_ref().map(std::mem::discriminant);
        let task = self.take_message(message);
        self.talk.follow(self.model.input().text());
        let opened = self.dialog.as_ref().map(std::mem::discriminant) != before;
        if opened && matches!(self.dialog, Some(Dialog::Commands | Dialog::Settings(_))) {
            // They take no text, and the line behind them must not.
            return task.chain(iced::widget::operation::focus(iced::widget::Id::unique()));
        }
        task
    }

    fn take_message(&mut self, message: Message) -> Task<Message> {
        match message {
            Message::Act(Act::Connect(message)) => self.on_connect(message),
            Message::Act(Act::Talk(message)) => self.on_talk(message),
            Message::Act(Act::Dialog(message)) => self.on_dialog(message),
            Message::Engine(number, told) => self.on_engine(number, told),
            Message::Key(key) => self.on_do(key),
            Message::Focused(focused) => {
                self.focused = focused;
                self.pay_attention();
                Task::none()
            }
            Message::Resized(size) => {
                // Told in the units that are laid out: pixels divided by the zoom.
                self.preferences.window = whole(size);
                Task::none()
            }
            Message::System(mode) => {
                self.system = mode;
                self.choose_look();
                Task::none()
            }
            Message::Tick => Task::none(),
            Message::ToastOver => {
                self.toast = None;
                Task::none()
            }
            Message::Close => self.close(),
            Message::CloseNow => iced::exit(),
            Message::Pasted(text) => self.on_do(Do::Type(text.unwrap_or_default())),
            Message::Chosen(folder) => self.on_chosen(folder),
            Message::Found(offset) => offset.map_or_else(Task::none, scroll_to),
        }
    }

    /// What is to be heard from.
    pub fn subscription(&self) -> Subscription<Message> {
        let mut all = vec![
            iced::event::listen_with(keys::understand),
            window::close_requests().map(|_| Message::Close),
            iced::system::theme_changes().map(Message::System),
        ];
        if let Some(session) = &self.session {
            let told = Subscription::run_with(session.clone(), worker::run);
            all.push(told.map(|(number, told)| Message::Engine(number, told)));
        }
        if self.model.next_tick(self.launch.watch.now()).is_some() {
            let second = std::time::Duration::from_millis(500);
            all.push(iced::time::every(second).map(|_| Message::Tick));
        }
        if self.toast.is_some() {
            all.push(iced::time::every(TOAST_FOR).map(|_| Message::ToastOver));
        }
        if self.closing {
            all.push(iced::time::every(GOODBYE_FOR).map(|_| Message::CloseNow));
        }
        Subscription::batch(all)
    }

    /// The window's title: what waits to be read comes first.
    #[must_use]
    pub fn title(&self) -> String {
        let unread = self.model.timelines().everybody().unread() + self.model.people().unread();
        let server = self.model.connection().server();
        match (unread, self.model.connection().is_active()) {
            (_, false) => "Columba".to_owned(),
            (0, true) => format!("{server} - Columba"),
            (unread, true) => format!("({unread}) {server} - Columba"),
        }
    }

    /// The theme for widgets that style themselves.
    #[must_use]
    pub fn theme(&self) -> Theme {
        self.theme.clone()
    }

    /// How large everything is.
    #[must_use]
    pub fn zoom(&self) -> f32 {
        f32::from(self.preferences.zoom_percent) / 100.0
    }

    /// What is shown.
    pub fn view(&self) -> Element<'_, Message> {
        let watch: &Watch = &self.launch.watch;
        let below: Element<'_, Act> = if self.is_talking() {
            let moment = watch.moment();
            let today = LocalTime::at(moment.unix_ms, moment.utc_offset_s).day;
            self.talk
                .view(self.look, &self.model, today, moment.now, self.room())
                .map(Act::Talk)
        } else {
            let recent = &self.preferences.recent;
            self.connect
                .view(self.look, self.model.connection(), recent, watch.now())
                .map(Act::Connect)
        };
        let toast = self.toast.as_deref();
        let dialog = self.dialog.as_ref().map(|dialog| match dialog {
            Dialog::Download(dialog) => dialog.view(self.look, &self.model),
            Dialog::Commands => dialog::commands::view(self.look),
            Dialog::Settings(dialog) => dialog.view(self.look, &self.preferences, &self.model),
            Dialog::Palette(dialog) => dialog.view(self.look, &self.model),
        });
        // Always a stack: what is below keeps its keyboard and scroll positions when something comes above.
        let all: Element<'_, Act> = iced::widget::stack![below]
            .push(dialog.map(|dialog| dialog::layer(self.look, dialog)))
            .push(toast.map(|words| super::toast::layer(self.look, words)))
            .into();
        super::calm::calm(all.map(Message::Act))
    }

    /// How much room there is.
    pub(super) const fn room(&self) -> Room {
        let (width, height) = self.preferences.window;
        #[expect(clippy::cast_precision_loss, reason = "a few thousand pixels")]
        Room(Size::new(width as f32, height as f32))
    }

    /// Whether the main screen is shown: as long as there is or was a connection that lasts.
    pub(super) const fn is_talking(&self) -> bool {
        matches!(
            self.model.connection().state(),
            State::Online { .. } | State::Reconnecting { .. }
        )
    }

    /// What is shown, to look into it.
    #[must_use]
    pub const fn model(&self) -> &Model {
        &self.model
    }

    pub(super) fn choose_look(&mut self) {
        self.look = match (self.preferences.theme, self.system) {
            (ThemeChoice::HighContrast, _) => &HIGH_CONTRAST,
            (ThemeChoice::Dark, _) | (ThemeChoice::System, theme::Mode::Dark) => &DARK,
            (ThemeChoice::Light, _)
            | (ThemeChoice::System, theme::Mode::Light | theme::Mode::None) => &LIGHT,
        };
        self.theme = self.look.theme();
    }

    /// Tells the model whether somebody looks.
    pub(super) fn pay_attention(&mut self) {
        self.model.set_attention(self.focused, self.talk.at_end);
    }

    pub(super) fn toast(&mut self, words: impl Into<String>) {
        self.toast = Some(words.into());
    }

    pub(super) fn open(&mut self, opened: Result<(), String>) {
        if let Err(error) = opened {
            self.toast(error);
        }
    }

    /// Writes down what is to be remembered; a disk that does not take it is told, and that is all.
    pub(super) fn save(&mut self) {
        let Some(file) = &self.launch.preferences else {
            return;
        };
        if let Err(error) = self.preferences.save(file) {
            let path = crate::storage::paths::shown(file);
            self.toast(format!("cannot write {path}: {error}"));
        }
    }

    pub(super) fn notify(&self, notices: &[crate::model::Notice]) {
        if !self.focused && self.preferences.notifications {
            notices.iter().take(3).for_each(desktop::notify);
        }
    }
}

/// Whole pixels of a size.
fn whole(size: Size) -> (u32, u32) {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "float casts saturate, and windows are no larger"
    )]
    let whole = (size.width.round() as u32, size.height.round() as u32);
    whole
}

/// Scrolls the timeline to so far above its end.
fn scroll_to(offset: f32) -> Task<Message> {
    let offset = iced::widget::operation::AbsoluteOffset { x: 0.0, y: offset };
    iced::widget::operation::scroll_to(talk::TIMELINE, offset)
}
