//! What is compared with what.

use anyhow::Result;

use crate::measured::Row;
use crate::stage::BadUsage;
use crate::transports::Kind;

/// One row to measure; no kind: Columba.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) kind: Option<Kind>,
    /// Largest UDP payload; 0: as large as the path takes, or TCP.
    pub(super) payload_limit: u16,
    pub(super) encrypted: bool,
    /// What Columba's server is told to encrypt with; `None`: its default.
    pub(super) cipher: Option<&'static str>,
}

const COLUMBA: &str = "columba";
/// With the cipher that QUIC's rows have.
const COLUMBA_AES: &str = "columba-aes-128-gcm";
const OURS: [&str; 2] = [COLUMBA, COLUMBA_AES];

impl Entry {
    /// The row's name.
    pub(super) fn row(&self) -> &'static str {
        match (self.kind, self.cipher) {
            (Some(kind), _) => kind.row(),
            (None, None) => COLUMBA,
            (None, Some(_)) => COLUMBA_AES,
        }
    }

    const fn columba(payload_limit: u16, encrypted: bool) -> Self {
        Self {
            kind: None,
            payload_limit,
            encrypted,
            cipher: None,
        }
    }

    const fn columba_aes(payload_limit: u16) -> Self {
        Self {
            cipher: Some("aes-128-gcm"),
            ..Self::columba(payload_limit, true)
        }
    }

    pub(super) const fn other(kind: Kind, payload_limit: u16) -> Self {
        Self {
            kind: Some(kind),
            payload_limit,
            encrypted: kind.is_encrypted(),
            cipher: None,
        }
    }
}

/// The shortest comparison that says how things stand.
const QUICK: &[Entry] = &[
    Entry::columba(1472, true),
    Entry::columba_aes(1472),
    Entry::other(Kind::LimitUdpAead, 1472),
    Entry::other(Kind::LimitUdp, 1472),
    Entry::other(Kind::Quinn, 1472),
    Entry::other(Kind::S2nQuic, 1472),
    Entry::columba(8972, true),
    Entry::other(Kind::S2nQuic, 8972),
    Entry::columba(1472, false),
    Entry::other(Kind::LimitUdpCrc, 1472),
    Entry::other(Kind::Tcp, 0),
];

/// What the full comparison has besides.
const MORE: &[Entry] = &[
    Entry::other(Kind::LimitUdpAead, 8972),
    Entry::other(Kind::LimitUdp, 8972),
    Entry::other(Kind::Quinn, 8972),
    Entry::columba(8972, false),
    Entry::other(Kind::LimitUdpCrc, 8972),
    Entry::columba(0, true),
    Entry::other(Kind::LimitUdpAead, 0),
    Entry::other(Kind::TlsTcp, 0),
    Entry::other(Kind::TcpBbr, 0),
    Entry::other(Kind::TcpCubic, 0),
    Entry::other(Kind::TokioKcp, 1472),
];

/// Rows to measure, and why others are missing.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) entries: Vec<Entry>,
    pub(super) obstacles: Vec<String>,
}

impl Plan {
    /// All rows, or those asked for.
    pub(super) fn choose(quick: bool, rows: &[String], limits: &[u16]) -> Result<Self> {
        for row in rows {
            if !OURS.contains(&row.as_str()) && !Kind::ALL.iter().any(|kind| kind.row() == row) {
                let names: Vec<&str> = Kind::ALL.iter().map(|kind| kind.row()).collect();
                anyhow::bail!(BadUsage(format!(
                    "there is no row {row:?}: choose from {}, {}",
                    OURS.join(", "),
                    names.join(", ")
                )));
            }
        }
        let more = if quick { &[] } else { MORE };
        let mut plan = Self {
            entries: Vec::new(),
            obstacles: Vec::new(),
        };
        let wanted = |entry: &&Entry| {
            let has_limit = entry.kind.is_none_or(Kind::has_datagrams);
            (rows.is_empty() || rows.iter().any(|row| row == entry.row()))
                && (!has_limit || limits.is_empty() || limits.contains(&entry.payload_limit))
        };
        for entry in QUICK.iter().chain(more).filter(wanted) {
            match entry.kind.and_then(Kind::obstacle) {
                None => plan.entries.push(*entry),
                // Somebody who asks for a row by its name wants that row.
                Some(obstacle) if !rows.is_empty() => {
                    anyhow::bail!(BadUsage(format!("{}: {obstacle}", entry.row())))
                }
                Some(obstacle) => {
                    let line = format!("{}: {obstacle}", entry.row());
                    if !plan.obstacles.contains(&line) {
                        plan.obstacles.push(line);
                    }
                }
            }
        }
        if plan.entries.is_empty() {
            anyhow::bail!(BadUsage(format!(
                "nothing to measure: no row of that name is planned for --max-datagram {limits:?}{}",
                if quick { " with --quick" } else { "" }
            )));
        }
        Ok(plan)
    }

