//! What was asked for, and what a file that the server offers is called here.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use foldhash::fast::RandomState;

use crate::engine::message::GetProgress;
use crate::storage::paths::{NameRules, relative_path};
use crate::storage::{FileKey, StorageError};

/// Names that mean the whole shared folder.
const ROOT_NAMES: [&str; 3] = ["", ".", "/"];

/// What is asked for, and where it goes.
#[derive(Debug)]
pub(in crate::engine) struct GetOrder {
    names: HashSet<String>,
    /// The names that decide where files go.
    roots: HashSet<String, RandomState>,
    target: Option<PathBuf>,
    folder: Option<PathBuf>,
}

impl GetOrder {
    /// The parts of a [`Command::Get`](crate::engine::message::Command::Get).
    pub(in crate::engine) fn new(
        names: &[String],
        roots: &[String],
        target: Option<PathBuf>,
        folder: Option<PathBuf>,
    ) -> Self {
        let roots = if roots.is_empty() { names } else { roots };
        let plainly = |name: &String| plain(name).to_owned();
        Self {
            names: names.iter().map(plainly).collect(),
            roots: roots.iter().map(plainly).collect(),
            target,
            folder,
        }
    }
}

/// One download that somebody asked for: some names, told as a whole.
#[derive(Debug)]
pub(super) struct Request {
    order: GetOrder,
    /// Nothing of it is to come for now.
    pub(super) paused: bool,
    /// It was given up: only what is complete already is told.
    pub(super) cancelled: bool,
    /// Files of which something is here and nothing comes.
    pub(super) parked: HashSet<FileKey, RandomState>,
    /// What was told last.
    pub(super) told: GetProgress,
    /// Frames whose last answer is still to come.
    pub(super) unanswered: usize,
    /// Its offered files: an answer may come twice, after a reconnect.
    pub(super) offered: HashMap<String, FileKey>,
    /// Files that have not ended.
    pub(super) unfinished: usize,
    /// Bytes of all offered files.
    pub(super) total_bytes: u64,
    /// Bytes of those that ended.
    pub(super) ended_bytes: u64,
}

impl Request {
    pub(super) fn new(order: GetOrder) -> Self {
        Self {
            order,
            paused: false,
            cancelled: false,
            parked: HashSet::default(),
            told: GetProgress::default(),
            unanswered: 0,
            offered: HashMap::new(),
            unfinished: 0,
            total_bytes: 0,
            ended_bytes: 0,
        }
    }

    /// The names as they are asked for, sorted.
    pub(super) fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.order.names.iter().map(String::as_str).collect();
        names.sort_unstable();
        names
    }

    /// Another folder than the usual one.
    pub(super) fn folder(&self) -> Option<PathBuf> {
        self.order.folder.clone()
    }

    /// Whether nothing more will come of it.
    pub(super) const fn is_over(&self) -> bool {
        self.unanswered == 0 && self.unfinished == 0
    }

    /// Where the offered file goes, relative to the download folder. A file that was asked for by
    /// name loses the folders before it; a folder's tree keeps the folder's own name.
    pub(super) fn local_path(&self, offered: &str) -> Result<PathBuf, StorageError> {
        let whole = relative_path(offered, NameRules::HERE)?;
        let refuse = || StorageError::Name {
            name: offered.chars().take(200).collect(),
            reason: "it was not asked for",
        };
        let asked = std::iter::successors(Some(offered), |name| {
            name.rsplit_once('/').map(|(folder, _)| folder)
        })
        .find(|name| self.order.roots.contains(*name));
        let kept = match asked {
            Some(asked) => {
                let above = asked.rsplit_once('/').map_or("", |(above, _)| above);
                whole.strip_prefix(above).map_err(|_| refuse())?
            }
            None if ROOT_NAMES
                .iter()
                .any(|root| self.order.roots.contains(*root)) =>
            {
                &whole
            }
            None => return Err(refuse()),
        };
        Ok(match &self.order.target {
            Some(target) if asked == Some(offered) => target.clone(),
            Some(target) => target.join(kept),
            None => kept.to_path_buf(),
        })
    }
}

/// A typed name without what means nothing: `./a//` is `a`.
fn plain(name: &str) -> &str {
    let name = name.strip_prefix("./").unwrap_or(name);
    match name.trim_end_matches('/') {
        "" => name,
        trimmed => trimmed,
    }
}

/// Splits a `-o` path into the folder and what a single file is called in it.
///
/// A folder that exists, or a path that ends with a separator, stays a folder.
#[must_use]
pub fn split_output(output: Option<&Path>, several: bool) -> (PathBuf, Option<PathBuf>) {
    let Some(path) = output else {
        return (PathBuf::from("."), None);
    };
    let ends_as_folder = path
        .as_os_str()
        .as_encoded_bytes()
        .last()
        .is_some_and(|byte| std::path::is_separator(char::from(*byte)));
    match (path.parent(), path.file_name()) {
        (Some(folder), Some(name)) if !several && !ends_as_folder && !path.is_dir() => {
            (folder.to_path_buf(), Some(PathBuf::from(name)))
        }
        _ => (path.to_path_buf(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(names: &[&str], target: Option<&str>) -> Request {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        Request::new(GetOrder::new(&names, &[], target.map(PathBuf::from), None))
    }

    #[test]
    fn single_files_of_a_tree_go_where_the_tree_went() {
        let again = GetOrder::new(&["a/tree/x".into()], &["a/tree".into()], None, None);
        let again = Request::new(again);
        assert_eq!(again.names(), ["a/tree/x"]);
        assert_eq!(again.local_path("a/tree/x").unwrap(), Path::new("tree/x"));
    }

    #[test]
    fn files_lose_their_folders_and_trees_keep_theirs() {
        let some = request(&["a/b/file", "a/tree", "./plain", "dir/"], None);
        for (offered, local) in [
            ("a/b/file", "file"),
            ("a/tree/x", "tree/x"),
            ("a/tree/y/z", "tree/y/z"),
            ("plain", "plain"),
            ("dir/q", "dir/q"),
        ] {
            assert_eq!(some.local_path(offered).unwrap(), Path::new(local));
        }
        assert!(some.local_path("a/b/other").is_err());
        assert!(some.local_path("a/tree/../../x").is_err());
        let all = request(&["/"], None);
        assert_eq!(all.local_path("a/b").unwrap(), Path::new("a/b"));
    }

    #[test]
    fn a_target_names_the_file_or_holds_the_tree() {
        let one = request(&["a/b"], Some("new"));
        assert_eq!(one.local_path("a/b").unwrap(), Path::new("new"));
        assert_eq!(one.local_path("a/b/c").unwrap(), Path::new("new/b/c"));
    }

    #[test]
    fn output_paths() {
        let folder = tempfile::tempdir().unwrap();
        let there = folder.path();
        let split = |path: &Path, several| split_output(Some(path), several);
        assert_eq!(split(there, false), (there.to_path_buf(), None));
        let new = there.join("new");
        assert_eq!(
            split(&new, false),
            (there.to_path_buf(), Some(PathBuf::from("new")))
        );
        assert_eq!(split(&new, true), (new.clone(), None));
        assert_eq!(split(&new.join(""), false), (new.join(""), None));
        assert_eq!(split_output(None, false), (PathBuf::from("."), None));
    }
}
