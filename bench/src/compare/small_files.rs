//! Ten thousand small files: one association here, one QUIC stream opened per file and one after the other there, and the
//! programs people would use.

use std::time::SystemTime;

use anyhow::Result;

use crate::bulk::{self, Sink, make_files, memory_folder};
use crate::columba::settle;
use crate::content;
use crate::first_and_again::FirstAndAgain;
use crate::measured::{Row, Subject};
use crate::progress::Progress;
use crate::session::ServerOptions;
use crate::stage::Stage;
use crate::transports::Kind;

use super::plan::{Entry, Plan};
use super::subject::{Inputs, Subjects};
use super::tools;

/// Of each file.
pub(super) const FILE_BYTES: u64 = 4096;
/// What others send from; its length only has to suffice for one file.
const SOURCE_BYTES: u64 = 1 << 20;
const PAYLOAD_LIMIT: u16 = 1472;

/// Measures them, `runs` times each after one that does not count.
pub(super) fn rows(plan: &Plan, files: u32, runs: u32, progress: &Progress) -> Result<Vec<Row>> {
    let entries: Vec<Entry> = [Kind::Quinn, Kind::S2nQuic, Kind::Tcp]
        .into_iter()
        .filter(|kind| plan.has(Some(*kind)))
        .map(|kind| {
            let limit = if kind.has_datagrams() {
                PAYLOAD_LIMIT
            } else {
                0
            };
            Entry::other(kind, limit)
        })
        .collect();
    // Copies by programs go into the stage's folder, too.
    let room = u64::from(files) * FILE_BYTES * 3 + SOURCE_BYTES;
    let mut stage = Stage::new(memory_folder(room, Sink::Memory)?)?;
    let share = stage.make_folder("share")?;
    progress.say("making the small files");
    make_files(&share.join("small"), files.into(), FILE_BYTES)?;
    let source = stage.path("source");
    content::write_noise(&source, SOURCE_BYTES, 1)?;
    let inputs = Inputs {
        workload: "small-files",
        share: share.clone(),
        names: &["small"],
        source,
        bytes_each: FILE_BYTES,
        files,
        hash: None,
    };
    let mut subjects = Subjects::start(&mut stage, &inputs, &entries)?;
    settle(SystemTime::now(), &mut stage)?;
    let mut tools = tools::Tools::find(&mut stage, &share.join("small"), files, progress)?;
    let mut ours = Ours::new(&inputs);
    let total = u64::from(runs + 1) * entries.len() as u64;
    for round in 0..=runs {
        if plan.has(None) {
            ours.run(&mut stage, round > 0)?;
        }
        for (index, entry) in entries.iter().enumerate() {
            let done = u64::from(round) * entries.len() as u64 + index as u64;
            let what = format!("{}: {files} files (round {round})", entry.row());
            progress.step(done, total, &what);
            subjects.run(&mut stage, index, round > 0)?;
        }
        tools.run(&mut stage, round > 0)?;
    }
    let mut rows = if plan.has(None) {
        ours.into_rows()?
    } else {
        Vec::new()
    };
    rows.append(&mut subjects.finish(&mut stage)?);
    rows.append(&mut tools.finish()?);
    for row in &mut rows {
        if row.subject.row == "quinn" || row.subject.row == "s2n-quic" {
            row.settings += "; one stream opened per file, one after the other";
        }
    }
    Ok(rows)
}

/// Columba, each time with a server that has sent none of the files.
struct Ours<'i> {
    inputs: &'i Inputs<'i>,
    downloads: FirstAndAgain,
}

impl<'i> Ours<'i> {
    fn new(inputs: &'i Inputs<'i>) -> Self {
        Self {
            inputs,
            downloads: FirstAndAgain::default(),
        }
    }

    fn run(&mut self, stage: &mut Stage, counts: bool) -> Result<()> {
        let server = ServerOptions {
            share: &self.inputs.share,
            congestion: None,
            plaintext: false,
            cipher: None,
        };
        let wanted = self.inputs.wanted(PAYLOAD_LIMIT);
        let quiet = Progress::new(true);
        self.downloads.run(stage, server, &wanted, &quiet, counts)
    }

    fn into_rows(self) -> Result<Vec<Row>> {
        let subject = Subject {
            workload: self.inputs.workload.to_owned(),
            row: "columba".to_owned(),
            payload_limit: PAYLOAD_LIMIT,
            encrypted: true,
            sink: "memory".to_owned(),
            files: self.inputs.files.into(),
            bytes: self.inputs.total(),
            clients: 1,
            parallel: 1,
            sent_before: None,
        };
        self.downloads.into_rows(&subject, &bulk::settings(None))
    }
}
