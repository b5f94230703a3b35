//! The time, for the model: monotonic, on the wall, and how far local time is from UTC.

use std::time::{SystemTime, UNIX_EPOCH};

use columba_core::units::Timestamp;
use columba_net::clock::Clock;

use crate::model::calendar::Moment;

/// Reads the clocks.
#[derive(Clone, Copy, Debug)]
pub(super) enum Watch {
    /// The real ones.
    Real(Clock),
    /// One that stands still, so that pictures are the same on every day.
    Still(Moment),
}

impl Watch {
    pub(super) fn moment(&self) -> Moment {
        match self {
            Self::Real(clock) => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH);
                let unix_ms = since.map_or(0, |since| {
                    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
                });
                Moment {
                    now: clock.now(),
                    unix_ms,
                    utc_offset_s: utc_offset_s(unix_ms / 1000),
                }
            }
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

/// Seconds that local time is ahead of UTC at this time.
#[cfg(unix)]
fn utc_offset_s(unix_s: u64) -> i32 {
    let Ok(time) = libc::time_t::try_from(unix_s) else {
        return 0;
    };
    let mut local = std::mem::MaybeUninit::<libc::tm>::zeroed();
    // SAFETY: both pointers are valid for the call, and `tm` is valid when all its bytes are zero.
    let found = unsafe { libc::localtime_r(&raw const time, local.as_mut_ptr()) };
    if found.is_null() {
        return 0;
    }
    // SAFETY: as above; `localtime_r` has filled it.
    let local = unsafe { local.assume_init() };
    i32::try_from(local.tm_gmtoff).unwrap_or(0)
}

/// Elsewhere times are shown in UTC.
#[cfg(not(unix))]
const fn utc_offset_s(_unix_s: u64) -> i32 {
    0
}
