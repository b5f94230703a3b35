//! Who is there, and whose whispers wait to be read.

use std::collections::BTreeMap;

use columba_core::chat::NameKey;

/// Somebody who is there, or with whom we whispered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// The name as the server writes it.
    pub name: String,
    /// Whether they are in the chat now.
    pub present: bool,
    /// Whether it is us.
    pub own: bool,
    /// Whispers of theirs that we have not read.
    pub unread: u32,
    /// Whether there are whispers with them.
    pub whispered: bool,
}

/// Everybody: those who are there, and absent ones with whom there are whispers.
#[derive(Clone, Debug, Default)]
pub struct People {
    /// Sorted by name, whatever its case.
    all: BTreeMap<String, Person>,
}

/// The same name, whatever its case or look-alike letters, is the same person.
pub(in crate::model) fn same_person(one: &str, other: &str) -> bool {
    one == other || NameKey::of(one) == NameKey::of(other)
}

fn order(name: &str) -> String {
    name.to_lowercase()
}

impl People {
    /// Everybody, sorted by name: those who are there, and absent ones with whom there are whispers.
    pub fn iter(&self) -> impl Iterator<Item = &Person> {
        self.all.values()
    }

    /// How many are in the chat.
    #[must_use]
    pub fn present(&self) -> usize {
        self.iter().filter(|person| person.present).count()
    }

    /// Whispers that we have not read, of all.
    #[must_use]
    pub fn unread(&self) -> u32 {
        self.iter().map(|person| person.unread).sum()
    }

    /// Somebody by name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Person> {
        self.all.get(&order(name))
    }

    fn entry(&mut self, name: &str) -> &mut Person {
        self.all.entry(order(name)).or_insert_with(|| Person {
            name: name.to_owned(),
            present: false,
            own: false,
            unread: 0,
            whispered: false,
        })
    }

    /// These are in the chat now, and nobody else; `own` is us.
    pub(in crate::model) fn set(&mut self, names: &[String], own: &str) {
        for person in self.all.values_mut() {
            person.present = false;
        }
        for name in names {
            self.join(name, own);
        }
        self.forget_absent();
    }

    pub(in crate::model) fn join(&mut self, name: &str, own: &str) {
        let person = self.entry(name);
        person.present = true;
        person.own = !own.is_empty() && name == own;
        name.clone_into(&mut person.name);
    }

    pub(in crate::model) fn leave(&mut self, name: &str) {
        if let Some(person) = self.all.get_mut(&order(name)) {
            person.present = false;
        }
        self.forget_absent();
    }

    /// Nobody is known to be there.
    pub(in crate::model) fn clear_presence(&mut self) {
        self.set(&[], "");
    }

    /// A whisper with them; `unread` when it is theirs and not looked at.
    pub(in crate::model) fn whispered(&mut self, name: &str, unread: bool) {
        let person = self.entry(name);
        person.whispered = true;
        person.unread += u32::from(unread);
    }

    pub(in crate::model) fn read(&mut self, name: &str) {
        if let Some(person) = self.all.get_mut(&order(name)) {
            person.unread = 0;
        }
    }

    fn forget_absent(&mut self) {
        self.all
            .retain(|_, person| person.present || person.whispered);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(people: &People) -> Vec<(&str, bool)> {
        people
            .iter()
            .map(|person| (person.name.as_str(), person.present))
            .collect()
    }

    #[test]
    fn those_who_left_stay_only_for_their_whispers() {
        let mut people = People::default();
        people.set(&["bob".to_owned(), "Ada".to_owned()], "Ada");
        people.join("eve", "Ada");
        people.whispered("eve", true);
        people.leave("eve");
        people.leave("bob");
        people.leave("nobody");
        assert_eq!(names(&people), [("Ada", true), ("eve", false)]);
        assert_eq!((people.present(), people.unread()), (1, 1));
        people.read("eve");
        assert_eq!(people.unread(), 0);
        assert!(people.get("ada").is_some_and(|person| person.own));
    }

    #[test]
    fn a_fresh_list_replaces_who_was_there() {
        let mut people = People::default();
        people.set(&["a".to_owned(), "b".to_owned()], "a");
        people.set(&["a".to_owned(), "c".to_owned()], "a");
        assert_eq!(names(&people), [("a", true), ("c", true)]);
        assert!(same_person("Bob", "bob"));
        assert!(!same_person("bob", "bop"));
    }
}
