//! Rates over a moving window, and series over time that stay small.

use std::collections::VecDeque;
use std::time::Duration;

use columba_core::units::Timestamp;

/// How far back a rate looks.
const WINDOW: Duration = Duration::from_secs(5);
/// How often a sample of it is kept.
const SAMPLE_EVERY: Duration = Duration::from_millis(100);
/// Points of a series; when there are more, pairs become one and it keeps half as many a second.
const MAX_POINTS: usize = 240;

/// Bytes per second over the last seconds.
#[derive(Clone, Debug, Default)]
pub struct MovingRate {
    samples: VecDeque<(Timestamp, u64)>,
}

impl MovingRate {
    /// `bytes` have come in all by `now`.
    pub fn record(&mut self, now: Timestamp, bytes: u64) {
        let recent = self
            .samples
            .back()
            .is_some_and(|(at, _)| now - *at < SAMPLE_EVERY);
        if recent && self.samples.len() > 1 {
            return;
        }
        if self.samples.back().is_some_and(|(_, last)| *last > bytes) {
            self.samples.clear();
        }
        self.samples.push_back((now, bytes));
        // The oldest one that is still needed lies just before the window.
        while self
            .samples
            .get(1)
            .is_some_and(|(at, _)| now - *at >= WINDOW)
        {
            self.samples.pop_front();
        }
    }

    /// Bytes per second; `None` until there is something to compare.
    #[must_use]
    pub fn per_second(&self) -> Option<f64> {
        let ((first_at, first), (last_at, last)) = (self.samples.front()?, self.samples.back()?);
        let seconds = (*last_at - *first_at).as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "for display")]
        let bytes = (last - first) as f64;
        (seconds > 0.0).then(|| bytes / seconds)
    }

    /// How long `left_bytes` take at this rate; `None` when nothing moves.
    #[must_use]
    pub fn time_for(&self, left_bytes: u64) -> Option<Duration> {
        let rate = self.per_second().filter(|rate| *rate >= 1.0)?;
        #[expect(clippy::cast_precision_loss, reason = "for display")]
        Duration::try_from_secs_f64(left_bytes as f64 / rate).ok()
    }

    /// Begins anew: what comes after a pause says nothing about before.
    pub fn clear(&mut self) {
        self.samples.clear();
    }
}

/// A value over time in at most a few hundred points: the longer it lasts, the coarser it is.
#[derive(Clone, Debug)]
pub struct Series {
    start: Option<Timestamp>,
    step: Duration,
    /// Mean of each step; `None` where nothing was recorded.
    points: Vec<Option<f64>>,
    sum: f64,
    count: u32,
}

impl Default for Series {
    fn default() -> Self {
        Self::every(Duration::from_millis(500))
    }
}

impl Series {
    /// A series that begins with one point per `step`.
    #[must_use]
    pub const fn every(step: Duration) -> Self {
        Self {
            start: None,
            step,
            points: Vec::new(),
            sum: 0.0,
            count: 0,
        }
    }

    /// Records a value at `now`, which never lies before the last one.
    pub fn record(&mut self, now: Timestamp, value: f64) {
        let start = *self.start.get_or_insert(now);
        let mut index = self.index(now - start);
        while index >= MAX_POINTS {
            self.halve();
            index = self.index(now - start);
        }
        if index >= self.points.len() {
            self.points.resize(index + 1, None);
            (self.sum, self.count) = (0.0, 0);
        }
        self.sum += value;
        self.count += 1;
        self.points[index] = Some(self.sum / f64::from(self.count));
    }

    fn index(&self, since_start: Duration) -> usize {
        let steps = since_start.as_nanos() / self.step.as_nanos().max(1);
        usize::try_from(steps).unwrap_or(usize::MAX)
    }

    fn halve(&mut self) {
        self.step *= 2;
        self.points = self
            .points
            .chunks(2)
            .map(|pair| {
                let known: Vec<f64> = pair.iter().flatten().copied().collect();
                let count = u32::try_from(known.len()).unwrap_or(0);
                (count > 0).then(|| known.iter().sum::<f64>() / f64::from(count))
            })
            .collect();
        (self.sum, self.count) = match self.points.last() {
            Some(Some(mean)) => (*mean, 1),
            Some(None) | None => (0.0, 0),
        };
    }

    /// Whether nothing was recorded.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// Time between two points.
    #[must_use]
    pub const fn step(&self) -> Duration {
        self.step
    }

    /// The points from the start on; `None` where nothing was recorded.
    #[must_use]
    pub fn points(&self) -> &[Option<f64>] {
        &self.points
    }

    /// The last recorded value's step.
    #[must_use]
    pub fn last(&self) -> Option<f64> {
        self.points.iter().rev().flatten().next().copied()
    }

    /// The largest point.
    #[must_use]
    pub fn max(&self) -> Option<f64> {
        self.points.iter().flatten().copied().reduce(f64::max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::ZERO + Duration::from_millis(millis)
    }

    #[test]
    fn the_rate_follows_the_last_seconds() {
        let mut rate = MovingRate::default();
        assert_eq!(rate.per_second(), None);
        let mut bytes = 0;
        for tenth in 0..200u64 {
            bytes += if tenth < 100 { 1000 } else { 100 };
            rate.record(at(tenth * 100), bytes);
        }
        let now = rate.per_second().unwrap();
        assert!((950.0..1050.0).contains(&now), "{now}");
        let left = rate.time_for(10_000).unwrap();
        assert!((9..=11).contains(&left.as_secs()), "{left:?}");
        rate.record(at(20_000), 5);
        assert_eq!(rate.per_second(), None, "it starts over with the file");
    }

    #[test]
    fn a_stand_still_has_no_end() {
        let mut rate = MovingRate::default();
        for tenth in 0..100 {
            rate.record(at(tenth * 100), 7);
        }
        assert_eq!(rate.per_second(), Some(0.0));
        assert_eq!(rate.time_for(1), None);
    }

    #[test]
    fn a_series_stays_small_and_keeps_its_mean() {
        let mut series = Series::every(Duration::from_millis(100));
        for tenth in 0..100_000u64 {
            series.record(at(tenth * 100), if tenth % 2 == 0 { 1.0 } else { 3.0 });
        }
        assert!(series.points().len() <= MAX_POINTS);
        assert!(series.points().len() > MAX_POINTS / 3);
        assert!(series.points().iter().all(Option::is_some));
        let first = series.points()[0].unwrap();
        assert!((1.9..2.1).contains(&first), "{first}");
        assert!(series.max().unwrap() <= 3.0);
    }

    #[test]
    fn gaps_stay_gaps() {
        let mut series = Series::every(Duration::from_secs(1));
        series.record(at(0), 5.0);
        series.record(at(3000), 7.0);
        assert_eq!(series.points(), [Some(5.0), None, None, Some(7.0)]);
        assert_eq!(series.last(), Some(7.0));
        series.record(at(3500), 9.0);
        assert_eq!(series.last(), Some(8.0));
    }
}
