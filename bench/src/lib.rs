//! Workloads with real processes: a server, clients, and a bad network in between.
//!
//! Both programs start themselves again under hidden names (`roles`) and so need nothing else built. Read `stage`
//! first: it owns the temporary folder, the processes and everything they say, and ends them whatever happens.
//!
//! - `cli`: the command lines.
//! - `demo`: chat and downloads over a path that loses packets, with every hash checked.
//! - `bulk`: one large download, as fast as it goes.
//! - `sparse`: a file beyond 4 GiB.
//! - `scenarios`: bad networks one after the other; `path`: what a path lets through.
//! - `session`: a server, perhaps a bad network before it, and how clients reach them.
//! - `download`: the receiving process of all workloads: the client's engine, which tells its progress.
//! - `processes`: one child process; `os`: what the operating system has to do with it.

mod allocations;
mod bulk;
mod cli;
mod content;
mod demo;
mod download;
mod os;
mod path;
mod processes;
mod progress;
mod report;
mod roles;
mod scenarios;
mod session;
mod sparse;
mod stage;

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
