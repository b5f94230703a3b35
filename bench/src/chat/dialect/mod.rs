//! What chat services speak, as far as a load generator needs it: bytes in and out, no I/O.

mod columba;
mod inbox;
mod nats;
mod redis;

use anyhow::Result;

pub(crate) use columba::Columba;
pub(crate) use nats::Nats;
pub(crate) use redis::Redis;

/// Where everything is published.
const TOPIC: &str = "columba-bench";

/// One member's side of a conversation.
pub(crate) trait Dialect {
    /// What the member says first.
    ///
    /// # Errors
    /// What is said cannot be expressed.
    fn greet(&mut self, out: &mut Vec<u8>) -> Result<()>;

    /// Sends a text to all who subscribe.
    ///
    /// # Errors
    /// The text cannot be expressed.
    fn publish(&mut self, text: &str, out: &mut Vec<u8>) -> Result<()>;

    /// Where received bytes go.
    fn inbox(&mut self) -> &mut Vec<u8>;

    /// What they say, one thing after the other; `None` when more bytes are needed.
    ///
    /// # Errors
    /// The service refused something, or said what is not understood.
    fn next(&mut self) -> Result<Option<Heard<'_>>>;
}

/// What a service said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard<'a> {
    /// The member is in: it gets all that is published from now on.
    Ready,
    /// A published text.
    Text(&'a [u8]),
    /// A question: these bytes answer it.
    Answer(Vec<u8>),
    /// Nothing of interest.
    Other,
}
