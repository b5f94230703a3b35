//! The highest rate whose 99th percentile stays below a bound.
//!
//! Near the bound one run says little: it may hold or not by the machine's mood. So a rate holds when two of at most three
//! runs do; the last one that did must then hold the bound in three further runs taken together, and is lowered until it
//! does. The number of runs is bounded.

use std::time::Duration;

use anyhow::{Context, Result};

use super::{ChatArgs, Contender, Outcome, Plan, describe, gather, look_around, row_of};
use crate::progress::Progress;
use crate::saved::Saved;
use crate::stage::Stage;

/// The search ends when the best rate and the lowest that fails are so close; so much lower is what was not confirmed.
const PRECISION: f64 = 1.1;
/// A rate holds, or fails, when so many runs say so.
const MAJORITY: usize = 2;
/// Runs that confirm a rate, taken together.
const CONFIRMING: usize = 3;
/// Rates that are tried at most, and confirmations.
const MAX_RATES: usize = 24;
const MAX_CONFIRMATIONS: usize = 6;
/// Rates beyond are not tried.
const MAX_RATE: f64 = 1e6;
/// Below, a service does not hold the bound at all.
const MIN_RATE: f64 = 1.0;

/// What is looked for.
pub(super) struct Search<'a> {
    pub(super) args: &'a ChatArgs,
    pub(super) bound: Duration,
    pub(super) plan: Plan,
    pub(super) progress: &'a Progress,
}

/// What was found: a rate that held, and the lowest that did not.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Found {
    holds: f64,
    fails: Option<f64>,
}

impl Search<'_> {
    /// Searches for each contender and shows the runs that confirmed its best rate.
    pub(super) fn run(
        &self,
        stage: &mut Stage,
        contenders: &mut [Contender],
        saved: &mut Saved,
    ) -> Result<bool> {
        let mut ok = true;
        for contender in contenders {
            let found = search(self.plan.rate, |rate| self.holds(stage, contender, rate))?;
            let confirmed = match found {
                Some(found) => self.confirm(stage, contender, found)?,
                None => None,
            };
            let Some(found) = confirmed else {
                ok = false;
                crate::report::complain(&format!(
                    "error: {} does not hold a 99th percentile of {:?} at any rate",
                    contender.name(),
                    self.bound
                ));
                continue;
            };
            let plan = Plan {
                rate: found.holds,
                ..self.plan
            };
            let outcome = contender.outcomes.as_ref().context("it was confirmed")?;
            let mut row = row_of(self.args, plan, &contender.service, outcome);
            row.runs = u32::try_from(CONFIRMING).unwrap_or(u32::MAX);
            row.p99_bound_us = Some(self.bound.as_secs_f64() * 1e6);
            row.too_high_rate = found.fails;
            saved.show(&row, self.args.json, || describe(&row))?;
        }
        Ok(ok)
    }

    /// Whether most runs at this rate stay below the bound.
    fn holds(&self, stage: &mut Stage, contender: &Contender, rate: f64) -> Result<bool> {
        let (mut held, mut failed) = (0, 0);
        while held < MAJORITY && failed < MAJORITY {
            let outcome = self.attempt(stage, contender, rate)?;
            if outcome.is_some_and(|outcome| self.is_held(&outcome)) {
                held += 1;
            } else {
                failed += 1;
            }
        }
        Ok(held == MAJORITY)
    }

    /// Lowers the rate until several runs taken together hold the bound; they become the contender's outcome.
    fn confirm(
        &self,
        stage: &mut Stage,
        contender: &mut Contender,
        mut found: Found,
    ) -> Result<Option<Found>> {
        for _ in 0..MAX_CONFIRMATIONS {
            contender.outcomes = None;
            for _ in 0..CONFIRMING {
                match self.attempt(stage, contender, found.holds)? {
                    Some(outcome) => contender.add(outcome)?,
                    None => break,
                }
            }
            let all = contender.outcomes.as_ref();
            if all.is_some_and(|all| self.is_held(all)) {
                return Ok(Some(found));
            }
            found = Found {
                holds: (found.holds / PRECISION).floor(),
                fails: Some(found.holds),
            };
            if found.holds < MIN_RATE {
                break;
            }
        }
        Ok(None)
    }

    fn is_held(&self, outcome: &Outcome) -> bool {
        p99(outcome) <= self.bound && outcome.delivered == outcome.expected
    }

    /// Plays the plan once; `None` when the service hung up.
    fn attempt(
        &self,
        stage: &mut Stage,
        contender: &Contender,
        rate: f64,
    ) -> Result<Option<Outcome>> {
        let name = contender.name();
        let plan = Plan { rate, ..self.plan };
        // Everybody joins anew, so that no earlier failure is still in some queue.
        let mut load = gather(stage, &contender.service, plan)?;
        let outcome = match load.run(&mut || look_around(stage)) {
            Err(error) if error.is::<crate::stage::Interrupted>() => return Err(error),
            // At too high a rate a service may well hang up.
            Err(error) => {
                let line = format!("{name}: {rate:.0} messages/s: {error:#}");
                self.progress.say(&line);
                return Ok(None);
            }
            Ok(outcome) => outcome,
        };
        let verdict = if self.is_held(&outcome) {
            ""
        } else {
            ", too much"
        };
        let p99 = p99(&outcome);
        let line = format!("{name}: {rate:.0} messages/s: p99 {p99:?}{verdict}");
        self.progress.say(&line);
        Ok(Some(outcome))
    }
}

