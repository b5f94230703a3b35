//! The subjects of a comparison: their servers run all the time, their clients one after the other.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use columba_core::protection::Cipher;

use crate::bulk;
use crate::columba::{Columba, Expected, Wanted};
use crate::machine::CpuTimes;
use crate::measured::{Row, Run, Subject};
use crate::processes::{Heard, Launch, ProcessId};
use crate::progress::Progress;
use crate::roles::{Role, USAGE_QUESTION, Usage};
use crate::session::{STALL_LIMIT, ServerOptions, TransferCounters, arguments};
use crate::stage::{PATIENCE, Stage};
use crate::transports::role::Outcome;
use crate::transports::{Kind, Ready, Spec};

use super::plan::Entry;

/// tokio-kcp needs seconds for a hundredth of the bytes that take others one.
const SLOW_SHARE: u64 = 16;

/// What all of them bring.
pub(super) struct Inputs<'a> {
    pub(super) workload: &'static str,
    /// Folder that Columba shares, and what its client asks for.
    pub(super) share: PathBuf,
    pub(super) names: &'a [&'a str],
    /// The file that others send from.
    pub(super) source: PathBuf,
    pub(super) bytes_each: u64,
    pub(super) files: u32,
    pub(super) hash: Option<String>,
}

impl Inputs<'_> {
    pub(super) fn total(&self) -> u64 {
        self.bytes_each * u64::from(self.files)
    }

    /// What a client of Columba fetches, into memory.
    pub(super) fn wanted(&self, max_datagram: u16) -> Wanted<'_> {
        Wanted {
            names: self.names,
            clients: 1,
            max_datagram,
            folder: None,
            expected: Expected {
                bytes: self.total(),
                files: self.files.into(),
                hash: self.hash.clone(),
            },
        }
    }
}

/// All of them.
pub(super) struct Subjects {
    list: Vec<One>,
}

/// One: its server, what it did so far.
struct One {
    means: Means,
    subject: Subject,
    settings: String,
    runs: Vec<Run>,
}

enum Means {
    Columba {
        columba: Box<Columba>,
        /// Counters after the run that does not count.
        before: Option<TransferCounters>,
    },
    Other {
        server: ProcessId,
        spec: Spec,
    },
}

impl Subjects {
    /// Starts all servers.
    pub(super) fn start(stage: &mut Stage, inputs: &Inputs<'_>, entries: &[Entry]) -> Result<Self> {
        let mut list = Vec::new();
        for entry in entries {
            let (means, settings, bytes) = match entry.kind {
                None => start_columba(stage, inputs, entry)?,
                Some(kind) => start_other(stage, inputs, entry, kind)?,
            };
            list.push(One {
                means,
                settings,
                subject: Subject {
                    workload: inputs.workload.to_owned(),
                    row: entry.row().to_owned(),
                    payload_limit: entry.payload_limit,
                    encrypted: entry.encrypted,
                    sink: "memory".to_owned(),
                    files: inputs.files.into(),
                    bytes,
                    clients: 1,
                    parallel: 1,
                    sent_before: None,
                },
                runs: Vec::new(),
            });
        }
        Ok(Self { list })
    }

    /// Lets one of them run once.
    pub(super) fn run(&mut self, stage: &mut Stage, index: usize, counts: bool) -> Result<()> {
        let one = &mut self.list[index];
        let run = match &mut one.means {
            Means::Columba { columba, before } => {
                let run = columba.run(stage, &Progress::new(true));
                if before.is_none() {
                    *before = Some(columba.counters(stage)?);
                }
                run
            }
            Means::Other { server, spec } => run_other(stage, *server, spec),
        };
        let run =
            run.with_context(|| format!("{} ≤{}", one.subject.row, one.subject.payload_limit))?;
        if counts {
            one.runs.push(run);
        }
        Ok(())
    }

    /// Ends all servers; their rows.
    pub(super) fn finish(self, stage: &mut Stage) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        for mut one in self.list {
            match one.means {
                Means::Columba { columba, before } => {
                    let after = columba.counters(stage)?;
                    let before = before.map_or(0, |counters| counters.retransmitted_packets);
                    let sent_again = after.retransmitted_packets.saturating_sub(before);
                    let count = one.runs.len().max(1) as u64;
                    for run in &mut one.runs {
                        run.retransmitted = sent_again / count;
                    }
                    columba.end(stage)?;
                }
                Means::Other { server, .. } => stage.process(server).terminate(),
            }
            rows.push(Row::of(one.subject, one.settings, &one.runs)?);
        }
        Ok(rows)
    }
}

