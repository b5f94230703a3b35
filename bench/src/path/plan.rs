//! What is measured, in which order, and how long it takes about.

use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use super::aims::AIMS;
use super::course::{Course, Over, Place};
use super::repeated::{Repeated, Runs, repeat};
use super::sharing::{self, Case};
use super::{PathArgs, RowName, matrix, whole};
use crate::progress::Progress;
use crate::saved::Saved;

/// Starting and ending processes.
const AROUND: Duration = Duration::from_millis(1_500);
/// Where nobody asks for another path, several flows and many small files travel on this one.
const USUAL_RATE_MBIT: f64 = 100.0;
const USUAL_RTT: Duration = Duration::from_millis(50);
/// Where reordering is to be survived.
const REORDER_RTT: Duration = Duration::from_millis(200);
/// Less is nothing.
const SOMETHING_MBIT: f64 = 0.01;
const QUEUES_BDP: [f64; 3] = [1.0, 2.0, 5.0];

/// One thing to measure.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// One flow.
    Flow(RowName, Over, Course),
    /// One file as a whole; the share of the bound that it is to have.
    Whole(Over, Course, u64, Option<f64>),
    /// One flow on a clean path and on one with reordering.
    Reorder(RowName, Over, Course),
    /// Many files, then one of their size.
    SmallFiles(Over, Course, u64, u64),
    /// Several flows.
    Sharing(Case, Over, Course),
}

/// A flow with reordering beside one without.
#[derive(Debug, Serialize)]
struct ReorderRow {
    #[serde(flatten)]
    place: Place,
    reorder_ms: f64,
    clean_mbit: f64,
    goodput_mbit: f64,
    /// With reordering ÷ without; absent where nothing came without.
    clean_share: Option<f64>,
}

impl Step {
    pub(super) fn estimate(&self, args: &PathArgs) -> Duration {
        let running = match self {
            Self::Flow(..) => args.watched(),
            Self::Reorder(..) => 2 * args.watched() + AROUND,
            Self::Whole(_, course, bytes, _) => {
                whole::estimate(course, *bytes).unwrap_or(Duration::MAX / 2)
            }
            Self::SmallFiles(_, course, files, bytes) => {
                let once = whole::estimate(course, files * bytes).unwrap_or(Duration::MAX / 8);
                2 * once + 2 * AROUND
            }
            Self::Sharing(case, ..) => case.estimate(),
        };
        (running + AROUND) * u32::try_from(args.runs).unwrap_or(u32::MAX)
    }

    pub(super) fn describe(&self) -> String {
        match self {
            Self::Flow(row, over, course) => {
                format!(
                    "{} over the {}: {}",
                    row.name(),
                    over.name(),
                    course.describe()
                )
            }
            Self::Whole(over, course, bytes, _) => format!(
                "{} MB over the {}: {}",
                bytes / 1_000_000,
                over.name(),
                course.describe()
            ),
            Self::Reorder(row, over, course) => format!(
                "{} over the {}, without reordering and with it: {}",
                row.name(),
                over.name(),
                course.describe()
            ),
            Self::SmallFiles(over, course, files, _) => {
                format!(
                    "{files} files over the {}: {}",
                    over.name(),
                    course.describe()
                )
            }
            Self::Sharing(case, over, course) => {
                let what = match case {
                    Case::Together(flows) => format!("{flows} flows together"),
                    Case::LateComer(late) => format!("one {late:?} late"),
                    Case::BesideCubic => format!("CUBIC beside, queue {} BDP", course.queue_bdp),
                };
                format!("{what} over the {}: {}", over.name(), course.describe())
            }
        }
    }

    /// Measures it, shows and keeps the row.
    pub(super) fn run(
        &self,
        args: &PathArgs,
        saved: &mut Saved,
        progress: &Progress,
    ) -> Result<()> {
        let quiet = Progress::new(true);
        let (runs, json) = (args.runs, args.json);
        match self {
            Self::Flow(row, over, course) => {
                let measure =
                    |course: &_| matrix::measure(*row, *over, course, args.watched(), progress);
                let row = repeat(runs, course, |row| row.ratio, measure)?;
                show(saved, json, &row, matrix::table_row)
            }
            Self::Whole(over, course, bytes, wanted) => {
                let measure = |course: &_| whole::one(*over, course, *bytes, *wanted, &quiet);
                let row = repeat(runs, course, |row| row.ratio, measure)?;
                show(saved, json, &row, whole::describe)
            }
            Self::Reorder(row, over, course) => {
                let measure = |course: &_| reorder(args, *row, *over, course, progress);
                let share = |row: &ReorderRow| row.clean_share.unwrap_or(0.0);
                let row = repeat(runs, course, share, measure)?;
                show(saved, json, &row, ReorderRow::describe)
            }
            Self::SmallFiles(over, course, files, bytes) => {
                let measure = |course: &_| whole::small(*over, course, *files, *bytes, &quiet);
                let row = repeat(runs, course, |row| row.bulk_share, measure)?;
                show(saved, json, &row, whole::describe_small)
            }
            Self::Sharing(case, over, course) => {
                let measure = |course: &_| case.measure(*over, course);
                let judged = |row: &sharing::Row| row.cubic_share.unwrap_or(row.jain);
                let row = repeat(runs, course, judged, measure)?;
                show(saved, json, &row, sharing::describe)
            }
        }
    }
}

