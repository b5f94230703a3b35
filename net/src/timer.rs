//! A deadline that wakes the poll on time.
//!
//! epoll rounds its timeout up to whole milliseconds, which is far too coarse for pacing. On Linux
//! the deadline therefore goes to a timerfd that is one more event source; elsewhere, and with the
//! feature `portable-io`, it becomes the poll's timeout.

use std::io;
use std::time::Duration;

use columba_core::units::Timestamp;
use mio::event::Source;
use mio::{Interest, Registry, Token};

use crate::clock::Clock;
use crate::source::forward_source;

/// Wakes a poll at one deadline at a time.
///
/// A turn of the loop: [`arm`](Self::arm) or [`disarm`](Self::disarm), poll with
/// [`poll_timeout`](Self::poll_timeout), and on this source's event
/// [`acknowledge`](Self::acknowledge).
#[derive(Debug)]
pub struct PreciseTimer {
    /// The deadline the system knows; `None` while disarmed or after it passed.
    armed: Option<Timestamp>,
    platform: platform::Timer,
}

impl PreciseTimer {
    /// A disarmed timer whose deadlines are `clock`'s.
    ///
    /// # Errors
    /// Those of `timerfd_create`: descriptors are exhausted.
    pub fn new(clock: Clock) -> io::Result<Self> {
        Ok(Self {
            armed: None,
            platform: platform::Timer::new(clock)?,
        })
    }

    /// Wakes the poll at `deadline`, at once if it has passed. Costs nothing if the deadline is
    /// the one already armed. [`Timestamp::MAX`] means never.
    ///
    /// # Errors
    /// Those of `timerfd_settime`; none in practice.
    pub fn arm(&mut self, deadline: Timestamp) -> io::Result<()> {
        if deadline == Timestamp::MAX {
            return self.disarm();
        }
        if self.armed != Some(deadline) {
            self.platform.set(Some(deadline))?;
            self.armed = Some(deadline);
        }
        Ok(())
    }

    /// Wakes the poll no more.
    ///
    /// # Errors
    /// As for [`arm`](Self::arm).
    pub fn disarm(&mut self) -> io::Result<()> {
        if self.armed.is_some() {
            self.platform.set(None)?;
            self.armed = None;
        }
        Ok(())
    }

    /// Takes note of this source's event: the same deadline, armed again, wakes again.
    pub fn acknowledge(&mut self) {
        self.armed = None;
    }

    /// How long to poll when the next thing to do is due at `deadline`: zero when it is due
    /// already, `None` (for ever) when there is none or an event of this source will tell.
    #[must_use]
    pub fn poll_timeout(&self, now: Timestamp, deadline: Option<Timestamp>) -> Option<Duration> {
        let deadline = deadline.filter(|deadline| *deadline != Timestamp::MAX)?;
        let left = deadline.saturating_duration_since(now);
        if left.is_zero() {
            return Some(left);
        }
        // A deadline that was not armed is served by the timeout, coarsely.
        let event_will_tell = platform::HAS_EVENTS && self.armed.is_some_and(|at| at <= deadline);
        (!event_will_tell).then_some(left)
    }
}

forward_source!(PreciseTimer, platform);

#[cfg(all(target_os = "linux", not(feature = "portable-io")))]
mod platform {
    use std::os::fd::{AsRawFd, OwnedFd};

    use mio::unix::SourceFd;
    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };

    use super::{Clock, Interest, Registry, Source, Timestamp, Token, io};

    pub(super) const HAS_EVENTS: bool = true;

    #[derive(Debug)]
    pub(super) struct Timer {
        clock: Clock,
        fd: OwnedFd,
    }

    impl Timer {
        pub(super) fn new(clock: Clock) -> io::Result<Self> {
            let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
            let fd = timerfd_create(TimerfdClockId::Monotonic, flags)?;
            Ok(Self { clock, fd })
        }

        /// Setting it clears an expiry that nobody read, so each expiry is a new edge.
        pub(super) fn set(&self, deadline: Option<Timestamp>) -> io::Result<()> {
            // Zero would disarm; the start of CLOCK_MONOTONIC is long past anyway.
            let nanos = deadline.map_or(0, |at| self.clock.to_monotonic_nanos(at).max(1));
            let value = Itimerspec {
                it_interval: timespec(0),
                it_value: timespec(nanos),
            };
            timerfd_settime(&self.fd, TimerfdTimerFlags::ABSTIME, &value)?;
            Ok(())
        }
    }

    fn timespec(nanos: u64) -> Timespec {
        const PER_SECOND: u64 = 1_000_000_000;
        Timespec {
            tv_sec: (nanos / PER_SECOND).try_into().unwrap_or(i32::MAX.into()),
            tv_nsec: (nanos % PER_SECOND).try_into().unwrap_or(0),
        }
    }

    impl Source for Timer {
        fn register(
            &mut self,
            registry: &Registry,
            token: Token,
            interests: Interest,
        ) -> io::Result<()> {
            SourceFd(&self.fd.as_raw_fd()).register(registry, token, interests)
        }

        fn reregister(
            &mut self,
            registry: &Registry,
            token: Token,
            interests: Interest,
        ) -> io::Result<()> {
            SourceFd(&self.fd.as_raw_fd()).reregister(registry, token, interests)
        }

        fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
            SourceFd(&self.fd.as_raw_fd()).deregister(registry)
        }
    }
}

