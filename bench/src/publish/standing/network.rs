//! Lines about lossy paths and about sharing them.

use serde_json::Value;

use super::super::collect::Collection;
use super::super::fields::{loss, number, path, text};
use super::super::paths::rows;
use super::{Line, PERCENT, SECONDS, SHARE, Sense};
use crate::path::AIMS;

/// A part's rows of Columba.
fn ours<'c>(collection: &'c Collection, part: &str) -> Vec<&'c Value> {
    let mut rows = rows(collection, part);
    rows.retain(|row| text(row, "row") == "columba");
    rows
}

/// The worst of some rows, and where it was seen.
fn worst(rows: &[&Value], field: &str, sense: Sense) -> Option<(f64, String)> {
    let figures = rows
        .iter()
        .filter_map(|row| number(row, field).map(|figure| (figure, *row)));
    let worst = match sense {
        Sense::AtLeast => figures.min_by(|a, b| a.0.total_cmp(&b.0)),
        Sense::AtMost => figures.max_by(|a, b| a.0.total_cmp(&b.0)),
    };
    worst.map(|(figure, row)| {
        let place = format!("{}, {}, {}", path(row), loss(row), text(row, "over"));
        (figure, place)
    })
}

/// One flow.
pub(super) fn path_lines(collection: &Collection) -> Vec<Line> {
    let mut rows = ours(collection, "matrix");
    rows.retain(|row| number(row, "rtt_ms").is_some_and(|rtt| (50.0..=200.0).contains(&rtt)));
    let lossy = |from: f64, to: f64| -> Vec<&Value> {
        let inside =
            |row: &&&Value| number(row, "loss").is_some_and(|loss| (from..=to).contains(&loss));
        rows.iter().filter(inside).copied().collect()
    };
    let mut lines = Vec::new();
    for (aim, from, to, bound) in [
        (
            "from the fifth second, loss ≤ 1 %: of the erasure bound",
            0.0,
            0.0101,
            0.97,
        ),
        ("at 10 %", 0.0999, 0.1001, 0.96),
        ("at 30 %", 0.2999, 0.3001, 0.90),
    ] {
        let figure = worst(&lossy(from, to), "ratio", Sense::AtLeast);
        lines.push(Line::new(aim, (Sense::AtLeast, bound, SHARE), figure));
    }
    for (aim, field, bound) in [
        (
            "packets that its own overfilling lost",
            "queue_drop_rate",
            0.01,
        ),
        ("packets sent again needlessly", "spurious_rate", 0.001),
    ] {
        let figure = worst(&rows, field, Sense::AtMost);
        lines.push(Line::new(aim, (Sense::AtMost, bound, PERCENT), figure));
    }
    lines.extend(whole_lines(collection));
    let reordered = worst(&ours(collection, "reorder"), "clean_share", Sense::AtLeast);
    lines.push(Line::new(
        "a tenth of the packets 5 ms late on a 200 ms path: of the clean rate",
        (Sense::AtLeast, 0.95, SHARE),
        reordered,
    ));
    lines
}

fn whole_lines(collection: &Collection) -> Vec<Line> {
    let rows = ours(collection, "whole");
    let mut lines = Vec::new();
    for aim in AIMS {
        let (rate, rtt_ms, bytes) = (aim.rate_mbit, aim.rtt.as_millis(), aim.bytes);
        let is = |row: &Value, field, value: f64| {
            number(row, field).is_some_and(|seen| (seen - value).abs() < 1e-6)
        };
        let here: Vec<&Value> = rows
            .iter()
            .copied()
            .filter(|row| {
                is(row, "rate_mbit", rate)
                    && is(row, "rtt_ms", rtt_ms as f64)
                    && is(row, "loss", aim.loss)
                    && is(row, "bytes", bytes as f64)
            })
            .collect();
        let each: Vec<String> = here
            .iter()
            .filter_map(|row| number(row, "ratio").map(|ratio| (text(row, "over"), ratio)))
            .map(|(over, ratio)| format!("{over} {ratio:.3}"))
            .collect();
        let figure = worst(&here, "ratio", Sense::AtLeast);
        let figure = figure.map(|(figure, _)| (figure, each.join(", ")));
        let title = format!(
            "whole download, {} MB, {rate} Mbit/s, {rtt_ms} ms, {} %: of the bound",
            bytes / 1_000_000,
            aim.loss * 100.0
        );
        lines.push(Line::new(
            title,
            (Sense::AtLeast, aim.wanted, SHARE),
            figure,
        ));
    }
    lines
}

