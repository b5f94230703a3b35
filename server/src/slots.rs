//! A slab whose keys carry a generation: a key of something that is gone never reaches what took its place.

use mio::Token;
use slab::Slab;

/// Names one entry for as long as it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SlotId {
    index: u32,
    generation: u32,
}

/// Half of a token's bits hold the index, the other half the generation.
const HALF_BITS: u32 = usize::BITS / 2;

/// Indices and generations are kept below this so that both fit a token.
const HALF: usize = 1 << HALF_BITS;

impl SlotId {
    /// The poll token that stands for this entry. Its generation is never 0, so it is at least 2^(half the bits).
    #[must_use]
    pub fn token(self) -> Token {
        Token((self.generation as usize) << HALF_BITS | self.index as usize)
    }

    /// The entry a token stands for; `None` for the named tokens, which have generation 0.
    #[must_use]
    pub fn from_token(token: Token) -> Option<Self> {
        let generation = u32::try_from(token.0 >> HALF_BITS).ok()?;
        let index = u32::try_from(token.0 & (HALF - 1)).ok()?;
        (generation != 0).then_some(Self { index, generation })
    }

    /// Its place in the slab, for tables beside it.
    #[must_use]
    pub fn index(self) -> usize {
        self.index as usize
    }
}

/// Entries by [`SlotId`].
#[derive(Debug)]
pub struct Slots<T> {
    entries: Slab<(u32, T)>,
    next_generation: u32,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self {
            entries: Slab::new(),
            next_generation: 1,
        }
    }
}

impl<T> Slots<T> {
    /// Adds what `make` returns when told its id.
    pub fn insert_with(&mut self, make: impl FnOnce(SlotId) -> T) -> SlotId {
        let vacant = self.entries.vacant_entry();
        let index = u32::try_from(vacant.key() & (HALF - 1)).unwrap_or(u32::MAX);
        let generation = self.next_generation;
        let id = SlotId { index, generation };
        vacant.insert((generation, make(id)));
        let limit = u32::try_from(HALF - 1).unwrap_or(u32::MAX);
        self.next_generation = if generation >= limit {
            1
        } else {
            generation + 1
        };
        id
    }

    /// The entry, if it is still there.
    #[must_use]
    pub fn get(&self, id: SlotId) -> Option<&T> {
        self.entries
            .get(id.index())
            .filter(|(generation, _)| *generation == id.generation)
            .map(|(_, entry)| entry)
    }

    /// The entry, if it is still there.
    pub fn get_mut(&mut self, id: SlotId) -> Option<&mut T> {
        self.entries
            .get_mut(id.index())
            .filter(|(generation, _)| *generation == id.generation)
            .map(|(_, entry)| entry)
    }

    /// Takes the entry out, if it is still there.
    pub fn remove(&mut self, id: SlotId) -> Option<T> {
        self.get(id)?;
        self.entries.try_remove(id.index()).map(|(_, entry)| entry)
    }

    /// The id of what is in this place now.
    #[must_use]
    pub fn id_at(&self, index: usize) -> Option<SlotId> {
        let &(generation, _) = self.entries.get(index)?;
        Some(SlotId {
            index: u32::try_from(index).ok()?,
            generation,
        })
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All entries.
    pub fn values(&self) -> impl Iterator<Item = &T> + '_ {
        self.entries.iter().map(|(_, (_, entry))| entry)
    }

    /// All ids.
    pub fn ids(&self) -> impl Iterator<Item = SlotId> + '_ {
        self.entries.iter().filter_map(|(index, &(generation, _))| {
            Some(SlotId {
                index: u32::try_from(index).ok()?,
                generation,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_id_reaches_nothing() {
        let mut slots = Slots::default();
        let old = slots.insert_with(|_| "old");
        assert_eq!(slots.remove(old), Some("old"));
        let new = slots.insert_with(|_| "new");
        assert_eq!(old.index(), new.index(), "the place is used again");
        assert_eq!(slots.get(old), None);
        assert_eq!(slots.get_mut(old), None);
        assert_eq!(slots.remove(old), None);
        assert_eq!(slots.get(new), Some(&"new"));
    }

    #[test]
    fn tokens_and_ids_are_the_same_thing() {
        let mut slots = Slots::default();
        for _ in 0..5 {
            let id = slots.insert_with(|id| id);
            assert_eq!(SlotId::from_token(id.token()), Some(id));
            assert_eq!(slots.get(id), Some(&id));
        }
        assert_eq!(
            SlotId::from_token(Token(3)),
            None,
            "named tokens are no entries"
        );
        assert_eq!(slots.ids().count(), slots.len());
    }

    #[test]
    fn generations_wrap_without_reaching_zero() {
        let mut slots = Slots {
            next_generation: u32::MAX,
            ..Slots::default()
        };
        let last = slots.insert_with(|_| ());
        slots.remove(last);
        let first = slots.insert_with(|_| ());
        assert_ne!(first, last);
        assert!(SlotId::from_token(first.token()).is_some());
    }
}
