//! Signals, as events of the poll.

use std::io;

use mio::Registry;

use super::tokens::SIGNALS;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// SIGTERM, SIGINT.
    Stop,
    /// SIGHUP: read files and keys again.
    Rescan,
    /// SIGUSR1: write the histograms.
    WriteHistograms,
}

/// The signals that are waited for.
#[cfg(unix)]
pub(super) struct Signals(signal_hook_mio::v1_0::Signals);

#[cfg(unix)]
impl Signals {
    /// Takes over the signals of the process.
    ///
    /// # Errors
    /// The system refuses.
    pub(super) fn register(registry: &Registry) -> io::Result<Self> {
        use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
        let mut signals = signal_hook_mio::v1_0::Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1])?;
        registry.register(&mut signals, SIGNALS, mio::Interest::READABLE)?;
        Ok(Self(signals))
    }

    /// What was asked for since the last look.
    pub(super) fn wishes(&mut self) -> Vec<Wish> {
        use signal_hook::consts::{SIGHUP, SIGUSR1};
        let wish = |signal| match signal {
            SIGHUP => Wish::Rescan,
            SIGUSR1 => Wish::WriteHistograms,
            _ => Wish::Stop,
        };
        self.0.pending().map(wish).collect()
    }
}

/// Other systems end the process in their own way.
#[cfg(not(unix))]
pub(super) struct Signals;

#[cfg(not(unix))]
impl Signals {
    pub(super) fn register(_registry: &Registry) -> io::Result<Self> {
        let _ = SIGNALS;
        Ok(Self)
    }

    pub(super) fn wishes(&mut self) -> Vec<Wish> {
        Vec::new()
    }
}
