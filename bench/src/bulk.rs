//! Downloads over loopback, as fast as they go, several times: one large file, several at once, or many small ones.
//!
//! Server and clients are processes of their own. The files lie in memory (where the system has such a folder), their
//! hashes are in the server's cache after a first run that is not counted; small files are fetched three times from each of
//! several servers, and make two rows. CPU time is that of all processes over a run,
//! the clients' from their very start.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};

use crate::columba::{Columba, Expected, Wanted, settle};
use crate::first_and_again::FirstAndAgain;
use crate::measured::{Row, Run, Subject};
use crate::progress::Progress;
use crate::saved::{SaveArgs, Saved};
use crate::session::ServerOptions;
use crate::stage::{BadUsage, Stage};
use crate::{content, os, report, write_limit};

/// Where Linux keeps files in memory.
const MEMORY_FOLDER: &str = "/dev/shm";
const FOLDER: &str = "files";

/// Options of the bulk workload.
#[derive(Debug, Args)]
pub(crate) struct BulkArgs {
    /// Size of the file in MiB; with --parallel, of each
    #[arg(long, value_name = "MIB", default_value_t = 1024)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=1_048_576))]
    mib: u64,
    /// Many small files instead: how many
    #[arg(long, value_name = "N", conflicts_with = "parallel")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    files: Option<u64>,
    /// Size of each small file
    #[arg(long, value_name = "BYTES", default_value = "4k", value_parser = columba_values::parse_size)]
    size: u64,
    /// Files that one client downloads at once, in one association
    #[arg(long, value_name = "N", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=256))]
    parallel: u32,
    /// Separate client processes at once
    #[arg(long, value_name = "N", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=256))]
    clients: u32,
    /// Largest UDP payload in bytes; 0: as large as the path takes
    #[arg(long, value_name = "BYTES", default_value_t = 1472)]
    max_datagram: u16,
    /// Where files go
    #[arg(long, value_enum, default_value = "memory")]
    sink: Sink,
    /// Folder for the sink `disk` [default: the system's for temporary files]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Measure beside it what the sink takes at most: one more row, `limit-write`
    #[arg(long, conflicts_with = "files")]
    with_limit: bool,
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
    #[command(flatten)]
    save: SaveArgs,
}

/// Where a client puts files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sink {
    /// Nowhere: hashed and dropped
    Memory,
    /// A folder in shared memory
    Shm,
    /// A folder on disk
    Disk,
}

impl Sink {
    /// The row's word for it.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Shm => "shm",
            Self::Disk => "disk",
        }
    }
}

/// Runs the workload.
pub(crate) fn run(args: &BulkArgs) -> Result<bool> {
    let progress = Progress::new(args.json);
    if args.with_limit && args.sink == Sink::Memory {
        bail!(BadUsage(
            "--with-limit: only where files are written: --sink shm or disk".to_owned()
        ));
    }
    let (files, bytes_each) = match args.files {
        Some(files) => (files, args.size),
        None => (u64::from(args.parallel), args.mib << 20),
    };
    let once = files * bytes_each;
    let all = once * u64::from(args.clients);
    let room = if args.sink == Sink::Shm {
        // The old files and the new ones.
        once + 2 * all
    } else {
        once
    };
    let mut stage = Stage::new(memory_folder(room, args.sink)?)?;
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
    let hash = make_files(&share.join(FOLDER), files, bytes_each)?;
    let options = ServerOptions {
        share: &share,
        congestion: args.congestion.as_deref(),
        plaintext: args.plaintext,
        cipher: None,
    };
    let wanted = Wanted {
        names: &[FOLDER],
        clients: args.clients,
        max_datagram: args.max_datagram,
        folder,
        expected: Expected {
            bytes: all,
            files: files * u64::from(args.clients),
            hash,
        },
    };
    if args.files.is_some() {
        return small_files(args, &mut stage, options, &wanted, &progress);
    }
    let columba = Columba::start(&mut stage, options, &wanted)?;
    settle(SystemTime::now(), &mut stage)?;
    let sink = wanted.folder.as_deref();
    let limit = sink.filter(|_| args.with_limit);
    let (runs, limit) = measure(
        &columba,
        &mut stage,
        &progress,
        args.runs,
        (sink, limit),
        all,
    )?;
    progress.clear();
    columba.end(&mut stage)?;
    let subject = subject_of(args, &wanted.expected);
    conclude(args, subject, &runs, &limit, &progress)?;
    Ok(true)
}

/// Two rows: of first downloads, and of those that follow them.
fn small_files(
    args: &BulkArgs,
    stage: &mut Stage,
    options: ServerOptions<'_>,
    wanted: &Wanted<'_>,
    progress: &Progress,
) -> Result<bool> {
    settle(SystemTime::now(), stage)?;
    let mut downloads = FirstAndAgain::default();
    for run in 0..=args.runs {
        downloads.run(stage, options, wanted, progress, run > 0)?;
    }
    progress.clear();
    let subject = subject_of(args, &wanted.expected);
    let mut saved = Saved::begin(&args.save, "bulk")?;
    for row in downloads.into_rows(&subject, &settings(args.congestion.as_deref()))? {
        saved.show(&row, args.json, || describe(&row))?;
    }
    saved.end(progress);
    Ok(true)
}

