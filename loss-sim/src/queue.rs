//! The bottleneck: a drop-tail queue before a link of a certain rate.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::Nanos;
use crate::impairments::Impairments;
use crate::limits;
use crate::trace::TraceCursor;

const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// A packet that has not left yet.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    number: u64,
    departure: Nanos,
    wire_bytes: u64,
}

/// The queue and the sending side of a link. Since it is served in order and at a known rate, a packet's
/// departure is known the moment it arrives; what stands here only counts what is still waiting.
#[derive(Debug, Clone)]
pub(crate) struct Bottleneck {
    service: Service,
    queue_bytes: u64,
    backlog: VecDeque<Waiting>,
    backlog_bytes: u64,
    busy_until: Nanos,
}

/// How the queue is served.
#[derive(Debug, Clone)]
enum Service {
    /// At once.
    Unlimited,
    /// At a rate.
    Rate {
        bits_per_second: u64,
        /// What integer division left over of the last packet's sending time, in 1/rate nanoseconds: so
        /// a busy link keeps its exact rate over any number of packets.
        remainder: u128,
    },
    /// As recorded.
    Trace(TraceCursor),
}

impl Service {
    fn new(impairments: &Impairments, now: Nanos) -> Self {
        match (&impairments.trace, impairments.rate_bits_per_second) {
            (Some(trace), _) => Self::Trace(TraceCursor::new(Arc::clone(trace), now)),
            (None, Some(bits_per_second)) => Self::Rate {
                bits_per_second,
                remainder: 0,
            },
            (None, None) => Self::Unlimited,
        }
    }

    /// Whether it is what the impairments ask for.
    fn fits(&self, impairments: &Impairments) -> bool {
        match self {
            Self::Trace(cursor) => impairments
                .trace
                .as_ref()
                .is_some_and(|trace| cursor.follows(trace)),
            Self::Rate {
                bits_per_second, ..
            } => {
                impairments.trace.is_none()
                    && impairments.rate_bits_per_second == Some(*bits_per_second)
            }
            Self::Unlimited => {
                impairments.trace.is_none() && impairments.rate_bits_per_second.is_none()
            }
        }
    }

    /// When the last bit of a packet leaves whose turn it is at `start`.
    fn serve(&mut self, start: Nanos, is_idle: bool, wire_bytes: u64) -> Nanos {
        match self {
            Self::Unlimited => start,
            Self::Rate {
                bits_per_second,
                remainder,
            } => {
                let rate = u128::from(*bits_per_second);
                let carried = if is_idle { 0 } else { *remainder };
                let work = u128::from(wire_bytes) * 8 * NANOS_PER_SECOND + carried;
                *remainder = work % rate;
                start.saturating_add(Nanos::try_from(work / rate).unwrap_or(Nanos::MAX))
            }
            Self::Trace(cursor) => cursor.serve(start, wire_bytes).max(start),
        }
    }
}

impl Bottleneck {
    pub(crate) fn new(impairments: &Impairments) -> Self {
        Self {
            service: Service::new(impairments, 0),
            queue_bytes: impairments.effective_queue_bytes().unwrap_or(u64::MAX),
            backlog: VecDeque::new(),
            backlog_bytes: 0,
            busy_until: 0,
        }
    }

    /// Takes in packet `number`, which occupies `wire_bytes`, and says when its last bit leaves; `None`
    /// when the queue has no room. The packet being sent is no longer in the queue.
    pub(crate) fn enqueue(&mut self, now: Nanos, number: u64, wire_bytes: u64) -> Option<Nanos> {
        self.forget_departed(now);
        let waiting = self.waiting_bytes();
        let busy = !self.backlog.is_empty();
        let has_room = waiting.saturating_add(wire_bytes) <= self.queue_bytes
            && self.backlog.len() < limits::MAX_HELD_PACKETS;
        if busy && !has_room {
            return None;
        }
        Some(self.admit(now, number, wire_bytes))
    }

    /// Takes in something that is never dropped, because its sender is held up instead (TCP).
    pub(crate) fn enqueue_always(&mut self, now: Nanos, number: u64, wire_bytes: u64) -> Nanos {
        self.forget_departed(now);
        self.admit(now, number, wire_bytes)
    }

    /// Bytes in the queue, without the packet being sent, as of the last packet taken in.
    pub(crate) fn waiting_bytes(&self) -> u64 {
        let in_service = self.backlog.front().map_or(0, |first| first.wire_bytes);
        self.backlog_bytes - in_service
    }

    fn admit(&mut self, now: Nanos, number: u64, wire_bytes: u64) -> Nanos {
        let departure = self.serve(now, wire_bytes);
        if departure > now {
            self.backlog.push_back(Waiting {
                number,
                departure,
                wire_bytes,
            });
            self.backlog_bytes += wire_bytes;
        }
        departure
    }

    /// Adds the packet's sending time to what the link has to do already.
    fn serve(&mut self, now: Nanos, wire_bytes: u64) -> Nanos {
        let is_idle = self.busy_until < now;
        let start = self.busy_until.max(now);
        self.busy_until = self.service.serve(start, is_idle, wire_bytes);
        self.busy_until
    }

    fn forget_departed(&mut self, now: Nanos) {
        while let Some(first) = self.backlog.front()
            && first.departure <= now
        {
            self.backlog_bytes -= first.wire_bytes;
            self.backlog.pop_front();
        }
    }

