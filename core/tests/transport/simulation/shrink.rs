//! Making a failing case smaller while it stays the same failure.

use std::any::Any;
use std::cell::RefCell;
use std::fmt::{self, Display, Formatter};
use std::panic::{self, AssertUnwindSafe, Location};
use std::sync::Once;
use std::time::Duration;

use columba_loss_sim::Impairments;

use super::case::{Case, Fault, PeerCase};
use super::text::plain_peer;

/// A panic: where it was, what it said.
pub(super) struct Failure {
    place: String,
    panic: Box<dyn Any + Send>,
}

impl Failure {
    /// Whether the other one came from the same place.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        self.place == other.place
    }

    pub(super) fn into_panic(self) -> Box<dyn Any + Send> {
        self.panic
    }
}

impl Display for Failure {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let text = self.panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| self.panic.downcast_ref::<&str>().copied());
        write!(out, "{} at {}", text.unwrap_or("a panic"), self.place)
    }
}

thread_local! {
    /// Where the last panic of an attempt on this thread was; `None` when no attempt is under way.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs something that may panic, without a word from the panic itself.
pub(super) fn attempt<T>(run: impl FnOnce() -> T) -> Result<T, Failure> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let is_expected = PLACE.with_borrow_mut(|place| {
                let Some(place) = place else { return false };
                *place = info.location().map(Location::to_string).unwrap_or_default();
                true
            });
            if !is_expected {
                usual(info);
            }
        }));
    });
    PLACE.set(Some(String::new()));
    let outcome = panic::catch_unwind(AssertUnwindSafe(run));
    let place = PLACE.take().unwrap_or_default();
    outcome.map_err(|panic| Failure { place, panic })
}

/// The smallest case found, in so many attempts, that still fails.
pub(super) fn shrink(
    mut case: Case,
    mut attempts: u32,
    fails: &mut dyn FnMut(&Case) -> bool,
) -> Case {
    'smaller: loop {
        for candidate in candidates(&case) {
            if attempts == 0 {
                return case;
            }
            attempts -= 1;
            if fails(&candidate) {
                case = candidate;
                continue 'smaller;
            }
        }
        return case;
    }
}

/// Cases that are a little smaller than this one, the boldest first.
fn candidates(case: &Case) -> Vec<Case> {
    let mut smaller = Vec::new();
    fewer_peers(case, &mut smaller);
    fewer_faults(case, &mut smaller);
    fewer_files(case, &mut smaller);
    for index in 0..case.peers.len() {
        for peer in simpler_peers(&case.peers[index]) {
            let mut candidate = case.clone();
            candidate.peers[index] = peer;
            smaller.push(candidate);
        }
    }
    earlier_faults(case, &mut smaller);
    smaller.retain(|candidate| candidate != case);
    smaller
}

/// The peer of a fault, if it has one.
fn peer_of(fault: &mut Fault) -> Option<&mut usize> {
    match fault {
        Fault::Rebind { peer, .. }
        | Fault::KillClient { peer }
        | Fault::Forget { peer }
        | Fault::Reconnect { peer }
        | Fault::GiveUp { peer, .. }
        | Fault::EndStream { peer, .. }
        | Fault::Credit { peer, .. }
        | Fault::TooLarge { peer, .. } => Some(peer),
        Fault::RestartServer
        | Fault::Cold { .. }
        | Fault::Hashless { .. }
        | Fault::Warm { .. }
        | Fault::Replay { .. } => None,
    }
}

/// Whether a fault is about a file that is still there.
fn has_file(fault: Fault, files: usize) -> bool {
    match fault {
        Fault::Cold { key } | Fault::Hashless { key } | Fault::Warm { key } => key < files as u64,
        Fault::GiveUp { stream, .. } | Fault::EndStream { stream, .. } => stream as usize <= files,
        Fault::Rebind { .. }
        | Fault::KillClient { .. }
        | Fault::RestartServer
        | Fault::Forget { .. }
        | Fault::Reconnect { .. }
        | Fault::Credit { .. }
        | Fault::Replay { .. }
        | Fault::TooLarge { .. } => true,
    }
}

