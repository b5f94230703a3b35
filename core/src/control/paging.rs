//! Long lists go out as several frames: this splits them so that each fits.

use super::limits::{LIST_PAGE_BYTES, SEGMENT_RANGE_BYTES};
use super::{FileEntry, OfferEntry, StartEntry};

/// Bytes that an item takes in a frame.
pub trait WireSize {
    /// Bytes on the wire.
    fn wire_bytes(&self) -> usize;
}

impl WireSize for &str {
    fn wire_bytes(&self) -> usize {
        2 + self.len()
    }
}

impl WireSize for FileEntry<'_> {
    fn wire_bytes(&self) -> usize {
        self.name.wire_bytes() + 8 + 8
    }
}

impl WireSize for OfferEntry<'_> {
    fn wire_bytes(&self) -> usize {
        4 + self.name.wire_bytes() + 8 + 16
    }
}

impl WireSize for StartEntry {
    fn wire_bytes(&self) -> usize {
        4 + 4 + 2 + self.missing.len() * SEGMENT_RANGE_BYTES
    }
}

impl WireSize for u32 {
    fn wire_bytes(&self) -> usize {
        4
    }
}

/// Splits a list into pages of at most [`LIST_PAGE_BYTES`] each, with whether it is the last one. An empty list is
/// one empty page, so that there is a frame that says `last`.
///
/// An item that is larger than a page gets one for itself; whether the frame takes it is for `encode` to say.
pub fn pages<T: WireSize>(items: &[T]) -> impl Iterator<Item = (&[T], bool)> {
    let mut rest = Some(items);
    std::iter::from_fn(move || {
        let items = rest?;
        let mut bytes = 0;
        let mut count = 0;
        for item in items {
            bytes += item.wire_bytes();
            if count > 0 && bytes > LIST_PAGE_BYTES {
                break;
            }
            count += 1;
        }
        let (page, after) = items.split_at(count);
        rest = (!after.is_empty()).then_some(after);
        Some((page, after.is_empty()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_list_is_one_last_page() {
        let items: [&str; 0] = [];
        assert_eq!(pages(&items).collect::<Vec<_>>(), [(&items[..], true)]);
    }

    #[test]
    fn pages_hold_everything_once_and_only_the_last_says_so() {
        let long = "x".repeat(1_000);
        let items = vec![long.as_str(); 200];
        let pages: Vec<_> = pages(&items).collect();
        assert!(pages.len() > 1);
        assert_eq!(pages.iter().map(|(page, _)| page.len()).sum::<usize>(), 200);
        assert!(
            pages
                .iter()
                .all(|(page, _)| page.len() * 1_002 <= LIST_PAGE_BYTES)
        );
        let last: Vec<bool> = pages.iter().map(|&(_, last)| last).collect();
        assert_eq!(last.iter().filter(|&&last| last).count(), 1);
        assert_eq!(last.last(), Some(&true));
    }

    #[test]
    fn an_oversized_item_stands_alone() {
        let huge = "x".repeat(LIST_PAGE_BYTES + 1);
        let items = ["a", huge.as_str(), "b"];
        let sizes: Vec<_> = pages(&items).map(|(page, _)| page.len()).collect();
        assert_eq!(sizes, [1, 1, 1]);
    }
}
