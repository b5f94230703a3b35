//! Several flows on one path: how evenly they share it, how soon a late-comer has its share, and what a TCP CUBIC flow
//! keeps beside one. Each flow is a client process of its own.

use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use super::columba::Flows;
use super::course::{Course, Over, Place};
use super::samples::{Samples, jain};

/// How long flows run that are to converge.
pub(super) const LASTING: Duration = Duration::from_secs(30);
/// Over so many seconds at the end shares are compared.
const COMPARED: f64 = 10.0;
/// The late-comer has its share when it has so much of it over a second.
const NEARLY: f64 = 0.8;
/// How long the CUBIC flow is alone.
pub(super) const HEAD_START: Duration = Duration::from_secs(5);

/// How several flows went.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    #[serde(flatten)]
    place: Place,
    flows: u16,
    /// What all brought together in the last seconds.
    total_mbit: f64,
    /// Of the erasure bound.
    ratio: f64,
    /// Jain's index in the last seconds.
    pub(super) jain: f64,
    /// The smallest and the largest flow's rate ÷ an equal share, in the last seconds.
    least_share: f64,
    largest_share: f64,
    /// Seconds after its first bytes until a late-comer had its share; absent if it never had, or none was late.
    share_after_seconds: Option<f64>,
    /// A late-comer's rate ÷ an equal share, in the last seconds.
    late_share: Option<f64>,
    /// What the CUBIC flow kept, of what both brought while both ran.
    pub(super) cubic_share: Option<f64>,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Case {
    /// So many flows that start together.
    Together(u16),
    /// One flow, and one that comes later.
    LateComer(Duration),
    /// One flow beside TCP CUBIC.
    BesideCubic,
}

impl Case {
    pub(super) const fn row(self) -> &'static str {
        match self {
            Self::Together(_) => "together",
            Self::LateComer(_) => "late-comer",
            Self::BesideCubic => "beside-cubic",
        }
    }

    pub(super) fn estimate(self) -> Duration {
        match self {
            Self::Together(_) => LASTING,
            Self::LateComer(late) => late + LASTING,
            Self::BesideCubic => HEAD_START + LASTING,
        }
    }

    pub(super) fn measure(self, over: Over, course: &Course) -> Result<Row> {
        match self {
            Self::Together(flows) => together(over, course, flows),
            Self::LateComer(late) => late_comer(over, course, late),
            #[cfg(target_os = "linux")]
            Self::BesideCubic => beside_cubic(course),
            #[cfg(not(target_os = "linux"))]
            Self::BesideCubic => anyhow::bail!("links need Linux"),
        }
    }
}

pub(super) fn describe(row: &Row) -> String {
    let late = match (row.share_after_seconds, row.late_share) {
        (Some(seconds), Some(share)) => {
            format!(
                ", the late one had its share after {seconds:.1} s and {share:.2} of it at the end"
            )
        }
        (None, Some(share)) => {
            format!(", the late one never had its share, {share:.2} of it at the end")
        }
        (_, None) => String::new(),
    };
    let cubic = row.cubic_share.map_or_else(String::new, |share| {
        format!(", CUBIC kept {:.0} %", 100.0 * share)
    });
    format!(
        "{} queue {} BDP, {} flows: {:.1} % of the bound together, Jain's index {:.3} (shares {:.2} to {:.2}){late}{cubic}",
        row.place,
        row.place.queue_bdp,
        row.flows,
        100.0 * row.ratio,
        row.jain,
        row.least_share,
        row.largest_share
    )
}

/// A row of what flows brought in the last seconds.
fn compare(case: Case, over: Over, course: &Course, samples: &[Samples]) -> Row {
    let ends = samples.iter().filter_map(Samples::span).map(|(_, end)| end);
    let end = ends.fold(f64::INFINITY, f64::min);
    let rates: Vec<f64> = samples
        .iter()
        .map(|flow| flow.mbit_between(end - COMPARED, end))
        .collect();
    let total_mbit: f64 = rates.iter().sum();
    let equal = total_mbit / rates.len().max(1) as f64;
    let shares = rates.iter().map(|rate| rate / equal.max(1e-9));
    let late_share = match case {
        Case::LateComer(_) => shares.clone().next_back(),
        Case::Together(_) | Case::BesideCubic => None,
    };
    Row {
        place: Place::new("sharing", case.row(), over, course),
        flows: u16::try_from(samples.len()).unwrap_or(u16::MAX),
        total_mbit,
        ratio: total_mbit / course.erasure_bound_mbit(),
        jain: jain(&rates),
        least_share: shares.clone().fold(f64::INFINITY, f64::min),
        largest_share: shares.fold(0.0, f64::max),
        share_after_seconds: None,
        late_share,
        cubic_share: None,
    }
}

