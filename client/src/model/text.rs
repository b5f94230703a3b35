//! What is in a message besides words: links, names of people, names of shared files.

use std::collections::HashSet;

/// A part of a message, in order; put together they are the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Plain text.
    Plain(String),
    /// A link to open in a browser.
    Link(String),
    /// The name of a shared file, as the server lists it.
    File {
        /// As written.
        shown: String,
        /// As listed.
        name: String,
    },
    /// Our own name.
    Mention(String),
}

impl Piece {
    /// The text as it is shown.
    #[must_use]
    pub fn shown(&self) -> &str {
        match self {
            Self::Plain(text) | Self::Link(text) | Self::Mention(text) => text,
            Self::File { shown, .. } => shown,
        }
    }
}

/// The schemes that a link may have: what others open programs with parameters of the sender's choice.
const SCHEMES: [&str; 2] = ["https://", "http://"];
/// Punctuation around a word that belongs to the sentence.
const AROUND: [char; 16] = [
    '.', ',', ';', ':', '!', '?', '"', '\'', '(', ')', '[', ']', '<', '>', '`', '*',
];
/// Longest run of words that is tried as the name of a file with spaces.
const MAX_NAME_WORDS: usize = 8;

/// What is known when a message is cut into pieces.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// Our own name; empty for none.
    pub own_name: &'a str,
    /// The shared files' names.
    pub files: &'a HashSet<String>,
}

/// Cuts a message into pieces.
#[must_use]
pub fn pieces(text: &str, known: Known<'_>) -> Vec<Piece> {
    let mut found: Vec<Piece> = Vec::new();
    let mut plain_from = 0;
    let mut at = 0;
    while let Some(start) = text[at..]
        .find(|c: char| !c.is_whitespace())
        .map(|skip| at + skip)
    {
        let end = word_end(text, start);
        let Some((piece, from, to)) = special(text, start, end, known) else {
            at = end;
            continue;
        };
        if from > plain_from {
            found.push(Piece::Plain(text[plain_from..from].to_owned()));
        }
        found.push(piece);
        plain_from = to;
        at = to.max(start + 1);
        while !text.is_char_boundary(at) {
            at += 1;
        }
    }
    if plain_from < text.len() {
        found.push(Piece::Plain(text[plain_from..].to_owned()));
    }
    found
}

/// Whether the message names us.
#[must_use]
pub fn mentions(pieces: &[Piece]) -> bool {
    pieces
        .iter()
        .any(|piece| matches!(piece, Piece::Mention(_)))
}

fn word_end(text: &str, start: usize) -> usize {
    text[start..]
        .find(char::is_whitespace)
        .map_or(text.len(), |length| start + length)
}

/// What the word is if it is more than a word, and from where to where it reaches.
fn special(
    text: &str,
    start: usize,
    end: usize,
    known: Known<'_>,
) -> Option<(Piece, usize, usize)> {
    let word = &text[start..end];
    if let Some(link) = link_in(word) {
        let (from, to) = (start + link.start, start + link.end);
        return Some((Piece::Link(text[from..to].to_owned()), from, to));
    }
    if let Some((name, from, to)) = file_at(text, start, known.files) {
        let shown = text[from..to].to_owned();
        return Some((Piece::File { shown, name }, from, to));
    }
    let (from, to) = trimmed(text, start, end);
    let bare = text[from..to].trim_start_matches('@');
    let own = !known.own_name.is_empty() && same_word(bare, known.own_name);
    own.then(|| (Piece::Mention(text[from..to].to_owned()), from, to))
}

/// Whether the word is the name, whatever its case, perhaps with an English genitive.
fn same_word(word: &str, name: &str) -> bool {
    let word = word.to_lowercase();
    let name = name.to_lowercase();
    word == name || word.strip_suffix("'s") == Some(name.as_str())
}

