//! A file beyond 4 GiB: shared sparse, downloaded whole, hash checked by the client's word and on disk.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::Serialize;

use crate::progress::Progress;
use crate::report::{self, rate};
use crate::session::{ServerOptions, Session};
use crate::stage::Stage;
use crate::{content, os};

const NAME: &str = "sparse.bin";

/// Options of the sparse workload.
#[derive(Debug, Args)]
pub(crate) struct SparseArgs {
    /// Size of the file in GiB
    #[arg(long, value_name = "GIB", default_value_t = 5)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=1024))]
    gib: u64,
    /// Folder to download to; needs room for the whole file [default: the system's for temporary files]
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// Largest UDP payload in bytes; 0: as large as the path takes
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    max_datagram: u16,
    /// No TLS and no encryption
    #[arg(long)]
    plaintext: bool,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

/// The row for scripts.
#[derive(Debug, Serialize)]
struct Row {
    workload: &'static str,
    ok: bool,
    bytes: u64,
    seconds: f64,
    bytes_per_second: f64,
    blake3: String,
}

/// Runs the workload; false when the file that came differs.
pub(crate) fn run(args: &SparseArgs) -> Result<bool> {
    let progress = Progress::new(args.json);
    let bytes = args.gib << 30;
    let parent = args.to.clone().unwrap_or_else(std::env::temp_dir);
    std::fs::create_dir_all(&parent)
        .with_context(|| format!("cannot create {}", parent.display()))?;
    if os::free_bytes(&parent).is_some_and(|free| free < bytes) {
        bail!(
            "{} has no room for {bytes} bytes: name another folder with --to",
            parent.display()
        );
    }
    // The source costs next to nothing, the copy its whole size; both go when this ends.
    let mut stage = Stage::new(Some(&parent))?;
    let share = stage.make_folder("share")?;
    let source = share.join(NAME);
    content::write_sparse(&source, bytes, 1)?;
    let options = ServerOptions {
        share: &share,
        congestion: None,
        plaintext: args.plaintext,
        cipher: None,
    };
    let session = Session::start(&mut stage, options)?;
    let folder = stage.make_folder("downloads")?;
    let order = session.order(&stage, [NAME], Some(folder), args.max_datagram)?;
    let (file, _) = session.download_file(&mut stage, &order, &progress)?;
    progress.clear();
    session.end(&mut stage)?;

    let (wanted, found) = (content::hash_of(&source)?, content::hash_of(&file.target)?);
    let ok = file.bytes == bytes && file.blake3 == wanted && found == wanted;
    if !ok {
        report::complain(&format!(
            "error: the file differs: source {wanted}, on disk {found}, by the client's word {}",
            file.blake3
        ));
    }
    let row = Row {
        workload: "sparse",
        ok,
        bytes: file.bytes,
        seconds: file.seconds,
        bytes_per_second: rate(file.bytes, file.seconds).round(),
        blake3: file.blake3,
    };
    if args.json {
        report::print_json(&row)?;
    } else {
        report::print(&format!(
            "{} bytes in {:.1} s, {}/s, BLAKE3 {} {}\n",
            row.bytes,
            row.seconds,
            report::megabytes(row.bytes_per_second),
            row.blake3,
            if ok { "as sent" } else { "NOT as sent" }
        ))?;
    }
    Ok(ok)
}