/// Without some peers: what happens to those behind them happens to them under their new numbers.
fn without_peers(case: &Case, first: usize, count: usize) -> Case {
    let mut candidate = case.clone();
    candidate.peers.drain(first..first + count);
    candidate.schedule.retain_mut(|(_, fault)| {
        let Some(peer) = peer_of(fault) else {
            return true;
        };
        if *peer >= first + count {
            *peer -= count;
            return true;
        }
        *peer < first
    });
    candidate
}

fn fewer_peers(case: &Case, smaller: &mut Vec<Case>) {
    let peers = case.peers.len();
    let half = peers / 2;
    if half > 1 {
        smaller.push(without_peers(case, half, peers - half));
        smaller.push(without_peers(case, 0, half));
    }
    if peers > 1 {
        smaller.extend((0..peers).map(|index| without_peers(case, index, 1)));
    }
}

/// Without all, halves, quarters … of what happens, down to single faults.
fn fewer_faults(case: &Case, smaller: &mut Vec<Case>) {
    let faults = case.schedule.len();
    let mut chunk = faults;
    while chunk > 0 {
        for first in (0..faults).step_by(chunk) {
            let mut candidate = case.clone();
            candidate.schedule.drain(first..faults.min(first + chunk));
            smaller.push(candidate);
        }
        chunk /= 2;
    }
}

fn fewer_files(case: &Case, smaller: &mut Vec<Case>) {
    let files = case.files.len();
    for kept in [1, files / 2, files.saturating_sub(1)] {
        if (1..files).contains(&kept) {
            let mut candidate = case.clone();
            candidate.files.truncate(kept);
            candidate
                .schedule
                .retain(|(_, fault)| has_file(*fault, kept));
            smaller.push(candidate);
        }
    }
    for (index, size) in case.files.iter().enumerate() {
        for less in [0, 1, size / 2] {
            if less < *size {
                let mut candidate = case.clone();
                candidate.files[index] = less;
                smaller.push(candidate);
            }
        }
    }
}

/// What happens, at whole seconds or at half the time.
fn earlier_faults(case: &Case, smaller: &mut Vec<Case>) {
    const MILLISECOND: Duration = Duration::from_millis(1);
    for index in 0..case.schedule.len() {
        let (at, _) = case.schedule[index];
        let next = case
            .schedule
            .get(index + 1)
            .map_or(Duration::ZERO, |(at, _)| *at);
        // The last stands first: none may overtake another.
        let earlier = [next, at / 2]
            .into_iter()
            .filter(|time| *time >= next && at > *time + MILLISECOND);
        for time in earlier {
            let mut candidate = case.clone();
            candidate.schedule[index].0 = time;
            smaller.push(candidate);
        }
    }
}