    /// Whether a row, Columba's with its default cipher, may be measured here and was asked for.
    pub(super) fn has(&self, kind: Option<Kind>) -> bool {
        self.entries
            .iter()
            .any(|entry| entry.kind == kind && entry.cipher.is_none())
    }
}

/// Gives each row of Columba its ratios to the rows it may be compared with.
pub(super) fn add_ratios(rows: &mut [Row]) {
    let all = rows.to_vec();
    for row in rows.iter_mut().filter(|row| is_ours(row)) {
        row.ratios = all
            .iter()
            .filter(|other| are_comparable(row, other))
            .map(|other| (other.subject.row.clone(), row.ratio_to(other)))
            .collect();
    }
}

/// Whether it is a row of Columba.
pub(crate) fn is_ours(row: &Row) -> bool {
    OURS.contains(&row.subject.row.as_str())
}

/// Whether `other` is a limit or a peer of `row`: the same workload and datagrams (TCP has none), and for limits the same
/// work.
pub(crate) fn are_comparable(row: &Row, other: &Row) -> bool {
    let (a, b) = (&row.subject, &other.subject);
    let kind = Kind::ALL.into_iter().find(|kind| kind.row() == b.row);
    let has_datagrams = kind.is_some_and(Kind::has_datagrams);
    let limits_fit = match kind {
        // It has the default cipher.
        Some(Kind::LimitUdpAead) => a.encrypted && a.row == COLUMBA,
        Some(Kind::LimitUdpCrc) => !a.encrypted,
        Some(
            Kind::LimitUdp
            | Kind::Tcp
            | Kind::TlsTcp
            | Kind::TcpBbr
            | Kind::TcpCubic
            | Kind::Quinn
            | Kind::S2nQuic
            | Kind::TokioKcp
            | Kind::QuinnBbr
            | Kind::S2nQuicBbr,
        )
        | None => true,
    };
    !is_ours(other)
        && a.workload == b.workload
        && limits_fit
        && (!has_datagrams || a.payload_limit == b.payload_limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(plan: &Plan) -> Vec<(&str, u16, bool)> {
        plan.entries
            .iter()
            .map(|entry| (entry.row(), entry.payload_limit, entry.encrypted))
            .collect()
    }

    #[test]
    fn the_quick_plan_has_what_is_promised() {
        let plan = Plan::choose(true, &[], &[]).unwrap();
        let here = names(&plan);
        for promised in [
            ("columba", 1472, true),
            ("columba-aes-128-gcm", 1472, true),
            ("limit-udp", 1472, false),
            ("limit-udp-aead", 1472, true),
            ("columba", 8972, true),
            ("columba", 1472, false),
            ("limit-udp-crc", 1472, false),
            ("tcp", 0, false),
        ] {
            assert!(here.contains(&promised), "{promised:?}");
        }
        let peers = [
            ("quinn", 1472, true),
            ("s2n-quic", 1472, true),
            ("s2n-quic", 8972, true),
        ];
        for peer in peers {
            assert_eq!(here.contains(&peer), cfg!(feature = "peers"), "{peer:?}");
        }
        assert_eq!(plan.obstacles.is_empty(), cfg!(feature = "peers"));
    }

    #[test]
    fn rows_are_chosen_by_name_and_size() {
        let rows = ["columba".to_owned(), "tcp".to_owned()];
        let plan = Plan::choose(false, &rows, &[8972]).unwrap();
        let expected = [
            ("columba", 8972, true),
            ("tcp", 0, false),
            ("columba", 8972, false),
        ];
        assert_eq!(names(&plan), expected);
    }

    #[test]
    fn unknown_rows_are_mistakes() {
        let error = Plan::choose(true, &["quic".to_owned()], &[]).unwrap_err();
        assert!(error.is::<BadUsage>());
        assert!(error.to_string().contains("s2n-quic"), "{error}");
    }
}
