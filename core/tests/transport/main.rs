//! Endpoint and clients in virtual time, over the impairment engine. Same seed, same run.
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::print_stdout,
    reason = "the numbers of tests are small"
)]

#![expect(
    clippy::cast_possible_truncation,
    reason = "sizes and counts of tests are small"
)]
#![expect(
    clippy::print_stdout,
    reason = "helpers of tests say what they measured; shown when a test fails"
)]

mod allocations;
mod downloads;
mod endings;
mod files;
mod goodput;
mod monitor;
mod scenarios;
mod scenarios_bounds;
mod scenarios_paths;
mod scenarios_peers;
mod simulation;
mod violations;
mod world;
