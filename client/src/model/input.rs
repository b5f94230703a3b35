//! The line being typed: its history, Tab completion, and what Enter means.

use std::collections::VecDeque;

use columba_core::chat::{COMMANDS, Input as Parsed, check_text, parse_line};

/// Lines that are remembered.
const MAX_HISTORY: usize = 200;
/// Completions that Tab goes through at most.
const MAX_COMPLETIONS: usize = 64;

/// The line being typed.
#[derive(Clone, Debug, Default)]
pub struct Input {
    text: String,
    history: VecDeque<String>,
    /// Which line of the history is shown, from the newest; and what was typed before.
    recalled: Option<(usize, String)>,
    completion: Option<Completion>,
}

/// Tab goes round through these.
#[derive(Clone, Debug)]
struct Completion {
    /// What stays before the completed word.
    before: String,
    candidates: Vec<String>,
    current: usize,
}

/// What a typed line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Nothing: the line is empty.
    Nothing,
    /// Say it where we are: to everybody, or to the person whose whispers are shown.
    Say(String),
    /// Whisper.
    Whisper {
        /// To whom.
        to: String,
        /// What.
        text: String,
    },
    /// Who is there?
    Users,
    /// Which files start like this?
    Files {
        /// Start of the names; empty for all.
        prefix: String,
    },
    /// Download a file.
    Get {
        /// Its name.
        file: String,
    },
    /// Leave.
    Disconnect,
    /// Show the commands.
    Help,
}

/// What Tab may complete to.
#[derive(Clone, Debug, Default)]
pub(in crate::model) struct Candidates {
    /// People, best first.
    pub(in crate::model) names: Vec<String>,
    /// Files, best first.
    pub(in crate::model) files: Vec<String>,
}

impl Input {
    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The person has typed.
    pub(in crate::model) fn set(&mut self, text: String) {
        self.text = text;
        self.recalled = None;
        self.completion = None;
    }

    /// Up and Down: an older line of the history, or a newer one.
    pub(in crate::model) fn recall(&mut self, older: bool) {
        self.completion = None;
        let (at, typed) = match self.recalled.take() {
            None if !older || self.history.is_empty() => return,
            None => (0, std::mem::take(&mut self.text)),
            Some((at, typed)) if older => ((at + 1).min(self.history.len() - 1), typed),
            Some((0, typed)) => {
                self.text = typed;
                return;
            }
            Some((at, typed)) => (at - 1, typed),
        };
        let line = self.history.iter().rev().nth(at);
        self.text = line.cloned().unwrap_or_default();
        self.recalled = Some((at, typed));
    }

    /// What Tab goes through now; the current one is in the text. Empty when Tab was not pressed.
    #[must_use]
    pub fn completions(&self) -> (&[String], usize) {
        self.completion
            .as_ref()
            .map_or((&[], 0), |found| (&found.candidates, found.current))
    }

    /// Tab, or Shift+Tab for `backwards`.
    pub(in crate::model) fn complete(&mut self, backwards: bool, known: &Candidates) {
        self.recalled = None;
        if let Some(found) = &mut self.completion {
            let count = found.candidates.len();
            let step = if backwards { count - 1 } else { 1 };
            found.current = (found.current + step) % count;
        } else {
            self.completion = completion(&self.text, known);
        }
        if let Some(found) = &self.completion {
            self.text = format!("{}{}", found.before, found.candidates[found.current]);
        }
    }

    /// Enter: what the line asks for; it becomes history. A wrong line stays, with the error for the person.
    pub(in crate::model) fn submit(&mut self) -> Result<Asked, String> {
        let asked = understand(&self.text)?;
        let line = std::mem::take(&mut self.text);
        self.recalled = None;
        self.completion = None;
        if asked != Asked::Nothing && self.history.back() != Some(&line) {
            self.history.push_back(line);
            if self.history.len() > MAX_HISTORY {
                self.history.pop_front();
            }
        }
        Ok(asked)
    }
}

/// What a line asks for.
///
/// # Errors
/// What is wrong with it and what to type, for the person.
pub fn understand(line: &str) -> Result<Asked, String> {
    let parsed = parse_line(line).map_err(|error| error.to_string())?;
    let fit = |text: &str| {
        check_text(text)
            .map(std::borrow::Cow::into_owned)
            .map_err(|error| error.to_string())
    };
    Ok(match parsed {
        Parsed::Nothing => Asked::Nothing,
        Parsed::Say(text) => Asked::Say(fit(text)?),
        Parsed::Users => Asked::Users,
        Parsed::Files { prefix } => Asked::Files {
            prefix: prefix.to_owned(),
        },
        Parsed::Whisper { to, text } => Asked::Whisper {
            to: to.to_owned(),
            text: fit(text)?,
        },
        Parsed::Get { file } => Asked::Get {
            file: file.to_owned(),
        },
        Parsed::Disconnect => Asked::Disconnect,
        Parsed::Help => Asked::Help,
    })
}

/// What can be at the end of `text`.
fn completion(text: &str, known: &Candidates) -> Option<Completion> {
    let (before, candidates) = if let Some(rest) = text.strip_prefix('/') {
        match rest.split_once(' ') {
            None => (String::new(), commands(rest)),
            Some(("get" | "files", start)) => {
                let at = text.len() - start.len();
                (text[..at].to_owned(), matching(start, &known.files, ""))
            }
            Some(("whisper", start)) if !start.contains(' ') => {
                let at = text.len() - start.len();
                (text[..at].to_owned(), matching(start, &known.names, " "))
            }
            Some(_) => last_word(text, known),
        }
    } else {
        last_word(text, known)
    };
    (!candidates.is_empty()).then_some(Completion {
        before,
        candidates,
        current: 0,
    })
}

