//! Playing one scenario with real processes.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::table::{BASE, Check, Play, Scenario};
use super::{Row, ScenariosArgs};
use crate::content;
use crate::download::{Order, Told};
use crate::path::erasure_bound_mbit;
use crate::processes::{Heard, ProcessId};
use crate::progress::Progress;
use crate::session::{STALL_LIMIT, ServerOptions, Session, arguments};
use crate::stage::{PATIENCE, Stage};

const NAME: &str = "file.bin";
/// [`BASE`]'s rate.
const BASE_MBIT: f64 = 10.0;
/// Bytes that a packet carries on average as long as datagrams of 1472 bytes pass.
const LARGE_PACKET_BYTES: u64 = 1300;
/// Share of a file after which a process is killed.
const HALF: f64 = 0.5;
/// DATA packets of this size and more bring the rest of a file after a process was killed: a successor that fetched all
/// of it again would need more of them.
const LEAST_PAYLOAD_BYTES: u64 = 1100;
/// Share of a file that a successor may fetch: half of it was there, less what was not verified yet.
const REST: f64 = 0.75;
/// How often a server is asked whether it has noticed that a client is gone.
const ASK_EVERY: Duration = Duration::from_millis(100);

/// The impairments as arguments: the last value of each option counts.
pub(super) fn impairments(network: &str, seed: u64) -> Vec<OsString> {
    let mut words: Vec<&str> = Vec::new();
    for pair in BASE
        .split_whitespace()
        .chain(network.split_whitespace())
        .collect::<Vec<_>>()
        .chunks(2)
    {
        if let Some(at) = words.iter().position(|word| *word == pair[0]) {
            words.drain(at..at + 2);
        }
        words.extend(pair);
    }
    let seed = seed.to_string();
    words.extend(["--seed", &seed]);
    arguments(words)
}

/// What is the same for all networks of a scenario.
struct Player<'a> {
    scenario: &'a Scenario,
    args: &'a ScenariosArgs,
    progress: &'a Progress,
}

/// A server on its network.
struct Scene {
    stage: Stage,
    session: Session,
    source: PathBuf,
}

/// Plays it over all its networks.
pub(super) fn play(
    scenario: &'static Scenario,
    args: &ScenariosArgs,
    progress: &Progress,
) -> Result<Row> {
    let player = Player {
        scenario,
        args,
        progress,
    };
    let mut row = Row::new(scenario);
    for network in scenario.networks {
        let context = || format!("scenario {} ({network})", scenario.name);
        player.over(network, &mut row).with_context(context)?;
    }
    row.ok = row.ok && row.seconds <= scenario.deadline_seconds && holds(scenario.check, &row);
    Ok(row)
}

/// Whether the special check of a scenario holds.
fn holds(check: Check, row: &Row) -> bool {
    match check {
        Check::Nothing => true,
        Check::LargePackets => {
            let first_time = row.data_packets - row.retransmitted_packets;
            row.bytes * u64::from(row.runs) >= first_time * LARGE_PACKET_BYTES
        }
        Check::Goodput(share) => {
            row.goodput_mbit >= share * erasure_bound_mbit(BASE_MBIT, row.loss_down)
        }
    }
}

