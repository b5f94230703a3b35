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

/// Threads that wake up more or less often move the count a little.
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

/// What more packets need more for the same bytes: a download in datagrams of 1472 bytes beside one in datagrams of 8972.
/// What both allocate belongs to segments of 1 MiB, to start and end.
fn allocations(rows: &[&Row]) -> Option<(f64, String)> {
    let of = |payload_limit: u16| {
        let plain = rows.iter().filter(move |row| {
            let subject = &row.subject;
            let shape = (subject.files, subject.clients, subject.payload_limit);
            subject.row == "columba"
                && subject.sink == "memory"
                && subject.encrypted
                && shape == (1, 1, payload_limit)
        });
        plain.filter_map(|row| {
            let packets = crate::report::rate(row.packets?, 1.0);
            Some((
                row.subject.bytes,
                packets,
                packets * row.allocations_per_packet?,
            ))
        })
    };
    let largest = of(8972).max_by_key(|(bytes, ..)| *bytes)?;
    let (bytes, packets, allocations) = of(1472).find(|(bytes, ..)| *bytes == largest.0)?;
    let each = ((allocations - largest.2) / (packets - largest.1).max(1.0)).max(0.0);
    let mebibytes = crate::report::rate(bytes, 1_048_576.0);
    let note = format!(
        "for {mebibytes:.0} MiB {allocations:.0} at 1472 bytes, {:.0} at 8972: {:.1} per MiB",
        largest.2,
        allocations / mebibytes
    );
    Some((each, note))
}
