//! Downloads that go on as long as they are wanted.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::download::Told;
use crate::processes::{Heard, Launch, ProcessId};
use crate::roles::Role;
use crate::session::{STALL_LIMIT, Session, arguments};
use crate::stage::Stage;
use crate::{content, os};

/// Names under which one file is downloaded, so that nobody is ever done.
const LINKS: usize = 64;

/// What is there to download.
#[derive(Debug)]
pub(super) struct Files {
    folder: PathBuf,
    /// Downloads share them when there are fewer.
    written: Vec<PathBuf>,
}

impl Files {
    /// Writes files into the shared folder: one for all, or, to be read once each from a cold disk, one for each.
    pub(super) fn write(folder: &Path, bytes: u64, downloads: usize, apart: bool) -> Result<Self> {
        let distinct = if apart { downloads } else { 1 };
        let mut written = Vec::new();
        for index in 0..distinct {
            let path = folder.join(format!("file-{index}.bin"));
            content::write_noise(&path, bytes, index as u64)?;
            if apart {
                // What is still to be written to the disk would be written while others are measured.
                File::open(&path)
                    .and_then(|file| file.sync_all())
                    .with_context(|| format!("cannot write {}", path.display()))?;
            }
            for link in 1..LINKS {
                let name = folder.join(format!("file-{index}.bin.{link}"));
                std::fs::hard_link(&path, &name)
                    .with_context(|| format!("cannot link {}", name.display()))?;
            }
            written.push(path);
        }
        Ok(Self {
            folder: folder.to_path_buf(),
            written,
        })
    }

    /// All files, each once.
    pub(super) fn paths(&self) -> &[PathBuf] {
        &self.written
    }

    /// With `once`, a file's own name only: under another one its bytes would be warm.
    fn names(&self, download: usize, once: bool) -> impl Iterator<Item = String> + use<> {
        let path = &self.written[download % self.written.len()];
        let name = path.strip_prefix(&self.folder).unwrap_or(path);
        let name = name.to_string_lossy().into_owned();
        (0..if once { 1 } else { LINKS }).map(move |link| match link {
            0 => name.clone(),
            _ => format!("{name}.{link}"),
        })
    }
}

/// Running downloads. They end with [`Downloads::end`], or with the stage.
#[derive(Debug)]
pub(super) struct Downloads {
    /// Bytes that have come, by process.
    done: HashMap<usize, u64>,
    processes: Vec<ProcessId>,
}

impl Downloads {
    /// Starts one process for each and waits until bytes come everywhere. With `once`, a file that is over ends everything.
    pub(super) fn start(
        stage: &mut Stage,
        session: &Session,
        files: &Files,
        (count, once): (usize, bool),
        max_datagram: u16,
    ) -> Result<Self> {
        let mut this = Self {
            done: HashMap::new(),
            processes: Vec::new(),
        };
        for index in 0..count {
            let names: Vec<String> = files.names(index, once).collect();
            let names = names.iter().map(String::as_str);
            let mut order = session.order(stage, names, None, max_datagram)?;
            // Each its own key, as people have.
            order.state = stage.make_folder(&format!("user-downloader-{index}"))?;
            let process = stage.start(&Launch {
                role: Role::Download,
                name: "downloading client",
                arguments: arguments([serde_json::to_string(&order)?]),
            })?;
            this.processes.push(process);
        }
        let give_up_at = Instant::now() + STALL_LIMIT;
        while this.done.values().filter(|bytes| **bytes > 0).count() < count {
            match stage.next(give_up_at)? {
                Some(heard) => this.hear(stage, &heard)?,
                None => bail!("not all downloads began within {STALL_LIMIT:?}"),
            }
        }
        Ok(this)
    }

    /// Sets the niceness of all of them.
    pub(super) fn set_niceness(&self, stage: &mut Stage, nice: i32) -> Result<()> {
        for process in &self.processes {
            os::set_niceness(stage.process(*process).id(), nice).context("--nice")?;
        }
        Ok(())
    }

    /// Takes what a process told.
    fn hear(&mut self, stage: &mut Stage, heard: &Heard) -> Result<()> {
        match heard {
            Heard::Line { from, text, .. } if self.processes.contains(from) => {
                let told: Told = serde_json::from_str(text)
                    .with_context(|| format!("a download said {text:?}"))?;
                match told {
                    Told::Progress { done_bytes, .. } => {
                        self.done.insert(from.0, done_bytes);
                    }
                    Told::Failed { file, error } => bail!("{file}: {error}"),
                    Told::Done(_) => bail!("a download is over already: choose a larger --mib"),
                    Told::File(_) => {}
                }
            }
            Heard::Closed { from } => {
                let process = stage.process(*from);
                bail!("the {} ended{}", process.name(), process.last_words());
            }
            Heard::Line { .. } | Heard::Signal(_) => {}
        }
        Ok(())
    }

    /// Hears everything that has been told by now.
    pub(super) fn look_around(&mut self, stage: &mut Stage) -> Result<()> {
        while let Some(heard) = stage.next(Instant::now())? {
            self.hear(stage, &heard)?;
        }
        Ok(())
    }

    /// Bytes that have come to all of them.
    pub(super) fn bytes(&self) -> u64 {
        self.done.values().sum()
    }

    /// Asks them to stop and waits until they have.
    pub(super) fn end(self, stage: &mut Stage) -> Result<()> {
        for process in &self.processes {
            stage.process(*process).terminate();
        }
        for process in &self.processes {
            // However it ends: it was interrupted.
            stage.process(*process).wait(crate::stage::PATIENCE)?;
        }
        let mut closed = 0;
        let give_up_at = Instant::now() + crate::stage::PATIENCE;
        while closed < self.processes.len() {
            match stage.next(give_up_at)? {
                Some(Heard::Closed { from }) if self.processes.contains(&from) => closed += 1,
                Some(_) => {}
                None => bail!("a download that ended is still heard"),
            }
        }
        Ok(())
    }
}
