//! The drawing surface: logical pixels as `f64`, drawn finer by plotters' backends.

use std::fmt::Display;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use plotters::backend::{BitMapBackend, DrawingBackend, SVGBackend};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{
    Color as _, FontDesc, FontFamily, FontStyle, RGBColor, ShapeStyle, TextStyle, register_font,
};

/// Words are measured with the font in `assets`; an SVG is read with it, or with what its reader has.
const FAMILY: &str = "Roboto, Helvetica, Arial, sans-serif";
const REGULAR: &[u8] = include_bytes!("../../assets/Roboto-Regular.ttf");
const MEDIUM: &[u8] = include_bytes!("../../assets/Roboto-Medium.ttf");

/// An SVG's coordinates are whole numbers in plotters: eighths of a pixel.
const SVG_SCALE: f64 = 8.0;
/// A PNG is drawn four times as fine as said, then halved: what is left is smooth, and sharp on dense screens.
const PNG_SCALE: f64 = 4.0;
const PNG_HALVING: usize = 2;

pub(super) const INK: RGBColor = RGBColor(0x22, 0x26, 0x2b);
pub(super) const FAINT_INK: RGBColor = RGBColor(0x5f, 0x66, 0x6e);
pub(super) const GRID: RGBColor = RGBColor(0xd4, 0xd8, 0xdd);
pub(super) const FINE_GRID: RGBColor = RGBColor(0xec, 0xee, 0xf1);
pub(super) const PAPER: RGBColor = RGBColor(0xff, 0xff, 0xff);

/// Told apart with every kind of colour blindness (Okabe and Ito), without their yellow, which paper swallows.
const PALETTE: [RGBColor; 7] = [
    RGBColor(0x00, 0x72, 0xb2),
    RGBColor(0xd5, 0x5e, 0x00),
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0xcc, 0x79, 0xa7),
    RGBColor(0xe6, 0x9f, 0x00),
    RGBColor(0x56, 0xb4, 0xe9),
    RGBColor(0x44, 0x4b, 0x54),
];

/// The colour of the series with this index.
pub(super) fn color_of(index: usize) -> RGBColor {
    PALETTE[index % PALETTE.len()]
}

/// A point in logical pixels, from the upper left corner.
pub(super) type Point = (f64, f64);

/// A rectangle in logical pixels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Area {
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) right: f64,
    pub(super) bottom: f64,
}

impl Area {
    pub(super) fn width(&self) -> f64 {
        self.right - self.left
    }

    pub(super) fn height(&self) -> f64 {
        self.bottom - self.top
    }
}

/// Where a text stands with respect to its point; in height it is always centred on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Center,
    Right,
}

/// How a text looks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Font {
    pub(super) size: f64,
    pub(super) medium: bool,
    pub(super) color: RGBColor,
}

impl Font {
    pub(super) const TITLE: Self = Self {
        size: 20.0,
        medium: true,
        color: INK,
    };
    pub(super) const NOTE: Self = Self {
        size: 14.0,
        medium: false,
        color: FAINT_INK,
    };
    pub(super) const LABEL: Self = Self {
        size: 14.0,
        medium: false,
        color: INK,
    };

    fn style(self, scale: f64, align: Align) -> TextStyle<'static> {
        let weight = if self.medium {
            FontStyle::Bold
        } else {
            FontStyle::Normal
        };
        let horizontal = match align {
            Align::Left => HPos::Left,
            Align::Center => HPos::Center,
            Align::Right => HPos::Right,
        };
        TextStyle {
            font: FontDesc::new(FontFamily::Name(FAMILY), self.size * scale, weight),
            color: self.color.to_backend_color(),
            pos: Pos::new(horizontal, VPos::Center),
        }
    }

    /// Logical pixels that a text takes in width.
    pub(super) fn width_of(self, text: &str) -> f64 {
        // Without a font there is no width, and drawing will say so.
        let layout = self.style(PNG_SCALE, Align::Left).font.layout_box(text);
        layout.map_or(0.0, |((left, _), (right, _))| {
            f64::from(right - left) / PNG_SCALE
        })
    }
}

/// What a backend can do, without its type.
trait Surface {
    fn path(&mut self, points: &[(i32, i32)], style: ShapeStyle) -> Result<()>;
    fn polygon(&mut self, points: &[(i32, i32)], style: ShapeStyle) -> Result<()>;
    fn text(&mut self, text: &str, style: &TextStyle<'_>, at: (i32, i32)) -> Result<()>;
}

fn drawing(error: impl Display) -> anyhow::Error {
    anyhow!("cannot draw the chart: {error}")
}

impl<B: DrawingBackend> Surface for B {
    fn path(&mut self, points: &[(i32, i32)], style: ShapeStyle) -> Result<()> {
        self.draw_path(points.iter().copied(), &style)
            .map_err(drawing)
    }

    fn polygon(&mut self, points: &[(i32, i32)], style: ShapeStyle) -> Result<()> {
        self.fill_polygon(points.iter().copied(), &style)
            .map_err(drawing)
    }

