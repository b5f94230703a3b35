//! The icons: glyphs of a small font (Lucide's, and our own pigeon).

use iced::widget::text::Text;
use iced::{Color, Font, font};

/// The font's name inside its file.
const FAMILY: Font = Font {
    family: font::Family::Name("columba-icons"),
    weight: font::Weight::Normal,
    stretch: font::Stretch::Normal,
    style: font::Style::Normal,
};

/// One glyph of the icons' font.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Icon(char);

impl Icon {
    pub(super) const ALERT: Self = Self('\u{e193}');
    pub(super) const ARROW_DOWN: Self = Self('\u{e042}');
    pub(super) const ARCHIVE: Self = Self('\u{e041}');
    pub(super) const AT: Self = Self('\u{e04e}');
    pub(super) const BAN: Self = Self('\u{e051}');
    pub(super) const CHECK: Self = Self('\u{e06c}');
    pub(super) const CHECKED: Self = Self('\u{e226}');
    pub(super) const CHEVRON_DOWN: Self = Self('\u{e06d}');
    pub(super) const CHEVRON_UP: Self = Self('\u{e070}');
    pub(super) const CLOCK: Self = Self('\u{e087}');
    pub(super) const CONTRAST: Self = Self('\u{e09d}');
    pub(super) const COPY: Self = Self('\u{e09e}');
    pub(super) const DISK: Self = Self('\u{e0ed}');
    pub(super) const DOWNLOAD: Self = Self('\u{e0b2}');
    pub(super) const EXTERNAL: Self = Self('\u{e0b9}');
    pub(super) const FILE: Self = Self('\u{e0c0}');
    pub(super) const FILE_TEXT: Self = Self('\u{e0cc}');
    pub(super) const FILM: Self = Self('\u{e0d0}');
    pub(super) const FOLDER: Self = Self('\u{e0d7}');
    pub(super) const FOLDER_OPEN: Self = Self('\u{e247}');
    pub(super) const GAUGE: Self = Self('\u{e1bf}');
    pub(super) const HASH: Self = Self('\u{e0ef}');
    pub(super) const HOURGLASS: Self = Self('\u{e296}');
    pub(super) const IMAGE: Self = Self('\u{e0f6}');
    pub(super) const INFO: Self = Self('\u{e0f9}');
    pub(super) const KEY: Self = Self('\u{e4a3}');
    pub(super) const KEYBOARD: Self = Self('\u{e284}');
    pub(super) const LOADER: Self = Self('\u{e109}');
    pub(super) const LOCK: Self = Self('\u{e10b}');
    pub(super) const LEAVE: Self = Self('\u{e10e}');
    pub(super) const MESSAGE: Self = Self('\u{e117}');
    pub(super) const MONITOR: Self = Self('\u{e11d}');
    pub(super) const MOON: Self = Self('\u{e11e}');
    pub(super) const MUSIC: Self = Self('\u{e122}');
    pub(super) const PANEL: Self = Self('\u{e431}');
    pub(super) const PAUSE: Self = Self('\u{e12e}');
    pub(super) const PIGEON: Self = Self('\u{f8fe}');
    pub(super) const PLAY: Self = Self('\u{e13c}');
    pub(super) const RECONNECT: Self = Self('\u{e145}');
    pub(super) const RETRY: Self = Self('\u{e149}');
    pub(super) const RETRY_ALL: Self = Self('\u{e452}');
    pub(super) const SEARCH: Self = Self('\u{e151}');
    pub(super) const SEND: Self = Self('\u{e152}');
    pub(super) const SERVER: Self = Self('\u{e153}');
    pub(super) const SETTINGS: Self = Self('\u{e154}');
    pub(super) const SHIELD: Self = Self('\u{e1ff}');
    pub(super) const SHIELD_ALERT: Self = Self('\u{e1fe}');
    pub(super) const SUN: Self = Self('\u{e178}');
    pub(super) const USER: Self = Self('\u{e19f}');
    pub(super) const USERS: Self = Self('\u{e1a4}');
    pub(super) const WIFI: Self = Self('\u{e1ae}');
    pub(super) const WIFI_OFF: Self = Self('\u{e1af}');
    pub(super) const CLOSE: Self = Self('\u{e1b2}');
    pub(super) const ACTIVITY: Self = Self('\u{e038}');
    pub(super) const PLUS: Self = Self('\u{e13d}');
    pub(super) const MINUS: Self = Self('\u{e11c}');

    /// The icon as text of this size.
    pub(super) fn sized<'a>(self, size: f32) -> Text<'a> {
        iced::widget::text(self.0)
            .font(FAMILY)
            .size(size)
            .line_height(1.0)
    }

    /// The icon in this size and colour.
    pub(super) fn coloured<'a>(self, size: f32, color: Color) -> Text<'a> {
        self.sized(size).color(color)
    }

    /// The icon that suits a file of this name.
    pub(super) fn of_file(name: &str) -> Self {
        let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
        match ending.to_ascii_lowercase().as_str() {
            "zip" | "gz" | "xz" | "zst" | "tar" | "7z" | "bz2" | "iso" | "img" => Self::ARCHIVE,
            "png" | "jpg" | "jpeg" | "gif" | "svg" | "webp" | "tif" | "tiff" => Self::IMAGE,
            "mp4" | "mkv" | "webm" | "mov" | "avi" => Self::FILM,
            "mp3" | "flac" | "ogg" | "wav" | "opus" => Self::MUSIC,
            "txt" | "md" | "pdf" | "csv" | "json" | "toml" | "log" | "tex" => Self::FILE_TEXT,
            _ => Self::FILE,
        }
    }
}
