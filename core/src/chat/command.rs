//! What a line typed into a chat client means.

use thiserror::Error;

/// A command as help shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandHelp {
    /// Its name without the slash.
    pub name: &'static str,
    /// What follows the name.
    pub arguments: &'static str,
    /// What it does.
    pub about: &'static str,
}

/// All commands, in the order in which help lists them.
pub const COMMANDS: [CommandHelp; 6] = [
    CommandHelp {
        name: "users",
        arguments: "",
        about: "list who is in the chat",
    },
    CommandHelp {
        name: "files",
        arguments: "[START]",
        about: "list the shared files, or those that start with START",
    },
    CommandHelp {
        name: "whisper",
        arguments: "<name> <msg>",
        about: "send a message to one user only",
    },
    CommandHelp {
        name: "get",
        arguments: "<file>",
        about: "download a file",
    },
    CommandHelp {
        name: "disconnect",
        arguments: "",
        about: "leave the chat",
    },
    CommandHelp {
        name: "help",
        arguments: "",
        about: "show this list",
    },
];

/// Words that people type for one of our commands.
const SYNONYMS: [(&str, &str); 18] = [
    ("?", "help"),
    ("commands", "help"),
    ("bye", "disconnect"),
    ("exit", "disconnect"),
    ("leave", "disconnect"),
    ("logout", "disconnect"),
    ("quit", "disconnect"),
    ("dir", "files"),
    ("list", "files"),
    ("ls", "files"),
    ("download", "get"),
    ("fetch", "get"),
    ("msg", "whisper"),
    ("pm", "whisper"),
    ("tell", "whisper"),
    ("w", "whisper"),
    ("names", "users"),
    ("who", "users"),
];

/// What a line means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input<'a> {
    /// An empty line.
    Nothing,
    /// A message to everybody.
    Say(&'a str),
    /// `/users`
    Users,
    /// `/files`
    Files {
        /// Only names that start like this; empty for all.
        prefix: &'a str,
    },
    /// `/whisper`
    Whisper {
        /// The recipient.
        to: &'a str,
        /// The message.
        text: &'a str,
    },
    /// `/get`
    Get {
        /// The file's name as listed; it may hold spaces.
        file: &'a str,
    },
    /// `/disconnect`
    Disconnect,
    /// `/help`
    Help,
}

/// A line that starts with `/` and is no proper command.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CommandError {
    /// No such command, and which one may have been meant.
    #[error("there is no command /{typed}{}; /help lists all", match nearest { Some(name) => format!(": did you mean /{name}?"), None => String::new() })]
    Unknown {
        /// What was typed.
        typed: String,
        /// The nearest command, if one is near.
        nearest: Option<&'static str>,
    },
    /// The arguments do not fit.
    #[error("use it like this: /{name}{}{arguments}", if arguments.is_empty() { "" } else { " " })]
    Usage {
        /// The command.
        name: &'static str,
        /// What should follow it.
        arguments: &'static str,
    },
}

/// Reads a typed line. A message that shall start with `/` is typed with two of them.
///
/// # Errors
/// The line starts with `/` and is no proper command; the error says what to type.
pub fn parse_line(line: &str) -> Result<Input<'_>, CommandError> {
    let line = line.trim();
    let Some(command) = line.strip_prefix('/') else {
        return Ok(if line.is_empty() {
            Input::Nothing
        } else {
            Input::Say(line)
        });
    };
    if command.starts_with('/') {
        return Ok(Input::Say(command));
    }
    let (typed, rest) = command
        .split_once(char::is_whitespace)
        .unwrap_or((command, ""));
    let rest = rest.trim();
    let name = typed.to_lowercase();
    let Some(known) = COMMANDS.iter().find(|known| known.name == name) else {
        return Err(unknown(typed, &name));
    };
    let usage = Err(CommandError::Usage {
        name: known.name,
        arguments: known.arguments,
    });
    match known.name {
        "files" => return Ok(Input::Files { prefix: rest }),
        "whisper" => {
            return match rest.split_once(char::is_whitespace) {
                Some((to, text)) => Ok(Input::Whisper {
                    to,
                    text: text.trim_start(),
                }),
                None => usage,
            };
        }
        "get" if rest.is_empty() => return usage,
        "get" => return Ok(Input::Get { file: rest }),
        _ if !rest.is_empty() => return usage,
        _ => {}
    }
    Ok(match known.name {
        "users" => Input::Users,
        "disconnect" => Input::Disconnect,
        _ => Input::Help,
    })
}

