//! The receiving process of all workloads: the client's real engine without its command line. It is told what to do by
//! an [`Order`] in its only argument, and tells its progress in [`Told`]s, one JSON object a line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use columba_client::download::get;
use columba_client::engine::message::{
    CONNECT_FOR, EngineConfig, Event, FileReport, GetEvent, Security, TransferOptions, Trust,
};
use columba_client::keys;
use columba_client::places::{ServerName, StateFolder};
use columba_client::storage::disk::DiskStorage;
use columba_client::storage::memory::MemoryStorage;
use columba_client::storage::{Existing, Storage};
use serde::{Deserialize, Serialize};

use crate::roles::Usage;
use crate::{exit_code, report};

/// What to download, from where, to where.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Order {
    /// `HOST:PORT`.
    pub(crate) server: String,
    /// The server's key; `None`: plaintext.
    pub(crate) fingerprint: Option<String>,
    /// Folder with the client's own key.
    pub(crate) state: PathBuf,
    /// Files and folders by name.
    pub(crate) names: Vec<String>,
    /// Where files go; `None`: into memory, where they are hashed and dropped.
    pub(crate) folder: Option<PathBuf>,
    /// Largest UDP payload in bytes; 0: as large as the path takes.
    pub(crate) max_datagram: u16,
    /// One [`FileOutcome`] for all files together, at the end: ten thousand lines would be work of their own.
    #[serde(default)]
    pub(crate) summary: bool,
}

/// What the process tells.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub(crate) enum Told {
    /// How far all of it is.
    Progress {
        done_bytes: u64,
        total_bytes: u64,
        /// One file that is coming.
        current: String,
    },
    /// A file is verified and in its place.
    File(FileOutcome),
    /// A file could not be had.
    Failed { file: String, error: String },
    /// All is done; what the whole process has used.
    Done(Usage),
}

/// A file that has arrived.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct FileOutcome {
    pub(crate) file: String,
    pub(crate) target: PathBuf,
    pub(crate) bytes: u64,
    /// From the first SYN (or, for later files, their request) to the verified end.
    pub(crate) seconds: f64,
    pub(crate) blake3: String,
    /// DATA packets that came.
    pub(crate) packets: u64,
    /// Round trips of packets of the whole association so far.
    pub(crate) rtt_p50_ms: f64,
    pub(crate) rtt_p99_ms: f64,
    /// More than one in a summary.
    pub(crate) files: u64,
}

impl From<&FileReport> for FileOutcome {
    fn from(file: &FileReport) -> Self {
        Self {
            file: file.file.clone(),
            target: file.target.clone(),
            bytes: file.bytes,
            seconds: file.elapsed.as_secs_f64(),
            blake3: blake3::Hash::from_bytes(file.blake3).to_hex().to_string(),
            packets: file.packets_received,
            rtt_p50_ms: file.rtt_p50.as_secs_f64() * 1e3,
            rtt_p99_ms: file.rtt_p99.as_secs_f64() * 1e3,
            files: 1,
        }
    }
}

/// All files so far as one outcome.
#[derive(Debug, Default)]
struct Summary {
    started: Option<Instant>,
    whole: Option<FileOutcome>,
}

impl Summary {
    fn add(&mut self, file: &FileReport) {
        let now = Instant::now();
        let started = now.checked_sub(file.elapsed).unwrap_or(now);
        let started = *self
            .started
            .insert(self.started.map_or(started, |first| first.min(started)));
        let seconds = (now - started).as_secs_f64();
        let Some(whole) = &mut self.whole else {
            let first = self.whole.insert(FileOutcome::from(file));
            first.seconds = seconds;
            return;
        };
        whole.seconds = seconds;
        whole.bytes += file.bytes;
        whole.packets += file.packets_received;
        whole.files += 1;
        whole.blake3.clear();
    }
}

/// Plays the role.
pub(crate) fn main(arguments: &[OsString]) -> ExitCode {
    match download(arguments) {
        Ok(ok) => exit_code(ok),
        Err(error) => {
            report::complain(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn download(arguments: &[OsString]) -> Result<bool> {
    let order = arguments.get(1).and_then(|order| order.to_str());
    let order: Order = serde_json::from_str(order.context("there is no order")?)?;
    let mut told = Ok(());
    let mut all = order.summary.then(Summary::default);
    let summary = get(
        engine_config(&order)?,
        order.names,
        None,
        |_commands| {},
        |event| {
            if told.is_ok()
                && let Event::Get { event, .. } = event
            {
                match (&mut all, event) {
                    (Some(all), GetEvent::Done(file)) => all.add(file),
                    _ => told = tell(event),
                }
            }
        },
    )?;
    told?;
    if let Some(whole) = all.and_then(|all| all.whole) {
        report::print_json(&Told::File(whole))?;
    }
    report::print_json(&Told::Done(Usage::now()))?;
    Ok(summary.failures.is_empty())
}

/// What an order means to the engine.
pub(crate) fn engine_config(order: &Order) -> Result<EngineConfig> {
    let state = StateFolder::choose(Some(&order.state))?;
    let security = match &order.fingerprint {
        Some(fingerprint) => Security::Tls {
            identity: keys::load_or_create(&state.key())?,
            trust: Trust::Pinned(fingerprint.parse().context("the fingerprint is none")?),
        },
        None => Security::Plaintext,
    };
    let storage: Arc<dyn Storage> = match &order.folder {
        Some(folder) => Arc::new(DiskStorage::new(folder.clone(), Existing::Overwrite)),
        None => Arc::new(MemoryStorage::dropping()),
    };
    Ok(EngineConfig {
        server: ServerName::parse(&order.server)?,
        security,
        password: Arc::from(""),
        name: None,
        storage,
        transfer: TransferOptions {
            max_datagram: order.max_datagram,
            ..TransferOptions::default()
        },
        reconnect: false,
        connect_for: CONNECT_FOR,
    })
}

fn tell(event: &GetEvent) -> Result<()> {
    let told = match event {
        GetEvent::Progress(progress) => Told::Progress {
            done_bytes: progress.done_bytes,
            total_bytes: progress.total_bytes,
            current: progress.current.clone(),
        },
        GetEvent::Done(file) => Told::File(file.into()),
        GetEvent::Failed { file, error } => Told::Failed {
            file: file.clone(),
            error: error.to_string(),
        },
        GetEvent::Skipped { file, .. } => Told::Failed {
            file: file.clone(),
            error: "it exists already".to_owned(),
        },
        GetEvent::StartsOver { .. } | GetEvent::Finished => return Ok(()),
    };
    report::print_json(&told)
}
