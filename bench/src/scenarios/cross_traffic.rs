//! 25 MB beside one TCP CUBIC flow: how much that flow keeps.

use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

use super::ScenariosArgs;
use crate::path::{Course, Flows, Over, Road, Samples, TcpFlow};
use crate::progress::Progress;
use crate::report;

const BYTES: u64 = 25_000_000;
/// The CUBIC flow must keep this share of what both bring while both run.
const LEAST_SHARE: f64 = 0.35;
/// Queues, in bandwidth-delay products.
const QUEUES_BDP: [f64; 3] = [1.0, 2.0, 5.0];
const RATE_MBIT: f64 = 20.0;
const RTT: Duration = Duration::from_millis(50);
/// How long the CUBIC flow has the link to itself.
const HEAD_START: Duration = Duration::from_secs(5);
/// Seconds after which it is over, finished or not: several times what both need together.
const LIMIT: Duration = Duration::from_secs(120);

/// How it went.
#[derive(Debug, Serialize)]
struct Row {
    workload: &'static str,
    row: &'static str,
    ok: bool,
    bytes: u64,
    rate_mbit: f64,
    rtt_ms: f64,
    queue_bdp: f64,
    /// While both ran.
    seconds: f64,
    columba_mbit: f64,
    cubic_mbit: f64,
    /// The CUBIC flow's share of what both brought.
    cubic_share: f64,
    /// What the CUBIC flow had before, alone.
    cubic_alone_mbit: f64,
}

/// Plays it with each queue; false when the other flow was left too little anywhere.
pub(super) fn play(args: &ScenariosArgs) -> Result<bool> {
    let progress = Progress::new(args.json);
    let mut ok = true;
    for queue_bdp in QUEUES_BDP {
        progress.say(&format!("cross-traffic: queue of {queue_bdp} BDP"));
        let row = share(queue_bdp, args.seed)?;
        ok &= row.ok;
        show(&row, args.json)?;
    }
    Ok(ok)
}

fn share(queue_bdp: f64, seed: u64) -> Result<Row> {
    let course = Course {
        rate_mbit: RATE_MBIT,
        rtt: RTT,
        loss: 0.0,
        queue_bdp,
        reorder: None,
        seed,
    };
    let mut flows = Flows::prepare_file(Over::Link, &course, BYTES)?;
    let Road::Link(link) = flows.road() else {
        unreachable!("asked for a link")
    };
    let cubic = TcpFlow::start(link, "cubic")?;
    flows.add(HEAD_START);
    let mut beside = Samples::default();
    let ours = flows.run(LIMIT, &mut |seconds, _| {
        beside.push(seconds, cubic.received());
    })?;
    let ours = ours.first().context("a flow")?;
    let (from, to) = ours.span().context("the download brought nothing")?;
    let columba_mbit = ours.mbit_between(from, to);
    let cubic_mbit = beside.mbit_between(from, to);
    let cubic_share = cubic_mbit / (cubic_mbit + columba_mbit).max(1e-9);
    Ok(Row {
        workload: "scenarios",
        row: super::CROSS_TRAFFIC,
        ok: cubic_share >= LEAST_SHARE,
        bytes: BYTES,
        rate_mbit: RATE_MBIT,
        rtt_ms: RTT.as_secs_f64() * 1e3,
        queue_bdp,
        seconds: to - from,
        columba_mbit,
        cubic_mbit,
        cubic_share,
        cubic_alone_mbit: beside.mbit_between(1.0, HEAD_START.as_secs_f64()),
    })
}

fn show(row: &Row, json: bool) -> Result<()> {
    if json {
        return report::print_json(row);
    }
    report::print(&format!(
        "{:<20} {:<6} queue {} BDP: {:.1} s together, columba {:.2} Mbit/s, CUBIC {:.2} Mbit/s, which is {:.0} % (alone \
         {:.2} Mbit/s)\n",
        row.row,
        if row.ok { "ok" } else { "FAILED" },
        row.queue_bdp,
        row.seconds,
        row.columba_mbit,
        row.cubic_mbit,
        100.0 * row.cubic_share,
        row.cubic_alone_mbit,
    ))
}
