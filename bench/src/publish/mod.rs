//! Saved rows as `docs/BENCHMARKS.md`: tables, plots, and where Columba is behind.
//!
//! Every file below `bench/runs/` is JSON lines as the workloads print them, with a header where they were kept with
//! `--save` (`crate::saved`), or a folder of `.hgrm` distributions. Of rows that measured the same the newest counts; ratios
//! are only taken within one file.
//!
//! - `collect`: which rows there are.
//! - `throughput`: limits and peers, single workloads; `small_files`: ten thousand of them.
//! - `standing`: the aims, and whether they are met.
//! - `paths`: lossy paths; `people`: chat and members; `latency`: distributions.
//! - `plots`: pictures; `table`: Markdown; `fields`: of rows.

mod collect;
mod fields;
mod latency;
mod paths;
mod people;
mod plots;
mod small_files;
mod standing;
mod table;
mod throughput;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;

use crate::report;
use crate::saved::{Header, RUNS_FOLDER};
use crate::stage::BadUsage;
use crate::{content, machine};

use collect::Collection;

/// Options of the report.
#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// Folder with saved rows [default: bench/runs of the sources]
    #[arg(long, value_name = "DIR")]
    runs: Option<PathBuf>,
    /// The file to write; its plots go to a folder `plots` beside it [default: docs/BENCHMARKS.md of the sources]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// One JSON object on standard output: what was written
    #[arg(long)]
    json: bool,
}

/// Writes the report.
pub(crate) fn run(args: &ReportArgs) -> Result<bool> {
    let place = |given: &Option<PathBuf>, default: &str| match given {
        Some(path) => Ok(path.clone()),
        None => content::repository().map(|repository| repository.join(default)),
    };
    let runs = place(&args.runs, RUNS_FOLDER)?;
    let output = place(&args.output, "docs/BENCHMARKS.md")?;
    let collection = Collection::read(&runs)?;
    if collection.is_empty() {
        anyhow::bail!(BadUsage(format!(
            "there are no rows in {}: keep some first, as with `columba-bench compare --save`",
            runs.display()
        )));
    }
    let plots = output.with_file_name("plots");
    std::fs::create_dir_all(&plots)
        .with_context(|| format!("cannot create {}", plots.display()))?;
    let text = text(&collection, &plots)?;
    std::fs::write(&output, &text).with_context(|| format!("cannot write {}", output.display()))?;
    if args.json {
        report::print_json(&serde_json::json!({
            "report": output,
            "plots": plots,
            "files": collection.files.len(),
            "rows": collection.rows(),
        }))?;
    } else {
        report::print(&format!("written to {}\n", output.display()))?;
    }
    Ok(true)
}

fn text(collection: &Collection, plots: &std::path::Path) -> Result<String> {
    let mut text = String::from(
        "# Benchmarks\n\n\
         Written by `columba-bench report` from the rows in `bench/runs/`; not edited by hand. Absolute figures belong to the \
         machine and the minute they were taken on: ratios within one table are what counts. How to repeat them: \
         [TESTING.md](TESTING.md).\n",
    );
    text += &standing::section(collection);
    text += &throughput::sections(collection, plots)?;
    text += &paths::sections(collection, plots)?;
    text += &people::sections(collection, plots)?;
    text += &origin(collection);
    Ok(text)
}

/// Where the figures come from.
fn origin(collection: &Collection) -> String {
    let mut text = String::from("\n## Where these figures come from\n\n");
    let mut table = table::Table::new(&[
        "file",
        "date (UTC)",
        "commit",
        "machine",
        "`columba-bench …`",
    ]);
    for file in &collection.files {
        let unknown = || "not noted".to_owned();
        let header = file.header.as_ref();
        table.row(vec![
            format!("`{}`", file.name),
            header.map_or_else(unknown, |header| header.date.clone()),
            header.map_or_else(unknown, |header| header.commit.clone()),
            header.map_or_else(unknown, machine_line),
            header.map_or_else(unknown, |header| format!("`{}`", header.arguments)),
        ]);
    }
    text += &table.text();
    text += "\nA commit with `+` had changes that were not committed. ";
    text += &format!("This report was put together at {}.\n", machine::utc_now());
    text
}

fn machine_line(header: &Header) -> String {
    let machine = &header.machine;
    format!(
        "{}, {} cores, {:.0} GiB, {}",
        machine.cpu,
        machine.cores,
        report::rate(machine.memory_bytes >> 20, 1024.0),
        machine.kernel
    )
}
