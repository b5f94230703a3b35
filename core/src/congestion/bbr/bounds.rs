//! What congestion has taught: upper bounds that are probed again, lower ones that are short-lived.

use super::scale;

/// Share kept when congestion is met (`Beta`, draft-ietf-ccwg-bbr, section 2.7).
pub(super) const BETA: f64 = 0.7;

/// Share of the maximum bandwidth that a standing queue alone may reduce it to.
const STANDING: f64 = 0.85;

/// Rounds over which what is delivered is averaged.
const FOLLOWING: u64 = 4;

/// Share of `inflight_hi` used while not probing: the *headroom* of 15 % is left to others
/// (`Headroom`, section 2.7).
const HEADROOM_LEFT: f64 = 0.85;

/// See the [module](self). `None` = unbounded.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bounds {
    pub(super) bw_lo: Option<u64>,
    pub(super) inflight_lo: Option<u64>,
    pub(super) inflight_hi: Option<u64>,
}

impl Bounds {
    /// A round with congestion: the lower bounds follow what was still delivered, but fall by no
    /// more than [`BETA`] (`BBRAdaptLowerBounds`, section 5.5.10.3).
    pub(super) fn lower_bw(&mut self, bw: u64, bw_latest: u64) {
        let bw_lo = self.bw_lo.unwrap_or(bw);
        self.bw_lo = Some(bw_latest.max(scale(bw_lo, BETA)));
    }

    /// A queue that stands without loss says that all together believe in more than there is: what
    /// is delivered counts, on average and within [`STANDING`] of the maximum.
    pub(super) fn follow_bw(&mut self, max_bw: u64, bw_latest: u64) {
        let followed = bw_latest.max(scale(max_bw, STANDING));
        let bw_lo = self.bw_lo.unwrap_or(max_bw);
        self.bw_lo = Some(bw_lo - bw_lo / FOLLOWING + followed / FOLLOWING);
    }

    /// The same for what may be in flight.
    pub(super) fn lower_inflight(&mut self, cwnd: u64, inflight_latest: u64) {
        let inflight_lo = self.inflight_lo.unwrap_or(cwnd);
        self.inflight_lo = Some(inflight_latest.max(scale(inflight_lo, BETA)));
    }

    /// Before probing, the short-lived bounds are dropped.
    pub(super) fn drop_lower(&mut self) {
        self.bw_lo = None;
        self.inflight_lo = None;
    }

    /// The most that may be in flight: all of `inflight_hi` while probing, with headroom otherwise,
    /// but no less than `floor`, which keeps the path busy without a queue.
    pub(super) fn inflight(&self, probing: bool, floor: u64) -> u64 {
        let hi = self.inflight_hi.map_or(u64::MAX, |hi| {
            if probing {
                hi.max(floor)
            } else {
                scale(hi, HEADROOM_LEFT).max(floor)
            }
        });
        if probing {
            hi
        } else {
            hi.min(self.inflight_lo.unwrap_or(u64::MAX))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_fall_by_three_tenths_at_most() {
        let mut bounds = Bounds::default();
        bounds.lower_bw(1_000, 100);
        bounds.lower_inflight(5_000, 4_900);
        assert_eq!((bounds.bw_lo, bounds.inflight_lo), (Some(700), Some(4_900)));
        bounds.lower_bw(1_000, 650);
        bounds.lower_inflight(5_000, 100);
        assert_eq!((bounds.bw_lo, bounds.inflight_lo), (Some(650), Some(3_430)));
        bounds.drop_lower();
        assert_eq!(bounds.inflight(true, 0), u64::MAX);
    }

    #[test]
    fn headroom_is_fifteen_percent_not_eighty_five() {
        let bounds = Bounds {
            inflight_hi: Some(1_000),
            ..Bounds::default()
        };
        assert_eq!(bounds.inflight(true, 0), 1_000);
        assert_eq!(bounds.inflight(false, 0), 850);
        assert_eq!(bounds.inflight(false, 900), 900);
    }
}
