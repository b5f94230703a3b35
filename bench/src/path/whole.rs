//! Downloads as a whole, from the first SYN to the verified end: one file, and many small ones beside one of their size.

use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

use super::course::{Course, Over, Place, open};
use crate::bulk::make_files;
use crate::content;
use crate::download::FileOutcome;
use crate::progress::Progress;
use crate::session::ServerOptions;
use crate::stage::Stage;

const PAYLOAD_LIMIT: u16 = 1472;
const NAME: &str = "whole";

/// How a download went.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    #[serde(flatten)]
    place: Place,
    bytes: u64,
    files: u64,
    /// From the first SYN to the verified end.
    seconds: f64,
    goodput_mbit: f64,
    erasure_bound_mbit: f64,
    pub(super) ratio: f64,
    /// What the design asks of `ratio`; `null` for a download of one's own choice.
    wanted: Option<f64>,
}

/// Ten thousand small files beside one file of their size.
#[derive(Debug, Serialize)]
pub(super) struct SmallRow {
    #[serde(flatten)]
    place: Place,
    bytes: u64,
    files: u64,
    seconds: f64,
    files_per_second: f64,
    bulk_seconds: f64,
    /// Rate of the small files ÷ rate of the large one.
    pub(super) bulk_share: f64,
}

/// Downloads one file of so many bytes.
pub(super) fn one(
    over: Over,
    course: &Course,
    bytes: u64,
    wanted: Option<f64>,
    progress: &Progress,
) -> Result<Row> {
    let outcome = download(over, course, 1, bytes, progress)?;
    let goodput_mbit = mbit(outcome.bytes, outcome.seconds);
    let erasure_bound_mbit = course.erasure_bound_mbit();
    Ok(Row {
        place: Place::new("whole", "columba", over, course),
        bytes,
        files: 1,
        seconds: outcome.seconds,
        goodput_mbit,
        erasure_bound_mbit,
        ratio: goodput_mbit / erasure_bound_mbit,
        wanted,
    })
}

/// Downloads so many files of so many bytes, and then one of the size of all.
pub(super) fn small(
    over: Over,
    course: &Course,
    files: u64,
    bytes_each: u64,
    progress: &Progress,
) -> Result<SmallRow> {
    let all = download(over, course, files, bytes_each, progress)?;
    let bulk = download(over, course, 1, files * bytes_each, progress)?;
    Ok(SmallRow {
        place: Place::new("small-files", "columba", over, course),
        bytes: all.bytes,
        files: all.files,
        seconds: all.seconds,
        files_per_second: all.files as f64 / all.seconds.max(1e-9),
        bulk_seconds: bulk.seconds,
        bulk_share: mbit(all.bytes, all.seconds) / mbit(bulk.bytes, bulk.seconds).max(1e-9),
    })
}

fn download(
    over: Over,
    course: &Course,
    files: u64,
    bytes_each: u64,
    progress: &Progress,
) -> Result<FileOutcome> {
    let mut stage = Stage::new(None)?;
    let share = stage.make_folder("share")?;
    if files == 1 {
        content::write_sparse(&share.join(NAME), bytes_each, course.seed)?;
    } else {
        make_files(&share.join(NAME), files, bytes_each)?;
    }
    let options = ServerOptions {
        share: &share,
        congestion: None,
        plaintext: false,
        cipher: None,
    };
    let (road, session) = open(over, course, &mut stage, options)?;
    let mut order = session.order(&stage, [NAME], None, PAYLOAD_LIMIT)?;
    order.summary = files > 1;
    let fetch = || session.download_file(&mut stage, &order, progress);
    let (outcome, _) = road.at_the_client(fetch)??;
    anyhow::ensure!(
        outcome.bytes == files * bytes_each,
        "{} bytes came instead of {}",
        outcome.bytes,
        files * bytes_each
    );
    // The path loses what the processes say at their end; that is not waited for.
    Ok(outcome)
}

fn mbit(bytes: u64, seconds: f64) -> f64 {
    bytes as f64 * 8.0 / 1e6 / seconds.max(1e-9)
}

pub(super) fn describe(row: &Row) -> String {
    let verdict = match row.wanted {
        Some(wanted) if row.ratio >= wanted => format!(" (at least {wanted})"),
        Some(wanted) => format!(" (MISSED: at least {wanted})"),
        None => String::new(),
    };
    format!(
        "{} {:.1} MB in {:.2} s, {:.2} Mbit/s, {:.3} of the bound{verdict}",
        row.place,
        row.bytes as f64 / 1e6,
        row.seconds,
        row.goodput_mbit,
        row.ratio
    )
}

pub(super) fn describe_small(row: &SmallRow) -> String {
    format!(
        "{} {} files in {:.2} s, {:.0} files/s; as one file {:.2} s: {:.3} of the bulk rate",
        row.place, row.files, row.seconds, row.files_per_second, row.bulk_seconds, row.bulk_share
    )
}

/// Seconds that it takes about, without starting processes.
pub(super) fn estimate(course: &Course, bytes: u64) -> Result<Duration> {
    let seconds = bytes as f64 * 8.0 / 1e6 / (0.9 * course.erasure_bound_mbit());
    Duration::try_from_secs_f64(seconds).context("no path takes so long")
}
