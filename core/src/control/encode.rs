//! One frame to bytes; the other direction of `codec`.

use super::limits::{HEADER_BYTES, MAX_FRAME_BYTES};
use super::{
    EncodeError, FileEntry, Frame, Framing, Grant, Hello, MAGIC, OfferEntry, Policy, Purpose, Side,
    StartEntry, Welcome, features,
};
use crate::stats::PathReport;

impl Frame<'_> {
    /// Appends the frame as it goes on the wire.
    ///
    /// # Errors
    /// The frame is too long; `out` is then as it was.
    pub fn encode(&self, framing: Framing, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let start = out.len();
        let encoded = self.encode_at(start, framing, out);
        if encoded.is_err() {
            out.truncate(start);
        }
        encoded
    }

    fn encode_at(
        &self,
        start: usize,
        framing: Framing,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        out.extend_from_slice(&[0; HEADER_BYTES - 1]);
        out.push(self.kind());
        let mut writer = Writer { out };
        match self.sender() {
            Side::Client => writer.client_body(self)?,
            Side::Server => writer.server_body(self)?,
        }
        let bytes = out.len() - start - 4;
        let length = match u32::try_from(bytes) {
            Ok(length) if bytes <= MAX_FRAME_BYTES => length,
            Ok(_) | Err(_) => return Err(EncodeError::FrameTooLong { bytes }),
        };
        out[start..start + 4].copy_from_slice(&length.to_be_bytes());
        if framing == Framing::Plaintext {
            let crc = crate::protection::crc32c(&out[start..]);
            out.extend_from_slice(&crc.to_be_bytes());
        }
        Ok(())
    }
}

/// A bit that announces a field stands exactly where the field does.
const fn with_bit(features: u32, bit: u32, present: bool) -> u32 {
    if present {
        features | bit
    } else {
        features & !bit
    }
}

/// Appends fields to a body.
struct Writer<'o> {
    out: &'o mut Vec<u8>,
}

