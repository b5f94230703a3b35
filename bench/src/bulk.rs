//! One large download over loopback, as fast as it goes, several times.
//!
//! Server and client are processes of their own. The file lies in memory (where the system has such a folder), its
//! hashes are in the server's cache after a first run that is not counted. CPU time is that of both processes over a run,
//! the client's from its very start.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::progress::Progress;
use crate::report::{self, Spread, rate};
use crate::session::{ServerOptions, Session};
use crate::stage::Stage;
use crate::{content, os};

/// Where Linux keeps files in memory.
const MEMORY_FOLDER: &str = "/dev/shm";
/// The server caches no hashes of files that changed within its `HASH_SETTLED`.
const SETTLED: Duration = Duration::from_millis(2_500);
const NAME: &str = "bulk.bin";

/// Options of the bulk workload.
#[derive(Debug, Args)]
pub(crate) struct BulkArgs {
    /// Size of the file in MiB
    #[arg(long, value_name = "MIB", default_value_t = 1024)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=1_048_576))]
    mib: u64,
    /// Largest UDP payload in bytes; 0: as large as the path takes
    #[arg(long, value_name = "BYTES", default_value_t = 1472)]
    max_datagram: u16,
    /// Where the file goes
    #[arg(long, value_enum, default_value = "memory")]
    sink: Sink,
    /// Folder for the sink `disk` [default: the system's for temporary files]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Runs that are counted
    #[arg(long, value_name = "N", default_value_t = 3)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: u32,
    /// No TLS and no encryption
    #[arg(long)]
    plaintext: bool,
    /// The server's congestion control: bbr, cubic or aimd
    #[arg(long, value_name = "NAME")]
    congestion: Option<String>,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

/// Where the client puts the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Sink {
    /// Nowhere: hashed and dropped
    Memory,
    /// A folder in shared memory
    Shm,
    /// A folder on disk
    Disk,
}

/// The row for scripts: medians, and the spread of `bytes_per_second`.
#[derive(Debug, Serialize)]
struct Row {
    workload: &'static str,
    row: &'static str,
    payload_limit: u16,
    encrypted: bool,
    sink: Sink,
    bytes_per_second: f64,
    cpu_seconds_per_gb: f64,
    /// Of both processes, the client's whole life included: a share that falls with the file's size is start and end.
    allocations_per_packet: f64,
    runs: u32,
    min: f64,
    max: f64,
}

/// Runs the workload.
pub(crate) fn run(args: &BulkArgs) -> Result<bool> {
    let progress = Progress::new(args.json);
    let bytes = args.mib << 20;
    let mut stage = Stage::new(memory_folder(bytes, args.sink)?)?;
    let sink_parent = args.dir.clone().unwrap_or_else(std::env::temp_dir);
    let disk = tempfile::Builder::new()
        .prefix("columba-bench-")
        .tempdir_in(&sink_parent)
        .with_context(|| format!("cannot write to {}", sink_parent.display()))?;
    let folder = match args.sink {
        Sink::Memory => None,
        Sink::Shm => Some(stage.make_folder("sink")?),
        Sink::Disk => Some(disk.path().to_path_buf()),
    };

    let share = stage.make_folder("share")?;
    let source = share.join(NAME);
    content::write_noise(&source, bytes, 1)?;
    let hash = content::hash_of(&source)?;
    let options = ServerOptions {
        share: &share,
        congestion: args.congestion.as_deref(),
        plaintext: args.plaintext,
    };
    let session = Session::start(&mut stage, options)?;
    let order = session.order(&stage, [NAME], folder, args.max_datagram)?;
    settle(&source, &mut stage)?;

    let (mut rates, mut costs, mut allocations) = (Vec::new(), Vec::new(), Vec::new());
    for index in 0..=args.runs {
        let before = session.server_usage(&mut stage)?;
        let (file, client) = session.download_file(&mut stage, &order, &progress)?;
        let server = session.server_usage(&mut stage)?;
        if file.blake3 != hash || file.bytes != bytes {
            bail!("the file that came is not the one that was sent");
        }
        if index > 0 {
            rates.push(rate(bytes, file.seconds));
            let cpu = server.cpu_seconds - before.cpu_seconds + client.cpu_seconds;
            costs.push(cpu / rate(bytes, 1e9));
            let allocated = server.allocations - before.allocations + client.allocations;
            allocations.push(rate(allocated, rate(file.packets, 1.0)));
        }
    }
    progress.clear();
    session.end(&mut stage)?;
    let (rates, costs) = (Spread::of(&rates), Spread::of(&costs));
    let (rates, costs) = rates.zip(costs).context("there were no runs")?;
    let allocations = Spread::of(&allocations).context("there were no runs")?;
    let row = Row {
        workload: "bulk",
        row: "columba",
        payload_limit: args.max_datagram,
        encrypted: !args.plaintext,
        sink: args.sink,
        bytes_per_second: rates.median.round(),
        cpu_seconds_per_gb: costs.median,
        allocations_per_packet: allocations.median,
        runs: args.runs,
        min: rates.min.round(),
        max: rates.max.round(),
    };
    show(&row, args.json)?;
    Ok(true)
}

/// The folder for files in memory, if there is room; the sink `shm` insists on it.
fn memory_folder(bytes: u64, sink: Sink) -> Result<Option<&'static Path>> {
    let copies = if sink == Sink::Shm { 2 } else { 1 };
    let folder = Path::new(MEMORY_FOLDER);
    let needed = bytes * copies + (16 << 20);
    let fits = folder.is_dir() && os::free_bytes(folder).is_some_and(|free| free >= needed);
    if fits {
        Ok(Some(folder))
    } else if sink == Sink::Shm {
        bail!(
            "{MEMORY_FOLDER} has no room for {needed} bytes: choose a smaller --mib or another --sink"
        );
    } else {
        Ok(None)
    }
}

/// Waits until the file is so old that the server caches its hashes.
fn settle(source: &Path, stage: &mut Stage) -> Result<()> {
    let written = std::fs::metadata(source)?.modified()?;
    let age = SystemTime::now()
        .duration_since(written)
        .unwrap_or_default();
    let until = std::time::Instant::now() + SETTLED.saturating_sub(age);
    // Listening, so that an interruption is heard.
    while stage.next(until)?.is_some() {}
    Ok(())
}

fn show(row: &Row, json: bool) -> Result<()> {
    if json {
        return report::print_json(row);
    }
    let rate = |bytes_per_second| report::megabytes(bytes_per_second) + "/s";
    report::print(&format!(
        "{}, {}, UDP payload ≤ {}: {} ({} to {}, {} runs), {:.3} CPU seconds per GB, {:.4} allocations per packet\n",
        row.row,
        if row.encrypted {
            "encrypted"
        } else {
            "plaintext"
        },
        row.payload_limit,
        rate(row.bytes_per_second),
        rate(row.min),
        rate(row.max),
        row.runs,
        row.cpu_seconds_per_gb,
        row.allocations_per_packet
    ))
}