fn p99(outcome: &Outcome) -> Duration {
    Duration::from_nanos(outcome.latency.value_at_quantile(0.99))
}

/// Doubles or halves the rate until it fails or holds, then halves what lies between.
fn search(start: f64, mut holds: impl FnMut(f64) -> Result<bool>) -> Result<Option<Found>> {
    let (mut best, mut fails): (Option<f64>, Option<f64>) = (None, None);
    let mut rate = start.round().max(MIN_RATE);
    for _ in 0..MAX_RATES {
        if holds(rate)? {
            best = Some(rate);
        } else {
            fails = Some(rate);
        }
        rate = match (best, fails) {
            (Some(best), Some(fails)) if fails / best <= PRECISION => break,
            (Some(best), Some(fails)) => (best * fails).sqrt().round(),
            (Some(best), None) if best >= MAX_RATE => break,
            (Some(best), None) => best * 2.0,
            (None, Some(fails)) if fails <= MIN_RATE => break,
            (None, Some(fails)) => (fails / 2.0).round().max(MIN_RATE),
            (None, None) => break,
        };
        let tried = |known: f64| (rate - known).abs() < 0.5;
        if best.is_some_and(tried) || fails.is_some_and(tried) {
            break;
        }
    }
    Ok(best.map(|holds| Found { holds, fails }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(start: f64, limit: f64) -> Option<Found> {
        search(start, |rate| Ok(rate <= limit)).expect("it cannot fail")
    }

    #[test]
    fn the_highest_rate_is_found_from_above_and_below() {
        for (start, limit) in [
            (100.0, 7_300.0),
            (20_000.0, 7_300.0),
            (1.0, 1.0),
            (100.0, 100.0),
        ] {
            let found = found(start, limit).expect("there is one");
            let (holds, fails) = (found.holds, found.fails.expect("others fail"));
            assert!(holds <= limit && fails > limit, "{found:?} for {limit}");
            // Rates are whole: beside 1 there is only 2.
            assert!(
                fails / holds <= PRECISION || fails - holds <= 1.0,
                "{found:?}"
            );
        }
        assert_eq!(found(50.0, 0.0), None);
    }

    #[test]
    fn the_search_ends_whatever_happens() {
        let mut tries = 0;
        let flicker = |_| {
            tries += 1;
            Ok(tries % 2 == 0)
        };
        search(1_000.0, flicker).expect("it cannot fail");
        assert!(tries <= MAX_RATES, "{tries} tries");
    }
}
