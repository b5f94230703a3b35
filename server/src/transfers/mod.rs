//! File transfers: the core's endpoint over the one UDP socket, and the files behind it.
//!
//! A client's Open makes an association, its Start makes streams. From then on the association lives on UDP alone: it
//! outlives the control connection until the client closes it or falls silent.
//!
//! - `grant`: how an association is opened.
//! - `traffic`: datagrams in, trains out.
//! - `store`: the files behind the streams; `load`: how much of them one client may have open.
//! - `share`: the rate limit over all; `counts`, `reports`: what is told of it.

mod counts;
mod grant;
mod load;
mod reports;
pub(crate) mod share;
pub(crate) mod store;
mod traffic;

use std::collections::HashMap;
use std::time::Duration;

use columba_core::congestion::Algorithm;
use columba_core::control::limits::MAX_MISSING_RANGES;
use columba_core::control::{ControlError, StartEntry};
use columba_core::endpoint::{Endpoint, Outgoing, ServerEvent};
use columba_core::error::{CloseReason, StreamEnd};
use columba_core::layout::SegmentRange;
use columba_core::limits::MAX_TRAIN_BYTES;
use columba_core::stats::PathReport;
use columba_core::units::Timestamp;
use columba_net::udp::{RecvBatch, UdpSocket};
use foldhash::fast::RandomState;

use crate::files::index::SharedEntry;
use crate::lobby::Refusal;
use crate::slots::SlotId;
use counts::{SenderTotals, TransferCounts};
pub(crate) use grant::Terms;
use share::Allowance;
use store::{FileStore, Woken};
use traffic::RECV_BUDGET;

/// What clients have to be told.
#[derive(Debug)]
pub(crate) enum Notice {
    /// How the sending to a client goes.
    Report { client: SlotId, report: PathReport },
    /// A stream ended before it was complete.
    Ended {
        /// The client, if its control connection is still there.
        client: SlotId,
        stream: u32,
        end: StreamEnd,
    },
    /// The client's association is over.
    Closed { client: SlotId, association: u32 },
    /// A round trip was sampled.
    Rtt(Duration),
    /// A client confirmed a file, so long after its start.
    Confirmed(Duration),
}

/// What the shell knows of an association.
#[derive(Debug)]
struct Known {
    client: SlotId,
    /// When each stream was started that the client has not confirmed.
    streams: HashMap<u32, Timestamp, RandomState>,
    /// Streams that are still being sent.
    sending: usize,
    /// The client wants to be told how the sending goes.
    reports: bool,
}

/// What transfers are told at the start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TransferOptions {
    pub(crate) plaintext: bool,
    pub(crate) congestion: Algorithm,
    pub(crate) max_transfers: usize,
    /// Bytes per second over all.
    pub(crate) rate_limit: Option<u64>,
}

/// All transfers.
pub(crate) struct Transfers {
    endpoint: Endpoint,
    pub(crate) store: FileStore,
    pub(crate) socket: UdpSocket,
    batch: RecvBatch,
    buffer: Box<[u8]>,
    /// A train that the socket did not take yet, and how many bytes of it are gone already.
    held: Option<(Outgoing, usize)>,
    /// The socket said that it is full; an event will tell.
    blocked: bool,
    /// The kernel had no memory; try again then.
    retry_at: Option<Timestamp>,
    /// The socket may have more to read.
    pub(crate) readable: bool,
    known: HashMap<u32, Known, RandomState>,
    allowance: Option<Allowance>,
    options: TransferOptions,
    counts: TransferCounts,
    /// When clients are told next how the sending goes.
    report_at: Timestamp,
    /// How long the batches of this turn took.
    pub(crate) batch_spans: Vec<Duration>,
}

impl Transfers {
    pub(crate) fn new(
        now: Timestamp,
        socket: UdpSocket,
        store: FileStore,
        options: TransferOptions,
    ) -> Self {
        let associations = u32::try_from(options.max_transfers.min(64)).unwrap_or(64);
        Self {
            endpoint: Endpoint::new(now, associations),
            store,
            socket,
            batch: RecvBatch::new(),
            buffer: vec![0; MAX_TRAIN_BYTES].into(),
            held: None,
            blocked: false,
            retry_at: None,
            readable: true,
            known: HashMap::default(),
            allowance: options.rate_limit.map(|rate| Allowance::new(rate, now)),
            options,
            counts: TransferCounts::default(),
            report_at: now,
            batch_spans: Vec::with_capacity(RECV_BUDGET),
        }
    }

    /// The counters, and the sums over all associations.
    pub(crate) fn counts(&self) -> (TransferCounts, SenderTotals) {
        let mut totals = self.counts.past;
        for association in self
            .known
            .keys()
            .filter_map(|&id| self.endpoint.association(id))
        {
            totals.add(association);
        }
        (self.counts, totals)
    }

    /// Datagrams that belonged to no association.
    pub(crate) fn foreign_datagrams(&self) -> u64 {
        self.endpoint.drops().total()
    }

    /// Associations, and streams that are being sent.
    pub(crate) fn active(&self) -> (usize, usize) {
        (
            self.endpoint.len(),
            self.known.values().map(|known| known.sending).sum(),
        )
    }

