//! `columba ls`, `users` and `stats`: one question, one answer.

use columba_core::chat::printable;
use indicatif::HumanBytes;
use serde::Serialize;

use super::args::{Common, Ls};
use super::output::{FileLine, line};
use super::signals::stop_on_signals;
use super::{Settings, engine_config, note_connection, print};
use crate::engine::Engine;
use crate::engine::message::{Command, Event};
use crate::exit_code::ClientError;

pub(super) fn ls(common: &Common, options: &Ls) -> Result<(), ClientError> {
    let prefix = options.prefix.clone();
    let answer = ask(common, Command::Files { prefix }, |event| {
        if let Event::Files(files) = event {
            Some(files)
        } else {
            None
        }
    })?;
    let mut text = String::new();
    for file in &answer {
        if options.json {
            text.push_str(&line(&FileLine::from(file)));
        } else {
            let size = HumanBytes(file.size).to_string();
            text.push_str(&format!("{size:>12}  {}\n", printable(&file.name)));
        }
    }
    print(&text)
}

#[derive(Serialize)]
struct UserLine<'a> {
    name: &'a str,
}

pub(super) fn users(common: &Common, json: bool) -> Result<(), ClientError> {
    let names = ask(common, Command::Users, |event| {
        if let Event::Users(names) = event {
            Some(names)
        } else {
            None
        }
    })?;
    let mut text = String::new();
    for name in &names {
        if json {
            text.push_str(&line(&UserLine { name }));
        } else {
            text.push_str(&printable(name));
            text.push('\n');
        }
    }
    print(&text)
}

pub(super) fn stats(common: &Common, json: bool) -> Result<(), ClientError> {
    let report = ask(common, Command::Stats, |event| {
        if let Event::Stats(report) = event {
            Some(report)
        } else {
            None
        }
    })?;
    let value: serde_json::Value = serde_json::from_str(&report).map_err(|_| {
        ClientError::Server("the server's report is no JSON; it may be of another version".into())
    })?;
    if json {
        return print(&line(&value));
    }
    let mut text = String::new();
    flatten("", &value, &mut text);
    print(&text)
}

/// `a.b  value`, one a line.
fn flatten(path: &str, value: &serde_json::Value, text: &mut String) {
    match value {
        serde_json::Value::Object(fields) => {
            for (name, value) in fields {
                let path = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                flatten(&path, value, text);
            }
        }
        serde_json::Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                flatten(&format!("{path}.{index}"), value, text);
            }
        }
        serde_json::Value::String(shown) => {
            text.push_str(&format!("{:<40} {}\n", printable(path), printable(shown)));
        }
        serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => {
            text.push_str(&format!("{:<40} {value}\n", printable(path)));
        }
    }
}

/// Asks one question without joining the chat.
fn ask<T>(
    common: &Common,
    question: Command,
    mut answer: impl FnMut(Event) -> Option<T>,
) -> Result<T, ClientError> {
    let settings = Settings::gather(common)?;
    let engine = Engine::start(engine_config(&settings)?, vec![question]).map_err(|source| {
        ClientError::System {
            action: "start the network engine",
            source,
        }
    })?;
    let stopped = stop_on_signals(engine.commands());
    while let Ok(event) = engine.events().recv() {
        note_connection(&event, &settings, common.quiet);
        if let Event::Refused { code, text } = event {
            return Err(ClientError::from_server(code, &text));
        } else if let Event::Ended(ended) = event {
            stopped.or(ended)?;
            break;
        } else if let Some(answer) = answer(event) {
            return Ok(answer);
        }
    }
    stopped.check()?;
    Err(ClientError::Lost("it ended without an answer".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_reads_as_lines() {
        let value = serde_json::json!({"a": {"b": 1, "c": ["x\u{1b}", null]}});
        let mut text = String::new();
        flatten("", &value, &mut text);
        let lines: Vec<Vec<&str>> = text
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(
            lines,
            [["a.b", "1"], ["a.c.0", "x<U+001B>"], ["a.c.1", "null"]]
        );
    }
}
