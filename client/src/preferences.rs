//! What the window remembers: size, theme, zoom, servers, the download folder.
//!
//! One TOML file in the platform's folder for settings. It never stops the start: what makes no sense
//! is left out, a file that is no TOML is set aside as `.bad`, and either is told once. Keys that this
//! version does not know are kept as they are, so that an older program loses nothing of a newer one.

use std::fs::File;
use std::io::{self, Read, Write};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use crate::storage::paths::{beside, shown};

/// Servers that are remembered, the last used first.
const MAX_SERVERS: usize = 8;
/// A larger file is none of ours.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// Smallest and largest edge of a window, in logical pixels.
const EDGES: RangeInclusive<i64> = 200..=20_000;
/// Smallest and largest zoom, in percent, and what one step is.
pub const ZOOM_PERCENTS: RangeInclusive<u16> = 50..=300;
const ZOOM_STEP: u16 = 10;

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
    /// Width and height in logical pixels.
    pub window: (u32, u32),
    /// Whether the window fills the screen.
    pub maximized: bool,
    /// How it looks.
    pub theme: ThemeChoice,
    /// How large everything is; 100 is as designed.
    pub zoom_percent: u16,
    /// Our name, as it was typed last.
    pub name: String,
    /// Servers, the last used first.
    pub recent: Vec<RecentServer>,
    /// The folder that downloads go to; `None` for the platform's.
    pub downloads: Option<PathBuf>,
    /// Whether the list of files is open.
    pub show_files: bool,
    /// Whether the list of downloads is open.
    pub show_transfers: bool,
    /// Whether mentions, whispers and downloads are told by the desktop.
    pub notifications: bool,
    /// Everything in the file, also what this version does not know.
    rest: Table,
}

impl Default for Preferences {
    fn default() -> Self {
        Self {
            window: (1100, 720),
            maximized: false,
            theme: ThemeChoice::default(),
            zoom_percent: 100,
            name: String::new(),
            recent: Vec::new(),
            downloads: None,
            show_files: true,
            show_transfers: false,
            notifications: true,
            rest: Table::new(),
        }
    }
}

impl Preferences {
    /// Puts a server first, and its name where the next start finds it.
    pub fn met(&mut self, server: RecentServer) {
        self.name.clone_from(&server.name);
        self.forget(&server.address);
        self.recent.insert(0, server);
        self.recent.truncate(MAX_SERVERS);
    }