    fn text(&mut self, text: &str, style: &TextStyle<'_>, at: (i32, i32)) -> Result<()> {
        self.draw_text(text, style, at).map_err(drawing)
    }
}

/// A surface with its scale.
pub(super) struct Canvas<'s> {
    surface: &'s mut dyn Surface,
    scale: f64,
    /// The bitmap backend sets text a little higher and larger than an SVG's reader does.
    text_drop: f64,
    text_scale: f64,
}

impl Canvas<'_> {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "pixels; a cast saturates far outside of the picture"
    )]
    fn at(&self, (x, y): Point) -> (i32, i32) {
        (
            (x * self.scale).round() as i32,
            (y * self.scale).round() as i32,
        )
    }

    fn stroke(&self, color: RGBColor, width: f64) -> ShapeStyle {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a few pixels"
        )]
        let width = (width * self.scale).round().max(1.0) as u32;
        color.stroke_width(width)
    }

    /// Connected straight lines.
    pub(super) fn path(&mut self, points: &[Point], color: RGBColor, width: f64) -> Result<()> {
        let style = self.stroke(color, width);
        let points: Vec<_> = points.iter().map(|point| self.at(*point)).collect();
        self.surface.path(&points, style)
    }

    /// Connected straight lines, broken into dashes of `on` pixels with gaps of `off`.
    pub(super) fn dashed(
        &mut self,
        points: &[Point],
        color: RGBColor,
        width: f64,
        (on, off): (f64, f64),
    ) -> Result<()> {
        let (mut drawing, mut left) = (true, on);
        let mut dash: Vec<Point> = points.first().copied().into_iter().collect();
        for pair in points.windows(2) {
            let (mut from, to) = (pair[0], pair[1]);
            loop {
                let length = (to.0 - from.0).hypot(to.1 - from.1);
                if length <= left {
                    left -= length;
                    dash.push(to);
                    break;
                }
                let share = left / length;
                from = (
                    share.mul_add(to.0 - from.0, from.0),
                    share.mul_add(to.1 - from.1, from.1),
                );
                dash.push(from);
                if drawing {
                    self.path(&dash, color, width)?;
                }
                drawing = !drawing;
                left = if drawing { on } else { off };
                dash = vec![from];
            }
        }
        if drawing && dash.len() > 1 {
            self.path(&dash, color, width)?;
        }
        Ok(())
    }

    /// A filled polygon.
    pub(super) fn polygon(&mut self, points: &[Point], color: RGBColor) -> Result<()> {
        let points: Vec<_> = points.iter().map(|point| self.at(*point)).collect();
        self.surface.polygon(&points, color.filled())
    }

    /// A filled rectangle.
    pub(super) fn area(&mut self, area: Area, color: RGBColor) -> Result<()> {
        let Area {
            left,
            top,
            right,
            bottom,
        } = area;
        self.polygon(
            &[(left, top), (right, top), (right, bottom), (left, bottom)],
            color,
        )
    }

    /// The mark of the series with this index, as a second way to tell it.
    pub(super) fn mark(&mut self, index: usize, (x, y): Point, color: RGBColor) -> Result<()> {
        let corners = match index % 4 {
            0 => regular(24, 3.6, 0.0),
            1 => regular(4, 4.6, 0.125),
            2 => regular(3, 4.8, -0.25),
            _ => regular(4, 4.8, 0.0),
        };
        let points: Vec<_> = corners.map(|(dx, dy)| (x + dx, y + dy)).collect();
        self.polygon(&points, color)
    }

    /// A line of text.
    pub(super) fn text(&mut self, text: &str, at: Point, align: Align, font: Font) -> Result<()> {
        let style = font.style(self.scale * self.text_scale, align);
        let at = self.at((at.0, font.size.mul_add(self.text_drop, at.1)));
        self.surface.text(text, &style, at)
    }
}

/// The corners of a regular polygon around the origin, the first `turn` full turns from the right.
fn regular(corners: u32, radius: f64, turn: f64) -> impl Iterator<Item = Point> {
    (0..corners).map(move |corner| {
        let angle = (f64::from(corner) / f64::from(corners) + turn) * std::f64::consts::TAU;
        (radius * angle.cos(), radius * angle.sin())
    })
}

/// Draws a picture into a file, whose name ends in `.svg` or `.png`.
pub(super) fn save(
    path: &Path,
    size: (u32, u32),
    draw: impl Fn(&mut Canvas<'_>) -> Result<()>,
) -> Result<()> {
    for (style, bytes) in [(FontStyle::Normal, REGULAR), (FontStyle::Bold, MEDIUM)] {
        register_font(FAMILY, style, bytes)
            .map_err(|_| anyhow!("the font of the charts cannot be read"))?;
    }
    let context = || format!("cannot write {}", path.display());
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(context)?;
    }
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("svg") => std::fs::write(path, svg(size, draw)?).with_context(context),
        Some("png") => png(path, size, draw).with_context(context),
        Some(_) | None => bail!(
            "{}: a chart's name must end in .svg or .png",
            path.display()
        ),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a picture's size"
)]
fn scaled((width, height): (u32, u32), scale: f64) -> (u32, u32) {
    (
        (f64::from(width) * scale) as u32,
        (f64::from(height) * scale) as u32,
    )
}

