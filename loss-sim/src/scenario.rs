//! Timelines: impairments that change by themselves while the proxy runs.
//!
//! ```toml
//! repeat = "20s"            # optional: start over after this time
//!
//! [[step]]
//! at = "2s"                 # since the start
//! loss = "5%"               # any option by its name, in both directions ...
//! down-rate = "10mbit"      # ... or in one; "off" gives back the default
//!
//! [[step]]
//! at = "5s"
//! loss = "off"
//! rebind = "port"           # clients now come from another port (or "address")
//! ```
//!
//! A step changes what it names and leaves the rest as the step before it, the first one as the command
//! line.

use std::collections::BTreeMap;
use std::time::Duration;

use columba_values::{ValueError, parse_time_with_unit};
use serde::Deserialize;

use crate::Nanos;
use crate::delay::duration_nanos;
use crate::impairments::Impairments;
use crate::knobs::{ChangeError, change};

/// Most steps of a scenario.
const MAX_STEPS: usize = 10_000;

/// What is wrong with a scenario.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// Not TOML, or not of the right shape.
    #[error("{0}")]
    Toml(#[from] toml::de::Error),
    /// A step is wrong.
    #[error("step {number}: {error}")]
    Step {
        /// Which, from 1.
        number: usize,
        /// What is wrong.
        #[source]
        error: ChangeError,
    },
    /// Steps are not in order of time.
    #[error("step {number}: 'at' is missing, or earlier than the step before")]
    Order {
        /// Which, from 1.
        number: usize,
    },
    /// A time can't be read.
    #[error("{field}: {error}")]
    Time {
        /// Where.
        field: String,
        /// What is wrong.
        #[source]
        error: ValueError,
    },
    /// The timeline starts over before it has ended.
    #[error("repeat: must be later than the last step")]
    Repeat,
    /// No steps at all, or too many.
    #[error("a scenario has 1 to {MAX_STEPS} steps, this one has {0}")]
    Count(usize),
}

/// What changes about where clients seem to come from, as seen by the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rebind {
    /// Their port, as when a NAT forgets them.
    Port,
    /// Their address too, as when they move to another network.
    Address,
}

impl std::str::FromStr for Rebind {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        match text {
            "port" => Ok(Self::Port),
            "address" => Ok(Self::Address),
            _ => Err(ValueError::new(format!("'{text}' is not port or address"))),
        }
    }
}

/// One step of a scenario.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// When, since the start of the timeline.
    pub at: Duration,
    /// What then holds towards the server.
    pub up: Impairments,
    /// What then holds towards the client.
    pub down: Impairments,
    /// Whether clients are moved at this moment.
    pub rebind: Option<Rebind>,
}

/// A timeline of impairments.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    steps: Vec<Step>,
    repeat: Option<Duration>,
    next: usize,
    round_start: Nanos,
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    repeat: Option<String>,
    #[serde(default)]
    step: Vec<BTreeMap<String, toml::Value>>,
}

impl Scenario {
    /// Reads a scenario that starts from these impairments.
    ///
    /// # Errors
    /// What is wrong with it, and in which step.
    pub fn parse(text: &str, up: &Impairments, down: &Impairments) -> Result<Self, ScenarioError> {
        let file: File = toml::from_str(text)?;
        if !(1..=MAX_STEPS).contains(&file.step.len()) {
            return Err(ScenarioError::Count(file.step.len()));
        }
        let (mut up, mut down) = (up.clone(), down.clone());
        let mut steps: Vec<Step> = Vec::with_capacity(file.step.len());
        for (number, written) in (1..).zip(file.step) {
            let mut settings: BTreeMap<String, String> = written
                .into_iter()
                .map(|(name, value)| (name, plain_text(&value)))
                .collect();
            let time_error = |error| ScenarioError::Time {
                field: format!("step {number}: at"),
                error,
            };
            let earliest = steps.last().map_or(Duration::ZERO, |last| last.at);
            let at = settings
                .remove("at")
                .map(|text| parse_time_with_unit(&text).map_err(time_error))
                .transpose()?
                .filter(|at| *at >= earliest)
                .ok_or(ScenarioError::Order { number })?;
            let step_error = |error| ScenarioError::Step { number, error };
            let rebind = settings
                .remove("rebind")
                .map(|text| text.parse())
                .transpose()
                .map_err(|error| {
                    step_error(ChangeError::Value {
                        name: "rebind".into(),
                        error,
                    })
                })?;
            change(&settings, &mut up, &mut down).map_err(step_error)?;
            steps.push(Step {
                at,
                up: up.clone(),
                down: down.clone(),
                rebind,
            });
        }
        let repeat = file
            .repeat
            .map(|text| parse_time_with_unit(&text))
            .transpose();
        let repeat = repeat.map_err(|error| ScenarioError::Time {
            field: "repeat".into(),
            error,
        })?;
        let last = steps.last().map_or(Duration::ZERO, |last| last.at);
        if repeat.is_some_and(|repeat| repeat <= last) {
            return Err(ScenarioError::Repeat);
        }
        Ok(Self {
            steps,
            repeat,
            next: 0,
            round_start: 0,
        })
    }

