//! The attempts of a [`Race`]: their streams, until one has done its TLS handshake (or, in the clear,
//! is connected). Nothing of ours leaves before, so servers take the others for nobody.

use std::net::SocketAddr;
use std::time::Duration;

use columba_core::control::{FrameDecoder, Side};
use columba_core::units::Timestamp;
use columba_net::control_stream::{ControlError, ControlStream};
use mio::{Interest, Registry};

use super::race::{AttemptId, Begun, Race};
use super::{ADDRESS_FOR, Link, MAX_QUEUED_BYTES, State};

/// TCP sends a SYN again after a second: a round trip that seems longer may be that of the first SYN
/// to the answer to the second.
const SYN_RESENT_AFTER: Duration = Duration::from_secs(1);

/// All that is under way to connect.
pub(super) struct Racing {
    race: Race,
    attempts: Vec<Attempt>,
}

/// One connection that is being made.
pub(super) struct Attempt {
    id: AttemptId,
    pub(super) stream: Box<ControlStream>,
    pub(super) decoder: FrameDecoder,
    pub(super) address: SocketAddr,
    since: Timestamp,
    connected: Option<Timestamp>,
    rtt: Option<Duration>,
}

/// The one that won, waiting for the server's first frame.
pub(super) struct Winner {
    pub(super) stream: Box<ControlStream>,
    pub(super) address: SocketAddr,
    id: AttemptId,
    since: Timestamp,
    race: Race,
}

impl Racing {
    fn new(addresses: usize) -> Self {
        Self {
            race: Race::new(addresses),
            attempts: Vec::new(),
        }
    }

    /// When it must be looked at next.
    pub(super) fn deadline(&self, link: &Link) -> Option<Timestamp> {
        let ends = self
            .attempts
            .iter()
            .map(|attempt| link.attempt_deadline(attempt.since));
        ends.chain(self.race.wake())
            .chain(link.pace.give_up_at)
            .min()
    }
}

impl Winner {
    pub(super) fn deadline(&self, link: &Link) -> Timestamp {
        link.attempt_deadline(self.since)
    }
}

impl Attempt {
    /// Moves it; true when it has won.
    fn progress(&mut self, now: Timestamp, race: &mut Race) -> Result<Progress, ControlError> {
        if let Some(error) = self.stream.take_error()? {
            return Err(error.into());
        }
        if self.connected.is_none() {
            if self.stream.peer_addr().is_err() {
                return Ok(Progress::default());
            }
            self.connected = Some(now);
            self.note_round_trip(now, race);
        }
        // The handshake moves by reading, so errors of the first flush are told by the read.
        let flushed = if self.stream.is_handshaking() {
            self.stream.flush().map(drop)
        } else {
            Ok(())
        };
        let more = if self.stream.is_encrypted() {
            Link::read(&mut self.stream, &mut self.decoder)?.more
        } else {
            false
        };
        flushed?;
        let won = !self.stream.is_handshaking();
        if won {
            tracing::debug!(address = %self.address, after = ?(now - self.since), "the handshake is done");
        } else {
            let _ = self.stream.flush()?;
        }
        Ok(Progress { won, more })
    }

    fn note_round_trip(&mut self, now: Timestamp, race: &mut Race) {
        let age = now - self.since;
        let report = self.stream.tcp_report();
        let resent = report.map_or(age >= SYN_RESENT_AFTER, |report| report.resent > 0);
        let told = report.and_then(|report| report.rtt).unwrap_or(age);
        self.rtt = (!resent || told < SYN_RESENT_AFTER).then_some(told);
        race.on_connected(now, self.id, self.rtt, resent);
        tracing::debug!(address = %self.address, after = ?age, rtt = ?self.rtt, resent, "connected");
    }

    /// Whether the kernel has sent something again, or waits for longer than two round trips to hear
    /// that the first flight has arrived.
    fn has_lost(&self, now: Timestamp) -> bool {
        let (Some(connected), Some(report)) = (self.connected, self.stream.tcp_report()) else {
            return false;
        };
        let late = now - connected > 2 * self.rtt.unwrap_or(SYN_RESENT_AFTER);
        report.resent > 0 || late && report.unacknowledged > 0
    }
}

#[derive(Clone, Copy, Default)]
struct Progress {
    won: bool,
    /// More is to be read, for which no event will come.
    more: bool,
}

