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
    print(&report_text(value))
}

/// Counters one a line, latencies as a table below them.
fn report_text(mut value: serde_json::Value) -> String {
    let latencies = value
        .as_object_mut()
        .and_then(|report| report.remove(LATENCIES));
    let mut text = String::new();
    flatten("", &value, &mut text);
    match &latencies {
        Some(serde_json::Value::Object(kinds)) if !kinds.is_empty() => {
            text.push_str(&format!("\n{:<NAME_WIDTH$}", "latency"));
            for (_, name) in PERCENTILES {
                text.push_str(&format!("{name:>COLUMN_WIDTH$}"));
            }
            text.push('\n');
            for (kind, summary) in kinds {
                text.push_str(&format!("{:<NAME_WIDTH$}", printable(kind)));
                for (field, _) in PERCENTILES {
                    let shown = latency(field, &summary[field]);
                    text.push_str(&format!("{shown:>COLUMN_WIDTH$}"));
                }
                text.push('\n');
            }
        }
        Some(_) | None => {}
    }
    text
}

/// Where a report keeps its latencies, in microseconds.
const LATENCIES: &str = "latency_us";
/// Their fields, and what people call them.
const PERCENTILES: [(&str, &str); 8] = [
    ("count", "count"),
    ("p50", "50 %"),
    ("p75", "75 %"),
    ("p90", "90 %"),
    ("p99", "99 %"),
    ("p999", "99.9 %"),
    ("p9999", "99.99 %"),
    ("max", "max"),
];
const NAME_WIDTH: usize = 16;
const COLUMN_WIDTH: usize = 11;

/// A cell of the table; servers of other versions may lack some.
fn latency(field: &str, value: &serde_json::Value) -> String {
    let Some(micros) = value.as_f64() else {
        return "-".to_owned();
    };
    match micros {
        _ if field == "count" => value.to_string(),
        _ if micros >= 1e6 => format!("{:.2} s", micros / 1e6),
        _ if micros >= 1e3 => format!("{:.2} ms", micros / 1e3),
        _ => format!("{micros:.1} µs"),
    }
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
    fn latencies_are_a_table() {
        let value = serde_json::json!({"users": 3, "latency_us": {
            "loop_turn": {"count": 12, "p50": 7.25, "p99": 1500.0, "max": 2_000_000.0},
        }});
        let text = report_text(value);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4, "{text}");
        assert!(
            lines[0].starts_with("users") && lines[1].is_empty(),
            "{text}"
        );
        let cells: Vec<&str> = lines[3].split_whitespace().collect();
        let expected = "loop_turn 12 7.2 µs - - 1.50 ms - - 2.00 s";
        assert_eq!(cells, expected.split(' ').collect::<Vec<_>>());
        assert_eq!(lines[2].chars().count(), lines[3].chars().count());
        assert_eq!(report_text(serde_json::json!({"latency_us": {}})), "");
    }

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
