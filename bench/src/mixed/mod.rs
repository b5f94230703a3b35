//! Chat while downloads run, against the same chat without them: at the client, and inside the server from the moment a
//! message was readable to the moment it was written to everybody, by the server's own histogram.
//!
//! Rounds follow each other with the same members: alone, with downloads, and with `--cold` once more with files that
//! have to come from the disk. Behind a network (`--rate`, `--delay`) listeners and downloads share its far end, while
//! who publishes is on the server's side: what is seen is one way through a full link.

mod args;
mod cold;
mod downloads;

use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use serde::Serialize;

pub(crate) use args::MixedArgs;
use downloads::{Downloads, Files};

use crate::chat::{
    LatencyMicros, Load, Outcome, look_around, raise_descriptor_limit, write_histograms,
};
use crate::histogram;
use crate::machine::CpuTimes;
use crate::os;
use crate::plot::{Distribution, PercentileChart};
use crate::progress::Progress;
use crate::report::{self, rate};
use crate::saved::Saved;
use crate::session::{LOOPBACK, ServerOptions, Session, arguments};
use crate::stage::Stage;

/// Where Linux keeps files in memory.
const MEMORY_FOLDER: &str = "/dev/shm";
/// The round whose files come from the disk.
const COLD: &str = "cold";
/// The tag of the server's histogram that matters here.
const FAN_OUT: &str = "chat_fan_out";

/// The row for scripts.
#[derive(Debug, Serialize)]
struct Row {
    workload: &'static str,
    /// `alone`, `downloads` or `cold`.
    row: &'static str,
    downloads: usize,
    subscribers: usize,
    rate: f64,
    size: usize,
    tls: bool,
    payload_limit: u16,
    nice: i32,
    server_nice: i32,
    /// Each process has a session of its own.
    own_sessions: bool,
    /// Of the network before the server.
    path_rate: Option<String>,
    path_rtt_ms: Option<f64>,
    delivered: u64,
    expected: u64,
    client_us: LatencyMicros,
    /// From readable to written; `None` when no whole second was seen.
    server_us: Option<LatencyMicros>,
    server_loop_turn_us: Option<LatencyMicros>,
    download_bytes_per_second: f64,
    /// Of the processors' time, the share that the hypervisor gave to others.
    steal: f64,
}

/// One round, and when it took place: seconds since 1970, of what was counted.
struct Round {
    name: &'static str,
    outcome: Outcome,
    began_s: f64,
    ended_s: f64,
    download_bytes_per_second: f64,
    steal: f64,
}

/// Runs the workload; false when some message was not delivered.
pub(crate) fn run(args: &MixedArgs) -> Result<bool> {
    raise_descriptor_limit();
    let plan = args.plan()?;
    let progress = Progress::new(args.json);
    let mut stage = make_stage(args)?;
    stage.give_sessions();
    let share = stage.make_folder("share")?;
    let files = write_files(&mut stage, args, &share, &progress)?;
    let logs = match &args.histograms {
        Some(folder) => std::path::absolute(folder)?,
        None => stage.make_folder("histograms")?,
    };
    let mut session = start_server(&mut stage, args, &share, &logs)?;
    if args.server_nice != 0 {
        let server = stage.process(session.server()).id();
        os::set_niceness(server, args.server_nice).context("--server-nice")?;
    }
    let direct = session.chat_service()?;
    if let (Some(rate), Some(delay)) = (&args.rate, args.delay) {
        let delay = format!("{}us", delay.as_micros());
        session.impair(&mut stage, arguments(["--rate", rate, "--delay", &delay]))?;
    }
    let publishers = args.has_network().then_some(&direct);
    let listeners = session.chat_service()?;
    let gather = |stage: &mut Stage| {
        let look = &mut || look_around(stage);
        Load::gather(&listeners, publishers, plan, look)
    };
    let mut load = gather(&mut stage)?;

    progress.say("chat alone");
    let mut rounds = vec![alone(&mut stage, &mut load, args)?];
    progress.say("chat beside downloads");
    rounds.push(beside(
        &mut stage,
        &session,
        &mut load,
        &files,
        args,
        "downloads",
    )?);
    if args.cold {
        // Members who say nothing for so long would be taken for lost.
        drop(load);
        progress.say("waiting until the files are cold");
        cold::make_cold(&mut stage, files.paths())?;
        load = gather(&mut stage)?;
        progress.say("chat beside downloads from a cold disk");
        rounds.push(beside(&mut stage, &session, &mut load, &files, args, COLD)?);
    }
    progress.clear();
    drop(load);
    session.end(&mut stage)?;

    let log = histogram::read(&logs.join("server.hlog"))?;
    let mut saved = Saved::begin(&args.save, "mixed")?;
    for round in &rounds {
        let row = row_of(args, round, &log)?;
        saved.show(&row, args.json, || describe(&row))?;
        if let Some(folder) = &args.histograms {
            write_histograms(folder, round.name, &round.outcome)?;
        }
    }
    saved.end(&progress);
    for path in &args.charts {
        chart(&rounds).save(path)?;
    }
    let complete = |round: &Round| round.outcome.delivered == round.outcome.expected;
    Ok(rounds.iter().all(complete))
}

/// On the disk where the files are to be cold, or somebody says where; otherwise in memory.
fn make_stage(args: &MixedArgs) -> Result<Stage> {
    let memory = Path::new(MEMORY_FOLDER);
    let on_disk = args.cold || args.dir.is_some() || !memory.is_dir();
    Stage::new(if on_disk {
        args.dir.as_deref()
    } else {
        Some(memory)
    })
}

