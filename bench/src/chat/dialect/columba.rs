//! Columba's own control protocol.

use anyhow::{Result, anyhow, bail};
use columba_core::control::{
    FEATURES, Frame, FrameDecoder, Framing, Hello, PROTOCOL_VERSION, Purpose, Side,
};

use super::{Dialect, Heard};

/// A member of the chat.
#[derive(Debug)]
pub(crate) struct Columba {
    name: String,
    framing: Framing,
    decoder: FrameDecoder,
}

impl Columba {
    /// One with this name; it hears and says.
    pub(crate) fn new(name: String, encrypted: bool) -> Self {
        let framing = if encrypted {
            Framing::Tls
        } else {
            Framing::Plaintext
        };
        Self {
            name,
            framing,
            decoder: FrameDecoder::new(framing, Side::Server),
        }
    }

    fn encode(&self, frame: &Frame<'_>, out: &mut Vec<u8>) -> Result<()> {
        frame
            .encode(self.framing, out)
            .map_err(|error| anyhow!("{error}"))
    }
}

impl Dialect for Columba {
    fn greet(&mut self, out: &mut Vec<u8>) -> Result<()> {
        let hello = Frame::Hello(Hello {
            version: PROTOCOL_VERSION,
            features: FEATURES,
            purpose: Purpose::Chat,
            name: &self.name,
            password: "",
            software: concat!("columba-bench/", env!("CARGO_PKG_VERSION")),
        });
        self.encode(&hello, out)
    }

    fn publish(&mut self, text: &str, out: &mut Vec<u8>) -> Result<()> {
        self.encode(&Frame::Say { text }, out)
    }

    fn inbox(&mut self) -> &mut Vec<u8> {
        self.decoder.sink()
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "a load generator looks at messages and ignores the rest of the chat"
    )]
    fn next(&mut self) -> Result<Option<Heard<'_>>> {
        let framing = self.framing;
        let frame = match self.decoder.next_frame() {
            Ok(Some(frame)) => frame,
            Ok(None) => return Ok(None),
            Err(error) => bail!("the server sent what is no frame: {error}"),
        };
        Ok(Some(match frame {
            Frame::Message(message) => Heard::Text(message.text.as_bytes()),
            Frame::Welcome(_) => Heard::Ready,
            Frame::Ping { nonce, .. } => {
                let mut answer = Vec::new();
                let pong = Frame::Pong {
                    from: Side::Client,
                    nonce,
                };
                pong.encode(framing, &mut answer)
                    .map_err(|error| anyhow!("{error}"))?;
                Heard::Answer(answer)
            }
            Frame::Error(error) => bail!("the server refuses: {}", error.text),
            _ => Heard::Other,
        }))
    }
}
