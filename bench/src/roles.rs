//! The programs a process of ours can be when it was started by another of ours.
//!
//! The role comes in an environment variable, so that the arguments are exactly those of the program that is played.

use std::ffi::OsString;
use std::io::{BufRead, Write};
use std::process::ExitCode;

use serde::{Deserialize, Serialize};

use crate::{allocations, download, many, os, transports};

/// Which program to be.
pub(crate) const ROLE_VARIABLE: &str = "COLUMBA_BENCH_ROLE";
/// Set when the process is to have a session of its own.
pub(crate) const SESSION_VARIABLE: &str = "COLUMBA_BENCH_SESSION";

/// What a child process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// `columba-server`
    Server,
    /// `columba-loss-sim`
    LossSim,
    /// `columba`, any command that does not read standard input
    Client,
    /// `columba chat`, which does
    Chat,
    /// The client's engine without its command line: it tells its progress
    Download,
    /// Another transport's server or client
    Transport,
    /// Many such engines, which read standard input until they start
    Many,
}

impl Role {
    const ALL: [Self; 7] = [
        Self::Server,
        Self::LossSim,
        Self::Client,
        Self::Chat,
        Self::Download,
        Self::Transport,
        Self::Many,
    ];

    /// How the environment says it.
    pub(crate) const fn id(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::LossSim => "loss-sim",
            Self::Client => "client",
            Self::Chat => "chat",
            Self::Download => "download",
            Self::Transport => "transport",
            Self::Many => "many",
        }
    }

    /// The program's name, as it stands in a list of processes.
    pub(crate) const fn program(self) -> &'static str {
        match self {
            Self::Server => "columba-server",
            Self::LossSim => "columba-loss-sim",
            Self::Client | Self::Chat => "columba",
            Self::Download => "columba-download",
            Self::Transport => "columba-bench-transport",
            Self::Many => "columba-many",
        }
    }

    fn from_environment() -> Option<Self> {
        let id = std::env::var_os(ROLE_VARIABLE)?;
        Self::ALL.into_iter().find(|role| id == role.id())
    }
}

/// Plays the role this process was started for; `None` when a person started it.
pub(crate) fn play(arguments: &[OsString]) -> Option<ExitCode> {
    let role = Role::from_environment()?;
    if std::env::var_os(SESSION_VARIABLE).is_some() {
        os::begin_session();
    }
    if role != Role::Chat && role != Role::Many {
        end_with_parent();
    }
    Some(match role {
        Role::Server => columba_server::program::main(columba_server::config::Cli::from_process()),
        Role::LossSim => columba_loss_sim::cli::run(arguments.iter().cloned()),
        Role::Client | Role::Chat => columba_client::cli::main(),
        Role::Download => download::main(arguments),
        Role::Transport => transports::role::main(arguments),
        Role::Many => many::role::main(arguments),
    })
}

/// What a process has used so far; the answer to [`USAGE_QUESTION`].
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Usage {
    /// CPU time of all threads.
    pub(crate) cpu_seconds: f64,
    /// Heap allocations of all threads.
    pub(crate) allocations: u64,
    /// Most memory it had at once (`VmHWM`); 0 where the system does not tell.
    #[serde(default)]
    pub(crate) peak_bytes: u64,
}

impl Usage {
    /// That of this process.
    pub(crate) fn now() -> Self {
        Self {
            cpu_seconds: os::cpu_time().as_secs_f64(),
            allocations: allocations::count(),
            peak_bytes: os::peak_memory_bytes(),
        }
    }
}

/// A line on standard input that asks how much the process has used.
pub(crate) const USAGE_QUESTION: &str = "usage";

/// Standard input is a pipe from our parent: when it ends, the parent is gone, however that came about, and so must we.
/// This works on every system and for every way to die. Meanwhile it carries [`USAGE_QUESTION`]s.
pub(crate) fn end_with_parent() {
    let watch = || {
        for line in std::io::stdin().lock().lines() {
            match line {
                Ok(line) if line == USAGE_QUESTION => answer_usage(),
                Ok(_) => {}
                Err(_) => break,
            }
        }
        std::process::exit(1);
    };
    // Without the thread all works but the promise to end with the parent.
    let _ = std::thread::Builder::new()
        .name("parent".to_owned())
        .spawn(watch);
}

fn answer_usage() {
    if let Ok(line) = serde_json::to_string(&Usage::now()) {
        let mut out = std::io::stdout().lock();
        // The parent asks no more when it is gone.
        let _ = writeln!(out, "{line}").and_then(|()| out.flush());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_told_apart() {
        for (index, role) in Role::ALL.iter().enumerate() {
            assert!(
                Role::ALL[..index]
                    .iter()
                    .all(|other| other.id() != role.id())
            );
        }
    }
}
