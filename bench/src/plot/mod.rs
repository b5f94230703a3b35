//! Charts as SVG and PNG: lines on linear and logarithmic axes, bars, percentiles of latencies.
//!
//! Say what is to be seen ([`LineChart`], [`BarChart`], [`PercentileChart`]), then `save` it: the file's name tells the
//! format. Colours are told apart by people who are colour-blind, and lines also by their marks.
//!
//! - `axis`: scales, ticks and how numbers are written.
//! - `canvas`: the drawing surface: points, lines and words in logical pixels, over plotters' two backends.
//! - `frame`: title, legend, grid and axes, which all charts have.
//! - `line`, `bars`, `percentiles`: the charts.

mod axis;
mod bars;
mod canvas;
mod frame;
mod line;
mod percentiles;

pub(crate) use axis::{Axis, bytes, nanoseconds, percent};
pub(crate) use bars::{Bar, BarChart, BarGroup};
pub(crate) use line::{LineChart, Series};
pub(crate) use percentiles::{Distribution, PercentileChart, save_series};
