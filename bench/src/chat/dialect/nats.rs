//! NATS: publish and subscribe in its text protocol, both on one connection.

use anyhow::{Context, Result, bail};

use super::inbox::Inbox;
use super::{Dialect, Heard, TOPIC};

/// A member.
#[derive(Debug, Default)]
pub(crate) struct Nats {
    inbox: Inbox,
}

impl Dialect for Nats {
    fn greet(&mut self, out: &mut Vec<u8>) -> Result<()> {
        let greeting = format!(
            "CONNECT {{\"verbose\":false,\"pedantic\":false,\"name\":\"columba-bench\",\"lang\":\"rust\",\
             \"version\":\"{}\",\"protocol\":1,\"echo\":true}}\r\nSUB {TOPIC} 1\r\nPING\r\n",
            env!("CARGO_PKG_VERSION")
        );
        out.extend_from_slice(greeting.as_bytes());
        Ok(())
    }

    fn publish(&mut self, text: &str, out: &mut Vec<u8>) -> Result<()> {
        out.extend_from_slice(format!("PUB {TOPIC} {}\r\n{text}\r\n", text.len()).as_bytes());
        Ok(())
    }

    fn inbox(&mut self) -> &mut Vec<u8> {
        self.inbox.sink()
    }

    fn next(&mut self) -> Result<Option<Heard<'_>>> {
        let mut cursor = self.inbox.cursor();
        let Some(line) = self.inbox.line(&mut cursor)? else {
            return Ok(None);
        };
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        let heard = match verb {
            "PONG" => Heard::Ready,
            "PING" => Heard::Answer(b"PONG\r\n".to_vec()),
            "INFO" | "+OK" => Heard::Other,
            "-ERR" => bail!("NATS refuses: {rest}"),
            "MSG" => {
                let length = rest
                    .rsplit_once(' ')
                    .and_then(|(_, digits)| digits.parse().ok());
                let length = length.with_context(|| format!("NATS sent {line:?}"))?;
                let mut end = cursor;
                if self.inbox.block(&mut end, length).is_none() {
                    return Ok(None);
                }
                self.inbox.take(end);
                return Ok(self.inbox.block(&mut cursor, length).map(Heard::Text));
            }
            _ => bail!("NATS sent {line:?}, which no subscriber expects"),
        };
        self.inbox.take(cursor);
        Ok(Some(heard))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversation_is_understood_byte_by_byte() {
        let conversation =
            b"INFO {\"a\":1}\r\nPONG\r\nPING\r\nMSG columba-bench 1 7\r\nhi\r\nyou\r\n+OK\r\n";
        let mut nats = Nats::default();
        let mut heard = Vec::new();
        for byte in conversation {
            nats.inbox().push(*byte);
            while let Some(what) = nats.next().unwrap() {
                heard.push(format!("{what:?}"));
            }
        }
        let expected = [
            Heard::Other,
            Heard::Ready,
            Heard::Answer(b"PONG\r\n".to_vec()),
            Heard::Text(b"hi\r\nyou"),
            Heard::Other,
        ];
        assert_eq!(heard, expected.map(|heard| format!("{heard:?}")));
    }

    #[test]
    fn refusals_and_nonsense_are_errors() {
        for bytes in [&b"-ERR 'no'\r\n"[..], b"MSG a\r\n", b"HELLO\r\n"] {
            let mut nats = Nats::default();
            nats.inbox().extend_from_slice(bytes);
            assert!(nats.next().is_err(), "{bytes:?}");
        }
    }
}
