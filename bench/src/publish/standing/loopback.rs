//! Lines about throughput and CPU time on the loopback, beside limits and peers of the same run.

use crate::measured::Row;

use super::super::collect::Collection;
use super::{Line, RATIO, Sense, unit};

const QUIC: [&str; 2] = ["quinn", "s2n-quic"];

/// All of them.
pub(super) fn lines(collection: &Collection) -> Vec<Line> {
    let rows = collection.measured("compare");
    let mut lines = Vec::new();
    for (aim, payload_limit, encrypted, other, bound) in [
        (
            "encrypted, UDP payload ≤ 1472: of the limit's throughput",
            1472,
            true,
            "limit-udp-aead",
            0.85,
        ),
        (
            "encrypted, ≤ 1472: times s2n-quic",
            1472,
            true,
            "s2n-quic",
            2.0,
        ),
        ("encrypted, ≤ 1472: times quinn", 1472, true, "quinn", 2.0),
        (
            "encrypted, ≤ 8972: times s2n-quic with MTU 9000",
            8972,
            true,
            "s2n-quic",
            1.1,
        ),
        (
            "plaintext, ≤ 1472: of the limit's throughput",
            1472,
            false,
            "limit-udp-crc",
            0.75,
        ),
    ] {
        let ours = ours(&rows, payload_limit, encrypted);
        let other = peer(&rows, payload_limit, other);
        let figure = ours.zip(other).map(|(ours, other)| {
            let note = if ours.overlaps(other) {
                "runs overlap"
            } else {
                ""
            };
            (ours.ratio_to(other), note.to_owned())
        });
        lines.push(Line::new(aim, (Sense::AtLeast, bound, RATIO), figure));
    }
    lines.push(Line::new(
        "encrypted, ≤ 1472: CPU time per GB, of the best QUIC's",
        (Sense::AtMost, 0.5, RATIO),
        cpu(&rows),
    ));
    let mut line = Line::new(
        "heap allocations per DATA packet, both processes, steady state",
        (Sense::AtMost, NONE, unit(4, 1.0, "")),
        allocations(&collection.newest("bulk")),
    );
    "0 (fewer than 1 in 1,000)".clone_into(&mut line.wanted);
    lines.push(line);
    lines
}

/// Segments of 1 MiB, timers and threads may allocate; packets may not.
const NONE: f64 = 0.001;

fn ours<'r>(rows: &[&'r Row], payload_limit: u16, encrypted: bool) -> Option<&'r Row> {
    rows.iter().copied().find(|row| {
        let subject = &row.subject;
        subject.row == "columba"
            && subject.payload_limit == payload_limit
            && subject.encrypted == encrypted
    })
}

fn peer<'r>(rows: &[&'r Row], payload_limit: u16, name: &str) -> Option<&'r Row> {
    rows.iter()
        .copied()
        .find(|row| row.subject.row == name && row.subject.payload_limit == payload_limit)
}

fn cpu(rows: &[&Row]) -> Option<(f64, String)> {
    let ours = ours(rows, 1472, true)?;
    let best = QUIC
        .iter()
        .filter_map(|name| peer(rows, 1472, name))
        .min_by(|a, b| a.cpu_seconds_per_gb.total_cmp(&b.cpu_seconds_per_gb))?;
    let ratio = ours.cpu_seconds_per_gb / best.cpu_seconds_per_gb.max(1e-9);
    Some((ratio, best.subject.row.clone()))
}

/// What more packets need more: the difference of a longer download and a shorter one, so that start and end do not count.
fn allocations(rows: &[&Row]) -> Option<(f64, String)> {
    let mut plain: Vec<(f64, f64)> = rows
        .iter()
        .filter(|row| {
            let subject = &row.subject;
            subject.row == "columba"
                && subject.sink == "memory"
                && subject.encrypted
                && (subject.files, subject.clients, subject.payload_limit) == (1, 1, 1472)
        })
        .filter_map(|row| row.packets.zip(row.allocations_per_packet))
        .map(|(packets, each)| {
            let packets = crate::report::rate(packets, 1.0);
            (packets, packets * each)
        })
        .collect();
    plain.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (short, long) = (plain.first()?, plain.last()?);
    if long.0 < 1.5 * short.0 {
        return None;
    }
    let each = (long.1 - short.1) / (long.0 - short.0);
    Some((
        each.max(0.0),
        format!("{:.1} per MiB", each.max(0.0) * PACKETS_PER_MIB),
    ))
}

/// Five cells of 288 bytes in each.
const PACKETS_PER_MIB: f64 = 1_048_576.0 / 1_440.0;
