//! Many associations at once: as many clients, each of which downloads the same file from one server thread at the same
//! moment.

pub(crate) mod role;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use columba_values::parse_size;
use serde::Serialize;

use self::role::{GO, ManyOrder, ManyTold};
use crate::chat::raise_descriptor_limit;
use crate::content;
use crate::memory::Memory;
use crate::processes::{Heard, Launch, ProcessId};
use crate::progress::Progress;
use crate::report::{self, rate};
use crate::roles::Role;
use crate::saved::{SaveArgs, Saved};
use crate::session::{LOOPBACK, STALL_LIMIT, ServerOptions, Session, arguments};
use crate::stage::{PATIENCE, Stage};

const NAME: &str = "many.bin";
/// How often the server's memory is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Options of the workload.
#[derive(Debug, Args)]
pub(crate) struct ManyArgs {
    /// Clients, each with an association of its own
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    clients: u32,
    /// Size of the file
    #[arg(long, value_name = "SIZE", default_value = "1M", value_parser = parse_size)]
    size: u64,
    /// Processes that the clients are spread over
    #[arg(long, value_name = "N", default_value_t = 4)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=256))]
    processes: u32,
    /// Largest UDP payload in bytes; 0: as large as the path takes
    #[arg(long, value_name = "BYTES", default_value_t = 1472)]
    max_datagram: u16,
    /// Put a network of this rate before the server, like 500mbit
    #[arg(long, value_name = "RATE", requires = "delay")]
    rate: Option<String>,
    /// One-way delay of that network
    #[arg(long, value_name = "TIME", requires = "rate")]
    delay: Option<String>,
    /// No TLS and no encryption
    #[arg(long)]
    plaintext: bool,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    save: SaveArgs,
}

/// The row for scripts.
#[derive(Debug, Serialize)]
struct Row {
    workload: &'static str,
    row: &'static str,
    clients: u32,
    bytes: u64,
    tls: bool,
    payload_limit: u16,
    /// Clients that got exactly the file.
    identical: u32,
    failed: u32,
    /// From the moment all were let go to the last one's verified end.
    seconds: f64,
    bytes_per_second: f64,
    /// Of the clients' own times.
    client_seconds: Seconds,
    /// The most the server ever had in memory, pages of files included.
    server_peak_bytes: u64,
    /// What the server had more than before any client came, at most, for each; pages of files left out.
    bytes_per_association: u64,
    /// The part of it that the connected, idle clients had taken already.
    bytes_per_connection: u64,
}

#[derive(Debug, Serialize)]
struct Seconds {
    min: f64,
    median: f64,
    max: f64,
}

/// What came of it.
#[derive(Default)]
struct Tally {
    identical: u32,
    failures: Vec<String>,
    seconds: Vec<f64>,
}

/// Runs the workload; false when not all got the file.
pub(crate) fn run(args: &ManyArgs) -> Result<bool> {
    raise_descriptor_limit();
    let progress = Progress::new(args.json);
    let mut stage = Stage::new(None)?;
    let share = stage.make_folder("share")?;
    let source = share.join(NAME);
    content::write_noise(&source, args.size, 1)?;
    let hash = content::hash_of(&source)?;
    let options = ServerOptions {
        share: &share,
        congestion: None,
        plaintext: args.plaintext,
        cipher: None,
    };
    let room = (args.clients + 16).to_string();
    let limits = arguments(["--max-clients", &room, "--max-transfers", &room]);
    let mut session = Session::start_with(&mut stage, options, LOOPBACK, limits)?;
    if let (Some(rate), Some(delay)) = (&args.rate, &args.delay) {
        session.impair(&mut stage, arguments(["--rate", rate, "--delay", delay]))?;
    }
    let server = stage.process(session.server()).id();
    let memory = || Memory::of(server).unwrap_or_default();
    let before = memory().anonymous_bytes;
    let processes = connect(&mut stage, &session, args, &progress)?;
    let connected = memory().anonymous_bytes;

    progress.say("all download");
    for process in &processes {
        stage.process(*process).say(GO)?;
    }
    let start = Instant::now();
    let mut tally = Tally::default();
    let mut most = connected;
    let mut left = processes.len();
    let mut last_at = start;
    let mut give_up_at = start + STALL_LIMIT;
    while left > 0 {
        let now = Instant::now();
        most = most.max(memory().anonymous_bytes);
        let heard = stage.next((now + LOOK_EVERY).min(give_up_at))?;
        if heard.is_some() {
            give_up_at = now + STALL_LIMIT;
        } else if now >= give_up_at {
            bail!("nobody got anything for {STALL_LIMIT:?}");
        }
        match heard {
            Some(Heard::Line { from, at, text }) if processes.contains(&from) => {
                if take(&text, args.size, &hash, &mut tally)? {
                    last_at = at;
                    progress.count(tally.seconds.len() as u64, u64::from(args.clients));
                }
            }
            Some(Heard::Closed { from }) if processes.contains(&from) => left -= 1,
            Some(Heard::Closed { from }) => {
                let process = stage.process(from);
                bail!("the {} ended{}", process.name(), process.last_words());
            }
            Some(Heard::Line { .. } | Heard::Signal(_)) | None => {}
        }
    }
    progress.clear();
    let peak = memory().peak_bytes;
    for process in &processes {
        stage.process(*process).expect_success(PATIENCE)?;
    }
    session.end(&mut stage)?;
    let each = |bytes: u64| bytes.saturating_sub(before) / u64::from(args.clients);
    let seconds = last_at.duration_since(start).as_secs_f64();
    conclude(args, seconds, &tally, (peak, each(most), each(connected)))
}

