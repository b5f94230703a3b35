//! Redis: publish and subscribe over RESP2. Who subscribes cannot publish, so there are two kinds of members.

use anyhow::{Context, Result, bail};

use super::inbox::{Cursor, Inbox};
use super::{Dialect, Heard, TOPIC};

/// A member.
#[derive(Debug, Default)]
pub(crate) struct Redis {
    subscribes: bool,
    inbox: Inbox,
}

impl Redis {
    /// One that hears what is published, or one that publishes.
    pub(crate) fn new(subscribes: bool) -> Self {
        Self {
            subscribes,
            inbox: Inbox::default(),
        }
    }
}

fn command(words: &[&str], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        out.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
    }
}

impl Dialect for Redis {
    fn greet(&mut self, out: &mut Vec<u8>) -> Result<()> {
        if self.subscribes {
            command(&["SUBSCRIBE", TOPIC], out);
        } else {
            command(&["PING"], out);
        }
        Ok(())
    }

    fn publish(&mut self, text: &str, out: &mut Vec<u8>) -> Result<()> {
        command(&["PUBLISH", TOPIC, text], out);
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
        let Some((kind, rest)) = line.split_at_checked(1) else {
            bail!("Redis sent an empty line");
        };
        match kind {
            "+" => {
                self.inbox.take(cursor);
                return Ok(Some(Heard::Ready));
            }
            ":" => {
                self.inbox.take(cursor);
                return Ok(Some(Heard::Other));
            }
            "-" => bail!("Redis refuses: {rest}"),
            "*" if rest == "3" => {}
            _ => bail!("Redis sent {line:?}, which no subscriber expects"),
        }
        let Some(kind) = word(&self.inbox, &mut cursor)? else {
            return Ok(None);
        };
        let is_message = kind == b"message";
        if word(&self.inbox, &mut cursor)?.is_none() {
            return Ok(None);
        }
        if !is_message {
            // The answer to SUBSCRIBE: a number of channels follows.
            if self.inbox.line(&mut cursor)?.is_none() {
                return Ok(None);
            }
            self.inbox.take(cursor);
            return Ok(Some(Heard::Ready));
        }
        let before = cursor;
        if word(&self.inbox, &mut cursor)?.is_none() {
            return Ok(None);
        }
        self.inbox.take(cursor);
        let mut before = before;
        Ok(word(&self.inbox, &mut before)?.map(Heard::Text))
    }
}

/// A string with its length before it.
fn word<'i>(inbox: &'i Inbox, cursor: &mut Cursor) -> Result<Option<&'i [u8]>> {
    let mut at = *cursor;
    let Some(line) = inbox.line(&mut at)? else {
        return Ok(None);
    };
    let length = line
        .strip_prefix('$')
        .and_then(|digits| digits.parse().ok());
    let length: usize = length.with_context(|| format!("Redis sent {line:?} for a string"))?;
    let block = inbox.block(&mut at, length);
    if block.is_some() {
        *cursor = at;
    }
    Ok(block)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONVERSATION: &[u8] = b"*3\r\n$9\r\nsubscribe\r\n$13\r\ncolumba-bench\r\n:1\r\n\
        *3\r\n$7\r\nmessage\r\n$13\r\ncolumba-bench\r\n$7\r\nhi\r\nyou\r\n";

    #[test]
    fn a_conversation_is_understood_byte_by_byte() {
        let mut redis = Redis::new(true);
        let mut heard = Vec::new();
        for byte in CONVERSATION {
            redis.inbox().push(*byte);
            while let Some(what) = redis.next().unwrap() {
                heard.push(format!("{what:?}"));
            }
        }
        assert_eq!(
            heard,
            ["Ready", &format!("{:?}", Heard::Text(b"hi\r\nyou"))]
        );
    }

    #[test]
    fn refusals_and_nonsense_are_errors() {
        for bytes in [&b"-NOAUTH\r\n"[..], b"\r\n", b"$4\r\n", b"*3\r\n$x\r\n"] {
            let mut redis = Redis::new(true);
            redis.inbox().extend_from_slice(bytes);
            assert!(redis.next().is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn commands_have_lengths() {
        let mut out = Vec::new();
        Redis::new(false).publish("hé", &mut out).unwrap();
        let expected = "*3\r\n$7\r\nPUBLISH\r\n$13\r\ncolumba-bench\r\n$3\r\nhé\r\n";
        assert_eq!(out, expected.as_bytes());
    }
}