fn together(over: Over, course: &Course, count: u16) -> Result<Row> {
    let mut flows = Flows::prepare(over, course, LASTING)?;
    for _ in 0..count {
        flows.add(Duration::ZERO);
    }
    let samples = flows.run(LASTING, &mut |_, _| {})?;
    Ok(compare(Case::Together(count), over, course, &samples))
}

fn late_comer(over: Over, course: &Course, late: Duration) -> Result<Row> {
    let lasting = late + LASTING;
    let mut flows = Flows::prepare(over, course, lasting)?;
    flows.add(Duration::ZERO);
    flows.add(late);
    let samples = flows.run(lasting, &mut |_, _| {})?;
    let mut row = compare(Case::LateComer(late), over, course, &samples);
    row.share_after_seconds = samples
        .last()
        .and_then(|late| reaches(late, NEARLY * course.erasure_bound_mbit() / 2.0));
    Ok(row)
}

/// Seconds after its first bytes until a flow has this rate over a second.
fn reaches(flow: &Samples, mbit: f64) -> Option<f64> {
    const STEP: f64 = 0.1;
    let (first, last) = flow.span()?;
    let mut end = first + 1.0;
    while end <= last {
        if flow.mbit_between(end - 1.0, end) >= mbit {
            return Some(end - first);
        }
        end += STEP;
    }
    None
}

#[cfg(target_os = "linux")]
fn beside_cubic(course: &Course) -> Result<Row> {
    use super::course::Road;
    use super::tcp::TcpFlow;

    let mut flows = Flows::prepare(Over::Link, course, LASTING)?;
    let Road::Link(link) = flows.road() else {
        anyhow::bail!("asked for a link");
    };
    let cubic = TcpFlow::start(link, "cubic")?;
    flows.add(HEAD_START);
    let mut beside = Samples::default();
    let mut samples = flows.run(LASTING, &mut |seconds, _| {
        beside.push(seconds, cubic.received());
    })?;
    let ours = samples.first().and_then(Samples::span);
    let share = ours.map(|(from, to)| {
        let ours = samples
            .first()
            .map_or(0.0, |flow| flow.mbit_between(from, to));
        let theirs = beside.mbit_between(from, to);
        theirs / (ours + theirs).max(1e-9)
    });
    samples.push(beside);
    let mut row = compare(Case::BesideCubic, Over::Link, course, &samples);
    row.cubic_share = share;
    Ok(row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_comer_has_its_share_when_it_has_it_for_a_second() {
        let mut flow = Samples::default();
        for tenths in 0..100_u32 {
            // Nothing for two seconds, then 1 Mbit/s, from the fifth on 8 Mbit/s.
            let bytes = match tenths {
                0..20 => 0,
                20..50 => u64::from(tenths - 19) * 12_500,
                _ => 387_500 + u64::from(tenths - 50) * 100_000,
            };
            flow.push(f64::from(tenths) / 10.0, bytes);
        }
        let after = reaches(&flow, 7.9).expect("it does");
        assert!((3.9..4.2).contains(&after), "{after}");
        assert_eq!(reaches(&flow, 9.0), None);
    }

    #[test]
    fn shares_are_those_of_the_end() {
        let flow = |mbit: u64| {
            let mut samples = Samples::default();
            for second in 0..=30_u64 {
                // Before the end all are alike.
                let before = second.min(20) * 125_000;
                let bytes = before + second.saturating_sub(20) * mbit * 125_000;
                samples.push(second as f64, bytes);
            }
            samples
        };
        let course = Course::clean_10_mbit();
        let case = Case::LateComer(Duration::from_secs(1));
        let row = compare(case, Over::Relay, &course, &[flow(6), flow(2)]);
        assert!((row.total_mbit - 8.0).abs() < 1e-6, "{row:?}");
        assert!((row.jain - 64.0 / 80.0).abs() < 1e-6, "{row:?}");
        assert!((row.late_share.expect("one was late") - 0.5).abs() < 1e-6);
        assert!((row.largest_share - 1.5).abs() < 1e-6, "{row:?}");
    }
}
