//! SIGINT and SIGTERM, as events of the poll.

#[cfg(not(unix))]
pub(crate) use portable::Signals;
#[cfg(unix)]
pub(crate) use unix::Signals;

#[cfg(unix)]
mod unix {
    use std::io;

    use mio::{Interest, Registry};
    use signal_hook::consts::TERM_SIGNALS;

    use crate::proxy::handle::PathHandle;
    use crate::proxy::token::Source;

    /// The signals that end the proxy.
    pub(crate) struct Signals(signal_hook_mio::v1_0::Signals);

    impl Signals {
        pub(crate) fn new(registry: &Registry, _handle: &PathHandle) -> io::Result<Self> {
            let mut signals = signal_hook_mio::v1_0::Signals::new(TERM_SIGNALS)?;
            registry.register(&mut signals, Source::Signals.into(), Interest::READABLE)?;
            Ok(Self(signals))
        }

        /// Whether one has come.
        pub(crate) fn received(&mut self) -> bool {
            self.0.pending().next().is_some()
        }
    }
}

#[cfg(not(unix))]
mod portable {
    use std::io;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;
    use std::time::Duration;

    use mio::Registry;
    use signal_hook::consts::TERM_SIGNALS;

    use crate::proxy::handle::PathHandle;

    /// How often the watching thread looks whether a signal has come: no more than a flag may be touched
    /// where signals arrive.
    const LOOK_EVERY: Duration = Duration::from_millis(100);

    /// A thread that watches for the signals and stops the proxy through its handle.
    pub(crate) struct Signals;

    impl Signals {
        pub(crate) fn new(_registry: &Registry, handle: &PathHandle) -> io::Result<Self> {
            let came = Arc::new(AtomicBool::new(false));
            for signal in TERM_SIGNALS {
                signal_hook::flag::register(*signal, Arc::clone(&came))?;
            }
            let handle = handle.clone();
            thread::Builder::new()
                .name("signals".into())
                .spawn(move || {
                    while !came.load(Ordering::Relaxed) {
                        thread::sleep(LOOK_EVERY);
                    }
                    handle.stop();
                })?;
            Ok(Self)
        }

        /// Never: the thread uses the handle.
        pub(crate) fn received(&mut self) -> bool {
            false
        }
    }
}