fn start_columba(
    stage: &mut Stage,
    inputs: &Inputs<'_>,
    entry: &Entry,
) -> Result<(Means, String, u64)> {
    let server = ServerOptions {
        share: &inputs.share,
        congestion: None,
        plaintext: !entry.encrypted,
        cipher: entry.cipher,
    };
    let wanted = inputs.wanted(entry.payload_limit);
    let means = Means::Columba {
        columba: Box::new(Columba::start(stage, server, &wanted)?),
        before: None,
    };
    let mut settings = bulk::settings(None);
    if entry.encrypted {
        settings += ", ";
        settings += entry.cipher.unwrap_or_else(default_cipher);
    }
    Ok((means, settings, inputs.total()))
}

/// What server and client agree on where both are this machine.
fn default_cipher() -> &'static str {
    if Cipher::aegis_is_quick() {
        "aegis-128l"
    } else {
        "aes-128-gcm"
    }
}

fn start_other(
    stage: &mut Stage,
    inputs: &Inputs<'_>,
    entry: &Entry,
    kind: Kind,
) -> Result<(Means, String, u64)> {
    let transport = kind.transport().context("this build lacks the row")?;
    let mut spec = Spec::new(
        kind,
        entry.payload_limit,
        inputs.source.clone(),
        inputs.bytes_each,
    );
    spec.files = inputs.files;
    let mut settings = transport.settings(&spec);
    if kind == Kind::TokioKcp && spec.bytes >= 1 << 24 {
        spec.bytes /= SLOW_SHARE;
        settings += &format!("; only 1/{SLOW_SHARE} of the bytes, as it is slow");
    }
    let (server, ready) = stage.start_serving(
        Role::Transport,
        entry.row(),
        arguments([serde_json::to_string(&spec)?]),
    )?;
    spec.server = Some(serde_json::from_value::<Ready>(ready)?);
    let bytes = spec.bytes * u64::from(spec.files);
    Ok((Means::Other { server, spec }, settings, bytes))
}

fn usage_of(stage: &mut Stage, server: ProcessId) -> Result<Usage> {
    stage.process(server).say(USAGE_QUESTION)?;
    let answer = stage.next_json_of(server, "what it used")?;
    Ok(serde_json::from_value(answer)?)
}

fn run_other(stage: &mut Stage, server: ProcessId, spec: &Spec) -> Result<Run> {
    let before = usage_of(stage, server)?;
    let times = CpuTimes::now();
    let client = stage.start(&Launch {
        role: Role::Transport,
        name: "fetching client",
        arguments: arguments([serde_json::to_string(spec)?]),
    })?;
    let outcome = outcome_of(stage, client)?;
    let steal = CpuTimes::now().steal_since(&times);
    let after = usage_of(stage, server)?;
    Ok(Run {
        bytes: outcome.bytes,
        files: spec.files.into(),
        seconds: outcome.seconds,
        server: Usage {
            cpu_seconds: after.cpu_seconds - before.cpu_seconds,
            allocations: after.allocations - before.allocations,
            peak_bytes: after.peak_bytes,
        },
        client: outcome.usage,
        packets: 0,
        retransmitted: 0,
        steal,
    })
}

fn outcome_of(stage: &mut Stage, client: ProcessId) -> Result<Outcome> {
    let deadline = Instant::now() + STALL_LIMIT;
    let mut outcome = None;
    loop {
        match stage.next(deadline)? {
            Some(Heard::Line { from, text, .. }) if from == client => {
                outcome =
                    Some(serde_json::from_str(&text).with_context(|| format!("it said {text:?}"))?);
            }
            Some(Heard::Closed { from }) if from == client => break,
            Some(_) => {}
            None => bail!(
                "nothing from it for {STALL_LIMIT:?}{}",
                stage.process(client).last_words()
            ),
        }
    }
    stage.process(client).expect_success(PATIENCE)?;
    outcome.context("it told of nothing")
}