fn write_files(
    stage: &mut Stage,
    args: &MixedArgs,
    share: &Path,
    progress: &Progress,
) -> Result<Files> {
    progress.say("writing the files");
    let files = Files::write(share, args.mib << 20, args.downloads(), args.cold)?;
    if args.cold {
        // What ran before may have freed memory as well.
        progress.say("waiting until the machine is quiet");
        cold::settle(stage)?;
    }
    Ok(files)
}

fn start_server(stage: &mut Stage, args: &MixedArgs, share: &Path, logs: &Path) -> Result<Session> {
    let options = ServerOptions {
        share,
        congestion: args.congestion.as_deref(),
        plaintext: args.plaintext,
        cipher: None,
    };
    let mut more = arguments(["--histograms"]);
    more.push(PathBuf::from(logs).into());
    Session::start_with(stage, options, LOOPBACK, more)
}

fn since_1970() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs_f64()
}

fn alone(stage: &mut Stage, load: &mut Load, args: &MixedArgs) -> Result<Round> {
    let began_s = since_1970() + args.plan()?.warm_up.as_secs_f64();
    let times = CpuTimes::now();
    let outcome = load.run(&mut || look_around(stage))?;
    Ok(Round {
        name: "alone",
        outcome,
        began_s,
        ended_s: since_1970(),
        download_bytes_per_second: 0.0,
        steal: CpuTimes::now().steal_since(&times),
    })
}

fn beside(
    stage: &mut Stage,
    session: &Session,
    load: &mut Load,
    files: &Files,
    args: &MixedArgs,
    name: &'static str,
) -> Result<Round> {
    let count = (args.downloads(), name == COLD);
    let mut downloads = Downloads::start(stage, session, files, count, args.max_datagram)?;
    if args.nice != 0 {
        downloads.set_niceness(stage, args.nice)?;
    }
    let began_s = since_1970() + args.plan()?.warm_up.as_secs_f64();
    let (start, bytes, times) = (Instant::now(), downloads.bytes(), CpuTimes::now());
    let outcome = load.run(&mut || downloads.look_around(stage))?;
    let came = downloads.bytes().saturating_sub(bytes);
    let download_bytes_per_second = rate(came, start.elapsed().as_secs_f64());
    let ended_s = since_1970();
    let steal = CpuTimes::now().steal_since(&times);
    downloads.end(stage)?;
    Ok(Round {
        name,
        outcome,
        began_s,
        ended_s,
        download_bytes_per_second,
        steal,
    })
}

/// The server's values of one kind in the whole seconds of a round.
fn in_round(
    round: &Round,
    log: &[histogram::Interval],
    tag: &str,
) -> Result<Option<LatencyMicros>> {
    let mut sum = Histogram::<u64>::new(3).context("three digits are allowed")?;
    let inside = log.iter().filter(|interval| {
        interval.tag == tag
            && interval.start_s >= round.began_s
            && interval.end_s() <= round.ended_s
    });
    for interval in inside {
        let added = sum.add(&interval.histogram);
        added.context("the server's histograms are too different")?;
    }
    Ok((!sum.is_empty()).then(|| LatencyMicros::of(&sum)))
}

fn row_of(args: &MixedArgs, round: &Round, log: &[histogram::Interval]) -> Result<Row> {
    let plan = args.plan()?;
    let busy = round.name != "alone";
    Ok(Row {
        workload: "mixed",
        row: round.name,
        downloads: if busy { args.downloads() } else { 0 },
        subscribers: plan.subscribers,
        rate: plan.rate,
        size: plan.size,
        tls: !args.plaintext,
        payload_limit: args.max_datagram,
        nice: args.nice,
        server_nice: args.server_nice,
        own_sessions: true,
        path_rate: args.rate.clone(),
        path_rtt_ms: args.delay.map(|delay| delay.as_secs_f64() * 2e3),
        delivered: round.outcome.delivered,
        expected: round.outcome.expected,
        client_us: LatencyMicros::of(&round.outcome.latency),
        server_us: in_round(round, log, FAN_OUT)?,
        server_loop_turn_us: in_round(round, log, "loop_turn")?,
        download_bytes_per_second: round.download_bytes_per_second.round(),
        steal: round.steal,
    })
}

fn describe(row: &Row) -> String {
    let micros = |of: &LatencyMicros| {
        format!(
            "p50 {} µs, p99 {} µs, p99.9 {} µs, max {} µs",
            of.p50, of.p99, of.p999, of.max
        )
    };
    let unknown = "unknown: choose more --seconds".to_owned();
    format!(
        "{} ({} downloads, {}/s; {} messages/s to {}; {} of {} delivered; {:.1} % of the processors stolen)\n  \
         at the client    {}\n  in the server    {}\n  turns of its loop {}",
        row.row,
        row.downloads,
        report::megabytes(row.download_bytes_per_second),
        row.rate,
        row.subscribers,
        row.delivered,
        row.expected,
        row.steal * 1e2,
        micros(&row.client_us),
        row.server_us
            .as_ref()
            .map_or_else(|| unknown.clone(), micros),
        row.server_loop_turn_us
            .as_ref()
            .map_or_else(|| unknown.clone(), micros),
    )
}

fn chart(rounds: &[Round]) -> PercentileChart<'_> {
    PercentileChart {
        title: "Chat beside downloads, at the client".to_owned(),
        note: "from the moment a message was due to each recipient".to_owned(),
        distributions: rounds
            .iter()
            .map(|round| Distribution {
                name: round.name,
                nanos: &round.outcome.latency,
            })
            .collect(),
    }
}
