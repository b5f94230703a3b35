//! What differs between systems: reserving space, positioned I/O, renames that never replace,
//! batch durability. Plain functions; the portable forms stand below the Linux ones.

use std::fs::File;
use std::io;
use std::path::Path;

/// Reserves `size_bytes` for the file and sets its length, so that a full disk is an error before
/// the first byte.
pub(super) fn preallocate(file: &File, size_bytes: u64) -> io::Result<()> {
    if size_bytes == 0 {
        return file.set_len(0);
    }
    // Asked first: some file systems fill the whole disk before they say that it was too much.
    check_free_space(file, size_bytes)?;
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{FallocateFlags, fallocate};
        match fallocate(file, FallocateFlags::empty(), 0, size_bytes) {
            Ok(()) => return Ok(()),
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {}
            Err(error) => return Err(error.into()),
        }
    }
    file.set_len(size_bytes)
}

/// Asks whether there is room now.
#[cfg(unix)]
fn check_free_space(file: &File, size_bytes: u64) -> io::Result<()> {
    let held = file.metadata()?.len();
    let stat = rustix::fs::fstatvfs(file)?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    if size_bytes.saturating_sub(held) > free {
        return Err(io::ErrorKind::StorageFull.into());
    }
    Ok(())
}

#[cfg(not(unix))]
#[expect(
    clippy::unnecessary_wraps,
    reason = "the same shape as where it can fail"
)]
fn check_free_space(_file: &File, _size_bytes: u64) -> io::Result<()> {
    Ok(())
}

/// Bytes of one write. For a whole segment at once Linux looks for as large a piece of free memory, which is rarely one
/// that was used before: in virtual machines the host has to bring it first. Writes of 1 MiB to ext4 took six times the CPU
/// time of these and were a seventh as fast; smaller ones than these are no faster.
#[cfg(unix)]
const WRITE_BYTES: usize = 256 * 1024;

/// Writes all of `data` at `offset`.
pub(super) fn write_all_at(file: &File, data: &[u8], offset: u64) -> io::Result<()> {
    #[cfg(unix)]
    {
        let mut offset = offset;
        for piece in data.chunks(WRITE_BYTES) {
            std::os::unix::fs::FileExt::write_all_at(file, piece, offset)?;
            offset += piece.len() as u64;
        }
        Ok(())
    }
    #[cfg(windows)]
    {
        let (mut data, mut offset) = (data, offset);
        while !data.is_empty() {
            match std::os::windows::fs::FileExt::seek_write(file, data, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    data = &data[written..];
                    offset += written as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Fills `data` from `offset`.
pub(super) fn read_exact_at(file: &File, data: &mut [u8], offset: u64) -> io::Result<()> {
    #[cfg(unix)]
    {
        std::os::unix::fs::FileExt::read_exact_at(file, data, offset)
    }
    #[cfg(windows)]
    {
        let (mut data, mut offset) = (data, offset);
        while !data.is_empty() {
            match std::os::windows::fs::FileExt::seek_read(file, data, offset) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => {
                    data = &mut data[read..];
                    offset += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Opens for reading and writing without following a symlink; creates when `create`.
pub(super) fn open_part(path: &Path, create: bool) -> io::Result<File> {
    let mut options = std::fs::OpenOptions::new();
    options
        .read(true)
        .write(true)
        .create(create)
        .truncate(false);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK);
    }
    let file = options.open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is no regular file",
        ));
    }
    Ok(file)
}

/// Takes the file for this open handle; `false` when another one has it.
pub(super) fn lock(file: &File) -> io::Result<bool> {
    #[cfg(unix)]
    {
        use rustix::fs::{FlockOperation, flock};
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
            // Some network file systems know no locks.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOLCK) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }
    #[cfg(not(unix))]
    {
        let _ = file;
        Ok(true)
    }
}

/// Renames, failing with [`io::ErrorKind::AlreadyExists`] when `to` exists.
pub(super) fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            Ok(()) => return Ok(()),
            // Some network file systems know no flags.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {}
            Err(error) => return Err(error.into()),
        }
    }
    if to.symlink_metadata().is_ok() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    std::fs::rename(from, to)
}

/// Makes the folder's entries durable.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        File::open(folder)?.sync_all()
    }
    #[cfg(not(unix))]
    {
        let _ = folder;
        Ok(())
    }
}

/// Makes everything on the file system of `file` durable with one call; `false` where the system
/// cannot.
pub(super) fn sync_file_system(file: &File) -> io::Result<bool> {
    #[cfg(target_os = "linux")]
    {
        rustix::fs::syncfs(file)?;
        Ok(true)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = file;
        Ok(false)
    }
}
