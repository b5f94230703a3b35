//! Options of the mixed workload.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use columba_core::control::limits::MAX_TEXT_BYTES;
use columba_values::parse_time;

use crate::chat::{MIN_SIZE, Plan};
use crate::saved::SaveArgs;
use crate::stage::BadUsage;

/// Options of the mixed workload.
#[derive(Debug, Args)]
pub(crate) struct MixedArgs {
    /// Downloads at the same time, each by a process of its own [default: 8; behind a network 1]
    #[arg(long, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=256))]
    downloads: Option<u16>,
    /// Size of a file in MiB
    #[arg(long, value_name = "MIB", default_value_t = 256)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=65_536))]
    pub(super) mib: u64,
    /// Drop the files from the page cache before a third round; they lie on disk then, one for each download, so large
    /// (--mib) that it outlasts the round
    #[arg(long)]
    pub(super) cold: bool,
    /// Folder for the files, on the disk that is to be read [default: memory; with --cold the system's for temporary
    /// files]
    #[arg(long, value_name = "DIR")]
    pub(super) dir: Option<PathBuf>,
    /// Largest UDP payload in bytes; 0: as large as the path takes
    #[arg(long, value_name = "BYTES", default_value_t = 1472)]
    pub(super) max_datagram: u16,
    /// Put a network of this rate before the server, like 20mbit; who publishes is on the server's side of it
    #[arg(long, value_name = "RATE", requires = "delay")]
    pub(super) rate: Option<String>,
    /// One-way delay of that network
    #[arg(long, value_name = "TIME", requires = "rate", value_parser = parse_time)]
    pub(super) delay: Option<Duration>,
    /// Members that hear every message [default: 25; behind a network 10]
    #[arg(long, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=50_000))]
    subscribers: Option<u32>,
    /// Members that say something, one after the other
    #[arg(long, value_name = "N", default_value_t = 8)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=10_000))]
    publishers: u32,
    /// Messages per second of all publishers together [default: 100; behind a network 20]
    #[arg(long, value_name = "MSGS_PER_S")]
    messages: Option<f64>,
    /// Bytes of a message's text
    #[arg(long, value_name = "BYTES", default_value_t = 100)]
    size: u16,
    /// Seconds of each round that are counted
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_time)]
    seconds: Duration,
    /// Time before that, which is not
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = parse_time)]
    warm_up: Duration,
    /// The server's congestion control: bbr, cubic or aimd
    #[arg(long, value_name = "NAME")]
    pub(super) congestion: Option<String>,
    /// Niceness of the downloading processes, which share this machine's CPUs with the server but would not elsewhere
    #[arg(long, value_name = "N", default_value_t = 0)]
    #[arg(value_parser = clap::value_parser!(i32).range(0..=19))]
    pub(super) nice: i32,
    /// Niceness of the server; below 0 needs the right to it
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        allow_negative_numbers = true
    )]
    #[arg(value_parser = clap::value_parser!(i32).range(-20..=19))]
    pub(super) server_nice: i32,
    /// No TLS and no encryption
    #[arg(long)]
    pub(super) plaintext: bool,
    /// Write .hlog and .hgrm of each round there, and the server's own
    #[arg(long, value_name = "DIR")]
    pub(super) histograms: Option<PathBuf>,
    /// Draw percentiles at the client into a file (.svg or .png); may be given twice
    #[arg(long = "chart", value_name = "FILE")]
    pub(super) charts: Vec<PathBuf>,
    /// One JSON object a row on standard output
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) save: SaveArgs,
}

impl MixedArgs {
    pub(super) fn has_network(&self) -> bool {
        self.rate.is_some()
    }

    pub(super) fn downloads(&self) -> usize {
        let default = if self.has_network() { 1 } else { 8 };
        usize::from(self.downloads.unwrap_or(default))
    }

    /// What is said, if it is possible.
    pub(super) fn plan(&self) -> Result<Plan> {
        let size = usize::from(self.size);
        if !(MIN_SIZE..=MAX_TEXT_BYTES).contains(&size) {
            bail!(BadUsage(format!(
                "--size {size}: {MIN_SIZE} to {MAX_TEXT_BYTES} bytes"
            )));
        }
        let (subscribers, messages) = if self.has_network() {
            (10, 20.0)
        } else {
            (25, 100.0)
        };
        let rate = self.messages.unwrap_or(messages);
        if !(0.01..=1e6).contains(&rate) {
            bail!(BadUsage(format!(
                "--messages {rate}: 0.01 to 1000000 per second"
            )));
        }
        let subscribers = self.subscribers.unwrap_or(subscribers) as usize;
        Ok(Plan {
            subscribers,
            publishers: (self.publishers as usize).min(subscribers),
            rate,
            size,
            one_at_a_time: false,
            warm_up: self.warm_up,
            seconds: self.seconds,
        })
    }
}
