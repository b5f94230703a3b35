//! The time, for the model: the system's, or one that stands still for pictures.

use columba_core::units::Timestamp;
use columba_net::clock::Clock;

use crate::local_time;
use crate::model::calendar::Moment;

/// Reads the clocks.
#[derive(Clone, Copy, Debug)]
pub enum Watch {
    /// The real ones.
    Real(Clock),
    /// One that stands still, so that pictures are the same on every day.
    Still(Moment),
}

impl Watch {
    pub(super) fn moment(&self) -> Moment {
        match self {
            Self::Real(clock) => local_time::moment(*clock),
            Self::Still(moment) => *moment,
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        match self {
            Self::Real(clock) => clock.now(),
            Self::Still(moment) => moment.now,
        }
    }
}
