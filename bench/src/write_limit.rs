//! What a sink takes at most: one process that writes as many bytes there from memory, in pieces of 64 KiB, makes them
//! durable and drops them. Nothing is received, decrypted or hashed.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::machine::CpuTimes;
use crate::measured::Run;
use crate::roles::Usage;

/// The row's name.
pub(crate) const ROW: &str = "limit-write";
/// How it is described.
pub(crate) const SETTINGS: &str =
    "no protocol: one thread writes pieces of 64 KiB from memory into a new file, then syncs it";

const PIECE_BYTES: usize = 64 << 10;
const NAME: &str = "limit-write";

/// Writes the file once; the time it takes to remove it does not count.
pub(crate) fn run(folder: &Path, bytes: u64) -> Result<Run> {
    let path = folder.join(NAME);
    let context = || format!("cannot write {}", path.display());
    let piece = vec![0x5a; PIECE_BYTES];
    let (times, before, started) = (CpuTimes::now(), Usage::now(), Instant::now());
    let mut file = File::create(&path).with_context(context)?;
    let mut left = bytes;
    while left > 0 {
        let count = usize::try_from(left)
            .unwrap_or(PIECE_BYTES)
            .min(PIECE_BYTES);
        file.write_all(&piece[..count]).with_context(context)?;
        left -= count as u64;
    }
    file.sync_all().with_context(context)?;
    let seconds = started.elapsed().as_secs_f64();
    let after = Usage::now();
    let steal = CpuTimes::now().steal_since(&times);
    drop(file);
    fs::remove_file(&path).with_context(context)?;
    Ok(Run {
        bytes,
        files: 1,
        seconds,
        server: Usage::default(),
        client: Usage {
            cpu_seconds: after.cpu_seconds - before.cpu_seconds,
            ..Usage::default()
        },
        packets: 0,
        retransmitted: 0,
        steal,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_leaves_nothing_behind() {
        let folder = tempfile::tempdir().expect("a folder");
        let run = run(folder.path(), 100_000).expect("there is room");
        assert_eq!((run.bytes, run.files), (100_000, 1));
        let left = fs::read_dir(folder.path()).expect("it is there").count();
        assert_eq!(left, 0);
    }
}
