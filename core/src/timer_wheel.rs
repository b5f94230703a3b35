//! A hierarchical timer wheel: every timer of an endpoint, armed, cancelled and fired in O(1).
//!
//! Timers are the caller's numbers (`id`s below the capacity); the wheel only links them. A timer's
//! place follows from the highest digit (base 64) in which its slot number differs from the
//! current one, so eight levels span all of [`Timestamp`] and nothing overflows. Time jumps by any
//! distance in one step: what lies below the highest changed digit has expired, and a single slot
//! is spread anew.
//!
//! Deadlines are kept to the nanosecond: slots only sort, they don't round. (Varghese and Lauck,
//! "Hashed and Hierarchical Timing Wheels", 1987, scheme 7.)

use crate::units::Timestamp;

/// log₂ of a slot's width in nanoseconds.
const SLOT_SHIFT: u32 = 17;

/// Width of a slot on the lowest level: 131 µs.
pub const SLOT_NANOS: u64 = 1 << SLOT_SHIFT;

/// log₂ of the number of slots on a level; 64 slots make one bitmap word.
const DIGIT_BITS: u32 = 6;
const SLOTS_PER_LEVEL: usize = 1 << DIGIT_BITS;
const DIGIT_MASK: u64 = SLOTS_PER_LEVEL as u64 - 1;

/// Enough levels for every slot number there is.
const LEVELS: usize = (u64::BITS - SLOT_SHIFT).div_ceil(DIGIT_BITS) as usize;

/// The list of timers whose deadline has passed but which were not popped yet.
const EXPIRED: usize = LEVELS * SLOTS_PER_LEVEL;
const LISTS: usize = EXPIRED + 1;

/// "No node" in a link and "no list" in a node.
const NIL: u32 = u32::MAX;
const UNARMED: u16 = u16::MAX;

const _: () = assert!(LISTS < UNARMED as usize);

#[derive(Clone, Copy, Debug)]
struct Node {
    deadline: Timestamp,
    previous: u32,
    next: u32,
    list: u16,
}

const UNARMED_NODE: Node = Node {
    deadline: Timestamp::MAX,
    previous: NIL,
    next: NIL,
    list: UNARMED,
};

/// A slot's doubly linked list. `earliest` is a lower bound of its deadlines: a cancelled timer
/// may leave it too early until the slot is visited or runs empty.
#[derive(Clone, Copy, Debug)]
struct List {
    head: u32,
    tail: u32,
    earliest: Timestamp,
}

const EMPTY_LIST: List = List {
    head: NIL,
    tail: NIL,
    earliest: Timestamp::MAX,
};

/// Timers with numbers `0..capacity`, each armed for at most one deadline.
#[derive(Debug)]
pub struct TimerWheel {
    nodes: Vec<Node>,
    lists: Box<[List; LISTS]>,
    occupied: [u64; LEVELS],
    /// Slot number of the latest time the wheel has seen.
    current: u64,
}

impl TimerWheel {
    /// A wheel for the timers `0..nodes`, none of them armed, whose time begins at `start`.
    #[must_use]
    pub fn with_capacity(nodes: u32, start: Timestamp) -> Self {
        Self {
            nodes: vec![UNARMED_NODE; nodes as usize],
            lists: Box::new([EMPTY_LIST; LISTS]),
            occupied: [0; LEVELS],
            current: slot_number(start),
        }
    }

