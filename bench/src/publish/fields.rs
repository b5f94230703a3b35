//! Fields of rows that every workload names for itself.

use serde_json::Value;

/// A number, also of an object within: `latency_us.p99`.
pub(super) fn number(row: &Value, name: &str) -> Option<f64> {
    let mut at = row;
    for part in name.split('.') {
        at = at.get(part)?;
    }
    at.as_f64()
}

/// A text; empty where there is none.
pub(super) fn text<'r>(row: &'r Value, name: &str) -> &'r str {
    row.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// A number with so many digits after the point; a dash where there is none.
pub(super) fn shown(row: &Value, name: &str, digits: usize) -> String {
    scaled(row, name, 1.0, digits)
}

/// The same, times something.
pub(super) fn scaled(row: &Value, name: &str, factor: f64, digits: usize) -> String {
    number(row, name).map_or_else(
        || "–".to_owned(),
        |value| format!("{:.digits$}", value * factor),
    )
}

/// A share as a percentage.
pub(super) fn percentage(row: &Value, name: &str, digits: usize) -> String {
    number(row, name).map_or_else(
        || "–".to_owned(),
        |share| format!("{:.digits$} %", 100.0 * share),
    )
}

/// Columba in bold.
pub(super) fn name(row: &Value) -> String {
    match text(row, "row") {
        "columba" => "**columba**".to_owned(),
        other => other.to_owned(),
    }
}

/// `encrypted` or `plaintext`.
pub(super) fn protection(row: &Value) -> String {
    let tls = row.get("tls").and_then(Value::as_bool).unwrap_or(false);
    if tls { "TLS" } else { "plaintext" }.to_owned()
}

/// `100 Mbit/s, 50 ms`.
pub(super) fn path(row: &Value) -> String {
    format!(
        "{} Mbit/s, {} ms",
        shown(row, "rate_mbit", 0),
        shown(row, "rtt_ms", 0)
    )
}

/// `0.1 %`, as short as it can be.
pub(super) fn loss(row: &Value) -> String {
    let percent = number(row, "loss").unwrap_or(0.0) * 100.0;
    format!("{} %", (percent * 1000.0).round() / 1000.0)
}

/// A figure that is the middle of several runs, and how far apart they were.
pub(super) fn judged(row: &Value, name: &str, digits: usize) -> String {
    let figure = shown(row, name, digits);
    match (
        number(row, "runs"),
        number(row, "least"),
        number(row, "most"),
    ) {
        (Some(_), Some(least), Some(most)) => {
            format!("{figure} ({least:.digits$} to {most:.digits$})")
        }
        _ => figure,
    }
}

/// The middle one of some values.
pub(super) fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let values: Vec<f64> = values.into_iter().collect();
    crate::report::Spread::of(&values).map(|spread| spread.median)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_and_written() {
        let row = serde_json::json!({
            "row": "columba", "loss": 0.001, "rate_mbit": 100.0, "rtt_ms": 50.0, "latency_us": {"p99": 1234.5}
        });
        assert_eq!(number(&row, "latency_us.p99"), Some(1234.5));
        assert_eq!(scaled(&row, "latency_us.p99", 1e-3, 2), "1.23");
        assert_eq!(shown(&row, "nothing", 1), "–");
        assert_eq!(
            (loss(&row), path(&row)),
            ("0.1 %".to_owned(), "100 Mbit/s, 50 ms".to_owned())
        );
        assert_eq!(name(&row), "**columba**");
        assert_eq!(judged(&row, "loss", 3), "0.001");
        let row = serde_json::json!({"ratio": 0.95, "runs": 3, "least": 0.9, "most": 0.951});
        assert_eq!(judged(&row, "ratio", 2), "0.95 (0.90 to 0.95)");
        assert_eq!(median([3.0, 1.0, 2.0]), Some(2.0));
    }
}
