//! How much had arrived when.

/// Seconds since some start, and bytes that had arrived by then; both never go back.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Samples(Vec<(f64, u64)>);

impl Samples {
    pub(crate) fn push(&mut self, seconds: f64, bytes: u64) {
        self.0.push((seconds, bytes));
    }

    /// When the first bytes had arrived.
    pub(crate) fn first_bytes(&self) -> Option<f64> {
        self.0
            .iter()
            .find(|(_, bytes)| *bytes > 0)
            .map(|(at, _)| *at)
    }

    /// From the first bytes to the last sample; `None` when nothing came.
    pub(crate) fn span(&self) -> Option<(f64, f64)> {
        Some((self.first_bytes()?, self.0.last()?.0))
    }

    /// Bytes that had arrived by then, with a straight line between samples.
    fn bytes_at(&self, seconds: f64) -> f64 {
        let after = self.0.partition_point(|(at, _)| *at <= seconds);
        let before = after.checked_sub(1).and_then(|index| self.0.get(index));
        match (before, self.0.get(after)) {
            (None, _) => 0.0,
            (Some((_, bytes)), None) => *bytes as f64,
            (Some((from, low)), Some((to, high))) => {
                let share = (seconds - from) / (to - from).max(1e-9);
                *low as f64 + share * high.saturating_sub(*low) as f64
            }
        }
    }

    /// Megabits a second between two times.
    pub(crate) fn mbit_between(&self, from: f64, to: f64) -> f64 {
        let bytes = self.bytes_at(to) - self.bytes_at(from);
        bytes * 8.0 / 1e6 / (to - from).max(1e-9)
    }
}

/// Jain's index of fairness: 1 when all have the same, 1/n when one has everything.
pub(crate) fn jain(shares: &[f64]) -> f64 {
    let sum: f64 = shares.iter().sum();
    let squares: f64 = shares.iter().map(|share| share * share).sum();
    if squares <= 0.0 {
        return 0.0;
    }
    sum * sum / (shares.len() as f64 * squares)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_between_samples() {
        let mut samples = Samples::default();
        for (at, bytes) in [(1.0, 0), (2.0, 1_000_000), (4.0, 1_500_000)] {
            samples.push(at, bytes);
        }
        assert_eq!(samples.first_bytes(), Some(2.0));
        for (from, to, mbit) in [
            (1.0, 2.0, 8.0),
            (2.0, 3.0, 2.0),
            (0.0, 4.0, 3.0),
            (3.0, 9.0, 2.0 / 6.0),
        ] {
            let seen = samples.mbit_between(from, to);
            assert!((seen - mbit).abs() < 1e-9, "{from} to {to}: {seen}");
        }
        assert!(Samples::default().mbit_between(0.0, 1.0).abs() < 1e-9);
    }

    #[test]
    fn fairness_has_its_bounds() {
        assert!((jain(&[3.0, 3.0, 3.0]) - 1.0).abs() < 1e-9);
        assert!((jain(&[5.0, 0.0]) - 0.5).abs() < 1e-9);
        assert!(jain(&[]).abs() < 1e-9);
    }
}
