//! All files of one client by key, those that were offered together lying together.
//!
//! Files come and end in about the order of their keys. A map of the files themselves would put each somewhere else, and
//! each look at one of ten thousand would wait for memory.

use slab::Slab;

use super::download::Download;
use crate::numbered::Numbered;
use crate::storage::FileKey;

/// The files.
#[derive(Debug, Default)]
pub(super) struct Downloads {
    places: Numbered<usize>,
    files: Slab<(FileKey, Download)>,
}

impl Downloads {
    pub(super) fn get(&self, key: &FileKey) -> Option<&Download> {
        let place = *self.places.get(key.0)?;
        self.files.get(place).map(|(_, file)| file)
    }

    pub(super) fn get_mut(&mut self, key: &FileKey) -> Option<&mut Download> {
        let place = *self.places.get(key.0)?;
        self.files.get_mut(place).map(|(_, file)| file)
    }

    pub(super) fn insert(&mut self, key: FileKey, file: Download) {
        self.remove(&key);
        let place = self.files.insert((key, file));
        self.places.insert(key.0, place);
    }

    pub(super) fn remove(&mut self, key: &FileKey) {
        if let Some(place) = self.places.remove(key.0) {
            self.files.try_remove(place);
        }
        if self.places.is_empty() {
            // Thousands of files leave no memory behind.
            *self = Self::default();
        }
    }

    /// In no particular order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&FileKey, &Download)> {
        self.files.iter().map(|(_, (key, file))| (key, file))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&FileKey, &mut Download)> {
        self.files.iter_mut().map(|(_, (key, file))| (&*key, file))
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &FileKey> {
        self.iter().map(|(key, _)| key)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &Download> {
        self.iter().map(|(_, file)| file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_by_key_whatever_went_before() {
        let mut all = Downloads::default();
        let file = |number: u32| Download::new(1, "a".to_owned(), number, "a".into(), 1, [0; 16]);
        for number in 0..100 {
            all.insert(FileKey(number), file(number));
        }
        for number in (0..100).step_by(3) {
            all.remove(&FileKey(number));
        }
        all.insert(FileKey(200), file(200));
        all.insert(FileKey(1), file(7));
        assert_eq!(all.values().count(), 67);
        assert_eq!(all.get(&FileKey(1)).map(|file| file.file), Some(7));
        assert!(all.get(&FileKey(3)).is_none() && all.get_mut(&FileKey(200)).is_some());
        let keys: Vec<FileKey> = all.keys().copied().collect();
        keys.iter().for_each(|key| all.remove(key));
        assert_eq!((all.iter().count(), all.files.capacity()), (0, 0));
    }
}
