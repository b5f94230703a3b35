//! What flows are measured on: a path of a rate, a round trip, a loss and a queue, as a relay or as a link.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use columba_loss_sim::proxy::{PathHandle, Proxy, ProxyConfig, SpawnedProxy};
use columba_loss_sim::{Direction, Impairments, LinkStats, Reorder};
use serde::Serialize;

#[cfg(target_os = "linux")]
use columba_loss_sim::ip_link::{IpLink, IpLinkConfig, Side, SpawnedIpLink};

use crate::session::{ServerOptions, Session};
use crate::stage::Stage;

/// Share of a 1500-byte IPv4 packet that a file can have at most: five cells of 288 bytes.
const PAYLOAD_SHARE: f64 = 0.96;

/// Share of packets that a path with reordering holds back.
const REORDERED: f64 = 0.1;

/// A queue is not shorter than this: 43 packets.
const LEAST_QUEUE_BYTES: f64 = 64_000.0;

/// Megabits of a file that a path can carry a second: link rate × (1 − loss) × payload share.
pub(crate) fn erasure_bound_mbit(rate_mbit: f64, loss: f64) -> f64 {
    rate_mbit * (1.0 - loss) * PAYLOAD_SHARE
}

/// The path.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Course {
    pub(crate) rate_mbit: f64,
    pub(crate) rtt: Duration,
    /// Each way.
    pub(crate) loss: f64,
    /// In bandwidth-delay products; 64 kB are the least.
    pub(crate) queue_bdp: f64,
    /// A tenth of all packets comes so much later than its turn.
    pub(crate) reorder: Option<Duration>,
    pub(crate) seed: u64,
}

impl Course {
    /// A clean path of 10 Mbit/s and 50 ms.
    #[cfg(test)]
    pub(crate) const fn clean_10_mbit() -> Self {
        Self {
            rate_mbit: 10.0,
            rtt: Duration::from_millis(50),
            loss: 0.0,
            queue_bdp: 1.0,
            reorder: None,
            seed: 1,
        }
    }

    pub(crate) fn erasure_bound_mbit(&self) -> f64 {
        erasure_bound_mbit(self.rate_mbit, self.loss)
    }

    /// What people call it.
    pub(crate) fn describe(&self) -> String {
        let mut text = format!(
            "{} Mbit/s, {:?}, {} % loss",
            self.rate_mbit,
            self.rtt,
            100.0 * self.loss
        );
        if let Some(delay) = self.reorder {
            text += &format!(", a tenth {delay:?} late");
        }
        text
    }

    /// Bytes that fill the path once.
    pub(crate) fn bdp_bytes(&self) -> f64 {
        self.rate_mbit * 1e6 / 8.0 * self.rtt.as_secs_f64()
    }

    /// A relay of this kind before a server.
    pub(crate) fn proxy(&self, upstream: SocketAddr) -> ProxyConfig {
        ProxyConfig {
            up: self.impairments(),
            down: self.impairments(),
            seed: self.seed,
            ..ProxyConfig::new(upstream)
        }
    }

    /// What happens in either direction.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "rates and queues of at most gigabits, not negative"
    )]
    fn impairments(&self) -> Impairments {
        Impairments {
            delay: self.rtt / 2,
            loss: self.loss,
            reorder: self.reorder.map(|delay| Reorder {
                probability: REORDERED,
                delay,
            }),
            rate_bits_per_second: Some((self.rate_mbit * 1e6) as u64),
            queue_bytes: Some((self.bdp_bytes() * self.queue_bdp).max(LEAST_QUEUE_BYTES) as u64),
            ..Impairments::default()
        }
    }
}

/// The path in use. Without the mutable parts it ends when it is dropped.
#[derive(Debug)]
pub(crate) enum Road {
    /// UDP through the proxy; TCP loses nothing there.
    Relay(SpawnedProxy),
    /// Whole packets between two namespaces.
    #[cfg(target_os = "linux")]
    Link(SpawnedIpLink),
}

/// How flows travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    Relay,
    #[cfg(target_os = "linux")]
    Link,
}

impl Over {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Relay => "relay",
            #[cfg(target_os = "linux")]
            Self::Link => "link",
        }
    }
}

/// Starts a server behind a path.
pub(crate) fn open(
    over: Over,
    course: &Course,
    stage: &mut Stage,
    options: ServerOptions<'_>,
) -> Result<(Road, Session)> {
    match over {
        Over::Relay => {
            let mut session = Session::start(stage, options)?;
            let upstream = session.address().parse();
            let upstream = upstream.context("the server's address")?;
            let proxy = Proxy::spawn(&course.proxy(upstream))?;
            session.connect_through(&proxy.address().to_string());
            Ok((Road::Relay(proxy), session))
        }
        #[cfg(target_os = "linux")]
        Over::Link => {
            let link = open_link(course)?;
            let right = link.end(Side::Right);
            let listen = format!("{}:0", right.ipv4());
            let start = || Session::start_with(stage, options, &listen, Vec::new());
            let session = right
                .run_inside(start)
                .context("cannot enter a namespace")??;
            Ok((Road::Link(link), session))
        }
    }
}

