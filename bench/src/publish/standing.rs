//! The aims of the design, and whether the newest full comparison meets them.

use crate::measured::Row;

use super::collect::Collection;
use super::table::Table;

/// An aim: Columba against another row of the same comparison.
struct Aim {
    text: &'static str,
    payload_limit: u16,
    encrypted: bool,
    other: &'static str,
    measure: Measure,
    aim: f64,
}

enum Measure {
    /// At least so many times as fast.
    Throughput,
    /// At most so much CPU time per byte.
    Cpu,
    /// At least so many times the files per second.
    Files,
}

const fn aim(
    text: &'static str,
    payload_limit: u16,
    encrypted: bool,
    other: &'static str,
    measure: Measure,
    aim: f64,
) -> Aim {
    Aim {
        text,
        payload_limit,
        encrypted,
        other,
        measure,
        aim,
    }
}

const AIMS: &[Aim] = &[
    aim(
        "encrypted, UDP payload ≤ 1472: of the limit's throughput",
        1472,
        true,
        "limit-udp-aead",
        Measure::Throughput,
        0.85,
    ),
    aim(
        "encrypted, ≤ 1472: times s2n-quic",
        1472,
        true,
        "s2n-quic",
        Measure::Throughput,
        2.0,
    ),
    aim(
        "encrypted, ≤ 1472: times quinn",
        1472,
        true,
        "quinn",
        Measure::Throughput,
        2.0,
    ),
    aim(
        "encrypted, ≤ 8972: times s2n-quic with MTU 9000",
        8972,
        true,
        "s2n-quic",
        Measure::Throughput,
        1.1,
    ),
    aim(
        "plaintext, ≤ 1472: of the limit's throughput",
        1472,
        false,
        "limit-udp-crc",
        Measure::Throughput,
        0.75,
    ),
    aim(
        "encrypted, ≤ 1472: CPU per GB of s2n-quic's",
        1472,
        true,
        "s2n-quic",
        Measure::Cpu,
        0.5,
    ),
    aim(
        "encrypted, ≤ 1472: CPU per GB of quinn's",
        1472,
        true,
        "quinn",
        Measure::Cpu,
        0.5,
    ),
    aim(
        "10,000 small files: times one QUIC stream per file (quinn)",
        1472,
        true,
        "quinn",
        Measure::Files,
        10.0,
    ),
    aim(
        "10,000 small files: times scp",
        1472,
        true,
        "scp",
        Measure::Files,
        10.0,
    ),
];

/// Every aim with its figure, then where Columba is behind.
pub(super) fn section(collection: &Collection) -> String {
    let compared = collection.measured("compare");
    let small = collection.measured("small-files");
    if compared.is_empty() && small.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&["aim", "wanted", "measured", ""]);
    for aim in AIMS {
        let (sign, rows) = match aim.measure {
            Measure::Throughput => ("≥", &compared),
            Measure::Cpu => ("≤", &compared),
            Measure::Files => ("≥", &small),
        };
        let (measured, verdict) = match aim.figure(rows) {
            None => ("–".to_owned(), "not measured"),
            Some(figure) if aim.is_met(figure) => (format!("{figure:.2}"), "met"),
            Some(figure) => (format!("{figure:.2}"), "**missed**"),
        };
        table.row(vec![
            aim.text.to_owned(),
            format!("{sign} {}", aim.aim),
            measured,
            verdict.to_owned(),
        ]);
    }
    format!(
        "\n## Where Columba stands\n\nThe aims of the design for this kind of machine, against the comparison below.\n\n{}{}",
        table.text(),
        behind(&compared, &small)
    )
}

/// Whoever is faster and is no limit.
fn behind(compared: &[&Row], small: &[&Row]) -> String {
    let mut faster = Vec::new();
    for ours in compared.iter().filter(|row| row.subject.row == "columba") {
        let ahead: Vec<String> = ours
            .ratios
            .iter()
            .filter(|(other, ratio)| **ratio < 1.0 && !other.starts_with("limit-"))
            .map(|(other, ratio)| format!("{other} {:.2} times", 1.0 / ratio.max(1e-9)))
            .collect();
        if !ahead.is_empty() {
            faster.push(format!(
                "- {}, {}, others bring more bytes per second: {}.\n",
                super::throughput::limit(ours),
                super::throughput::protection(ours),
                ahead.join(", ")
            ));
        }
    }
    if let Some(ours) = small.iter().find(|row| row.subject.row == "columba") {
        for other in small
            .iter()
            .filter(|other| other.files_per_second > ours.files_per_second)
        {
            faster.push(format!(
                "- {} brings {:.2} times as many small files per second.\n",
                other.subject.row,
                other.files_per_second / ours.files_per_second.max(1e-9)
            ));
        }
    }
    if faster.is_empty() {
        return String::new();
    }
    format!(
        "\nBehind, on a clean loopback (`tcp` rows neither encrypt nor hash):\n\n{}",
        faster.concat()
    )
}

impl Aim {
    fn figure(&self, rows: &[&Row]) -> Option<f64> {
        let ours = rows.iter().find(|row| {
            let subject = &row.subject;
            subject.row == "columba"
                && subject.payload_limit == self.payload_limit
                && subject.encrypted == self.encrypted
        })?;
        let other = rows.iter().find(|row| {
            let subject = &row.subject;
            subject.row == self.other
                && (subject.payload_limit == self.payload_limit || subject.payload_limit == 0)
        })?;
        Some(match self.measure {
            Measure::Throughput => ours.ratio_to(other),
            Measure::Cpu => ours.cpu_seconds_per_gb / other.cpu_seconds_per_gb.max(1e-9),
            Measure::Files => ours.files_per_second / other.files_per_second.max(1e-9),
        })
    }

    fn is_met(&self, figure: f64) -> bool {
        match self.measure {
            Measure::Throughput | Measure::Files => figure >= self.aim,
            Measure::Cpu => figure <= self.aim,
        }
    }
}
