//! Title, legend, grid and axes: what all charts have.

use anyhow::Result;

use super::axis::{Axis, Span};
use super::canvas::{Align, Area, Canvas, FAINT_INK, FINE_GRID, Font, GRID, Point, color_of};

/// A chart's size in logical pixels.
pub(super) const WIDTH: u32 = 880;
pub(super) const HEIGHT: u32 = 520;

const MARGIN: f64 = 24.0;
const LINE: f64 = 22.0;
const TICK_GAP: f64 = 8.0;
/// On and off.
pub(super) const DASHES: (f64, f64) = (6.0, 4.0);

/// Where the next line of text goes.
pub(super) struct Header {
    y: f64,
}

/// How a series is told in the legend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Swatch {
    Line,
    Dashes,
    Block,
}

impl Header {
    /// Draws title and note.
    pub(super) fn draw(canvas: &mut Canvas<'_>, title: &str, note: &str) -> Result<Self> {
        let mut y = MARGIN + 8.0;
        canvas.text(title, (MARGIN, y), Align::Left, Font::TITLE)?;
        if !note.is_empty() {
            y += LINE;
            canvas.text(note, (MARGIN, y), Align::Left, Font::NOTE)?;
        }
        Ok(Self { y: y + LINE })
    }

    /// Draws names of series side by side, in several lines when they need them.
    pub(super) fn legend<'n>(
        &mut self,
        canvas: &mut Canvas<'_>,
        entries: impl Iterator<Item = (&'n str, Swatch)>,
    ) -> Result<()> {
        let mut x = MARGIN;
        for (index, (name, swatch)) in entries.enumerate() {
            let width = 30.0 + Font::LABEL.width_of(name);
            if x > MARGIN && x + width > f64::from(WIDTH) - MARGIN {
                x = MARGIN;
                self.y += LINE;
            }
            let color = color_of(index);
            match swatch {
                Swatch::Line => {
                    canvas.path(&[(x, self.y), (x + 22.0, self.y)], color, 2.0)?;
                    canvas.mark(index, (x + 11.0, self.y), color)?;
                }
                Swatch::Dashes => {
                    canvas.dashed(&[(x, self.y), (x + 22.0, self.y)], color, 1.6, DASHES)?;
                }
                Swatch::Block => {
                    let block = Area {
                        left: x,
                        top: self.y - 6.0,
                        right: x + 20.0,
                        bottom: self.y + 6.0,
                    };
                    canvas.area(block, color)?;
                }
            }
            canvas.text(name, (x + 28.0, self.y), Align::Left, Font::LABEL)?;
            x += width + 20.0;
        }
        self.y += LINE;
        Ok(())
    }

    /// Where the chart itself begins.
    pub(super) fn bottom(&self) -> f64 {
        self.y
    }
}

/// Two axes and the area between them.
pub(super) struct Frame {
    area: Area,
    x: Span,
    y: Span,
}

impl Frame {
    /// Draws grid and axes below a header.
    pub(super) fn draw(
        canvas: &mut Canvas<'_>,
        header: &Header,
        (x_axis, x): (&Axis, Span),
        (y_axis, y): (&Axis, Span),
    ) -> Result<Self> {
        let widths = y.ticks.iter().map(|tick| (y_axis.format)(*tick));
        let widest = widths
            .map(|text| Font::LABEL.width_of(&text))
            .fold(0.0, f64::max);
        let area = Area {
            left: MARGIN + widest + TICK_GAP,
            top: header.bottom() + LINE,
            right: f64::from(WIDTH) - MARGIN - 12.0,
            bottom: f64::from(HEIGHT) - MARGIN - 2.0 * LINE,
        };
        let frame = Self { area, x, y };
        // The y axis is named above it, so that nobody turns the head.
        let name = (MARGIN, header.bottom() + 2.0);
        canvas.text(&y_axis.label, name, Align::Left, Font::NOTE)?;
        let name = (
            f64::midpoint(area.left, area.right),
            area.bottom + 2.0 * LINE,
        );
        canvas.text(&x_axis.label, name, Align::Center, Font::NOTE)?;
        for value in &frame.x.fine {
            frame.vertical(canvas, *value, FINE_GRID)?;
        }
        for value in &frame.y.fine {
            frame.horizontal(canvas, *value, FINE_GRID)?;
        }
        let mut free_from = f64::MIN;
        for value in &frame.x.ticks {
            frame.vertical(canvas, *value, GRID)?;
            let text = (x_axis.format)(*value);
            let (x, half) = (frame.x_of(*value), Font::LABEL.width_of(&text) / 2.0);
            if x - half >= free_from {
                let at = (x, area.bottom + 15.0);
                canvas.text(&text, at, Align::Center, Font::LABEL)?;
                free_from = x + half + TICK_GAP;
            }
        }
        for value in &frame.y.ticks {
            frame.horizontal(canvas, *value, GRID)?;
            let at = (area.left - TICK_GAP, frame.y_of(*value));
            canvas.text(&(y_axis.format)(*value), at, Align::Right, Font::LABEL)?;
        }
        let axes = [
            (area.left, area.top),
            (area.left, area.bottom),
            (area.right, area.bottom),
        ];
        canvas.path(&axes, FAINT_INK, 1.0)?;
        Ok(frame)
    }

    fn vertical(
        &self,
        canvas: &mut Canvas<'_>,
        value: f64,
        color: plotters::style::RGBColor,
    ) -> Result<()> {
        let x = self.x_of(value);
        canvas.path(&[(x, self.area.top), (x, self.area.bottom)], color, 1.0)
    }

    fn horizontal(
        &self,
        canvas: &mut Canvas<'_>,
        value: f64,
        color: plotters::style::RGBColor,
    ) -> Result<()> {
        let y = self.y_of(value);
        canvas.path(&[(self.area.left, y), (self.area.right, y)], color, 1.0)
    }

    fn x_of(&self, value: f64) -> f64 {
        self.x
            .share(value)
            .mul_add(self.area.width(), self.area.left)
    }

    fn y_of(&self, value: f64) -> f64 {
        self.y
            .share(value)
            .mul_add(-self.area.height(), self.area.bottom)
    }

    /// Where a pair of values stands.
    pub(super) fn point(&self, (x, y): (f64, f64)) -> Point {
        (self.x_of(x), self.y_of(y))
    }
}
