//! Which saved rows there are, by what they measured.

use std::path::{Path, PathBuf};

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
    /// Folders beside them, for distributions, by name.
    pub(super) folders: Vec<PathBuf>,
}

impl Collection {
    /// Reads every `.json` and `.jsonl` file of a folder. A folder that is not there has none.
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let (mut files, mut folders) = (Vec::new(), Vec::new());
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
            } else if path.is_dir() {
                folders.push(path);
            }
        }
        files.sort_by(|a, b| (a.date(), &a.name).cmp(&(b.date(), &b.name)));
        folders.sort();
        Ok(Self { files, folders })
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

    /// The newest row of a workload for each combination of these fields, in the order of the first of them.
    pub(super) fn newest_values(&self, workload: &str, identity: &[&str]) -> Vec<&Value> {
        let mut newest: Vec<&Value> = Vec::new();
        for row in self.files.iter().flat_map(|file| &file.other) {
            if row["workload"] != workload {
                continue;
            }
            let same = |old: &&mut &Value| identity.iter().all(|field| old[*field] == row[*field]);
            match newest.iter_mut().find(same) {
                Some(old) => *old = row,
                None => newest.push(row),
            }
        }
        newest
    }

    /// Files of a workload, those that measured the same together.
    pub(super) fn groups(&self, workload: &str) -> Vec<Group<'_>> {
        let mut groups: Vec<Group<'_>> = Vec::new();
        for file in &self.files {
            if !file.other.iter().any(|row| row["workload"] == workload) {
                continue;
            }
            match groups.iter_mut().find(|group| group.measures(file)) {
                Some(group) => group.files.push(file),
                None => groups.push(Group { files: vec![file] }),
            }
        }
        groups
    }
}

/// Files that measured the same.
pub(super) struct Group<'c> {
    files: Vec<&'c File>,
}

impl Group<'_> {
    fn measures(&self, file: &File) -> bool {
        let names = |file: &File| -> Vec<String> {
            let name =
                |row: &Value| format!("{} {} {}", row["row"], row["path_rate"], row["server_nice"]);
            file.other.iter().map(name).collect()
        };
        self.files
            .first()
            .is_some_and(|first| names(first) == names(file))
    }

    /// Their rows, the oldest first.
    pub(super) fn rows(&self) -> Vec<&Value> {
        self.files.iter().flat_map(|file| &file.other).collect()
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