/// Starts the processes and waits until all their clients are connected.
fn connect(
    stage: &mut Stage,
    session: &Session,
    args: &ManyArgs,
    progress: &Progress,
) -> Result<Vec<ProcessId>> {
    progress.say(&format!("{} clients connect", args.clients));
    let mut processes = Vec::new();
    for index in 0..args.processes {
        let share = args.clients / args.processes;
        let clients = share + u32::from(index < args.clients % args.processes);
        if clients == 0 {
            continue;
        }
        let mut order = session.order(stage, [NAME], None, args.max_datagram)?;
        order.state = stage.make_folder(&format!("users-{index}"))?;
        let order = ManyOrder {
            order,
            clients: clients as usize,
        };
        processes.push(stage.start(&Launch {
            role: Role::Many,
            name: "process of many clients",
            arguments: arguments([serde_json::to_string(&order)?]),
        })?);
    }
    let mut ready = 0;
    let give_up_at = Instant::now() + STALL_LIMIT;
    while ready < processes.len() {
        match stage.next(give_up_at)? {
            Some(Heard::Line { text, .. }) => {
                let told: ManyTold = serde_json::from_str(&text)
                    .with_context(|| format!("a process of many clients said {text:?}"))?;
                ready += usize::from(matches!(told, ManyTold::Ready));
            }
            Some(Heard::Closed { from }) => {
                let process = stage.process(from);
                bail!("the {} ended{}", process.name(), process.last_words());
            }
            Some(Heard::Signal(_)) => {}
            None => bail!("not all clients could connect within {STALL_LIMIT:?}"),
        }
    }
    Ok(processes)
}

/// Takes a line; true when it told a client's end.
fn take(text: &str, size: u64, hash: &str, tally: &mut Tally) -> Result<bool> {
    let told: ManyTold = serde_json::from_str(text)
        .with_context(|| format!("a process of many clients said {text:?}"))?;
    match told {
        ManyTold::Got {
            bytes,
            seconds,
            blake3,
        } => {
            tally.seconds.push(seconds);
            if bytes == size && blake3 == hash {
                tally.identical += 1;
            } else {
                tally.failures.push("the file differs".to_owned());
            }
        }
        ManyTold::Failed { error } => tally.failures.push(error),
        ManyTold::Ready | ManyTold::Done => return Ok(false),
    }
    Ok(true)
}

fn conclude(
    args: &ManyArgs,
    seconds: f64,
    tally: &Tally,
    (peak, per_association, per_connection): (u64, u64, u64),
) -> Result<bool> {
    let ok = tally.identical == args.clients;
    if let Some(first) = tally.failures.first() {
        report::complain(&format!(
            "error: {} clients did not get the file, the first of them: {first}",
            tally.failures.len()
        ));
    }
    let spread = report::Spread::of(&tally.seconds).context("nobody got the file")?;
    let row = Row {
        workload: "many",
        row: "columba",
        clients: args.clients,
        bytes: args.size,
        tls: !args.plaintext,
        payload_limit: args.max_datagram,
        identical: tally.identical,
        failed: u32::try_from(tally.failures.len()).unwrap_or(u32::MAX),
        seconds,
        bytes_per_second: rate(args.size * u64::from(tally.identical), seconds).round(),
        client_seconds: Seconds {
            min: spread.min,
            median: spread.median,
            max: spread.max,
        },
        server_peak_bytes: peak,
        bytes_per_association: per_association,
        bytes_per_connection: per_connection,
    };
    let mut saved = Saved::begin(&args.save, "many")?;
    saved.show(&row, args.json, || describe(&row))?;
    saved.end(&Progress::new(args.json));
    Ok(ok)
}

fn describe(row: &Row) -> String {
    format!(
        "{} downloads of {} bytes: {} identical, {} failed, {:.2} s, {}/s together; each took {:.2} to {:.2} s, \
         median {:.2}; the server had {} at most, {} bytes for each association ({} of them for the connection)",
        row.clients,
        row.bytes,
        row.identical,
        row.failed,
        row.seconds,
        report::megabytes(row.bytes_per_second),
        row.client_seconds.min,
        row.client_seconds.max,
        row.client_seconds.median,
        report::megabytes(row.server_peak_bytes as f64),
        row.bytes_per_association,
        row.bytes_per_connection,
    )
}
