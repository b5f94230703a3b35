//! Flows of Columba: a server process behind a path, and a client process for each flow.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use columba_loss_sim::LinkStats;

use super::course::{Course, Over, Road, open};
use super::samples::Samples;
use crate::content;
use crate::download::Told;
use crate::processes::{Heard, ProcessId};
use crate::session::{ServerOptions, Session, TransferCounters};
use crate::stage::Stage;

/// The file that is downloaded; it is not meant to end.
const NAME: &str = "endless.bin";

/// A flow: when it starts, and what had arrived when.
#[derive(Debug)]
struct Flow {
    starts: Duration,
    client: Option<ProcessId>,
    samples: Samples,
}

/// A server behind a path.
pub(crate) struct Flows {
    stage: Stage,
    session: Session,
    road: Road,
    flows: Vec<Flow>,
}

/// Something to do while flows run, with the seconds since their start.
pub(crate) type Watch<'a> = &'a mut dyn FnMut(f64, &Road);

impl Flows {
    /// Starts the server, which has a file that takes longer than `lasting` to bring.
    pub(crate) fn prepare(over: Over, course: &Course, lasting: Duration) -> Result<Self> {
        // Twice as much as can pass: nobody is to come to its end.
        let megabits = 2.0 * course.rate_mbit * lasting.as_secs_f64() + 80.0;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "some gigabytes, not negative"
        )]
        let bytes = (megabits * 1e6 / 8.0) as u64;
        Self::prepare_file(over, course, bytes)
    }

    /// Starts the server, which has a file of so many bytes.
    pub(crate) fn prepare_file(over: Over, course: &Course, bytes: u64) -> Result<Self> {
        let mut stage = Stage::new(None)?;
        let share = stage.make_folder("share")?;
        content::write_sparse(&share.join(NAME), bytes, course.seed)?;
        let (road, session) = open(over, course, &mut stage, options(&share))?;
        Ok(Self {
            stage,
            session,
            road,
            flows: Vec::new(),
        })
    }

    /// The path.
    pub(crate) fn road(&self) -> &Road {
        &self.road
    }

    /// Adds a flow that starts some time after the others.
    pub(crate) fn add(&mut self, starts: Duration) {
        self.flows.push(Flow {
            starts,
            client: None,
            samples: Samples::default(),
        });
    }

    /// Runs all flows for so long after the first of them brought bytes, or until one has ended; gives what had arrived
    /// when, in seconds since the start.
    pub(crate) fn run(&mut self, lasting: Duration, watch: Watch<'_>) -> Result<Vec<Samples>> {
        const TURN: Duration = Duration::from_millis(20);
        // The control connection may need some attempts where much is lost.
        const PATIENCE: Duration = Duration::from_secs(60);
        let start = Instant::now();
        let mut ends = None;
        loop {
            let now = start.elapsed();
            self.start_due(now)?;
            watch(now.as_secs_f64(), &self.road);
            let first = self
                .flows
                .iter()
                .filter_map(|flow| flow.samples.first_bytes());
            if ends.is_none() {
                let first = first.min_by(f64::total_cmp);
                ends = first.map(|first| Duration::from_secs_f64(first) + lasting);
            }
            if now >= ends.unwrap_or(PATIENCE + lasting) {
                break;
            }
            let Some(heard) = self.stage.next(Instant::now() + TURN)? else {
                continue;
            };
            if self.hear(heard, start)? {
                break;
            }
        }
        for flow in &self.flows {
            if let Some(client) = flow.client {
                self.stage.process(client).kill();
            }
        }
        Ok(self.flows.drain(..).map(|flow| flow.samples).collect())
    }

    /// Takes note of what a client says; true when it has ended.
    fn hear(&mut self, heard: Heard, start: Instant) -> Result<bool> {
        let (from, at, text) = match heard {
            Heard::Line { from, at, text } => (from, at, text),
            Heard::Closed { from } => {
                let ours = self.flows.iter().any(|flow| flow.client == Some(from));
                return Ok(ours);
            }
            Heard::Signal(_) => return Ok(false),
        };
        let flow = self.flows.iter_mut().find(|flow| flow.client == Some(from));
        let Some(flow) = flow else { return Ok(false) };
        let seconds = at.saturating_duration_since(start).as_secs_f64();
        let told =
            serde_json::from_str(&text).with_context(|| format!("a client said {text:?}"))?;
        match told {
            Told::Progress { done_bytes, .. } => flow.samples.push(seconds, done_bytes),
            Told::File(file) => flow.samples.push(seconds, file.bytes),
            Told::Failed { file, error } => bail!("{file}: {error}"),
            Told::Done(_) => {}
        }
        Ok(false)
    }

    fn start_due(&mut self, now: Duration) -> Result<()> {
        for (index, flow) in self.flows.iter_mut().enumerate() {
            if flow.client.is_some() || flow.starts > now {
                continue;
            }
            let mut order = self.session.order(&self.stage, [NAME], None, 1472)?;
            // Each with a key of its own.
            order.state = self.stage.make_folder(&format!("user-{index}"))?;
            let (session, stage) = (&self.session, &mut self.stage);
            let start = || session.start_download(stage, &order);
            flow.client = Some(self.road.at_the_client(start)??);
        }
        Ok(())
    }

    /// The counters of the path, and then, over a path that has healed, those of the server.
    pub(crate) fn counters(&mut self) -> Result<(LinkStats, TransferCounters)> {
        let down = self.road.down();
        self.road.heal()?;
        let (session, stage) = (&self.session, &mut self.stage);
        let counters = self
            .road
            .at_the_client(|| session.transfer_counters(stage))??;
        Ok((down, counters))
    }
}

fn options(share: &Path) -> ServerOptions<'_> {
    ServerOptions {
        share,
        congestion: None,
        plaintext: false,
        cipher: None,
    }
}
