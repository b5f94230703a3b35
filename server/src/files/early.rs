//! Tells of a tree's files while the folder is scanned, so that the first of them are on their way before the last are found.

use super::index::SharedEntry;
use crate::helpers::{HelperEvent, Ticket};

/// What is told of one question while the folder is scanned for it.
#[derive(Debug)]
pub(super) struct Early {
    ticket: Ticket,
    /// How the names of files start that it asks for; none when it is answered as a whole.
    trees: Vec<String>,
    /// How many files may still be told.
    room: usize,
    told: Told,
}

/// What was told of the trees that a question asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Nothing,
    /// All their files.
    All,
    /// As many as may be.
    TooMany,
}

impl Early {
    /// A question whose trees begin like this: at most `room` of their files may be told.
    pub(super) fn new(ticket: Ticket, trees: Vec<String>, room: usize) -> Self {
        let told = if trees.is_empty() {
            Told::Nothing
        } else {
            Told::All
        };
        Self {
            ticket,
            trees,
            room,
            told,
        }
    }

    /// What was told of it.
    pub(super) const fn told(&self) -> Told {
        self.told
    }

    /// Those of the files found in `folder` that it asks for.
    pub(super) fn tell(
        &mut self,
        folder: &str,
        found: &[SharedEntry],
        post: impl FnOnce(HelperEvent),
    ) {
        let is_wanted = self.trees.iter().any(|tree| folder.starts_with(&**tree));
        if !is_wanted || found.is_empty() || self.told == Told::TooMany {
            return;
        }
        let Some(room) = self.room.checked_sub(found.len()) else {
            self.told = Told::TooMany;
            return;
        };
        self.room = room;
        post(HelperEvent::Found {
            ticket: self.ticket,
            found: found.to_vec(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::index::tests::{index_of, share};
    use crate::slots::Slots;

    #[test]
    fn no_more_files_are_told_than_may_be_offered() {
        let root = share();
        let index = index_of(root.path());
        let entries = index.starting_with("docs/");
        let client = Slots::default().insert_with(|_| ());
        let ticket = Ticket { client, request: 1 };
        let mut early = Early::new(ticket, vec!["docs/".to_owned()], 3);
        let mut posts = 0;
        for folder in ["", "docs/", "docs/deep/", "docs/"] {
            early.tell(folder, &entries[..1], |_| posts += 1);
        }
        early.tell("docs/", &[], |_| posts += 1);
        assert_eq!((posts, early.told()), (3, Told::All));
        early.tell("docs/", &entries[..1], |_| posts += 1);
        early.tell("docs/", &[], |_| posts += 1);
        assert_eq!((posts, early.told()), (3, Told::TooMany));
        assert_eq!(Early::new(ticket, Vec::new(), 3).told(), Told::Nothing);
    }
}
