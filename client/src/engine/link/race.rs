//! Which attempt to connect begins when: to several addresses, overlapping (RFC 8305), and to the
//! same address once more while nothing moves.
//!
//! TCP repeats a lost SYN after a second and what is lost behind it ever later, so one attempt takes
//! many seconds on a path that loses much; of several, one gets through soon. A server that is slow
//! and a path that loses are told apart: without a sign of loss, who is connected waits much longer.
//! No I/O and no clock in here.

use std::time::Duration;

use columba_core::units::Timestamp;

/// Between attempts while nobody is connected (RFC 8305, section 5: Connection Attempt Delay), …
const CONNECT_DELAY: Duration = Duration::from_millis(250);
/// … which grows by half with each further attempt to an address, from the third attempt on.
const GROWTH: (u32, u32) = (3, 2);
/// The least between attempts (RFC 8305, section 5), two round trips of a path that loses, …
const LEAST_DELAY: Duration = Duration::from_millis(100);
/// … and of one that does not, where the server is slow: four round trips at least, twice as long each time.
const SLOW_DELAY: Duration = Duration::from_secs(1);
/// Attempts under way at once.
const MAX_ALIVE: usize = 6;
/// Attempts to one address in one round, …
const MAX_PER_ADDRESS: u32 = 6;
/// … and while it only seems to be slow.
const MAX_PER_SLOW_ADDRESS: u32 = 3;

/// An attempt's number; never used twice in a race.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AttemptId(u32);

/// An attempt that is to begin now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Begun {
    pub(super) id: AttemptId,
    /// Index of its address.
    pub(super) address: usize,
}

#[derive(Debug, Default)]
struct Address {
    begun: u32,
    connected: bool,
    /// It has answered that it is of no use, or did not answer in time.
    spent: bool,
}

#[derive(Debug)]
struct Runner {
    id: AttemptId,
    address: usize,
    began: Timestamp,
    connected: bool,
}

/// One round of attempts to all addresses of a server.
#[derive(Debug)]
pub(super) struct Race {
    addresses: Vec<Address>,
    runners: Vec<Runner>,
    begun: u32,
    /// When an attempt began or got further last, and how many began since one got further.
    moved_at: Timestamp,
    begun_since: u32,
    /// An address has failed: the next one need not wait.
    hurry: bool,
    /// Shortest round trip of those that are connected.
    rtt: Option<Duration>,
    lossy: bool,
    /// When signs of loss are looked for next.
    look_at: Timestamp,
}

impl Race {
    /// A race to so many addresses, the preferred ones first.
    pub(super) fn new(addresses: usize) -> Self {
        Self {
            addresses: std::iter::repeat_with(Address::default)
                .take(addresses)
                .collect(),
            runners: Vec::new(),
            begun: 0,
            moved_at: Timestamp::ZERO,
            begun_since: 0,
            hurry: false,
            rtt: None,
            lossy: false,
            look_at: Timestamp::ZERO,
        }
    }

    /// The attempt that is to begin now, if one is. Call until `None`. `sees_loss` tells whether a
    /// connected attempt has lost something; it is asked now and then.
    pub(super) fn begin(
        &mut self,
        now: Timestamp,
        sees_loss: impl FnOnce() -> bool,
    ) -> Option<Begun> {
        if self.rtt.is_some() && !self.lossy && now >= self.look_at {
            self.lossy = sees_loss();
            self.look_at = now + self.lossy_delay();
        }
        let address = self.candidate()?;
        if now < self.due_at() {
            return None;
        }
        let id = AttemptId(self.begun);
        self.begun += 1;
        self.begun_since += 1;
        self.moved_at = now;
        self.hurry = false;
        self.addresses[address].begun += 1;
        self.runners.push(Runner {
            id,
            address,
            began: now,
            connected: false,
        });
        Some(Begun { id, address })
    }

    /// When `begin` must be called next, unless something happens before.
    pub(super) fn wake(&self) -> Option<Timestamp> {
        let look = (self.rtt.is_some() && !self.lossy).then_some(self.look_at);
        self.candidate()?;
        let due = self.due_at();
        Some(look.map_or(due, |look| look.min(due)))
    }

    /// Whether nothing is under way and nothing is left to try.
    pub(super) fn is_over(&self) -> bool {
        self.runners.is_empty() && self.candidate().is_none()
    }

