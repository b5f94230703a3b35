//! Lines about small files, many associations, and chat while downloads run.

use serde_json::Value;

use crate::measured::Row;

use super::super::collect::{Collection, Group};
use super::super::fields::{median, number, path, text};
use super::super::paths::rows;
use super::super::small_files::{judged, judged_note};
use super::{Line, MILLISECONDS, RATIO, SHARE, Sense, unit};

/// Small files and many clients.
pub(super) fn many_lines(collection: &Collection) -> Vec<Line> {
    let small = collection.measured("small-files");
    let ours = judged(&small);
    let times = |others: &[&str]| {
        let other = small
            .iter()
            .filter(|row| others.contains(&row.subject.row.as_str()))
            .max_by(|a, b| a.files_per_second.total_cmp(&b.files_per_second))?;
        let times = |row: &Row| row.files_per_second / other.files_per_second.max(1e-9);
        let again = small
            .iter()
            .find(|row| row.subject.sent_before == Some(true));
        let again = again.map_or_else(String::new, |row| {
            format!("; again {}", RATIO.show(times(row)))
        });
        let note = format!("{}; {}{again}", other.subject.row, judged_note(ours?));
        Some((times(ours?), note))
    };
    let ten = (Sense::AtLeast, 10.0, RATIO);
    let mut lines = vec![
        Line::new(
            "10,000 files of 4 KiB: times the best of one QUIC stream each",
            ten,
            times(&["quinn", "s2n-quic"]),
        ),
        Line::new("10,000 files of 4 KiB: times scp", ten, times(&["scp"])),
    ];
    let on_path = rows(collection, "small-files");
    let worst = on_path
        .iter()
        .filter_map(|row| number(row, "bulk_share").map(|share| (share, path(row))))
        .min_by(|a, b| a.0.total_cmp(&b.0));
    lines.push(Line::new(
        "10,000 files of 4 KiB on a 50 ms path: of the bulk rate",
        (Sense::AtLeast, 0.8, SHARE),
        worst,
    ));
    let many = collection.newest_values("many", &["row", "tls", "clients", "bytes"]);
    let thousand: Vec<&Value> = many
        .into_iter()
        .filter(|row| number(row, "clients") == Some(1000.0))
        .collect();
    let least = |field| {
        thousand
            .iter()
            .filter_map(|row| number(row, field))
            .min_by(f64::total_cmp)
    };
    let most = |field| {
        thousand
            .iter()
            .filter_map(|row| number(row, field))
            .max_by(f64::total_cmp)
    };
    let bare = |figure: Option<f64>| figure.map(|figure| (figure, String::new()));
    lines.push(Line::new(
        "1,000 downloads of 1 MiB by 1,000 associations: identical",
        (Sense::AtLeast, 1000.0, unit(0, 1.0, "")),
        bare(least("identical")),
    ));
    lines.push(Line::new(
        "… memory of the server for each",
        (Sense::AtMost, 65_536.0, unit(1, 1.0 / 1024.0, " KiB")),
        bare(most("bytes_per_association")),
    ));
    lines
}

/// The percentile of a round, the median of all runs.
fn of(groups: &[Group<'_>], choose: impl Fn(&Value) -> bool, field: &str) -> Option<(f64, String)> {
    let values: Vec<f64> = groups
        .iter()
        .flat_map(Group::rows)
        .filter(|row| choose(row))
        .filter_map(|row| number(row, field))
        .collect();
    let runs = values.len();
    let note = match runs {
        0 | 1 => String::new(),
        _ => {
            let shown = |value: Option<f64>| MILLISECONDS.show(value.unwrap_or(0.0));
            let least = values.iter().copied().min_by(f64::total_cmp);
            let most = values.iter().copied().max_by(f64::total_cmp);
            format!("{runs} runs, {} to {}", shown(least), shown(most))
        }
    };
    median(values).map(|figure| (figure, note))
}

/// Chat while downloads run.
pub(super) fn chat_lines(collection: &Collection) -> Vec<Line> {
    let groups = collection.groups("mixed");
    let plain = |row: &Value| {
        number(row, "path_rtt_ms").is_none()
            && number(row, "server_nice") == Some(0.0)
            && number(row, "nice") == Some(0.0)
    };
    // The runs with cold files have a round of warm ones of their own, from the same disk.
    let (with_cold, without): (Vec<Group<'_>>, Vec<Group<'_>>) = groups
        .into_iter()
        .partition(|group| group.rows().iter().any(|row| text(row, "row") == "cold"));
    let beside = |row: &Value| plain(row) && text(row, "row") == "downloads";
    let cold = |row: &Value| plain(row) && text(row, "row") == "cold";
    let link =
        |row: &Value| number(row, "path_rtt_ms").is_some() && text(row, "row") == "downloads";
    let mut lines = vec![
        Line::new(
            "beside 8 downloads, in the server, readable to written: p99",
            (Sense::AtMost, 1e3, MILLISECONDS),
            of(&without, beside, "server_us.p99"),
        ),
        Line::new(
            "… at the client: p99",
            (Sense::AtMost, 5e3, MILLISECONDS),
            of(&without, beside, "client_us.p99"),
        ),
    ];
    for (aim, field) in [
        (
            "… with cold files, in the server: p99, times that with warm ones",
            "server_us.p99",
        ),
        (
            "… with cold files, at the client: p99, times that with warm ones",
            "client_us.p99",
        ),
    ] {
        let figure = of(&with_cold, cold, field)
            .zip(of(&with_cold, beside, field))
            .map(|((cold, _), (warm, _))| {
                let note = format!(
                    "{} beside {}",
                    MILLISECONDS.show(cold),
                    MILLISECONDS.show(warm)
                );
                (cold / warm.max(1e-9), note)
            });
        lines.push(Line::new(aim, (Sense::AtMost, 1.2, RATIO), figure));
    }
    lines.push(Line::new(
        "on a link of 20 Mbit/s, 50 ms, held full by a download, at the client: p99",
        (Sense::AtMost, 45e3, MILLISECONDS),
        of(&without, link, "client_us.p99"),
    ));
    lines
}
