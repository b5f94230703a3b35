//! Draws the window in each of its main states, without a display, into docs/screenshots:
//! `cargo run -p columba-client --example screenshots`.
#![expect(clippy::unwrap_used, reason = "a tool ends with its first failure")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    missing_docs,
    unreachable_pub,
    clippy::print_stdout,
    reason = "a tool with small numbers"
)]

#[path = "../tests/gui/samples.rs"]
mod samples;

#[path = "../tests/gui/states.rs"]
mod states;

use std::path::Path;

use columba_client::gui::{App, settings};
use iced_test::Simulator;

const SIZE: (f32, f32) = (1180.0, 760.0);

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/screenshots");
    std::fs::create_dir_all(&folder).unwrap();
    for (name, make) in states::ALL {
        if name == "connect-first" {
            write_hash(&make().app);
        }
        if wanted.is_empty() || wanted.iter().any(|one| name.contains(one.as_str())) {
            draw(&make().app, &folder.join(format!("{name}.png")));
        }
    }
}

/// The hash that a test compares the first screen with.
fn write_hash(app: &App) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gui");
    // An existing one would be compared, not written.
    let _ = std::fs::remove_file(folder.join("connect-first-tiny-skia.sha256"));
    let mut simulator = Simulator::with_size(settings(), (640.0, 560.0), app.view());
    let snapshot = simulator.snapshot(&app.theme()).unwrap();
    snapshot.matches_hash(folder.join("connect-first")).unwrap();
}

/// Draws at twice the size, and halves it: smooth edges, small files.
fn draw(app: &App, target: &Path) {
    let mut simulator = Simulator::with_size(settings(), SIZE, app.view());
    let snapshot = simulator.snapshot(&app.theme()).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    snapshot
        .matches_image(scratch.path().join("shot.png"))
        .unwrap();
    let drawn = std::fs::read_dir(scratch.path())
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let decoder = png::Decoder::new(std::io::BufReader::new(std::fs::File::open(drawn).unwrap()));
    let mut reader = decoder.read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    let (width, height) = (info.width as usize / 2, info.height as usize / 2);
    let mut half = Vec::with_capacity(width * height * 3);
    for y in 0..height {
        for x in 0..width {
            for channel in 0..3 {
                let at = |dx: usize, dy: usize| {
                    let index = ((y * 2 + dy) * info.width as usize + x * 2 + dx) * 4 + channel;
                    u16::from(pixels[index])
                };
                half.push(((at(0, 0) + at(1, 0) + at(0, 1) + at(1, 1)) / 4) as u8);
            }
        }
    }
    let file = std::io::BufWriter::new(std::fs::File::create(target).unwrap());
    let mut encoder = png::Encoder::new(file, width as u32, height as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_compression(png::Compression::High);
    encoder
        .write_header()
        .unwrap()
        .write_image_data(&half)
        .unwrap();
}