    /// TCP is connected. `rtt` is the round trip, if that is known; `resent` says that the SYN was
    /// sent more than once.
    pub(super) fn on_connected(
        &mut self,
        now: Timestamp,
        id: AttemptId,
        rtt: Option<Duration>,
        resent: bool,
    ) {
        let Some(runner) = self.runners.iter_mut().find(|runner| runner.id == id) else {
            return;
        };
        runner.connected = true;
        let age = now - runner.began;
        self.addresses[runner.address].connected = true;
        let rtt = rtt.unwrap_or(age);
        let rtt = self.rtt.map_or(rtt, |before| before.min(rtt));
        // Who began long before and is not connected yet has lost its SYN, or the answer to it.
        let overtaken = self.runners.iter().any(|runner| {
            !runner.connected && now - runner.began > 2 * rtt && now - runner.began > LEAST_DELAY
        });
        self.rtt = Some(rtt);
        self.lossy |= resent || overtaken;
        self.moved_at = now;
        self.begun_since = 0;
        self.look_at = now + self.lossy_delay();
    }

    /// An attempt has failed, or had its time.
    pub(super) fn on_failed(&mut self, id: AttemptId) {
        let Some(index) = self.runners.iter().position(|runner| runner.id == id) else {
            return;
        };
        let runner = self.runners.remove(index);
        self.addresses[runner.address].spent = true;
        self.hurry = self.addresses.iter().any(Address::is_fresh);
    }

    /// The address to try next.
    fn candidate(&self) -> Option<usize> {
        if self.runners.len() >= MAX_ALIVE {
            return None;
        }
        let proven = |address: &Address| self.lossy && address.connected;
        let most = |address: &Address| match self.rtt {
            Some(_) if !self.lossy && address.connected => MAX_PER_SLOW_ADDRESS,
            Some(_) | None => MAX_PER_ADDRESS,
        };
        let mut open: Vec<(bool, u32, usize)> = self
            .addresses
            .iter()
            .enumerate()
            .filter(|(_, address)| !address.spent && address.begun < most(address))
            .map(|(index, address)| (!proven(address), address.begun, index))
            .collect();
        open.sort_unstable();
        open.first().map(|(_, _, index)| *index)
    }

    fn due_at(&self) -> Timestamp {
        if self.runners.is_empty() || self.hurry {
            return Timestamp::ZERO;
        }
        self.moved_at + self.delay()
    }

    fn delay(&self) -> Duration {
        match self.rtt {
            None => {
                let least = self.addresses.iter().map(|address| address.begun).min();
                let again = least.unwrap_or_default().saturating_sub(1);
                CONNECT_DELAY * GROWTH.0.pow(again) / GROWTH.1.pow(again)
            }
            Some(_) if self.lossy => self.lossy_delay(),
            Some(rtt) => SLOW_DELAY.max(4 * rtt) * (1 << self.begun_since.min(4)),
        }
    }

    fn lossy_delay(&self) -> Duration {
        LEAST_DELAY.max(2 * self.rtt.unwrap_or_default())
    }
}

