//! Datagrams in and trains out, over the one UDP socket, within the budgets of a turn.

use std::io;
use std::time::Duration;

use columba_core::endpoint::Outgoing;
use columba_core::stats::LimitedBy;
use columba_core::units::Timestamp;
use columba_net::udp::{SendOutcome, SendTrain};

use super::Transfers;

/// Trains sent in one turn of the loop.
const TRAIN_BUDGET: usize = 16;

/// Batches of received trains handled in one turn of the loop.
pub(super) const RECV_BUDGET: usize = 8;

/// How long to wait when the kernel has no memory for packets.
const NO_BUFFERS_PAUSE: Duration = Duration::from_millis(1);

impl Transfers {
    /// The socket may take more.
    pub(crate) fn on_writable(&mut self) {
        self.blocked = false;
    }

    /// Handles received datagrams, within a budget; how long each batch took goes to `batch_spans`.
    pub(crate) fn receive(&mut self, now: Timestamp, clock: impl Fn() -> Timestamp) {
        for _ in 0..RECV_BUDGET {
            if !self.readable {
                return;
            }
            match self.socket.recv(&mut self.batch) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.readable = false;
                    return;
                }
                // An earlier datagram bounced (ICMP): the socket is as good as before.
                Err(error) => {
                    tracing::debug!(%error, "receiving failed");
                    return;
                }
            }
            let began = clock();
            for mut train in self.batch.iter_mut() {
                let (from, ecn) = (train.from, train.ecn);
                for datagram in train.datagrams() {
                    self.counts.datagrams_received += 1;
                    self.endpoint.handle_datagram(now, from, ecn, datagram);
                }
            }
            self.batch_spans.push(clock() - began);
        }
    }

    /// Sends what may be sent, within a budget: a number of trains, of which none but the first begins after `until`.
    /// `clock` gives the time of each train.
    pub(crate) fn transmit(&mut self, until: Option<Timestamp>, clock: impl Fn() -> Timestamp) {
        for train in 0..TRAIN_BUDGET {
            if self.blocked || self.retry_at.is_some() {
                return;
            }
            let now = clock();
            if train > 0 && until.is_some_and(|until| now >= until) {
                return;
            }
            let (outgoing, done) = match self.held.take() {
                Some(held) => held,
                None => {
                    if self
                        .allowance
                        .as_mut()
                        .is_some_and(|allowance| !allowance.may_send(now))
                    {
                        self.endpoint.hold_back(now, LimitedBy::ServerLimit);
                        return;
                    }
                    match self.make_train(now) {
                        Some(outgoing) => (outgoing, 0),
                        None => return,
                    }
                }
            };
            self.send(now, outgoing, done);
        }
    }

    fn make_train(&mut self, now: Timestamp) -> Option<Outgoing> {
        self.store.set_now(now);
        loop {
            let trips = shrunk_maps();
            let outgoing = self
                .endpoint
                .poll_transmit(now, &mut self.store, &mut self.buffer)?;
            if shrunk_maps() == trips {
                return Some(outgoing);
            }
            // A file shrank under the map while its bytes were taken: zeros never leave. The next look at it ends
            // its streams.
            self.counts.trains_dropped += 1;
        }
    }

    /// Sends the bytes of the train from `done` on.
    fn send(&mut self, now: Timestamp, outgoing: Outgoing, done: usize) {
        let Outgoing {
            to,
            bytes,
            segment_bytes,
            ecn,
            ..
        } = outgoing;
        let train = SendTrain {
            to,
            segment_bytes,
            data: &self.buffer[done..bytes],
            ecn: Some(ecn),
        };
        let outcome = match self.socket.send(&train) {
            Ok(outcome) => outcome,
            Err(error) => {
                // As good as lost on the way: recovery sees to it.
                tracing::debug!(%to, %error, "sending failed");
                return;
            }
        };
        let sent_until = |segments: usize| (done + segments * segment_bytes).min(bytes);
        let sent = match outcome {
            SendOutcome::Sent => bytes,
            SendOutcome::WouldBlock { sent_segments } => {
                self.blocked = true;
                self.hold(outgoing, sent_until(sent_segments))
            }
            SendOutcome::NoBuffers { sent_segments } => {
                self.retry_at = Some(now + NO_BUFFERS_PAUSE);
                self.hold(outgoing, sent_until(sent_segments))
            }
            SendOutcome::TooLarge { sent_segments } => {
                self.endpoint.on_too_large(now, to, segment_bytes);
                sent_until(sent_segments)
            }
        };
        let sent = sent - done;
        self.counts.bytes_sent += sent as u64;
        self.counts.trains_sent += 1;
        if let Some(allowance) = &mut self.allowance {
            allowance.spend(sent);
        }
    }

    fn hold(&mut self, outgoing: Outgoing, done: usize) -> usize {
        if done < outgoing.bytes {
            self.held = Some((outgoing, done));
        }
        done
    }
}

/// How often a mapped file shrank under a reader.
#[cfg(unix)]
fn shrunk_maps() -> u64 {
    crate::files::sigbus::trips()
}

/// A mapped file cannot shrink.
#[cfg(not(unix))]
fn shrunk_maps() -> u64 {
    0
}
