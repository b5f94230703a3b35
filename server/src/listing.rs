//! Long answers, made page by page as the client takes them, so that a list of a million files fills no queue.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use columba_core::control::{ErrorFrame, FileEntry, Frame, Framing, OfferEntry, pages};

use crate::files::index::{Index, SharedEntry};
use crate::lobby::{Refusal, encode};

/// Entries looked at for one page: no page holds more.
const ENTRIES_PER_PAGE: usize = 2_048;

/// An answer on its way.
#[derive(Debug)]
pub(crate) enum Listing {
    /// The list of files.
    Files {
        /// The request's number.
        request: u32,
        /// Only names that start like this.
        prefix: String,
        /// All files.
        index: Arc<Index>,
        /// How many were listed already.
        next: usize,
    },
    /// Files offered.
    Offer {
        /// The request's number.
        request: u32,
        /// Number of the first entry that is still here.
        first: u32,
        /// What is still to be offered.
        entries: VecDeque<SharedEntry>,
        /// Whether further files will be offered for the same request.
        more: bool,
    },
    /// Names that were refused.
    Refusals {
        /// The request's number.
        request: u32,
        /// One for each.
        refusals: VecDeque<Refusal>,
    },
}

impl Listing {
    /// Whether its last page is the last one of an answer.
    pub(crate) const fn ends_request(&self) -> bool {
        !matches!(self, Self::Offer { more: true, .. })
    }

    /// The next page, and whether it is the last.
    pub(crate) fn next_page(&mut self, framing: Framing) -> (Bytes, bool) {
        match self {
            Self::Files {
                request,
                prefix,
                index,
                next,
            } => {
                let all = index.starting_with(prefix);
                let rest = all.get(*next..).unwrap_or_default();
                let entries: Vec<FileEntry<'_>> =
                    rest.iter().take(ENTRIES_PER_PAGE).map(file_entry).collect();
                let (page, _) = pages(&entries).next().unwrap_or_default();
                *next += page.len();
                let last = *next >= all.len();
                let frame = Frame::FileList {
                    request: *request,
                    last,
                    entries: page.to_vec(),
                };
                (encode(&frame, framing), last)
            }
            Self::Offer {
                request,
                first,
                entries,
                more,
            } => {
                let numbered = (*first..).zip(entries.iter()).take(ENTRIES_PER_PAGE);
                let offered: Vec<OfferEntry<'_>> = numbered
                    .map(|(file, entry)| offer_entry(file, entry))
                    .collect();
                let (page, _) = pages(&offered).next().unwrap_or_default();
                let count = page.len();
                let last = count == entries.len();
                let frame = Frame::Offer {
                    request: *request,
                    last: last && !*more,
                    entries: page.to_vec(),
                };
                let bytes = encode(&frame, framing);
                entries.drain(..count);
                *first += u32::try_from(count).unwrap_or(u32::MAX);
                (bytes, last)
            }
            Self::Refusals { request, refusals } => {
                let Some(Refusal { code, text }) = refusals.pop_front() else {
                    return (Bytes::new(), true);
                };
                let frame = Frame::Error(ErrorFrame {
                    code,
                    fatal: false,
                    request: *request,
                    text: &text,
                });
                (encode(&frame, framing), refusals.is_empty())
            }
        }
    }
}

fn file_entry(entry: &SharedEntry) -> FileEntry<'_> {
    FileEntry {
        name: &entry.name,
        size: entry.version.size,
        mtime_s: entry.version.mtime_s(),
    }
}

fn offer_entry(file: u32, entry: &SharedEntry) -> OfferEntry<'_> {
    OfferEntry {
        file,
        name: &entry.name,
        size: entry.version.size,
        version: entry.version.tag(),
    }
}

#[cfg(test)]
mod tests {
    use columba_core::control::{FrameDecoder, Side};

    use super::*;

    fn folder(files: usize) -> (tempfile::TempDir, Arc<Index>) {
        let root = tempfile::tempdir().expect("a temporary folder");
        for index in 0..files {
            std::fs::write(
                root.path().join(format!("{index:05}-{}", "x".repeat(60))),
                b"x",
            )
            .expect("writable");
        }
        let index = Index::scan(root.path(), |_, _| std::ops::ControlFlow::Continue(()));
        (root, Arc::new(index.expect("it is not broken off")))
    }

    fn names(mut listing: Listing) -> (Vec<String>, usize) {
        let mut decoder = FrameDecoder::new(Framing::Tls, Side::Server);
        let (mut names, mut pages) = (Vec::new(), 0);
        loop {
            let (page, last) = listing.next_page(Framing::Tls);
            pages += 1;
            decoder.push(&page);
            let frame = decoder.next_frame().expect("our own frame").expect("whole");
            let told_last = if let Frame::FileList {
                last,
                entries,
                request: 3,
            } = frame
            {
                names.extend(entries.iter().map(|entry| entry.name.to_owned()));
                last
            } else if let Frame::Offer {
                last,
                entries,
                request: 3,
            } = frame
            {
                for entry in &entries {
                    assert_eq!(entry.file as usize, 10 + names.len());
                    names.push(entry.name.to_owned());
                }
                last
            } else {
                panic!("{frame:?}");
            };
            assert_eq!(told_last, last);
            if last {
                return (names, pages);
            }
        }
    }

    #[test]
    fn lists_and_offers_are_complete_over_many_pages() {
        let (_root, index) = folder(1_500);
        let all: Vec<String> = index
            .starting_with("")
            .iter()
            .map(|entry| entry.name.to_string())
            .collect();
        let prefix = String::new();
        let (listed, pages) = names(Listing::Files {
            request: 3,
            prefix,
            index: Arc::clone(&index),
            next: 0,
        });
        assert_eq!(listed, all);
        assert!(pages > 2);
        let entries = index.starting_with("").to_vec().into();
        let (offered, _) = names(Listing::Offer {
            request: 3,
            first: 10,
            entries,
            more: false,
        });
        assert_eq!(offered, all);
    }

    #[test]
    fn an_empty_list_is_one_page() {
        let (_root, index) = folder(0);
        let listing = Listing::Files {
            request: 3,
            prefix: "none".into(),
            index,
            next: 0,
        };
        assert_eq!(names(listing), (vec![], 1));
        assert_eq!(
            names(Listing::Offer {
                request: 3,
                first: 10,
                entries: VecDeque::new(),
                more: false,
            }),
            (vec![], 1)
        );
    }
}
