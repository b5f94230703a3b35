//! What only the operating system can do: signals in and out, CPU time, free space.

use std::path::Path;
use std::process::Child;
use std::time::Duration;

#[cfg(unix)]
pub(crate) use unix::{cpu_time, free_bytes, terminate, watch_signals};

#[cfg(not(unix))]
pub(crate) use portable::{cpu_time, free_bytes, terminate, watch_signals};

#[cfg(unix)]
mod unix {
    use super::{Child, Duration, Path};

    use rustix::process::{Pid, Signal, kill_process};
    use rustix::time::{ClockId, clock_gettime};
    use signal_hook::consts::{SIGINT, SIGTERM};
    use signal_hook::iterator::Signals;

    /// Asks a child to end in its own way. A child that has ended already needs no asking.
    pub(crate) fn terminate(child: &mut Child) {
        if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
            // The child is not reaped yet, so the number is still its own.
            let _ = kill_process(pid, Signal::TERM);
        }
    }

    /// CPU time of all threads of this process, in user space and in the kernel.
    pub(crate) fn cpu_time() -> Duration {
        let time = clock_gettime(ClockId::ProcessCPUTime);
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        let nanos = u32::try_from(time.tv_nsec).unwrap_or(0);
        Duration::new(seconds, nanos)
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

    pub(crate) fn terminate(child: &mut Child) {
        // There is no gentle way; a child that has ended already is no error.
        let _ = child.kill();
    }

    pub(crate) fn cpu_time() -> Duration {
        Duration::ZERO
    }

    pub(crate) fn free_bytes(_folder: &Path) -> Option<u64> {
        None
    }

    pub(crate) fn watch_signals(_told: impl FnOnce(i32) + Send + 'static) -> std::io::Result<()> {
        Ok(())
    }
}
