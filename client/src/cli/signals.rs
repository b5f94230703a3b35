//! SIGINT and SIGTERM: the first asks to stop in an orderly way, the second stops at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::engine::CommandSender;
use crate::engine::message::Command;
use crate::exit_code::ClientError;

/// Which signal came.
#[derive(Clone, Debug, Default)]
pub(super) struct Stopped {
    any: Arc<AtomicBool>,
    terminated: Arc<AtomicBool>,
}

impl Stopped {
    /// Puts the signal in the place of what ended because of it.
    pub(super) fn or<T>(&self, result: Result<T, ClientError>) -> Result<T, ClientError> {
        if self.any.load(Ordering::Relaxed) && result.is_err() {
            return Err(ClientError::Stopped {
                terminated: self.terminated.load(Ordering::Relaxed),
            });
        }
        result
    }

    /// The error to end with, if a signal came.
    pub(super) fn check(&self) -> Result<(), ClientError> {
        self.or(Err(ClientError::Stopped { terminated: false }))
            .or_else(|error| {
                if self.any.load(Ordering::Relaxed) {
                    Err(error)
                } else {
                    Ok(())
                }
            })
    }
}

/// Stops this engine on SIGINT and SIGTERM. Without such signals, and when no thread can be had,
/// the system's own handling stays.
#[cfg(unix)]
pub(super) fn stop_on_signals(commands: CommandSender) -> Stopped {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let stopped = Stopped::default();
    let Ok(mut signals) = signal_hook::iterator::Signals::new([SIGINT, SIGTERM]) else {
        return stopped;
    };
    let seen = stopped.clone();
    let thread = std::thread::Builder::new().name("signals".to_owned());
    let started = thread.spawn(move || {
        for signal in signals.forever() {
            seen.terminated.store(signal == SIGTERM, Ordering::Relaxed);
            if seen.any.swap(true, Ordering::Relaxed) || commands.send(Command::Stop).is_err() {
                std::process::exit(if signal == SIGTERM { 143 } else { 130 });
            }
        }
    });
    if let Err(error) = started {
        tracing::debug!(%error, "signals end the program at once");
    }
    stopped
}

#[cfg(not(unix))]
pub(super) fn stop_on_signals(_commands: CommandSender) -> Stopped {
    Stopped::default()
}

/// A file beyond the limit of this process shall be an error of that file (EFBIG), not our end.
pub(super) fn survive_file_limits() {
    #[cfg(unix)]
    {
        // The flag is not read: that the signal is handled at all is what counts.
        let handled = signal_hook::flag::register(
            signal_hook::consts::SIGXFSZ,
            Arc::new(AtomicBool::new(false)),
        );
        if let Err(error) = handled {
            tracing::debug!(%error, "SIGXFSZ stays as it is");
        }
    }
}
