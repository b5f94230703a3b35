//! One frame's body from bytes. All numbers are big-endian; strings and lists start with a 16-bit count.

use super::limits::{MAX_STREAM_ID, SEGMENT_RANGE_BYTES};
use super::{
    ControlError, ErrorFrame, FileEntry, Frame, Grant, Heard, Hello, History, MAGIC, Message,
    OfferEntry, Open, PROTOCOL_VERSION, ParseError, Policy, Purpose, SegmentRange, Side,
    StartEntry, Welcome, Whispered, features,
};
use crate::stats::{LIMITS, PathReport};

/// The kind bytes.
pub(super) mod kind {
    pub(crate) const HELLO: u8 = 0x01;
    pub(crate) const SAY: u8 = 0x02;
    pub(crate) const WHISPER: u8 = 0x03;
    pub(crate) const USERS: u8 = 0x04;
    pub(crate) const FILES: u8 = 0x05;
    pub(crate) const STATS: u8 = 0x06;
    pub(crate) const OPEN: u8 = 0x07;
    pub(crate) const GET: u8 = 0x08;
    pub(crate) const START: u8 = 0x09;
    pub(crate) const CANCEL: u8 = 0x0a;
    pub(crate) const CLIENT_PING: u8 = 0x0b;
    pub(crate) const CLIENT_PONG: u8 = 0x0c;
    pub(crate) const LEAVE: u8 = 0x0d;
    pub(crate) const WELCOME: u8 = 0x81;
    pub(crate) const ERROR: u8 = 0x82;
    pub(crate) const MESSAGE: u8 = 0x83;
    pub(crate) const WHISPERED: u8 = 0x84;
    pub(crate) const PRESENCE: u8 = 0x85;
    pub(crate) const USER_LIST: u8 = 0x86;
    pub(crate) const FILE_LIST: u8 = 0x87;
    pub(crate) const STATS_REPORT: u8 = 0x88;
    pub(crate) const GRANT: u8 = 0x89;
    pub(crate) const OFFER: u8 = 0x8a;
    pub(crate) const ENDED: u8 = 0x8b;
    pub(crate) const SERVER_PING: u8 = 0x8c;
    pub(crate) const SERVER_PONG: u8 = 0x8d;
    pub(crate) const PATH_REPORT: u8 = 0x8e;
}

/// Refuses kinds that do not exist or that `from` does not send.
pub(super) fn judge_kind(from: Side, kind: u8) -> Result<(), ParseError> {
    let side = match kind {
        kind::HELLO..=kind::LEAVE => Side::Client,
        kind::WELCOME..=kind::PATH_REPORT => Side::Server,
        _ => return Err(ParseError::UnknownKind { kind }),
    };
    if side == from {
        Ok(())
    } else {
        Err(ParseError::WrongSide { kind })
    }
}

/// Decodes the body of a frame that `from` sent.
pub(super) fn decode(from: Side, kind: u8, body: &[u8]) -> Result<Frame<'_>, ParseError> {
    judge_kind(from, kind)?;
    let mut reader = Reader { kind, rest: body };
    let frame = match from {
        Side::Client => decode_from_client(&mut reader)?,
        Side::Server => decode_from_server(&mut reader)?,
    };
    match reader.rest.len() {
        0 => Ok(frame),
        bytes => Err(ParseError::Trailing { kind, bytes }),
    }
}

fn decode_from_client<'a>(reader: &mut Reader<'a>) -> Result<Frame<'a>, ParseError> {
    Ok(match reader.kind {
        kind::HELLO => Frame::Hello(reader.hello()?),
        kind::SAY => Frame::Say {
            text: reader.str()?,
        },
        kind::WHISPER => Frame::Whisper {
            to: reader.str()?,
            text: reader.str()?,
        },
        kind::USERS => Frame::Users,
        kind::FILES => Frame::Files {
            request: reader.u32()?,
            prefix: reader.str()?,
        },
        kind::STATS => Frame::Stats,
        kind::OPEN => Frame::Open(Open {
            max_datagram: reader.u16()?,
            policy: match reader.u8()? {
                0 => Policy::Fair,
                1 => Policy::Low,
                _ => return Err(reader.bad_value("policy")),
            },
            rate_limit: reader.u64()?,
        }),
        kind::GET => Frame::Get {
            request: reader.u32()?,
            names: reader.list(2, Reader::str)?,
        },
        kind::START => Frame::Start {
            entries: reader.list(10, Reader::start_entry)?,
        },
        kind::CANCEL => Frame::Cancel {
            streams: reader.list(4, Reader::stream)?,
        },
        kind::CLIENT_PING => Frame::Ping {
            from: Side::Client,
            nonce: reader.u64()?,
        },
        kind::CLIENT_PONG => Frame::Pong {
            from: Side::Client,
            nonce: reader.u64()?,
        },
        kind::LEAVE => Frame::Leave,
        kind => return Err(ParseError::UnknownKind { kind }),
    })
}