fn subject_of(args: &BulkArgs, expected: &Expected) -> Subject {
    let workload = if args.files.is_some() {
        "small-files"
    } else {
        "bulk"
    };
    Subject {
        workload: workload.to_owned(),
        row: "columba".to_owned(),
        payload_limit: args.max_datagram,
        encrypted: !args.plaintext,
        sink: args.sink.word().to_owned(),
        files: expected.files,
        bytes: expected.bytes,
        clients: args.clients,
        parallel: args.parallel,
        sent_before: None,
    }
}

/// Keeps and shows what the sink takes at most, where there is one, and what Columba did.
fn conclude(
    args: &BulkArgs,
    subject: Subject,
    runs: &[Run],
    limit: &[Run],
    progress: &Progress,
) -> Result<()> {
    let mut saved = Saved::begin(&args.save, "bulk")?;
    if !limit.is_empty() {
        let subject = Subject {
            row: write_limit::ROW.to_owned(),
            payload_limit: 0,
            encrypted: false,
            files: 1,
            clients: 1,
            parallel: 1,
            ..subject.clone()
        };
        let row = Row::of(subject, write_limit::SETTINGS.to_owned(), limit)?;
        saved.show(&row, args.json, || describe(&row))?;
    }
    let row = Row::of(subject, settings(args.congestion.as_deref()), runs)?;
    saved.show(&row, args.json, || describe(&row))?;
    saved.end(progress);
    Ok(())
}

/// What a row says of Columba itself.
pub(crate) fn settings(congestion: Option<&str>) -> String {
    format!(
        "columba {}, congestion control {}, BLAKE3 of every byte at the receiver",
        env!("CARGO_PKG_VERSION"),
        congestion.unwrap_or("bbr")
    )
}

/// Runs that are not counted, then those that are; each beside what the sink takes at most where that was asked for.
fn measure(
    columba: &Columba,
    stage: &mut Stage,
    progress: &Progress,
    count: u32,
    (sink, beside): (Option<&Path>, Option<&Path>),
    bytes: u64,
) -> Result<(Vec<Run>, Vec<Run>)> {
    columba.run(stage, progress)?;
    if sink.is_some() {
        // A file is replaced only when its successor is complete, so there are pages for two. Those that a virtual machine
        // never had before come slowly from its host, several times slower than they are written.
        columba.run(stage, progress)?;
        if let Some(folder) = beside {
            write_limit::run(folder, bytes)?;
        }
    }
    let (mut runs, mut limit) = (Vec::new(), Vec::new());
    let before = columba.counters(stage)?;
    for _ in 0..count {
        runs.push(columba.run(stage, progress)?);
        if let Some(folder) = beside {
            limit.push(write_limit::run(folder, bytes)?);
        }
    }
    let after = columba.counters(stage)?;
    let retransmitted = after.retransmitted_packets - before.retransmitted_packets;
    for run in &mut runs {
        run.retransmitted = retransmitted / u64::from(count.max(1));
    }
    Ok((runs, limit))
}

/// Writes the files; returns the hash of the only one.
pub(crate) fn make_files(folder: &Path, files: u64, bytes_each: u64) -> Result<Option<String>> {
    for index in 0..files {
        // Folders of a thousand, as people have them.
        let folder = folder.join(format!("{:03}", index / 1000));
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
        let path = folder.join(format!("{index:06}.bin"));
        content::write_noise(&path, bytes_each, index)?;
        if files == 1 {
            return content::hash_of(&path).map(Some);
        }
    }
    Ok(None)
}

/// The folder for files in memory, if there is room; the sink `shm` insists on it.
pub(crate) fn memory_folder(bytes: u64, sink: Sink) -> Result<Option<&'static Path>> {
    let folder = Path::new(MEMORY_FOLDER);
    let needed = bytes + (16 << 20);
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

fn describe(row: &Row) -> String {
    let subject = &row.subject;
    let rate = |bytes_per_second| report::megabytes(bytes_per_second) + "/s";
    let mut text = subject.label();
    if subject.row == "columba" {
        let protection = if subject.encrypted {
            "encrypted"
        } else {
            "plaintext"
        };
        text += &format!(", {protection}, UDP payload ≤ {}", subject.payload_limit);
    }
    text += &format!(
        ": {} ({} to {}, {} runs), {:.3} CPU seconds per GB",
        rate(row.bytes_per_second),
        rate(row.min),
        rate(row.max),
        row.runs,
        row.cpu_seconds_per_gb,
    );
    text += &format!(
        " ({:.3} server, {:.3} clients)",
        row.server_cpu_seconds_per_gb, row.client_cpu_seconds_per_gb
    );
    if subject.files > 1 {
        text += &format!(", {:.0} files/s", row.files_per_second);
    }
    if let (Some(packets), Some(sent_again)) = (row.packets, row.retransmitted_packets) {
        text += &format!(", {packets} packets, {sent_again} sent again");
    }
    if let Some(allocations) = row.allocations_per_packet {
        text += &format!(", {allocations:.4} allocations per packet");
    }
    if row.server_peak_bytes > 0 {
        text += &format!(
            ", peak memory {} server, {} client",
            report::megabytes(report::rate(row.server_peak_bytes, 1.0)),
            report::megabytes(report::rate(row.client_peak_bytes, 1.0))
        );
    }
    if row.noisy {
        text += " [noisy]";
    }
    text
}
