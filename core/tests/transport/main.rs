//! Endpoint and clients in virtual time, over the impairment engine. Same seed, same run.

mod allocations;
mod downloads;
mod endings;
mod goodput;
mod monitor;
mod scenarios;
mod scenarios_bounds;
mod scenarios_paths;
mod scenarios_peers;
mod simulation;
mod violations;
mod world;
