//! The proxy's clock, and a timer more precise than epoll's whole milliseconds.

use std::io;
use std::time::{Duration, Instant};

use mio::Registry;

use crate::Nanos;

/// Time since the proxy started.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
        }
    }

    pub(crate) fn now(&self) -> Nanos {
        Nanos::try_from(self.start.elapsed().as_nanos()).unwrap_or(Nanos::MAX)
    }
}

#[cfg(all(target_os = "linux", not(feature = "portable-io")))]
pub(crate) use self::linux::PreciseTimer;
#[cfg(not(all(target_os = "linux", not(feature = "portable-io"))))]
pub(crate) use self::portable::PreciseTimer;

#[cfg(all(target_os = "linux", not(feature = "portable-io")))]
mod linux {
    use super::{Duration, Nanos, Registry, io};
    use std::os::fd::{AsRawFd, OwnedFd};

    use mio::Interest;
    use mio::unix::SourceFd;
    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };

    use crate::proxy::token::Source;

    /// A timerfd in the poll.
    #[derive(Debug)]
    pub(crate) struct PreciseTimer {
        fd: OwnedFd,
        armed: Option<Nanos>,
    }

    impl PreciseTimer {
        pub(crate) fn new(registry: &Registry) -> io::Result<Self> {
            let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
            let fd = timerfd_create(TimerfdClockId::Monotonic, flags)?;
            let token = Source::Timer.into();
            registry.register(&mut SourceFd(&fd.as_raw_fd()), token, Interest::READABLE)?;
            Ok(Self { fd, armed: None })
        }

        /// Sees to it that the poll ends at `deadline`, and gives the timeout to poll with.
        pub(crate) fn arm(
            &mut self,
            now: Nanos,
            deadline: Option<Nanos>,
        ) -> io::Result<Option<Duration>> {
            let Some(deadline) = deadline else {
                return Ok(None);
            };
            if deadline <= now {
                return Ok(Some(Duration::ZERO));
            }
            // A timer that fires too early costs one turn; one that is moved for each packet, a system
            // call for each packet.
            if self
                .armed
                .is_none_or(|armed| deadline < armed || armed <= now)
            {
                let left = Duration::from_nanos(deadline - now);
                let time = Itimerspec {
                    it_interval: Timespec {
                        tv_sec: 0,
                        tv_nsec: 0,
                    },
                    it_value: Timespec {
                        tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                        tv_nsec: i64::from(left.subsec_nanos()),
                    },
                };
                timerfd_settime(&self.fd, TimerfdTimerFlags::empty(), &time)?;
                self.armed = Some(deadline);
            }
            Ok(None)
        }

        /// Takes note that the timer has fired. Its count of expirations need not be read: setting it
        /// anew clears that, and the poll reports each expiration as an edge.
        pub(crate) fn fired(&mut self) {
            self.armed = None;
        }
    }
}

#[cfg(not(all(target_os = "linux", not(feature = "portable-io"))))]
mod portable {
    use super::{Duration, Nanos, Registry, io};

    /// The poll's own timeout, in whole milliseconds on most systems.
    #[derive(Debug)]
    pub(crate) struct PreciseTimer;

    impl PreciseTimer {
        pub(crate) fn new(_registry: &Registry) -> io::Result<Self> {
            Ok(Self)
        }

        /// Gives the timeout with which the poll ends at `deadline`.
        pub(crate) fn arm(
            &mut self,
            now: Nanos,
            deadline: Option<Nanos>,
        ) -> io::Result<Option<Duration>> {
            Ok(deadline.map(|deadline| Duration::from_nanos(deadline.saturating_sub(now))))
        }

        /// Nothing to take note of: there is no timer to fire.
        pub(crate) fn fired(&mut self) {}
    }
}