/// Several flows, and what stands in the queue.
pub(super) fn neighbour_lines(collection: &Collection) -> Vec<Line> {
    let shared = rows(collection, "sharing");
    let mut lines = Vec::new();
    for queue in [1.0, 2.0, 5.0] {
        let here: Vec<&Value> = shared
            .iter()
            .copied()
            .filter(|row| {
                number(row, "cubic_share").is_some() && number(row, "queue_bdp") == Some(queue)
            })
            .collect();
        lines.push(Line::new(
            format!("beside one TCP CUBIC flow, queue of {queue} BDP: that flow keeps"),
            (Sense::AtLeast, 0.35, SHARE),
            worst(&here, "cubic_share", Sense::AtLeast),
        ));
    }
    for flows in [2.0, 8.0, 32.0] {
        let here: Vec<&Value> = shared
            .iter()
            .copied()
            .filter(|row| {
                text(row, "row") == "together"
                    && number(row, "flows") == Some(flows)
                    && number(row, "loss") == Some(0.0)
            })
            .collect();
        lines.push(Line::new(
            format!("{flows} associations: Jain's index"),
            (Sense::AtLeast, 0.95, SHARE),
            worst(&here, "jain", Sense::AtLeast),
        ));
    }
    lines.push(late_comer(&shared));
    let mut single = ours(collection, "matrix");
    single.retain(|row| number(row, "rtt_ms").is_some_and(|rtt| (50.0..=200.0).contains(&rtt)));
    lines.push(Line::new(
        "standing queue, in bandwidth-delay products",
        (Sense::AtMost, 0.5, SHARE),
        worst(&single, "standing_queue_bdp", Sense::AtMost),
    ));
    lines
}

/// One that never had its share took forever.
fn late_comer(shared: &[&Value]) -> Line {
    let late: Vec<&Value> = shared
        .iter()
        .copied()
        .filter(|row| text(row, "row") == "late-comer" && number(row, "loss") == Some(0.0))
        .collect();
    let slowest = late
        .iter()
        .map(|row| number(row, "share_after_seconds").unwrap_or(f64::INFINITY))
        .max_by(f64::total_cmp);
    let bound = (Sense::AtMost, 20.0, SECONDS);
    let aim = "a late-comer has its share (four fifths of it, for a second) after";
    match slowest {
        Some(slowest) if slowest.is_infinite() => {
            let mut line = Line::new(aim, bound, Some((slowest, String::new())));
            if let Some(seen) = &mut line.seen {
                "never, in 30 s".clone_into(&mut seen.text);
            }
            line
        }
        figure => Line::new(aim, bound, figure.map(|figure| (figure, String::new()))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::collect::File;
    use super::*;
    use serde_json::json;

    fn collection(rows: Vec<Value>) -> Collection {
        let file = File {
            name: "path.jsonl".to_owned(),
            header: None,
            measured: Vec::new(),
            other: rows,
        };
        Collection {
            files: vec![file],
            folders: Vec::new(),
        }
    }

    fn flow(loss: f64, ratio: f64) -> Value {
        json!({
            "workload": "path", "part": "matrix", "row": "columba", "over": "link", "rate_mbit": 100.0, "rtt_ms": 50.0,
            "queue_bdp": 1.0, "loss": loss, "ratio": ratio, "queue_drop_rate": 0.02, "spurious_rate": 0.0
        })
    }

    #[test]
    fn the_worst_row_of_a_line_counts() {
        let mut others = flow(0.01, 0.1);
        others["row"] = json!("tcp-cubic");
        let collection = collection(vec![
            flow(0.0, 0.99),
            flow(0.01, 0.96),
            flow(0.1, 0.97),
            others,
        ]);
        let lines = path_lines(&collection);
        let seen = |index: usize| lines[index].seen.as_ref();
        let (text, is_met) = seen(0)
            .map(|seen| (seen.text.as_str(), seen.is_met))
            .expect("it was measured");
        assert_eq!(
            (text, is_met),
            ("0.960 (100 Mbit/s, 50 ms, 1 %, link)", false)
        );
        assert!(seen(1).is_some_and(|seen| seen.is_met));
        assert!(seen(2).is_none(), "nobody measured 30 %");
        assert!(seen(3).is_some_and(|seen| !seen.is_met), "2 % were dropped");
    }

    #[test]
    fn a_late_comer_that_never_had_its_share_misses() {
        let late = json!({
            "workload": "path", "part": "sharing", "row": "late-comer", "over": "link", "loss": 0.0, "share_after_seconds": null
        });
        let line = late_comer(&[&late]);
        let seen = line.seen.expect("it was measured");
        assert_eq!((seen.text.as_str(), seen.is_met), ("never, in 30 s", false));
    }
}