impl Writer<'_> {
    fn u8(&mut self, value: u8) {
        self.out.push(value);
    }

    fn u16(&mut self, value: u16) {
        self.out.extend_from_slice(&value.to_be_bytes());
    }

    fn u32(&mut self, value: u32) {
        self.out.extend_from_slice(&value.to_be_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.out.extend_from_slice(&value.to_be_bytes());
    }

    fn count(&mut self, length: usize) -> Result<(), EncodeError> {
        let count = u16::try_from(length).map_err(|_| EncodeError::FieldTooLong { length })?;
        self.u16(count);
        Ok(())
    }

    fn str(&mut self, text: &str) -> Result<(), EncodeError> {
        self.count(text.len())?;
        self.out.extend_from_slice(text.as_bytes());
        Ok(())
    }

    fn list<T>(
        &mut self,
        items: &[T],
        item: impl Fn(&mut Self, &T) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        self.count(items.len())?;
        items.iter().try_for_each(|value| item(self, value))
    }

    fn strs(&mut self, items: &[&str]) -> Result<(), EncodeError> {
        self.list(items, |writer, text| writer.str(text))
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the other arms are the server's, matched by server_body"
    )]
    fn client_body(&mut self, frame: &Frame<'_>) -> Result<(), EncodeError> {
        match frame {
            Frame::Hello(hello) => self.hello(hello)?,
            Frame::Say { text } => self.str(text)?,
            Frame::Whisper { to, text } => {
                self.str(to)?;
                self.str(text)?;
            }
            Frame::Files { request, prefix } => {
                self.u32(*request);
                self.str(prefix)?;
            }
            Frame::Open(open) => {
                self.u16(open.max_datagram);
                self.u8(match open.policy {
                    Policy::Fair => 0,
                    Policy::Low => 1,
                });
                self.u64(open.rate_limit);
            }
            Frame::Get { request, names } => {
                self.u32(*request);
                self.strs(names)?;
            }
            Frame::Start { entries } => self.list(entries, Self::start_entry)?,
            Frame::Cancel { streams } => self.list(streams, |writer, &stream| {
                writer.u32(stream);
                Ok(())
            })?,
            Frame::Ping { nonce, .. } | Frame::Pong { nonce, .. } => self.u64(*nonce),
            _ => {}
        }
        Ok(())
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the other arms are the client's, matched by client_body"
    )]
    fn server_body(&mut self, frame: &Frame<'_>) -> Result<(), EncodeError> {
        match frame {
            Frame::Welcome(welcome) => self.welcome(welcome)?,
            Frame::Error(error) => {
                self.u16(error.code.code());
                self.u8(u8::from(error.fatal));
                self.u32(error.request);
                self.str(error.text)?;
            }
            Frame::Message(message) => {
                self.u64(message.sequence);
                self.u64(message.time_ms);
                self.str(message.from)?;
                self.str(message.text)?;
            }
            Frame::Whispered(whispered) => {
                self.u64(whispered.time_ms);
                self.str(whispered.from)?;
                self.str(whispered.to)?;
                self.str(whispered.text)?;
            }
            Frame::Presence {
                time_ms,
                joined,
                left,
            } => {
                self.u64(*time_ms);
                self.strs(joined)?;
                self.strs(left)?;
            }
            Frame::UserList { last, names } => {
                self.u8(u8::from(*last));
                self.strs(names)?;
            }
            Frame::FileList {
                request,
                last,
                entries,
            } => {
                self.u32(*request);
                self.u8(u8::from(*last));
                self.list(entries, Self::file_entry)?;
            }
            Frame::StatsReport { json } => self.str(json)?,
            Frame::Grant(grant) => self.grant(grant),
            Frame::Offer {
                request,
                last,
                entries,
            } => {
                self.u32(*request);
                self.u8(u8::from(*last));
                self.list(entries, Self::offer_entry)?;
            }
            Frame::Ended { stream, code, text } => {
                self.u32(*stream);
                self.u16(code.code());
                self.str(text)?;
            }
            Frame::Ping { nonce, .. } | Frame::Pong { nonce, .. } => self.u64(*nonce),
            Frame::PathReport(report) => self.path_report(report),
            _ => {}
        }
        Ok(())
    }

    fn hello(&mut self, hello: &Hello<'_>) -> Result<(), EncodeError> {
        self.u32(MAGIC);
        self.u16(hello.version);
        self.u32(with_bit(
            hello.features,
            features::RETURNS,
            hello.returns.is_some(),
        ));
        self.u8(match hello.purpose {
            Purpose::Headless => 0,
            Purpose::Chat => 1,
        });
        self.str(hello.name)?;
        self.str(hello.password)?;
        self.str(hello.software)?;
        if let Some(heard) = hello.returns {
            self.u64(heard.chat);
            self.u64(heard.sequence);
        }
        Ok(())
    }

    fn welcome(&mut self, welcome: &Welcome<'_>) -> Result<(), EncodeError> {
        self.u16(welcome.version);
        self.u32(with_bit(
            welcome.features,
            features::HISTORY,
            welcome.history.is_some(),
        ));
        self.str(welcome.software)?;
        self.str(welcome.name)?;
        self.u64(welcome.sequence);
        self.u64(welcome.time_ms);
        if let Some(history) = welcome.history {
            self.u64(history.chat);
            self.u64(history.missed);
        }
        Ok(())
    }

    fn path_report(&mut self, report: &PathReport) {
        self.u32(report.association);
        self.u32(report.interval_ms);
        self.u32(report.srtt_us);
        self.u32(report.min_rtt_us);
        self.u64(report.cwnd);
        self.u64(report.in_flight);
        self.u64(report.credit);
        self.u64(report.pacing_rate);
        self.u64(report.delivery_rate);
        self.u64(report.server_limit);
        self.u32(report.sent_packets);
        self.u32(report.lost_packets);
        self.u32(report.retransmitted_packets);
        self.u16(report.datagram_bytes);
        for share in report.limited {
            self.u16(share);
        }
    }

    fn start_entry(&mut self, entry: &StartEntry) -> Result<(), EncodeError> {
        self.u32(entry.stream);
        self.u32(entry.file);
        self.list(&entry.missing, |writer, range| {
            writer.u32(range.first);
            writer.u32(range.count);
            Ok(())
        })
    }

    fn file_entry(&mut self, entry: &FileEntry<'_>) -> Result<(), EncodeError> {
        self.str(entry.name)?;
        self.u64(entry.size);
        self.u64(entry.mtime_s);
        Ok(())
    }

    fn grant(&mut self, grant: &Grant) {
        self.u32(grant.association);
        self.u16(grant.udp_port);
        self.u16(grant.cell_bytes);
        self.out.extend_from_slice(&grant.secret_down);
        self.out.extend_from_slice(&grant.secret_up);
        self.u32(grant.idle_ms);
    }

    fn offer_entry(&mut self, entry: &OfferEntry<'_>) -> Result<(), EncodeError> {
        self.u32(entry.file);
        self.str(entry.name)?;
        self.u64(entry.size);
        self.out.extend_from_slice(&entry.version);
        Ok(())
    }
}
