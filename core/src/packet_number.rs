//! Packet numbers: one per transmission, 64 bits, never reused. Only the low 32 bits travel.

/// The packet number whose low 32 bits are `low` and which lies nearest to `expected`
/// (RFC 9000, appendix A.3, with a fixed 32-bit encoding).
#[must_use]
pub const fn expand(low: u32, expected: u64) -> u64 {
    const WINDOW: u64 = 1 << 32;
    const HALF: u64 = WINDOW / 2;
    let candidate = (expected & !(WINDOW - 1)) | low as u64;
    if candidate + HALF <= expected && candidate <= u64::MAX - WINDOW {
        candidate + WINDOW
    } else if candidate > expected + HALF && candidate >= WINDOW {
        candidate - WINDOW
    } else {
        candidate
    }
}

/// What of a packet number travels.
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "only the low half travels")]
pub const fn low_half(number: u64) -> u32 {
    number as u32
}

/// Words of 64 packet numbers a [`ReceivedPackets`] remembers: twice what one ACK carries.
const WORDS: u64 = 128;
const WORD_COUNT: usize = 128;

/// Where the ring keeps a word.
const fn slot(word: u64) -> usize {
    (word % WORDS) as usize
}

/// The packet numbers received of late: replay protection, and what an ACK reports.
#[derive(Debug)]
pub struct ReceivedPackets {
    /// Bit `n % 64` of word `n / 64 % WORDS`, for packet numbers in the window below `next`.
    words: [u64; WORD_COUNT],
    /// One above the largest packet number received; zero when none was.
    next: u64,
    count: u64,
}

impl Default for ReceivedPackets {
    fn default() -> Self {
        Self {
            words: [0; WORD_COUNT],
            next: 0,
            count: 0,
        }
    }
}

impl ReceivedPackets {
    /// What the largest packet number is expected to be next.
    #[must_use]
    pub const fn expected(&self) -> u64 {
        self.next
    }

    /// Largest packet number received.
    #[must_use]
    pub const fn largest(&self) -> Option<u64> {
        self.next.checked_sub(1)
    }

    /// Number of different packets received.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Whether `number` was received, or is too old to tell.
    #[must_use]
    pub const fn is_replay(&self, number: u64) -> bool {
        if number >= self.next {
            return false;
        }
        if self.next.div_ceil(64) - number / 64 > WORDS {
            return true;
        }
        self.words[slot(number / 64)] >> (number % 64) & 1 == 1
    }

    /// Notes `number`; call only after it was authenticated. False when it is a replay.
    pub fn insert(&mut self, number: u64) -> bool {
        if self.is_replay(number) {
            return false;
        }
        if number >= self.next {
            let first_fresh = self.next.div_ceil(64);
            let last = number / 64;
            let fresh = (last + 1).saturating_sub(first_fresh).min(WORDS);
            for word in (last + 1 - fresh)..=last {
                self.words[slot(word)] = 0;
            }
            self.next = number + 1;
        }
        self.words[slot(number / 64)] |= 1 << (number % 64);
        self.count += 1;
        true
    }

    /// The word of 64 packet numbers from `index * 64` on.
    #[must_use]
    pub const fn word(&self, index: u64) -> u64 {
        let last = self.next.saturating_sub(1) / 64;
        if index > last || last - index >= WORDS {
            return 0;
        }
        self.words[slot(index)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn expands_to_the_nearest() {
        assert_eq!(expand(0, 0), 0);
        assert_eq!(expand(5, 3), 5);
        assert_eq!(expand(u32::MAX, 0), u64::from(u32::MAX));
        assert_eq!(expand(0, 1 << 32), 1 << 32);
        assert_eq!(expand(1, (1 << 32) - 1), (1 << 32) + 1);
        assert_eq!(expand(u32::MAX, (1 << 32) + 5), (1 << 32) - 1);
        let far = 7 * (1 << 32) + 1234;
        for distance in [0, 1, 1000, 1 << 20] {
            assert_eq!(expand(low_half(far + distance), far), far + distance);
            assert_eq!(expand(low_half(far - distance), far), far - distance);
        }
    }

    proptest! {
        #[test]
        fn remembers_like_a_set(numbers in prop::collection::vec(0_u64..40_000, 1..400)) {
            let mut received = ReceivedPackets::default();
            let mut model = BTreeSet::new();
            for number in numbers {
                let largest = model.last().copied().unwrap_or(0);
                let too_old = !model.is_empty() && largest / 64 >= number / 64 + WORDS;
                let new = received.insert(number);
                if !too_old {
                    prop_assert_eq!(new, model.insert(number));
                } else {
                    prop_assert!(!new);
                }
                let last = model.last().copied().unwrap_or(0) / 64;
                for back in 0..WORDS.min(last + 1) {
                    let index = last - back;
                    let expected = (0..64)
                        .filter(|bit| model.contains(&(index * 64 + bit)))
                        .fold(0_u64, |word, bit| word | 1 << bit);
                    prop_assert_eq!(received.word(index), expected);
                }
            }
        }
    }
}
