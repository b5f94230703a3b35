//! Many downloading clients in one process: each with a key, a connection and an association of its own.

use std::ffi::OsString;
use std::io::BufRead;
use std::process::ExitCode;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Barrier};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use columba_client::engine::Engine;
use columba_client::engine::message::{Command, EngineConfig, Event, GetEvent, Security};
use columba_net::identity::Identity;
use serde::{Deserialize, Serialize};

use crate::download::{Order, engine_config};
use crate::report;

/// The line on standard input that lets them start.
pub(super) const GO: &str = "go";

/// What to do.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ManyOrder {
    pub(super) order: Order,
    pub(super) clients: usize,
}

/// What the process tells.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub(super) enum ManyTold {
    /// All clients are connected.
    Ready,
    /// A client has its file.
    Got {
        bytes: u64,
        seconds: f64,
        blake3: String,
    },
    /// A client could not have it.
    Failed { error: String },
    /// No client is left.
    Done,
}

/// Plays the role.
pub(crate) fn main(arguments: &[OsString]) -> ExitCode {
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report::complain(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[OsString]) -> Result<()> {
    let order = arguments.get(1).and_then(|order| order.to_str());
    let order: ManyOrder = serde_json::from_str(order.context("there is no order")?)?;
    // All clients, and this thread.
    let start = Arc::new(Barrier::new(order.clients + 1));
    let (told, heard) = channel();
    for _ in 0..order.clients {
        let mut config = engine_config(&order.order)?;
        if let Security::Tls { identity, .. } = &mut config.security {
            *identity = Identity::generate().context("no key can be made")?;
        }
        let (names, told, start) = (order.order.names.clone(), told.clone(), Arc::clone(&start));
        std::thread::Builder::new()
            .name("client".to_owned())
            .spawn(move || client(config, names, &start, &told))
            .context("cannot start a thread")?;
    }
    drop(told);
    for _ in 0..order.clients {
        match heard.recv().context("a client is gone")? {
            ManyTold::Ready => {}
            ManyTold::Failed { error } => bail!("a client cannot connect: {error}"),
            ManyTold::Got { .. } | ManyTold::Done => bail!("a client began too early"),
        }
    }
    report::print_json(&ManyTold::Ready)?;
    wait_for_go()?;
    start.wait();
    for outcome in heard {
        report::print_json(&outcome)?;
    }
    report::print_json(&ManyTold::Done)
}

/// From then on the process ends with its parent, as all roles do.
fn wait_for_go() -> Result<()> {
    let mut line = String::new();
    let mut input = std::io::stdin().lock();
    input.read_line(&mut line).context("cannot read")?;
    if line.trim() != GO {
        bail!("the parent is gone");
    }
    drop(input);
    crate::roles::end_with_parent();
    Ok(())
}

fn client(config: EngineConfig, names: Vec<String>, start: &Barrier, told: &Sender<ManyTold>) {
    // Whoever listened no more would have ended this process.
    let tell = |what| drop(told.send(what));
    match connected(config) {
        Ok(engine) => {
            tell(ManyTold::Ready);
            start.wait();
            tell(download(&engine, names).unwrap_or_else(|error| failed(&error)));
        }
        Err(error) => tell(failed(&error)),
    }
}

fn failed(error: &anyhow::Error) -> ManyTold {
    ManyTold::Failed {
        error: format!("{error:#}"),
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "what else an engine tells is of no interest here"
)]
fn connected(config: EngineConfig) -> Result<Engine> {
    let engine = Engine::start(config, Vec::new()).context("cannot start the network engine")?;
    loop {
        match engine.events().recv().context("the engine has failed")? {
            Event::Welcome { .. } => return Ok(engine),
            Event::Ended(ended) => {
                ended?;
                bail!("the connection ended");
            }
            _ => {}
        }
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "what else an engine tells is of no interest here"
)]
fn download(engine: &Engine, names: Vec<String>) -> Result<ManyTold> {
    let began = Instant::now();
    let get = Command::Get {
        request: 1,
        names,
        target: None,
    };
    engine.commands().send(get)?;
    loop {
        match engine.events().recv().context("the engine has failed")? {
            Event::Get { event, .. } => match event {
                GetEvent::Done(file) => {
                    return Ok(ManyTold::Got {
                        bytes: file.bytes,
                        seconds: began.elapsed().as_secs_f64(),
                        blake3: blake3::Hash::from_bytes(file.blake3).to_hex().to_string(),
                    });
                }
                GetEvent::Failed { error, .. } => return Err(error.into()),
                GetEvent::Progress(_)
                | GetEvent::StartsOver { .. }
                | GetEvent::Skipped { .. }
                | GetEvent::Finished => {}
            },
            Event::Ended(ended) => {
                ended?;
                bail!("the connection ended");
            }
            _ => {}
        }
    }
}
