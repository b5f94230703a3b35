//! Files to send: made, found, hashed.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

const CHUNK_BYTES: usize = 1 << 20;

/// Writes `bytes` pseudo-random bytes that follow from `seed` and do not compress.
pub(crate) fn write_noise(path: &Path, bytes: u64, seed: u64) -> Result<()> {
    let mut noise = noise(seed);
    let mut file =
        File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut left = bytes;
    while left > 0 {
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK_BYTES);
        noise.fill(&mut chunk[..count]);
        file.write_all(&chunk[..count])
            .with_context(|| format!("cannot write {}", path.display()))?;
        left -= count as u64;
    }
    Ok(())
}

/// A file of `bytes` that is almost nothing but a hole, with some noise at its start, at its end and around each whole
/// 4 GiB, so that an offset which is wrong there changes the hash.
pub(crate) fn write_sparse(path: &Path, bytes: u64, seed: u64) -> Result<()> {
    const ISLAND_BYTES: u64 = 64 << 10;
    let context = || format!("cannot write {}", path.display());
    let mut file = File::create(path).with_context(context)?;
    file.set_len(bytes).with_context(context)?;
    let mut noise = noise(seed);
    let mut island = vec![0; usize::try_from(ISLAND_BYTES)?];
    let borders = (0..=bytes >> 32).map(|index| index << 32).chain([bytes]);
    for border in borders {
        let start = border.saturating_sub(ISLAND_BYTES / 2);
        let count = usize::try_from(bytes.saturating_sub(start).min(ISLAND_BYTES))?;
        noise.fill(&mut island[..count]);
        file.seek(SeekFrom::Start(start)).with_context(context)?;
        file.write_all(&island[..count]).with_context(context)?;
    }
    Ok(())
}

fn noise(seed: u64) -> blake3::OutputReader {
    blake3::Hasher::new_derive_key("columba-bench noise")
        .update(&seed.to_be_bytes())
        .finalize_xof()
}

/// BLAKE3 of a file, in hex.
pub(crate) fn hash_of(path: &Path) -> Result<String> {
    let context = || format!("cannot read {}", path.display());
    let mut file = File::open(path).with_context(context)?;
    let mut hasher = blake3::Hasher::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match file.read(&mut chunk).with_context(context)? {
            0 => return Ok(hasher.finalize().to_hex().to_string()),
            count => hasher.update(&chunk[..count]),
        };
    }
}

/// Copies a source tree without what tools keep in it: hidden entries, build folders, symbolic links. Returns the number
/// of files.
pub(crate) fn copy_sources(from: &Path, to: &Path) -> Result<usize> {
    fs::create_dir_all(to).with_context(|| format!("cannot create {}", to.display()))?;
    let mut files = 0;
    let entries = fs::read_dir(from).with_context(|| format!("cannot list {}", from.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot list {}", from.display()))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        let kind = entry.file_type()?;
        if kind.is_dir() && !source.join("CACHEDIR.TAG").exists() {
            files += copy_sources(&source, &target)?;
        } else if kind.is_file() {
            fs::copy(&source, &target)
                .with_context(|| format!("cannot copy {}", source.display()))?;
            files += 1;
        }
    }
    Ok(files)
}

/// Number of files below a folder.
pub(crate) fn count_files(folder: &Path) -> Result<usize> {
    let context = || format!("cannot list {}", folder.display());
    let mut files = 0;
    for entry in fs::read_dir(folder).with_context(context)? {
        let entry = entry.with_context(context)?;
        files += if entry.file_type().with_context(context)?.is_dir() {
            count_files(&entry.path())?
        } else {
            1
        };
    }
    Ok(files)
}

/// This repository's folder: where cargo says the package is, or the nearest one above the current folder.
pub(crate) fn repository() -> Result<PathBuf> {
    let is_ours = |folder: &&Path| {
        folder.join("core/src/lib.rs").exists() && folder.join("Cargo.toml").exists()
    };
    let starts = [
        std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from),
        std::env::current_dir().ok(),
    ];
    starts
        .iter()
        .flatten()
        .find_map(|start| start.ancestors().find(is_ours))
        .map(Path::to_path_buf)
        .context("this repository's sources are not here: name a folder to share with --dir")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_has_its_length_and_follows_from_the_seed() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let bytes = CHUNK_BYTES as u64 + 7;
        for (name, seed) in [("a", 1), ("b", 1), ("c", 2)] {
            write_noise(&path(name), bytes, seed).unwrap();
        }
        assert_eq!(fs::metadata(path("a")).unwrap().len(), bytes);
        let hash = |name| hash_of(&path(name)).unwrap();
        assert_eq!(hash("a"), hash("b"));
        assert_ne!(hash("a"), hash("c"));
    }

    #[test]
    fn a_sparse_file_has_its_size_whatever_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sparse");
        for bytes in [0, 1, 40_000, 10 << 20, (4 << 30) + 5] {
            write_sparse(&path, bytes, 1).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().len(), bytes);
        }
    }

    #[test]
    fn sources_are_copied_without_what_tools_keep_there() {
        let folder = tempfile::tempdir().unwrap();
        let from = folder.path().join("from");
        for (name, content) in [
            ("a.rs", "a"),
            ("sub/b.rs", "b"),
            (".git/config", "hidden"),
            ("built/CACHEDIR.TAG", "tag"),
            ("built/x.o", "x"),
        ] {
            let path = from.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let to = folder.path().join("to");
        assert_eq!(copy_sources(&from, &to).unwrap(), 2);
        assert_eq!(fs::read_to_string(to.join("sub/b.rs")).unwrap(), "b");
        assert!(!to.join("built").exists());
        assert_eq!(count_files(&to).unwrap(), 2);
    }
}