    /// How many timers there are, armed or not.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.nodes.len()
    }

    /// Makes room for the timers `0..nodes`; allocates, so not for the packet path. Never shrinks.
    pub fn grow(&mut self, nodes: u32) {
        if nodes as usize > self.nodes.len() {
            self.nodes.resize(nodes as usize, UNARMED_NODE);
        }
    }

    /// Arms timer `id` for `deadline`, replacing the deadline it had.
    ///
    /// A deadline that has passed fires at the next [`pop_expired`](Self::pop_expired).
    pub fn arm(&mut self, id: u32, deadline: Timestamp) {
        self.cancel(id);
        self.nodes[id as usize].deadline = deadline;
        self.link(id, self.list_for(deadline));
    }

    /// Disarms timer `id`; nothing happens if it is not armed.
    pub fn cancel(&mut self, id: u32) {
        if self.nodes[id as usize].list != UNARMED {
            self.unlink(id);
        }
    }

    /// Whether timer `id` is armed and has not been popped.
    #[must_use]
    pub fn is_armed(&self, id: u32) -> bool {
        self.nodes[id as usize].list != UNARMED
    }

    /// The exact deadline timer `id` is armed for.
    #[must_use]
    pub fn deadline(&self, id: u32) -> Option<Timestamp> {
        let node = &self.nodes[id as usize];
        (node.list != UNARMED).then_some(node.deadline)
    }

    /// When to call [`pop_expired`](Self::pop_expired) next, `None` if no timer is armed.
    ///
    /// Never later than the earliest deadline. After a cancellation it may be earlier; calling
    /// `pop_expired` then finds nothing and corrects it.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let mut earliest = self.lists[EXPIRED].earliest;
        for (level, bitmap) in self.occupied.iter().enumerate() {
            if *bitmap != 0 {
                let slot = bitmap.trailing_zeros() as usize;
                earliest = earliest.min(self.lists[level * SLOTS_PER_LEVEL + slot].earliest);
            }
        }
        // An armed `Timestamp::MAX` is indistinguishable from nothing, and means the same.
        (earliest != Timestamp::MAX).then_some(earliest)
    }

    /// Disarms and returns a timer whose deadline is not after `now`; `None` when there is none
    /// left. Roughly in the order of deadlines.
    pub fn pop_expired(&mut self, now: Timestamp) -> Option<u32> {
        if self.lists[EXPIRED].head == NIL {
            self.collect_expired(now);
        }
        let id = self.lists[EXPIRED].head;
        if id == NIL {
            return None;
        }
        self.unlink(id);
        Some(id)
    }

    fn collect_expired(&mut self, now: Timestamp) {
        let target = slot_number(now);
        if target > self.current {
            self.advance(target);
        }
        let slot = index_in_level(self.current, 0);
        if self.lists[slot].earliest <= now {
            self.redistribute(slot, now);
        }
    }

    /// Moves the wheel's time to the slot number `target`, which lies ahead.
    fn advance(&mut self, target: u64) {
        let top = level_of(self.current ^ target);
        let cascading = index_in_level(target, top);
        self.current = target;
        let start = Timestamp::from_nanos(target << SLOT_SHIFT);
        for level in 0..=top {
            let first = level * SLOTS_PER_LEVEL;
            let mut pending = self.occupied[level];
            while pending != 0 {
                let slot = first + pending.trailing_zeros() as usize;
                if level == top && slot > cascading {
                    break;
                }
                pending &= pending - 1;
                self.redistribute(slot, start);
            }
        }
    }

    /// Gives every timer of a list the place it has now; those due at `now` become expired.
    fn redistribute(&mut self, list: usize, now: Timestamp) {
        let mut id = self.lists[list].head;
        self.clear(list);
        while id != NIL {
            let Node { deadline, next, .. } = self.nodes[id as usize];
            let place = if deadline <= now {
                EXPIRED
            } else {
                self.list_for(deadline)
            };
            self.link(id, place);
            id = next;
        }
    }

    fn list_for(&self, deadline: Timestamp) -> usize {
        let slot = slot_number(deadline);
        if slot < self.current {
            return EXPIRED;
        }
        index_in_level(slot, level_of(self.current ^ slot))
    }

    fn clear(&mut self, list: usize) {
        self.lists[list] = EMPTY_LIST;
        if list != EXPIRED {
            self.occupied[list / SLOTS_PER_LEVEL] &= !(1 << (list % SLOTS_PER_LEVEL));
        }
    }

    fn link(&mut self, id: u32, list: usize) {
        let tail = self.lists[list].tail;
        let node = &mut self.nodes[id as usize];
        node.previous = tail;
        node.next = NIL;
        node.list = u16::try_from(list).expect("the number of lists is asserted above");
        let deadline = node.deadline;
        if tail == NIL {
            self.lists[list].head = id;
            if list != EXPIRED {
                self.occupied[list / SLOTS_PER_LEVEL] |= 1 << (list % SLOTS_PER_LEVEL);
            }
        } else {
            self.nodes[tail as usize].next = id;
        }
        let list = &mut self.lists[list];
        list.tail = id;
        list.earliest = list.earliest.min(deadline);
    }

    fn unlink(&mut self, id: u32) {
        let Node {
            previous,
            next,
            list,
            ..
        } = self.nodes[id as usize];
        let list = usize::from(list);
        if previous == NIL {
            self.lists[list].head = next;
        } else {
            self.nodes[previous as usize].next = next;
        }
        if next == NIL {
            self.lists[list].tail = previous;
        } else {
            self.nodes[next as usize].previous = previous;
        }
        if self.lists[list].head == NIL {
            self.clear(list);
        }
        self.nodes[id as usize].list = UNARMED;
    }
}

