//! Columba as a subject of measurements: a server, what it shares, and clients that are run again and again.

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail, ensure};

use crate::download::{FileOutcome, Order, Told};
use crate::machine::CpuTimes;
use crate::measured::Run;
use crate::processes::{Heard, ProcessId};
use crate::progress::Progress;
use crate::roles::Usage;
use crate::session::{STALL_LIMIT, ServerOptions, Session, TransferCounters};
use crate::stage::{PATIENCE, Stage};

/// The server caches no hashes of files that changed within its `HASH_SETTLED`.
const SETTLED: Duration = Duration::from_millis(2_500);

/// A running server and what clients are to fetch.
#[derive(Debug)]
pub(crate) struct Columba {
    session: Session,
    /// One for each client.
    orders: Vec<Order>,
    expected: Expected,
}

/// What must have come at the end of a run.
#[derive(Debug, Clone)]
pub(crate) struct Expected {
    pub(crate) bytes: u64,
    pub(crate) files: u64,
    /// BLAKE3 of the only file, in hex.
    pub(crate) hash: Option<String>,
}

/// What clients fetch.
pub(crate) struct Wanted<'a> {
    pub(crate) names: &'a [&'a str],
    pub(crate) clients: u32,
    pub(crate) max_datagram: u16,
    /// Where files go; `None`: into memory.
    pub(crate) folder: Option<PathBuf>,
    /// What all clients together bring.
    pub(crate) expected: Expected,
}

impl Columba {
    /// Starts the server; clients come with [`run`](Self::run).
    pub(crate) fn start(
        stage: &mut Stage,
        server: ServerOptions<'_>,
        wanted: &Wanted<'_>,
    ) -> Result<Self> {
        let session = Session::start(stage, server)?;
        let mut orders = Vec::new();
        for client in 0..wanted.clients {
            let mut order = session.order(
                stage,
                wanted.names.iter().copied(),
                wanted.folder.clone(),
                wanted.max_datagram,
            )?;
            order.summary = wanted.expected.hash.is_none();
            if client > 0 {
                order.state = stage.make_folder(&format!("user-downloader-{client}"))?;
                order.folder = order.folder.map(|folder| folder.join(client.to_string()));
                if let Some(folder) = &order.folder {
                    std::fs::create_dir_all(folder)?;
                }
            }
            orders.push(order);
        }
        Ok(Self {
            session,
            orders,
            expected: wanted.expected.clone(),
        })
    }

    /// The server's counters so far.
    pub(crate) fn counters(&self, stage: &mut Stage) -> Result<TransferCounters> {
        self.session.transfer_counters(stage)
    }

    /// Lets all clients fetch what they want, at the same time.
    pub(crate) fn run(&self, stage: &mut Stage, progress: &Progress) -> Result<Run> {
        let before = self.session.server_usage(stage)?;
        let times = CpuTimes::now();
        let mut clients = Vec::new();
        for order in &self.orders {
            clients.push(Client::new(self.session.start_download(stage, order)?));
        }
        self.follow(stage, &mut clients, progress)?;
        for client in &clients {
            stage.process(client.process).expect_success(PATIENCE)?;
        }
        let steal = CpuTimes::now().steal_since(&times);
        let after = self.session.server_usage(stage)?;
        let run = sum_up(&clients, &before, &after, steal)?;
        ensure!(
            run.bytes == self.expected.bytes && run.files == self.expected.files,
            "{} bytes in {} files came instead of {} in {}",
            run.bytes,
            run.files,
            self.expected.bytes,
            self.expected.files
        );
        if let Some(hash) = &self.expected.hash {
            let all_match = clients
                .iter()
                .flat_map(|client| &client.files)
                .all(|(_, file)| file.blake3 == *hash);
            ensure!(all_match, "the file that came is not the one that was sent");
        }
        Ok(run)
    }