/// A link without a server.
#[cfg(target_os = "linux")]
pub(crate) fn open_link(course: &Course) -> Result<SpawnedIpLink> {
    Ok(IpLink::spawn(&IpLinkConfig {
        up: course.impairments(),
        down: course.impairments(),
        seed: course.seed,
        ..IpLinkConfig::default()
    })?)
}

impl Road {
    fn handle(&self) -> &PathHandle {
        match self {
            Self::Relay(proxy) => proxy,
            #[cfg(target_os = "linux")]
            Self::Link(link) => link.handle(),
        }
    }

    /// The counters of the way that files take.
    pub(crate) fn down(&self) -> LinkStats {
        self.handle().stats().down
    }

    /// Takes all impairments away, for questions that are not to be measured.
    pub(crate) fn heal(&self) -> Result<()> {
        for direction in Direction::BOTH {
            let none = Impairments::default();
            self.handle().set_impairments(direction, none)?;
        }
        Ok(())
    }

    /// Runs something where clients are.
    pub(crate) fn at_the_client<T: Send>(&self, run: impl FnOnce() -> T + Send) -> Result<T> {
        match self {
            Self::Relay(_) => Ok(run()),
            #[cfg(target_os = "linux")]
            Self::Link(link) => {
                let left = link.end(Side::Left);
                left.run_inside(run).context("cannot enter a namespace")
            }
        }
    }
}

/// What went down a path between two looks at its counters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Stretch {
    /// Share of packets that the queue dropped.
    pub(crate) queue_drop_rate: f64,
    /// What stood in the queue on average, in bandwidth-delay products.
    pub(crate) standing_queue_bdp: f64,
}

impl Stretch {
    /// Of two looks at the counters.
    pub(crate) fn between(course: &Course, before: &LinkStats, after: &LinkStats) -> Self {
        let packets = after.packets.saturating_sub(before.packets);
        let drops = after.queue_drops.saturating_sub(before.queue_drops);
        let passed = packets.saturating_sub(drops).max(1) as f64;
        let bytes = after.bytes.saturating_sub(before.bytes) as f64;
        let queue_seconds = after.queue_ns.saturating_sub(before.queue_ns) as f64 / 1e9;
        // The time that a packet takes to be sent is not waiting.
        let mean_bytes = bytes / packets.max(1) as f64;
        let sending = mean_bytes * 8.0 / (course.rate_mbit * 1e6);
        let waiting = (queue_seconds / passed - sending).max(0.0);
        Self {
            queue_drop_rate: drops as f64 / packets.max(1) as f64,
            standing_queue_bdp: waiting / course.rtt.as_secs_f64(),
        }
    }
}

/// What every row says of where it was measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Place {
    workload: &'static str,
    pub(super) part: &'static str,
    pub(super) row: &'static str,
    pub(super) over: &'static str,
    pub(super) rate_mbit: f64,
    pub(super) rtt_ms: f64,
    pub(super) loss: f64,
    pub(super) queue_bdp: f64,
}

impl Place {
    pub(super) fn new(part: &'static str, row: &'static str, over: Over, course: &Course) -> Self {
        Self {
            workload: "path",
            part,
            row,
            over: over.name(),
            rate_mbit: course.rate_mbit,
            rtt_ms: course.rtt.as_secs_f64() * 1e3,
            loss: course.loss,
            queue_bdp: course.queue_bdp,
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "{:<12} {:<12} {:<5} {:>4} Mbit/s {:>4} ms {:>5.1} %:",
            self.part,
            self.row,
            self.over,
            self.rate_mbit,
            self.rtt_ms,
            100.0 * self.loss
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn course() -> Course {
        Course {
            rate_mbit: 8.0,
            rtt: Duration::from_millis(50),
            loss: 0.1,
            queue_bdp: 2.0,
            reorder: None,
            seed: 1,
        }
    }

    #[test]
    fn the_bound_is_what_is_left_of_the_rate() {
        assert!((course().erasure_bound_mbit() - 6.912).abs() < 1e-9);
        assert!((course().bdp_bytes() - 50_000.0).abs() < 1e-6);
        assert_eq!(course().impairments().queue_bytes, Some(100_000));
    }

    #[test]
    fn waiting_is_what_is_not_sending() {
        let before = LinkStats::default();
        // Ten packets of 1000 bytes, 1 ms each to send, and 25 ms more each; ten more were dropped.
        let after = LinkStats {
            packets: 20,
            queue_drops: 10,
            bytes: 20_000,
            queue_ns: 10 * 26_000_000,
            ..LinkStats::default()
        };
        let stretch = Stretch::between(&course(), &before, &after);
        assert!((stretch.queue_drop_rate - 0.5).abs() < 1e-9);
        assert!(
            (stretch.standing_queue_bdp - 0.5).abs() < 1e-9,
            "{stretch:?}"
        );
    }
}
