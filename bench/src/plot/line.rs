//! Series of points, connected.

use std::path::Path;

use anyhow::Result;

use super::axis::{Axis, Span};
use super::canvas::{self, Canvas, Point, color_of};
use super::frame::{DASHES, Frame, HEIGHT, Header, Swatch, WIDTH};

/// Beyond so many points, marks would hide the line.
const MAX_MARKED: usize = 24;
/// Then they stand so far apart.
const MARK_DISTANCE: f64 = 90.0;

/// Points of one kind, in the order of their first coordinate.
#[derive(Debug, Clone)]
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
    /// A bound or an expectation rather than a measurement.
    pub(crate) dashed: bool,
}

impl Series {
    /// A measured series.
    pub(crate) fn new(name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self {
            name: name.into(),
            points,
            dashed: false,
        }
    }

    /// A bound or an expectation.
    pub(crate) fn bound(name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self {
            dashed: true,
            ..Self::new(name, points)
        }
    }
}

/// Lines over two axes.
#[derive(Debug, Clone)]
pub(crate) struct LineChart {
    pub(crate) title: String,
    /// A line below the title, may be empty.
    pub(crate) note: String,
    pub(crate) x: Axis,
    pub(crate) y: Axis,
    pub(crate) series: Vec<Series>,
}

impl LineChart {
    /// Draws it into a file, whose name ends in `.svg` or `.png`.
    ///
    /// # Errors
    /// The name ends otherwise, or the file cannot be written.
    pub(crate) fn save(&self, path: &Path) -> Result<()> {
        canvas::save(path, (WIDTH, HEIGHT), |canvas| self.draw(canvas))
    }

    fn draw(&self, canvas: &mut Canvas<'_>) -> Result<()> {
        let mut header = Header::draw(canvas, &self.title, &self.note)?;
        let entries = self.series.iter().map(|series| {
            let swatch = if series.dashed {
                Swatch::Dashes
            } else {
                Swatch::Line
            };
            (series.name.as_str(), swatch)
        });
        header.legend(canvas, entries)?;
        let points = || self.series.iter().flat_map(|series| &series.points);
        let x = Span::of(&self.x, points().map(|point| point.0));
        let y = Span::of(&self.y, points().map(|point| point.1));
        let frame = Frame::draw(canvas, &header, (&self.x, x), (&self.y, y))?;
        for (index, series) in self.series.iter().enumerate() {
            let color = color_of(index);
            let points: Vec<_> = series
                .points
                .iter()
                .map(|point| frame.point(*point))
                .collect();
            if series.dashed {
                canvas.dashed(&points, color, 1.6, DASHES)?;
            } else if points.len() > 1 {
                canvas.path(&points, color, 2.0)?;
            }
            if !series.dashed {
                for point in marked(&points) {
                    canvas.mark(index, point, color)?;
                }
            }
        }
        Ok(())
    }
}

/// All points when they are few; of many, some that stand apart.
fn marked(points: &[Point]) -> Vec<Point> {
    if points.len() <= MAX_MARKED {
        return points.to_vec();
    }
    let mut marked: Vec<Point> = Vec::new();
    for point in points {
        let far = |last: &Point| (point.0 - last.0).hypot(point.1 - last.1) >= MARK_DISTANCE;
        if marked.last().is_none_or(far) {
            marked.push(*point);
        }
    }
    marked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_series_is_drawn() {
        let folder = tempfile::tempdir().unwrap();
        let chart = LineChart {
            title: "Goodput".to_owned(),
            note: String::new(),
            x: Axis::log("loss").format(super::super::axis::percent),
            y: Axis::linear("Mbit/s"),
            series: vec![
                Series::new("columba", vec![(0.001, 96.0), (0.1, 80.0)]),
                Series::new("one point", vec![(0.01, f64::NAN), (0.01, 3.0)]),
                Series::bound("bound", vec![(0.001, 97.0), (0.1, 87.0)]),
                Series::new("nothing", Vec::new()),
            ],
        };
        let path = folder.path().join("chart.svg");
        chart.save(&path).unwrap();
        let svg = std::fs::read_to_string(path).unwrap();
        for name in ["columba", "one point", "bound", "nothing", "10 %", "Mbit/s"] {
            assert!(svg.contains(name), "{name} is missing");
        }
        assert!(!svg.contains("NaN"), "{svg}");
    }
}
