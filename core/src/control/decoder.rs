//! A byte stream cut into frames.

use super::codec;
use super::limits::{CRC_BYTES, HEADER_BYTES, MAX_FRAME_BYTES};
use super::{Frame, ParseError, Side};

/// How frames stand in the byte stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Inside TLS, which protects them.
    Tls,
    /// On bare TCP: each frame ends with a CRC32C.
    Plaintext,
}

impl Framing {
    /// Bytes that follow a frame's body.
    #[must_use]
    pub fn trailer_bytes(self) -> usize {
        match self {
            Self::Tls => 0,
            Self::Plaintext => CRC_BYTES,
        }
    }
}

/// Takes bytes as they come and gives frames.
///
/// A header is judged as soon as it is there, and the buffer grows with received bytes only, never with what a
/// length field claims. After an error the stream is beyond repair: the same error comes again.
#[derive(Debug)]
pub struct FrameDecoder {
    framing: Framing,
    from: Side,
    buffer: Vec<u8>,
    /// Bytes of `buffer` that were handed out as frames already.
    consumed: usize,
    failed: Option<ParseError>,
}

/// A buffer beyond this size is given back as soon as it is empty, one up to it by [`FrameDecoder::release`] only.
const KEPT_BYTES: usize = 16 * 1_024;

impl FrameDecoder {
    /// Decodes what `from` sends.
    #[must_use]
    pub fn new(framing: Framing, from: Side) -> Self {
        Self {
            framing,
            from,
            buffer: Vec::new(),
            consumed: 0,
            failed: None,
        }
    }

    /// Adds received bytes. Take the frames out with [`next_frame`](Self::next_frame) before adding more.
    pub fn push(&mut self, bytes: &[u8]) {
        self.sink().extend_from_slice(bytes);
    }

    /// The buffer to which received bytes are to be appended (and nothing else done), for readers that can write
    /// there directly.
    pub fn sink(&mut self) -> &mut Vec<u8> {
        self.compact();
        &mut self.buffer
    }

    /// Gives the buffer back if nothing is in it: thousands of idle connections then cost none. For when nothing more is
    /// to be read for now.
    pub fn release(&mut self) {
        if self.consumed == self.buffer.len() {
            self.buffer = Vec::new();
            self.consumed = 0;
        }
    }

    /// Bytes that wait for the rest of their frame, or to be taken out.
    #[must_use]
    pub fn buffered_bytes(&self) -> usize {
        self.buffer.len() - self.consumed
    }

    /// The next whole frame; `None` when more bytes are needed.
    ///
    /// # Errors
    /// The bytes are no frame that the peer may send. The connection must be closed.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, ParseError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let whole = match self.whole_frame() {
            Ok(Some(whole)) => whole,
            Ok(None) => return Ok(None),
            Err(error) => {
                self.failed = Some(error);
                return Err(error);
            }
        };
        let start = self.consumed;
        self.consumed += whole;
        let body_end = start + whole - self.framing.trailer_bytes();
        let kind = self.buffer[start + HEADER_BYTES - 1];
        let decoded = codec::decode(
            self.from,
            kind,
            &self.buffer[start + HEADER_BYTES..body_end],
        );
        if let Err(error) = &decoded {
            self.failed = Some(*error);
        }
        decoded.map(Some)
    }

    /// Length of the frame at the front with header and trailer, once it is all there and its checksum holds.
    fn whole_frame(&self) -> Result<Option<usize>, ParseError> {
        let waiting = &self.buffer[self.consumed..];
        let Some(&field) = waiting.first_chunk::<4>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(field);
        let judged = judge_length(length)?;
        if let Some(&kind) = waiting.get(HEADER_BYTES - 1) {
            codec::judge_kind(self.from, kind)?;
        }
        let without_trailer = 4 + judged;
        let whole = without_trailer + self.framing.trailer_bytes();
        if waiting.len() < whole {
            return Ok(None);
        }
        if let Some(&sent) = waiting[without_trailer..whole].first_chunk::<CRC_BYTES>()
            && u32::from_be_bytes(sent) != crate::protection::crc32c(&waiting[..without_trailer])
        {
            return Err(ParseError::Checksum);
        }
        Ok(Some(whole))
    }

    fn compact(&mut self) {
        if self.consumed == self.buffer.len() {
            self.buffer.clear();
            self.buffer.shrink_to(KEPT_BYTES);
        } else if self.consumed > 0 {
            self.buffer.drain(..self.consumed);
        }
        self.consumed = 0;
    }
}

