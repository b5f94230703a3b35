//! Message texts: what may be sent, and how text from others is shown.

use std::borrow::Cow;

use thiserror::Error;

use crate::control::limits::MAX_TEXT_BYTES;

/// Why a message is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TextError {
    /// Nothing but white space.
    #[error("the message is empty")]
    Empty,
    /// More than [`MAX_TEXT_BYTES`].
    #[error("the message is too long: {bytes} bytes, at most {MAX_TEXT_BYTES} are allowed")]
    TooLong {
        /// How many it has.
        bytes: usize,
    },
    /// A control character other than tab and newline.
    #[error("the message holds a control character (U+{:04X})", u32::from(*.0))]
    Control(char),
}

/// Judges a message and gives it as it is sent: without white space at its end, lines ended by `\n` alone.
///
/// # Errors
/// The first rule that the text breaks.
pub fn check_text(text: &str) -> Result<Cow<'_, str>, TextError> {
    let text = text.trim_end();
    if text.is_empty() {
        return Err(TextError::Empty);
    }
    let text = if text.contains("\r\n") {
        Cow::Owned(text.replace("\r\n", "\n"))
    } else {
        Cow::Borrowed(text)
    };
    if text.len() > MAX_TEXT_BYTES {
        return Err(TextError::TooLong { bytes: text.len() });
    }
    match text
        .chars()
        .find(|&c| c.is_control() && c != '\t' && c != '\n')
    {
        Some(control) => Err(TextError::Control(control)),
        None => Ok(text),
    }
}

/// Makes text from others harmless on one line of a terminal: a newline becomes ` ⏎ `, a tab a space, any other
/// control character and whatever turns the direction of text is shown as its code, like `<U+001B>`.
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_risky) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\n' => out.push_str(" ⏎ "),
            '\t' => out.push(' '),
            _ if is_risky(c) => out.push_str(&format!("<U+{:04X}>", u32::from(c))),
            _ => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// Control characters, line and paragraph separators, bidi controls, and invisible ones that no script needs.
fn is_risky(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_texts_pass_unchanged() {
        for text in [
            "hello",
            "a\tb",
            "two\nlines",
            "  indented",
            "👩‍👩‍👧 ünïcödé שלום",
        ] {
            assert_eq!(check_text(text).as_deref(), Ok(text));
        }
    }

    #[test]
    fn ends_of_lines_are_made_uniform() {
        assert_eq!(check_text("a\r\nb\r\n").as_deref(), Ok("a\nb"));
        assert_eq!(check_text("hello \n\n").as_deref(), Ok("hello"));
    }

    #[test]
    fn each_rule_has_its_reason() {
        assert_eq!(check_text(" \n\t"), Err(TextError::Empty));
        assert_eq!(check_text("a\u{1b}[2J"), Err(TextError::Control('\u{1b}')));
        assert_eq!(check_text("a\rb"), Err(TextError::Control('\r')));
        assert_eq!(check_text("a\u{9b}b"), Err(TextError::Control('\u{9b}')));
        assert!(check_text(&"x".repeat(MAX_TEXT_BYTES)).is_ok());
        let long = "x".repeat(MAX_TEXT_BYTES + 1);
        assert_eq!(
            check_text(&long),
            Err(TextError::TooLong {
                bytes: MAX_TEXT_BYTES + 1
            })
        );
    }

    #[test]
    fn what_could_fool_a_terminal_is_shown_as_its_code() {
        assert!(matches!(printable("plain ünïcödé"), Cow::Borrowed(_)));
        assert_eq!(printable("a\u{1b}[2Jb"), "a<U+001B>[2Jb");
        assert_eq!(printable("x\u{202e}y"), "x<U+202E>y");
        assert_eq!(printable("two\nlines\tand"), "two ⏎ lines and");
        assert_eq!(printable("\u{9b}31m\u{7f}"), "<U+009B>31m<U+007F>");
    }
}
