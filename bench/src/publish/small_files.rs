//! Ten thousand small files: what each row brought, and which of Columba's rows is judged.

use std::path::Path;

use anyhow::Result;

use crate::measured::Row;

use super::plots;
use super::table::Table;
use super::throughput::{bytes_of, files_of, noisy, protection, settings};

/// The row of Columba that is compared with others: the first download where that was measured.
pub(super) fn judged<'r>(rows: &[&'r Row]) -> Option<&'r Row> {
    let ours = || {
        let all = rows.iter().copied();
        all.filter(|row| row.subject.row == "columba")
    };
    ours()
        .find(|row| row.subject.sent_before == Some(false))
        .or_else(|| ours().next())
}

/// Which download the judged row is of.
pub(super) fn judged_note(ours: &Row) -> &'static str {
    match ours.subject.sent_before {
        Some(false) => "first download",
        Some(true) | None => "files that the server had sent within the last minute",
    }
}

/// The table, with a picture.
pub(super) fn section(rows: &[&Row], plots: &Path) -> Result<String> {
    let mut text = String::from("\n## Small files\n\n");
    let ours = judged(rows);
    if let Some(first) = rows.first() {
        text += &format!(
            "{} files of {} bytes each.",
            first.subject.files,
            first.subject.bytes / first.subject.files.max(1)
        );
    }
    text += match ours.map(|row| row.subject.sent_before) {
        Some(Some(false)) => {
            " `first`: from a server that was just started, so that it opens, reads and hashes every file; `again`: the \
             third time from the same server, which holds in memory what was wanted twice within a minute. The first \
             counts.\n\n"
        }
        Some(Some(true) | None) => {
            " Columba's server had sent the same files within the last minute, and so held them in memory.\n\n"
        }
        None => "\n\n",
    };
    let mut table = Table::new(&[
        "row",
        "",
        "files/s",
        "MB/s",
        "CPU s per 10,000 files",
        "Columba ÷",
    ]);
    for row in rows {
        let cpu = row.cpu_seconds_per_gb * (bytes_of(row) / 1e9) / files_of(row) * 1e4;
        let is_other = row.subject.row != "columba";
        let ratio = ours.filter(|_| is_other);
        let label = row.subject.label();
        table.row(vec![
            if is_other {
                label
            } else {
                format!("**{label}**")
            },
            protection(row).to_owned(),
            format!("{:.0}{}", row.files_per_second, noisy(row)),
            format!("{:.1}", row.bytes_per_second / 1e6),
            format!("{cpu:.2}"),
            ratio.map_or_else(String::new, |ours| {
                format!("{:.1}", ours.files_per_second / row.files_per_second)
            }),
        ]);
    }
    text += &table.text();
    text += &plots::small_files(rows, plots)?;
    text += "\n";
    text += &settings(rows);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measured::{Run, Subject};

    fn row(name: &str, sent_before: Option<bool>, seconds: f64) -> Row {
        let subject = Subject {
            workload: "small-files".to_owned(),
            row: name.to_owned(),
            payload_limit: 1472,
            encrypted: true,
            sink: "memory".to_owned(),
            files: 1000,
            bytes: 4_096_000,
            clients: 1,
            parallel: 1,
            sent_before,
        };
        let run = Run {
            bytes: subject.bytes,
            files: subject.files,
            seconds,
            ..Run::default()
        };
        Row::of(subject, "as is".to_owned(), &[run]).expect("a run")
    }

    #[test]
    fn the_first_download_is_judged_and_old_rows_say_what_they_are() {
        let plots = tempfile::tempdir().expect("a folder");
        let again = row("columba", Some(true), 0.01);
        let first = row("columba", Some(false), 0.02);
        let quinn = row("quinn", None, 0.2);
        let rows = [&again, &quinn, &first];
        let ours = judged(&rows).expect("ours");
        assert_eq!(ours.subject.sent_before, Some(false));
        assert_eq!(judged_note(ours), "first download");
        let text = section(&rows, plots.path()).expect("a section");
        assert!(text.contains("**columba, first**") && text.contains("**columba, again**"));
        assert!(
            text.contains("| 10.0 |") && !text.contains("| 20.0 |"),
            "{text}"
        );

        let old = row("columba", None, 0.01);
        let rows = [&old, &quinn];
        assert_eq!(judged(&rows).map(|row| row.subject.sent_before), Some(None));
        let text = section(&rows, plots.path()).expect("a section");
        assert!(text.contains("within the last minute") && text.contains("**columba** "));
        assert!(judged(&[&quinn]).is_none());
    }
}