/// The help text, one command a line.
#[must_use]
pub fn help() -> String {
    COMMANDS
        .iter()
        .map(|command| {
            let usage = format!("/{} {}", command.name, command.arguments);
            format!("{usage:<24} {}\n", command.about)
        })
        .collect()
}

fn unknown(typed: &str, name: &str) -> CommandError {
    let synonym = SYNONYMS
        .iter()
        .find(|(word, _)| *word == name)
        .map(|&(_, meant)| meant);
    let nearest = synonym.or_else(|| {
        let near = COMMANDS
            .iter()
            .map(|known| (edit_distance(name, known.name), known.name))
            .min();
        near.filter(|&(distance, known)| distance <= known.len().div_ceil(3))
            .map(|(_, known)| known)
    });
    let typed = typed.chars().take(32).collect();
    CommandError::Unknown { typed, nearest }
}

/// Damerau–Levenshtein distance (adjacent swaps count once), over at most 16 characters.
fn edit_distance(one: &str, other: &str) -> usize {
    let one: Vec<char> = one.chars().take(16).collect();
    let other: Vec<char> = other.chars().take(16).collect();
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=other.len()).collect();
    for (i, &a) in one.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, &b) in other.iter().enumerate() {
            let changed = above[j] + usize::from(a != b);
            let mut least = changed.min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a == other[j - 1] && one[i - 1] == b {
                least = least.min(before[j - 1] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[other.len()]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_mean_what_they_say() {
        for (line, input) in [
            ("", Input::Nothing),
            ("  \n", Input::Nothing),
            ("hello there\n", Input::Say("hello there")),
            ("//shrug", Input::Say("/shrug")),
            ("/users", Input::Users),
            ("  /USERS  ", Input::Users),
            ("/files", Input::Files { prefix: "" }),
            ("/files docs/", Input::Files { prefix: "docs/" }),
            (
                "/whisper bob  hi you",
                Input::Whisper {
                    to: "bob",
                    text: "hi you",
                },
            ),
            ("/get a file.bin", Input::Get { file: "a file.bin" }),
            ("/disconnect", Input::Disconnect),
            ("/help", Input::Help),
        ] {
            assert_eq!(parse_line(line), Ok(input), "{line:?}");
        }
    }

    #[test]
    fn wrong_arguments_show_the_usage() {
        for line in [
            "/whisper",
            "/whisper bob",
            "/whisper bob  ",
            "/get",
            "/users now",
            "/disconnect 3",
        ] {
            let error = parse_line(line).expect_err(line).to_string();
            assert!(error.starts_with("use it like this: /"), "{error}");
        }
        assert_eq!(
            parse_line("/whisper")
                .expect_err("no arguments")
                .to_string(),
            "use it like this: /whisper <name> <msg>"
        );
    }

    #[test]
    fn unknown_commands_name_the_nearest() {
        for (line, nearest) in [
            ("/user", Some("users")),
            ("/flies", Some("files")),
            ("/wisper bob x", Some("whisper")),
            ("/disconect", Some("disconnect")),
            ("/quit", Some("disconnect")),
            ("/msg bob x", Some("whisper")),
            ("/download x", Some("get")),
            ("/teleport", None),
            ("/", None),
        ] {
            let error = parse_line(line).expect_err(line);
            let CommandError::Unknown { nearest: found, .. } = &error else {
                panic!("{line}: {error:?}");
            };
            assert_eq!(*found, nearest, "{line}");
            assert!(error.to_string().contains("/help"));
        }
    }

    #[test]
    fn help_names_every_command() {
        let help = help();
        assert!(
            COMMANDS
                .iter()
                .all(|command| help.contains(&format!("/{}", command.name)))
        );
    }

    proptest! {
        #[test]
        fn no_line_panics(line in any::<String>()) {
            let _ = parse_line(&line);
            let _ = parse_line(&format!("/{line}"));
        }
    }
}
