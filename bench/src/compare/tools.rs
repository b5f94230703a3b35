//! Programs people copy files with, where they are installed: `rsync` without a network, `curl` from an `nginx` that this
//! starts, `scp` and `rsync` from an `sshd` that this starts. Each copies the whole folder once per run, into memory.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::content;
use crate::machine::CpuTimes;
use crate::measured::{Row, Run, Subject};
use crate::os;
use crate::progress::Progress;
use crate::roles::Usage;
use crate::stage::Stage;

mod servers;

use servers::Server;

/// Those that are here.
pub(super) struct Tools {
    list: Vec<Tool>,
}

struct Tool {
    row: &'static str,
    settings: String,
    encrypted: bool,
    program: PathBuf,
    arguments: Vec<String>,
    target: PathBuf,
    files: u32,
    bytes: u64,
    /// Dropped last: it serves the tool.
    server: Option<Server>,
    runs: Vec<Run>,
}

impl Tools {
    /// Looks for them, starts what they need, says what is missing.
    pub(super) fn find(
        stage: &mut Stage,
        folder: &Path,
        files: u32,
        progress: &Progress,
    ) -> Result<Self> {
        let target = stage.make_folder("copies")?;
        let scratch = stage.make_folder("servers")?;
        let bytes = u64::from(files) * super::small_files::FILE_BYTES;
        let mut list = Vec::new();
        for found in [
            servers::scp(&scratch, folder, &target),
            servers::rsync_ssh(&scratch, folder, &target),
            servers::rsync(&scratch, folder, &target),
            servers::curl(&scratch, folder, &target),
        ] {
            match found {
                Ok(setup) => list.push(Tool {
                    row: setup.row,
                    settings: setup.settings,
                    encrypted: setup.encrypted,
                    program: setup.program,
                    arguments: setup.arguments,
                    target: target.clone(),
                    files,
                    bytes,
                    server: setup.server,
                    runs: Vec::new(),
                }),
                Err(error) => progress.say(&format!("left out: {error:#}")),
            }
        }
        Ok(Self { list })
    }

    /// Lets each copy everything once.
    pub(super) fn run(&mut self, stage: &mut Stage, counts: bool) -> Result<()> {
        for tool in &mut self.list {
            // Hears of an interruption between programs.
            while stage.next(Instant::now())?.is_some() {}
            let run = tool.run().with_context(|| tool.row)?;
            if counts {
                tool.runs.push(run);
            }
        }
        Ok(())
    }

    /// Their rows.
    pub(super) fn finish(self) -> Result<Vec<Row>> {
        self.list.into_iter().map(Tool::into_row).collect()
    }
}

impl Tool {
    fn run(&self) -> Result<Run> {
        std::fs::remove_dir_all(&self.target)?;
        std::fs::create_dir_all(&self.target)?;
        let server_before = self.server.as_ref().map_or(0.0, Server::cpu_seconds);
        let (times, before, started) = (CpuTimes::now(), os::children_cpu_time(), Instant::now());
        let output = Command::new(&self.program)
            .args(&self.arguments)
            .current_dir(&self.target)
            .stdin(Stdio::null())
            .output()?;
        let seconds = started.elapsed().as_secs_f64();
        let client_cpu = os::children_cpu_time().saturating_sub(before);
        ensure!(
            output.status.success(),
            "{} ended with {}: {}",
            self.program.display(),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        let came = content::count_files(&self.target)?;
        ensure!(
            came == usize::try_from(self.files)?,
            "{came} files came instead of {}",
            self.files
        );
        let usage = |cpu_seconds| Usage {
            cpu_seconds,
            ..Usage::default()
        };
        Ok(Run {
            bytes: self.bytes,
            files: self.files.into(),
            seconds,
            server: usage(self.server.as_ref().map_or(0.0, Server::cpu_seconds) - server_before),
            client: usage(client_cpu.as_secs_f64()),
            packets: 0,
            retransmitted: 0,
            steal: CpuTimes::now().steal_since(&times),
        })
    }

    fn into_row(self) -> Result<Row> {
        let subject = Subject {
            workload: "small-files".to_owned(),
            row: self.row.to_owned(),
            payload_limit: 0,
            encrypted: self.encrypted,
            sink: "shm".to_owned(),
            files: self.files.into(),
            bytes: self.bytes,
            clients: 1,
            parallel: 1,
            sent_before: None,
        };
        Row::of(subject, self.settings, &self.runs)
    }
}
