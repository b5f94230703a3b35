//! Scales, their ticks, and how numbers stand beside them.

/// How values are spread over an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    Linear,
    /// Values of 0 and less stand at the lower end.
    Log,
}

/// What one direction of a chart shows.
#[derive(Debug, Clone)]
pub(crate) struct Axis {
    /// With its unit, unless `format` writes one.
    pub(crate) label: String,
    pub(crate) scale: Scale,
    /// How a tick's number is written.
    pub(crate) format: fn(f64) -> String,
    /// The ends; without, those of the values, made round.
    pub(crate) bounds: Option<(f64, f64)>,
    /// Where the ticks stand; without, at round numbers.
    pub(crate) ticks: Option<Vec<f64>>,
}

impl Axis {
    /// An axis from 0.
    pub(crate) fn linear(label: &str) -> Self {
        Self {
            label: label.to_owned(),
            scale: Scale::Linear,
            format: plain,
            bounds: None,
            ticks: None,
        }
    }

    /// A logarithmic axis.
    pub(crate) fn log(label: &str) -> Self {
        Self {
            scale: Scale::Log,
            ..Self::linear(label)
        }
    }

    /// With another way to write numbers.
    pub(crate) fn format(mut self, format: fn(f64) -> String) -> Self {
        self.format = format;
        self
    }

    /// With ends that do not depend on the values.
    pub(crate) fn bounds(mut self, from: f64, to: f64) -> Self {
        self.bounds = Some((from, to));
        self
    }

    /// With ticks at these values only.
    pub(crate) fn ticks(mut self, ticks: &[f64]) -> Self {
        self.ticks = Some(ticks.to_vec());
        self
    }
}

/// An axis whose ends are known.
#[derive(Debug, Clone)]
pub(super) struct Span {
    scale: Scale,
    from: f64,
    to: f64,
    /// With a number, and a line across the chart.
    pub(super) ticks: Vec<f64>,
    /// With a fine line only.
    pub(super) fine: Vec<f64>,
}

impl Span {
    /// Fits an axis to values.
    pub(super) fn of(axis: &Axis, values: impl Iterator<Item = f64>) -> Self {
        let finite = values.filter(|value| value.is_finite());
        let mut span = match axis.scale {
            Scale::Linear => linear(axis.bounds, finite),
            Scale::Log => logarithmic(axis.bounds, finite.filter(|value| *value > 0.0)),
        };
        if let Some(ticks) = &axis.ticks {
            span.ticks.clone_from(ticks);
            span.fine.clear();
        }
        let (from, to) = (span.from, span.to);
        let slack = (to - from).abs() * 1e-9;
        let inside = move |tick: &f64| *tick >= from - slack && *tick <= to + slack;
        span.ticks.retain(inside);
        span.fine.retain(inside);
        span
    }

    /// Where a value stands, from 0 at the lower end to 1.
    pub(super) fn share(&self, value: f64) -> f64 {
        let of = |value: f64| match self.scale {
            Scale::Linear => value,
            Scale::Log => value.max(f64::MIN_POSITIVE).log10(),
        };
        ((of(value) - of(self.from)) / (of(self.to) - of(self.from))).clamp(-0.01, 1.01)
    }
}

fn extremes(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.fold(None, |ends: Option<(f64, f64)>, value| {
        let (low, high) = ends.unwrap_or((value, value));
        Some((low.min(value), high.max(value)))
    })
}

fn linear(bounds: Option<(f64, f64)>, values: impl Iterator<Item = f64>) -> Span {
    let (low, high) = bounds.or_else(|| extremes(values)).unwrap_or((0.0, 1.0));
    let (low, high) = match bounds {
        Some(_) => (low, high),
        None => (low.min(0.0), high.max(0.0)),
    };
    let high = if high > low { high } else { low + 1.0 };
    let step = round_step((high - low) / 6.0);
    let (from, to) = match bounds {
        Some(_) => (low, high),
        None => ((low / step).floor() * step, (high / step).ceil() * step),
    };
    let count = ((to - from) / step).round().clamp(0.0, 1000.0);
    let first = (from / step).ceil();
    let mut ticks = Vec::new();
    let mut index = 0.0;
    while index <= count {
        ticks.push((first + index) * step);
        index += 1.0;
    }
    Span {
        scale: Scale::Linear,
        from,
        to,
        ticks,
        fine: Vec::new(),
    }
}

/// 1, 2 or 5 times a power of ten, not less than `least`.
fn round_step(least: f64) -> f64 {
    let power = 10f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|step| *step >= least * (1.0 - 1e-9))
        .unwrap_or(10.0 * power)
}