/// Shows and keeps a row.
fn show<T: Serialize>(
    saved: &mut Saved,
    json: bool,
    row: &Repeated<T>,
    describe: fn(&T) -> String,
) -> Result<()> {
    let spread = || row.spread.map_or_else(String::new, Runs::describe);
    saved.show(row, json, || describe(&row.row) + &spread())
}

impl ReorderRow {
    fn describe(&self) -> String {
        let share = self
            .clean_share
            .map_or_else(String::new, |share| format!(": {share:.3} of it"));
        format!(
            "{} a tenth {} ms late: {:.2} Mbit/s, clean {:.2} Mbit/s{share}",
            self.place, self.reorder_ms, self.goodput_mbit, self.clean_mbit,
        )
    }
}

fn reorder(
    args: &PathArgs,
    row: RowName,
    over: Over,
    course: &Course,
    progress: &Progress,
) -> Result<ReorderRow> {
    let clean = Course {
        reorder: None,
        ..*course
    };
    let without = matrix::measure(row, over, &clean, args.watched(), progress)?;
    let with = matrix::measure(row, over, course, args.watched(), progress)?;
    Ok(ReorderRow {
        place: Place::new("reorder", row.name(), over, course),
        reorder_ms: course.reorder.unwrap_or_default().as_secs_f64() * 1e3,
        clean_mbit: without.goodput_mbit,
        goodput_mbit: with.goodput_mbit,
        clean_share: (without.goodput_mbit > SOMETHING_MBIT)
            .then(|| with.goodput_mbit / without.goodput_mbit),
    })
}

/// Everything that was asked for. Row by row on each path: what comes next to each other is what is compared.
pub(super) fn steps(args: &PathArgs) -> Vec<Step> {
    let mut steps = Vec::new();
    if args.has_part(super::Part::Matrix) {
        matrix_steps(args, &mut steps);
    }
    let ours = args.has_row(RowName::Columba);
    if args.has_part(super::Part::Whole) && ours {
        whole_steps(args, &mut steps);
    }
    if args.has_part(super::Part::Reorder) {
        reorder_steps(args, &mut steps);
    }
    if args.has_part(super::Part::SmallFiles) && ours {
        for over in args.carriers() {
            let course = args.usual_course();
            steps.push(Step::SmallFiles(over, course, args.files, args.file_size));
        }
    }
    if args.has_part(super::Part::Sharing) && ours {
        sharing_steps(args, &mut steps);
    }
    steps
}

fn matrix_steps(args: &PathArgs, steps: &mut Vec<Step>) {
    for rate_mbit in args.rates() {
        for rtt in args.rtts() {
            for loss in args.losses() {
                let course = args.course(rate_mbit, rtt, loss);
                for over in args.carriers() {
                    for row in args.rows_over(over) {
                        steps.push(Step::Flow(row, over, course));
                    }
                }
            }
        }
    }
}

fn whole_steps(args: &PathArgs, steps: &mut Vec<Step>) {
    for over in args.carriers() {
        let Some(bytes) = args.size else {
            for aim in AIMS {
                let course = args.course(aim.rate_mbit, aim.rtt, aim.loss);
                steps.push(Step::Whole(over, course, aim.bytes, Some(aim.wanted)));
            }
            continue;
        };
        for rate_mbit in args.rates() {
            for rtt in args.rtts() {
                for loss in args.losses() {
                    let course = args.course(rate_mbit, rtt, loss);
                    steps.push(Step::Whole(over, course, bytes, None));
                }
            }
        }
    }
}

fn reorder_steps(args: &PathArgs, steps: &mut Vec<Step>) {
    for over in args.carriers() {
        let course = Course {
            reorder: Some(args.reorder),
            ..args.course(USUAL_RATE_MBIT, REORDER_RTT, 0.0)
        };
        for row in [RowName::Columba, RowName::Quinn] {
            if args.rows_over(over).contains(&row) {
                steps.push(Step::Reorder(row, over, course));
            }
        }
    }
}

fn sharing_steps(args: &PathArgs, steps: &mut Vec<Step>) {
    let course = args.usual_course();
    for over in args.carriers() {
        let cases = args.flows.iter().map(|flows| Case::Together(*flows));
        for case in cases.chain([Case::LateComer(args.late)]) {
            steps.push(Step::Sharing(case, over, course));
        }
        #[cfg(target_os = "linux")]
        if over == Over::Link {
            for queue_bdp in QUEUES_BDP {
                let course = Course {
                    queue_bdp,
                    ..course
                };
                steps.push(Step::Sharing(Case::BesideCubic, over, course));
            }
        }
    }
}

impl PathArgs {
    fn course(&self, rate_mbit: f64, rtt: Duration, loss: f64) -> Course {
        Course {
            rate_mbit,
            rtt,
            loss,
            queue_bdp: self.queue_bdp,
            reorder: None,
            seed: self.seed,
        }
    }

    /// The first of the paths that were asked for, or the usual one.
    fn usual_course(&self) -> Course {
        self.course(
            self.rate.first().copied().unwrap_or(USUAL_RATE_MBIT),
            self.rtt.first().copied().unwrap_or(USUAL_RTT),
            self.loss.first().copied().unwrap_or(0.0),
        )
    }
}