    fn follow(&self, stage: &mut Stage, clients: &mut [Client], progress: &Progress) -> Result<()> {
        let mut alive = Instant::now();
        while clients.iter().any(|client| !client.closed) {
            let heard = stage.next(alive + STALL_LIMIT)?;
            let Some(heard) = heard else {
                bail!("the downloads stand still for {STALL_LIMIT:?}");
            };
            match heard {
                Heard::Line { from, at, text } => {
                    alive = at;
                    if let Some(client) = clients.iter_mut().find(|client| client.process == from) {
                        client.hear(at, &text)?;
                        let done = clients.iter().map(|client| client.done_bytes).sum();
                        progress.update(done, self.expected.bytes, "");
                    }
                }
                Heard::Closed { from } => {
                    for client in clients.iter_mut().filter(|client| client.process == from) {
                        client.closed = true;
                    }
                }
                Heard::Signal(_) => {}
            }
        }
        Ok(())
    }

    /// Ends the server, which must end well.
    pub(crate) fn end(self, stage: &mut Stage) -> Result<()> {
        self.session.end(stage).map(|_| ())
    }
}

/// One client process of a run.
struct Client {
    process: ProcessId,
    files: Vec<(Instant, FileOutcome)>,
    done_bytes: u64,
    used: Usage,
    closed: bool,
}

impl Client {
    const fn new(process: ProcessId) -> Self {
        Self {
            process,
            files: Vec::new(),
            done_bytes: 0,
            used: Usage {
                cpu_seconds: 0.0,
                allocations: 0,
                peak_bytes: 0,
            },
            closed: false,
        }
    }

    fn hear(&mut self, at: Instant, text: &str) -> Result<()> {
        let told =
            serde_json::from_str(text).with_context(|| format!("the download said {text:?}"))?;
        match told {
            Told::Progress { done_bytes, .. } => self.done_bytes = done_bytes,
            Told::File(file) => self.files.push((at, file)),
            Told::Failed { file, error } => bail!("{file}: {error}"),
            Told::Done(usage) => self.used = usage,
        }
        Ok(())
    }
}

/// From the first SYN of any client to the last verified end.
fn sum_up(clients: &[Client], before: &Usage, after: &Usage, steal: f64) -> Result<Run> {
    let files = || clients.iter().flat_map(|client| &client.files);
    let start = files()
        .filter_map(|(at, file)| at.checked_sub(Duration::try_from_secs_f64(file.seconds).ok()?))
        .min()
        .context("the downloads told of no file")?;
    let end = files().map(|(at, _)| *at).max().unwrap_or(start);
    let only = if clients.len() == 1 {
        files().next()
    } else {
        None
    };
    let seconds = match only {
        Some((_, file)) if files().count() == 1 => file.seconds,
        _ => (end - start).as_secs_f64(),
    };
    Ok(Run {
        bytes: files().map(|(_, file)| file.bytes).sum(),
        files: files().map(|(_, file)| file.files).sum(),
        seconds,
        server: Usage {
            cpu_seconds: after.cpu_seconds - before.cpu_seconds,
            allocations: after.allocations - before.allocations,
            peak_bytes: after.peak_bytes,
        },
        client: Usage {
            cpu_seconds: clients.iter().map(|client| client.used.cpu_seconds).sum(),
            allocations: clients.iter().map(|client| client.used.allocations).sum(),
            peak_bytes: clients
                .iter()
                .map(|client| client.used.peak_bytes)
                .max()
                .unwrap_or(0),
        },
        packets: files().map(|(_, file)| file.packets).sum(),
        retransmitted: 0,
        steal,
    })
}

/// Waits until files written by now are so old that a server caches their hashes.
pub(crate) fn settle(written: SystemTime, stage: &mut Stage) -> Result<()> {
    let age = SystemTime::now()
        .duration_since(written)
        .unwrap_or_default();
    stage.wait(Instant::now() + SETTLED.saturating_sub(age))
}
