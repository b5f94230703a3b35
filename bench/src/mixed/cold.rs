//! Files that are on disk and nowhere else.
//!
//! Dropping a file from the page cache is a request, which the system does not follow for pages that somebody maps, as
//! the server does for a while after the last download. So it is asked again until the pages are gone.
//!
//! Memory that became free so may go back to a hypervisor, little by little: a virtual machine reports it. While the host
//! takes it, it stops all processors of the machine for 30 ms and more when they are busy, so that even a thread of
//! real-time priority that only looks at the clock is late. That is no disk's doing, and waited for.

use std::fs::File;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::stage::Stage;

/// How long the files may stay in memory although they were dropped; a server keeps them mapped for 20 s.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often they are dropped.
const DROP_EVERY: Duration = Duration::from_secs(1);
/// Places of a file that are looked at.
const LOOKS: u64 = 128;
/// As many of all places may still be in memory, as a share.
const WARM_SHARE: f64 = 0.02;
/// How long memory goes back to a hypervisor: Linux reports a sixteenth of it every two seconds.
const GIVING_BACK: Duration = Duration::from_secs(40);

/// Takes the files, which have been written to disk before, out of the page cache, and waits until all is quiet.
#[cfg(target_os = "linux")]
pub(super) fn make_cold(stage: &mut Stage, paths: &[PathBuf]) -> Result<()> {
    drop_from_memory(stage, paths)?;
    settle(stage)
}

/// Waits until no more memory goes back to a hypervisor, if none becomes free meanwhile.
pub(super) fn settle(stage: &mut Stage) -> Result<()> {
    stage.wait(Instant::now() + GIVING_BACK)
}

/// However long that takes.
#[cfg(target_os = "linux")]
fn drop_from_memory(stage: &mut Stage, paths: &[PathBuf]) -> Result<()> {
    let give_up_at = Instant::now() + PATIENCE;
    loop {
        let (mut warm, mut looks) = (0, 0);
        for path in paths {
            let context = || format!("cannot drop {} from the page cache", path.display());
            let file = File::open(path).with_context(context)?;
            file.sync_all().with_context(context)?;
            drop_pages(&file).with_context(context)?;
            warm += count_warm(&file).with_context(context)?;
            looks += LOOKS;
            // What the looks have read.
            drop_pages(&file).with_context(context)?;
        }
        let share = crate::report::share(warm, looks);
        if share <= WARM_SHARE {
            return Ok(());
        }
        if Instant::now() >= give_up_at {
            bail!(
                "{:.0} % of the files stay in memory: who else maps them?",
                share * 1e2
            );
        }
        stage.wait(Instant::now() + DROP_EVERY)?;
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn make_cold(_stage: &mut Stage, _paths: &[PathBuf]) -> Result<()> {
    bail!("on this system nothing can be dropped from the page cache: leave --cold out");
}

#[cfg(target_os = "linux")]
fn drop_pages(file: &File) -> std::io::Result<()> {
    use rustix::fs::{Advice, fadvise};
    Ok(fadvise(file, 0, None, Advice::DontNeed)?)
}

/// At how many of [`LOOKS`] places the file is in memory.
#[cfg(target_os = "linux")]
fn count_warm(file: &File) -> Result<u64> {
    use rustix::fs::{Advice, fadvise};
    use rustix::io::{Errno, ReadWriteFlags, preadv2};
    // A look at what is not there reads it from now on, but not more.
    fadvise(file, 0, None, Advice::Random)?;
    let bytes = file.metadata()?.len();
    let mut warm = 0;
    for look in 0..LOOKS {
        let (mut byte, offset) = ([0], bytes / LOOKS * look);
        let mut slices = [std::io::IoSliceMut::new(&mut byte)];
        match preadv2(file, &mut slices, offset, ReadWriteFlags::NOWAIT) {
            Ok(_) => warm += 1,
            Err(Errno::AGAIN) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(warm)
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_in_memory_and_what_was_dropped_is_not() {
        // On a disk: elsewhere nothing can be dropped.
        let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let path = folder.path().join("file");
        crate::content::write_noise(&path, LOOKS << 16, 1).unwrap();
        assert_eq!(count_warm(&File::open(&path).unwrap()).unwrap(), LOOKS);
        let mut stage = Stage::new(None).unwrap();
        drop_from_memory(&mut stage, std::slice::from_ref(&path)).unwrap();
        let warm = count_warm(&File::open(&path).unwrap()).unwrap();
        assert!(warm < LOOKS / 2, "{warm}");
    }
}
