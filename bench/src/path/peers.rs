//! Other transports on a path: a server process and a client process that tells what has arrived.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use columba_loss_sim::proxy::Proxy;
use serde::Deserialize;
use serde_json::Value;

#[cfg(target_os = "linux")]
use columba_loss_sim::ip_link::Side;

#[cfg(target_os = "linux")]
use super::course::open_link;
use super::course::{Course, Over, Road};
use super::matrix::Seen;
use super::samples::Samples;
use crate::content;
use crate::processes::{Heard, Launch, ProcessId};
use crate::progress::Progress;
use crate::roles::Role;
use crate::session::arguments;
use crate::stage::Stage;
use crate::transports::role::ArrivedLine;
use crate::transports::{Kind, Ready, Spec};

const PAYLOAD_LIMIT: u16 = 1472;
/// The server sends this again and again.
const SOURCE_BYTES: u64 = 16 << 20;
/// How long one may take to bring its first bytes: handshakes may be lost.
const PATIENCE: Duration = Duration::from_secs(15);
const TURN: Duration = Duration::from_millis(20);

/// Fetches for so long after the first bytes. A flow that gave up brings nothing from then on.
pub(super) fn watch(
    kind: Kind,
    over: Over,
    course: &Course,
    lasting: Duration,
    progress: &Progress,
) -> Result<Seen> {
    let mut stage = Stage::new(None)?;
    let source = stage.path("source.bin");
    content::write_sparse(&source, SOURCE_BYTES, course.seed)?;
    // Twice as much as can pass: nobody is to come to its end.
    let megabits = 2.0 * course.rate_mbit * (lasting + PATIENCE).as_secs_f64();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "some gigabytes, not negative"
    )]
    let bytes = (megabits * 1e6 / 8.0) as u64;
    let mut spec = Spec::new(kind, PAYLOAD_LIMIT, source, bytes);
    let (road, server) = open(over, course, &mut stage, &mut spec)?;
    spec.watched = true;
    let seen = fetch(&mut stage, &spec, &road, lasting, progress)?;
    stage.process(server).kill();
    Ok(seen)
}

/// Starts the server behind a path; `spec` says then how to reach it.
fn open(
    over: Over,
    course: &Course,
    stage: &mut Stage,
    spec: &mut Spec,
) -> Result<(Road, ProcessId)> {
    match over {
        Over::Relay => {
            let (server, mut ready) = serve(stage, spec)?;
            let proxy = Proxy::spawn(&course.proxy(ready.address))?;
            ready.address = proxy.address();
            spec.server = Some(ready);
            Ok((Road::Relay(proxy), server))
        }
        #[cfg(target_os = "linux")]
        Over::Link => {
            let link = open_link(course)?;
            let right = link.end(Side::Right);
            spec.listen = right.ipv4().into();
            let served = right.run_inside(|| serve(stage, spec));
            let (server, ready) = served.context("cannot enter a namespace")??;
            spec.server = Some(ready);
            Ok((Road::Link(link), server))
        }
    }
}

fn serve(stage: &mut Stage, spec: &Spec) -> Result<(ProcessId, Ready)> {
    let asked = arguments([serde_json::to_string(spec)?]);
    let (server, ready) = stage.start_serving(Role::Transport, spec.kind.row(), asked)?;
    Ok((server, Ready::deserialize(&ready)?))
}

fn fetch(
    stage: &mut Stage,
    spec: &Spec,
    road: &Road,
    lasting: Duration,
    progress: &Progress,
) -> Result<Seen> {
    let launch = Launch {
        role: Role::Transport,
        name: spec.kind.row(),
        arguments: arguments([serde_json::to_string(spec)?]),
    };
    let start = Instant::now();
    let client = road.at_the_client(|| stage.start(&launch))??;
    let (mut history, mut samples) = (Vec::new(), Samples::default());
    let mut ends = None;
    let (mut last, mut gave_up) = (0, None);
    while start.elapsed() < ends.unwrap_or(PATIENCE) {
        history.push((start.elapsed().as_secs_f64(), road.down()));
        match stage.next(Instant::now() + TURN)? {
            Some(Heard::Line { from, at, text }) if from == client => {
                let told: Value = serde_json::from_str(&text)
                    .with_context(|| format!("{} said {text:?}", spec.kind.row()))?;
                let Ok(told) = ArrivedLine::deserialize(&told) else {
                    continue;
                };
                let seconds = at.saturating_duration_since(start).as_secs_f64();
                last = told.arrived;
                samples.push(seconds, last);
                let first = samples.first_bytes();
                ends = ends.or(first.map(|first| Duration::from_secs_f64(first) + lasting));
            }
            Some(Heard::Closed { from }) if from == client => {
                let words = stage.process(client).last_words();
                progress.say(&format!("{} gave up{words}", spec.kind.row()));
                gave_up = Some(words.replace("\n    | ", " ").trim().to_owned());
                let end = ends.unwrap_or(PATIENCE).as_secs_f64();
                samples.push(end, last);
                history.push((end, road.down()));
                break;
            }
            Some(_) | None => {}
        }
    }
    stage.process(client).kill();
    Ok(Seen {
        samples,
        history,
        packets: None,
        gave_up,
    })
}
