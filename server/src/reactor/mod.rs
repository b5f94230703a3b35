//! The loop: one thread, one poll, and the only thread that touches sockets.
//!
//! One turn: read the clock once → timers that are due → control connections in and chat out → datagrams in, each within
//! a budget → news from helpers → what they mean to clients → trains of packets out, within a budget → sleep until the
//! next deadline.

mod accept;
mod admin;
mod arrivals;
mod clients;
mod frames;
mod report;
mod requests;
mod setup;
mod side;
mod signals;
mod tokens;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use columba_core::chat::printable;
use columba_core::control::{ControlError, Frame};
use columba_core::units::Timestamp;
use columba_net::clock::Clock;
use columba_net::timer::PreciseTimer;
use mio::{Events, Poll, Token};

use crate::access::Access;
use crate::files::catalog::{Catalog, Resolution};
use crate::helpers::{HelperEvent, News, Ticket};
use crate::histograms::{Histograms, Kind};
use crate::limits::SHUTDOWN_DEADLINE;
use crate::listing::Listing;
use crate::lobby::{Lobby, Moment, Refusal};
use crate::names::{KeyFingerprint, NameRegistry};
use crate::rate::Budgets;
use crate::slots::SlotId;
use crate::transfers::{Notice, Transfers};
use accept::Acceptor;
use arrivals::Arrivals;
use clients::Clients;
use side::{Side, SideKind};
use signals::{Signals, Wish};

/// Names are written at most once in so long.
const SAVE_INTERVAL: Duration = Duration::from_secs(1);

/// Before the deadline of a shutdown, transfers may go on for so long.
const TRANSFER_GRACE: Duration = Duration::from_secs(3);

/// A turn begins no further train after so long while somebody is in the chat.
const TURN_BESIDE_CHAT: Duration = Duration::from_micros(200);

/// News handled in one turn.
const NEWS_BUDGET: usize = 256;

/// To whom messages and requests are charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum BudgetKey {
    Key(KeyFingerprint),
    Connection(SlotId),
}

/// How a shutdown goes.
#[derive(Clone, Copy, Debug)]
struct Stopping {
    transfers_until: Timestamp,
    deadline: Timestamp,
    closed_transfers: bool,
}

/// A server that is ready to run.
pub(crate) struct Reactor {
    poll: Poll,
    clock: Clock,
    timer: PreciseTimer,
    now: Timestamp,
    unix_ms: u64,
    started: Instant,
    acceptor: Option<Acceptor>,
    clients: Clients,
    lobby: Lobby,
    names: NameRegistry,
    saved_at: Option<Timestamp>,
    access: Access,
    budgets: Budgets<BudgetKey>,
    max_clients: usize,
    /// Optional features that clients are offered.
    features: u32,
    catalog: Catalog,
    news: News,
    transfers: Transfers,
    notices: Vec<Notice>,
    histograms: Histograms,
    arrivals: Arrivals,
    too_fast: u64,
    side: Side,
    metrics: Option<mio::net::TcpListener>,
    #[cfg(unix)]
    admin: Option<setup::AdminListener>,
    signals: Option<Signals>,
    stop: Arc<AtomicBool>,
    stopping: Option<Stopping>,
    /// More to do at once: the poll must not wait.
    news_left: bool,
    accepted: (u64, u64),
    address: SocketAddr,
    fingerprint: String,
}