    /// Changes rate and queue. The packet being sent ends as planned; those behind it leave at the new
    /// rate. A queue that is now too long drains rather than loses packets.
    pub(crate) fn reconfigure(&mut self, now: Nanos, impairments: &Impairments) {
        self.forget_departed(now);
        self.queue_bytes = impairments.effective_queue_bytes().unwrap_or(u64::MAX);
        if self.service.fits(impairments) {
            return;
        }
        self.service = Service::new(impairments, now);
        let mut backlog = std::mem::take(&mut self.backlog);
        self.busy_until = backlog.front().map_or(now, |first| first.departure);
        for waiting in backlog.iter_mut().skip(1) {
            waiting.departure = self.serve(now, waiting.wire_bytes);
        }
        self.backlog = backlog;
    }

    /// When packet `number` leaves, if it has not left yet.
    pub(crate) fn departure_of(&self, number: u64) -> Option<Nanos> {
        let index = self
            .backlog
            .binary_search_by_key(&number, |waiting| waiting.number)
            .ok()?;
        self.backlog.get(index).map(|waiting| waiting.departure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Trace;
    use std::time::Duration;

    fn bottleneck(rate: u64, queue: u64) -> Bottleneck {
        Bottleneck::new(&Impairments {
            rate_bits_per_second: Some(rate),
            queue_bytes: Some(queue),
            ..Impairments::default()
        })
    }

    #[test]
    fn sending_takes_size_divided_by_rate() {
        // 1500 bytes at 12 Mbit/s are exactly one millisecond.
        let mut bottleneck = bottleneck(12_000_000, 10_000);
        assert_eq!(bottleneck.enqueue(0, 1, 1500), Some(1_000_000));
        assert_eq!(bottleneck.enqueue(0, 2, 1500), Some(2_000_000));
        assert_eq!(bottleneck.enqueue(1_500_000, 3, 750), Some(2_500_000));
        // After an idle time it starts afresh.
        assert_eq!(bottleneck.enqueue(9_000_000, 4, 1500), Some(10_000_000));
    }

    #[test]
    fn a_busy_link_keeps_its_exact_rate() {
        // 3 bytes at 7 bit/s take no whole number of nanoseconds.
        let mut bottleneck = bottleneck(7, u64::from(u32::MAX) / 32);
        let last = (1..=7000)
            .map(|number| bottleneck.enqueue(0, number, 3))
            .last()
            .flatten();
        assert_eq!(last, Some(7000 * 3 * 8 / 7 * 1_000_000_000));
    }

    #[test]
    fn the_queue_drops_at_the_tail() {
        let mut bottleneck = bottleneck(12_000_000, 3000);
        // One is being sent, two wait, the fourth finds no room.
        assert!(bottleneck.enqueue(0, 1, 1500).is_some());
        assert!(bottleneck.enqueue(0, 2, 1500).is_some());
        assert!(bottleneck.enqueue(0, 3, 1500).is_some());
        assert_eq!(bottleneck.waiting_bytes(), 3000);
        assert_eq!(bottleneck.enqueue(0, 4, 1500), None);
        assert_eq!(bottleneck.enqueue(999_999, 5, 1500), None);
        // The first has left: the second is being sent, one waits.
        assert_eq!(bottleneck.enqueue(1_000_000, 6, 1500), Some(4_000_000));
    }

    #[test]
    fn an_idle_link_takes_a_packet_larger_than_its_queue() {
        let mut bottleneck = bottleneck(8_000_000_000, 100);
        assert_eq!(bottleneck.enqueue(0, 1, 1500), Some(1500));
        assert_eq!(bottleneck.enqueue(0, 2, 1500), None);
    }

    #[test]
    fn without_a_rate_nothing_waits() {
        let mut bottleneck = Bottleneck::new(&Impairments::default());
        for number in 1..=100 {
            assert_eq!(bottleneck.enqueue(5, number, 65_535), Some(5));
        }
        assert_eq!(bottleneck.waiting_bytes(), 0);
    }

    #[test]
    fn a_trace_serves_as_recorded() {
        let trace = Trace::parse("2\n5\n6\n").unwrap();
        let impairments = Impairments {
            trace: Some(Arc::new(trace)),
            queue_bytes: Some(3000),
            ..Impairments::default()
        };
        let mut bottleneck = Bottleneck::new(&impairments);
        let departures: Vec<_> = (1..=4)
            .map(|number| bottleneck.enqueue(0, number, 1500))
            .collect();
        assert_eq!(
            departures,
            [Some(2_000_000), Some(5_000_000), Some(6_000_000), None]
        );
        // The same trace goes on, a new one starts when it is set.
        bottleneck.reconfigure(1_000_000, &impairments);
        assert_eq!(bottleneck.departure_of(3), Some(6_000_000));
        let other = Impairments {
            trace: Some(Arc::new(Trace::parse("10\n").unwrap())),
            ..Impairments::default()
        };
        bottleneck.reconfigure(1_000_000, &other);
        assert_eq!(bottleneck.departure_of(1), Some(2_000_000));
        assert_eq!(bottleneck.departure_of(2), Some(11_000_000));
    }

    #[test]
    fn a_new_rate_applies_to_what_waits() {
        let mut bottleneck = bottleneck(12_000_000, 100_000);
        for number in 1..=3 {
            assert!(bottleneck.enqueue(0, number, 1500).is_some());
        }
        let faster = Impairments {
            rate_bits_per_second: Some(120_000_000),
            delay: Duration::from_millis(1),
            ..Impairments::default()
        };
        bottleneck.reconfigure(500_000, &faster);
        assert_eq!(bottleneck.departure_of(1), Some(1_000_000));
        assert_eq!(bottleneck.departure_of(2), Some(1_100_000));
        assert_eq!(bottleneck.departure_of(3), Some(1_200_000));
        assert_eq!(bottleneck.enqueue(500_000, 4, 1500), Some(1_300_000));
    }
}