fn decode_from_server<'a>(reader: &mut Reader<'a>) -> Result<Frame<'a>, ParseError> {
    Ok(match reader.kind {
        kind::WELCOME => Frame::Welcome(reader.welcome()?),
        kind::ERROR => Frame::Error(ErrorFrame {
            code: ControlError::from_code(reader.u16()?),
            fatal: reader.bool("fatal")?,
            request: reader.u32()?,
            text: reader.str()?,
        }),
        kind::MESSAGE => Frame::Message(Message {
            sequence: reader.u64()?,
            time_ms: reader.u64()?,
            from: reader.str()?,
            text: reader.str()?,
        }),
        kind::WHISPERED => Frame::Whispered(Whispered {
            time_ms: reader.u64()?,
            from: reader.str()?,
            to: reader.str()?,
            text: reader.str()?,
        }),
        kind::PRESENCE => Frame::Presence {
            time_ms: reader.u64()?,
            joined: reader.list(2, Reader::str)?,
            left: reader.list(2, Reader::str)?,
        },
        kind::USER_LIST => Frame::UserList {
            last: reader.bool("last")?,
            names: reader.list(2, Reader::str)?,
        },
        kind::FILE_LIST => Frame::FileList {
            request: reader.u32()?,
            last: reader.bool("last")?,
            entries: reader.list(18, Reader::file_entry)?,
        },
        kind::STATS_REPORT => Frame::StatsReport {
            json: reader.str()?,
        },
        kind::GRANT => Frame::Grant(Grant {
            association: reader.u32()?,
            udp_port: reader.u16()?,
            cell_bytes: reader.u16()?,
            secret_down: *reader.array()?,
            secret_up: *reader.array()?,
            idle_ms: reader.u32()?,
        }),
        kind::OFFER => Frame::Offer {
            request: reader.u32()?,
            last: reader.bool("last")?,
            entries: reader.list(30, Reader::offer_entry)?,
        },
        kind::ENDED => Frame::Ended {
            stream: reader.stream()?,
            code: ControlError::from_code(reader.u16()?),
            text: reader.str()?,
        },
        kind::SERVER_PING => Frame::Ping {
            from: Side::Server,
            nonce: reader.u64()?,
        },
        kind::SERVER_PONG => Frame::Pong {
            from: Side::Server,
            nonce: reader.u64()?,
        },
        kind::PATH_REPORT => Frame::PathReport(reader.path_report()?),
        kind => return Err(ParseError::UnknownKind { kind }),
    })
}