    /// Takes a server out of the list.
    pub fn forget(&mut self, address: &str) {
        self.recent.retain(|known| known.address != address);
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

    /// One step larger, or smaller, within bounds.
    pub fn zoom(&mut self, larger: bool) {
        let zoom = if larger {
            self.zoom_percent.saturating_add(ZOOM_STEP)
        } else {
            self.zoom_percent.saturating_sub(ZOOM_STEP)
        };
        self.zoom_percent = zoom.clamp(*ZOOM_PERCENTS.start(), *ZOOM_PERCENTS.end());
    }

    fn read(table: Table) -> (Self, Vec<&'static str>) {
        let default = Self::default();
        let mut reader = Reader {
            table: &table,
            wrong: Vec::new(),
        };
        let read = Self {
            window: reader.edges("window").unwrap_or(default.window),
            maximized: reader.boolean("maximized", default.maximized),
            theme: reader.theme("theme").unwrap_or_default(),
            zoom_percent: reader
                .percent("zoom-percent", ZOOM_PERCENTS)
                .unwrap_or(default.zoom_percent),
            name: reader.text("name").unwrap_or_default(),
            recent: reader.servers("recent"),
            downloads: reader.text("downloads").map(PathBuf::from),
            show_files: reader.boolean("show-files", default.show_files),
            show_transfers: reader.boolean("show-transfers", default.show_transfers),
            notifications: reader.boolean("notifications", default.notifications),
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
        let (width, height) = self.window;
        let edges = [width, height].map(|edge| Value::Integer(edge.into()));
        put("window", Some(Value::Array(edges.to_vec())));
        put("maximized", Some(self.maximized.into()));
        put("theme", Some(self.theme.key().into()));
        put("zoom-percent", Some(i64::from(self.zoom_percent).into()));
        put("name", Some(self.name.clone().into()));
        let recent = self.recent.iter().map(server_table).map(Value::Table);
        put("recent", Some(Value::Array(recent.collect())));
        // A folder whose name is no text cannot be written down.
        let folder = self.downloads.as_deref().and_then(Path::to_str);
        put("downloads", folder.map(Value::from));
        put("show-files", Some(self.show_files.into()));
        put("show-transfers", Some(self.show_transfers.into()));
        put("notifications", Some(self.notifications.into()));
        table
    }
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

    fn boolean(&mut self, key: &'static str, default: bool) -> bool {
        self.take(key, Value::as_bool).unwrap_or(default)
    }

    fn text(&mut self, key: &'static str) -> Option<String> {
        self.take(key, |value| Some(value.as_str()?.to_owned()))
    }

    fn percent(&mut self, key: &'static str, within: RangeInclusive<u16>) -> Option<u16> {
        self.take(key, |value| {
            let percent = u16::try_from(value.as_integer()?).ok();
            percent.filter(|percent| within.contains(percent))
        })
    }

    fn edges(&mut self, key: &'static str) -> Option<(u32, u32)> {
        let edge = |value: &Value| {
            let edge = value.as_integer().filter(|edge| EDGES.contains(edge))?;
            u32::try_from(edge).ok()
        };
        self.take(key, |value| match &value.as_array()?[..] {
            [width, height] => Some((edge(width)?, edge(height)?)),
            _ => None,
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

impl Preferences {
    /// What the file says, and one line for the person when some of it could not be used. It need not exist.
    #[must_use]
    pub fn load(path: &Path) -> (Self, Option<String>) {
        let text = match read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return (Self::default(), None);
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return (Self::default(), Some(set_aside(path, "it is no text")));
            }
            Err(error) => {
                let text = format!("cannot read {}: {error}", shown(path));
                return (Self::default(), Some(text));
            }
        };
        match text.parse::<Table>() {
            Ok(table) => {
                let (preferences, wrong) = Self::read(table);
                let told = (!wrong.is_empty()).then(|| {
                    let keys = wrong.join(", ");
                    let path = shown(path);
                    format!("{path}: what it says of {keys} makes no sense and is left out")
                });
                (preferences, told)
            }
            Err(error) => (Self::default(), Some(set_aside(path, error.message()))),
        }
    }

    /// Replaces the file atomically, unless it says the same already. Its folder is made if need be.
    ///
    /// # Errors
    /// What the system says; the old file is then still there.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        let text = toml::to_string(&self.write()).map_err(io::Error::other)?;
        if read(path).is_ok_and(|old| old == text) {
            return Ok(());
        }
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        // Two windows that close together must not write to the same file.
        let fresh = beside(path, &format!(".{}.new", std::process::id()));
        let write = || {
            let mut file = File::create(&fresh)?;
            file.write_all(text.as_bytes())?;
            file.sync_data()?;
            std::fs::rename(&fresh, path)
        };
        write().inspect_err(|_| {
            // What could not be moved into place is of no use to anyone.
            let _ = std::fs::remove_file(&fresh);
        })
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let file = File::open(path)?;
    let read = file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    if read as u64 > MAX_FILE_BYTES {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(text)
}

/// Keeps a broken file beside, for whoever wants to mend it.
fn set_aside(path: &Path, why: &str) -> String {
    let bad = beside(path, ".bad");
    let why = why.lines().next().unwrap_or_default();
    match std::fs::rename(path, &bad) {
        Ok(()) => format!(
            "{} could not be used ({why}); it is kept as {}",
            shown(path),
            shown(&bad)
        ),
        Err(error) => format!(
            "{} could not be used ({why}), nor set aside: {error}",
            shown(path)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sub/window.toml");
        (folder, path)
    }

    fn with_text(text: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let (folder, path) = file();
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        (folder, path)
    }

    fn some() -> Preferences {
        let mut some = Preferences {
            window: (900, 600),
            maximized: true,
            theme: ThemeChoice::HighContrast,
            zoom_percent: 130,
            downloads: Some("/downloads \"x\"".into()),
            show_files: false,
            notifications: false,
            ..Preferences::default()
        };
        for number in 0..30 {
            some.met(RecentServer {
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
        let (_folder, path) = file();
        assert_eq!(Preferences::load(&path), (Preferences::default(), None));
        let some = some();
        assert_eq!(some.recent.len(), MAX_SERVERS);
        assert_eq!(
            (some.recent[0].address.as_str(), some.name.as_str()),
            ("h4", "ada")
        );
        some.save(&path).unwrap();
        let (mut loaded, told) = Preferences::load(&path);
        assert_eq!(told, None);
        loaded.rest = Table::new();
        assert_eq!(loaded, some);
        let beside = std::fs::read_dir(path.parent().unwrap()).unwrap();
        assert_eq!(beside.count(), 1, "nothing is left over");
    }

    #[test]
    fn a_broken_file_is_set_aside_and_told_once() {
        for text in [&b"zoom = = 3"[..], b"\xff\xfe", &vec![b'#'; 2 << 20]] {
            let (_folder, path) = with_text(text);
            let (preferences, told) = Preferences::load(&path);
            assert_eq!(preferences, Preferences::default());
            assert!(told.unwrap().contains(".bad"));
            assert_eq!(Preferences::load(&path).1, None, "told once");
            preferences.save(&path).unwrap();
            assert_eq!(Preferences::load(&path).1, None);
        }
    }

    #[test]
    fn what_makes_no_sense_stands_as_by_default() {
        let text =
            b"zoom-percent = 900\ntheme = \"pink\"\nwindow = [1, 2]\nmaximized = true\nrecent = 7";
        let (_folder, path) = with_text(text);
        let (preferences, told) = Preferences::load(&path);
        let told = told.unwrap();
        for key in ["zoom-percent", "theme", "window", "recent"] {
            assert!(told.contains(key), "{told}");
        }
        assert!(preferences.maximized);
        assert_eq!(preferences.zoom_percent, 100);
    }

    #[test]
    fn keys_of_a_newer_version_survive() {
        let text = b"layout = \"wide\"\nzoom-percent = 200\n[future]\nx = 1\n";
        let (_folder, path) = with_text(text);
        let (mut preferences, told) = Preferences::load(&path);
        assert_eq!((told, preferences.zoom_percent), (None, 200));
        preferences.zoom(false);
        preferences.save(&path).unwrap();
        let text = std::fs::read_to_string(path).unwrap();
        for kept in ["layout = \"wide\"", "[future]", "zoom-percent = 190"] {
            assert!(text.contains(kept), "{text}");
        }
    }

    #[test]
    fn a_folder_in_the_way_stops_nothing() {
        let (_folder, path) = file();
        std::fs::create_dir_all(&path).unwrap();
        let (preferences, told) = Preferences::load(&path);
        assert!(told.is_some());
        assert!(preferences.save(&path).is_err());
    }

    #[test]
    fn zoom_stays_within_its_bounds() {
        let mut preferences = Preferences::default();
        for larger in [true, false] {
            for _ in 0..100 {
                preferences.zoom(larger);
            }
            assert_eq!(preferences.zoom_percent, if larger { 300 } else { 50 });
        }
        assert!(!preferences.download_folder().as_os_str().is_empty());
    }
}