const fn slot_number(time: Timestamp) -> u64 {
    time.as_nanos() >> SLOT_SHIFT
}

/// The level on which two slot numbers part, given their exclusive or.
const fn level_of(difference: u64) -> usize {
    ((u64::BITS - 1 - (difference | 1).leading_zeros()) / DIGIT_BITS) as usize
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "masked to one base-64 digit"
)]
const fn index_in_level(slot: u64, level: usize) -> usize {
    let digit = (slot >> (level as u32 * DIGIT_BITS)) & DIGIT_MASK;
    level * SLOTS_PER_LEVEL + digit as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};
    use std::time::Duration;

    const SECOND: u64 = 1_000_000_000;

    fn drain(wheel: &mut TimerWheel, now: Timestamp) -> BTreeSet<u32> {
        std::iter::from_fn(|| wheel.pop_expired(now)).collect()
    }

    #[test]
    fn fires_at_the_nanosecond_and_not_before() {
        let mut wheel = TimerWheel::with_capacity(2, Timestamp(77));
        for deadline in [
            78,
            SLOT_NANOS - 1,
            SLOT_NANOS,
            5 * SECOND + 3,
            3_600 * SECOND,
        ] {
            wheel.arm(1, Timestamp(deadline));
            assert_eq!(wheel.next_deadline(), Some(Timestamp(deadline)));
            assert_eq!(wheel.pop_expired(Timestamp(deadline - 1)), None);
            assert_eq!(wheel.deadline(1), Some(Timestamp(deadline)));
            assert_eq!(wheel.pop_expired(Timestamp(deadline)), Some(1));
            assert!(!wheel.is_armed(1));
            assert_eq!(wheel.next_deadline(), None);
        }
    }

    #[test]
    fn a_deadline_days_away_survives_many_small_steps_and_one_leap() {
        let far = Timestamp(400 * 86_400 * SECOND + 12_345);
        let mut wheel = TimerWheel::with_capacity(3, Timestamp::ZERO);
        wheel.arm(0, far);
        wheel.arm(1, Timestamp::MAX);
        for step in 1..20_000_u64 {
            assert_eq!(wheel.pop_expired(Timestamp(step * 97 * SECOND / 10)), None);
        }
        assert_eq!(wheel.pop_expired(Timestamp(far.0 - 1)), None);
        assert_eq!(wheel.pop_expired(far), Some(0));
        assert_eq!(wheel.pop_expired(Timestamp(u64::MAX - 1)), None);
        assert_eq!(wheel.pop_expired(Timestamp::MAX), Some(1));
    }

    #[test]
    fn a_timer_re_armed_while_expiring_waits_for_its_new_deadline() {
        let mut wheel = TimerWheel::with_capacity(8, Timestamp::ZERO);
        let now = Timestamp(SECOND);
        for id in 0..8 {
            wheel.arm(id, Timestamp(SECOND - u64::from(id)));
        }
        let mut fired = Vec::new();
        while let Some(id) = wheel.pop_expired(now) {
            fired.push(id);
            wheel.arm(id, now + Duration::from_millis(1 + u64::from(id)));
            // The next one to come is cancelled before its turn.
            wheel.cancel((id + 1) % 8);
        }
        assert!(fired.len() >= 4, "{fired:?}");
        let next = wheel.next_deadline().unwrap();
        assert!(next > now);
    }

    #[test]
    fn a_stale_lower_bound_is_corrected_by_the_early_call() {
        let mut wheel = TimerWheel::with_capacity(2, Timestamp::ZERO);
        let (early, late) = (Timestamp(10 * SECOND), Timestamp(10 * SECOND + 900));
        wheel.arm(0, early);
        wheel.arm(1, late);
        wheel.cancel(0);
        assert_eq!(wheel.next_deadline(), Some(early));
        assert_eq!(wheel.pop_expired(early), None);
        assert_eq!(wheel.next_deadline(), Some(late));
    }

    #[test]
    fn grows_without_losing_timers() {
        let mut wheel = TimerWheel::with_capacity(1, Timestamp::ZERO);
        wheel.arm(0, Timestamp(5));
        wheel.grow(100);
        wheel.arm(99, Timestamp(6));
        wheel.grow(10);
        assert_eq!(wheel.capacity(), 100);
        assert_eq!(drain(&mut wheel, Timestamp(6)), BTreeSet::from([0, 99]));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Arm { id: u32, ahead: u64 },
        ArmPast { id: u32, behind: u64 },
        Cancel { id: u32 },
        Wait { span: u64 },
        WaitForNext,
    }

    /// Spans of every magnitude, from within a slot to days.
    fn span() -> impl Strategy<Value = u64> {
        (0_u32..50, any::<u64>()).prop_map(|(bits, noise)| noise & ((1 << bits) - 1))
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0_u32..32, span()).prop_map(|(id, ahead)| Step::Arm { id, ahead }),
            1 => (0_u32..32, span()).prop_map(|(id, behind)| Step::ArmPast { id, behind }),
            2 => (0_u32..32).prop_map(|id| Step::Cancel { id }),
            2 => span().prop_map(|span| Step::Wait { span }),
            3 => Just(Step::WaitForNext),
        ]
    }

    fn check(wheel: &mut TimerWheel, model: &mut BTreeMap<u32, Timestamp>, now: Timestamp) {
        let due: BTreeSet<u32> = model
            .iter()
            .filter(|(_, deadline)| **deadline <= now)
            .map(|(id, _)| *id)
            .collect();
        assert_eq!(drain(wheel, now), due);
        model.retain(|id, _| !due.contains(id));
        for id in 0..32 {
            assert_eq!(wheel.deadline(id), model.get(&id).copied());
        }
        let earliest = model.values().min().copied();
        let next = wheel.next_deadline();
        assert_eq!(next.is_some(), earliest.is_some());
        assert!(next <= earliest, "{next:?} is later than {earliest:?}");
        assert!(next.is_none_or(|next| next > now), "no progress at {now:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        /// The wheel and a sorted map agree on every step (proptest prints the failing seed).
        #[test]
        fn agrees_with_a_map(start in span(), steps in prop::collection::vec(step(), 1..200)) {
            let mut now = Timestamp(start);
            let mut wheel = TimerWheel::with_capacity(32, now);
            let mut model = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Arm { id, ahead } => {
                        wheel.arm(id, Timestamp(now.0 + ahead));
                        model.insert(id, Timestamp(now.0 + ahead));
                    }
                    Step::ArmPast { id, behind } => {
                        let deadline = Timestamp(now.0.saturating_sub(behind));
                        wheel.arm(id, deadline);
                        model.insert(id, deadline);
                    }
                    Step::Cancel { id } => {
                        wheel.cancel(id);
                        model.remove(&id);
                    }
                    Step::Wait { span } => now = Timestamp(now.0 + span),
                    Step::WaitForNext => now = now.max(wheel.next_deadline().unwrap_or(now)),
                }
                check(&mut wheel, &mut model, now);
            }
        }
    }
}
