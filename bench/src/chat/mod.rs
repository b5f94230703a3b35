//! Messages to many, at a set rate: how late each recipient gets them.
//!
//! The load comes from this process alone, from one thread, for Columba as for Redis and NATS, where their address is
//! given; runs are interleaved. One more member subscribes and hardly ever reads: nobody else may notice.
//!
//! - `dialect`: what services speak; `crowd`: their members' sockets; `load`: what is said when, and who heard it.

mod args;
mod crowd;
mod dialect;
mod find;
mod load;

use std::net::ToSocketAddrs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use columba_server::hlog::Recorder;
use hdrhistogram::Histogram;
use serde::Serialize;

pub(crate) use args::ChatArgs;
pub(crate) use crowd::{Crowd, Part, Service, raise_descriptor_limit};
pub(crate) use load::{Load, MIN_SIZE, Outcome, Plan};

use crate::plot::{Distribution, PercentileChart};
use crate::processes::Heard;
use crate::progress::Progress;
use crate::report::rate;
use crate::saved::Saved;
use crate::session::{LOOPBACK, ServerOptions, Session};
use crate::stage::Stage;

/// Percentiles of a histogram of nanoseconds, in microseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct LatencyMicros {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct LastRecipientMicros {
    p50: f64,
    p99: f64,
}

/// A value of nanoseconds in microseconds, to a tenth.
#[expect(clippy::cast_precision_loss, reason = "at most an hour")]
fn micros(nanos: u64) -> f64 {
    (nanos as f64 / 100.0).round() / 10.0
}

impl LatencyMicros {
    pub(crate) fn of(nanos: &Histogram<u64>) -> Self {
        let at = |quantile| micros(nanos.value_at_quantile(quantile));
        Self {
            p50: at(0.5),
            p99: at(0.99),
            p999: at(0.999),
            max: micros(nanos.max()),
        }
    }
}

/// The row for scripts.
#[derive(Debug, Serialize)]
struct Row {
    workload: &'static str,
    row: &'static str,
    subscribers: usize,
    publishers: usize,
    rate: f64,
    size: usize,
    tls: bool,
    one_at_a_time: bool,
    runs: u32,
    deliveries_per_second: f64,
    delivered: u64,
    expected: u64,
    latency_us: LatencyMicros,
    last_recipient_us: LastRecipientMicros,
    /// How often the slow reader was cut off.
    slow_reader_cut_off: u64,
    /// What the 99th percentile had to stay below where the highest rate was looked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    p99_bound_us: Option<f64>,
    /// The lowest rate that was seen to be too high.
    #[serde(skip_serializing_if = "Option::is_none")]
    too_high_rate: Option<f64>,
}

/// All runs of one service.
struct Contender {
    service: Service,
    outcomes: Option<Outcome>,
}

impl Contender {
    fn add(&mut self, outcome: Outcome) -> Result<()> {
        let Some(all) = &mut self.outcomes else {
            self.outcomes = Some(outcome);
            return Ok(());
        };
        all.sent += outcome.sent;
        all.delivered += outcome.delivered;
        all.expected += outcome.expected;
        all.seconds += outcome.seconds;
        all.cut_off += outcome.cut_off;
        let added = all.latency.add(&outcome.latency);
        added.context("the histograms have the same bounds")?;
        let added = all.last_recipient.add(&outcome.last_recipient);
        added.context("the histograms have the same bounds")
    }

    fn name(&self) -> String {
        let tls = if self.service.is_encrypted() {
            ", TLS"
        } else {
            ""
        };
        format!("{}{tls}", self.service.name())
    }
}

/// Runs the workload; false when something was not delivered.
pub(crate) fn run(args: &ChatArgs) -> Result<bool> {
    raise_descriptor_limit();
    let plan = args.plan()?;
    let progress = Progress::new(args.json);
    let mut stage = Stage::new(None)?;
    let (sessions, mut contenders) = start_services(&mut stage, args)?;
    let mut saved = Saved::begin(&args.save, "chat")?;
    let ok = if let Some(bound) = args.find {
        let search = find::Search {
            args,
            bound,
            plan,
            progress: &progress,
        };
        search.run(&mut stage, &mut contenders, &mut saved)?
    } else {
        for run in 1..=args.runs {
            for contender in &mut contenders {
                progress.say(&format!("{}: run {run} of {}", contender.name(), args.runs));
                let mut load = gather(&mut stage, &contender.service, plan)?;
                let outcome = load.run(&mut || look_around(&mut stage))?;
                contender.add(outcome)?;
            }
        }
        conclude(args, plan, &contenders, &mut saved)?
    };
    saved.end(&progress);
    for session in sessions {
        session.end(&mut stage)?;
    }
    Ok(ok)
}

/// Servers of Columba are started here, those of others run already.
fn start_services(stage: &mut Stage, args: &ChatArgs) -> Result<(Vec<Session>, Vec<Contender>)> {
    let mut sessions = Vec::new();
    let mut services = Vec::new();
    let share = stage.make_folder("share")?;
    for plaintext in args.modes() {
        let options = ServerOptions {
            share: &share,
            congestion: None,
            plaintext,
            cipher: None,
        };
        let mut more = Vec::new();
        if let Some(folder) = &args.server_histograms {
            let name = if plaintext { "plaintext" } else { "tls" };
            more = crate::session::arguments(["--histograms"]);
            more.push(std::path::absolute(folder.join(name))?.into());
        }
        let session = Session::start_with(stage, options, LOOPBACK, more)?;
        services.push(session.chat_service()?);
        sessions.push(session);
    }
    for (address, make) in [
        (&args.redis, Service::Redis as fn(_) -> _),
        (&args.nats, Service::Nats as fn(_) -> _),
    ] {
        if let Some(address) = address {
            services.push(make(resolve(address)?));
        }
    }
    let contender = |service| Contender {
        service,
        outcomes: None,
    };
    Ok((sessions, services.into_iter().map(contender).collect()))
}