impl Player<'_> {
    fn over(&self, network: &str, row: &mut Row) -> Result<()> {
        let mut stage = Stage::new(None)?;
        let share = stage.make_folder("share")?;
        let source = share.join(NAME);
        content::write_noise(&source, self.scenario.bytes, self.args.seed)?;
        let session = self.start(&mut stage, &share, network)?;
        let mut scene = Scene {
            stage,
            session,
            source,
        };
        match self.scenario.play {
            Play::Download => {
                for run in 0..self.scenario.runs {
                    self.download(&mut scene, run, row)?;
                }
            }
            Play::ClientVanishes => self.lose_client(&mut scene, row)?,
            Play::ServerVanishes => self.lose_server(&mut scene, &share, network, row)?,
        }
        let Scene {
            mut stage, session, ..
        } = scene;
        let counters = session.transfer_counters(&mut stage)?;
        let Some(path) = session.end(&mut stage)? else {
            bail!("the network told nothing of itself");
        };
        row.data_packets += counters.data_packets;
        row.retransmitted_packets += counters.retransmitted_packets;
        (row.loss_up, row.loss_down) = (path.up.loss_rate, path.down.loss_rate);
        Ok(())
    }

    fn start(&self, stage: &mut Stage, share: &Path, network: &str) -> Result<Session> {
        let options = ServerOptions {
            share,
            congestion: None,
            plaintext: self.args.plaintext,
            cipher: None,
        };
        let mut session = Session::start(stage, options)?;
        let mut list = impairments(network, self.args.seed);
        if !self.scenario.timeline.is_empty() {
            let file = stage.path("timeline.toml");
            std::fs::write(&file, self.scenario.timeline).context("cannot write the timeline")?;
            list.extend(["--scenario".into(), file.into()]);
        }
        session.impair(stage, list)?;
        Ok(session)
    }

    fn order(&self, scene: &Scene) -> Result<Order> {
        let folder = scene.stage.make_folder("downloads")?;
        let max_datagram = self.args.max_datagram;
        scene
            .session
            .order(&scene.stage, [NAME], Some(folder), max_datagram)
    }

    /// Downloads the file and compares it.
    fn download(&self, scene: &mut Scene, run: u32, row: &mut Row) -> Result<u64> {
        let order = self.order(scene)?;
        let start = Instant::now();
        let stage = &mut scene.stage;
        let (file, _) = scene.session.download_file(stage, &order, self.progress)?;
        row.add_run(start.elapsed().as_secs_f64(), file.seconds);
        let identical = content::hash_of(&scene.source)? == content::hash_of(&file.target)?;
        row.ok = row.ok && identical && file.bytes == self.scenario.bytes;
        // The next run is to begin anew.
        std::fs::remove_file(&file.target)
            .with_context(|| format!("cannot remove the download of run {run}"))?;
        Ok(file.packets)
    }

    /// Starts a download and returns when half of it is there.
    fn half_a_download(&self, scene: &mut Scene) -> Result<ProcessId> {
        let order = self.order(scene)?;
        let client = scene.session.start_download(&mut scene.stage, &order)?;
        loop {
            let Some(heard) = scene.stage.next(Instant::now() + STALL_LIMIT)? else {
                bail!("the download stands still");
            };
            match heard {
                Heard::Line { from, text, .. } if from == client => {
                    if let Ok(Told::Progress {
                        done_bytes,
                        total_bytes,
                        ..
                    }) = serde_json::from_str(&text)
                        && done_bytes as f64 >= HALF * total_bytes as f64
                        && total_bytes > 0
                    {
                        return Ok(client);
                    }
                }
                Heard::Closed { from } if from == client => bail!("it was too fast to be killed"),
                Heard::Line { .. } | Heard::Closed { .. } | Heard::Signal(_) => {}
            }
        }
    }

    /// Goes on with a download: it must not fetch again what is on disk.
    fn go_on(&self, scene: &mut Scene, start: Instant, row: &mut Row) -> Result<()> {
        let packets = self.download(scene, 0, row)?;
        row.seconds = start.elapsed().as_secs_f64();
        let most = REST * self.scenario.bytes as f64 / LEAST_PAYLOAD_BYTES as f64;
        row.ok = row.ok && packets as f64 <= most;
        Ok(())
    }

    fn lose_client(&self, scene: &mut Scene, row: &mut Row) -> Result<()> {
        let start = Instant::now();
        let client = self.half_a_download(scene)?;
        scene.stage.process(client).kill();
        // The server has to notice within its idle limit.
        let idle = columba_core::limits::IDLE_TIMEOUT;
        let noticed = Instant::now() + idle + PATIENCE;
        loop {
            let report = scene.session.ask(&mut scene.stage, &["stats", "--json"])?;
            let left = report.first().map(|report| &report["transfers"]["streams"]);
            if left.is_some_and(|streams| *streams == 0) {
                break;
            }
            ensure!(Instant::now() < noticed, "the server keeps a dead client");
            std::thread::sleep(ASK_EVERY);
        }
        self.go_on(scene, start, row)
    }

    fn lose_server(
        &self,
        scene: &mut Scene,
        share: &Path,
        network: &str,
        row: &mut Row,
    ) -> Result<()> {
        let start = Instant::now();
        let client = self.half_a_download(scene)?;
        scene.session.kill_server(&mut scene.stage);
        let limit = columba_core::limits::IDLE_TIMEOUT + PATIENCE;
        let status = scene.stage.process(client).wait(limit)?;
        ensure!(!status.success(), "a download without a server succeeded");
        scene.session = self.start(&mut scene.stage, share, network)?;
        self.go_on(scene, start, row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_on_an_impairment_counts() {
        let expected = arguments([
            "--rate", "10mbit", "--queue", "37500", "--loss", "1%", "--delay", "300ms", "--seed",
            "7",
        ]);
        assert_eq!(impairments("--loss 1% --delay 300ms", 7), expected);
    }
}