fn commands(start: &str) -> Vec<String> {
    let start = start.to_lowercase();
    COMMANDS
        .iter()
        .filter(|command| command.name.starts_with(&start))
        .map(|command| {
            let space = if command.arguments.is_empty() {
                ""
            } else {
                " "
            };
            format!("/{}{space}", command.name)
        })
        .collect()
}

/// A name or a file; at the start of the line a name addresses somebody.
fn last_word(text: &str, known: &Candidates) -> (String, Vec<String>) {
    let at = text.rfind(char::is_whitespace).map_or(0, |space| {
        space + text[space..].chars().next().map_or(1, char::len_utf8)
    });
    let word = &text[at..];
    if word.is_empty() {
        return (String::new(), Vec::new());
    }
    let (sign, bare) = match word.strip_prefix('@') {
        Some(bare) => ("@", bare),
        None => ("", word),
    };
    let after = if at == 0 { ": " } else { " " };
    let mut candidates = matching(bare, &known.names, after);
    for name in &mut candidates {
        name.insert_str(0, sign);
    }
    if sign.is_empty() {
        candidates.extend(matching(word, &known.files, " "));
    }
    (text[..at].to_owned(), candidates)
}

/// Those that start so, whatever the case; then those that hold it.
fn matching(start: &str, all: &[String], after: &str) -> Vec<String> {
    let start = start.to_lowercase();
    let mut starting = Vec::new();
    let mut holding = Vec::new();
    for name in all {
        let lower = name.to_lowercase();
        let base = lower.rsplit('/').next().unwrap_or(&lower);
        if lower.starts_with(&start) {
            starting.push(format!("{name}{after}"));
        } else if base.starts_with(&start) && holding.len() < MAX_COMPLETIONS {
            holding.push(format!("{name}{after}"));
        }
        if starting.len() >= MAX_COMPLETIONS {
            break;
        }
    }
    starting.extend(holding);
    starting.truncate(MAX_COMPLETIONS);
    starting
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Candidates {
        let all = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Candidates {
            names: all(&["ada", "Adrian", "bob"]),
            files: all(&["a b.iso", "dir/adagio.ogg", "z"]),
        }
    }

    fn typed(text: &str) -> Input {
        let mut input = Input::default();
        input.set(text.to_owned());
        input
    }

    fn tabs(text: &str, count: usize) -> Vec<String> {
        let mut input = typed(text);
        let press = |_| {
            input.complete(false, &known());
            input.text().to_owned()
        };
        (0..count).map(press).collect()
    }

    #[test]
    fn tab_completes_commands_names_and_files() {
        assert_eq!(tabs("/wh", 2), ["/whisper ", "/whisper "]);
        assert_eq!(tabs("/", 1), ["/users"]);
        assert_eq!(
            tabs("/whisper AD", 2),
            ["/whisper ada ", "/whisper Adrian "]
        );
        assert_eq!(tabs("/get A b", 1), ["/get a b.iso"]);
        assert_eq!(tabs("/get adag", 1), ["/get dir/adagio.ogg"]);
        assert_eq!(
            tabs("ad", 4),
            ["ada: ", "Adrian: ", "dir/adagio.ogg ", "ada: "]
        );
        assert_eq!(tabs("hi @b", 1), ["hi @bob "]);
        assert_eq!(tabs("nothing like it x", 1), ["nothing like it x"]);
        assert_eq!(tabs("", 1), [""]);
        assert_eq!(tabs("ü\u{3000}bo", 1), ["ü\u{3000}bob "]);
    }

    #[test]
    fn shift_tab_goes_back_and_typing_ends_it() {
        let mut input = typed("ad");
        input.complete(false, &known());
        input.complete(true, &known());
        assert_eq!(input.text(), "dir/adagio.ogg ");
        assert_eq!(input.completions().1, 2);
        input.set("x".to_owned());
        assert_eq!(input.completions().0.len(), 0);
    }

    #[test]
    fn history_keeps_what_was_being_typed() {
        let mut input = Input::default();
        input.recall(true);
        for line in ["one", "two", "two"] {
            input.set(line.to_owned());
            input.submit().unwrap();
        }
        input.set("draft".to_owned());
        let mut seen = Vec::new();
        for older in [true, true, true, false, false, false] {
            input.recall(older);
            seen.push(input.text().to_owned());
        }
        assert_eq!(seen, ["two", "one", "one", "two", "draft", "draft"]);
    }

    #[test]
    fn a_wrong_line_stays_to_be_mended() {
        let mut input = typed("/wisper x y");
        let error = input.submit().unwrap_err();
        assert!(error.contains("/whisper"), "{error}");
        assert_eq!(input.text(), "/wisper x y");
        input.set("/whisper x y  ".to_owned());
        let asked = Asked::Whisper {
            to: "x".to_owned(),
            text: "y".to_owned(),
        };
        assert_eq!(input.submit(), Ok(asked));
        assert_eq!(input.text(), "");
        assert_eq!(input.submit(), Ok(Asked::Nothing));
    }
}
