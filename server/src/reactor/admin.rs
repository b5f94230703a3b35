//! The operator's commands, one line each, over a socket in the state folder that only its owner can open.

use std::fmt::Write as _;

use columba_core::chat::printable;
use columba_core::control::ControlError;

use super::Reactor;
use crate::names::to_hex;

impl Reactor {
    /// Does what the line says, and answers.
    pub(super) fn on_admin(&mut self, line: &str) -> String {
        let line = line.trim();
        let (command, name) = line.split_once(' ').unwrap_or((line, ""));
        match command {
            "names" => self
                .names
                .list()
                .iter()
                .fold(String::new(), |mut out, record| {
                    // Writing to a String cannot fail.
                    let _ = writeln!(out, "{} {}", to_hex(&record.owner), printable(&record.name));
                    out
                }),
            "forget" if self.names.forget(name) => format!("the name {name} is free\n"),
            "forget" => format!("error: nobody owns the name {name}\n"),
            "kick" | "ban" => self.kick(name, command == "ban"),
            _ => "error: unknown command\n".to_owned(),
        }
    }

    fn kick(&mut self, name: &str, ban: bool) -> String {
        let Some((id, key)) = self.lobby.find(name) else {
            return format!("error: nobody called {name} is in the chat\n");
        };
        if let (true, Some(key)) = (ban, key) {
            self.access.ban(key);
        }
        let text = "the operator of this server ended your connection";
        self.clients.end(id, ControlError::KeyNotAuthorized, text);
        if ban && key.is_none() {
            return format!("{name} was disconnected; without TLS there is no key to ban\n");
        }
        format!(
            "{name} was {}\n",
            if ban { "banned" } else { "disconnected" }
        )
    }
}
