//! The log of decisions.

use std::fs::File;
use std::io::{self, BufWriter, Write};

use tracing::error;

use crate::Nanos;
use crate::path::{Direction, Path};
use crate::payload::Payload;

/// Bytes collected before they are written: the thread that relays must not wait for each line.
const BUFFER_BYTES: usize = 1 << 20;

/// Writes down what becomes of each packet.
#[derive(Debug)]
pub(crate) struct DecisionLog {
    file: BufWriter<File>,
}

impl DecisionLog {
    /// Starts a log in a new file, or over an old one.
    pub(crate) fn create(file: &std::path::Path, seed: u64) -> io::Result<Self> {
        let mut file = BufWriter::with_capacity(BUFFER_BYTES, File::create(file)?);
        writeln!(
            file,
            "# columba-loss-sim, seed {seed}: direction number ns bytes fate ..."
        )?;
        Ok(Self { file })
    }
}

/// Offers a packet to a path, and writes down what becomes of it if there is a log. A log that can't be
/// written ends, with a message.
pub(crate) fn push_logged<P: Payload>(
    log: &mut Option<DecisionLog>,
    path: &mut Path<P>,
    direction: Direction,
    now: Nanos,
    payload: P,
) {
    let Some(open) = log else {
        path.push(direction, now, payload);
        return;
    };
    let record = path.push_recorded(direction, now, payload);
    if let Err(error) = writeln!(open.file, "{record}") {
        error!("the log of decisions ends here: {error}");
        *log = None;
    }
}

/// Writes what has been collected.
pub(crate) fn finish(log: &mut Option<DecisionLog>) {
    if let Some(log) = log
        && let Err(error) = log.file.flush()
    {
        error!("the log of decisions is not complete: {error}");
    }
}
