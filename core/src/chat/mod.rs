//! Rules of the chat that both sides share: what a user name may be, what a message may hold, what a typed line
//! means, and how text from others is made harmless before a terminal shows it.

mod command;
mod name;
mod text;

pub use command::{COMMANDS, CommandError, CommandHelp, Input, help, parse_line};
pub use name::{NameError, NameKey, check_name};
pub use text::{TextError, check_text, printable};
