//! One child process: started, listened to, ended.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::os;
use crate::roles::{ROLE_VARIABLE, Role, SESSION_VARIABLE};

/// How often a child is asked whether it has ended.
const REAP_INTERVAL: Duration = Duration::from_millis(5);
/// Lines of a child's log that an error quotes.
const QUOTED_LINES: usize = 12;

/// Which process of a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProcessId(pub(crate) usize);

/// What happened, and when.
#[derive(Debug)]
pub(crate) enum Heard {
    /// A process wrote a line to its standard output.
    Line {
        from: ProcessId,
        at: Instant,
        text: String,
    },
    /// A process closed its standard output: it ends.
    Closed { from: ProcessId },
    /// This process was told to stop.
    Signal(i32),
}

/// What to start.
pub(crate) struct Launch<'a> {
    pub(crate) role: Role,
    /// What people call it.
    pub(crate) name: &'a str,
    pub(crate) arguments: Vec<OsString>,
}

/// Where a process runs.
pub(crate) struct Place<'a> {
    /// Its working folder.
    pub(crate) folder: &'a Path,
    /// Its standard error goes there.
    pub(crate) log: PathBuf,
    /// It gets a session of its own.
    pub(crate) own_session: bool,
}

/// A running child. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    log: PathBuf,
}

impl Process {
    /// Starts this very program in another role; what it says goes to `told` under `id`.
    pub(crate) fn start(
        launch: &Launch<'_>,
        id: ProcessId,
        place: Place<'_>,
        told: &SyncSender<Heard>,
    ) -> Result<Self> {
        let Place {
            folder,
            log,
            own_session,
        } = place;
        let context = || format!("cannot start the {}", launch.name);
        let program = std::env::current_exe().with_context(context)?;
        let mut command = Command::new(program);
        #[cfg(unix)]
        std::os::unix::process::CommandExt::arg0(&mut command, launch.role.program());
        // Settings of whoever runs this must not reach the programs under test.
        for (variable, _) in std::env::vars_os().filter(|(name, _)| is_ours(name)) {
            command.env_remove(variable);
        }
        if own_session {
            command.env(SESSION_VARIABLE, "own");
        }
        let stderr = File::create(&log).with_context(context)?;
        let mut child = command
            .args(&launch.arguments)
            .env(ROLE_VARIABLE, launch.role.id())
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .with_context(context)?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let process = Self {
            name: launch.name.to_owned(),
            child,
            stdin,
            log,
        };
        let (stdout, told) = (stdout.with_context(context)?, told.clone());
        std::thread::Builder::new()
            .name(format!("hear {}", launch.name))
            .spawn(move || {
                for text in BufReader::new(stdout).lines().map_while(Result::ok) {
                    let at = Instant::now();
                    if told.send(Heard::Line { from: id, at, text }).is_err() {
                        return;
                    }
                }
                // Nobody listens any more when the stage is gone.
                let _ = told.send(Heard::Closed { from: id });
            })
            .with_context(context)?;
        Ok(process)
    }

    /// Writes a line to its standard input.
    pub(crate) fn say(&mut self, line: &str) -> Result<()> {
        let context = || format!("the {} does not listen any more", self.name);
        let stdin = self.stdin.as_mut().with_context(context)?;
        stdin
            .write_all(format!("{line}\n").as_bytes())
            .and_then(|()| stdin.flush())
            .with_context(context)
    }

    /// Ends its standard input.
    pub(crate) fn close_input(&mut self) {
        self.stdin = None;
    }

    /// Asks it to end in its own way.
    pub(crate) fn terminate(&mut self) {
        os::terminate(&mut self.child);
    }

    /// Ends it at once, as a crash would (SIGKILL).
    pub(crate) fn kill(&mut self) {
        // An error says that it has ended already.
        let _ = self.child.kill();
    }

    /// Waits for its end. Its standard input stays open meanwhile.
    pub(crate) fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            let status = self.child.try_wait();
            if let Some(status) =
                status.with_context(|| format!("cannot wait for the {}", self.name))?
            {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                bail!(
                    "the {} did not end within {limit:?}{}",
                    self.name,
                    self.last_words()
                );
            }
            std::thread::sleep(REAP_INTERVAL);
        }
    }

    /// Waits for its end, which must be a good one.
    pub(crate) fn expect_success(&mut self, limit: Duration) -> Result<()> {
        let status = self.wait(limit)?;
        if !status.success() {
            bail!("the {} failed ({status}){}", self.name, self.last_words());
        }
        Ok(())
    }

    /// The system's number for it.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What people call it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The end of its log, for an error.
    pub(crate) fn last_words(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        let skipped = lines.len().saturating_sub(QUOTED_LINES);
        lines[skipped..]
            .iter()
            .fold(String::new(), |words, line| words + "\n    | " + line)
    }
}

fn is_ours(variable: &OsStr) -> bool {
    variable.to_string_lossy().starts_with("COLUMBA_")
}

impl Drop for Process {
    fn drop(&mut self) {
        // An error says that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
