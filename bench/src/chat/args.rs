//! Options of the chat workload.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use columba_core::control::limits::MAX_TEXT_BYTES;
use columba_values::parse_time;

use super::load::{MIN_SIZE, Plan};
use crate::saved::SaveArgs;
use crate::stage::BadUsage;

/// Options of the chat workload.
#[derive(Debug, Args)]
pub(crate) struct ChatArgs {
    /// Members that hear every message
    #[arg(long, value_name = "N", default_value_t = 100)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=50_000))]
    subscribers: u32,
    /// Members that say something, one after the other; where a service lets them, they are subscribers, too
    #[arg(long, value_name = "N", default_value_t = 8)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=10_000))]
    publishers: u32,
    /// Messages per second of all publishers together; with --find where the search begins
    #[arg(long, value_name = "MSGS_PER_S", default_value_t = 200.0)]
    rate: f64,
    /// Bytes of a message's text
    #[arg(long, value_name = "BYTES", default_value_t = 100)]
    size: u16,
    /// Seconds that are counted
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_time)]
    seconds: Duration,
    /// Time before that, which is not
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = parse_time)]
    warm_up: Duration,
    /// Hold each message back until everybody has the one before; it is due at its time nevertheless
    #[arg(long)]
    one_at_a_time: bool,
    /// Find the highest rate whose 99th percentile stays below this: in most of three runs, and then in three more together
    #[arg(long, value_name = "P99", value_parser = parse_time)]
    pub(super) find: Option<Duration>,
    /// Runs of each service, in turns
    #[arg(long, value_name = "N", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(super) runs: u32,
    /// No TLS for Columba; without this option, both when there is another service to compare with
    #[arg(long)]
    plaintext: bool,
    /// A Redis server to drive with the same load
    #[arg(long, value_name = "HOST:PORT")]
    pub(super) redis: Option<String>,
    /// A NATS server to drive with the same load
    #[arg(long, value_name = "HOST:PORT")]
    pub(super) nats: Option<String>,
    /// Write .hlog and .hgrm of each service there
    #[arg(long, value_name = "DIR")]
    pub(super) histograms: Option<PathBuf>,
    /// Have Columba's server write its own histograms there
    #[arg(long, value_name = "DIR")]
    pub(super) server_histograms: Option<PathBuf>,
    /// Draw percentiles into a file (.svg or .png); may be given twice
    #[arg(long = "chart", value_name = "FILE")]
    pub(super) charts: Vec<PathBuf>,
    /// One JSON object a row on standard output
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) save: SaveArgs,
}

impl ChatArgs {
    /// The plan, if it is one.
    pub(super) fn plan(&self) -> Result<Plan> {
        let size = usize::from(self.size);
        let refuse = |text: String| bail!(BadUsage(text));
        if !(MIN_SIZE..=MAX_TEXT_BYTES).contains(&size) {
            return refuse(format!(
                "--size {size}: a message says which one it is: {MIN_SIZE} to {MAX_TEXT_BYTES} bytes"
            ));
        }
        if !(0.01..=1e7).contains(&self.rate) {
            return refuse(format!(
                "--rate {}: 0.01 to 10000000 messages per second",
                self.rate
            ));
        }
        if self.publishers > self.subscribers {
            return refuse(format!(
                "--publishers {}: at most as many as --subscribers, for these publish",
                self.publishers
            ));
        }
        Ok(Plan {
            subscribers: self.subscribers as usize,
            publishers: self.publishers as usize,
            rate: self.rate,
            size,
            one_at_a_time: self.one_at_a_time,
            warm_up: self.warm_up,
            seconds: self.seconds,
        })
    }

    /// Which servers of Columba take part: `true` is a plaintext one.
    pub(super) fn modes(&self) -> Vec<bool> {
        if self.plaintext {
            vec![true]
        } else if self.redis.is_some() || self.nats.is_some() {
            vec![false, true]
        } else {
            vec![false]
        }
    }
}
