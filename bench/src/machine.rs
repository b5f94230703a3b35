//! What machine this is, and how much of it others take.

use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// What a figure depends on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) memory_bytes: u64,
    pub(crate) kernel: String,
}

impl Machine {
    /// This one; what the system does not tell is empty.
    pub(crate) fn here() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let cpu = read("/proc/cpuinfo");
        let cpu = value_of(&cpu, "model name").unwrap_or_default();
        let memory = read("/proc/meminfo");
        let memory = value_of(&memory, "MemTotal").and_then(|text| text.strip_suffix(" kB"));
        let memory_kib = memory.and_then(|text| text.parse::<u64>().ok());
        Self {
            cpu: cpu.to_owned(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: memory_kib.unwrap_or(0) << 10,
            kernel: format!(
                "{} {}",
                std::env::consts::OS,
                read("/proc/sys/kernel/osrelease").trim()
            ),
        }
    }
}

fn value_of<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_once(':').map(|(_, value)| value.trim())
}

/// The commit of these sources, with `+` when they were changed since; empty when there is no Git.
pub(crate) fn commit(repository: &Path) -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .arg("-C")
            .arg(repository)
            .args(arguments)
            .output()
            .ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    let commit = git(&["rev-parse", "--short=10", "HEAD"]).unwrap_or_default();
    // Rows that were kept before, and what was made of them, are no sources.
    let changes = git(&[
        "status",
        "--porcelain",
        "--untracked-files=no",
        "--",
        ":!bench/runs",
        ":!docs",
    ]);
    if changes.is_some_and(|changes| !changes.is_empty()) {
        commit + "+"
    } else {
        commit
    }
}

/// Now as `2026-01-31T12:00:00Z`.
pub(crate) fn utc_now() -> String {
    let seconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_secs());
    utc(seconds)
}

fn utc(seconds: u64) -> String {
    let (mut day, second) = (seconds / 86_400, seconds % 86_400);
    let leap =
        |year: u64| year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    let mut year = 1970;
    while day >= 365 + u64::from(leap(year)) {
        day -= 365 + u64::from(leap(year));
        year += 1;
    }
    let february = 28 + u64::from(leap(year));
    let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 1;
    for length in lengths {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    format!(
        "{year:04}-{month:02}-{:02}T{:02}:{:02}:{:02}Z",
        day + 1,
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

/// The version of a library, as this build has it.
pub(crate) fn version_of(package: &str) -> &'static str {
    const LOCK: &str = include_str!("../../Cargo.lock");
    let entry = format!("name = \"{package}\"\nversion = \"");
    LOCK.split_once(&entry)
        .and_then(|(_, rest)| rest.split_once('"'))
        .map_or("", |(version, _)| version)
}

/// The machine's CPU time so far, in ticks.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct CpuTimes {
    total: u64,
    stolen: u64,
}

impl CpuTimes {
    /// As the system tells now; nothing where it does not.
    pub(crate) fn now() -> Self {
        Self::parse(&std::fs::read_to_string("/proc/stat").unwrap_or_default())
    }

    /// The first line, proc_stat(5): user, nice, system, idle, iowait, irq, softirq, steal; then guests, counted before.
    fn parse(stat: &str) -> Self {
        let line = stat.lines().next().unwrap_or_default();
        let ticks: Vec<u64> = line
            .split_whitespace()
            .skip(1)
            .take(8)
            .map_while(|word| word.parse().ok())
            .collect();
        Self {
            total: ticks.iter().sum(),
            stolen: ticks.get(7).copied().unwrap_or(0),
        }
    }

    /// The share that the hypervisor gave to others since.
    pub(crate) fn steal_since(&self, before: &Self) -> f64 {
        crate::report::share(
            self.stolen.saturating_sub(before.stolen),
            self.total.saturating_sub(before.total),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right() {
        assert_eq!(utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(utc(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(utc(1_798_761_599), "2026-12-31T23:59:59Z");
    }

    #[test]
    fn stolen_time_is_found() {
        let before = CpuTimes::parse("cpu  100 0 50 800 0 0 10 40 0 0\ncpu0 1");
        let after = CpuTimes::parse("cpu  150 0 50 840 0 0 10 50 9 0\ncpu0 1");
        assert!((after.steal_since(&before) - 0.1).abs() < 1e-9);
        assert_eq!(CpuTimes::parse("").steal_since(&before), 0.0);
    }

    #[test]
    fn versions_are_those_of_the_lock_file() {
        assert!(version_of("rustls").starts_with("0.2"));
        assert_eq!(version_of("no-such-package"), "");
    }
}
