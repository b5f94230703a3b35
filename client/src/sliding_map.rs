//! A map for keys that are handed out in ascending order and live for a while, such as the numbers of files and streams.
//!
//! Its memory covers the range from the lowest key that is there to the highest, and a look-up is an index: with ten
//! thousand files on their way, each miss of a hash table would wait for memory.

use std::collections::VecDeque;

/// The map.
#[derive(Debug)]
pub(crate) struct SlidingMap<T> {
    first: u32,
    /// By key less `first`; there is a value at the front.
    places: VecDeque<Option<T>>,
    len: usize,
}

impl<T> Default for SlidingMap<T> {
    fn default() -> Self {
        Self {
            first: 0,
            places: VecDeque::new(),
            len: 0,
        }
    }
}

impl<T> SlidingMap<T> {
    fn place(&self, key: u32) -> Option<usize> {
        Some(key.checked_sub(self.first)? as usize)
    }

    pub(crate) fn get(&self, key: u32) -> Option<&T> {
        self.places.get(self.place(key)?)?.as_ref()
    }

    /// Returns the value that was there.
    pub(crate) fn insert(&mut self, key: u32, value: T) -> Option<T> {
        if self.places.is_empty() {
            self.first = key;
        }
        while self.first > key {
            self.places.push_front(None);
            self.first -= 1;
        }
        let place = (key - self.first) as usize;
        if place >= self.places.len() {
            self.places.resize_with(place + 1, || None);
        }
        let before = self.places[place].replace(value);
        self.len += usize::from(before.is_none());
        before
    }

    pub(crate) fn remove(&mut self, key: u32) -> Option<T> {
        let place = self.place(key)?;
        let value = self.places.get_mut(place)?.take()?;
        self.len -= 1;
        while let Some(None) = self.places.front() {
            self.places.pop_front();
            self.first += 1;
        }
        if self.len == 0 {
            // Thousands of keys leave no memory behind.
            self.places = VecDeque::new();
        }
        Some(value)
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// By ascending key.
    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.places.iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_behaves_as_a_map_whatever_comes_and_goes() {
        let mut map = SlidingMap::default();
        let mut model = std::collections::BTreeMap::new();
        let mut state = 7u64;
        for round in 0..20_000u32 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let key = 1_000_000 + round / 7 + (state >> 40) as u32 % 50;
            if state >> 33 & 1 == 0 {
                assert_eq!(map.insert(key, round), model.insert(key, round));
            } else {
                assert_eq!(map.remove(key), model.remove(&key));
            }
            assert_eq!(map.get(key), model.get(&key));
            assert_eq!(map.is_empty(), model.is_empty());
        }
        assert!(map.values().eq(model.values()));
        assert_eq!((map.get(0), map.get(u32::MAX)), (None, None));
        for key in model.into_keys() {
            map.remove(key);
        }
        assert_eq!((map.is_empty(), map.places.capacity()), (true, 0));
    }

    #[test]
    fn memory_follows_the_keys_that_are_there() {
        let mut map = SlidingMap::default();
        for key in 5..100_000 {
            map.insert(key, ());
            map.remove(key - 3);
        }
        assert_eq!(map.values().count(), 3);
        assert!(map.places.capacity() < 100);
        map.insert(99_000, ());
        assert!(map.get(99_000).is_some() && map.get(98_999).is_none());
    }
}
