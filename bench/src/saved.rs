//! Rows on disk, for [`crate::publish`] and for later: JSON lines, the first of which says what, when, where and of which
//! sources.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use serde::{Deserialize, Serialize};

use crate::content;
use crate::machine::{self, Machine};
use crate::progress::Progress;

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

/// Rows that are being collected.
#[derive(Debug)]
pub(crate) struct Saved {
    target: Option<PathBuf>,
    lines: Vec<String>,
}

impl Saved {
    /// Nothing is kept unless `args` ask for it.
    pub(crate) fn begin(args: &SaveArgs, workload: &str) -> Result<Self> {
        let Some(target) = &args.save else {
            return Ok(Self {
                target: None,
                lines: Vec::new(),
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
            lines: vec![serde_json::to_string(&header)?],
        })
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, row: &impl Serialize) -> Result<()> {
        if self.target.is_some() {
            self.lines.push(serde_json::to_string(row)?);
        }
        Ok(())
    }

    /// Writes the file and says where.
    pub(crate) fn end(self, progress: &Progress) -> Result<()> {
        let Some(target) = self.target else {
            return Ok(());
        };
        let context = || format!("cannot write {}", target.display());
        if let Some(folder) = target.parent() {
            fs::create_dir_all(folder).with_context(context)?;
        }
        fs::write(&target, self.lines.join("\n") + "\n").with_context(context)?;
        progress.say(&format!("kept in {}", target.display()));
        Ok(())
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
        saved.end(&Progress::new(true)).unwrap();
        let kept = read(&target).unwrap();
        assert_eq!(kept.header.unwrap().workload, "bulk");
        assert_eq!(kept.rows, [serde_json::json!({"row": "columba"})]);
        fs::write(&target, "{}\nno\n").unwrap();
        let error = read(&target).unwrap_err().to_string();
        assert!(error.contains("rows.jsonl:2"), "{error}");
    }
}
