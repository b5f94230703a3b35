//! The command line: `args` as typed, `settings` as meant, then one module a command.

pub mod args;
mod settings;

pub use settings::Settings;
