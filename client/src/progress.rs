//! Progress bars on standard error, only where somebody looks.

use std::collections::VecDeque;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How far back the rate looks.
const WINDOW: Duration = Duration::from_secs(5);
/// How often a sample of the rate is kept.
const SAMPLE_EVERY: Duration = Duration::from_millis(100);

/// Bytes per second over the last seconds.
#[derive(Debug, Default)]
pub struct MovingRate {
    samples: VecDeque<(Instant, u64)>,
}

impl MovingRate {
    /// `bytes` have come in all by `now`.
    pub fn record(&mut self, now: Instant, bytes: u64) {
        let recent = self
            .samples
            .back()
            .is_some_and(|(at, _)| now.saturating_duration_since(*at) < SAMPLE_EVERY);
        if recent && self.samples.len() > 1 {
            return;
        }
        self.samples.push_back((now, bytes));
        // The oldest one that is still needed lies just before the window.
        while self
            .samples
            .get(1)
            .is_some_and(|(at, _)| now.saturating_duration_since(*at) >= WINDOW)
        {
            self.samples.pop_front();
        }
    }

    /// Bytes per second; `None` until there is something to compare.
    #[must_use]
    pub fn per_second(&self) -> Option<f64> {
        let ((first_at, first), (last_at, last)) = (self.samples.front()?, self.samples.back()?);
        let seconds = last_at.saturating_duration_since(*first_at).as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "for display")]
        (seconds > 0.0).then(|| last.saturating_sub(*first) as f64 / seconds)
    }
}

/// One bar for everything that is being fetched.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    rate: MovingRate,
    total_files: usize,
}

impl Progress {
    /// A bar, or nothing: when `hidden`, or when standard error is no terminal.
    #[must_use]
    pub fn new(hidden: bool) -> Self {
        let target = if hidden || !std::io::stderr().is_terminal() {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr_with_hz(10)
        };
        let bar = ProgressBar::with_draw_target(Some(0), target);
        let template = "{wide_msg} {bar:24} {bytes:>11}/{total_bytes:11} {prefix}";
        // A template that does not parse is found by the test below.
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self {
            bar,
            rate: MovingRate::default(),
            total_files: 0,
        }
    }

    /// How many files there are, as far as is known.
    #[must_use]
    pub const fn total_files(&self) -> usize {
        self.total_files
    }

    /// There are so many files.
    pub const fn set_total_files(&mut self, files: usize) {
        self.total_files = files;
    }

    /// `done` of `total` bytes are here; `label` says what is coming.
    pub fn update(&mut self, label: &str, done: u64, total: u64) {
        self.rate.record(Instant::now(), done);
        if self.bar.is_hidden() {
            return;
        }
        self.bar.set_length(total);
        self.bar.set_position(done);
        if self.bar.message() != label {
            self.bar.set_message(label.to_owned());
        }
        let left = total.saturating_sub(done);
        self.bar
            .set_prefix(rate_and_rest(self.rate.per_second(), left));
    }

    /// Prints a line above the bar, or just to standard error.
    pub fn say(&self, line: &str) {
        if self.bar.is_hidden() {
            note(line);
        } else {
            self.bar.println(line);
        }
    }

    /// Takes the bar away.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

/// A line for the person, on standard error.
pub fn note(line: &str) {
    use std::io::Write;
    // Without a standard error there is nobody to tell.
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

fn rate_and_rest(per_second: Option<f64>, left_bytes: u64) -> String {
    let Some(rate) = per_second.filter(|rate| *rate >= 1.0) else {
        return "--".to_owned();
    };
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "for display; float casts saturate"
    )]
    let (shown, seconds) = (rate as u64, (left_bytes as f64 / rate) as u64);
    let rest = indicatif::HumanDuration(Duration::from_secs(seconds));
    format!("{}/s {rest:#}", indicatif::HumanBytes(shown))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_follows_the_last_seconds() {
        let mut rate = MovingRate::default();
        let start = Instant::now();
        assert_eq!(rate.per_second(), None);
        let mut bytes = 0;
        for tenth in 0..200u64 {
            bytes += if tenth < 100 { 1000 } else { 100 };
            rate.record(start + Duration::from_millis(tenth * 100), bytes);
        }
        let now = rate.per_second().unwrap();
        assert!((950.0..1050.0).contains(&now), "{now}");
        assert!(rate.samples.len() < 60);
    }

    #[test]
    fn nothing_is_drawn_where_nobody_looks() {
        let mut progress = Progress::new(true);
        progress.update("a", 1, 2);
        assert!(progress.bar.is_hidden());
        progress.clear();
    }

    #[test]
    fn the_rest_is_told_in_words() {
        assert_eq!(rate_and_rest(None, 5), "--");
        assert_eq!(rate_and_rest(Some(1024.0), 10_240), "1.00 KiB/s 10s");
    }
}
