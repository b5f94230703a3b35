//! Now, as the model wants it: on a clock that never goes back, since the epoch, and on the wall.

use std::time::{SystemTime, UNIX_EPOCH};

use columba_net::clock::Clock;

use crate::model::calendar::Moment;

/// Now; `clock` is the one that a window keeps for its whole life.
#[must_use]
pub fn moment(clock: Clock) -> Moment {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Moment {
        now: clock.now(),
        unix_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
        utc_offset_s: chrono::Local::now().offset().local_minus_utc(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::calendar::LocalTime;

    #[test]
    fn the_wall_shows_the_systems_time() {
        let moment = moment(Clock::new());
        let shown = LocalTime::at(moment.unix_ms, moment.utc_offset_s);
        assert!(shown.day.year >= 2024, "{shown:?}");
        assert!(moment.utc_offset_s.abs() <= 14 * 3600);
    }
}
