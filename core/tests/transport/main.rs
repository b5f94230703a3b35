//! Endpoint and clients in virtual time, over the impairment engine. Same seed, same run.
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "the numbers of tests are small, and their helpers say what they measured"
)]

mod allocations;
mod downloads;
mod ecn;
mod endings;
mod files;
mod goodput;
mod known_bugs;
mod monitor;
mod router;
mod scenarios;
mod scenarios_bounds;
mod scenarios_paths;
mod scenarios_peers;
mod simulation;
mod violations;
mod world;
