//! The highest rate whose 99th percentile stays below a bound.

use std::time::Duration;

use anyhow::Result;

use super::{ChatArgs, Contender, Outcome, Plan, gather, look_around, row_of, show};
use crate::progress::Progress;
use crate::stage::Stage;

/// The search ends when the best rate and the lowest that fails are so close.
const PRECISION: f64 = 1.05;
/// Rates beyond are not tried.
const MAX_RATE: f64 = 1e6;
/// Below, a service does not hold the bound at all.
const MIN_RATE: f64 = 1.0;

/// Searches for each contender and shows the run at its best rate.
pub(super) fn run(
    stage: &mut Stage,
    args: &ChatArgs,
    bound: Duration,
    plan: Plan,
    contenders: &[Contender],
    progress: &Progress,
) -> Result<bool> {
    let mut ok = true;
    for contender in contenders {
        let name = contender.name();
        let found = search(plan.rate, |rate| {
            // Everybody joins anew, so that no earlier failure is still in some queue.
            let plan = Plan { rate, ..plan };
            let mut load = gather(stage, &contender.service, plan)?;
            let outcome = load.run(&mut || look_around(stage));
            // At too high a rate a service may well hang up.
            let outcome = match outcome {
                Err(error) if error.is::<crate::stage::Interrupted>() => return Err(error),
                Err(error) => {
                    progress.say(&format!("{name}: {rate:.0} messages/s: {error:#}"));
                    return Ok(None);
                }
                Ok(outcome) => outcome,
            };
            let p99 = Duration::from_nanos(outcome.latency.value_at_quantile(0.99));
            let held = p99 <= bound && outcome.delivered == outcome.expected;
            progress.say(&format!(
                "{name}: {rate:.0} messages/s: p99 {p99:?}{}",
                if held { "" } else { ", too much" }
            ));
            Ok(held.then_some(outcome))
        })?;
        match found {
            Some((rate, outcome)) => {
                let plan = Plan { rate, ..plan };
                show(&row_of(args, plan, &contender.service, &outcome), args.json)?;
            }
            None => {
                ok = false;
                crate::report::complain(&format!(
                    "error: {name} does not hold a 99th percentile of {bound:?} at any rate"
                ));
            }
        }
    }
    Ok(ok)
}

/// Doubles or halves the rate until it fails or holds, then halves what lies between.
fn search(
    start: f64,
    mut attempt: impl FnMut(f64) -> Result<Option<Outcome>>,
) -> Result<Option<(f64, Outcome)>> {
    let mut best: Option<(f64, Outcome)> = None;
    let mut fails: Option<f64> = None;
    let mut rate = start.round().max(MIN_RATE);
    loop {
        match attempt(rate)? {
            Some(outcome) => best = Some((rate, outcome)),
            None => fails = Some(rate),
        }
        rate = match (&best, fails) {
            (Some((best, _)), Some(fails)) if fails / best <= PRECISION => break,
            (Some((best, _)), Some(fails)) => (best * fails).sqrt().round(),
            (Some((best, _)), None) if *best >= MAX_RATE => break,
            (Some((best, _)), None) => best * 2.0,
            (None, Some(fails)) if fails <= MIN_RATE => break,
            (None, Some(fails)) => (fails / 2.0).round().max(MIN_RATE),
            (None, None) => break,
        };
        let tried = |known: f64| (rate - known).abs() < 0.5;
        if best.as_ref().is_some_and(|(best, _)| tried(*best)) || fails.is_some_and(tried) {
            break;
        }
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use super::*;
    use columba_server::hlog;

    fn found(start: f64, limit: f64) -> Option<f64> {
        let outcome = || Outcome {
            sent: 0,
            delivered: 0,
            expected: 0,
            seconds: 0.0,
            latency: hlog::empty().unwrap(),
            last_recipient: hlog::empty().unwrap(),
            cut_off: 0,
        };
        let held = |rate: f64| Ok((rate <= limit).then(outcome));
        search(start, held).unwrap().map(|(rate, _)| rate)
    }

    #[test]
    fn the_highest_rate_is_found_from_above_and_below() {
        for (start, limit) in [
            (100.0, 7_300.0),
            (20_000.0, 7_300.0),
            (1.0, 1.0),
            (100.0, 100.0),
        ] {
            let rate = found(start, limit).unwrap();
            assert!(rate <= limit && rate * 1.06 >= limit, "{rate} for {limit}");
        }
        assert_eq!(found(50.0, 0.0), None);
    }
}
