//! The shared files as a list to search and sort.

use std::collections::HashSet;

use crate::engine::message::FileInfo;

/// By what the list is sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SortBy {
    /// Name, folders together.
    #[default]
    Name,
    /// Size.
    Size,
    /// Last change.
    Changed,
}

/// The shared files.
#[derive(Clone, Debug, Default)]
pub struct Files {
    all: Vec<FileInfo>,
    names: HashSet<String>,
    search: String,
    sort: SortBy,
    descending: bool,
    /// Indices of those that the search finds, sorted.
    shown: Vec<usize>,
    loaded: bool,
}

/// Most names that messages are searched for.
const MAX_KNOWN_NAMES: usize = 100_000;

impl Files {
    /// Whether a list has come; until then an empty one says nothing.
    #[must_use]
    pub const fn is_loaded(&self) -> bool {
        self.loaded
    }

    /// How many files are shared.
    #[must_use]
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether none is shared.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Bytes of all.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.all.iter().map(|file| file.size).sum()
    }

    /// How many the search finds.
    #[must_use]
    pub fn found(&self) -> usize {
        self.shown.len()
    }

    /// Those that the search finds, from the `from`-th on; take as many as are shown.
    pub fn shown(&self, from: usize) -> impl Iterator<Item = &FileInfo> {
        let shown = self.shown.get(from..).unwrap_or_default();
        shown.iter().filter_map(|index| self.all.get(*index))
    }

    /// A file by its listed name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&FileInfo> {
        self.all.iter().find(|file| file.name == name)
    }

    /// The search in force.
    #[must_use]
    pub fn search(&self) -> &str {
        &self.search
    }

    /// How the list is sorted, and whether the largest comes first.
    #[must_use]
    pub const fn sorting(&self) -> (SortBy, bool) {
        (self.sort, self.descending)
    }

    /// Shows only files whose names hold all words of `search`, whatever their case.
    pub fn set_search(&mut self, search: &str) {
        search.clone_into(&mut self.search);
        self.refresh();
    }

    /// Sorts; by the same once more turns the order round.
    pub fn sort_by(&mut self, sort: SortBy) {
        if self.sort == sort {
            self.descending = !self.descending;
        } else {
            self.sort = sort;
            self.descending = sort != SortBy::Name;
        }
        self.refresh();
    }

    /// Names of all files, for messages and completion.
    #[must_use]
    pub(in crate::model) const fn names(&self) -> &HashSet<String> {
        &self.names
    }

    /// All of them, as the server lists them.
    pub fn iter(&self) -> impl Iterator<Item = &FileInfo> {
        self.all.iter()
    }

    pub(in crate::model) fn set(&mut self, files: Vec<FileInfo>) {
        self.names = files
            .iter()
            .take(MAX_KNOWN_NAMES)
            .map(|file| file.name.clone())
            .collect();
        self.all = files;
        self.loaded = true;
        self.refresh();
    }

    pub(in crate::model) fn clear(&mut self) {
        self.set(Vec::new());
        self.loaded = false;
    }

    fn refresh(&mut self) {
        let words: Vec<String> = self
            .search
            .split_whitespace()
            .map(str::to_lowercase)
            .collect();
        let finds = |file: &FileInfo| {
            words.is_empty() || {
                let name = file.name.to_lowercase();
                words.iter().all(|word| name.contains(word))
            }
        };
        let mut shown: Vec<usize> = (0..self.all.len())
            .filter(|index| finds(&self.all[*index]))
            .collect();
        let all = &self.all;
        let (sort, descending) = (self.sort, self.descending);
        shown.sort_by(|one, other| {
            let (one, other) = (&all[*one], &all[*other]);
            let by_name = || one.name.cmp(&other.name);
            let order = match sort {
                SortBy::Name => by_name(),
                SortBy::Size => one.size.cmp(&other.size),
                SortBy::Changed => one.mtime_s.cmp(&other.mtime_s),
            };
            let order = if descending { order.reverse() } else { order };
            order.then_with(by_name)
        });
        self.shown = shown;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> Files {
        let mut files = Files::default();
        assert!(!files.is_loaded());
        let file = |name: &str, size, mtime_s| FileInfo {
            name: name.to_owned(),
            size,
            mtime_s,
        };
        files.set(vec![
            file("b/Big.iso", 100, 3),
            file("a.txt", 1, 9),
            file("b/small.iso", 5, 1),
        ]);
        files
    }

    fn shown(files: &Files) -> Vec<&str> {
        files.shown(0).map(|file| file.name.as_str()).collect()
    }

    #[test]
    fn the_search_takes_all_words_in_any_case() {
        let mut files = files();
        files.set_search("ISO  b/");
        assert_eq!(shown(&files), ["b/Big.iso", "b/small.iso"]);
        assert_eq!(files.shown(1).count(), 1);
        assert_eq!(files.shown(7).count(), 0);
        files.set_search("nothing");
        assert_eq!((files.found(), files.len()), (0, 3));
        assert_eq!(files.total_bytes(), 106);
    }

    #[test]
    fn sorting_twice_turns_it_round() {
        let mut files = files();
        assert_eq!(shown(&files), ["a.txt", "b/Big.iso", "b/small.iso"]);
        files.sort_by(SortBy::Size);
        assert_eq!(shown(&files), ["b/Big.iso", "b/small.iso", "a.txt"]);
        files.sort_by(SortBy::Size);
        assert_eq!(shown(&files), ["a.txt", "b/small.iso", "b/Big.iso"]);
        files.sort_by(SortBy::Changed);
        assert_eq!(shown(&files), ["a.txt", "b/Big.iso", "b/small.iso"]);
        files.clear();
        assert!(!files.is_loaded() && files.is_empty());
    }
}
