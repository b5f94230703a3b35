//! Ten thousand small files: one association here, one QUIC stream opened per file and one after the other there, and the
//! programs people would use.

use std::time::SystemTime;

use anyhow::Result;

use crate::bulk::{Sink, make_files, memory_folder};
use crate::columba::settle;
use crate::content;
use crate::measured::Row;
use crate::progress::Progress;
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
    let entries: Vec<Entry> = [
        None,
        Some(Kind::Quinn),
        Some(Kind::S2nQuic),
        Some(Kind::Tcp),
    ]
    .into_iter()
    .filter(|kind| plan.has(*kind))
    .map(|kind| Entry {
        kind,
        payload_limit: if kind.is_none_or(Kind::has_datagrams) {
            PAYLOAD_LIMIT
        } else {
            0
        },
        encrypted: kind.is_none_or(Kind::is_encrypted),
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
    let total = u64::from(runs + 1) * entries.len() as u64;
    for round in 0..=runs {
        for (index, entry) in entries.iter().enumerate() {
            let done = u64::from(round) * entries.len() as u64 + index as u64;
            let what = format!("{}: {files} files (round {round})", entry.row());
            progress.step(done, total, &what);
            subjects.run(&mut stage, index, round > 0)?;
        }
        tools.run(&mut stage, round > 0)?;
    }
    let mut rows = subjects.finish(&mut stage)?;
    rows.append(&mut tools.finish()?);
    for row in &mut rows {
        if row.subject.row == "quinn" || row.subject.row == "s2n-quic" {
            row.settings += "; one stream opened per file, one after the other";
        }
    }
    Ok(rows)
}
