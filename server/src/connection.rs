//! One client's connection: its stream, what was received, what waits to be sent, and its deadlines.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use columba_core::control::{ControlError, ErrorFrame, Frame, FrameDecoder, Framing, Side};
use columba_core::units::Timestamp;
use columba_net::control_stream::{ControlStream, Flush};

use crate::files::index::SharedEntry;
use crate::limits::{
    CLOSE_DEADLINE, HELLO_DEADLINE, IDLE_LIMIT, LISTING_LOW_BYTES, MAX_OFFERED_FILES, PING_AFTER,
    STREAM_AHEAD_BYTES,
};
use crate::listing::Listing;
use crate::lobby::encode;
use crate::names::KeyFingerprint;
use crate::outbox::Outbox;

/// Bytes written to one client in one turn of the loop.
const WRITE_BUDGET_BYTES: usize = 512 * 1_024;

/// Offers made within this time count as made at its beginning.
const SAME_TIME: Duration = Duration::from_millis(500);

/// What the stream may hold: what it is given ahead, and one more frame of any size.
pub(crate) const MAX_STREAM_BYTES: usize =
    STREAM_AHEAD_BYTES + 2 * columba_core::control::limits::MAX_FRAME_BYTES;

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Handshake and Hello are awaited.
    Greeting {
        /// Until then.
        deadline: Timestamp,
    },
    /// The client said Hello and is admitted.
    Open,
    /// The last words are on their way; what the client still sends is dropped.
    Closing {
        /// Until then.
        deadline: Timestamp,
    },
}

/// What a due deadline means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Nothing yet; ask again then.
    At(Timestamp),
    /// Ask whether the client is still there.
    Ping,
    /// End it for this reason.
    End(ControlError),
    /// It had time enough to close.
    Drop,
}

/// A client.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) stream: ControlStream,
    /// Taken out while its frames are handled.
    pub(crate) decoder: Option<FrameDecoder>,
    pub(crate) outbox: Outbox,
    pub(crate) listings: VecDeque<Listing>,
    pub(crate) address: SocketAddr,
    pub(crate) phase: Phase,
    /// The key TLS proved.
    pub(crate) key: Option<KeyFingerprint>,
    /// Optional features it offered in its Hello.
    pub(crate) features: u32,
    /// The socket may have more to read.
    pub(crate) readable: bool,
    /// While it does: what it has came no earlier.
    pub(crate) readable_since: Timestamp,
    /// It stands in the list of those to be read / to be flushed.
    pub(crate) in_ready: bool,
    pub(crate) in_dirty: bool,
    /// It has not been admitted (yet).
    pub(crate) counts_as_stranger: bool,
    pub(crate) last_heard: Timestamp,
    pub(crate) pinged: bool,
    /// Requests a helper works on.
    pub(crate) pending_requests: usize,
    /// When the client was last told that it is too fast.
    pub(crate) told_too_fast: Option<Timestamp>,
    /// Its UDP association.
    pub(crate) association: Option<u32>,
    /// Files offered, by number less `first_offer`.
    offers: VecDeque<SharedEntry>,
    first_offer: u32,
    /// The first offer of the last [`SAME_TIME`], or the first one after it, and when it was made.
    latest_offers: (u32, Timestamp),
    framing: Framing,
    end_announced: bool,
    /// The end of the stream is on its way.
    pub(crate) all_said: bool,
}

impl Connection {
    pub(crate) fn new(
        stream: ControlStream,
        address: SocketAddr,
        framing: Framing,
        now: Timestamp,
    ) -> Self {
        Self {
            stream,
            decoder: Some(FrameDecoder::new(framing, Side::Client)),
            outbox: Outbox::default(),
            listings: VecDeque::new(),
            address,
            phase: Phase::Greeting {
                deadline: now + HELLO_DEADLINE,
            },
            key: None,
            features: 0,
            readable: true,
            readable_since: now,
            in_ready: false,
            in_dirty: false,
            counts_as_stranger: true,
            last_heard: now,
            pinged: false,
            pending_requests: 0,
            told_too_fast: None,
            association: None,
            offers: VecDeque::new(),
            first_offer: 1,
            latest_offers: (u32::MAX, now),
            framing,
            end_announced: false,
            all_said: false,
        }
    }

    pub(crate) fn is_closing(&self) -> bool {
        matches!(self.phase, Phase::Closing { .. })
    }

    /// Puts a frame into the queue; a client whose queue is full is ended as a slow reader.
    pub(crate) fn push(&mut self, frame: &Bytes, now: Timestamp) {
        if self.is_closing() {
            return;
        }
        if self.outbox.push(frame.clone(), now).is_err() {
            self.end(
                ControlError::SlowReader,
                "you did not read what was sent to you: join again",
                now,
            );
        }
    }

    /// Tells the client that something was refused.
    pub(crate) fn refuse(&mut self, code: ControlError, request: u32, text: &str, now: Timestamp) {
        let frame = error_frame(code, false, request, text, self.framing);
        self.push(&frame, now);
    }

    /// Ends the connection with these last words, instead of what waits.
    pub(crate) fn end(&mut self, code: ControlError, text: &str, now: Timestamp) {
        if self.is_closing() {
            return;
        }
        self.listings.clear();
        self.outbox
            .replace_by(error_frame(code, true, 0, text, self.framing), now);
        self.phase = Phase::Closing {
            deadline: now + CLOSE_DEADLINE,
        };
    }

