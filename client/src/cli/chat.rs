//! `columba chat`, `say` and `whisper`.

use std::io::BufRead;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use columba_core::chat::{Input, check_text, help, parse_line, printable};
use columba_core::control::ControlError;
use indicatif::HumanBytes;
use serde::Serialize;
use serde_json::{Value, json};

use super::args::Common;
use super::output::{FileLine, GetLine, line};
use super::signals::stop_on_signals;
use super::{Settings, chat_name, engine_config, note_connection, print};
use crate::engine::message::{Command, Event, GetEvent};
use crate::engine::{CommandError, CommandSender, Engine};
use crate::exit_code::ClientError;
use crate::storage::disk::DiskStorage;
use crate::storage::paths::shown;
use crate::storage::{Existing, Storage};

/// Longest line that is read; longer messages are refused anyway.
const MAX_LINE_BYTES: u64 = 64 << 10;

fn start(settings: &Settings, first: Vec<Command>, reconnect: bool) -> Result<Engine, ClientError> {
    let mut config = engine_config(settings)?;
    config.name = Some(chat_name(settings)?);
    config.reconnect = reconnect;
    config.storage = Arc::new(DiskStorage::new(".".into(), Existing::Rename)) as Arc<dyn Storage>;
    Engine::start(config, first).map_err(|source| ClientError::System {
        action: "start the network engine",
        source,
    })
}

pub(super) fn say(common: &Common, text: &str) -> Result<(), ClientError> {
    send_one(common, Command::Say(checked(text)?))
}

pub(super) fn whisper(common: &Common, to: String, text: &str) -> Result<(), ClientError> {
    let text = checked(text)?;
    send_one(common, Command::Whisper { to, text })
}

fn checked(text: &str) -> Result<String, ClientError> {
    check_text(text)
        .map(std::borrow::Cow::into_owned)
        .map_err(|error| ClientError::Usage(error.to_string()))
}

/// Joins, sends one thing, and leaves when the server has taken or refused it.
fn send_one(common: &Common, command: Command) -> Result<(), ClientError> {
    let settings = Settings::gather(common)?;
    let engine = start(&settings, vec![command, Command::Finish], false)?;
    let stopped = stop_on_signals(engine.commands());
    let mut refused = None;
    while let Ok(event) = engine.events().recv() {
        note_connection(&event, &settings, common.quiet);
        if let Event::Ended(ended) = event {
            stopped.or(ended)?;
            stopped.check()?;
            return refused.map_or(Ok(()), Err);
        } else if let Event::Refused { code, text } = event {
            refused = Some(ClientError::from_server(code, &text));
        }
    }
    Err(ClientError::Lost(
        "the network engine has failed".to_owned(),
    ))
}

pub(super) fn run(common: &Common, json: bool) -> Result<(), ClientError> {
    let settings = Settings::gather(common)?;
    let engine = start(&settings, Vec::new(), true)?;
    let stopped = stop_on_signals(engine.commands());
    let commands = engine.commands();
    let reader = std::thread::Builder::new().name("stdin".to_owned());
    reader
        .spawn(move || read_lines(&commands, json))
        .map_err(|source| ClientError::System {
            action: "start a thread",
            source,
        })?;
    let mut view = View {
        json,
        name: String::new(),
    };
    while let Ok(event) = engine.events().recv() {
        note_connection(&event, &settings, common.quiet);
        if let Event::Ended(ended) = event {
            stopped.or(ended)?;
            return stopped.check();
        }
        view.show(&event)?;
    }
    Err(ClientError::Lost(
        "the network engine has failed".to_owned(),
    ))
}

