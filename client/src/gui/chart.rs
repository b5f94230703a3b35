//! Plots: lines over time, and bars of percentiles.

use std::time::Duration;

use iced::alignment::Vertical;
use iced::widget::canvas::{self, Frame, Geometry, Path, Stroke, Text};
use iced::widget::text::{Alignment, LineHeight};
use iced::{Color, Fill, Pixels, Point, Rectangle, Renderer, Size, Theme, mouse};

use super::look::{FONT, Look, size};
use super::parts::Piece;
use crate::model::rate::Series;

/// Room for the figures at the left, in logical pixels.
const LEFT: f32 = 64.0;
const RIGHT: f32 = 8.0;
const TOP: f32 = 8.0;
const BOTTOM: f32 = 18.0;

/// A line over time.
#[derive(Clone, Debug)]
struct Line {
    color: Color,
    filled: bool,
    points: Vec<Option<f64>>,
    step: Duration,
}

/// One plot: a line over time against the scale at its left.
#[derive(Clone, Debug)]
pub(super) struct Plot {
    look: Look,
    line: Line,
    /// The upper end of the scale.
    top: f64,
    unit: fn(f64) -> String,
    /// With figures and time below, or just the line.
    scales: bool,
}

impl Plot {
    /// A line of this series; `least` is the least upper end of the scale.
    pub(super) fn new(
        look: &Look,
        series: &Series,
        color: Color,
        least: f64,
        unit: fn(f64) -> String,
    ) -> Self {
        let top = round_up(series.max().unwrap_or(0.0).max(least));
        Self {
            look: *look,
            line: Line {
                color,
                filled: true,
                points: series.points().to_vec(),
                step: series.step(),
            },
            top,
            unit,
            scales: true,
        }
    }

    /// Just the line, for a place between words.
    pub(super) fn spark(look: &Look, series: &Series, color: Color) -> Self {
        Self {
            scales: false,
            ..Self::new(look, series, color, 1.0, |_| String::new())
        }
    }

    /// The plot as a piece of a view.
    pub(super) fn view<'a, Message: 'a>(
        self,
        width: impl Into<iced::Length>,
        height: f32,
    ) -> Piece<'a, Message> {
        canvas::Canvas::new(self).width(width).height(height).into()
    }

    fn area(&self, whole: Size) -> Rectangle {
        if !self.scales {
            return Rectangle::new(
                Point::new(0.0, 1.0),
                Size::new(whole.width, whole.height - 2.0),
            );
        }
        let size = Size::new(
            (whole.width - LEFT - RIGHT).max(1.0),
            (whole.height - TOP - BOTTOM).max(1.0),
        );
        Rectangle::new(Point::new(LEFT, TOP), size)
    }

    fn draw_scales(&self, frame: &mut Frame, area: Rectangle) {
        for part in [0.0, 0.5, 1.0_f32] {
            let y = (area.y + area.height * (1.0 - part)).round() + 0.5;
            let path = Path::line(Point::new(area.x, y), Point::new(area.x + area.width, y));
            frame.stroke(
                &path,
                Stroke::default().with_color(self.look.line).with_width(1.0),
            );
            let value = (self.unit)(self.top * f64::from(part));
            let at = Point::new(area.x - 8.0, y);
            frame.fill_text(label(&self.look, value, at, Alignment::Right));
        }
        let span = self.line.step * u32::try_from(self.line.points.len()).unwrap_or(0);
        let y = area.y + area.height + 10.0;
        if span.as_secs() > 1 {
            let ago = format!("{} ago", crate::model::units::clock(span));
            let at = Point::new(area.x, y);
            frame.fill_text(label(&self.look, ago, at, Alignment::Left));
        }
        let at = Point::new(area.x + area.width, y);
        frame.fill_text(label(&self.look, "now".to_owned(), at, Alignment::Right));
    }

    /// Stretches of points without holes between them.
    fn stretches(&self, area: Rectangle) -> Vec<Vec<Point>> {
        let steps = self.line.points.len().saturating_sub(1).max(1);
        let mut all = vec![Vec::new()];
        for (index, value) in self.line.points.iter().enumerate() {
            let Some(value) = value else {
                all.push(Vec::new());
                continue;
            };
            #[expect(
                clippy::cast_precision_loss,
                clippy::cast_possible_truncation,
                reason = "positions on a screen"
            )]
            let (x, y) = (
                index as f32 / steps as f32,
                (value / self.top).clamp(0.0, 1.0) as f32,
            );
            let at = Point::new(area.x + area.width * x, area.y + area.height * (1.0 - y));
            if let Some(last) = all.last_mut() {
                last.push(at);
            }
        }
        all.retain(|points| !points.is_empty());
        all
    }
}

/// Words beside a point, at its right or, ending there, at its left. They hang from their upper left
/// corner: what is drawn anew when they change reaches from there, whatever their alignment.
fn label(look: &Look, content: String, beside: Point, align: Alignment) -> Text {
    let size = Pixels(size::TINY);
    let line_height = LineHeight::default();
    let x = match align {
        Alignment::Right => beside.x - width_of(&content),
        Alignment::Default | Alignment::Left | Alignment::Center | Alignment::Justified => beside.x,
    };
    let y = beside.y - line_height.to_absolute(size).0 / 2.0;
    Text {
        content,
        position: Point::new(x, y),
        color: look.muted,
        size,
        line_height,
        font: FONT,
        align_x: Alignment::Left,
        align_y: Vertical::Top,
        ..Text::default()
    }
}

