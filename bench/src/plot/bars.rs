//! Horizontal bars, in groups, with their values and spreads.

use std::path::Path;

use anyhow::Result;

use super::axis::{Axis, Span};
use super::canvas::{self, Align, Area, Canvas, FAINT_INK, FINE_GRID, Font, INK, color_of};
use super::frame::{Header, Swatch, WIDTH};

const BAR: f64 = 20.0;
const GROUP_GAP: f64 = 14.0;
const MARGIN: f64 = 24.0;

/// One bar.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bar {
    pub(crate) value: f64,
    /// Smallest and largest of the runs.
    pub(crate) spread: Option<(f64, f64)>,
}

/// Bars that belong together: one of each series, `None` where there is none.
#[derive(Debug, Clone)]
pub(crate) struct BarGroup {
    pub(crate) name: String,
    pub(crate) bars: Vec<Option<Bar>>,
}

/// Groups of bars.
#[derive(Debug, Clone)]
pub(crate) struct BarChart {
    pub(crate) title: String,
    /// A line below the title, may be empty.
    pub(crate) note: String,
    pub(crate) values: Axis,
    /// Names of the series; with a single one there is no legend.
    pub(crate) series: Vec<String>,
    pub(crate) groups: Vec<BarGroup>,
}

impl BarChart {
    /// Draws it into a file, whose name ends in `.svg` or `.png`.
    ///
    /// # Errors
    /// The name ends otherwise, or the file cannot be written.
    pub(crate) fn save(&self, path: &Path) -> Result<()> {
        let rows: f64 = self.groups.iter().map(Self::height_of).sum();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a picture's height"
        )]
        let height = (rows + 170.0) as u32;
        canvas::save(path, (WIDTH, height), |canvas| self.draw(canvas))
    }

    fn height_of(group: &BarGroup) -> f64 {
        let bars = u32::try_from(group.bars.len().max(1)).unwrap_or(u32::MAX);
        f64::from(bars).mul_add(BAR, GROUP_GAP)
    }

    fn draw(&self, canvas: &mut Canvas<'_>) -> Result<()> {
        let mut header = Header::draw(canvas, &self.title, &self.note)?;
        if self.series.len() > 1 {
            let names = self.series.iter().map(String::as_str);
            header.legend(canvas, names.map(|name| (name, Swatch::Block)))?;
        }
        let bars = || self.groups.iter().flat_map(|group| &group.bars).flatten();
        let values = bars().flat_map(|bar| [Some(bar.value), bar.spread.map(|spread| spread.1)]);
        let span = Span::of(&self.values, values.flatten());
        let names = self
            .groups
            .iter()
            .map(|group| Font::LABEL.width_of(&group.name));
        let numbers = bars().map(|bar| Font::LABEL.width_of(&(self.values.format)(bar.value)));
        let area = Area {
            left: MARGIN + names.fold(0.0, f64::max) + 10.0,
            top: header.bottom(),
            right: f64::from(WIDTH) - MARGIN - numbers.fold(0.0, f64::max) - 14.0,
            bottom: header.bottom() + self.groups.iter().map(Self::height_of).sum::<f64>(),
        };
        self.draw_axis(canvas, area, &span)?;
        let mut top = area.top + GROUP_GAP / 2.0;
        for group in &self.groups {
            let bottom = top + Self::height_of(group) - GROUP_GAP;
            let name = (area.left - 10.0, f64::midpoint(top, bottom));
            canvas.text(&group.name, name, Align::Right, Font::LABEL)?;
            for (index, bar) in group.bars.iter().enumerate() {
                if let Some(bar) = bar {
                    self.draw_bar(canvas, area, &span, (index, top), *bar)?;
                }
                top += BAR;
            }
            top = bottom + GROUP_GAP;
        }
        let axis = [(area.left, area.top), (area.left, area.bottom)];
        canvas.path(&axis, FAINT_INK, 1.0)
    }

    fn draw_axis(&self, canvas: &mut Canvas<'_>, area: Area, span: &Span) -> Result<()> {
        for tick in &span.ticks {
            let x = span.share(*tick).mul_add(area.width(), area.left);
            canvas.path(&[(x, area.top), (x, area.bottom)], FINE_GRID, 1.0)?;
            let text = (self.values.format)(*tick);
            canvas.text(&text, (x, area.bottom + 15.0), Align::Center, Font::NOTE)?;
        }
        let name = (f64::midpoint(area.left, area.right), area.bottom + 40.0);
        canvas.text(&self.values.label, name, Align::Center, Font::NOTE)
    }

    fn draw_bar(
        &self,
        canvas: &mut Canvas<'_>,
        area: Area,
        span: &Span,
        (index, top): (usize, f64),
        bar: Bar,
    ) -> Result<()> {
        let x_of = |value: f64| span.share(value).max(0.0).mul_add(area.width(), area.left);
        let (top, bottom) = (top + 2.0, top + BAR - 2.0);
        let block = Area {
            left: area.left,
            top,
            right: x_of(bar.value).max(area.left + 1.0),
            bottom,
        };
        canvas.area(block, color_of(index))?;
        let middle = f64::midpoint(top, bottom);
        let mut end = block.right;
        if let Some((low, high)) = bar.spread {
            let (low, high) = (x_of(low), x_of(high));
            end = end.max(high);
            canvas.path(&[(low, middle), (high, middle)], INK, 1.2)?;
            for x in [low, high] {
                canvas.path(&[(x, middle - 4.0), (x, middle + 4.0)], INK, 1.2)?;
            }
        }
        let value = (self.values.format)(bar.value);
        canvas.text(&value, (end + 6.0, middle), Align::Left, Font::LABEL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_have_names_and_values() {
        let folder = tempfile::tempdir().unwrap();
        let bar = |value| {
            Some(Bar {
                value,
                spread: Some((value * 0.9, value * 1.2)),
            })
        };
        let group = |name: &str, bars| BarGroup {
            name: name.to_owned(),
            bars,
        };
        let chart = BarChart {
            title: "Throughput".to_owned(),
            note: "loopback".to_owned(),
            values: Axis::linear("MB/s"),
            series: vec!["1472".to_owned(), "8972".to_owned()],
            groups: vec![
                group("columba", vec![bar(1100.0), bar(1400.0)]),
                group("quinn", vec![bar(700.0), None]),
            ],
        };
        let path = folder.path().join("bars.svg");
        chart.save(&path).unwrap();
        let svg = std::fs::read_to_string(path).unwrap();
        for text in ["columba", "quinn", "1100", "1400", "700", "8972"] {
            assert!(svg.contains(text), "{text} is missing");
        }
    }
}
