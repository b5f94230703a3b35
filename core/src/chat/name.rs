//! User names: one word that cannot be mistaken for another's.

use thiserror::Error;
use unicode_security::{
    GeneralSecurityProfile, RestrictionLevel, RestrictionLevelDetection, skeleton,
};

use crate::control::limits::MAX_NAME_CHARS;

/// Names that nobody may take, because they would be read as the program speaking.
const RESERVED: [&str; 5] = ["server", "system", "columba", "everyone", "all"];

/// Why a name is refused. Each says what to do instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NameError {
    /// Nothing was given.
    #[error("the name is empty: choose one word")]
    Empty,
    /// There is white space in it.
    #[error("the name must be one word: leave out the spaces")]
    NotOneWord,
    /// It has more than [`MAX_NAME_CHARS`] characters.
    #[error("the name is too long: {chars} characters, at most {MAX_NAME_CHARS} are allowed")]
    TooLong {
        /// How many it has.
        chars: usize,
    },
    /// It holds a control character.
    #[error("the name holds a control character (U+{:04X}): use letters and digits", u32::from(*.0))]
    Control(char),
    /// It holds a character that is invisible, turns the direction of text, or is not for names (UTS 39).
    #[error("the name holds a character that is not allowed in names (U+{:04X}): use letters and digits", u32::from(*.0))]
    Character(char),
    /// It starts like a command.
    #[error("the name must not start with '/': that is for commands")]
    LikeCommand,
    /// It mixes scripts, as look-alikes do (UTS 39, beyond "highly restrictive").
    #[error(
        "the name mixes letters of several scripts and could be mistaken for another: use one script"
    )]
    MixedScripts,
    /// It is kept for the program itself.
    #[error("this name is reserved: choose another one")]
    Reserved,
}

/// Judges a user name.
///
/// # Errors
/// The first rule that the name breaks.
pub fn check_name(name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if let Some(control) = name.chars().find(|c| c.is_control()) {
        return Err(NameError::Control(control));
    }
    if name.chars().any(char::is_whitespace) {
        return Err(if name.trim().is_empty() {
            NameError::Empty
        } else {
            NameError::NotOneWord
        });
    }
    let chars = name.chars().count();
    if chars > MAX_NAME_CHARS {
        return Err(NameError::TooLong { chars });
    }
    if let Some(bad) = name
        .chars()
        .find(|&c| !c.is_ascii() && !c.identifier_allowed())
    {
        return Err(NameError::Character(bad));
    }
    if name.starts_with('/') {
        return Err(NameError::LikeCommand);
    }
    let letters: String = name.chars().filter(|c| !c.is_ascii_punctuation()).collect();
    if !letters
        .as_str()
        .check_restriction_level(RestrictionLevel::HighlyRestrictive)
    {
        return Err(NameError::MixedScripts);
    }
    let key = NameKey::of(name);
    if RESERVED.iter().any(|reserved| NameKey::of(reserved) == key) {
        return Err(NameError::Reserved);
    }
    Ok(())
}

/// What two names have in common when a person could take one for the other: the UTS 39 skeleton without case.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NameKey(String);

impl NameKey {
    /// The key of a name.
    #[must_use]
    pub fn of(name: &str) -> Self {
        let lower = name.to_lowercase();
        Self(skeleton(&lower).flat_map(char::to_lowercase).collect())
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_names_are_fine() {
        for name in [
            "alice",
            "Bob",
            "x",
            "user_17",
            "a.b-c",
            "José",
            "Ольга",
            "山田太郎",
            "محمد",
            "C3PO!",
        ] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        assert_eq!(check_name(&"é".repeat(MAX_NAME_CHARS)), Ok(()));
    }

    #[test]
    fn each_rule_has_its_reason() {
        for (name, error) in [
            ("", NameError::Empty),
            ("   ", NameError::Empty),
            ("two words", NameError::NotOneWord),
            ("alice ", NameError::NotOneWord),
            ("two\u{a0}words", NameError::NotOneWord),
            ("a\tb", NameError::Control('\t')),
            ("a\u{1b}[31m", NameError::Control('\u{1b}')),
            ("a\0", NameError::Control('\0')),
            ("a\u{85}", NameError::Control('\u{85}')),
            ("ab\u{202e}cd", NameError::Character('\u{202e}')),
            ("al\u{200b}ice", NameError::Character('\u{200b}')),
            ("al\u{200d}ice", NameError::Character('\u{200d}')),
            ("\u{feff}alice", NameError::Character('\u{feff}')),
            ("/users", NameError::LikeCommand),
            ("\u{430}lice", NameError::MixedScripts),
            ("server", NameError::Reserved),
            ("SERVER", NameError::Reserved),
            ("a11", NameError::Reserved),
        ] {
            assert_eq!(check_name(name), Err(error), "{name:?}");
        }
        let long = "x".repeat(MAX_NAME_CHARS + 1);
        assert_eq!(check_name(&long), Err(NameError::TooLong { chars: 33 }));
    }

    #[test]
    fn look_alikes_have_one_key() {
        for (one, other) in [
            ("alice", "Alice"),
            ("coco", "сосо"),
            ("modern", "modem"),
            ("José", "Jose\u{301}"),
        ] {
            assert_eq!(NameKey::of(one), NameKey::of(other), "{one} {other}");
        }
        assert_ne!(NameKey::of("alice"), NameKey::of("bob"));
        assert_ne!(NameKey::of("user10"), NameKey::of("user11"));
    }
}