/// Reads messages and commands until the end of input, which is a goodbye.
fn read_lines(commands: &CommandSender, json: bool) {
    let requests = AtomicU32::new(1);
    let mut input = std::io::stdin().lock();
    loop {
        let mut bytes = Vec::new();
        let read = std::io::Read::take(&mut input, MAX_LINE_BYTES).read_until(b'\n', &mut bytes);
        match read {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
        let text = String::from_utf8_lossy(&bytes);
        let told = match understand(&text, &requests) {
            Ok(Some(Command::Finish)) => break,
            Ok(Some(command)) => match send(commands, &command) {
                Ok(()) => Ok(()),
                Err(_) => return,
            },
            Ok(None) => Ok(()),
            Err(Told::Help) => tell_help(json),
            Err(Told::Error(text)) => tell_error(json, &text),
        };
        if told.is_err() {
            break;
        }
    }
    // An engine that has ended says so by itself.
    let _ = send(commands, &Command::Finish);
}

/// Hands a command over, waiting while the engine is behind: lines are read no faster than sent.
fn send(commands: &CommandSender, command: &Command) -> Result<(), CommandError> {
    loop {
        match commands.send(command.clone()) {
            Err(CommandError::Full) => std::thread::sleep(Duration::from_millis(1)),
            result => return result,
        }
    }
}

enum Told {
    Help,
    Error(String),
}

/// What a line asks of the engine.
fn understand(text: &str, requests: &AtomicU32) -> Result<Option<Command>, Told> {
    let input = parse_line(text).map_err(|error| Told::Error(error.to_string()))?;
    let fit = |text: &str| match check_text(text) {
        Ok(text) => Ok(text.into_owned()),
        Err(error) => Err(Told::Error(error.to_string())),
    };
    Ok(Some(match input {
        Input::Nothing => return Ok(None),
        Input::Help => return Err(Told::Help),
        Input::Say(text) => Command::Say(fit(text)?),
        Input::Whisper { to, text } => Command::Whisper {
            to: to.to_owned(),
            text: fit(text)?,
        },
        Input::Users => Command::Users,
        Input::Files { prefix } => Command::Files {
            prefix: prefix.to_owned(),
        },
        Input::Get { file } => Command::Get {
            request: requests.fetch_add(1, Ordering::Relaxed),
            names: vec![file.to_owned()],
            target: None,
            folder: None,
            roots: Vec::new(),
        },
        Input::Disconnect => Command::Finish,
    }))
}

fn tell_help(json: bool) -> Result<(), ClientError> {
    if json {
        print(&event_line(
            "help",
            "",
            &help(),
            Value::Null,
            now_ms(),
            &json!({}),
        ))
    } else {
        print(&help())
    }
}

fn tell_error(json: bool, text: &str) -> Result<(), ClientError> {
    if json {
        print(&event_line(
            "error",
            "",
            text,
            Value::Null,
            now_ms(),
            &json!({}),
        ))
    } else {
        print(&format!("! {}\n", printable(text)))
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

#[derive(Serialize)]
struct EventLine<'a> {
    event: &'a str,
    from: &'a str,
    text: &'a str,
    sequence: Value,
    time: u64,
    #[serde(flatten)]
    more: &'a Value,
}

fn event_line(
    event: &str,
    from: &str,
    text: &str,
    sequence: Value,
    time: u64,
    more: &Value,
) -> String {
    line(&EventLine {
        event,
        from,
        text,
        sequence,
        time,
        more,
    })
}

struct View {
    json: bool,
    name: String,
}

impl View {
    fn show(&mut self, event: &Event) -> Result<(), ClientError> {
        if let Event::Welcome { name, .. } = event {
            self.name.clone_from(name);
        }
        let text = if self.json {
            json_lines(event)
        } else {
            self.plain_lines(event)
        };
        if text.is_empty() {
            return Ok(());
        }
        print(&text)
    }

    fn plain_lines(&self, event: &Event) -> String {
        match event {
            Event::Welcome { name, again, .. } => {
                let again = if *again { "again " } else { "" };
                format!("* you are {again}in the chat as {}\n", printable(name))
            }
            Event::Message { from, text, .. } => {
                format!("{}: {}\n", printable(from), printable(text))
            }
            Event::Whispered { from, to, text, .. } if *from == self.name => {
                format!("you whisper to {}: {}\n", printable(to), printable(text))
            }
            Event::Whispered { from, text, .. } => {
                format!("{} whispers: {}\n", printable(from), printable(text))
            }
            Event::Presence { joined, left, .. } => {
                let joined = joined.iter().map(|name| (name, "joined"));
                let left = left.iter().map(|name| (name, "left"));
                let lines = joined.chain(left);
                lines
                    .map(|(name, what)| format!("* {} {what}\n", printable(name)))
                    .collect()
            }
            Event::Users(names) => {
                let names: Vec<_> = names.iter().map(|name| printable(name)).collect();
                format!("* {} here: {}\n", names.len(), names.join(", "))
            }
            Event::Files(files) => files
                .iter()
                .map(|file| {
                    let size = HumanBytes(file.size).to_string();
                    format!("* {size:>12}  {}\n", printable(&file.name))
                })
                .collect(),
            Event::Refused { text, .. } => format!("! {}\n", printable(text)),
            Event::Get { event, .. } => plain_download(event),
            Event::Missed { count } => format!("* {count} messages were missed\n"),
            Event::Undelivered { text, .. } => {
                format!("! this may not have arrived: {}\n", printable(text))
            }
            Event::FirstContact { .. }
            | Event::Stats(_)
            | Event::Denied { .. }
            | Event::Reconnecting { .. }
            | Event::NextAttempt { .. }
            | Event::Udp { .. }
            | Event::Network(_)
            | Event::Ended(_) => String::new(),
        }
    }
}

fn plain_download(event: &GetEvent) -> String {
    match event {
        GetEvent::Done(report) => format!(
            "* {} is here: {}\n",
            printable(&report.file),
            shown(&report.target)
        ),
        GetEvent::Failed { file, error } => format!("! {}: {error}\n", printable(file)),
        GetEvent::StartsOver { file } => {
            format!("* {} changed and starts from zero\n", printable(file))
        }
        GetEvent::Skipped { .. } | GetEvent::Progress(_) | GetEvent::Finished => String::new(),
    }
}

#[expect(clippy::too_many_lines, reason = "a table of all events")]
fn json_lines(event: &Event) -> String {
    let none = json!({});
    match event {
        Event::Welcome {
            name,
            software,
            sequence,
            again,
        } => event_line(
            "welcome",
            name,
            "",
            json!(sequence),
            now_ms(),
            &json!({"software": software, "again": again}),
        ),
        Event::Message {
            sequence,
            time_ms,
            from,
            text,
        } => event_line("message", from, text, json!(sequence), *time_ms, &none),
        Event::Whispered {
            time_ms,
            from,
            to,
            text,
        } => event_line(
            "whisper",
            from,
            text,
            Value::Null,
            *time_ms,
            &json!({"to": to}),
        ),
        Event::Presence {
            time_ms,
            joined,
            left,
        } => json_presence(*time_ms, joined, left),
        Event::Users(names) => {
            let more = json!({"users": names});
            event_line("users", "", &names.join(" "), Value::Null, now_ms(), &more)
        }
        Event::Files(files) => {
            let lines: Vec<FileLine<'_>> = files.iter().map(FileLine::from).collect();
            event_line(
                "files",
                "",
                "",
                Value::Null,
                now_ms(),
                &json!({"files": lines}),
            )
        }
        Event::Refused { code, text } => {
            let more = json!({"code": code.code()});
            event_line("error", "", text, Value::Null, now_ms(), &more)
        }
        Event::Reconnecting { reason } => {
            event_line("reconnecting", "", reason, Value::Null, now_ms(), &none)
        }
        Event::Missed { count } => {
            let more = json!({"count": count});
            event_line("missed", "", "", Value::Null, now_ms(), &more)
        }
        Event::Undelivered { to, text } => {
            let more = json!({"to": to});
            event_line("undelivered", "", text, Value::Null, now_ms(), &more)
        }
        Event::Get { event, .. } => json_download(event),
        Event::FirstContact { .. }
        | Event::Stats(_)
        | Event::Denied { .. }
        | Event::NextAttempt { .. }
        | Event::Udp { .. }
        | Event::Network(_)
        | Event::Ended(_) => String::new(),
    }
}

fn json_presence(time_ms: u64, joined: &[String], left: &[String]) -> String {
    let joined = joined.iter().map(|name| ("joined", name));
    let left = left.iter().map(|name| ("left", name));
    let lines = joined.chain(left);
    lines
        .map(|(what, name)| event_line(what, name, "", Value::Null, time_ms, &json!({})))
        .collect()
}

fn json_download(event: &GetEvent) -> String {
    match event {
        GetEvent::Done(report) => {
            let more = json!({
                "download": GetLine::from(report),
                "target": report.target.to_string_lossy(),
            });
            event_line("downloaded", "", &report.file, Value::Null, now_ms(), &more)
        }
        GetEvent::Failed { file, error } => {
            let text = format!("{}: {error}", printable(file));
            let code = ControlError::NoSuchFile.code();
            let missing = matches!(error, ClientError::NoSuchFile(_));
            let more = if missing {
                json!({"code": code})
            } else {
                json!({})
            };
            event_line("error", "", &text, Value::Null, now_ms(), &more)
        }
        GetEvent::StartsOver { .. }
        | GetEvent::Skipped { .. }
        | GetEvent::Progress(_)
        | GetEvent::Finished => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> View {
        View {
            json: false,
            name: "me".to_owned(),
        }
    }

    #[test]
    fn lines_become_commands() {
        let requests = AtomicU32::new(1);
        let said = understand("hello there\n", &requests);
        assert!(matches!(said, Ok(Some(Command::Say(text))) if text == "hello there"));
        let got = understand("/get a file\n", &requests);
        assert!(
            matches!(got, Ok(Some(Command::Get { request: 1, names, .. })) if names == ["a file"])
        );
        assert!(matches!(
            understand("/disconnect", &requests),
            Ok(Some(Command::Finish))
        ));
        assert!(matches!(understand("\n", &requests), Ok(None)));
        assert!(matches!(understand("/help", &requests), Err(Told::Help)));
        assert!(matches!(
            understand("/nonsense", &requests),
            Err(Told::Error(_))
        ));
    }

    #[test]
    fn events_are_objects_of_one_line() {
        let event = Event::Message {
            sequence: 7,
            time_ms: 9,
            from: "al".to_owned(),
            text: "a\nb\"".to_owned(),
        };
        let text = json_lines(&event);
        assert_eq!(text.lines().count(), 1);
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            value,
            json!({"event": "message", "from": "al", "text": "a\nb\"", "sequence": 7, "time": 9})
        );
        assert_eq!(view().plain_lines(&event), "al: a ⏎ b\"\n");
    }

    #[test]
    fn presence_is_a_line_for_each_name() {
        let event = Event::Presence {
            time_ms: 5,
            joined: vec!["a".to_owned(), "b".to_owned()],
            left: vec!["c".to_owned()],
        };
        assert_eq!(
            view().plain_lines(&event),
            "* a joined\n* b joined\n* c left\n"
        );
        let events: Vec<Value> = json_lines(&event)
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(events.len(), 3);
        assert_eq!(events[2]["event"], "left");
        assert_eq!(events[2]["from"], "c");
    }
}
