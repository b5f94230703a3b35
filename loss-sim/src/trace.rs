//! Links whose rate varies as recorded: traces in the format of mahimahi.
//!
//! Each line of such a file is a time in whole milliseconds at which one packet of 1500 bytes can leave;
//! a time may occur more than once. At the end the trace starts over. A larger packet takes several
//! opportunities, smaller ones share one, and an opportunity that finds nothing to send is lost.

use std::sync::Arc;

use crate::Nanos;

/// Bytes that an opportunity can carry.
const OPPORTUNITY_BYTES: u64 = 1500;

/// Most opportunities of a trace.
const MAX_OPPORTUNITIES: usize = 1 << 22;

const NANOS_PER_MILLISECOND: u64 = 1_000_000;

/// What is wrong with a trace.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TraceError {
    /// A line that is no time.
    #[error("line {0} is not a time in whole milliseconds")]
    Line(usize),
    /// Times must not go back.
    #[error("line {0} is earlier than the line before")]
    Order(usize),
    /// There must be something, and it must take time.
    #[error("a trace needs at least one time later than 0")]
    Empty,
    /// A trace is held in memory.
    #[error("a trace has at most {MAX_OPPORTUNITIES} lines")]
    TooLong,
}

/// When packets can leave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// In nanoseconds since the start of the trace, in order.
    opportunities: Vec<Nanos>,
    /// The last opportunity, at which the trace starts over.
    period: Nanos,
}

impl Trace {
    /// Reads a trace.
    ///
    /// # Errors
    /// The first line that is wrong.
    pub fn parse(text: &str) -> Result<Self, TraceError> {
        let mut opportunities: Vec<Nanos> = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            if line.trim().is_empty() {
                continue;
            }
            let time = line.trim().parse::<u64>().ok();
            let time = time
                .and_then(|time| time.checked_mul(NANOS_PER_MILLISECOND))
                .ok_or(TraceError::Line(number))?;
            if opportunities.last().is_some_and(|last| time < *last) {
                return Err(TraceError::Order(number));
            }
            if opportunities.len() == MAX_OPPORTUNITIES {
                return Err(TraceError::TooLong);
            }
            opportunities.push(time);
        }
        match opportunities.last() {
            Some(period) if *period > 0 => Ok(Self {
                period: *period,
                opportunities,
            }),
            _ => Err(TraceError::Empty),
        }
    }

    /// The mean rate in bits per second.
    #[must_use]
    pub fn mean_bits_per_second(&self) -> u64 {
        let bits = self.opportunities.len() as u128 * u128::from(OPPORTUNITY_BYTES) * 8;
        let rate = bits * 1_000_000_000 / u128::from(self.period);
        u64::try_from(rate).unwrap_or(u64::MAX)
    }

    /// The time of an opportunity, counted on through the repetitions.
    fn time(&self, index: u64) -> Nanos {
        let count = self.opportunities.len() as u64;
        let within = usize::try_from(index % count).unwrap_or(0);
        let start = (index / count).saturating_mul(self.period);
        start.saturating_add(self.opportunities.get(within).copied().unwrap_or(0))
    }

    /// The first opportunity at or after a time.
    fn first_from(&self, time: Nanos) -> u64 {
        // The last opportunity of a round stands at the start of the next one.
        let round = time.saturating_sub(1) / self.period;
        let within = time - round * self.period;
        let index = self.opportunities.partition_point(|it| *it < within);
        round * self.opportunities.len() as u64 + index as u64
    }
}

/// Where a link stands in its trace.
#[derive(Debug, Clone)]
pub(crate) struct TraceCursor {
    trace: Arc<Trace>,
    /// When the trace began.
    origin: Nanos,
    /// The opportunity in use.
    index: u64,
    /// What it can still carry, in bytes.
    left: u64,
}

impl TraceCursor {
    pub(crate) fn new(trace: Arc<Trace>, origin: Nanos) -> Self {
        Self {
            trace,
            origin,
            index: 0,
            left: OPPORTUNITY_BYTES,
        }
    }

    /// Whether it follows this very trace.
    pub(crate) fn follows(&self, trace: &Arc<Trace>) -> bool {
        Arc::ptr_eq(&self.trace, trace) || self.trace == *trace
    }

    /// Takes the opportunities that these bytes need, and gives the time of the last one.
    pub(crate) fn serve(&mut self, now: Nanos, bytes: u64) -> Nanos {
        let first = self.trace.first_from(now.saturating_sub(self.origin));
        if first > self.index {
            self.index = first;
            self.left = OPPORTUNITY_BYTES;
        }
        if bytes > self.left {
            let more = (bytes - self.left).div_ceil(OPPORTUNITY_BYTES);
            self.index += more;
            self.left += more * OPPORTUNITY_BYTES;
        }
        self.left -= bytes;
        self.origin.saturating_add(self.trace.time(self.index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Nanos = NANOS_PER_MILLISECOND;

    fn cursor(text: &str) -> TraceCursor {
        TraceCursor::new(Arc::new(Trace::parse(text).unwrap()), 0)
    }

    #[test]
    fn packets_leave_at_opportunities() {
        let mut cursor = cursor("1\n3\n3\n10\n");
        let times: Vec<_> = (0..6).map(|_| cursor.serve(0, 1500) / MS).collect();
        assert_eq!(times, [1, 3, 3, 10, 11, 13]);
    }

    #[test]
    fn small_packets_share_and_large_ones_span() {
        let mut cursor = cursor("1\n2\n3\n4\n");
        let sizes = [700, 700, 200, 3000, 1300];
        let times: Vec<_> = sizes
            .iter()
            .map(|size| cursor.serve(0, *size) / MS)
            .collect();
        assert_eq!(times, [1, 1, 2, 4, 4]);
    }

    #[test]
    fn unused_opportunities_are_lost() {
        let mut cursor = cursor("1\n2\n10\n");
        assert_eq!(cursor.serve(0, 100), MS);
        assert_eq!(cursor.serve(2 * MS, 1500), 2 * MS);
        assert_eq!(cursor.serve(3 * MS, 1500), 10 * MS);
        assert_eq!(cursor.serve(20 * MS, 1500), 20 * MS);
        assert_eq!(cursor.serve(20 * MS + 1, 1500), 21 * MS);
    }

    #[test]
    fn the_rate_is_the_mean() {
        let trace = Trace::parse("0\n5\n10\n").unwrap();
        assert_eq!(trace.mean_bits_per_second(), 3_600_000);
    }

    #[test]
    fn wrong_traces_are_refused() {
        assert_eq!(Trace::parse("1\nx"), Err(TraceError::Line(2)));
        assert_eq!(Trace::parse("2\n1"), Err(TraceError::Order(2)));
        assert_eq!(Trace::parse("0\n0\n"), Err(TraceError::Empty));
        assert_eq!(Trace::parse(""), Err(TraceError::Empty));
    }
}