/// Clients with one property less, or half as much of it.
fn simpler_peers(peer: &PeerCase) -> Vec<PeerCase> {
    let plain = plain_peer();
    let with = |change: &dyn Fn(&mut PeerCase)| {
        let mut changed = peer.clone();
        change(&mut changed);
        changed
    };
    let mut simpler = vec![
        with(&|peer| {
            peer.impairments = Impairments {
                delay: peer.impairments.delay,
                ..Impairments::default()
            };
        }),
        with(&|peer| peer.up_loss = None),
        with(&|peer| peer.initial_rtt = None),
        with(&|peer| peer.algorithm = plain.algorithm),
        with(&|peer| peer.plaintext = true),
        with(&|peer| peer.max_datagram = plain.max_datagram),
        with(&|peer| peer.credit = plain.credit),
        with(&|peer| peer.cell_bytes = plain.cell_bytes),
        with(&|peer| peer.seed = 0),
    ];
    let path = |change: &dyn Fn(&mut Impairments)| with(&|peer| change(&mut peer.impairments));
    simpler.extend([
        path(&|faults| faults.loss = 0.0),
        path(&|faults| faults.burst_loss = None),
        path(&|faults| {
            faults.jitter = Duration::ZERO;
            faults.distribution = columba_loss_sim::Distribution::default();
        }),
        path(&|faults| {
            faults.rate_bits_per_second = None;
            faults.queue_bytes = None;
        }),
        path(&|faults| faults.duplicate = 0.0),
        path(&|faults| faults.reorder = None),
        path(&|faults| faults.corrupt = 0.0),
        path(&|faults| faults.truncate = 0.0),
        path(&|faults| faults.blackhole = None),
        path(&|faults| faults.max_datagram_bytes = None),
        path(&|faults| faults.delay = Duration::ZERO),
    ]);
    // Halves, unless they are nothing to speak of.
    if peer.impairments.loss > 0.01 {
        simpler.push(path(&|faults| faults.loss /= 2.0));
    }
    if peer.impairments.corrupt > 0.01 {
        simpler.push(path(&|faults| faults.corrupt /= 2.0));
    }
    if peer.impairments.delay > Duration::from_millis(2) {
        simpler.push(path(&|faults| faults.delay /= 2));
    }
    if peer.impairments.jitter > Duration::from_millis(2) {
        simpler.push(path(&|faults| faults.jitter /= 2));
    }
    simpler
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::run::play;
    use crate::world::World;

    /// The first seed whose case has something.
    fn find(has: impl Fn(&Case) -> bool) -> Case {
        (0..1000)
            .map(Case::draw)
            .find(|case| has(case))
            .expect("one of many")
    }

    #[test]
    fn only_what_makes_it_fail_is_left() {
        let is_bad = |case: &Case| {
            let killed = |(_, fault): &(Duration, Fault)| matches!(fault, Fault::KillClient { .. });
            let lossy = case.peers.iter().any(|peer| peer.impairments.loss >= 0.03);
            lossy && case.schedule.iter().any(killed) && case.files.iter().any(|size| *size > 1000)
        };
        let large = find(|case| is_bad(case) && case.peers.len() > 3);
        let small = shrink(large, 10_000, &mut |case| is_bad(case));
        // A client that is killed, one on a lossy path, perhaps the same, and one file.
        assert!(small.peers.len() <= 2, "{small}");
        assert_eq!((small.schedule.len(), small.files.len()), (1, 1), "{small}");
        assert_eq!(small.schedule[0].0, Duration::ZERO);
        assert!((1001..=2002).contains(&small.files[0]), "{small}");
        let lossy: Vec<_> = small
            .peers
            .iter()
            .filter(|peer| {
                **peer
                    != PeerCase {
                        plaintext: true,
                        ..plain_peer()
                    }
            })
            .collect();
        assert_eq!(lossy.len(), 1, "{small}");
        assert!((0.03..0.06).contains(&lossy[0].impairments.loss), "{small}");
        // What is printed repeats it.
        assert_eq!(small.to_string().parse(), Ok(small));
    }

    /// A bug that does not exist: no client ever comes from another port.
    fn nobody_moves(world: &World) {
        for peer in &world.peers {
            assert_eq!(peer.address.port(), 40_000, "planted");
        }
    }

    #[test]
    fn a_planted_failure_is_found_and_made_small() {
        let fails = |case: &Case| attempt(|| play(case, Some(nobody_moves))).err();
        let large = find(|case| {
            let moves = |(_, fault): &(Duration, Fault)| matches!(fault, Fault::Rebind { .. });
            case.peers.len() > 1 && case.schedule.len() > 5 && case.schedule.iter().any(moves)
        });
        let failure = fails(&large).expect("the seed has it");
        assert!(failure.to_string().contains("planted"), "{failure}");
        let small = shrink(large, 300, &mut |case| {
            fails(case).is_some_and(|other| other.is_like(&failure))
        });
        assert_eq!(
            (small.peers.len(), small.schedule.len(), small.files.len()),
            (1, 1, 1),
            "{small}"
        );
        assert!(
            matches!(small.schedule[0].1, Fault::Rebind { .. }),
            "{small}"
        );
        assert_eq!(small.files[0], 0, "{small}");
        // Without the planted bug there is nothing wrong with it.
        play(&small, None);
    }

    #[test]
    fn attempts_are_bounded() {
        let mut attempts = 0;
        shrink(Case::draw(1), 7, &mut |_| {
            attempts += 1;
            false
        });
        assert_eq!(attempts, 7);
    }
}