#[cfg(not(all(target_os = "linux", not(feature = "portable-io"))))]
mod platform {
    #![expect(
        clippy::unnecessary_wraps,
        reason = "the same interface as the timerfd, which can fail"
    )]

    use super::{Clock, Interest, Registry, Source, Timestamp, Token, io};

    pub(super) const HAS_EVENTS: bool = false;

    /// Nothing: the deadline lives in the poll's timeout alone.
    #[derive(Debug)]
    pub(super) struct Timer;

    impl Timer {
        pub(super) fn new(_clock: Clock) -> io::Result<Self> {
            Ok(Self)
        }

        #[expect(clippy::unused_self, reason = "the same interface as the timerfd")]
        pub(super) fn set(&self, _deadline: Option<Timestamp>) -> io::Result<()> {
            Ok(())
        }
    }

    impl Source for Timer {
        fn register(&mut self, _: &Registry, _: Token, _: Interest) -> io::Result<()> {
            Ok(())
        }

        fn reregister(&mut self, _: &Registry, _: Token, _: Interest) -> io::Result<()> {
            Ok(())
        }

        fn deregister(&mut self, _: &Registry) -> io::Result<()> {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use mio::{Events, Poll};

    use super::*;

    const TIMER: Token = Token(7);

    struct Fixture {
        clock: Clock,
        timer: PreciseTimer,
        poll: Poll,
        events: Events,
    }

    impl Fixture {
        fn new() -> Self {
            let clock = Clock::new();
            let mut timer = PreciseTimer::new(clock).unwrap();
            let poll = Poll::new().unwrap();
            poll.registry()
                .register(&mut timer, TIMER, Interest::READABLE)
                .unwrap();
            Self {
                clock,
                timer,
                poll,
                events: Events::with_capacity(4),
            }
        }

        /// Polls as a reactor does until `deadline` has passed; returns how often it woke.
        fn wait_until(&mut self, deadline: Timestamp) -> usize {
            let mut turns = 0;
            loop {
                let now = self.clock.now();
                if now >= deadline {
                    return turns;
                }
                self.timer.arm(deadline).unwrap();
                let timeout = self.timer.poll_timeout(now, Some(deadline));
                assert_eq!(timeout.is_none(), platform::HAS_EVENTS);
                self.poll.poll(&mut self.events, timeout).unwrap();
                if self.events.iter().any(|event| event.token() == TIMER) {
                    assert!(self.clock.now() >= deadline, "woke too early");
                    self.timer.acknowledge();
                }
                turns += 1;
            }
        }
    }

    #[test]
    fn each_deadline_wakes_the_poll_and_never_early() {
        let mut fixture = Fixture::new();
        for micros in [300, 50, 1, 2500] {
            let deadline = fixture.clock.now() + Duration::from_micros(micros);
            // One turn sleeps; the test thread may also be held up until the deadline is past.
            let turns = fixture.wait_until(deadline);
            assert!(turns <= 1 || !platform::HAS_EVENTS, "woke {turns} times");
        }
    }

    #[test]
    fn a_deadline_in_the_past_wakes_at_once_and_again_when_armed_again() {
        let mut fixture = Fixture::new();
        let past = Timestamp::ZERO;
        for _ in 0..3 {
            fixture.timer.arm(past).unwrap();
            let timeout = if platform::HAS_EVENTS {
                None
            } else {
                fixture.timer.poll_timeout(fixture.clock.now(), Some(past))
            };
            fixture.poll.poll(&mut fixture.events, timeout).unwrap();
            assert_eq!(!fixture.events.is_empty(), platform::HAS_EVENTS);
            fixture.timer.acknowledge();
        }
    }

    #[test]
    fn an_earlier_deadline_replaces_a_later_one() {
        let mut fixture = Fixture::new();
        let now = fixture.clock.now();
        fixture.timer.arm(now + Duration::from_secs(3600)).unwrap();
        fixture.wait_until(now + Duration::from_millis(1));
    }

    #[test]
    fn a_disarmed_timer_stays_silent() {
        let mut fixture = Fixture::new();
        fixture.timer.arm(Timestamp::ZERO).unwrap();
        fixture.timer.disarm().unwrap();
        fixture
            .poll
            .poll(&mut fixture.events, Some(Duration::ZERO))
            .unwrap();
        assert!(fixture.events.is_empty());
    }

    #[test]
    fn the_timeout_covers_what_no_event_will_tell() {
        let mut fixture = Fixture::new();
        let now = Timestamp::from_nanos(1_000);
        let soon = Timestamp::from_nanos(5_000);
        let later = Timestamp::from_nanos(9_000);
        let timer = &mut fixture.timer;
        assert_eq!(timer.poll_timeout(now, None), None);
        assert_eq!(timer.poll_timeout(now, Some(Timestamp::MAX)), None);
        assert_eq!(timer.poll_timeout(now, Some(now)), Some(Duration::ZERO));
        let four = Some(Duration::from_nanos(4_000));
        assert_eq!(timer.poll_timeout(now, Some(soon)), four, "not armed");
        timer.arm(later).unwrap();
        assert_eq!(timer.poll_timeout(now, Some(soon)), four, "armed for later");
        timer.arm(soon).unwrap();
        let armed = timer.poll_timeout(now, Some(soon));
        assert_eq!(armed, if platform::HAS_EVENTS { None } else { four });
        timer.arm(Timestamp::MAX).unwrap();
        assert_eq!(timer.armed, None);
    }
}