impl Link {
    /// Begins a round: all addresses, until one answers.
    pub(super) fn begin_round(&mut self, now: Timestamp, registry: &Registry) {
        if self.addresses.is_empty() {
            self.resolve_again(now);
            return;
        }
        let racing = Racing::new(self.addresses.len());
        self.begin_attempts(now, registry, Box::new(racing));
    }

    pub(super) fn on_racing(
        &mut self,
        now: Timestamp,
        registry: &Registry,
        mut racing: Box<Racing>,
    ) {
        let mut index = 0;
        while let Some(attempt) = racing.attempts.get_mut(index) {
            let failure = match attempt.progress(now, &mut racing.race) {
                Ok(Progress { won: true, .. }) => {
                    let Racing { race, mut attempts } = *racing;
                    let others = attempts.iter().filter_map(|attempt| attempt.rtt).min();
                    let winner = attempts.swap_remove(index);
                    self.connect_rtt = winner.rtt.or(others);
                    self.on_won(now, registry, winner, race);
                    return;
                }
                Ok(Progress { more, .. }) if now < self.attempt_deadline(attempt.since) => {
                    self.more_to_read |= more;
                    index += 1;
                    continue;
                }
                Ok(_) if attempt.connected.is_some() => "it does not answer".to_owned(),
                Ok(_) => "no answer".to_owned(),
                Err(error) => match self.judge(error) {
                    Ok(failure) => failure,
                    Err(error) => {
                        self.fail(*error);
                        return;
                    }
                },
            };
            let attempt = racing.attempts.remove(index);
            self.note_failure(attempt.address, &failure);
            racing.race.on_failed(attempt.id);
        }
        if self.is_time_to_give_up(now) {
            self.give_up();
        } else {
            self.begin_attempts(now, registry, racing);
        }
    }

    /// Begins what is due; pauses when there is nothing left.
    fn begin_attempts(&mut self, now: Timestamp, registry: &Registry, mut racing: Box<Racing>) {
        loop {
            let attempts = &racing.attempts;
            let sees_loss = || attempts.iter().any(|attempt| attempt.has_lost(now));
            let Some(Begun { id, address }) = racing.race.begin(now, sees_loss) else {
                break;
            };
            let address = self.addresses[address];
            match self.connect(address, registry) {
                Ok(stream) => racing.attempts.push(Attempt {
                    id,
                    stream: Box::new(stream),
                    decoder: FrameDecoder::new(self.framing(), Side::Server),
                    address,
                    since: now,
                    connected: None,
                    rtt: None,
                }),
                Err(error) => {
                    self.note_failure(address, &error.to_string());
                    racing.race.on_failed(id);
                }
            }
        }
        if racing.race.is_over() {
            self.pause(now);
        } else {
            self.state = State::Racing(racing);
        }
    }

    fn connect(
        &self,
        address: SocketAddr,
        registry: &Registry,
    ) -> Result<ControlStream, ControlError> {
        let tcp = mio::net::TcpStream::connect(address)?;
        let mut stream = match &self.tls {
            Some(tls) => ControlStream::tls_client(tcp, tls, MAX_QUEUED_BYTES)?,
            None => ControlStream::plaintext(tcp, MAX_QUEUED_BYTES),
        };
        registry.register(
            &mut stream,
            self.token,
            Interest::READABLE | Interest::WRITABLE,
        )?;
        Ok(stream)
    }

    /// The others are closed; this one says who we are, behind the last words of its handshake.
    fn on_won(&mut self, now: Timestamp, registry: &Registry, attempt: Attempt, race: Race) {
        self.decoder = attempt.decoder;
        self.peer = Some(attempt.address);
        let mut winner = Box::new(Winner {
            stream: attempt.stream,
            address: attempt.address,
            id: attempt.id,
            since: attempt.since,
            race,
        });
        let introduced = self.introduce(&mut winner.stream);
        // Whoever waits hears of a first contact before the answer, which may be here already.
        self.more_to_read = true;
        self.on_moved(now, registry, winner, introduced);
    }

    /// The round goes on with what was not tried yet.
    pub(super) fn go_on_without(&mut self, now: Timestamp, registry: &Registry, winner: Winner) {
        let mut race = winner.race;
        race.on_failed(winner.id);
        let attempts = Vec::new();
        self.begin_attempts(now, registry, Box::new(Racing { race, attempts }));
    }

    pub(super) fn attempt_deadline(&self, since: Timestamp) -> Timestamp {
        match self.pace.give_up_at {
            Some(at) if self.addresses.len() > 1 => at.min(since + ADDRESS_FOR),
            Some(at) => at,
            None => since + ADDRESS_FOR,
        }
    }
}
