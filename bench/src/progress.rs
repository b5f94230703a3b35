//! A live bar on standard error, only where somebody looks.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::report::complain;

const TEMPLATE: &str =
    "{bar:30} {bytes:>11}/{total_bytes:11} {bytes_per_sec:>12} {eta:>4} {wide_msg}";

const STEPS_TEMPLATE: &str = "{bar:30} {pos:>3}/{len} {elapsed:>4} {wide_msg}";
const PLAN_TEMPLATE: &str = "{bar:30} {elapsed:>4} {wide_msg}";
const COUNT_TEMPLATE: &str = "{bar:30} {pos:>7}/{len:7} {eta:>4}";

/// So that the time goes on while nothing else does.
const TICK: Duration = Duration::from_millis(500);

/// Progress of a download, with lines above it.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    quiet: bool,
}

impl Progress {
    /// A bar; `quiet`: neither bar nor lines. Without a terminal there are only lines.
    pub(crate) fn new(quiet: bool) -> Self {
        let target = if quiet {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr_with_hz(10)
        };
        let bar = ProgressBar::with_draw_target(Some(0), target);
        // A template that does not parse is found by the test below.
        if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
            bar.set_style(style);
        }
        Self { bar, quiet }
    }

    /// `done` of `total` bytes are here.
    pub(crate) fn update(&self, done: u64, total: u64, current: &str) {
        self.bar.set_length(total);
        self.bar.set_position(done);
        self.bar.set_message(current.to_owned());
    }

    /// `done` of `total` steps are behind us; `current` is going on.
    pub(crate) fn step(&self, done: u64, total: u64, current: &str) {
        // A template that does not parse is found by the test below.
        if let Ok(style) = ProgressStyle::with_template(STEPS_TEMPLATE) {
            self.bar.set_style(style);
        }
        self.update(done, total, current);
        self.bar.tick();
    }

    /// `done` of about `total` seconds of measuring are behind us; `current`, which is step `step` of `steps`, goes on.
    pub(crate) fn plan(&self, done: u64, total: u64, (step, steps): (usize, usize), current: &str) {
        if let Ok(style) = ProgressStyle::with_template(PLAN_TEMPLATE) {
            self.bar.set_style(style);
        }
        let left = format!(
            "{step} of {steps}, about {} left",
            minutes(total.saturating_sub(done))
        );
        if self.bar.is_hidden() {
            self.say(&format!("[{left}] {current}"));
        } else {
            self.update(done, total, &format!("{left}: {current}"));
            self.bar.enable_steady_tick(TICK);
        }
    }

    /// `done` of `total` things other than bytes.
    pub(crate) fn count(&self, done: u64, total: u64) {
        if let Ok(style) = ProgressStyle::with_template(COUNT_TEMPLATE) {
            self.bar.set_style(style);
        }
        self.bar.set_length(total);
        self.bar.set_position(done);
    }

    /// A line above the bar.
    pub(crate) fn say(&self, line: &str) {
        if self.quiet {
            return;
        }
        if self.bar.is_hidden() {
            complain(line);
        } else {
            self.bar.println(line);
        }
    }

    /// Takes the bar away.
    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

/// `95 s` or `12 min`.
fn minutes(seconds: u64) -> String {
    if seconds < 100 {
        format!("{seconds} s")
    } else {
        format!("{} min", seconds.div_ceil(60))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_is_sound_and_quiet_is_quiet() {
        for template in [TEMPLATE, STEPS_TEMPLATE, PLAN_TEMPLATE, COUNT_TEMPLATE] {
            assert!(ProgressStyle::with_template(template).is_ok());
        }
        let progress = Progress::new(true);
        progress.update(1, 2, "a");
        assert!(progress.bar.is_hidden());
        progress.clear();
    }
}
