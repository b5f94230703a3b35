//! Endpoint and clients in virtual time, over the impairment engine. Same seed, same run.
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "the numbers of tests are small"
)]

mod allocations;
mod downloads;
mod endings;
mod goodput;
mod simulation;
mod violations;
mod world;
