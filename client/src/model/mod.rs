//! What a window shows, without any window: events of the engine and a clock go in, state comes out.
//!
//! [`Model`] is the whole of it. [`Model::fold`] takes the engine's events;
//! everything a person does is a method that changes the state and may return [`Effect`]s for the
//! shell to carry out. The parts, each in a file of its own:
//!
//! - [`connection`]: offline, connecting, online, reconnecting, and why; which field an error concerns.
//! - [`people`]: who is there, which whispers are unread.
//! - [`timeline`]: what was said, bounded, in pages; unread mark; find. [`text`] finds links, names
//!   and files in a message. [`calendar`] gives days and times of day.
//! - [`input`]: the line being typed, its history, Tab completion, and what Enter means.
//! - [`files`]: the shared files, searched and sorted.
//! - [`transfers`]: downloads with state, progress, [`rate`] and cause of failure.
//! - [`network`]: series and percentiles of what the network did; [`why`]: the one sentence on speed.
//! - [`units`]: sizes, rates and times as people read them.
//! - `fold`: what each event of the engine changes; `acts`: what each act of a person does.
//!
//! Nothing here knows iced, draws, blocks or reads a clock.

mod acts;
pub mod calendar;
mod cause;
pub mod connection;
mod entry;
pub mod files;
mod fold;
pub mod input;
pub mod network;
pub mod people;
pub mod rate;
pub mod text;
pub mod timeline;
mod transfer;
pub mod transfers;
pub mod units;
pub mod why;

use std::path::PathBuf;

use self::connection::Connection;
use self::files::Files;
use self::input::Input;
use self::network::Network;
use self::people::People;
use self::timeline::Timelines;
use self::transfers::Transfers;
use crate::engine::message::Command;

/// Everything a window shows.
#[derive(Debug)]
pub struct Model {
    pub(in crate::model) connection: Connection,
    pub(in crate::model) people: People,
    pub(in crate::model) timelines: Timelines,
    pub(in crate::model) input: Input,
    pub(in crate::model) files: Files,
    pub(in crate::model) transfers: Transfers,
    pub(in crate::model) network: Network,
    /// Our own name, as the server wrote it; empty before the first Welcome.
    pub(in crate::model) name: String,
    /// Whether the window has the keyboard.
    pub(in crate::model) focused: bool,
    /// Start of the names that a typed `/files` asks for, until the answer comes.
    pub(in crate::model) asked_files: Option<String>,
}

/// What the shell has to do for the model.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Hand this to the engine.
    Send(Command),
    /// Show the list of commands.
    ShowCommands,
    /// The person wants to leave: send [`Command::Stop`]. The engine says goodbye and ends.
    Disconnect,
}

/// Something worth a desktop notification when nobody looks at the window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Somebody wrote our name.
    Mention {
        /// Who.
        from: String,
        /// The message, on one line.
        text: String,
    },
    /// Somebody whispered to us.
    Whisper {
        /// Who.
        from: String,
        /// The message, on one line.
        text: String,
    },
    /// A download is verified and in place.
    Downloaded {
        /// Its title.
        title: String,
    },
    /// A download failed.
    DownloadFailed {
        /// Its title.
        title: String,
        /// Why.
        reason: String,
    },
    /// The connection was lost and is being made anew.
    ConnectionLost {
        /// Why.
        reason: String,
    },
}

impl Model {
    /// A model that is offline. `downloads` is the folder that downloads go to unless told otherwise.
    #[must_use]
    pub fn new(downloads: PathBuf) -> Self {
        Self {
            connection: Connection::default(),
            people: People::default(),
            timelines: Timelines::default(),
            input: Input::default(),
            files: Files::default(),
            transfers: Transfers::new(downloads),
            network: Network::default(),
            name: String::new(),
            focused: true,
            asked_files: None,
        }
    }

    /// How we are connected.
    #[must_use]
    pub const fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Who is there.
    #[must_use]
    pub const fn people(&self) -> &People {
        &self.people
    }

    /// What was said.
    #[must_use]
    pub const fn timelines(&self) -> &Timelines {
        &self.timelines
    }

    /// What was said, to page and search in it.
    pub const fn timelines_mut(&mut self) -> &mut Timelines {
        &mut self.timelines
    }

    /// The line being typed.
    #[must_use]
    pub const fn input(&self) -> &Input {
        &self.input
    }

    /// The shared files.
    #[must_use]
    pub const fn files(&self) -> &Files {
        &self.files
    }

    /// The shared files, to search and sort them.
    pub const fn files_mut(&mut self) -> &mut Files {
        &mut self.files
    }

    /// The downloads.
    #[must_use]
    pub const fn transfers(&self) -> &Transfers {
        &self.transfers
    }

    /// What the network does.
    #[must_use]
    pub const fn network(&self) -> &Network {
        &self.network
    }

    /// Our own name in the chat; empty before the first Welcome.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}