/// About how wide a figure with its unit is.
fn width_of(words: &str) -> f32 {
    let ems = words.chars().map(|sign| match sign {
        '.' | ',' | ' ' | ':' | 'i' | 'l' => 0.28,
        'M' | 'm' | 'w' | '%' => 0.88,
        _ => 0.63,
    });
    ems.sum::<f32>() * size::TINY
}

impl<Message> canvas::Program<Message> for Plot {
    type State = ();

    fn draw(
        &self,
        _state: &(),
        renderer: &Renderer,
        _theme: &Theme,
        bounds: Rectangle,
        _cursor: mouse::Cursor,
    ) -> Vec<Geometry> {
        let mut frame = Frame::new(renderer, bounds.size());
        let area = self.area(bounds.size());
        if self.scales {
            self.draw_scales(&mut frame, area);
        }
        for points in self.stretches(area) {
            let (Some(first), Some(last)) = (points.first(), points.last()) else {
                continue;
            };
            let base = area.y + area.height;
            if self.line.filled && points.len() > 1 {
                let shape = Path::new(|path| {
                    path.move_to(Point::new(first.x, base));
                    points.iter().for_each(|at| path.line_to(*at));
                    path.line_to(Point::new(last.x, base));
                    path.close();
                });
                frame.fill(&shape, self.line.color.scale_alpha(0.14));
            }
            if points.len() == 1 {
                frame.fill(&Path::circle(*first, 2.0), self.line.color);
                continue;
            }
            let stroke = Path::new(|path| {
                path.move_to(*first);
                points.iter().skip(1).for_each(|at| path.line_to(*at));
            });
            let style = Stroke::default()
                .with_color(self.line.color)
                .with_width(if self.scales { 1.8 } else { 1.4 });
            frame.stroke(&stroke, style);
        }
        vec![frame.into_geometry()]
    }
}

/// Bars with a name at the left and a value at the right.
#[derive(Clone, Debug)]
pub(super) struct Bars {
    look: Look,
    bars: Vec<(String, f64, String)>,
}

impl Bars {
    /// One bar for each name, value and its text.
    pub(super) const fn new(look: &Look, bars: Vec<(String, f64, String)>) -> Self {
        Self { look: *look, bars }
    }

    /// The bars as a piece of a view.
    pub(super) fn view<'a, Message: 'a>(self, height: f32) -> Piece<'a, Message> {
        canvas::Canvas::new(self).width(Fill).height(height).into()
    }
}

impl<Message> canvas::Program<Message> for Bars {
    type State = ();

    fn draw(
        &self,
        _state: &(),
        renderer: &Renderer,
        _theme: &Theme,
        bounds: Rectangle,
        _cursor: mouse::Cursor,
    ) -> Vec<Geometry> {
        let mut frame = Frame::new(renderer, bounds.size());
        let top = self
            .bars
            .iter()
            .map(|(_, value, _)| *value)
            .fold(1e-9, f64::max);
        #[expect(clippy::cast_precision_loss, reason = "a handful of bars")]
        let pitch = bounds.height / self.bars.len().max(1) as f32;
        let room = (bounds.width - LEFT - LEFT).max(1.0);
        for (index, (name, value, shown)) in self.bars.iter().enumerate() {
            #[expect(
                clippy::cast_precision_loss,
                clippy::cast_possible_truncation,
                reason = "positions on a screen"
            )]
            let (middle, width) = (
                pitch * (index as f32 + 0.5),
                (room * (value / top) as f32).max(2.0),
            );
            let height = (pitch * 0.55).min(12.0);
            let corner = Point::new(LEFT, middle - height / 2.0);
            let bar = Path::rounded_rectangle(corner, Size::new(width, height), 2.0.into());
            frame.fill(&bar, self.look.accent);
            let at = Point::new(LEFT - 8.0, middle);
            frame.fill_text(label(&self.look, name.clone(), at, Alignment::Right));
            let at = Point::new(LEFT + width + 7.0, middle);
            let mut value = label(&self.look, shown.clone(), at, Alignment::Left);
            value.color = self.look.text;
            frame.fill_text(value);
        }
        vec![frame.into_geometry()]
    }
}

/// The next number that reads well: 1, 2, 5 or 10 times a power of ten.
fn round_up(value: f64) -> f64 {
    if value <= 0.0 || !value.is_finite() {
        return 1.0;
    }
    let power = 10f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0];
    let factor = steps
        .into_iter()
        .find(|step| value <= step * power * 1.000_001);
    factor.unwrap_or(10.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_end_at_numbers_that_read_well() {
        for (value, top) in [
            (0.0, 1.0),
            (0.7, 1.0),
            (1.2, 2.0),
            (84e6, 1e8),
            (300.0, 500.0),
        ] {
            let seen = round_up(value);
            assert!((seen - top).abs() < top * 1e-9, "{value} gives {seen}");
        }
    }

    #[test]
    fn holes_part_a_line() {
        let mut series = Series::every(Duration::from_secs(1));
        let at = |s: u64| columba_core::units::Timestamp::from_nanos(s * 1_000_000_000);
        series.record(at(0), 1.0);
        series.record(at(1), 2.0);
        series.record(at(5), 3.0);
        let look = super::super::look::LIGHT;
        let plot = Plot::new(&look, &series, look.accent, 1.0, |value| value.to_string());
        let stretches = plot.stretches(plot.area(Size::new(300.0, 100.0)));
        assert_eq!(stretches.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1]);
    }
}
