//! The counters of a path, for scripts and for people.

use std::fmt::Write as _;

use serde::Serialize;
use serde::ser::{SerializeStruct, Serializer};

use crate::path::Direction;
use crate::stats::LinkStats;

/// Counters of both directions. Serialised, each has the fields of [`LinkStats`] and its loss rate.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PathReport {
    /// From the client to the server.
    pub up: LinkStats,
    /// From the server to the client.
    pub down: LinkStats,
}

impl Serialize for LinkStats {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let fields = fields(self);
        let mut object = serializer.serialize_struct("LinkStats", fields.len() + 1)?;
        for (name, value) in fields {
            object.serialize_field(name, &value)?;
            if name == "lost" {
                object.serialize_field("loss_rate", &self.loss_rate())?;
            }
        }
        object.end()
    }
}

/// The counters by name, in the order of the report.
fn fields(stats: &LinkStats) -> [(&'static str, u64); 18] {
    let LinkStats {
        packets,
        bytes,
        lost,
        blackholed,
        queue_drops,
        oversize,
        duplicated,
        reordered,
        corrupted,
        truncated,
        ecn_marked,
        delivered,
        delivered_bytes,
        late,
        queue_ns,
        longest_queue_bytes,
        queued,
        stream_bytes,
    } = *stats;
    [
        ("packets", packets),
        ("bytes", bytes),
        ("lost", lost),
        ("queue_drops", queue_drops),
        ("duplicated", duplicated),
        ("reordered", reordered),
        ("corrupted", corrupted),
        ("delivered", delivered),
        ("delivered_bytes", delivered_bytes),
        ("queued", queued),
        ("oversize", oversize),
        ("blackholed", blackholed),
        ("truncated", truncated),
        ("ecn_marked", ecn_marked),
        ("late", late),
        ("queue_us", queue_ns / 1000),
        ("longest_queue_bytes", longest_queue_bytes),
        ("stream_bytes", stream_bytes),
    ]
}

impl PathReport {
    /// The counters of a direction.
    #[must_use]
    pub fn link(&self, direction: Direction) -> &LinkStats {
        match direction {
            Direction::Up => &self.up,
            Direction::Down => &self.down,
        }
    }

    /// A table for people; lines that are zero in both directions are left out.
    #[must_use]
    pub fn table(&self) -> String {
        let mut table = format!("{:<16}{:>16}{:>16}\n", "", "up", "down");
        for ((name, up), (_, down)) in fields(&self.up).into_iter().zip(fields(&self.down)) {
            if up == 0 && down == 0 && name != "packets" {
                continue;
            }
            if name == "queue_us" {
                let mean = |stats: &LinkStats| format!("{:.3?}", stats.mean_queue_delay());
                let (up, down) = (mean(&self.up), mean(&self.down));
                let _ = writeln!(table, "{:<16}{up:>16}{down:>16}", "mean in queue");
                continue;
            }
            let name = name
                .replace("longest_queue_bytes", "longest queue")
                .replace('_', " ");
            // Writing to a string can't fail.
            let _ = writeln!(table, "{name:<16}{up:>16}{down:>16}");
            if name == "lost" {
                let percent = |stats: &LinkStats| format!("{:.3} %", stats.loss_rate() * 100.0);
                let (up, down) = (percent(&self.up), percent(&self.down));
                let _ = writeln!(table, "{:<16}{up:>16}{down:>16}", "loss rate");
            }
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> PathReport {
        let up = LinkStats {
            packets: 100,
            bytes: 1000,
            lost: 5,
            delivered: 95,
            ..LinkStats::default()
        };
        PathReport {
            up,
            down: LinkStats::default(),
        }
    }

    #[test]
    fn json_has_the_promised_fields() {
        let json = serde_json::to_value(report()).unwrap();
        for direction in ["up", "down"] {
            for field in [
                "packets",
                "bytes",
                "lost",
                "loss_rate",
                "queue_drops",
                "duplicated",
                "reordered",
                "corrupted",
                "delivered",
            ] {
                assert!(json[direction][field].is_number(), "{direction} {field}");
            }
        }
        assert_eq!(json["up"]["loss_rate"], 0.05);
        assert_eq!(json["down"]["loss_rate"], 0.0);
    }

    #[test]
    fn the_table_shows_what_happened() {
        let table = report().table();
        assert!(
            table.contains("loss rate                5.000 %         0.000 %"),
            "{table}"
        );
        assert!(!table.contains("corrupted"));
    }
}
