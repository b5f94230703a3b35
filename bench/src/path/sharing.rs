//! Several flows on one path: how evenly they share it, how soon a late-comer has its share, and what a TCP CUBIC flow
//! keeps beside one.

use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use super::columba::Flows;
use super::course::{Course, Over};
use super::samples::{Samples, jain};
use super::{Carrier, PathArgs, show};
use crate::progress::Progress;

/// Flows that start together.
const TOGETHER: u16 = 4;
/// How long flows run that are to converge.
const LASTING: Duration = Duration::from_secs(25);
/// Over so many seconds at the end shares are compared.
const COMPARED: f64 = 10.0;
/// When the late-comer starts.
const LATE: Duration = Duration::from_secs(8);
/// The late-comer has its share when it has so much of it over a second.
const NEARLY: f64 = 0.8;
/// Loss of the second course: flows that can't see the queue by it must find their share all the same.
const LOSSES: [f64; 2] = [0.0, 0.02];
const QUEUES_BDP: [f64; 3] = [1.0, 2.0, 5.0];

/// How several flows went.
#[derive(Debug, Serialize)]
struct Row {
    workload: &'static str,
    row: &'static str,
    over: &'static str,
    flows: u16,
    rate_mbit: f64,
    rtt_ms: f64,
    loss: f64,
    queue_bdp: f64,
    /// What all brought together in the last seconds.
    total_mbit: f64,
    /// Of the erasure bound.
    ratio: f64,
    /// Jain's index in the last seconds.
    jain: f64,
    /// Seconds after its first bytes until a late-comer had its share; absent if it never had, or none was late.
    share_after_seconds: Option<f64>,
    /// What the CUBIC flow kept, of what both brought.
    cubic_share: Option<f64>,
}

pub(super) fn run(args: &PathArgs, progress: &Progress) -> Result<()> {
    let (Some(rate_mbit), Some(rtt)) =
        (args.rates().first().copied(), args.rtts().first().copied())
    else {
        return Ok(());
    };
    let course = Course {
        rate_mbit,
        rtt,
        loss: 0.0,
        queue_bdp: args.queue_bdp,
        seed: args.seed,
    };
    if args.goes_over(Carrier::Relay) {
        for loss in LOSSES {
            let course = Course { loss, ..course };
            progress.say(&format!(
                "{TOGETHER} flows, then a late one, at {} % loss",
                100.0 * loss
            ));
            tell(args, &together(&course)?)?;
            tell(args, &late_comer(&course)?)?;
        }
    }
    #[cfg(target_os = "linux")]
    if args.goes_over(Carrier::Link) {
        for queue_bdp in QUEUES_BDP {
            progress.say(&format!("beside TCP CUBIC, queue of {queue_bdp} BDP"));
            tell(
                args,
                &beside_cubic(&Course {
                    queue_bdp,
                    ..course
                })?,
            )?;
        }
    }
    Ok(())
}

fn tell(args: &PathArgs, row: &Row) -> Result<()> {
    show(row, args.json, || {
        let late = row.share_after_seconds;
        let late = match late {
            Some(seconds) => format!(", the late one had its share after {seconds:.1} s"),
            None if row.row == "late-comer" => ", the late one never had its share".to_owned(),
            None => String::new(),
        };
        let cubic = row.cubic_share.map_or_else(String::new, |share| {
            format!(", CUBIC kept {:.0} %", 100.0 * share)
        });
        format!(
            "{:<12} {} flows over the {}, {} Mbit/s {} ms {} % loss, queue {} BDP: {:.1} % of the bound together, Jain's \
             index {:.3}{late}{cubic}",
            row.row,
            row.flows,
            row.over,
            row.rate_mbit,
            row.rtt_ms,
            100.0 * row.loss,
            row.queue_bdp,
            100.0 * row.ratio,
            row.jain
        )
    })
}

/// A row of what flows brought in the last seconds.
fn compare(row: &'static str, over: Over, course: &Course, samples: &[Samples]) -> Row {
    let ends = samples.iter().filter_map(Samples::span).map(|(_, end)| end);
    let end = ends.fold(f64::INFINITY, f64::min);
    let shares: Vec<f64> = samples
        .iter()
        .map(|flow| flow.mbit_between(end - COMPARED, end))
        .collect();
    let total_mbit = shares.iter().sum();
    Row {
        workload: "path",
        row,
        over: over.name(),
        flows: u16::try_from(samples.len()).unwrap_or(u16::MAX),
        rate_mbit: course.rate_mbit,
        rtt_ms: course.rtt.as_secs_f64() * 1e3,
        loss: course.loss,
        queue_bdp: course.queue_bdp,
        total_mbit,
        ratio: total_mbit / course.erasure_bound_mbit(),
        jain: jain(&shares),
        share_after_seconds: None,
        cubic_share: None,
    }
}

fn together(course: &Course) -> Result<Row> {
    let mut flows = Flows::prepare(Over::Relay, course, LASTING)?;
    for _ in 0..TOGETHER {
        flows.add(Duration::ZERO);
    }
    let samples = flows.run(LASTING, &mut |_, _| {})?;
    Ok(compare("together", Over::Relay, course, &samples))
}

fn late_comer(course: &Course) -> Result<Row> {
    let mut flows = Flows::prepare(Over::Relay, course, LASTING)?;
    flows.add(Duration::ZERO);
    flows.add(LATE);
    let samples = flows.run(LASTING, &mut |_, _| {})?;
    let mut row = compare("late-comer", Over::Relay, course, &samples);
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

    const HEAD_START: Duration = Duration::from_secs(5);
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
    let mut row = compare("beside-cubic", Over::Link, course, &samples);
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
}