fn logarithmic(bounds: Option<(f64, f64)>, values: impl Iterator<Item = f64>) -> Span {
    let (low, high) = bounds.or_else(|| extremes(values)).unwrap_or((1.0, 10.0));
    let low = low.max(f64::MIN_POSITIVE);
    let high = if high > low { high } else { low * 2.0 };
    let steps = [1.0, 2.0, 5.0];
    let mut round = Vec::new();
    let mut all = Vec::new();
    let mut decade = low.log10().floor();
    while decade <= high.log10().ceil() {
        for factor in 1..=9u8 {
            let value = f64::from(factor) * 10f64.powf(decade);
            all.push(value);
            if steps.contains(&f64::from(factor)) {
                round.push(value);
            }
        }
        decade += 1.0;
    }
    let (from, to) = match bounds {
        Some(_) => (low, high),
        None => (
            round
                .iter()
                .copied()
                .rfind(|value| *value <= low * 1.0001)
                .unwrap_or(low),
            round
                .iter()
                .copied()
                .find(|value| *value >= high * 0.9999)
                .unwrap_or(high),
        ),
    };
    let decades = (to / from).log10();
    let is_decade = |value: &f64| (value.log10() - value.log10().round()).abs() < 1e-6;
    if decades > 3.5 {
        round.retain(is_decade);
    }
    Span {
        scale: Scale::Log,
        from,
        to,
        ticks: round,
        fine: if decades > 7.0 { Vec::new() } else { all },
    }
}

/// A number without needless digits.
pub(crate) fn plain(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let size = value.abs();
    if !(1e-4..1e7).contains(&size) {
        return format!("{value:e}");
    }
    let digits: usize = match size {
        _ if size >= 100.0 => 0,
        _ if size >= 10.0 => 1,
        _ if size >= 1.0 => 2,
        _ if size >= 0.1 => 3,
        _ => 5,
    };
    let text = format!("{value:.digits$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// A share as a percentage.
pub(crate) fn percent(share: f64) -> String {
    format!("{} %", plain(share * 100.0))
}

/// Nanoseconds in the unit that reads best.
pub(crate) fn nanoseconds(value: f64) -> String {
    match value {
        _ if value >= 1e9 => format!("{} s", plain(value / 1e9)),
        _ if value >= 1e6 => format!("{} ms", plain(value / 1e6)),
        _ if value >= 1e3 => format!("{} µs", plain(value / 1e3)),
        _ => format!("{} ns", plain(value)),
    }
}

/// Bytes, or bytes per second with a unit of its own, by powers of ten.
pub(crate) fn bytes(value: f64) -> String {
    match value.abs() {
        size if size >= 1e9 => format!("{} GB", plain(value / 1e9)),
        size if size >= 1e6 => format!("{} MB", plain(value / 1e6)),
        size if size >= 1e3 => format!("{} kB", plain(value / 1e3)),
        _ => format!("{} B", plain(value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linear_axes_start_at_zero_and_end_round() {
        let span = Span::of(&Axis::linear("x"), [3.0, 93.0].into_iter());
        assert_eq!((span.from, span.to), (0.0, 100.0));
        assert_eq!(span.ticks, [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        assert_eq!(span.share(50.0), 0.5);
        let nothing = Span::of(&Axis::linear("x"), std::iter::empty());
        assert!(nothing.ticks.len() > 2);
    }

    #[test]
    fn logarithmic_axes_have_ticks_at_decades() {
        let span = Span::of(&Axis::log("x"), [0.0, 150.0, 9e6].into_iter());
        assert_eq!((span.from, span.to), (100.0, 1e7));
        assert_eq!(span.ticks, [100.0, 1e3, 1e4, 1e5, 1e6, 1e7]);
        assert!((span.share(1e4) - 0.4).abs() < 1e-9);
        let short = Span::of(&Axis::log("x"), [1.0, 30.0].into_iter());
        assert_eq!(short.ticks, [1.0, 2.0, 5.0, 10.0, 20.0, 50.0]);
    }

    #[test]
    fn ticks_may_be_given() {
        let axis = Axis::log("x").bounds(1.0, 1000.0).ticks(&[1.0, 10.0, 5e4]);
        assert_eq!(Span::of(&axis, std::iter::empty()).ticks, [1.0, 10.0]);
    }

    #[test]
    fn numbers_read_well() {
        let shown = [0.0, 0.05, 0.5, 1.25, 20.0, 12_345.0, 1e9].map(plain);
        assert_eq!(shown, ["0", "0.05", "0.5", "1.25", "20", "12345", "1e9"]);
        assert_eq!(nanoseconds(1_500.0), "1.5 µs");
        assert_eq!(percent(0.001), "0.1 %");
        assert_eq!(bytes(2.5e9), "2.5 GB");
    }
}