impl Reactor {
    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The fingerprint of the server's key; empty without TLS.
    pub(crate) fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Serves until it is told to stop.
    ///
    /// # Errors
    /// The poll or the timer fails: nothing can go on then.
    pub(crate) fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1_024);
        let mut ended = self.clock.now();
        loop {
            self.arrivals.polls(ended);
            let may_wait = self.sleep(&mut events)?;
            let began = self.clock.now();
            let real = SystemTime::now();
            self.arrivals.begin_turn(began, real, may_wait, self.now);
            self.set_now(began, real);
            self.sort_events(&events);
            self.turn();
            ended = self.clock.now();
            self.histograms.record(Kind::LoopTurn, ended - began);
            if self.is_done() {
                break;
            }
        }
        self.histograms.write_now(self.clock.now(), true);
        // What it was told to save is older than what is saved now.
        self.catalog.finish();
        if let Some((path, text)) = self.names.take_snapshot() {
            crate::names::write(&path, &text)?;
        }
        Ok(())
    }

    fn set_now(&mut self, now: Timestamp, real: SystemTime) {
        self.now = now;
        let since = real.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.unix_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        self.clients.set_now(now);
        self.transfers.store.set_now(now);
    }

    fn moment(&self) -> Moment {
        Moment {
            now: self.now,
            unix_ms: self.unix_ms,
        }
    }

    /// Waits for events or the next deadline; not at all when there is more to do: `false` then.
    fn sleep(&mut self, events: &mut Events) -> io::Result<bool> {
        let busy = self.clients.has_work()
            || self.transfers.has_more()
            || self.news_left
            || self
                .acceptor
                .as_ref()
                .is_some_and(|acceptor| acceptor.pending);
        let timeout = if busy {
            Some(Duration::ZERO)
        } else {
            let deadline = self.next_deadline();
            match deadline {
                Some(at) => self.timer.arm(at)?,
                None => self.timer.disarm()?,
            }
            self.timer.poll_timeout(self.clock.now(), deadline)
        };
        match self.poll.poll(events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                events.clear();
                Ok(!busy)
            }
            result => result.map(|()| !busy),
        }
    }

    fn next_deadline(&self) -> Option<Timestamp> {
        let saving = self
            .names
            .is_dirty()
            .then(|| self.saved_at.map_or(self.now, |at| at + SAVE_INTERVAL));
        let stopping = self.stopping.map(|stopping| {
            if stopping.closed_transfers {
                stopping.deadline
            } else {
                stopping.transfers_until
            }
        });
        let retry = self.acceptor.as_ref().and_then(Acceptor::next_deadline);
        [
            self.clients.next_deadline(),
            self.transfers.next_deadline(),
            self.lobby.next_deadline(),
            self.histograms.next_deadline(),
            saving,
            stopping,
            retry,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Notes what the events say; nothing is done yet.
    fn sort_events(&mut self, events: &Events) {
        for event in events {
            match event.token() {
                tokens::LISTENER => {
                    if let Some(acceptor) = &mut self.acceptor {
                        acceptor.pending = true;
                    }
                }
                tokens::UDP => {
                    self.transfers.readable |= event.is_readable();
                    if event.is_writable() {
                        self.transfers.on_writable();
                    }
                }
                tokens::TIMER => self.timer.acknowledge(),
                tokens::WAKER => self.news_left = true,
                tokens::SIGNALS => self.on_signals(),
                tokens::METRICS => self.accept_metrics(),
                #[cfg(unix)]
                tokens::ADMIN => self.accept_admin(),
                token if Side::owns(token) => self.on_side(token),
                token => {
                    let Some(id) = SlotId::from_token(token) else {
                        continue;
                    };
                    if let Some(connection) = self.clients.get_mut(id) {
                        if event.is_readable() || event.is_read_closed() || event.is_error() {
                            connection.mark_readable(self.arrivals.since());
                        }
                        self.clients.mark_ready(id);
                        if event.is_writable() {
                            self.clients.mark_dirty(id);
                        }
                    }
                }
            }
        }
    }

    fn turn(&mut self) {
        let now = self.now;
        for id in self.clients.handle_timeouts() {
            self.drop_client(id);
        }
        self.transfers.handle_timeout(now);
        self.histograms.write_due(now);

        // Before packets, which are many.
        self.serve_clients();
        if self.transfers.readable {
            let clock = self.clock;
            self.transfers.receive(now, || clock.now());
            for span in self.transfers.batch_spans.drain(..) {
                self.histograms.record(Kind::AckProcessing, span);
            }
        }
        self.take_news();
        self.take_notices();
        self.flush_clients();
        let clock = self.clock;
        // Who talks must not wait for many trains; without chat, longer turns cost less.
        let until = (!self.lobby.is_empty()).then(|| now + TURN_BESIDE_CHAT);
        self.transfers.transmit(until, || clock.now());
        self.take_notices();
        self.save_names();
        self.go_on_stopping();
    }

    /// Reads whoever said something, and writes it to everybody.
    fn serve_clients(&mut self) {
        let now = self.now;
        if let Some(acceptor) = &mut self.acceptor {
            acceptor.accept(now, self.poll.registry(), &mut self.clients);
            self.accepted = (acceptor.accepted, acceptor.shed);
        }
        for id in self.clients.take_ready() {
            self.read_client(id);
        }
        self.flush_clients();
        let mut now = None;
        for came in self.arrivals.take() {
            let now = *now.get_or_insert_with(|| self.clock.now());
            self.histograms.record(Kind::FanOut, now - came);
        }
    }

    /// Writes what waits.
    fn flush_clients(&mut self) {
        for id in self.clients.take_ended() {
            self.lobby.leave(id);
        }
        self.lobby.announce_due(self.moment(), &mut self.clients);
        for id in self.clients.flush() {
            self.drop_client(id);
        }
    }

    fn drop_client(&mut self, id: SlotId) {
        self.lobby.leave(id);
        if let Some(connection) = self.clients.remove(self.poll.registry(), id) {
            tracing::debug!(client = %connection.address, "a connection is closed");
            if let Some(association) = connection.association {
                self.transfers.on_control_lost(self.now, association);
            }
        }
    }

    fn take_news(&mut self) {
        if !std::mem::take(&mut self.news_left) {
            return;
        }
        if self.stop.load(Ordering::Acquire) {
            self.begin_stopping();
        }
        self.news.look();
        for _ in 0..NEWS_BUDGET {
            let Some(event) = self.news.take() else {
                return;
            };
            self.on_news(event);
        }
        self.news_left = true;
    }

    fn on_news(&mut self, event: HelperEvent) {
        let store = &mut self.transfers.store;
        let woken = match event {
            HelperEvent::Listed {
                ticket,
                prefix,
                index,
            } => {
                let listing = Listing::Files {
                    request: ticket.request,
                    prefix,
                    index,
                    next: 0,
                };
                return self.answer(ticket, [listing]);
            }
            HelperEvent::Found { ticket, found } => return self.on_found(ticket, found),
            HelperEvent::Resolved { ticket, resolution } => {
                return self.on_resolved(ticket, resolution);
            }
            HelperEvent::Opened(files) => store.on_opened_all(files),
            HelperEvent::Hashed { file, values } => store.on_hashed(file, &values),
            HelperEvent::ReadAhead {
                file,
                first,
                count,
                last,
            } => store.on_read_ahead(file, first, count, last),
            HelperEvent::ReadFailed { file, error } => store.on_read_failed(file, &error),
        };
        self.transfers.wake(self.now, &woken);
    }

    fn answer(&mut self, ticket: Ticket, listings: impl IntoIterator<Item = Listing>) {
        if let Some(connection) = self.clients.get_mut(ticket.client) {
            connection.pending_requests = connection.pending_requests.saturating_sub(1);
            if !connection.is_closing() {
                connection.listings.extend(listings);
            }
            self.clients.mark_dirty(ticket.client);
        }
    }

    fn on_resolved(&mut self, ticket: Ticket, resolution: Resolution) {
        let Some(connection) = self.clients.get_mut(ticket.client) else {
            return;
        };
        let Resolution {
            found,
            unknown,
            unreadable,
            too_many,
        } = resolution;
        let mut refusals: VecDeque<Refusal> = VecDeque::new();
        refusals.extend(unknown.iter().map(|name| {
            let text = format!(
                "the server shares no file called {}: /files lists what there is",
                shown(name)
            );
            Refusal::new(ControlError::NoSuchFile, text)
        }));
        refusals.extend(unreadable.iter().map(|(name, why)| {
            Refusal::new(
                ControlError::Unreadable,
                format!("the server cannot read {}: {why}", shown(name)),
            )
        }));
        if too_many {
            let text = "too many files at once: ask for parts of the tree";
            refusals.push_back(Refusal::new(ControlError::TooManyTransfers, text));
        }
        let first = connection.add_offers(&found, self.now);
        let request = ticket.request;
        let refused = (!refusals.is_empty()).then_some(Listing::Refusals { request, refusals });
        let offer = Listing::Offer {
            request,
            first,
            entries: found.into(),
            more: false,
        };
        self.answer(ticket, refused.into_iter().chain([offer]));
    }

    fn take_notices(&mut self) {
        let mut notices = std::mem::take(&mut self.notices);
        self.transfers.take_notices(self.now, &mut notices);
        for notice in notices.drain(..) {
            match notice {
                Notice::Ended {
                    client,
                    stream,
                    end,
                } => {
                    let code = ControlError::from_code(end.code());
                    self.clients.send(
                        client,
                        &Frame::Ended {
                            stream,
                            code,
                            text: &end.to_string(),
                        },
                    );
                }
                Notice::Closed {
                    client,
                    association,
                } => {
                    if let Some(connection) = self.clients.get_mut(client)
                        && connection.association == Some(association)
                    {
                        connection.association = None;
                    }
                }
                Notice::Report { client, report } => {
                    self.clients.send(client, &Frame::PathReport(report));
                }
                Notice::Rtt(rtt) => self.histograms.record(Kind::PacketRtt, rtt),
                Notice::Confirmed(took) => self.histograms.record(Kind::Download, took),
            }
        }
        // Kept for its memory: rounds of packets must not allocate.
        self.notices = notices;
        for span in self.transfers.store.first_bytes.drain(..) {
            self.histograms.record(Kind::FirstByte, span);
        }
    }

    fn save_names(&mut self) {
        if !self.names.is_dirty()
            || self
                .saved_at
                .is_some_and(|at| self.now < at + SAVE_INTERVAL)
        {
            return;
        }
        self.saved_at = Some(self.now);
        if let Some((path, text)) = self.names.take_snapshot()
            && self.catalog.save(path, text).is_err()
        {
            tracing::warn!("the names could not be saved now: the helper is busy");
        }
    }

    fn on_signals(&mut self) {
        let wishes = self
            .signals
            .as_mut()
            .map(Signals::wishes)
            .unwrap_or_default();
        for wish in wishes {
            match wish {
                Wish::Stop => self.begin_stopping(),
                Wish::Rescan => self.rescan(),
                Wish::WriteHistograms => self.histograms.write_now(self.now, true),
            }
        }
    }

    fn rescan(&mut self) {
        if let Err(error) = self.access.reload() {
            tracing::error!(%error, "the rules of access stay as they were");
        }
        if self.catalog.rescan().is_err() {
            tracing::warn!("the shared folder cannot be scanned now: the helper is busy");
        }
        tracing::info!("files and keys are read again");
    }

    fn accept_metrics(&mut self) {
        while let Some(Ok((stream, _))) = self.metrics.as_ref().map(mio::net::TcpListener::accept) {
            self.side
                .insert(self.poll.registry(), Box::new(stream), SideKind::Metrics);
        }
    }

    #[cfg(unix)]
    fn accept_admin(&mut self) {
        while let Some(Ok((stream, _))) = self.admin.as_ref().map(setup::AdminListener::accept) {
            self.side
                .insert(self.poll.registry(), Box::new(stream), SideKind::Admin);
        }
    }

    fn on_side(&mut self, token: Token) {
        if let Some((kind, request)) = self.side.on_event(self.poll.registry(), token) {
            let answer = match kind {
                SideKind::Metrics => self.report().to_prometheus(),
                SideKind::Admin => self.on_admin(&request),
            };
            self.side.answer(self.poll.registry(), token, &answer);
        }
    }

    fn begin_stopping(&mut self) {
        if self.stopping.is_some() {
            return;
        }
        tracing::info!("stopping");
        self.stopping = Some(Stopping {
            transfers_until: self.now + TRANSFER_GRACE,
            deadline: self.now + SHUTDOWN_DEADLINE,
            closed_transfers: false,
        });
        if let Some(mut acceptor) = self.acceptor.take()
            && let Err(error) = self.poll.registry().deregister(acceptor.listener())
        {
            tracing::debug!(%error, "the listener could not be taken out of the poll");
        }
        for id in self.clients.ids() {
            let words = (ControlError::ShuttingDown, "the server is shutting down");
            self.clients.end_after_queue(id, Some(words));
        }
    }

    fn go_on_stopping(&mut self) {
        let Some(stopping) = &mut self.stopping else {
            return;
        };
        let (_, streams) = self.transfers.active();
        if !stopping.closed_transfers && (streams == 0 || stopping.transfers_until <= self.now) {
            stopping.closed_transfers = true;
            self.transfers.close_all(self.now);
            let clock = self.clock;
            self.transfers.transmit(None, || clock.now());
        }
        for id in self.clients.said_goodbye() {
            self.drop_client(id);
        }
    }

    fn is_done(&self) -> bool {
        self.stopping.is_some_and(|stopping| {
            let quiet =
                stopping.closed_transfers && self.clients.len() == 0 && !self.transfers.has_more();
            quiet || stopping.deadline <= self.now
        })
    }
}

/// A name from a client, fit for an error's one line.
fn shown(name: &str) -> String {
    let short: String = name.chars().take(200).collect();
    printable(&short).into_owned()
}
