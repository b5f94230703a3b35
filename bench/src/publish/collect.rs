//! Which saved rows there are, by what they measured.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::measured::Row;
use crate::saved::{self, Header};

/// A saved file.
#[derive(Debug)]
pub(super) struct File {
    pub(super) name: String,
    pub(super) header: Option<Header>,
    /// Rows of throughput.
    pub(super) measured: Vec<Row>,
    /// All others.
    pub(super) other: Vec<Value>,
}

/// All of them, the newest last.
#[derive(Debug, Default)]
pub(super) struct Collection {
    pub(super) files: Vec<File>,
}

impl Collection {
    /// Reads every `.json` and `.jsonl` file of a folder. A folder that is not there has none.
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let mut files = Vec::new();
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(error) => {
                return Err(error).with_context(|| format!("cannot list {}", folder.display()));
            }
        };
        for entry in entries {
            let path = entry?.path();
            let is_rows = path
                .extension()
                .is_some_and(|extension| extension == "json" || extension == "jsonl");
            if is_rows {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                files.push(File::of(name.into_owned(), saved::read(&path)?));
            }
        }
        files.sort_by(|a, b| (a.date(), &a.name).cmp(&(b.date(), &b.name)));
        Ok(Self { files })
    }

    /// Whether there is nothing to report.
    pub(super) fn is_empty(&self) -> bool {
        self.rows() == 0
    }

    /// All rows.
    pub(super) fn rows(&self) -> usize {
        let count = |file: &File| file.measured.len() + file.other.len();
        self.files.iter().map(count).sum()
    }

    /// Rows of a workload: those of the file that has most of them, of several the newest. So a short comparison does not
    /// hide a full one.
    pub(super) fn measured(&self, workload: &str) -> Vec<&Row> {
        let of = |file: &File| {
            file.measured
                .iter()
                .filter(|row| row.subject.workload == workload)
                .count()
        };
        let Some(best) = self.files.iter().max_by_key(|file| of(file)) else {
            return Vec::new();
        };
        best.measured
            .iter()
            .filter(|row| row.subject.workload == workload)
            .collect()
    }

    /// The newest row for each thing that a workload measured.
    pub(super) fn newest(&self, workload: &str) -> Vec<&Row> {
        let mut newest: Vec<&Row> = Vec::new();
        for row in self.files.iter().flat_map(|file| &file.measured) {
            if row.subject.workload != workload {
                continue;
            }
            match newest.iter_mut().find(|old| old.subject == row.subject) {
                Some(old) => *old = row,
                None => newest.push(row),
            }
        }
        newest
    }

    /// Other rows that have a field, of the newest file that has any.
    pub(super) fn with_field(&self, field: &str) -> Vec<&Value> {
        let has = |row: &&Value| row.get(field).is_some();
        let newest = self
            .files
            .iter()
            .rfind(|file| file.other.iter().any(|row| has(&row)));
        newest.map_or_else(Vec::new, |file| file.other.iter().filter(has).collect())
    }
}

impl File {
    fn of(name: String, kept: saved::Kept) -> Self {
        let mut file = Self {
            name,
            header: kept.header,
            measured: Vec::new(),
            other: Vec::new(),
        };
        for row in kept.rows {
            match serde_json::from_value::<Row>(row.clone()) {
                Ok(row) => file.measured.push(row),
                // Every other workload has its own fields.
                Err(_) => file.other.push(row),
            }
        }
        file
    }

    fn date(&self) -> &str {
        self.header.as_ref().map_or("", |header| &header.date)
    }
}
