//! The two processes of a transport: one that serves, one that fetches and tells how it went.

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::{Arrived, Ready, Source, Spec};
use crate::report;
use crate::roles::Usage;

/// What the fetching process tells at its end.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) bytes: u64,
    /// From the first packet, handshakes included, to the last byte.
    pub(crate) seconds: f64,
    pub(crate) usage: Usage,
}

/// What it tells before, when it is watched.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct ArrivedLine {
    pub(crate) arrived: u64,
}

#[derive(Serialize)]
struct ReadyLine {
    event: &'static str,
    #[serde(flatten)]
    ready: Ready,
}

/// Plays the server or the client, as the only argument says.
pub(crate) fn main(arguments: &[OsString]) -> ExitCode {
    match play(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report::complain(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn play(arguments: &[OsString]) -> Result<()> {
    let spec = arguments.get(1).and_then(|spec| spec.to_str());
    let spec: Spec = serde_json::from_str(spec.context("there is no specification")?)?;
    let transport = spec.kind.transport().context("this build lacks the row")?;
    let Some(server) = &spec.server else {
        let source = Source::open(&spec.source)?;
        return transport.serve(&spec, source, &|ready| {
            let event = "ready";
            report::print_json(&ReadyLine { event, ready })
        });
    };
    let started = Instant::now();
    let arrived = Arc::<Arrived>::default();
    if spec.watched {
        let arrived = Arc::clone(&arrived);
        std::thread::spawn(move || tell_progress(&arrived));
    }
    let fetched = transport.fetch(&spec, server, &arrived)?;
    let seconds = started.elapsed().as_secs_f64();
    report::print_json(&Outcome {
        bytes: fetched.bytes,
        seconds: fetched.seconds.unwrap_or(seconds),
        usage: Usage::now(),
    })
}

/// Goes on until nobody listens, or the process ends.
fn tell_progress(arrived: &Arrived) {
    const INTERVAL: Duration = Duration::from_millis(20);
    loop {
        let line = ArrivedLine {
            arrived: arrived.load(Ordering::Relaxed),
        };
        if report::print_json(&line).is_err() {
            return;
        }
        std::thread::sleep(INTERVAL);
    }
}
