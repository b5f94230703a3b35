//! What a member of the chat costs the server while nothing happens: memory of its process, by number of members.

use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use serde::Serialize;

use crate::chat::{Crowd, Part, look_around, raise_descriptor_limit};
use crate::memory::Memory;
use crate::progress::Progress;
use crate::report;
use crate::saved::{SaveArgs, Saved};
use crate::session::{LOOPBACK, ServerOptions, Session, arguments};
use crate::stage::Stage;

/// After the last has joined, so that all announcements have been made.
const SETTLE_FOR: Duration = Duration::from_secs(3);
/// Members that have come and gone before memory is looked at first: what is made once is not a member's.
const FIRST_MEMBERS: usize = 16;
/// Descriptors that each process needs besides the members'.
const OTHER_DESCRIPTORS: u64 = 128;

/// Options of the idle workload.
#[derive(Debug, Args)]
pub(crate) struct IdleArgs {
    /// Numbers of members, separated by commas
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [1_000, 5_000, 10_000])]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    clients: Vec<u32>,
    /// No TLS; without this option both
    #[arg(long)]
    plaintext: bool,
    /// One JSON object a row on standard output
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
    tls: bool,
    bytes_per_client: u64,
    /// Of pages that belong to no file.
    anonymous_bytes_per_client: u64,
    server_bytes: u64,
}

/// Runs the workload; false when some number of members could not be had.
pub(crate) fn run(args: &IdleArgs) -> Result<bool> {
    let limit = raise_descriptor_limit();
    let progress = Progress::new(args.json);
    let mut ok = true;
    let mut saved = Saved::begin(&args.save, "idle")?;
    let modes: &[bool] = if args.plaintext {
        &[true]
    } else {
        &[false, true]
    };
    for &plaintext in modes {
        for &clients in &args.clients {
            let needed = u64::from(clients) + OTHER_DESCRIPTORS;
            if let Some(limit) = limit.filter(|limit| *limit < needed) {
                ok = false;
                report::complain(&format!(
                    "error: {clients} clients need {needed} file descriptors and this user may have {limit}: \
                     raise the hard limit (ulimit -Hn)"
                ));
                continue;
            }
            let row = measure(clients, plaintext, &progress)?;
            saved.show(&row, args.json, || describe(&row))?;
        }
    }
    saved.end(&progress);
    Ok(ok)
}

fn measure(clients: u32, plaintext: bool, progress: &Progress) -> Result<Row> {
    let mut stage = Stage::new(None)?;
    let share = stage.make_folder("share")?;
    let options = ServerOptions {
        share: &share,
        congestion: None,
        plaintext,
        cipher: None,
    };
    let room = (clients as usize + 2 * FIRST_MEMBERS).to_string();
    let session = Session::start_with(
        &mut stage,
        options,
        LOOPBACK,
        arguments(["--max-clients", &room]),
    )?;
    let server = stage.process(session.server()).id();
    let service = session.chat_service()?;
    let memory = || {
        let memory = Memory::of(server);
        memory.context("this system does not tell how much memory a process has")
    };
    {
        let mut first = Crowd::new()?;
        let joined = &mut |_| {};
        first.join(
            &service,
            Part::Subscriber,
            FIRST_MEMBERS,
            &mut || look_around(&mut stage),
            joined,
        )?;
    }
    let mut crowd = Crowd::new()?;
    settle(&mut crowd, &mut stage)?;
    let before = memory()?;
    progress.say(&format!("{clients} clients join"));
    let joined = &mut |count: usize| progress.count(count as u64, u64::from(clients));
    let look = &mut || look_around(&mut stage);
    crowd.join(&service, Part::Subscriber, clients as usize, look, joined)?;
    settle(&mut crowd, &mut stage)?;
    let after = memory()?;
    progress.clear();
    drop(crowd);
    session.end(&mut stage)?;
    let each = |before: u64, after: u64| after.saturating_sub(before) / u64::from(clients);
    Ok(Row {
        workload: "idle",
        row: "columba",
        clients,
        tls: !plaintext,
        bytes_per_client: each(before.proportional_bytes, after.proportional_bytes),
        anonymous_bytes_per_client: each(before.anonymous_bytes, after.anonymous_bytes),
        server_bytes: after.proportional_bytes,
    })
}

fn settle(crowd: &mut Crowd, stage: &mut Stage) -> Result<()> {
    let until = crowd.now() + SETTLE_FOR;
    while crowd.now() < until {
        crowd.turn(until, &mut || look_around(stage), &mut |_, _| {})?;
    }
    Ok(())
}

fn describe(row: &Row) -> String {
    let tls = if row.tls { "TLS" } else { "plaintext" };
    format!(
        "{}, {tls}, {} clients: {} bytes per client ({} of them anonymous), the server has {}",
        row.row,
        row.clients,
        row.bytes_per_client,
        row.anonymous_bytes_per_client,
        report::megabytes(row.server_bytes as f64),
    )
}
