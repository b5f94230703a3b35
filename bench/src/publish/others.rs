//! Lossy paths, chat, memory: rows with fields of their own.

use std::path::Path;

use anyhow::Result;
use serde_json::Value;

use super::collect::Collection;
use super::plots;
use super::table::Table;

/// One kind of rows: told apart by a field that only they have.
struct Group {
    title: &'static str,
    about: &'static str,
    field: &'static str,
    /// Columns in this order, then all others.
    first: &'static [&'static str],
}

const PATH: Group = Group {
    title: "Lossy paths",
    about: "`columba-bench path`. *Erasure bound* is link rate × (1 − loss) × the payload's share of a 1500-byte packet; \
            `ratio` is goodput ÷ that bound.",
    field: "erasure_bound_mbit",
    first: &[
        "row",
        "rate_mbit",
        "rtt_ms",
        "loss",
        "goodput_mbit",
        "erasure_bound_mbit",
        "ratio",
        "queue_drop_rate",
        "retransmit_rate",
        "spurious_rate",
        "standing_queue_bdp",
    ],
};

const OTHERS: &[Group] = &[
    Group {
        title: "Chat",
        about: "`columba-bench chat`: open-loop fan-out, one latency sample per recipient from the intended send time.",
        field: "deliveries_per_second",
        first: &[
            "row",
            "subscribers",
            "rate",
            "size",
            "tls",
            "deliveries_per_second",
            "delivered",
            "expected",
        ],
    },
    Group {
        title: "Idle clients",
        about: "`columba-bench idle`: memory of the server per connection.",
        field: "bytes_per_client",
        first: &["row", "clients", "tls", "bytes_per_client"],
    },
    Group {
        title: "Chat beside downloads",
        about: "`columba-bench mixed`: chat latency while downloads run, and without them.",
        field: "downloads",
        first: &["row", "downloads"],
    },
];

/// All sections of these rows.
pub(super) fn sections(collection: &Collection, plots: &Path) -> Result<String> {
    let paths = collection.with_field(PATH.field);
    let mut text = String::new();
    if !paths.is_empty() {
        text += &PATH.section(&paths);
        text += &plots::paths(&paths, plots)?;
    }
    for group in OTHERS {
        let rows = collection.with_field(group.field);
        if !rows.is_empty() {
            text += &group.section(&rows);
        }
    }
    Ok(text)
}

impl Group {
    fn section(&self, rows: &[&Value]) -> String {
        let mut columns: Vec<String> = self.first.iter().map(|name| (*name).to_owned()).collect();
        let flat: Vec<Vec<(String, String)>> = rows.iter().map(|row| flatten(row)).collect();
        for (name, _) in flat.iter().flatten() {
            if !columns.contains(name) {
                columns.push(name.clone());
            }
        }
        columns.retain(|column| flat.iter().flatten().any(|(name, _)| name == column));
        let headings: Vec<&str> = columns.iter().map(String::as_str).collect();
        let mut table = Table::new(&headings);
        for row in &flat {
            let cell = |column: &String| {
                row.iter()
                    .find(|(name, _)| name == column)
                    .map_or_else(String::new, |(_, value)| value.clone())
            };
            table.row(columns.iter().map(cell).collect());
        }
        format!("\n## {}\n\n{}\n\n{}", self.title, self.about, table.text())
    }
}

/// Fields with their values as text; those of an object within are named `outer.inner`. Lists are left out.
fn flatten(row: &Value) -> Vec<(String, String)> {
    let mut cells = Vec::new();
    for (name, value) in row.as_object().into_iter().flatten() {
        match value {
            Value::Object(inner) => {
                for (within, value) in inner {
                    cells.push((format!("{name}.{within}"), written(value)));
                }
            }
            Value::Array(_) => {}
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                cells.push((name.clone(), written(value)));
            }
        }
    }
    cells
}

fn written(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_f64() => {
            number.as_f64().map_or_else(String::new, significant)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            value.to_string()
        }
    }
}

/// With four digits that mean something.
fn significant(number: f64) -> String {
    let size = number.abs();
    let digits: usize = match size {
        _ if size >= 1000.0 => 0,
        _ if size >= 100.0 => 1,
        _ if size >= 10.0 => 2,
        _ if size >= 1.0 => 3,
        _ => 4,
    };
    format!("{number:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_have_the_promised_columns_first_and_all_others_after() {
        let row = serde_json::json!({
            "bytes_per_client": 6021.25, "row": "columba", "clients": 1000, "extra": {"p50": 1}, "list": [1]
        });
        let text = OTHERS[1].section(&[&row]);
        let heading = "| row | clients | bytes_per_client | extra.p50 |";
        assert!(text.contains(heading), "{text}");
        assert!(text.contains("| columba | 1000 | 6021 | 1 |"), "{text}");
    }
}
