//! The desktop window, in iced over the [`model`](crate::model).
//!
//! Reading order: [`app`] holds the state and says where each message goes, `acts` and `downloads` what
//! each act of a person changes, `worker` runs the engine as a subscription. A `screen` or `dialog` has a
//! view and its messages; what is beyond it goes upward as an event. `look` has all colours and styles,
//! `parts` the small pieces, `chart` the plots, `keys` the keyboard, `calm` the cursor, `room` what fits, `desktop` what is
//! asked of the system.

mod acts;
pub mod app;
mod calm;
mod chart;
mod clock;
mod desktop;
mod dialog;
mod downloads;
mod icon;
mod keys;
mod launch;
mod look;
mod parts;
mod room;
mod screen;
mod toast;
pub(crate) mod windows;
mod worker;

use std::borrow::Cow;

use iced::{Size, Task, window};

pub use self::app::{App, Message};
pub use self::clock::Watch;
pub use self::launch::Launch;
pub use self::worker::Told;
use crate::exit_code::ClientError;

/// All fonts that the window brings along, so that it looks the same everywhere.
pub const FONTS: [&[u8]; 5] = [
    include_bytes!("../../assets/fonts/Inter-Regular.otf"),
    include_bytes!("../../assets/fonts/Inter-SemiBold.otf"),
    include_bytes!("../../assets/fonts/columba-icons.ttf"),
    include_bytes!("../../assets/fonts/NotoSansCJKsc-Subset.otf"),
    include_bytes!("../../assets/fonts/NotoColorEmoji-Subset.ttf"),
];

/// Below this nothing fits.
const MIN_SIZE: Size = Size::new(760.0, 480.0);

/// The settings that the window runs with: fonts, and sizes of text.
#[must_use]
pub fn settings() -> iced::Settings {
    iced::Settings {
        id: Some("columba".to_owned()),
        fonts: FONTS.iter().map(|font| Cow::Borrowed(*font)).collect(),
        default_font: look::FONT,
        default_text_size: look::size::BODY.into(),
        antialiasing: true,
        vsync: true,
    }
}

/// Opens the window and stays until it is closed.
///
/// # Errors
/// There is no display, or the window system refuses.
pub fn run(launch: Launch) -> Result<(), ClientError> {
    let (preferences, _) = launch.load();
    let (width, height) = preferences.window;
    #[expect(clippy::cast_precision_loss, reason = "a few thousand pixels")]
    let size = Size::new(width as f32, height as f32);
    let window = window::Settings {
        size,
        min_size: Some(MIN_SIZE),
        maximized: preferences.maximized,
        exit_on_close_request: false,
        icon: icon_image(),
        ..window::Settings::default()
    };
    program(launch, App::ask_system)
        .window(window)
        .run()
        .map_err(|error| ClientError::System {
            action: "open the window",
            source: std::io::Error::other(error.to_string()),
        })
}

/// The program, for whoever runs it: the window system, or a test. `first` is asked besides.
pub fn program(
    launch: Launch,
    first: impl Fn() -> Task<Message> + 'static,
) -> iced::Application<impl iced::Program<State = App, Message = Message, Theme = iced::Theme>> {
    let boot = move || {
        let (app, task) = App::new(launch.clone());
        (app, Task::batch([task, first()]))
    };
    iced::application(boot, App::update, App::view)
        .settings(settings())
        .title(App::title)
        .theme(App::theme)
        .scale_factor(App::zoom)
        .subscription(App::subscription)
}

/// The window's icon: raw pixels, made from packaging/columba.svg.
fn icon_image() -> Option<window::Icon> {
    let pixels = include_bytes!("../../assets/icon-64.rgba").to_vec();
    window::icon::from_rgba(pixels, 64, 64).ok()
}
