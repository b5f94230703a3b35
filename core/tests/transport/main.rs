//! Endpoint and clients in virtual time, over the impairment engine. Same seed, same run.

mod allocations;
mod downloads;
mod endings;
mod goodput;
mod simulation;
mod violations;
mod world;
