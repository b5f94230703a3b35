//! The demo: chat and downloads over a path that loses packets, with every hash checked.
//!
//! Read [`run`] from top to bottom. [`share`] is what is downloaded, [`chat`] the two users, [`verify`] the hash check,
//! [`summary`] what is shown at the end.

mod chat;
mod share;
mod summary;
mod verify;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;

use self::chat::Conversation;
use self::share::{Share, SharedFile};
use self::summary::Summary;
use crate::download::{FileOutcome, Told};
use crate::processes::{Heard, ProcessId};
use crate::progress::Progress;
use crate::report;
use crate::session::{STALL_LIMIT, ServerOptions, Session, arguments};
use crate::stage::{PATIENCE, Stage};

/// The users speak this often.
const SPEAK_EVERY: Duration = Duration::from_millis(50);
/// The users say at least this much, however quick the downloads are, so that percentiles mean something.
const MIN_MESSAGES: u64 = 60;
/// One message in so many is shown.
const SHOWN_MESSAGES: u64 = 20;

/// Options of the demo.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Folder to share [default: this repository's sources and a generated file]
    #[arg(long, value_name = "PATH")]
    dir: Option<PathBuf>,
    /// Share of the packets that the network loses, each way
    #[arg(long, value_name = "P", default_value = "5%")]
    loss: String,
    /// One-way delay of the network
    #[arg(long, value_name = "TIME", default_value = "10ms")]
    delay: String,
    /// Rate of the network, like 100mbit [default: none]
    #[arg(long, value_name = "RATE")]
    rate: Option<String>,
    /// Largest UDP payload that the network carries, in bytes (1472 is Ethernet's)
    #[arg(long, value_name = "BYTES", default_value_t = 1472)]
    max_datagram: u16,
    /// From this follow the network's decisions and the generated file
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Size of the generated file in MiB
    #[arg(long, value_name = "MIB", default_value_t = 64, conflicts_with = "dir")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=65_536))]
    mib: u64,
    /// The server's congestion control: bbr, cubic or aimd
    #[arg(long, value_name = "NAME")]
    congestion: Option<String>,
    /// No TLS and no encryption
    #[arg(long)]
    plaintext: bool,
    /// One JSON object on standard output, no progress
    #[arg(long)]
    json: bool,
}

/// What the downloads came to.
#[derive(Debug)]
struct Downloads {
    files: Vec<FileOutcome>,
    failures: Vec<String>,
    elapsed: Duration,
}

/// Runs the demo; false when it found something wrong, which has been said on standard error.
pub(crate) fn run(args: &DemoArgs) -> Result<bool> {
    let progress = Progress::new(args.json);
    let mut stage = Stage::new(None)?;
    let share = Share::prepare(args.dir.as_deref(), args.mib, args.seed, &stage)?;
    let options = ServerOptions {
        share: share.folder(),
        congestion: args.congestion.as_deref(),
        plaintext: args.plaintext,
        cipher: None,
    };
    let mut session = Session::start(&mut stage, options)?;
    session.impair(&mut stage, impairments(args))?;
    let listed = share.listed(&session, &mut stage)?;
    let total: u64 = listed.iter().map(|file| file.bytes).sum();
    progress.say(&format!(
        "A server shares {} files, {}. The network loses {} of all packets each way and delays them by {}.",
        listed.len(),
        report::megabytes(report::rate(total, 1.0)),
        args.loss,
        args.delay
    ));

    let mut chat = Conversation::join(&session, &mut stage)?;
    let downloads = transfer(&session, &mut stage, &mut chat, &listed, &progress)?;
    progress.clear();
    let chat = chat.leave(&mut stage)?;
    let counters = session.transfer_counters(&mut stage)?;
    let path = session.end(&mut stage)?.context("there was no network")?;

    let mut problems = verify::problems(&share, &listed, &downloads, &stage.path(DOWNLOADS));
    problems.extend(chat.problems());
    if path.down.packets == 0 {
        problems
            .push("the downloads did not come through the network that loses packets".to_owned());
    }
    for problem in &problems {
        report::complain(&format!("error: {problem}"));
    }
    let summary = Summary::new(problems.is_empty(), &downloads, &chat, counters, path);
    if args.json {
        report::print_json(&summary.row())?;
    } else {
        report::print(&summary.table())?;
    }
    Ok(problems.is_empty())
}

