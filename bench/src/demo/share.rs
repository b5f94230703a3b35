//! What the demo's server shares.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::content;
use crate::session::Session;
use crate::stage::Stage;

/// A folder, and how many files it must have when it is our own.
#[derive(Debug)]
pub(crate) struct Share {
    folder: PathBuf,
    expected_files: Option<usize>,
}

/// A file as the server lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SharedFile {
    pub(crate) name: String,
    pub(crate) bytes: u64,
}

impl Share {
    /// The given folder, or a new one with this repository's sources and a generated file of `mib` MiB.
    pub(crate) fn prepare(
        given: Option<&Path>,
        mib: u64,
        seed: u64,
        stage: &Stage,
    ) -> Result<Self> {
        if let Some(given) = given {
            let folder = given
                .canonicalize()
                .with_context(|| format!("cannot share {}", given.display()))?;
            return Ok(Self {
                folder,
                expected_files: None,
            });
        }
        let folder = stage.make_folder("share")?;
        let sources = content::copy_sources(&content::repository()?, &folder.join("columba"))?;
        content::write_noise(
            &folder.join(format!("generated-{mib}MiB.bin")),
            mib << 20,
            seed,
        )?;
        Ok(Self {
            folder,
            expected_files: Some(sources + 1),
        })
    }

    /// The folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The files as a client sees them listed.
    pub(crate) fn listed(&self, session: &Session, stage: &mut Stage) -> Result<Vec<SharedFile>> {
        let mut listed = Vec::new();
        for entry in session.ask(stage, &["ls", "--json"])? {
            listed.push(SharedFile {
                name: entry["name"]
                    .as_str()
                    .context("a listed file without a name")?
                    .to_owned(),
                bytes: entry["size"]
                    .as_u64()
                    .context("a listed file without a size")?,
            });
        }
        if listed.is_empty() {
            bail!("{} has no files to share", self.folder.display());
        }
        if let Some(expected) = self.expected_files
            && listed.len() != expected
        {
            bail!("the server lists {} files of {expected}", listed.len());
        }
        Ok(listed)
    }
}
