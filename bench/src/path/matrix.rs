//! One flow on one path.

use std::time::Duration;
#[cfg(target_os = "linux")]
use std::time::Instant;

use anyhow::Result;
use columba_loss_sim::LinkStats;
use serde::Serialize;

use super::columba::Flows;
use super::course::{Course, Over, Place, Stretch};
use super::samples::Samples;
use super::{RowName, peers};
use crate::progress::Progress;
use crate::report;

/// From here on a flow counts as steady, in seconds after its first bytes.
const STEADY: f64 = 5.0;

/// How a flow went.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    #[serde(flatten)]
    place: Place,
    /// From the fifth second on; 0 where nothing came.
    pub(super) goodput_mbit: f64,
    erasure_bound_mbit: f64,
    pub(super) ratio: f64,
    /// From the start of the client's process on, with its control connection.
    whole_mbit: f64,
    whole_ratio: f64,
    /// From the fifth second on.
    queue_drop_rate: f64,
    /// Of all packets sent; absent where a transport tells nothing of it.
    retransmit_rate: Option<f64>,
    /// Sent again although they had arrived, of all packets sent.
    spurious_rate: Option<f64>,
    standing_queue_bdp: f64,
    /// What its client said when it ended before its time; from then on it brought nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    gave_up: Option<String>,
}

/// What a flow was seen to do.
pub(super) struct Seen {
    pub(super) samples: Samples,
    /// The counters of the path, with the seconds since the start.
    pub(super) history: Vec<(f64, LinkStats)>,
    /// `None` where a transport tells nothing of them.
    pub(super) packets: Option<Packets>,
    /// What its client said when it ended before its time.
    pub(super) gave_up: Option<String>,
}

/// What its sender counted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packets {
    sent: u64,
    again: u64,
    needless: u64,
}

/// Measures one flow on one path.
pub(super) fn measure(
    row: RowName,
    over: Over,
    course: &Course,
    lasting: Duration,
    progress: &Progress,
) -> Result<Row> {
    let seen = watch(row, over, course, lasting, progress)?;
    let place = Place::new("matrix", row.name(), over, course);
    Ok(evaluate(place, course, &seen))
}

fn watch(
    row: RowName,
    over: Over,
    course: &Course,
    lasting: Duration,
    progress: &Progress,
) -> Result<Seen> {
    if let Some(kind) = row.peer() {
        return peers::watch(kind, over, course, lasting, progress);
    }
    match row {
        #[cfg(target_os = "linux")]
        RowName::TcpCubic => watch_tcp("cubic", course, lasting),
        #[cfg(target_os = "linux")]
        RowName::TcpBbr => watch_tcp("bbr", course, lasting),
        #[cfg(not(target_os = "linux"))]
        RowName::TcpCubic | RowName::TcpBbr => anyhow::bail!("links need Linux"),
        RowName::Columba
        | RowName::Quinn
        | RowName::QuinnBbr
        | RowName::S2nQuic
        | RowName::S2nQuicBbr => watch_columba(over, course, lasting),
    }
}

fn watch_columba(over: Over, course: &Course, lasting: Duration) -> Result<Seen> {
    let mut flows = Flows::prepare(over, course, lasting)?;
    flows.add(Duration::ZERO);
    let mut history = Vec::new();
    let samples = flows.run(lasting, &mut |seconds, road| {
        history.push((seconds, road.down()));
    })?;
    let (_, counters) = flows.counters()?;
    Ok(Seen {
        samples: samples.into_iter().next().unwrap_or_default(),
        history,
        packets: Some(Packets {
            sent: counters.data_packets,
            again: counters.retransmitted_packets,
            needless: counters.spurious_losses,
        }),
        gave_up: None,
    })
}

