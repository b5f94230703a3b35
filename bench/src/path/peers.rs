//! Other transports over the relay. They tell nothing while they run: what had arrived when is what the path delivered,
//! scaled to the bytes that came in the end.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use columba_loss_sim::proxy::Proxy;
use serde::Deserialize;

use super::course::{Course, Road};
use super::matrix::Seen;
use super::samples::Samples;
use crate::content;
use crate::processes::{Heard, Launch};
use crate::roles::Role;
use crate::session::arguments;
use crate::stage::Stage;
use crate::transports::role::Outcome;
use crate::transports::{Kind, Ready, Spec};

const PAYLOAD_LIMIT: u16 = 1472;
/// One that is this many times slower than the path allows is not waited for.
const PATIENCE: u32 = 2;
/// Share of delivered UDP payload that is file, where a transport did not come to its end: 1440 of 1472 bytes.
const PAYLOAD_SHARE: f64 = 0.978;
const TURN: Duration = Duration::from_millis(20);

/// Fetches as much as the path can carry in that time.
pub(super) fn watch(kind: Kind, course: &Course, lasting: Duration) -> Result<Seen> {
    let mut stage = Stage::new(None)?;
    let source = stage.path("source.bin");
    let megabits = course.erasure_bound_mbit() * lasting.as_secs_f64();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "some gigabytes, not negative"
    )]
    let bytes = (megabits * 1e6 / 8.0) as u64;
    content::write_sparse(&source, bytes, course.seed)?;
    let mut spec = Spec {
        kind,
        payload_limit: PAYLOAD_LIMIT,
        source,
        bytes,
        files: 1,
        server: None,
    };
    let asked = arguments([serde_json::to_string(&spec)?]);
    let (server, ready) = stage.start_serving(Role::Transport, kind.row(), asked)?;
    let mut ready = Ready::deserialize(&ready)?;
    let proxy = Proxy::spawn(&course.proxy(ready.address))?;
    ready.address = proxy.address();
    spec.server = Some(ready);
    let road = Road::Relay(proxy);
    let seen = fetch(&mut stage, &spec, &road, lasting * PATIENCE)?;
    stage.process(server).terminate();
    Ok(seen)
}

fn fetch(stage: &mut Stage, spec: &Spec, road: &Road, limit: Duration) -> Result<Seen> {
    let start = Instant::now();
    let client = stage.start(&Launch {
        role: Role::Transport,
        name: spec.kind.row(),
        arguments: arguments([serde_json::to_string(spec)?]),
    })?;
    let (mut history, mut outcome) = (Vec::new(), None);
    while start.elapsed() < limit {
        history.push((start.elapsed().as_secs_f64(), road.down()));
        match stage.next(Instant::now() + TURN)? {
            Some(Heard::Line { from, text, .. }) if from == client => {
                let told: Outcome = serde_json::from_str(&text)
                    .with_context(|| format!("{} said {text:?}", spec.kind.row()))?;
                outcome = Some(told);
                break;
            }
            Some(Heard::Closed { from }) if from == client => {
                stage
                    .process(client)
                    .expect_success(crate::stage::PATIENCE)?;
                break;
            }
            Some(_) | None => {}
        }
    }
    stage.process(client).kill();
    let last = history.last().map_or(0, |(_, stats)| stats.delivered_bytes);
    let share = outcome.map_or(PAYLOAD_SHARE, |told| told.bytes as f64 / last.max(1) as f64);
    let mut samples = Samples::default();
    for (seconds, stats) in &history {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a part of some gigabytes"
        )]
        let bytes = (stats.delivered_bytes as f64 * share) as u64;
        samples.push(*seconds, bytes);
    }
    Ok(Seen {
        samples,
        history,
        packets: None,
    })
}
