//! The hash check: every listed file is here, with the source's hash by the client's word and by what is on disk, and
//! nothing else is.

use std::collections::HashMap;
use std::path::Path;

use super::Downloads;
use super::share::{Share, SharedFile};
use crate::content;
use crate::download::FileOutcome;

/// What is wrong with the downloads; nothing when all is well.
pub(crate) fn problems(
    share: &Share,
    listed: &[SharedFile],
    downloads: &Downloads,
    folder: &Path,
) -> Vec<String> {
    let mut problems = downloads.failures.clone();
    let outcomes: HashMap<&str, &FileOutcome> = downloads
        .files
        .iter()
        .map(|file| (file.file.as_str(), file))
        .collect();
    if outcomes.len() != downloads.files.len() {
        problems.push("a file was reported twice".to_owned());
    }
    for file in listed {
        let problem = match outcomes.get(file.name.as_str()) {
            Some(outcome) => check(share.folder(), file, outcome, folder),
            None => Some("is missing".to_owned()),
        };
        if let Some(problem) = problem {
            problems.push(format!("{} {problem}", file.name));
        }
    }
    match content::count_files(folder) {
        Ok(found) if found == listed.len() => {}
        Ok(found) => problems.push(format!(
            "there are {found} files instead of {}",
            listed.len()
        )),
        Err(error) => problems.push(format!("{error:#}")),
    }
    problems
}

fn check(share: &Path, file: &SharedFile, outcome: &FileOutcome, folder: &Path) -> Option<String> {
    if !outcome.target.starts_with(folder) {
        return Some(format!("went to {}", outcome.target.display()));
    }
    if outcome.bytes != file.bytes {
        return Some(format!(
            "has {} bytes instead of {}",
            outcome.bytes, file.bytes
        ));
    }
    let hashes = (
        content::hash_of(&share.join(&file.name)),
        content::hash_of(&outcome.target),
    );
    match hashes {
        (Ok(source), Ok(target)) if source == target && source == outcome.blake3 => None,
        (Ok(source), Ok(target)) => Some(format!(
            "differs: source {source}, on disk {target}, by the client's word {}",
            outcome.blake3
        )),
        (Err(error), _) | (_, Err(error)) => Some(format!("cannot be checked: {error:#}")),
    }
}