    /// Begins a stream of a file; `offered_at` is when it was offered, if that is known.
    ///
    /// # Errors
    /// There is no such association any more, or the stream is impossible.
    pub(crate) fn start(
        &mut self,
        now: Timestamp,
        association: u32,
        start: &StartEntry,
        file: &SharedEntry,
        offered_at: Option<Timestamp>,
    ) -> Result<(), Refusal> {
        let Some(known) = self.known.get_mut(&association) else {
            return Err(Refusal::new(
                ControlError::Idle,
                "the transfer is over: open another one",
            ));
        };
        if start.missing.len() > MAX_MISSING_RANGES {
            return Err(Refusal::new(
                ControlError::BadFrame,
                "too many missing ranges: merge them",
            ));
        }
        let missing: Vec<SegmentRange> = start
            .missing
            .iter()
            .map(|range| SegmentRange {
                first: range.first,
                count: range.count,
            })
            .collect();
        let source = self.store.acquire(association, file, offered_at);
        let size = file.version.size;
        if let Err(error) =
            self.endpoint
                .start_stream(now, association, start.stream, source, size, &missing)
        {
            self.store.release(association, source);
            return Err(Refusal::new(ControlError::BadFrame, error.to_string()));
        }
        known.streams.insert(start.stream, now);
        known.sending += 1;
        self.counts.started += 1;
        Ok(())
    }

    /// The client wants a stream no more.
    pub(crate) fn cancel(&mut self, now: Timestamp, association: u32, stream: u32) {
        self.endpoint
            .end_stream(now, association, stream, StreamEnd::Cancelled);
    }

    /// A client's control connection is gone: its transfers go on if the client is still there.
    pub(crate) fn on_control_lost(&mut self, now: Timestamp, association: u32) {
        self.endpoint.on_control_lost(now, association);
    }

    /// Ends everything: the server is being stopped.
    pub(crate) fn close_all(&mut self, now: Timestamp) {
        let ids: Vec<u32> = self.known.keys().copied().collect();
        for id in ids {
            self.endpoint.close(now, id, CloseReason::Local);
        }
    }

    /// Files made progress: their streams may go on.
    pub(crate) fn wake(&mut self, now: Timestamp, woken: &Woken) {
        for of_one in woken.chunk_by(|(one, _), (next, _)| one == next) {
            let sources = of_one.iter().map(|&(_, source)| source);
            self.endpoint.sources_ready(now, of_one[0].0, sources);
        }
    }

    /// Fires what is due.
    pub(crate) fn handle_timeout(&mut self, now: Timestamp) {
        if self
            .endpoint
            .poll_timeout()
            .is_some_and(|deadline| deadline <= now)
        {
            self.endpoint.handle_timeout(now);
        }
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) or [`transmit`](Self::transmit) has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        let allowed_at = self
            .allowance
            .as_ref()
            .and_then(Allowance::allowed_at)
            .filter(|_| self.endpoint.has_ready());
        let close_at = self.store.next_expiry();
        [
            self.endpoint.poll_timeout(),
            self.retry_at,
            allowed_at,
            close_at,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Whether [`transmit`](Self::transmit) could go on at once.
    pub(crate) fn has_more(&self) -> bool {
        let may_send = !self.blocked && self.retry_at.is_none();
        let allowed = self
            .allowance
            .as_ref()
            .is_none_or(|allowance| allowance.allowed_at().is_none());
        self.readable || may_send && (self.held.is_some() || allowed && self.endpoint.has_ready())
    }

    /// What came of it all, for clients and statistics, appended to `notices`. The last thing to do in a turn.
    pub(crate) fn take_notices(&mut self, now: Timestamp, notices: &mut Vec<Notice>) {
        while let Some(event) = self.endpoint.poll_event() {
            self.on_event(now, event, notices);
        }
        self.make_reports(now, notices);
        self.store.open_wanted();
    }

    fn on_event(&mut self, now: Timestamp, event: ServerEvent, notices: &mut Vec<Notice>) {
        match event {
            ServerEvent::Established {
                association,
                address,
            } => {
                tracing::debug!(association, %address, "transfers may flow");
            }
            ServerEvent::StreamFreed {
                association,
                stream,
                source,
                end,
            } => {
                self.store.release(association, source);
                let Some(known) = self.known.get_mut(&association) else {
                    return;
                };
                known.sending = known.sending.saturating_sub(1);
                let Some(end) = end else {
                    return;
                };
                known.streams.remove(&stream);
                self.counts.ended_early += 1;
                if end != StreamEnd::Cancelled {
                    notices.push(Notice::Ended {
                        client: known.client,
                        stream,
                        end,
                    });
                }
            }
            ServerEvent::StreamConfirmed {
                association,
                stream,
                status,
            } => {
                let known = self.known.get_mut(&association);
                if let Some(started) = known.and_then(|known| known.streams.remove(&stream))
                    && status == 0
                {
                    self.counts.confirmed += 1;
                    notices.push(Notice::Confirmed(now - started));
                }
            }
            ServerEvent::RttSample { rtt, .. } => notices.push(Notice::Rtt(rtt)),
            ServerEvent::Closed {
                association,
                reason,
            } => {
                tracing::debug!(association, %reason, "the association is over");
                if let Some(ended) = self.endpoint.association(association) {
                    self.counts.past.add(ended);
                }
                self.store.forget_association(association);
                if let Some(known) = self.known.remove(&association) {
                    notices.push(Notice::Closed {
                        client: known.client,
                        association,
                    });
                }
            }
        }
    }
}