/// The first address of `HOST:PORT`.
pub(crate) fn resolve(address: &str) -> Result<std::net::SocketAddr> {
    let context = || format!("{address:?} is no HOST:PORT that can be reached");
    let mut found = address.to_socket_addrs().with_context(context)?;
    found.next().with_context(context)
}

/// Hears signals and the ends of processes.
pub(crate) fn look_around(stage: &mut Stage) -> Result<()> {
    while let Some(heard) = stage.next(Instant::now())? {
        if let Heard::Closed { from } = heard {
            let process = stage.process(from);
            anyhow::bail!("the {} ended{}", process.name(), process.last_words());
        }
    }
    Ok(())
}

fn gather(stage: &mut Stage, service: &Service, plan: Plan) -> Result<Load> {
    Load::gather(service, None, plan, &mut || look_around(stage))
}

fn conclude(
    args: &ChatArgs,
    plan: Plan,
    contenders: &[Contender],
    saved: &mut Saved,
) -> Result<bool> {
    let mut ok = true;
    let mut shown = Vec::new();
    for contender in contenders {
        let outcome = contender.outcomes.as_ref().context("there were no runs")?;
        ok &= outcome.delivered == outcome.expected;
        let row = row_of(args, plan, &contender.service, outcome);
        saved.show(&row, args.json, || describe(&row))?;
        shown.push((contender.name(), &outcome.latency));
        if let Some(folder) = &args.histograms {
            let name = contender.name().replace(", ", "-").to_lowercase();
            write_histograms(folder, &name, outcome)?;
        }
    }
    for path in &args.charts {
        chart(plan, &shown).save(path)?;
    }
    Ok(ok)
}

fn row_of(args: &ChatArgs, plan: Plan, service: &Service, outcome: &Outcome) -> Row {
    let last = LatencyMicros::of(&outcome.last_recipient);
    Row {
        workload: "chat",
        row: service.name(),
        subscribers: plan.subscribers,
        publishers: plan.publishers,
        rate: plan.rate,
        size: plan.size,
        tls: service.is_encrypted(),
        one_at_a_time: plan.one_at_a_time,
        runs: args.runs,
        deliveries_per_second: rate(outcome.delivered, outcome.seconds).round(),
        delivered: outcome.delivered,
        expected: outcome.expected,
        latency_us: LatencyMicros::of(&outcome.latency),
        last_recipient_us: LastRecipientMicros {
            p50: last.p50,
            p99: last.p99,
        },
        slow_reader_cut_off: outcome.cut_off,
        p99_bound_us: None,
        too_high_rate: None,
    }
}

fn describe(row: &Row) -> String {
    let tls = if row.tls { "TLS" } else { "plaintext" };
    let found = row.too_high_rate.map_or_else(String::new, |rate| {
        format!("; too much at {rate:.0} messages/s")
    });
    format!(
        "{}, {tls}, {} to {}, {} messages/s of {} bytes{}: {:.0} deliveries/s, {} of {}; \
         latency p50 {} µs, p99 {} µs, p99.9 {} µs, max {} µs; last recipient p50 {} µs, p99 {} µs; \
         the slow reader was cut off {} times{found}",
        row.row,
        row.publishers,
        row.subscribers,
        row.rate,
        row.size,
        if row.one_at_a_time {
            ", one at a time"
        } else {
            ""
        },
        row.deliveries_per_second,
        row.delivered,
        row.expected,
        row.latency_us.p50,
        row.latency_us.p99,
        row.latency_us.p999,
        row.latency_us.max,
        row.last_recipient_us.p50,
        row.last_recipient_us.p99,
        row.slow_reader_cut_off,
    )
}

/// `NAME.hlog` and `NAME-chat_latency.hgrm`. One interval with everything: what is compared are whole runs.
pub(crate) fn write_histograms(folder: &Path, name: &str, outcome: &Outcome) -> Result<()> {
    let start = columba_core::units::Timestamp::ZERO;
    let mut recorder = Recorder::new(["chat_latency", "chat_last_recipient"])?;
    let context = || format!("cannot write histograms to {}", folder.display());
    recorder
        .log_into(folder, name, start)
        .with_context(context)?;
    for (index, histogram) in [&outcome.latency, &outcome.last_recipient]
        .into_iter()
        .enumerate()
    {
        for step in histogram.iter_recorded() {
            let value = std::time::Duration::from_nanos(step.value_iterated_to());
            recorder.record_n(index, value, step.count_at_value());
        }
    }
    let length = std::time::Duration::from_secs_f64(outcome.seconds);
    recorder
        .write_now(start + length, true)
        .with_context(context)
}

fn chart<'h>(plan: Plan, shown: &'h [(String, &'h Histogram<u64>)]) -> PercentileChart<'h> {
    PercentileChart {
        title: "Chat: from the moment a message was due to each recipient".to_owned(),
        note: format!(
            "{} subscribers, {} messages/s of {} bytes from {} publishers, one slow reader",
            plan.subscribers, plan.rate, plan.size, plan.publishers
        ),
        distributions: shown
            .iter()
            .map(|(name, nanos)| Distribution { name, nanos })
            .collect(),
    }
}
