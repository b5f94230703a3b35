//! The memory of another process, where the system tells.

/// Bytes of a process's memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    /// Its share of all pages it has in memory (PSS).
    pub(crate) proportional_bytes: u64,
    /// Pages that belong to no file.
    pub(crate) anonymous_bytes: u64,
    /// Most it ever had in memory, pages of files included.
    pub(crate) peak_bytes: u64,
}

impl Memory {
    /// That of a process; `None` where the system does not tell.
    #[cfg(target_os = "linux")]
    pub(crate) fn of(process: u32) -> Option<Self> {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/{process}/{name}")).ok();
        let (rollup, status) = (read("smaps_rollup")?, read("status")?);
        Some(Self {
            proportional_bytes: field(&rollup, "Pss:")?,
            anonymous_bytes: field(&status, "RssAnon:")?,
            peak_bytes: field(&status, "VmHWM:")?,
        })
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn of(_process: u32) -> Option<Self> {
        None
    }
}

/// A line's number of kibibytes, in bytes.
#[cfg(target_os = "linux")]
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory() {
        let memory = Memory::of(std::process::id()).unwrap();
        assert!(memory.anonymous_bytes > 0 && memory.proportional_bytes > 0);
        assert!(memory.peak_bytes >= memory.anonymous_bytes);
        assert_eq!(Memory::of(u32::MAX), None);
        assert_eq!(field("Pss:      12 kB\n", "Pss:"), Some(12 << 10));
    }
}
