//! The time, for the model: the system's, or one that stands still for pictures.

use std::sync::{Arc, Mutex, PoisonError};

use columba_core::units::Timestamp;
use columba_net::clock::Clock;

use crate::local_time;
use crate::model::calendar::Moment;

/// Reads the clocks.
#[derive(Clone, Debug)]
pub enum Watch {
    /// The real ones.
    Real(Clock),
    /// One that is set by hand, so that pictures are the same on every day.
    Hand(Arc<Mutex<Moment>>),
}

impl Watch {
    pub(super) fn moment(&self) -> Moment {
        match self {
            Self::Real(clock) => local_time::moment(*clock),
            Self::Hand(moment) => *moment.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        match self {
            Self::Real(clock) => clock.now(),
            Self::Hand(_) => self.moment().now,
        }
    }
}
