//! What the window remembers: size, theme, zoom, servers, the download folder.
//!
//! One TOML file in the platform's folder for settings. It never stops the start: what makes no sense
//! is left out, a file that is no TOML is set aside as `.bad`, and either is told once. Keys that this
//! version does not know are kept as they are, so that an older program loses nothing of a newer one.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use crate::places::StateFolder;
use crate::storage::paths::{beside, shown};

/// Servers that are remembered, the last used first.
const MAX_SERVERS: usize = 20;
/// A larger file is none of ours.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// Smallest and largest edge of a window, in logical pixels.
const EDGES: std::ops::RangeInclusive<f64> = 200.0..=20_000.0;
/// Smallest and largest zoom.
pub const ZOOMS: std::ops::RangeInclusive<f64> = 0.5..=3.0;

/// How the window looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ThemeChoice {
    /// As the system does.
    #[default]
    System,
    /// Dark on light.
    Light,
    /// Light on dark.
    Dark,
    /// Black and white with strong colours.
    HighContrast,
}

impl ThemeChoice {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::System, Self::Light, Self::Dark, Self::HighContrast];

    const fn key(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Light => "light",
            Self::Dark => "dark",
            Self::HighContrast => "high-contrast",
        }
    }
}

impl std::fmt::Display for ThemeChoice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::System => "As the system",
            Self::Light => "Light",
            Self::Dark => "Dark",
            Self::HighContrast => "High contrast",
        })
    }
}

/// A server that was connected to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecentServer {
    /// As the person wrote it.
    pub address: String,
    /// Our name there.
    pub name: String,
    /// Without TLS.
    pub plaintext: bool,
    /// The key it showed, as 64 hex digits, for the eye; trust stands in `known_servers`.
    pub fingerprint: Option<String>,
}

/// What the window remembers.
#[derive(Clone, Debug, PartialEq)]
pub struct Preferences {
    /// Width and height in logical pixels, if it was ever closed.
    pub window: Option<(f32, f32)>,
    /// Whether the window fills the screen.
    pub maximized: bool,
    /// How it looks.
    pub theme: ThemeChoice,
    /// How large everything is; 1 is as designed.
    pub zoom: f32,
    /// Whether mentions, whispers and downloads are told by the desktop.
    pub notifications: bool,
    /// The folder that downloads go to; `None` for the platform's.
    pub downloads: Option<PathBuf>,
    /// Servers, the last used first.
    pub servers: Vec<RecentServer>,
    /// Everything in the file, also what this version does not know.
    rest: Table,
}

impl Default for Preferences {
    fn default() -> Self {
        Self {
            window: None,
            maximized: false,
            theme: ThemeChoice::default(),
            zoom: 1.0,
            notifications: true,
            downloads: None,
            servers: Vec::new(),
            rest: Table::new(),
        }
    }
}

impl Preferences {
    /// Puts a server first.
    pub fn remember(&mut self, server: RecentServer) {
        self.forget(&server.address);
        self.servers.insert(0, server);
        self.servers.truncate(MAX_SERVERS);
    }

    /// Takes a server out of the list.
    pub fn forget(&mut self, address: &str) {
        self.servers.retain(|known| known.address != address);
    }

    /// The folder that downloads go to: the chosen one, the platform's, or the one we are in.
    #[must_use]
    pub fn download_folder(&self) -> PathBuf {
        let platform = || {
            let user = directories::UserDirs::new()?;
            let folder = user.download_dir().map(Path::to_path_buf);
            Some(folder.unwrap_or_else(|| user.home_dir().to_path_buf()))
        };
        self.downloads
            .clone()
            .or_else(platform)
            .unwrap_or_else(|| PathBuf::from("."))
    }

    /// Larger or smaller by a step, within bounds; 0 steps mean as designed.
    pub fn zoom_by(&mut self, steps: i32) {
        let zoom = match steps {
            0 => 1.0,
            steps => f64::from(self.zoom) * 1.1f64.powi(steps.clamp(-20, 20)),
        };
        self.zoom = single(zoom.clamp(*ZOOMS.start(), *ZOOMS.end()));
    }