fn link_in(word: &str) -> Option<std::ops::Range<usize>> {
    let lower = word.to_ascii_lowercase();
    let (start, scheme) = SCHEMES
        .iter()
        .filter_map(|scheme| Some((lower.find(scheme)?, scheme)))
        .min()?;
    let before = &word[..start];
    if !before.chars().all(|c| AROUND.contains(&c)) {
        return None;
    }
    let mut end = word.len();
    while let Some(last) = word[start..end].chars().next_back() {
        let closes = matches!(last, ')' | ']') && {
            let open = if last == ')' { '(' } else { '[' };
            let link = &word[start..end];
            link.matches(open).count() >= link.matches(last).count()
        };
        if closes || !AROUND.contains(&last) {
            break;
        }
        end -= last.len_utf8();
    }
    (end > start + scheme.len()).then_some(start..end)
}

fn trimmed(text: &str, start: usize, end: usize) -> (usize, usize) {
    let word = &text[start..end];
    let inner = word.trim_start_matches(AROUND);
    let from = end - inner.len();
    let to = from + inner.trim_end_matches(AROUND).len();
    (from, to)
}

/// The longest shared file's name that begins at this word.
fn file_at(text: &str, start: usize, files: &HashSet<String>) -> Option<(String, usize, usize)> {
    if files.is_empty() {
        return None;
    }
    let mut best = None;
    let mut end = start;
    for _ in 0..MAX_NAME_WORDS {
        let Some(next) = text[end..].find(|c: char| !c.is_whitespace()) else {
            break;
        };
        end = word_end(text, end + next);
        let exact = (start, end);
        for (from, to) in [exact, trimmed(text, start, end)] {
            let name = text.get(from..to).unwrap_or_default();
            if let Some(name) = files.get(name) {
                best = Some((name.clone(), from, to));
                break;
            }
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str, files: &[&str]) -> Vec<Piece> {
        let files = files.iter().map(|name| (*name).to_owned()).collect();
        let known = Known {
            own_name: "Ada",
            files: &files,
        };
        let found = pieces(text, known);
        let whole: String = found.iter().map(Piece::shown).collect();
        assert_eq!(whole, text, "nothing is lost");
        found
    }

    fn plain(text: &str) -> Piece {
        Piece::Plain(text.to_owned())
    }

    fn file(name: &str) -> Piece {
        Piece::File {
            shown: name.to_owned(),
            name: name.to_owned(),
        }
    }

    #[test]
    fn links_end_where_the_sentence_goes_on() {
        let link = |text: &str| Piece::Link(text.to_owned());
        assert_eq!(
            cut("see (https://a.b/c_(d)). Yes", &[]),
            [plain("see ("), link("https://a.b/c_(d)"), plain("). Yes")]
        );
        assert_eq!(
            cut("HTTP://X.y, z", &[]),
            [link("HTTP://X.y"), plain(", z")]
        );
        for text in [
            "https://",
            "javascript:alert(1)",
            "file:///etc",
            "xhttp://a",
        ] {
            assert_eq!(cut(text, &[]), [plain(text)]);
        }
    }

    #[test]
    fn our_name_is_a_mention_and_part_of_a_word_is_not() {
        for text in ["ada", "@ADA:", "(Ada)", "Ada's"] {
            assert!(mentions(&cut(text, &[])), "{text}");
        }
        for text in ["adam", "Canada", "a da"] {
            assert!(!mentions(&cut(text, &[])), "{text}");
        }
    }

    #[test]
    fn files_are_found_with_spaces_and_without_punctuation() {
        let files = ["a.iso", "a.iso big", "dir/x (1).txt", "end."];
        assert_eq!(
            cut("get a.iso, or dir/x (1).txt!", &files),
            [
                plain("get "),
                file("a.iso"),
                plain(", or "),
                file("dir/x (1).txt"),
                plain("!")
            ]
        );
        assert_eq!(cut("a.iso big", &files), [file("a.iso big")]);
        assert_eq!(cut("end.", &files), [file("end.")]);
        assert_eq!(cut("  \n", &files), [plain("  \n")]);
        assert_eq!(cut("", &files), []);
    }

    #[test]
    fn text_in_any_script_stays_whole() {
        for text in [
            "日本語 テキスト",
            "é\u{301}\u{2003}…",
            "🕊🕊 ada 🕊",
            "\u{3000}Ada\u{3000}",
        ] {
            cut(text, &["テキスト"]);
        }
    }
}