    /// Ends the connection once everything that waits is sent, with last words if there are any.
    pub(crate) fn end_after_queue(&mut self, words: Option<(ControlError, &str)>, now: Timestamp) {
        if let Some((code, text)) = words {
            let frame = error_frame(code, true, 0, text, self.framing);
            self.push(&frame, now);
        }
        if !self.is_closing() {
            self.phase = Phase::Closing {
                deadline: now + CLOSE_DEADLINE,
            };
        }
    }

    /// The poll told that there is something to read, which came no earlier than `since`.
    pub(crate) fn mark_readable(&mut self, since: Timestamp) {
        if !self.readable {
            self.readable = true;
            self.readable_since = since;
        }
    }

    /// Something was heard.
    pub(crate) fn heard(&mut self, now: Timestamp) {
        self.last_heard = now;
        self.pinged = false;
    }

    /// What time it is for.
    pub(crate) fn due(&self, now: Timestamp) -> Due {
        let (at, then) = match self.phase {
            Phase::Greeting { deadline } => (deadline, Due::End(ControlError::Idle)),
            Phase::Closing { deadline } => (deadline, Due::Drop),
            Phase::Open if self.outbox.is_overdue(now) => (now, Due::End(ControlError::SlowReader)),
            Phase::Open if self.pinged => {
                (self.last_heard + IDLE_LIMIT, Due::End(ControlError::Idle))
            }
            Phase::Open => (self.last_heard + PING_AFTER, Due::Ping),
        };
        if at <= now {
            return then;
        }
        let overdue = self.outbox.deadline().filter(|_| self.phase == Phase::Open);
        // An overdue queue is one nanosecond past its deadline.
        Due::At(overdue.map_or(at, |overdue| {
            at.min(overdue + std::time::Duration::from_nanos(1))
        }))
    }

    /// Sends what the socket takes. `Ok(true)` when the budget ran out first.
    ///
    /// # Errors
    /// The connection is broken.
    pub(crate) fn pump(
        &mut self,
        now: Timestamp,
    ) -> Result<bool, columba_net::control_stream::ControlError> {
        let mut budget = WRITE_BUDGET_BYTES;
        loop {
            self.make_pages(now);
            while self.stream.queued_bytes() < STREAM_AHEAD_BYTES
                && let Some(frame) = self.outbox.pop()
            {
                budget = budget.saturating_sub(frame.len());
                // It is never full below its bound, and closed only when the rest does not matter.
                if self.stream.queue(frame).is_err() {
                    break;
                }
            }
            if self.is_closing() && self.outbox.is_empty() && !self.end_announced {
                self.end_announced = true;
                self.stream.close();
            }
            if !self.stream.wants_write() {
                return Ok(false);
            }
            match self.stream.flush()? {
                Flush::Blocked | Flush::Waiting => return Ok(false),
                Flush::Closed => {
                    self.all_said = true;
                    return Ok(false);
                }
                Flush::Drained
                    if self.outbox.is_empty() && self.listings.is_empty() && !self.is_closing() =>
                {
                    return Ok(false);
                }
                Flush::Drained if budget == 0 => return Ok(true),
                Flush::Drained => {}
            }
        }
    }

    fn make_pages(&mut self, now: Timestamp) {
        while self.outbox.bytes() < LISTING_LOW_BYTES
            && let Some(listing) = self.listings.front_mut()
        {
            let (page, last) = listing.next_page(self.framing);
            if last {
                self.listings.pop_front();
            }
            self.push(&page, now);
        }
    }

    /// Numbers files that are offered to this client: the first one's number. The oldest offers beyond
    /// [`MAX_OFFERED_FILES`] are forgotten.
    pub(crate) fn add_offers(&mut self, entries: &[SharedEntry], now: Timestamp) -> u32 {
        let first = self
            .first_offer
            .saturating_add(u32::try_from(self.offers.len()).unwrap_or(u32::MAX));
        if self.latest_offers.0 > first || now >= self.latest_offers.1 + SAME_TIME {
            self.latest_offers = (first, now);
        }
        self.offers.extend(entries.iter().cloned());
        let excess = self.offers.len().saturating_sub(MAX_OFFERED_FILES);
        self.offers.drain(..excess);
        self.first_offer = self
            .first_offer
            .saturating_add(u32::try_from(excess).unwrap_or(u32::MAX));
        first
    }

    /// Requests whose answer is not on its way as a whole.
    pub(crate) fn unanswered(&self) -> usize {
        let listings = self.listings.iter();
        self.pending_requests + listings.filter(|listing| listing.ends_request()).count()
    }

    /// A file that was offered, and when, if that is not long ago.
    pub(crate) fn offer(&self, file: u32) -> Option<(&SharedEntry, Option<Timestamp>)> {
        let place = file.checked_sub(self.first_offer)? as usize;
        let (from, at) = self.latest_offers;
        let offered_at = (file >= from).then_some(at);
        self.offers.get(place).map(|entry| (entry, offered_at))
    }
}

/// An encoded Error frame; its text is cut to what is allowed.
pub(crate) fn error_frame(
    code: ControlError,
    fatal: bool,
    request: u32,
    text: &str,
    framing: Framing,
) -> Bytes {
    let mut end = text
        .len()
        .min(columba_core::control::limits::MAX_ERROR_TEXT_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    encode(
        &Frame::Error(ErrorFrame {
            code,
            fatal,
            request,
            text: &text[..end],
        }),
        framing,
    )
}