impl Address {
    fn is_fresh(&self) -> bool {
        self.begun == 0 && !self.spent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(50);

    fn at(ms: u64) -> Timestamp {
        Timestamp::ZERO + Duration::from_millis(1_000 + ms)
    }

    /// Follows the race until then with nothing happening: when what began, in milliseconds, and to
    /// which address.
    fn run(race: &mut Race, from_ms: u64, until_ms: u64, lossy: bool) -> Vec<(u64, usize)> {
        let mut begun = Vec::new();
        let mut now = at(from_ms);
        while now <= at(until_ms) {
            while let Some(next) = race.begin(now, || lossy) {
                begun.push((
                    u64::try_from((now - at(0)).as_millis()).unwrap(),
                    next.address,
                ));
            }
            let Some(wake) = race.wake() else { break };
            assert!(wake > now, "it wakes for nothing at {now:?}");
            now = wake;
        }
        begun
    }

    fn first(race: &mut Race) -> AttemptId {
        race.begin(at(0), || false).unwrap().id
    }

    #[test]
    fn an_address_that_does_not_answer_is_tried_ever_more_rarely_and_so_often_only() {
        let mut race = Race::new(1);
        let begun = run(&mut race, 0, 60_000, false);
        let times: Vec<u64> = begun.iter().map(|(ms, _)| *ms).collect();
        assert_eq!(times, [0, 250, 625, 1187, 2031, 3296]);
        assert_eq!(race.wake(), None);
        assert!(!race.is_over(), "they are under way");
    }

    #[test]
    fn without_loss_there_is_one_attempt() {
        let mut race = Race::new(2);
        let id = first(&mut race);
        race.on_connected(at(50), id, Some(RTT), false);
        // The handshake takes one round trip more.
        assert_eq!(run(&mut race, 50, 100, false), []);
    }

    #[test]
    fn other_addresses_come_first_one_after_the_other() {
        let mut race = Race::new(3);
        assert_eq!(
            run(&mut race, 0, 800, false),
            [(0, 0), (250, 1), (500, 2), (750, 0)]
        );
    }

    #[test]
    fn an_address_that_refuses_gives_way_at_once_and_is_not_tried_again() {
        let mut race = Race::new(2);
        let id = first(&mut race);
        race.on_failed(id);
        let next = race.begin(at(1), || false).unwrap();
        assert_eq!(next.address, 1);
        assert!(!race.is_over());
        race.on_failed(next.id);
        assert!(race.is_over());
        assert_eq!((race.begin(at(1), || false), race.wake()), (None, None));
    }

    #[test]
    fn a_refusal_does_not_hurry_what_was_tried_already() {
        let mut race = Race::new(2);
        let begun = run(&mut race, 0, 250, false);
        assert_eq!(begun, [(0, 0), (250, 1)]);
        race.on_failed(AttemptId(1));
        assert_eq!(run(&mut race, 251, 600, false), [(500, 0)]);
    }

    #[test]
    fn a_path_that_loses_is_tried_every_two_round_trips() {
        let mut race = Race::new(1);
        let id = first(&mut race);
        race.on_connected(at(200), id, Some(4 * RTT), false);
        let begun = run(&mut race, 200, 10_000, true);
        assert_eq!(begun[..2], [(600, 0), (1000, 0)]);
        assert_eq!(begun.len(), 5, "{begun:?}");
        // Short round trips do not make it faster than the least delay.
        let mut race = Race::new(1);
        let id = first(&mut race);
        race.on_connected(at(1), id, Some(RTT / 50), true);
        assert_eq!(
            run(&mut race, 1, 350, false),
            [(101, 0), (201, 0), (301, 0)]
        );
    }

    #[test]
    fn a_syn_that_others_overtake_is_a_sign_of_loss() {
        let mut race = Race::new(1);
        assert_eq!(run(&mut race, 0, 250, false).len(), 2);
        race.on_connected(at(300), AttemptId(1), Some(RTT), false);
        assert_eq!(run(&mut race, 300, 500, false), [(400, 0), (500, 0)]);
    }

    #[test]
    fn a_long_way_is_no_sign_of_loss() {
        let mut race = Race::new(1);
        assert_eq!(run(&mut race, 0, 625, false).len(), 3);
        race.on_connected(at(700), AttemptId(0), Some(14 * RTT), false);
        // The others were sent less than two round trips ago.
        assert_eq!(run(&mut race, 700, 3_400, false), []);
    }

    #[test]
    fn a_slow_server_is_not_pressed() {
        let mut race = Race::new(1);
        let id = first(&mut race);
        race.on_connected(at(50), id, Some(RTT), false);
        assert_eq!(run(&mut race, 50, 60_000, false), [(1050, 0), (3050, 0)]);
    }

    #[test]
    fn another_address_is_tried_before_a_slow_one_again() {
        let mut race = Race::new(2);
        let id = first(&mut race);
        race.on_connected(at(50), id, Some(RTT), false);
        assert_eq!(run(&mut race, 50, 1_100, false), [(1050, 1)]);
    }

    #[test]
    fn an_address_that_connects_is_preferred_where_much_is_lost() {
        let mut race = Race::new(2);
        assert_eq!(run(&mut race, 0, 250, false), [(0, 0), (250, 1)]);
        race.on_connected(at(300), AttemptId(1), Some(RTT), true);
        assert_eq!(run(&mut race, 300, 500, false), [(400, 1), (500, 1)]);
    }

    #[test]
    fn no_more_than_so_many_run_at_once() {
        let mut race = Race::new(20);
        let begun = run(&mut race, 0, 10_000, false);
        assert_eq!(begun.len(), MAX_ALIVE);
        race.on_failed(AttemptId(0));
        assert_eq!(race.begin(at(10_000), || false).unwrap().address, MAX_ALIVE);
        assert_eq!(race.begin(at(20_000), || false), None);
    }
}