#[cfg(target_os = "linux")]
fn watch_tcp(congestion: &'static str, course: &Course, lasting: Duration) -> Result<Seen> {
    use super::course::{Road, open_link};
    use super::tcp::{Segments, TcpFlow};

    const TURN: Duration = Duration::from_millis(20);
    let start = Instant::now();
    let link = open_link(course)?;
    let flow = TcpFlow::start(&link, congestion)?;
    let (mut samples, mut history) = (Samples::default(), Vec::new());
    let mut ends = None;
    while ends.is_none_or(|ends| start.elapsed() < ends) {
        std::thread::sleep(TURN);
        let now = start.elapsed();
        samples.push(now.as_secs_f64(), flow.received());
        history.push((now.as_secs_f64(), link.handle().stats().down));
        let first = samples.first_bytes();
        ends = ends.or(first.map(|first| Duration::from_secs_f64(first) + lasting));
    }
    let segments = Segments::of(&link)?;
    // Its packets need not be lost any more for it to end.
    let road = Road::Link(link);
    road.heal()?;
    drop(flow);
    Ok(Seen {
        samples,
        history,
        packets: Some(Packets {
            sent: segments.sent,
            again: segments.again,
            needless: segments.needless,
        }),
        gave_up: None,
    })
}

fn evaluate(place: Place, course: &Course, seen: &Seen) -> Row {
    let end = seen.history.last().map_or(0.0, |(seconds, _)| *seconds);
    let (first, last) = seen.samples.span().unwrap_or((0.0, end));
    let from = (first + STEADY).min(last);
    let look = |at: f64| {
        let index = seen.history.partition_point(|(seconds, _)| *seconds < at);
        let look = seen.history.get(index).or(seen.history.last());
        look.map(|(_, stats)| *stats).unwrap_or_default()
    };
    let stretch = Stretch::between(course, &look(from), &look(last));
    let bound = course.erasure_bound_mbit();
    let goodput_mbit = seen.samples.mbit_between(from, last);
    let whole_mbit = seen.samples.mbit_between(0.0, last);
    Row {
        place,
        goodput_mbit,
        erasure_bound_mbit: bound,
        ratio: goodput_mbit / bound,
        whole_mbit,
        whole_ratio: whole_mbit / bound,
        queue_drop_rate: stretch.queue_drop_rate,
        retransmit_rate: seen.packets.map(|it| report::share(it.again, it.sent)),
        spurious_rate: seen.packets.map(|it| report::share(it.needless, it.sent)),
        standing_queue_bdp: stretch.standing_queue_bdp,
        gave_up: seen.gave_up.clone(),
    }
}

pub(super) fn table_row(row: &Row) -> String {
    let again = row.retransmit_rate.zip(row.spurious_rate);
    let again = again.map_or_else(String::new, |(again, needless)| {
        let (again, needless) = (100.0 * again, 100.0 * needless);
        format!("; {again:.2} % sent again, {needless:.3} % needlessly")
    });
    format!(
        "{} {:>7.2} Mbit/s, {:>5.1} % of the bound, {:>5.1} % as a whole; queue {:.2} BDP, {:.2} % dropped{again}",
        row.place,
        row.goodput_mbit,
        100.0 * row.ratio,
        100.0 * row.whole_ratio,
        row.standing_queue_bdp,
        100.0 * row.queue_drop_rate,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steady_part_begins_at_the_fifth_second() {
        let course = Course::clean_10_mbit();
        let mut samples = Samples::default();
        // A second of nothing, five of half the bound, five of all of it.
        for (at, bytes) in [
            (1.0, 0),
            (1.000_001, 1),
            (6.0, 3_000_000),
            (11.0, 9_000_000),
        ] {
            samples.push(at, bytes);
        }
        let seen = Seen {
            samples,
            history: Vec::new(),
            packets: Some(Packets {
                sent: 200,
                again: 10,
                needless: 1,
            }),
            gave_up: None,
        };
        let place = Place::new("matrix", "columba", Over::Relay, &course);
        let row = evaluate(place, &course, &seen);
        assert!((row.ratio - 1.0).abs() < 1e-3, "{row:?}");
        assert!((row.whole_mbit - 72.0 / 11.0).abs() < 1e-6, "{row:?}");
        assert_eq!(row.retransmit_rate, Some(0.05));
        let nothing = Seen {
            samples: Samples::default(),
            history: Vec::new(),
            packets: None,
            gave_up: None,
        };
        assert!(evaluate(place, &course, &nothing).ratio.abs() < 1e-9);
    }
}