    fn read(table: Table) -> (Self, Vec<&'static str>) {
        let mut reader = Reader {
            table: &table,
            wrong: Vec::new(),
        };
        let window = reader.edges("window");
        let read = Self {
            window,
            maximized: reader.boolean("maximized").unwrap_or(false),
            theme: reader.theme("theme").unwrap_or_default(),
            zoom: reader.number("zoom", ZOOMS).map_or(1.0, single),
            notifications: reader.boolean("notifications").unwrap_or(true),
            downloads: reader.text("downloads").map(PathBuf::from),
            servers: reader.servers("servers"),
            rest: Table::new(),
        };
        let wrong = reader.wrong;
        (
            Self {
                rest: table,
                ..read
            },
            wrong,
        )
    }

    fn write(&self) -> Table {
        let mut table = self.rest.clone();
        let mut put = |key: &str, value: Option<Value>| match value {
            Some(value) => drop(table.insert(key.to_owned(), value)),
            None => drop(table.remove(key)),
        };
        let edge = |pixels: f32| Value::Float(f64::from(pixels).round());
        let window = self
            .window
            .map(|(width, height)| Value::Array(vec![edge(width), edge(height)]));
        put("window", window);
        put("maximized", Some(self.maximized.into()));
        put("theme", Some(self.theme.key().into()));
        let zoom = (f64::from(self.zoom) * 100.0).round() / 100.0;
        put("zoom", Some(zoom.into()));
        put("notifications", Some(self.notifications.into()));
        // A folder whose name is no text cannot be written down.
        let folder = self.downloads.as_deref().and_then(Path::to_str);
        put("downloads", folder.map(Value::from));
        let servers = self.servers.iter().map(server_table).map(Value::Table);
        put("servers", Some(Value::Array(servers.collect())));
        table
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "pixels and factors within small bounds"
)]
const fn single(value: f64) -> f32 {
    value as f32
}

fn server_table(server: &RecentServer) -> Table {
    let mut table = Table::new();
    table.insert("address".to_owned(), server.address.clone().into());
    table.insert("name".to_owned(), server.name.clone().into());
    table.insert("plaintext".to_owned(), server.plaintext.into());
    if let Some(fingerprint) = &server.fingerprint {
        table.insert("fingerprint".to_owned(), fingerprint.clone().into());
    }
    table
}

/// Takes what makes sense out of a table and notes what does not.
struct Reader<'a> {
    table: &'a Table,
    wrong: Vec<&'static str>,
}

impl Reader<'_> {
    /// The value of `key` as `what` makes it; noted when it is there and makes no sense.
    fn take<T>(&mut self, key: &'static str, what: impl Fn(&Value) -> Option<T>) -> Option<T> {
        let value = self.table.get(key)?;
        let taken = what(value);
        if taken.is_none() {
            self.wrong.push(key);
        }
        taken
    }

    fn boolean(&mut self, key: &'static str) -> Option<bool> {
        self.take(key, Value::as_bool)
    }

    fn text(&mut self, key: &'static str) -> Option<String> {
        self.take(key, |value| Some(value.as_str()?.to_owned()))
    }

    fn number(&mut self, key: &'static str, within: std::ops::RangeInclusive<f64>) -> Option<f64> {
        self.take(key, |value| {
            number(value).filter(|value| within.contains(value))
        })
    }

    fn edges(&mut self, key: &'static str) -> Option<(f32, f32)> {
        self.take(key, |value| {
            let edges = value.as_array()?.iter().map(number);
            let edges: Option<Vec<f64>> = edges.collect();
            match edges?[..] {
                [width, height] if EDGES.contains(&width) && EDGES.contains(&height) => {
                    Some((single(width), single(height)))
                }
                _ => None,
            }
        })
    }

    fn theme(&mut self, key: &'static str) -> Option<ThemeChoice> {
        self.take(key, |value| {
            let name = value.as_str()?;
            ThemeChoice::ALL
                .into_iter()
                .find(|theme| theme.key() == name)
        })
    }

    fn servers(&mut self, key: &'static str) -> Vec<RecentServer> {
        let all = self.take(key, |value| {
            let all = value.as_array()?.iter().map(server);
            all.collect::<Option<Vec<RecentServer>>>()
        });
        let mut all = all.unwrap_or_default();
        all.truncate(MAX_SERVERS);
        all
    }
}

