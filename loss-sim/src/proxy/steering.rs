//! Changing the impairments of a path in use.

use std::collections::BTreeMap;

use tracing::error;

use crate::Nanos;
use crate::impairments::Impairments;
use crate::knobs::{self, ChangeError};
use crate::path::{Direction, Path};
use crate::payload::Payload;

/// Changes what is named in both directions, or nothing.
pub(crate) fn change<P: Payload>(
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
pub(crate) fn impair<P: Payload>(
    path: &mut Path<P>,
    now: Nanos,
    direction: Direction,
    impairments: Impairments,
) {
    if let Err(error) = path.link_mut(direction).set_impairments(now, impairments) {
        error!("{}-{error}", direction.name());
    }
}
