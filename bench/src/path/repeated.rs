//! A figure of a lossy path is one throw of dice: several runs, each with losses of its own, and the middle one of them.

use anyhow::Result;
use serde::Serialize;

use super::course::Course;

/// A row, and how far apart the runs were that it is the middle of.
#[derive(Debug, Serialize)]
pub(super) struct Repeated<T> {
    #[serde(flatten)]
    pub(super) row: T,
    /// Absent after a single run.
    #[serde(flatten)]
    pub(super) spread: Option<Runs>,
}

/// The figure that is judged, over all runs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Runs {
    runs: u64,
    least: f64,
    most: f64,
}

impl Runs {
    pub(super) fn describe(self) -> String {
        let Self { runs, least, most } = self;
        format!("; the middle of {runs} runs, {least:.3} to {most:.3}")
    }
}

/// Measures `runs` times, and gives the row whose `figure` is the middle one (the lower of two).
pub(super) fn repeat<T>(
    runs: u64,
    course: &Course,
    figure: impl Fn(&T) -> f64,
    mut measure: impl FnMut(&Course) -> Result<T>,
) -> Result<Repeated<T>> {
    let mut rows = Vec::new();
    for run in 0..runs.max(1) {
        let course = Course {
            seed: course.seed.wrapping_add(run),
            ..*course
        };
        rows.push(measure(&course)?);
    }
    rows.sort_by(|a, b| figure(a).total_cmp(&figure(b)));
    let (first, last) = (figure(&rows[0]), figure(&rows[rows.len() - 1]));
    let spread = (runs > 1).then_some(Runs {
        runs,
        least: first,
        most: last,
    });
    let row = rows.swap_remove((rows.len() - 1) / 2);
    Ok(Repeated { row, spread })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_run_counts_and_each_has_losses_of_its_own() {
        let course = Course::clean_10_mbit();
        let mut seeds = Vec::new();
        let mut figures = [0.9, 0.2, 0.8].into_iter();
        let repeated = repeat(
            3,
            &course,
            |figure: &f64| *figure,
            |course| {
                seeds.push(course.seed);
                Ok(figures.next().unwrap_or(f64::NAN))
            },
        )
        .expect("nothing fails");
        let (least, most) = (0.2, 0.9);
        let spread = Runs {
            runs: 3,
            least,
            most,
        };
        assert_eq!((repeated.row, repeated.spread), (0.8, Some(spread)));
        assert_eq!(seeds, [1, 2, 3]);
    }

    #[test]
    fn a_single_run_is_a_row_as_ever() {
        #[derive(Serialize)]
        struct Row {
            ratio: f64,
        }
        let course = Course::clean_10_mbit();
        let row = repeat(
            1,
            &course,
            |row: &Row| row.ratio,
            |_| Ok(Row { ratio: 0.5 }),
        );
        let row = row.and_then(|row| Ok(serde_json::to_string(&row)?));
        assert_eq!(row.ok().as_deref(), Some(r#"{"ratio":0.5}"#));
    }
}