    /// Whether any step moves clients in this way.
    #[must_use]
    pub fn rebinds(&self, kind: Rebind) -> bool {
        self.steps.iter().any(|step| step.rebind == Some(kind))
    }

    /// When the next step is due, counted from timestamp 0.
    #[must_use]
    pub fn next_step(&self) -> Option<Nanos> {
        let step = self.steps.get(self.next)?;
        Some(self.round_start.saturating_add(duration_nanos(step.at)))
    }

    /// The next step, if it is due by `now`. Call it until it gives `None`.
    #[must_use]
    pub fn poll_step(&mut self, now: Nanos) -> Option<&Step> {
        if self.next_step()? > now {
            return None;
        }
        let step = self.steps.get(self.next)?;
        self.next += 1;
        if let Some(repeat) = self.repeat
            && self.next == self.steps.len()
        {
            self.next = 0;
            self.round_start = self.round_start.saturating_add(duration_nanos(repeat));
        }
        Some(step)
    }
}

/// A value as it would be written on the command line.
fn plain_text(value: &toml::Value) -> String {
    match value.as_str() {
        Some(text) => text.to_owned(),
        None => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Nanos = 1_000_000_000;

    fn parse(text: &str) -> Result<Scenario, String> {
        let none = Impairments::default();
        Scenario::parse(text, &none, &none).map_err(|error| error.to_string())
    }

    #[test]
    fn steps_build_on_each_other() {
        let base = Impairments {
            delay: Duration::from_millis(7),
            ..Impairments::default()
        };
        let text = r#"
            [[step]]
            at = "1s"
            loss = 0.5
            up-loss = "10%"
            [[step]]
            at = "2s"
            down-loss = "off"
            rebind = "port"
        "#;
        let mut scenario = Scenario::parse(text, &base, &base).unwrap();
        assert!(scenario.rebinds(Rebind::Port) && !scenario.rebinds(Rebind::Address));
        assert_eq!(scenario.poll_step(SECOND - 1), None);
        let first = scenario.poll_step(SECOND).unwrap().clone();
        assert!(first.up.loss == 0.1 && first.down.loss == 0.5);
        assert_eq!(first.up.delay, Duration::from_millis(7));
        assert_eq!(scenario.next_step(), Some(2 * SECOND));
        let second = scenario.poll_step(9 * SECOND).unwrap().clone();
        assert!(second.up.loss == 0.1 && second.down.loss == 0.0);
        assert_eq!(second.rebind, Some(Rebind::Port));
        assert_eq!(scenario.poll_step(Nanos::MAX), None);
        assert_eq!(scenario.next_step(), None);
    }

    #[test]
    fn timelines_repeat() {
        let text = "repeat = '3s'\nstep = [{at = '0', loss = '1%'}, {at = '2s', loss = 'off'}]";
        let mut scenario = parse(text).unwrap();
        let times: Vec<_> = (0..5)
            .map(|_| {
                let due = scenario.next_step().unwrap();
                assert!(scenario.poll_step(due).is_some());
                due / SECOND
            })
            .collect();
        assert_eq!(times, [0, 2, 3, 5, 6]);
    }

    #[test]
    fn errors_name_step_and_field() {
        for (text, expected) in [
            ("", "a scenario has 1 to 10000 steps, this one has 0"),
            ("step = [{loss = '1%'}]", "step 1: 'at' is missing"),
            (
                "step = [{at = '2s'}, {at = '1s'}]",
                "step 2: 'at' is missing, or earlier",
            ),
            (
                "step = [{at = '2s', up-loss = '200%'}]",
                "step 1: up-loss: '200%' is not a probability",
            ),
            (
                "step = [{at = '2s', colour = 'blue'}]",
                "step 1: there is no impairment called 'colour'",
            ),
            ("step = [{at = '2s', rebind = 'x'}]", "step 1: rebind: 'x'"),
            (
                "step = [{at = '2s', queue = '5k'}]",
                "step 1: up-queue: has no effect without rate or trace",
            ),
            (
                "repeat = '1s'\nstep = [{at = '1s'}]",
                "repeat: must be later",
            ),
            ("speed = 1", "TOML parse error"),
        ] {
            let message = parse(text).expect_err("should be refused");
            assert!(message.contains(expected), "{message}");
        }
    }
}
