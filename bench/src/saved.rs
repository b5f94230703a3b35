//! Rows on disk, for [`crate::publish`] and for later: JSON lines, the first of which says what, when, where and of which
//! sources.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use serde::{Deserialize, Serialize};

use crate::content;
use crate::machine::{self, Machine};
use crate::progress::Progress;
use crate::report;

/// Where rows are kept, below the repository.
pub(crate) const RUNS_FOLDER: &str = "bench/runs";

/// Whether and where to keep rows.
#[derive(Debug, Clone, Args)]
pub(crate) struct SaveArgs {
    /// Keep the rows in a file [default: one below bench/runs/, named by workload and time]
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true)]
    save: Option<Option<PathBuf>>,
}

/// The first line of a saved file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Header {
    /// `run`, which no row has.
    pub(crate) event: String,
    pub(crate) workload: String,
    /// When it began, in UTC.
    pub(crate) date: String,
    /// Of the sources; `+`: changed since.
    pub(crate) commit: String,
    /// The command line, without the program.
    pub(crate) arguments: String,
    pub(crate) machine: Machine,
}

/// Where rows are being kept: each as soon as it is there, so that an interrupted run leaves what it has measured.
#[derive(Debug)]
pub(crate) struct Saved {
    target: Option<PathBuf>,
    /// Written before the first row; `None` once it is.
    header: Option<String>,
}

impl Saved {
    /// Nothing is kept unless `args` ask for it.
    pub(crate) fn begin(args: &SaveArgs, workload: &str) -> Result<Self> {
        let Some(target) = &args.save else {
            return Ok(Self {
                target: None,
                header: None,
            });
        };
        let repository = content::repository();
        let date = machine::utc_now();
        let target = match target {
            Some(target) => target.clone(),
            None => {
                let name = format!("{workload}-{}.jsonl", date.replace([':', '-'], ""));
                repository
                    .as_ref()
                    .ok()
                    .context("these are not the sources: name a file, --save=FILE")?
                    .join(RUNS_FOLDER)
                    .join(name)
            }
        };
        // Where somebody keeps rows is nobody's business.
        let arguments: Vec<String> = std::env::args()
            .skip(1)
            .filter(|argument| !argument.starts_with("--save"))
            .collect();
        let header = Header {
            event: "run".to_owned(),
            workload: workload.to_owned(),
            date,
            commit: repository.map_or_else(|_| String::new(), |folder| machine::commit(&folder)),
            arguments: arguments.join(" "),
            machine: Machine::here(),
        };
        Ok(Self {
            target: Some(target),
            header: Some(serde_json::to_string(&header)?),
        })
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, row: &impl Serialize) -> Result<()> {
        let Some(target) = &self.target else {
            return Ok(());
        };
        let context = || format!("cannot write {}", target.display());
        let mut text = serde_json::to_string(row)? + "\n";
        let mut options = OpenOptions::new();
        if let Some(header) = self.header.take() {
            if let Some(folder) = target.parent() {
                fs::create_dir_all(folder).with_context(context)?;
            }
            text = format!("{header}\n{text}");
            options.write(true).create(true).truncate(true);
        } else {
            options.append(true);
        }
        let mut file = options.open(target).with_context(context)?;
        file.write_all(text.as_bytes()).with_context(context)
    }

    /// Keeps a row and shows it: to scripts, or to people.
    pub(crate) fn show(
        &mut self,
        row: &impl Serialize,
        json: bool,
        text: impl FnOnce() -> String,
    ) -> Result<()> {
        self.row(row)?;
        if json {
            report::print_json(row)
        } else {
            report::print(&(text() + "\n"))
        }
    }

    /// Says where the rows are.
    pub(crate) fn end(self, progress: &Progress) {
        if let (Some(target), None) = (self.target, self.header) {
            progress.say(&format!("kept in {}", target.display()));
        }
    }
}

/// A file that was kept.
#[derive(Debug)]
pub(crate) struct Kept {
    /// `None`: somebody wrote rows into a file by hand.
    pub(crate) header: Option<Header>,
    pub(crate) rows: Vec<serde_json::Value>,
}

/// Reads a file of rows.
pub(crate) fn read(path: &Path) -> Result<Kept> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut kept = Kept {
        header: None,
        rows: Vec::new(),
    };
    for (number, line) in (1..).zip(text.lines()) {
        let value: serde_json::Value = serde_json::from_str(line)
            .with_context(|| format!("{}:{number} is no JSON", path.display()))?;
        if value["event"] == "run" {
            let header = serde_json::from_value(value)
                .with_context(|| format!("{}:{number} is no header", path.display()))?;
            kept.header = Some(header);
        } else {
            kept.rows.push(value);
        }
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Cli {
        #[command(flatten)]
        save: SaveArgs,
    }

    #[test]
    fn the_file_may_be_named_or_not() {
        use clap::Parser;
        let save = |arguments: &[&str]| Cli::try_parse_from(arguments).unwrap().save.save;
        assert_eq!(save(&["bench"]), None);
        assert_eq!(save(&["bench", "--save"]), Some(None));
        assert_eq!(save(&["bench", "--save=a"]), Some(Some("a".into())));
    }

    #[test]
    fn what_is_kept_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("below/rows.jsonl");
        let args = SaveArgs {
            save: Some(Some(target.clone())),
        };
        let mut saved = Saved::begin(&args, "bulk").unwrap();
        saved.row(&serde_json::json!({"row": "columba"})).unwrap();
        saved.row(&serde_json::json!({"row": "tcp"})).unwrap();
        saved.end(&Progress::new(true));
        let kept = read(&target).unwrap();
        assert_eq!(kept.header.unwrap().workload, "bulk");
        let rows = ["columba", "tcp"].map(|row| serde_json::json!({"row": row}));
        assert_eq!(kept.rows, rows);
        fs::write(&target, "{}\nno\n").unwrap();
        let error = read(&target).unwrap_err().to_string();
        assert!(error.contains("rows.jsonl:2"), "{error}");
    }
}
