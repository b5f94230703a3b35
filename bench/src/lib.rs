//! Workloads with real processes: a server, clients, and a bad network in between.
//!
//! Both programs start themselves again under hidden names (`roles`) and so need nothing else built. Read `stage`
//! first: it owns the temporary folder, the processes and everything they say, and ends them whatever happens.
//!
//! - `cli`: the command lines.
//! - `demo`: chat and downloads over a path that loses packets, with every hash checked.
//! - `bulk`: downloads over loopback, as fast as they go; `write_limit`: what the place they go to takes.
//! - `compare`: Columba beside limits and peers; `transports` has those.
//! - `measured`, `saved`, `publish`: rows, rows on disk, `docs/BENCHMARKS.md`.
//! - `columba`: Columba as something to be measured.
//! - `chat`: messages to many, and how late they come; also from Redis and NATS.
//! - `mixed`: chat while downloads run.
//! - `many`: as many associations at once.
//! - `idle`: what a member of the chat costs the server.
//! - `histogram`: interval logs as tables and charts.
//! - `sparse`: a file beyond 4 GiB.
//! - `scenarios`: bad networks one after the other; `path`: what a path lets through.
//! - `session`: a server, perhaps a bad network before it, and how clients reach them.
//! - `download`: the receiving process of all workloads: the client's engine, which tells its progress.
//! - `plot`: charts.
//! - `processes`: one child process; `memory`: what another process has; `os`: what the operating system has to do with it.

mod allocations;
mod bulk;
mod chat;
mod cli;
mod columba;
mod compare;
mod content;
mod demo;
mod download;
mod first_and_again;
mod histogram;
mod idle;
mod machine;
mod many;
mod measured;
mod memory;
mod mixed;
mod os;
mod path;
mod plot;
mod processes;
mod progress;
mod publish;
mod report;
mod roles;
mod saved;
mod scenarios;
mod session;
mod sparse;
mod stage;
mod transports;
mod write_limit;

use std::ffi::OsString;
use std::process::ExitCode;

pub use cli::{bench_main, demo_main};

/// A process's arguments, its name first.
type Arguments = Vec<OsString>;

/// What a workload ends with when it was not interrupted.
fn exit_code(ok: bool) -> ExitCode {
    if ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
