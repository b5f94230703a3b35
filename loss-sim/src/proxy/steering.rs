//! Changing the impairments of a path in use.

use std::collections::BTreeMap;

use tracing::{error, info};

use crate::Nanos;
use crate::impairments::Impairments;
use crate::knobs::{self, ChangeError};
use crate::path::{Direction, Path};
use crate::payload::Payload;
use crate::proxy::handle::{Command, Mailbox};
use crate::proxy::report::PathReport;
use crate::scenario::{Rebind, Scenario};

/// What a handle asks of the loop itself.
#[derive(Debug)]
pub(crate) enum Wish {
    /// End.
    Stop,
    /// Move all clients.
    Rebind(Rebind),
}

/// Does what handles have asked for, up to the next thing that is the loop's. Call it until it gives `None`.
pub(crate) fn obey<P: Payload>(mailbox: &Mailbox, path: &mut Path<P>, now: Nanos) -> Option<Wish> {
    while let Ok(command) = mailbox.commands.try_recv() {
        match command {
            Command::Stop => return Some(Wish::Stop),
            Command::Rebind(kind) => return Some(Wish::Rebind(kind)),
            Command::Impair(direction, impairments) => impair(path, now, direction, *impairments),
            Command::Change(settings, reply) => {
                // Whoever asked may have given up meanwhile.
                let _ = reply.send(change(path, now, &settings));
            }
        }
    }
    None
}

/// Takes the steps of a scenario that are due, up to the next that moves clients. Call it until it gives `None`.
pub(crate) fn follow<P: Payload>(
    scenario: Option<&mut Scenario>,
    path: &mut Path<P>,
    now: Nanos,
) -> Option<Rebind> {
    let scenario = scenario?;
    while let Some(step) = scenario.poll_step(now) {
        info!("scenario: the step at {:?}", step.at);
        impair(path, now, Direction::Up, step.up.clone());
        impair(path, now, Direction::Down, step.down.clone());
        if step.rebind.is_some() {
            return step.rebind;
        }
    }
    None
}

/// The counters of both directions.
pub(crate) fn report_of<P: Payload>(path: &Path<P>) -> PathReport {
    PathReport {
        up: *path.up.stats(),
        down: *path.down.stats(),
    }
}

/// Changes what is named in both directions, or nothing.
fn change<P: Payload>(
    path: &mut Path<P>,
    now: Nanos,
    settings: &BTreeMap<String, String>,
) -> Result<(), ChangeError> {
    let mut up = path.up.impairments().clone();
    let mut down = path.down.impairments().clone();
    knobs::change(settings, &mut up, &mut down)?;
    impair(path, now, Direction::Up, up);
    impair(path, now, Direction::Down, down);
    Ok(())
}

/// Changes one direction to impairments that have been validated.
fn impair<P: Payload>(
    path: &mut Path<P>,
    now: Nanos,
    direction: Direction,
    impairments: Impairments,
) {
    if let Err(error) = path.link_mut(direction).set_impairments(now, impairments) {
        error!("{}-{error}", direction.name());
    }
}
