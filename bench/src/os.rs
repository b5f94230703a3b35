//! What only the operating system can do: signals in and out, CPU time, free space.

use std::path::Path;
use std::process::Child;
use std::time::Duration;

#[cfg(unix)]
pub(crate) use unix::{
    begin_session, children_cpu_time, cpu_time, cpu_time_of, free_bytes, is_root,
    peak_memory_bytes, set_niceness, set_urgent, terminate, use_cores, watch_signals,
};

#[cfg(not(unix))]
pub(crate) use portable::{
    begin_session, children_cpu_time, cpu_time, cpu_time_of, free_bytes, is_root,
    peak_memory_bytes, set_niceness, set_urgent, terminate, use_cores, watch_signals,
};

#[cfg(unix)]
mod unix {
    use super::{Child, Duration, Path};

    use rustix::process::{Pid, Signal, kill_process};
    use rustix::time::{ClockId, clock_gettime};
    use signal_hook::consts::{SIGINT, SIGTERM};
    use signal_hook::iterator::Signals;

    /// Of a load generator, which must not be what is measured.
    const URGENT_NICE: i32 = -15;

    /// Gives this process a session of its own, as a service has. Linux shares processors out among sessions first
    /// (autogroup), so that a program with many threads takes no more than others.
    pub(crate) fn begin_session() {
        // Who leads a group of processes already stays where it is.
        let _ = rustix::process::setsid();
    }

    /// Asks a child to end in its own way. A child that has ended already needs no asking.
    pub(crate) fn terminate(child: &mut Child) {
        if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
            // The child is not reaped yet, so the number is still its own.
            let _ = kill_process(pid, Signal::TERM);
        }
    }

    /// Whether this process may do everything.
    pub(crate) fn is_root() -> bool {
        rustix::process::geteuid().is_root()
    }

    /// CPU time of all threads of this process, in user space and in the kernel.
    pub(crate) fn cpu_time() -> Duration {
        let time = clock_gettime(ClockId::ProcessCPUTime);
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        let nanos = u32::try_from(time.tv_nsec).unwrap_or(0);
        Duration::new(seconds, nanos)
    }

    /// CPU time of all children that have ended and were waited for.
    pub(crate) fn children_cpu_time() -> Duration {
        stat_times("/proc/self/stat", &[15, 16])
    }

    /// CPU time of a process and of its children that have ended; nothing where the system does not tell.
    pub(crate) fn cpu_time_of(process: u32) -> Duration {
        stat_times(&format!("/proc/{process}/stat"), &[13, 14, 15, 16])
    }

    /// The sum of fields (counted from 0) of proc_pid_stat(5), which are in ticks.
    fn stat_times(path: &str, fields: &[usize]) -> Duration {
        let stat = std::fs::read_to_string(path).unwrap_or_default();
        // The second field is a name in parentheses, with anything in it.
        let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let values: Vec<u64> = rest
            .split_whitespace()
            .map(|word| word.parse().unwrap_or(0))
            .collect();
        let ticks: u64 = fields
            .iter()
            .filter_map(|field| values.get(field - 2))
            .sum();
        let per_second = rustix::param::clock_ticks_per_second().max(1);
        Duration::from_millis(ticks * 1000 / per_second)
    }

    /// Lets this process and its children to come run on these cores only.
    #[cfg(target_os = "linux")]
    pub(crate) fn use_cores(cores: &[usize]) -> std::io::Result<()> {
        let mut set = rustix::thread::CpuSet::new();
        for core in cores {
            if *core >= rustix::thread::CpuSet::MAX_CPU {
                return Err(std::io::ErrorKind::InvalidInput.into());
            }
            set.set(*core);
        }
        Ok(rustix::thread::sched_setaffinity(None, &set)?)
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn use_cores(_cores: &[usize]) -> std::io::Result<()> {
        Err(std::io::ErrorKind::Unsupported.into())
    }

    /// Most memory this process had at once; 0 where the system does not tell.
    pub(crate) fn peak_memory_bytes() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        kib.and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) << 10
    }

    /// Runs the calling thread before others, where the system lets us; `false` goes back. Children started meanwhile
    /// would inherit it.
    pub(crate) fn set_urgent(urgent: bool) {
        let nice = if urgent { URGENT_NICE } else { 0 };
        // Without the right to do so, what is measured includes waiting for a CPU.
        let _ = rustix::process::setpriority_process(None, nice);
    }

    /// Sets the niceness of all threads that a process has now; those they start inherit it. Where sessions share
    /// processors out among themselves, niceness counts within them, so that of the session is set as well: the process must
    /// have one of its own.
    pub(crate) fn set_niceness(process: u32, nice: i32) -> std::io::Result<()> {
        // Only Linux has it.
        let _ = std::fs::write(format!("/proc/{process}/autogroup"), nice.to_string());
        for task in std::fs::read_dir(format!("/proc/{process}/task"))? {
            let task = task?.file_name();
            let task = task.to_str().and_then(|number| number.parse().ok());
            if let Some(thread) = task.and_then(Pid::from_raw) {
                match rustix::process::setpriority_process(Some(thread), nice) {
                    // It has ended meanwhile.
                    Ok(()) | Err(rustix::io::Errno::SRCH) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    /// Bytes that this user may still write below `folder`.
    pub(crate) fn free_bytes(folder: &Path) -> Option<u64> {
        let stat = rustix::fs::statvfs(folder).ok()?;
        stat.f_bavail.checked_mul(stat.f_frsize)
    }

    /// Calls `told` with the number of the first SIGINT or SIGTERM, instead of ending at once.
    pub(crate) fn watch_signals(told: impl FnOnce(i32) + Send + 'static) -> std::io::Result<()> {
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                if let Some(signal) = signals.forever().next() {
                    told(signal);
                }
            })?;
        Ok(())
    }
}

#[cfg(not(unix))]
mod portable {
    use super::{Child, Duration, Path};

    pub(crate) fn begin_session() {}

    pub(crate) fn terminate(child: &mut Child) {
        // There is no gentle way; a child that has ended already is no error.
        let _ = child.kill();
    }

    pub(crate) fn cpu_time() -> Duration {
        Duration::ZERO
    }

    pub(crate) fn is_root() -> bool {
        false
    }

    pub(crate) fn children_cpu_time() -> Duration {
        Duration::ZERO
    }

    pub(crate) fn cpu_time_of(_process: u32) -> Duration {
        Duration::ZERO
    }

    pub(crate) fn use_cores(_cores: &[usize]) -> std::io::Result<()> {
        Err(std::io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn peak_memory_bytes() -> u64 {
        0
    }

    pub(crate) fn set_urgent(_urgent: bool) {}

    pub(crate) fn set_niceness(_process: u32, _nice: i32) -> std::io::Result<()> {
        Err(std::io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn free_bytes(_folder: &Path) -> Option<u64> {
        None
    }

    pub(crate) fn watch_signals(_told: impl FnOnce(i32) + Send + 'static) -> std::io::Result<()> {
        Ok(())
    }
}
