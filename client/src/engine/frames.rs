//! The frames that this client sends.

use columba_core::control::{Frame, Heard, Hello, Open, PROTOCOL_VERSION, Purpose, features_here};

use super::message::{Command, EngineConfig};
use super::transfer::Asked;

/// Who we are, and what we heard last when we come back.
pub(super) fn hello_frame(config: &EngineConfig, returns: Option<Heard>) -> Frame<'_> {
    Frame::Hello(Hello {
        version: PROTOCOL_VERSION,
        features: features_here(),
        purpose: match config.name {
            Some(_) => Purpose::Chat,
            None => Purpose::Headless,
        },
        name: config.name.as_deref().unwrap_or_default(),
        password: &config.password,
        software: concat!("columba/", env!("CARGO_PKG_VERSION")),
        returns: returns.filter(|_| config.name.is_some()),
    })
}

/// Asks for an association.
pub(super) fn open_frame(config: &EngineConfig) -> Frame<'static> {
    Frame::Open(Open {
        max_datagram: config.transfer.max_datagram,
        policy: config.transfer.policy,
        rate_limit: config.transfer.rate_limit,
    })
}

/// The frame of a command that is one frame.
pub(super) fn simple_frame(command: &Command, request: u32) -> Option<Frame<'_>> {
    Some(match command {
        Command::Say(text) => Frame::Say { text },
        Command::Whisper { to, text } => Frame::Whisper { to, text },
        Command::Users => Frame::Users,
        Command::Files { prefix } => Frame::Files { request, prefix },
        Command::Stats => Frame::Stats,
        Command::Get { .. }
        | Command::Pause { .. }
        | Command::Resume { .. }
        | Command::Cancel { .. }
        | Command::ConnectNow
        | Command::Finish
        | Command::Stop => return None,
    })
}

/// Asks for files.
pub(super) fn get_frame(asked: &Asked) -> Frame<'_> {
    Frame::Get {
        request: asked.0,
        names: asked.1.iter().map(String::as_str).collect(),
    }
}