/// Refuses what no frame may claim.
fn judge_length(length: u32) -> Result<usize, ParseError> {
    match usize::try_from(length) {
        Ok(0) => Err(ParseError::Empty),
        Ok(judged) if judged <= MAX_FRAME_BYTES => Ok(judged),
        Ok(_) | Err(_) => Err(ParseError::TooLong { length }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::limits::LIST_PAGE_BYTES;

    fn encoded(framing: Framing, frames: &[Frame<'_>]) -> Vec<u8> {
        let mut out = Vec::new();
        for frame in frames {
            frame.encode(framing, &mut out).expect("the frame fits");
        }
        out
    }

    const TALK: [Frame<'static>; 3] = [
        Frame::Say { text: "hello" },
        Frame::Users,
        Frame::Whisper {
            to: "bob",
            text: "psst",
        },
    ];

    #[test]
    fn frames_come_out_whatever_the_cuts() {
        for framing in [Framing::Tls, Framing::Plaintext] {
            let bytes = encoded(framing, &TALK);
            for step in 1..=bytes.len() {
                let mut decoder = FrameDecoder::new(framing, Side::Client);
                let mut seen = 0;
                for piece in bytes.chunks(step) {
                    decoder.push(piece);
                    while let Some(frame) = decoder.next_frame().expect("good bytes") {
                        assert_eq!(frame, TALK[seen]);
                        seen += 1;
                    }
                }
                assert_eq!(seen, TALK.len());
                assert_eq!(decoder.buffered_bytes(), 0);
            }
        }
    }

    #[test]
    fn lengths_are_judged_from_the_header_alone() {
        for (length, error) in [
            (0, ParseError::Empty),
            (65_537, ParseError::TooLong { length: 65_537 }),
            (u32::MAX, ParseError::TooLong { length: u32::MAX }),
        ] {
            let mut decoder = FrameDecoder::new(Framing::Tls, Side::Client);
            decoder.push(&length.to_be_bytes());
            assert_eq!(decoder.next_frame(), Err(error));
            decoder.push(&encoded(Framing::Tls, &TALK));
            assert_eq!(
                decoder.next_frame(),
                Err(error),
                "a broken stream stays broken"
            );
        }
    }

    #[test]
    fn the_largest_length_is_waited_for_without_allocating_it() {
        let mut decoder = FrameDecoder::new(Framing::Tls, Side::Client);
        decoder.push(&65_536u32.to_be_bytes());
        decoder.push(&[0x02]);
        assert_eq!(decoder.next_frame(), Ok(None));
        assert!(decoder.buffer.capacity() < LIST_PAGE_BYTES);
    }

    #[test]
    fn kinds_of_the_wrong_side_and_unknown_ones_are_judged_from_the_header() {
        let mut decoder = FrameDecoder::new(Framing::Tls, Side::Server);
        decoder.push(&[0, 0, 0, 200, 0x02]);
        assert_eq!(
            decoder.next_frame(),
            Err(ParseError::WrongSide { kind: 0x02 })
        );
        let mut decoder = FrameDecoder::new(Framing::Tls, Side::Client);
        decoder.push(&[0, 0, 0, 200, 0x7f]);
        assert_eq!(
            decoder.next_frame(),
            Err(ParseError::UnknownKind { kind: 0x7f })
        );
    }

    #[test]
    fn a_flipped_bit_is_noticed_in_plaintext() {
        let good = encoded(Framing::Plaintext, &TALK[..1]);
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let mut decoder = FrameDecoder::new(Framing::Plaintext, Side::Client);
            decoder.push(&bad);
            assert!(!matches!(decoder.next_frame(), Ok(Some(_))), "bit {bit}");
        }
    }

    #[test]
    fn an_idle_decoder_gives_its_buffer_back() {
        let text = "x".repeat(50_000);
        let bytes = encoded(Framing::Tls, &[Frame::StatsReport { json: &text }]);
        let mut decoder = FrameDecoder::new(Framing::Tls, Side::Server);
        decoder.push(&bytes);
        assert!(decoder.next_frame().expect("good bytes").is_some());
        assert!(decoder.sink().capacity() <= KEPT_BYTES);
        decoder.push(&bytes[..10]);
        decoder.release();
        assert_eq!(decoder.buffered_bytes(), 10, "half a frame is kept");
        decoder.push(&bytes[10..]);
        assert!(decoder.next_frame().expect("good bytes").is_some());
        decoder.release();
        assert_eq!(decoder.buffer.capacity(), 0);
    }
}