fn number(value: &Value) -> Option<f64> {
    value.as_float().or_else(|| {
        value
            .as_integer()
            .and_then(|whole| i32::try_from(whole).ok())
            .map(f64::from)
    })
}

fn server(value: &Value) -> Option<RecentServer> {
    let table = value.as_table()?;
    let text = |key: &str| table.get(key).and_then(Value::as_str).map(str::to_owned);
    Some(RecentServer {
        address: text("address")?,
        name: text("name").unwrap_or_default(),
        plaintext: table
            .get("plaintext")
            .and_then(Value::as_bool)
            .unwrap_or(false),
        fingerprint: text("fingerprint"),
    })
}

/// The file with the preferences.
#[derive(Clone, Debug)]
pub struct PreferencesFile {
    path: PathBuf,
}

impl PreferencesFile {
    /// The one in the client's folder.
    #[must_use]
    pub fn of(state: &StateFolder) -> Self {
        Self::at(state.window())
    }

    /// This one, which need not exist.
    #[must_use]
    pub const fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it says, and one line for the person when some of it could not be used.
    #[must_use]
    pub fn load(&self) -> (Preferences, Option<String>) {
        let text = match self.read() {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return (Preferences::default(), None);
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return (
                    Preferences::default(),
                    Some(self.set_aside("it is no text")),
                );
            }
            Err(error) => {
                let text = format!("cannot read {}: {error}", shown(&self.path));
                return (Preferences::default(), Some(text));
            }
        };
        match text.parse::<Table>() {
            Ok(table) => {
                let (preferences, wrong) = Preferences::read(table);
                let told = (!wrong.is_empty()).then(|| {
                    let keys = wrong.join(", ");
                    format!(
                        "{}: {keys} made no sense and stands as by default",
                        shown(&self.path)
                    )
                });
                (preferences, told)
            }
            Err(error) => (
                Preferences::default(),
                Some(self.set_aside(error.message())),
            ),
        }
    }

    fn read(&self) -> io::Result<String> {
        let mut text = String::new();
        let file = File::open(&self.path)?;
        let read = file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
        if read as u64 > MAX_FILE_BYTES {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(text)
    }

    /// Keeps a broken file beside, for whoever wants to mend it.
    fn set_aside(&self, why: &str) -> String {
        let bad = beside(&self.path, ".bad");
        let why = why.lines().next().unwrap_or_default();
        match std::fs::rename(&self.path, &bad) {
            Ok(()) => format!(
                "{} could not be used ({why}); it is kept as {}",
                shown(&self.path),
                shown(&bad)
            ),
            Err(error) => format!(
                "{} could not be used ({why}), nor set aside: {error}",
                shown(&self.path)
            ),
        }
    }

    /// Replaces the file atomically, unless it says the same already.
    ///
    /// # Errors
    /// What the system says; the old file is then still there.
    pub fn save(&self, preferences: &Preferences) -> io::Result<()> {
        let text = toml::to_string(&preferences.write()).map_err(io::Error::other)?;
        if self.read().is_ok_and(|old| old == text) {
            return Ok(());
        }
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        // Two windows that close together must not write to the same file.
        let fresh = beside(&self.path, &format!(".{}.new", std::process::id()));
        let write = || {
            let mut file = File::create(&fresh)?;
            file.write_all(text.as_bytes())?;
            file.sync_data()?;
            std::fs::rename(&fresh, &self.path)
        };
        write().inspect_err(|_| {
            // What could not be moved into place is of no use to anyone.
            let _ = std::fs::remove_file(&fresh);
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> (tempfile::TempDir, PreferencesFile) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sub/window.toml");
        (folder, PreferencesFile::at(path))
    }

    fn with_text(text: &[u8]) -> (tempfile::TempDir, PreferencesFile) {
        let (folder, file) = file();
        std::fs::create_dir_all(file.path().parent().unwrap()).unwrap();
        std::fs::write(file.path(), text).unwrap();
        (folder, file)
    }

    fn some() -> Preferences {
        let mut some = Preferences {
            window: Some((900.0, 600.0)),
            maximized: true,
            theme: ThemeChoice::HighContrast,
            zoom: 1.25,
            notifications: false,
            downloads: Some("/downloads \"x\"".into()),
            ..Preferences::default()
        };
        for number in 0..30 {
            some.remember(RecentServer {
                address: format!("h{}", number % 25),
                name: "ada".to_owned(),
                plaintext: number % 2 == 0,
                fingerprint: (number > 20).then(|| "ab".repeat(32)),
            });
        }
        some
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let (_folder, file) = file();
        assert_eq!(file.load(), (Preferences::default(), None));
        let some = some();
        assert_eq!(some.servers.len(), MAX_SERVERS);
        assert_eq!(some.servers[0].address, "h4");
        file.save(&some).unwrap();
        let (mut loaded, told) = file.load();
        assert_eq!(told, None);
        loaded.rest = Table::new();
        assert_eq!(loaded, some);
        assert_eq!(
            std::fs::read_dir(file.path().parent().unwrap())
                .unwrap()
                .count(),
            1,
            "nothing is left over"
        );
    }

    #[test]
    fn a_broken_file_is_set_aside_and_told_once() {
        for text in [&b"zoom = = 3"[..], b"\xff\xfe", &[b'#'; 2 << 20]] {
            let (_folder, file) = with_text(text);
            let (preferences, told) = file.load();
            assert_eq!(preferences, Preferences::default());
            assert!(told.unwrap().contains(".bad"));
            assert_eq!(file.load().1, None, "told once");
            file.save(&preferences).unwrap();
            assert_eq!(file.load().1, None);
        }
    }

    #[test]
    fn what_makes_no_sense_stands_as_by_default() {
        let text = b"zoom = 900\ntheme = \"pink\"\nwindow = [1, 2]\nmaximized = true\nservers = 7";
        let (_folder, file) = with_text(text);
        let (preferences, told) = file.load();
        let told = told.unwrap();
        for key in ["zoom", "theme", "window", "servers"] {
            assert!(told.contains(key), "{told}");
        }
        assert!(preferences.maximized);
        assert_eq!(preferences.zoom, 1.0);
    }

    #[test]
    fn keys_of_a_newer_version_survive() {
        let text = b"layout = \"wide\"\nzoom = 2\n[future]\nx = 1\n";
        let (_folder, file) = with_text(text);
        let (mut preferences, told) = file.load();
        assert_eq!((told, preferences.zoom), (None, 2.0));
        preferences.zoom_by(-1);
        file.save(&preferences).unwrap();
        let text = std::fs::read_to_string(file.path()).unwrap();
        assert!(
            text.contains("layout = \"wide\"") && text.contains("[future]"),
            "{text}"
        );
        assert!(text.contains("zoom = 1.82"), "{text}");
    }

    #[test]
    fn a_folder_in_the_way_stops_nothing() {
        let (_folder, file) = file();
        std::fs::create_dir_all(file.path()).unwrap();
        let (preferences, told) = file.load();
        assert!(told.is_some());
        assert!(file.save(&preferences).is_err());
    }

    #[test]
    fn zoom_stays_within_its_bounds() {
        let mut preferences = Preferences::default();
        for _ in 0..100 {
            preferences.zoom_by(1);
        }
        assert_eq!(preferences.zoom, 3.0);
        preferences.zoom_by(-1000);
        preferences.zoom_by(-1000);
        assert_eq!(preferences.zoom, 0.5);
        preferences.zoom_by(0);
        assert_eq!(preferences.zoom, 1.0);
        assert!(!preferences.download_folder().as_os_str().is_empty());
    }
}