/// Takes fields off the front of a body.
struct Reader<'a> {
    kind: u8,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn bytes(&mut self, count: usize) -> Result<&'a [u8], ParseError> {
        let (taken, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or(ParseError::Truncated { kind: self.kind })?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<&'a [u8; N], ParseError> {
        let (taken, rest) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or(ParseError::Truncated { kind: self.kind })?;
        self.rest = rest;
        Ok(taken)
    }

    fn u8(&mut self) -> Result<u8, ParseError> {
        self.array().map(|&[byte]| byte)
    }

    fn u16(&mut self) -> Result<u16, ParseError> {
        self.array().map(|&bytes| u16::from_be_bytes(bytes))
    }

    fn u32(&mut self) -> Result<u32, ParseError> {
        self.array().map(|&bytes| u32::from_be_bytes(bytes))
    }

    fn u64(&mut self) -> Result<u64, ParseError> {
        self.array().map(|&bytes| u64::from_be_bytes(bytes))
    }

    fn bool(&mut self, field: &'static str) -> Result<bool, ParseError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.bad_value(field)),
        }
    }

    fn str(&mut self) -> Result<&'a str, ParseError> {
        let length = usize::from(self.u16()?);
        let kind = self.kind;
        std::str::from_utf8(self.bytes(length)?).map_err(|_| ParseError::NotUtf8 { kind })
    }

    /// A list whose items take at least `min_bytes` each: a count that the body cannot hold is refused before
    /// anything is reserved for it.
    fn list<T>(
        &mut self,
        min_bytes: usize,
        item: fn(&mut Self) -> Result<T, ParseError>,
    ) -> Result<Vec<T>, ParseError> {
        let count = usize::from(self.u16()?);
        if count * min_bytes > self.rest.len() {
            return Err(ParseError::Truncated { kind: self.kind });
        }
        let mut items = Vec::with_capacity(count);
        for _ in 0..count {
            items.push(item(self)?);
        }
        Ok(items)
    }

    fn bad_value(&self, field: &'static str) -> ParseError {
        ParseError::BadValue {
            kind: self.kind,
            field,
        }
    }

    fn hello(&mut self) -> Result<Hello<'a>, ParseError> {
        if self.u32()? != MAGIC {
            return Err(ParseError::NotColumba);
        }
        let mut hello = Hello {
            version: self.version()?,
            features: self.u32()?,
            purpose: match self.u8()? {
                0 => Purpose::Headless,
                1 => Purpose::Chat,
                _ => return Err(self.bad_value("purpose")),
            },
            name: self.str()?,
            password: self.str()?,
            software: self.str()?,
            returns: None,
        };
        if hello.features & features::RETURNS != 0 {
            hello.returns = Some(Heard {
                chat: self.u64()?,
                sequence: self.u64()?,
            });
        }
        Ok(hello)
    }

    /// The peer's version. What follows another version's is unknown, so it is judged here.
    fn version(&mut self) -> Result<u16, ParseError> {
        match self.u16()? {
            PROTOCOL_VERSION => Ok(PROTOCOL_VERSION),
            theirs => Err(ParseError::Version { theirs }),
        }
    }

    fn welcome(&mut self) -> Result<Welcome<'a>, ParseError> {
        let mut welcome = Welcome {
            version: self.version()?,
            features: self.u32()?,
            software: self.str()?,
            name: self.str()?,
            sequence: self.u64()?,
            time_ms: self.u64()?,
            history: None,
        };
        if welcome.features & features::HISTORY != 0 {
            welcome.history = Some(History {
                chat: self.u64()?,
                missed: self.u64()?,
            });
        }
        Ok(welcome)
    }

    fn path_report(&mut self) -> Result<PathReport, ParseError> {
        let mut report = PathReport {
            association: self.u32()?,
            interval_ms: self.u32()?,
            srtt_us: self.u32()?,
            min_rtt_us: self.u32()?,
            cwnd: self.u64()?,
            in_flight: self.u64()?,
            credit: self.u64()?,
            pacing_rate: self.u64()?,
            delivery_rate: self.u64()?,
            server_limit: self.u64()?,
            sent_packets: self.u32()?,
            lost_packets: self.u32()?,
            retransmitted_packets: self.u32()?,
            datagram_bytes: self.u16()?,
            limited: [0; LIMITS],
        };
        for share in &mut report.limited {
            *share = self.u16()?;
        }
        Ok(report)
    }

    fn stream(&mut self) -> Result<u32, ParseError> {
        let stream = self.u32()?;
        if stream > MAX_STREAM_ID {
            Err(self.bad_value("stream"))
        } else {
            Ok(stream)
        }
    }

    fn start_entry(&mut self) -> Result<StartEntry, ParseError> {
        Ok(StartEntry {
            stream: self.stream()?,
            file: self.u32()?,
            missing: self.list(SEGMENT_RANGE_BYTES, Self::segment_range)?,
        })
    }

    fn segment_range(&mut self) -> Result<SegmentRange, ParseError> {
        let range = SegmentRange {
            first: self.u32()?,
            count: self.u32()?,
        };
        if range.count == 0 || range.first.checked_add(range.count).is_none() {
            return Err(self.bad_value("missing"));
        }
        Ok(range)
    }

    fn file_entry(&mut self) -> Result<FileEntry<'a>, ParseError> {
        Ok(FileEntry {
            name: self.str()?,
            size: self.u64()?,
            mtime_s: self.u64()?,
        })
    }

    fn offer_entry(&mut self) -> Result<OfferEntry<'a>, ParseError> {
        Ok(OfferEntry {
            file: self.u32()?,
            name: self.str()?,
            size: self.u64()?,
            version: *self.array()?,
        })
    }
}
#[cfg(test)]
#[path = "codec_tests.rs"]
mod tests;
