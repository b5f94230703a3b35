//! Values by numbers of our own that are handed out one after the other: found by place, without a hash.

use std::collections::VecDeque;

/// Values by number. Takes a place for each number from the oldest to the newest of those that are held.
#[derive(Debug)]
pub(crate) struct Numbered<T> {
    /// The number of the first place.
    first: u32,
    places: VecDeque<Option<T>>,
    len: usize,
}

impl<T> Default for Numbered<T> {
    fn default() -> Self {
        Self {
            first: 0,
            places: VecDeque::new(),
            len: 0,
        }
    }
}

impl<T> Numbered<T> {
    pub(crate) fn get(&self, number: u32) -> Option<&T> {
        let place = number.checked_sub(self.first)?;
        self.places.get(place as usize)?.as_ref()
    }

    /// Puts a value in its place; returns the one that was there.
    pub(crate) fn insert(&mut self, number: u32, value: T) -> Option<T> {
        if self.places.is_empty() {
            self.first = number;
        }
        while number < self.first {
            self.places.push_front(None);
            self.first -= 1;
        }
        let place = (number - self.first) as usize;
        while self.places.len() <= place {
            self.places.push_back(None);
        }
        let before = self.places[place].replace(value);
        self.len += usize::from(before.is_none());
        before
    }

    pub(crate) fn remove(&mut self, number: u32) -> Option<T> {
        let place = number.checked_sub(self.first)?;
        let gone = self.places.get_mut(place as usize)?.take()?;
        self.len -= 1;
        if self.len == 0 {
            // Thousands of numbers leave no memory behind.
            *self = Self::default();
        }
        while matches!(self.places.front(), Some(None)) {
            self.places.pop_front();
            self.first += 1;
        }
        Some(gone)
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// By ascending number.
    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.places.iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn it_is_a_map() {
        let (mut map, mut plain) = (Numbered::default(), BTreeMap::new());
        let mut state = 1_u64;
        for time in 0..20_000 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let number = (state >> 40) as u32 % 50;
            // More come than go, then more go than come.
            if (state >> 33) & 0b11 < 1 + ((time / 1000) & 1) * 2 {
                assert_eq!(map.insert(number, time), plain.insert(number, time));
            } else {
                assert_eq!(map.remove(number), plain.remove(&number));
            }
            assert!(map.values().eq(plain.values()), "after {time}");
            assert_eq!(map.is_empty(), plain.is_empty());
            assert!((0..50).all(|number| map.get(number) == plain.get(&number)));
            assert!(map.places.len() <= 50 && !matches!(map.places.front(), Some(None)));
        }
    }

    #[test]
    fn numbers_that_are_gone_take_no_place() {
        let mut map = Numbered::default();
        for number in 1..100_000 {
            map.insert(number, ());
            map.remove(number.saturating_sub(10));
        }
        assert!(map.places.len() < 12 && map.places.capacity() < 100);
    }
}
