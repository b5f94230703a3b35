//! When UDP clients are moved to other ports or addresses, as the upstream sees them: what a NAT that
//! forgets, or a change of network, does.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use columba_values::{ValueError, parse_time_with_unit};

use crate::Nanos;
use crate::delay::duration_nanos;
use crate::scenario::Rebind;

/// Shortest time between two moves of a client.
const LEAST: Duration = Duration::from_millis(1);

/// When a client is moved, counted from its first datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RebindTimes {
    /// The first time.
    pub first: Duration,
    /// And then each time after this.
    pub every: Duration,
}

impl std::str::FromStr for RebindTimes {
    type Err = ValueError;

    /// Reads `5s`, or `2s,5s` for the first time and the others.
    fn from_str(text: &str) -> Result<Self, ValueError> {
        let (first, every) = text.split_once(',').unwrap_or((text, text));
        let times = Self {
            first: parse_time_with_unit(first)?,
            every: parse_time_with_unit(every)?,
        };
        if times.every < LEAST {
            return Err(ValueError::new(format!("must be at least {LEAST:?}")));
        }
        Ok(times)
    }
}

/// Which moves are to happen.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Rebinding {
    /// To another port.
    pub port: Option<RebindTimes>,
    /// To another address, and so another port. Only towards an IPv4 loopback upstream, where there are
    /// addresses to spare.
    pub address: Option<RebindTimes>,
}

impl Rebinding {
    /// The first moves of a client that appears now.
    pub(crate) fn begin(&self, now: Nanos) -> NextRebinds {
        let first = |times: RebindTimes| now.saturating_add(duration_nanos(times.first));
        NextRebinds {
            port: self.port.map(first),
            address: self.address.map(first),
        }
    }
}

/// The next moves of a client.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct NextRebinds {
    port: Option<Nanos>,
    address: Option<Nanos>,
}

impl NextRebinds {
    /// When the next one is due.
    pub(crate) fn next(&self) -> Option<Nanos> {
        earlier(self.port, self.address)
    }

    /// The move that is due, if any; a change of address stands for one of port too.
    pub(crate) fn take_due(&mut self, now: Nanos, rebinding: Rebinding) -> Option<Rebind> {
        let take = |next: &mut Option<Nanos>, times: Option<RebindTimes>| {
            let due = next.is_some_and(|next| next <= now);
            if due {
                *next = times.map(|times| now.saturating_add(duration_nanos(times.every)));
            }
            due
        };
        let port = take(&mut self.port, rebinding.port);
        let address = take(&mut self.address, rebinding.address);
        match (port, address) {
            (_, true) => Some(Rebind::Address),
            (true, false) => Some(Rebind::Port),
            (false, false) => None,
        }
    }
}

/// The earlier of two times that may not be set.
pub(crate) fn earlier(one: Option<Nanos>, other: Option<Nanos>) -> Option<Nanos> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// Loopback addresses for clients that move.
#[derive(Debug, Default)]
pub(crate) struct AddressPool {
    used: u16,
}

impl AddressPool {
    /// The next one: 127.1.0.1, 127.1.0.2 and so on, starting over after 65,535.
    pub(crate) fn next(&mut self) -> IpAddr {
        self.used = self.used.checked_add(1).unwrap_or(1);
        let [high, low] = self.used.to_be_bytes();
        Ipv4Addr::new(127, 1, high, low).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        let times = |first, every| RebindTimes {
            first: Duration::from_secs(first),
            every: Duration::from_secs(every),
        };
        assert_eq!("5s".parse(), Ok(times(5, 5)));
        assert_eq!("2s,5s".parse(), Ok(times(2, 5)));
        for wrong in ["", "5", "2s,0", "1s,2s,3s"] {
            assert!(wrong.parse::<RebindTimes>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn moves_come_in_time() {
        let rebinding = Rebinding {
            port: "2ms,5ms".parse().ok(),
            address: "7ms".parse().ok(),
        };
        let mut next = rebinding.begin(0);
        let mut moves = Vec::new();
        while let Some(time) = next.next().filter(|time| *time <= 15_000_000) {
            moves.push((time / 1_000_000, next.take_due(time, rebinding)));
        }
        let (port, address) = (Some(Rebind::Port), Some(Rebind::Address));
        assert_eq!(moves, [(2, port), (7, address), (12, port), (14, address)]);
    }

    #[test]
    fn addresses_start_over() {
        let mut pool = AddressPool { used: u16::MAX - 1 };
        assert_eq!(pool.next(), Ipv4Addr::new(127, 1, 255, 255));
        assert_eq!(pool.next(), Ipv4Addr::new(127, 1, 0, 1));
    }
}