/// Folder of the stage where files go.
const DOWNLOADS: &str = "downloads";

fn impairments(args: &DemoArgs) -> Vec<OsString> {
    let mut list = vec![
        format!("--loss={}", args.loss),
        format!("--delay={}", args.delay),
        format!("--max-datagram={}", args.max_datagram),
        format!("--seed={}", args.seed),
    ];
    list.extend(args.rate.iter().map(|rate| format!("--rate={rate}")));
    arguments(list)
}

/// Downloads everything while the users talk.
fn transfer(
    session: &Session,
    stage: &mut Stage,
    chat: &mut Conversation,
    listed: &[SharedFile],
    progress: &Progress,
) -> Result<Downloads> {
    // A folder's name means its tree.
    let names: BTreeSet<&str> = listed
        .iter()
        .map(|file| {
            file.name
                .split_once('/')
                .map_or(file.name.as_str(), |(first, _)| first)
        })
        .collect();
    let folder = stage.make_folder(DOWNLOADS)?;
    let order = session.order(stage, names, Some(folder), 0)?;
    let started = Instant::now();
    let client = session.start_download(stage, &order)?;
    let mut downloads = Downloads {
        files: Vec::new(),
        failures: Vec::new(),
        elapsed: Duration::ZERO,
    };
    let mut alive = started;
    let mut running = true;
    let mut speak_at = started;
    while running || chat.sent() < MIN_MESSAGES {
        let now = Instant::now();
        if now >= speak_at {
            speak_at = now + SPEAK_EVERY;
            chat.speak(stage)?;
        }
        if now >= alive + STALL_LIMIT {
            let words = stage.process(client).last_words();
            bail!("the download stands still for {STALL_LIMIT:?}{words}");
        }
        match stage.next(speak_at)? {
            Some(Heard::Line { from, at, text }) if from == client => {
                alive = at;
                downloads.hear(&text, at - started, progress)?;
            }
            Some(Heard::Line { from, at, text }) => show(progress, chat.hear(from, at, &text)),
            Some(Heard::Closed { from }) if from == client => {
                stage.process(client).wait(PATIENCE)?;
                running = false;
            }
            Some(Heard::Closed { from }) => require_others(stage, chat, from)?,
            Some(Heard::Signal(_)) | None => {}
        }
    }
    if downloads.files.is_empty() {
        downloads.failures.push(format!(
            "nothing was downloaded{}",
            stage.process(client).last_words()
        ));
    }
    Ok(downloads)
}

fn show(progress: &Progress, message: Option<chat::Arrived>) {
    if let Some(message) = message
        && message.number.is_multiple_of(SHOWN_MESSAGES)
    {
        let latency = message.latency.as_secs_f64() * 1e3;
        progress.say(&format!("  {} ({latency:.1} ms)", message.text));
    }
}

/// The users stay to the end.
fn require_others(stage: &mut Stage, chat: &Conversation, ended: ProcessId) -> Result<()> {
    if chat.has(ended) {
        let process = stage.process(ended);
        bail!("the {} left early{}", process.name(), process.last_words());
    }
    Ok(())
}

impl Downloads {
    fn hear(&mut self, text: &str, elapsed: Duration, progress: &Progress) -> Result<()> {
        let told =
            serde_json::from_str(text).with_context(|| format!("the download said {text:?}"))?;
        match told {
            Told::Progress {
                done_bytes,
                total_bytes,
                current,
            } => progress.update(done_bytes, total_bytes, &current),
            Told::File(file) => {
                self.elapsed = elapsed;
                self.files.push(file);
            }
            Told::Failed { file, error } => self.failures.push(format!("{file}: {error}")),
            Told::Done { .. } => {}
        }
        Ok(())
    }

    fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }
}
