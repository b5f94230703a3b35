//! What a server's name may become: a path below the download folder, and nothing else.

use std::path::{Component, Path, PathBuf};

use columba_core::chat::printable;

use super::StorageError;

/// Longest component that common file systems take, in bytes.
const MAX_COMPONENT_BYTES: usize = 255;

/// Rules of the system the file is written on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameRules {
    /// Any byte but NUL and `/`.
    Unix,
    /// No device names, no `<>:"|?*`, no final dot or space.
    Windows,
}

impl NameRules {
    /// Those of this system.
    pub const HERE: Self = if cfg!(windows) {
        Self::Windows
    } else {
        Self::Unix
    };
}

/// Turns the server's `name` (components separated by `/`) into a relative path.
///
/// # Errors
/// [`StorageError::Name`]: absolute, `.` or `..`, empty components, NUL and other control or
/// direction-changing characters, backslashes, drive letters, too long components, and what the
/// rules forbid besides.
pub fn relative_path(name: &str, rules: NameRules) -> Result<PathBuf, StorageError> {
    let refuse = |reason| StorageError::Name {
        name: name.chars().take(200).collect(),
        reason,
    };
    if name.is_empty() {
        return Err(refuse("it is empty"));
    }
    if name.starts_with('/') {
        return Err(refuse("it is absolute"));
    }
    let mut path = PathBuf::with_capacity(name.len());
    for component in name.split('/') {
        if let Some(reason) = component_fault(component, rules) {
            return Err(refuse(reason));
        }
        path.push(component);
    }
    // The same, once more, by the rules of this system's own parser.
    let plain = path
        .components()
        .all(|component| matches!(component, Component::Normal(_)));
    if plain {
        Ok(path)
    } else {
        Err(refuse("it leaves the download folder"))
    }
}

fn component_fault(component: &str, rules: NameRules) -> Option<&'static str> {
    if component.is_empty() {
        return Some("a part of it is empty");
    }
    if component == "." || component == ".." {
        return Some("it leaves the download folder");
    }
    if component.len() > MAX_COMPONENT_BYTES {
        return Some("a part of it is longer than 255 bytes");
    }
    if component.contains('\\') {
        return Some("it contains a backslash");
    }
    let mut letters = component.chars();
    if letters
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic())
        && letters.next() == Some(':')
    {
        return Some("it names a drive");
    }
    if printable(component) != component {
        return Some("it contains control characters");
    }
    match rules {
        NameRules::Unix => None,
        NameRules::Windows => windows_fault(component),
    }
}

fn windows_fault(component: &str) -> Option<&'static str> {
    const DEVICES: [&str; 6] = ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"];
    if component
        .chars()
        .any(|c| matches!(c, '<' | '>' | ':' | '"' | '|' | '?' | '*'))
    {
        return Some("it contains a character that Windows forbids");
    }
    if component.ends_with(['.', ' ']) {
        return Some("a part of it ends with a dot or a space");
    }
    let stem = component.split('.').next().unwrap_or(component);
    let stem = stem.trim_end().to_uppercase();
    let numbered = ["COM", "LPT"].iter().any(|device| {
        stem.strip_prefix(device).is_some_and(|number| {
            let mut number = number.chars();
            let first = number.next();
            number.next().is_none()
                && first.is_some_and(|c| c.is_ascii_digit() || matches!(c, '¹' | '²' | '³'))
        })
    });
    (numbered || DEVICES.contains(&stem.as_str())).then_some("it is the name of a Windows device")
}

/// A local path, safe to print.
#[must_use]
pub fn shown(path: &Path) -> String {
    printable(&path.to_string_lossy()).into_owned()
}

/// `NAME (number).EXT`; `NAME` itself for 0.
#[must_use]
pub fn numbered(path: &Path, number: u32) -> PathBuf {
    if number == 0 {
        return path.to_path_buf();
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let name = path.extension().map_or_else(
        || format!("{stem} ({number})"),
        |extension| format!("{stem} ({number}).{}", extension.to_string_lossy()),
    );
    path.with_file_name(name)
}

/// The name beside `target` with `suffix` appended; a long name is cut and made distinct by its
/// hash.
#[must_use]
pub fn beside(target: &Path, suffix: &str) -> PathBuf {
    let name = target.file_name().unwrap_or_default();
    let mut long = name.to_os_string();
    long.push(suffix);
    if long.len() <= MAX_COMPONENT_BYTES {
        return target.with_file_name(long);
    }
    let text = name.to_string_lossy();
    let hash = blake3::hash(name.as_encoded_bytes()).to_hex();
    let cut: String = text
        .char_indices()
        .take_while(|(at, c)| at + c.len_utf8() <= 180)
        .map(|(_, c)| c)
        .collect();
    target.with_file_name(format!("{cut}-{}{suffix}", &hash[..16]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names_pass() {
        for name in [
            "a",
            "a/b/c.txt",
            "über/naïve file.bin",
            ".hidden",
            "..a",
            "a..",
            "aux.c",
            "con",
        ] {
            assert_eq!(
                relative_path(name, NameRules::Unix).unwrap(),
                Path::new(name)
            );
        }
    }

    #[test]
    fn names_that_leave_the_folder_are_refused() {
        for name in [
            "",
            "/etc/passwd",
            "..",
            "../x",
            "a/../../x",
            "a/..",
            ".",
            "./a",
            "a//b",
            "a/",
            "a\0b",
            "a\\b",
            "..\\x",
            "C:",
            "c:x",
            "C:/x",
            "a/d:b",
            "a\nb",
            "\x1b[2J",
            "a\u{202e}txt.exe",
            "a\u{7f}",
            &"x".repeat(256),
        ] {
            let error = relative_path(name, NameRules::Unix).unwrap_err();
            let shown = error.to_string();
            assert!(!shown.chars().any(char::is_control), "{shown:?}");
        }
    }

    #[test]
    fn windows_refuses_its_devices_and_characters() {
        for name in [
            "CON", "nul.txt", "com1", "LPT9.log", "a?b", "a.", "a ", "x/aux/y", "COM¹", "con .txt",
            "a:stream",
        ] {
            assert!(relative_path(name, NameRules::Windows).is_err(), "{name}");
        }
        for name in ["console", "com", "com10", "null", "a.b"] {
            assert!(relative_path(name, NameRules::Windows).is_ok(), "{name}");
        }
    }

    #[test]
    fn numbers_stand_before_the_extension() {
        assert_eq!(
            numbered(Path::new("d/a.tar.gz"), 2),
            Path::new("d/a.tar (2).gz")
        );
        assert_eq!(numbered(Path::new("a"), 1), Path::new("a (1)"));
        assert_eq!(numbered(Path::new("a"), 0), Path::new("a"));
    }

    #[test]
    fn long_names_still_have_room_for_a_suffix() {
        assert_eq!(beside(Path::new("d/a"), ".part"), Path::new("d/a.part"));
        let long = "ü".repeat(127);
        let part = beside(&Path::new("d").join(&long), ".part");
        assert!(part.file_name().unwrap().len() <= 255);
        let other = beside(
            &Path::new("d").join(format!("{}x", "ü".repeat(126))),
            ".part.columba",
        );
        assert_ne!(part, other);
    }
}
