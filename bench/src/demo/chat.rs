//! Two users who chat and whisper, and how long each message takes from one to the other.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hdrhistogram::Histogram;
use serde_json::Value;

use crate::processes::{Heard, Launch, ProcessId};
use crate::report::Percentiles;
use crate::roles::Role;
use crate::session::Session;
use crate::stage::{PATIENCE, Stage};

const NAMES: [&str; 2] = ["ada", "grace"];
/// Of each eight messages the last two, one of each user, are whispers.
const WHISPER_CYCLE: u64 = 8;
/// How often a user asks who is there.
const ASK_EVERY: Duration = Duration::from_millis(200);
/// Longer ones count as this long.
const MAX_LATENCY_US: u64 = 3_600_000_000;
const PHRASES: [&str; 6] = [
    "is it as slow for you as for me?",
    "not at all, it just goes on",
    "half of what I say should be lost by now",
    "only the packets, and they come again",
    "how far is the big file?",
    "look at the bar",
];

/// Two users in the chat.
#[derive(Debug)]
pub(crate) struct Conversation {
    users: [ProcessId; 2],
    sent: u64,
    /// Messages on their way, by number: when they were sent, and to whom.
    pending: HashMap<u64, (Instant, ProcessId)>,
    latency_us: Histogram<u64>,
}

/// A message that has arrived.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) number: u64,
    pub(crate) text: String,
    pub(crate) latency: Duration,
}

/// A conversation that is over.
#[derive(Debug)]
pub(crate) struct Transcript {
    pub(crate) sent: u64,
    pub(crate) delivered: u64,
    pub(crate) latency: Percentiles,
}

impl Conversation {
    /// Two clients join; returns when each can be heard.
    pub(crate) fn join(session: &Session, stage: &mut Stage) -> Result<Self> {
        let mut start = |name: &str| {
            let arguments =
                session.client_arguments(stage, name, &["-n", name, "chat", "--json"])?;
            stage.start(&Launch {
                role: Role::Chat,
                name: &format!("client of {name}"),
                arguments,
            })
        };
        let users = [start(NAMES[0])?, start(NAMES[1])?];
        let deadline = Instant::now() + PATIENCE;
        let mut ask_at = Instant::now();
        loop {
            let now = Instant::now();
            if now >= deadline {
                bail!("the users did not get into the chat within {PATIENCE:?}");
            }
            if now >= ask_at {
                ask_at = now + ASK_EVERY;
                stage.process(users[0]).say("/users")?;
            }
            match stage.next(ask_at)? {
                Some(Heard::Line { from, text, .. }) if from == users[0] && lists_all(&text) => {
                    break;
                }
                Some(Heard::Closed { from }) if users.contains(&from) => {
                    let process = stage.process(from);
                    bail!(
                        "the {} did not get into the chat{}",
                        process.name(),
                        process.last_words()
                    );
                }
                Some(_) | None => {}
            }
        }
        Ok(Self {
            users,
            sent: 0,
            pending: HashMap::new(),
            latency_us: Histogram::new_with_bounds(1, MAX_LATENCY_US, 3)
                .context("these are bounds")?,
        })
    }

    /// Messages sent so far.
    pub(crate) const fn sent(&self) -> u64 {
        self.sent
    }

    /// Whether a process is one of the users.
    pub(crate) fn has(&self, id: ProcessId) -> bool {
        self.users.contains(&id)
    }

    /// One user says something to all, or now and then to the other alone.
    pub(crate) fn speak(&mut self, stage: &mut Stage) -> Result<()> {
        let number = self.sent;
        let speaker = usize::from(number % 2 == 1);
        let listener = 1 - speaker;
        let phrase = PHRASES
            .iter()
            .cycle()
            .nth(usize::try_from(number).unwrap_or(0) % PHRASES.len());
        let text = format!("{} [{number}]", phrase.unwrap_or(&""));
        let line = if number % WHISPER_CYCLE < WHISPER_CYCLE - 2 {
            text
        } else {
            format!("/whisper {} {text}", NAMES[listener])
        };
        // Before it is written, so that the pipe's time counts.
        self.pending
            .insert(number, (Instant::now(), self.users[listener]));
        self.sent += 1;
        stage.process(self.users[speaker]).say(&line)
    }

    /// A user's client wrote a line; was it the other's message?
    pub(crate) fn hear(&mut self, from: ProcessId, at: Instant, line: &str) -> Option<Arrived> {
        let event: Value = serde_json::from_str(line).ok()?;
        let kind = event["event"].as_str()?;
        if kind != "message" && kind != "whisper" {
            return None;
        }
        let text = event["text"].as_str()?;
        let number: u64 = text.rsplit_once('[')?.1.strip_suffix(']')?.parse().ok()?;
        let (sent, listener) = *self.pending.get(&number)?;
        if from != listener {
            // Everybody hears their own messages, too.
            return None;
        }
        self.pending.remove(&number);
        let latency = at.saturating_duration_since(sent);
        self.latency_us
            .saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
        let speaker = event["from"].as_str().unwrap_or_default();
        let manner = if kind == "whisper" { " (whispers)" } else { "" };
        Some(Arrived {
            number,
            text: format!("{speaker}{manner}: {text}"),
            latency,
        })
    }

    /// Waits for what is on its way, then both leave.
    pub(crate) fn leave(mut self, stage: &mut Stage) -> Result<Transcript> {
        let deadline = Instant::now() + PATIENCE;
        while !self.pending.is_empty() {
            match stage.next(deadline)? {
                Some(Heard::Line { from, at, text }) => {
                    self.hear(from, at, &text);
                }
                Some(Heard::Closed { .. } | Heard::Signal(_)) => {}
                None => break,
            }
        }
        for user in self.users {
            stage.process(user).close_input();
            stage.process(user).expect_success(PATIENCE)?;
        }
        Ok(Transcript {
            sent: self.sent,
            delivered: self.latency_us.len(),
            latency: Percentiles::of_micros(&self.latency_us),
        })
    }
}

/// Whether a line is the answer to `/users`, with both users in it.
fn lists_all(line: &str) -> bool {
    let event: Value = serde_json::from_str(line).unwrap_or_default();
    event["event"] == "users" && NAMES.iter().all(|name| line.contains(name))
}

impl Transcript {
    /// What is wrong with it.
    pub(crate) fn problems(&self) -> Option<String> {
        (self.delivered != self.sent)
            .then(|| format!("of {} messages {} arrived", self.sent, self.delivered))
    }
}