fn svg(size: (u32, u32), draw: impl Fn(&mut Canvas<'_>) -> Result<()>) -> Result<String> {
    let mut text = String::new();
    let fine = scaled(size, SVG_SCALE);
    let mut backend = SVGBackend::with_string(&mut text, fine);
    let mut canvas = Canvas {
        surface: &mut backend,
        scale: SVG_SCALE,
        text_drop: 0.0,
        text_scale: 1.0,
    };
    paper(&mut canvas, size)?;
    draw(&mut canvas)?;
    backend.present().map_err(drawing)?;
    drop(backend);
    let drawn = format!("width=\"{}\" height=\"{}\"", fine.0, fine.1);
    let shown = format!("width=\"{}\" height=\"{}\"", size.0, size.1);
    Ok(text.replacen(&drawn, &shown, 1))
}

fn png(path: &Path, size: (u32, u32), draw: impl Fn(&mut Canvas<'_>) -> Result<()>) -> Result<()> {
    let fine = scaled(size, PNG_SCALE);
    let (width, height) = (fine.0 as usize, fine.1 as usize);
    let mut pixels = vec![0xff; width * height * 3];
    let mut backend = BitMapBackend::with_buffer(&mut pixels, fine);
    let mut canvas = Canvas {
        surface: &mut backend,
        scale: PNG_SCALE,
        text_drop: 0.11,
        text_scale: 0.945,
    };
    paper(&mut canvas, size)?;
    draw(&mut canvas)?;
    drop(backend);
    let halved = halve(&pixels, width);
    let shown = (fine.0 / 2, fine.1 / 2);
    let mut backend = BitMapBackend::new(path, shown);
    backend
        .blit_bitmap((0, 0), shown, &halved)
        .map_err(drawing)?;
    backend.present().map_err(drawing)
}

fn paper(canvas: &mut Canvas<'_>, (width, height): (u32, u32)) -> Result<()> {
    let all = Area {
        left: 0.0,
        top: 0.0,
        right: f64::from(width),
        bottom: f64::from(height),
    };
    canvas.area(all, PAPER)
}

/// The means of blocks of pixels.
fn halve(pixels: &[u8], width: usize) -> Vec<u8> {
    let rows: Vec<&[u8]> = pixels.chunks_exact(width * 3).collect();
    let mut halved = Vec::with_capacity(pixels.len() / (PNG_HALVING * PNG_HALVING));
    for block in rows.chunks_exact(PNG_HALVING) {
        for x in (0..width * 3).step_by(PNG_HALVING * 3) {
            for channel in 0..3 {
                let of_row = |row: &[u8]| -> usize {
                    let columns = (0..PNG_HALVING).map(|column| x + column * 3 + channel);
                    columns
                        .map(|index| row.get(index).map_or(0, |value| usize::from(*value)))
                        .sum()
                };
                let sum: usize = block.iter().map(|row| of_row(row)).sum();
                let mean = sum / (PNG_HALVING * PNG_HALVING);
                halved.push(u8::try_from(mean).unwrap_or(u8::MAX));
            }
        }
    }
    halved
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_are_written_and_others_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join("new").join(name);
        let draw = |canvas: &mut Canvas<'_>| {
            canvas.text(
                "p99 < 1 µs & more",
                (50.0, 20.0),
                Align::Center,
                Font::LABEL,
            )?;
            canvas.dashed(&[(0.0, 30.0), (99.0, 35.0)], INK, 1.5, (4.0, 3.0))?;
            canvas.mark(2, (20.0, 32.0), color_of(2))
        };
        save(&path("a.svg"), (100, 40), draw).unwrap();
        save(&path("a.png"), (100, 40), draw).unwrap();
        let svg = std::fs::read_to_string(path("a.svg")).unwrap();
        assert!(
            svg.starts_with("<svg width=\"100\" height=\"40\" viewBox=\"0 0 800 320\""),
            "{svg}"
        );
        assert!(svg.contains("p99 &lt; 1 µs &amp; more"), "{svg}");
        let png = std::fs::read(path("a.png")).unwrap();
        assert!(png.starts_with(b"\x89PNG"));
        // Width and height, in the first chunk.
        assert_eq!(&png[16..24], [0, 0, 0, 200, 0, 0, 0, 80]);
        assert!(save(&path("a.gif"), (100, 40), draw).is_err());
    }

    #[test]
    fn wider_words_are_measured_as_wider() {
        let folder = tempfile::tempdir().unwrap();
        save(&folder.path().join("a.svg"), (10, 10), |_| Ok(())).unwrap();
        let narrow = Font::LABEL.width_of("ii");
        assert!(narrow > 1.0 && Font::LABEL.width_of("WWWW") > 3.0 * narrow);
    }
}
