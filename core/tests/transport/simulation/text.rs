//! Cases as text, one line each, to be repeated whatever is drawn from a seed some day.
//!
//! `seed 7; files 4096 30000; peer loss=0.1 delay=25000000; at 1200000000 kill-client peer=0`: clauses of words, times
//! in nanoseconds, and only what differs from a client on a perfect path.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::str::FromStr;
use std::time::Duration;

use columba_core::congestion::Algorithm;
use columba_loss_sim::{Blackhole, BurstLoss, Distribution, Impairments, Reorder};

use super::case::{Case, Fault, PeerCase};

/// A client on a perfect path.
pub(super) fn plain_peer() -> PeerCase {
    PeerCase {
        seed: 0,
        impairments: Impairments::default(),
        up_loss: None,
        initial_rtt: None,
        algorithm: Algorithm::default(),
        plaintext: false,
        max_datagram: 1472,
        credit: 16 << 20,
        cell_bytes: 288,
    }
}

fn distribution_name(distribution: Distribution) -> &'static str {
    match distribution {
        Distribution::Uniform => "uniform",
        Distribution::Normal => "normal",
        Distribution::Pareto => "pareto",
    }
}

/// The words of a path, each with its value.
fn path_words(faults: &Impairments) -> Vec<(&'static str, String)> {
    let mut words = vec![
        ("loss", faults.loss.to_string()),
        ("delay", faults.delay.as_nanos().to_string()),
        ("jitter", faults.jitter.as_nanos().to_string()),
        (
            "distribution",
            distribution_name(faults.distribution).to_owned(),
        ),
        ("duplicate", faults.duplicate.to_string()),
        ("corrupt", faults.corrupt.to_string()),
        ("truncate", faults.truncate.to_string()),
    ];
    if let Some(burst) = faults.burst_loss {
        words.push((
            "burst",
            format!("{},{}", burst.good_to_bad, burst.bad_to_good),
        ));
    }
    if let Some(rate) = faults.rate_bits_per_second {
        words.push(("rate", rate.to_string()));
    }
    if let Some(queue) = faults.queue_bytes {
        words.push(("queue", queue.to_string()));
    }
    if let Some(reorder) = faults.reorder {
        let delay = reorder.delay.as_nanos();
        words.push(("reorder", format!("{},{delay}", reorder.probability)));
    }
    if let Some(Blackhole { on, off }) = faults.blackhole {
        words.push(("blackhole", format!("{},{}", on.as_nanos(), off.as_nanos())));
    }
    if let Some(largest) = faults.max_datagram_bytes {
        words.push(("mtu", largest.to_string()));
    }
    words
}

fn peer_words(peer: &PeerCase) -> Vec<(&'static str, String)> {
    let mut words = path_words(&peer.impairments);
    if let Some(loss) = peer.up_loss {
        words.push(("up-loss", loss.to_string()));
    }
    if let Some(rtt) = peer.initial_rtt {
        words.push(("initial-rtt", rtt.as_nanos().to_string()));
    }
    words.extend([
        ("seed", peer.seed.to_string()),
        ("algorithm", peer.algorithm.to_string()),
        ("plaintext", peer.plaintext.to_string()),
        ("max-datagram", peer.max_datagram.to_string()),
        ("credit", peer.credit.to_string()),
        ("cell", peer.cell_bytes.to_string()),
    ]);
    words
}

impl Display for Case {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        write!(out, "seed {}; files", self.seed)?;
        for size in &self.files {
            write!(out, " {size}")?;
        }
        let plain = peer_words(&plain_peer());
        for peer in &self.peers {
            write!(out, "; peer")?;
            let words = peer_words(peer).into_iter();
            for (name, value) in words.filter(|word| !plain.contains(word)) {
                write!(out, " {name}={value}")?;
            }
        }
        for (at, fault) in &self.schedule {
            write!(out, "; at {} {fault}", at.as_nanos())?;
        }
        Ok(())
    }
}

impl Display for Fault {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rebind { peer, address } => write!(out, "rebind peer={peer} address={address}"),
            Self::KillClient { peer } => write!(out, "kill-client peer={peer}"),
            Self::RestartServer => write!(out, "restart-server"),
            Self::Forget { peer } => write!(out, "forget peer={peer}"),
            Self::Reconnect { peer } => write!(out, "reconnect peer={peer}"),
            Self::GiveUp { peer, stream } => write!(out, "give-up peer={peer} stream={stream}"),
            Self::EndStream { peer, stream } => {
                write!(out, "end-stream peer={peer} stream={stream}")
            }
            Self::Cold { key } => write!(out, "cold key={key}"),
            Self::Hashless { key } => write!(out, "hashless key={key}"),
            Self::Warm { key } => write!(out, "warm key={key}"),
            Self::Credit { peer, bytes } => write!(out, "credit peer={peer} bytes={bytes}"),
            Self::Replay { back, from } => write!(out, "replay back={back} from={from}"),
            Self::TooLarge { peer, bytes } => write!(out, "too-large peer={peer} bytes={bytes}"),
        }
    }
}

/// `name=value` words, taken out one by one: what is left was not understood.
struct Words<'a>(BTreeMap<&'a str, &'a str>);

impl<'a> Words<'a> {
    fn read(words: impl Iterator<Item = &'a str>) -> Result<Self, String> {
        let pair = |word: &'a str| word.split_once('=').ok_or(format!("{word:?} has no value"));
        Ok(Self(words.map(pair).collect::<Result<_, _>>()?))
    }

    fn take<T: FromStr>(&mut self, name: &str) -> Result<Option<T>, String> {
        let parse = |text: &str| {
            text.parse()
                .map_err(|_| format!("{name}={text}: no such value"))
        };
        self.0.remove(name).map(parse).transpose()
    }

    fn need<T: FromStr>(&mut self, name: &str) -> Result<T, String> {
        self.take(name)?.ok_or(format!("{name} is missing"))
    }

    fn set<T: FromStr>(&mut self, name: &str, place: &mut T) -> Result<(), String> {
        if let Some(value) = self.take(name)? {
            *place = value;
        }
        Ok(())
    }

    fn time(&mut self, name: &str) -> Result<Option<Duration>, String> {
        Ok(self.take(name)?.map(Duration::from_nanos))
    }

    /// Two values with a comma between them.
    fn pair<A: FromStr, B: FromStr>(&mut self, name: &str) -> Result<Option<(A, B)>, String> {
        let Some(text) = self.0.remove(name) else {
            return Ok(None);
        };
        let values = text.split_once(',');
        let values = values.and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
        values
            .map(Some)
            .ok_or(format!("{name}={text}: no such values"))
    }

    fn end(self) -> Result<(), String> {
        match self.0.first_key_value() {
            None => Ok(()),
            Some((name, _)) => Err(format!("{name:?} has no meaning here")),
        }
    }
}

fn read_path(words: &mut Words<'_>) -> Result<Impairments, String> {
    let mut faults = Impairments::default();
    words.set("loss", &mut faults.loss)?;
    faults.delay = words.time("delay")?.unwrap_or_default();
    faults.jitter = words.time("jitter")?.unwrap_or_default();
    faults.distribution = match words.0.remove("distribution") {
        None => Distribution::default(),
        Some("uniform") => Distribution::Uniform,
        Some("normal") => Distribution::Normal,
        Some("pareto") => Distribution::Pareto,
        Some(other) => return Err(format!("distribution={other}: no such value")),
    };
    words.set("duplicate", &mut faults.duplicate)?;
    words.set("corrupt", &mut faults.corrupt)?;
    words.set("truncate", &mut faults.truncate)?;
    let burst = words.pair("burst")?;
    faults.burst_loss = burst.map(|(to_bad, to_good)| BurstLoss::gilbert(to_bad, to_good));
    faults.rate_bits_per_second = words.take("rate")?;
    faults.queue_bytes = words.take("queue")?;
    faults.reorder = words.pair("reorder")?.map(|(probability, delay)| Reorder {
        probability,
        delay: Duration::from_nanos(delay),
    });
    faults.blackhole = words.pair("blackhole")?.map(|(on, off)| Blackhole {
        on: Duration::from_nanos(on),
        off: Duration::from_nanos(off),
    });
    faults.max_datagram_bytes = words.take("mtu")?;
    faults.validate().map_err(|error| error.to_string())?;
    Ok(faults)
}

fn read_peer<'a>(words: impl Iterator<Item = &'a str>) -> Result<PeerCase, String> {
    let mut words = Words::read(words)?;
    let mut peer = plain_peer();
    peer.impairments = read_path(&mut words)?;
    peer.up_loss = words.take("up-loss")?;
    peer.initial_rtt = words.time("initial-rtt")?;
    words.set("seed", &mut peer.seed)?;
    words.set("algorithm", &mut peer.algorithm)?;
    words.set("plaintext", &mut peer.plaintext)?;
    words.set("max-datagram", &mut peer.max_datagram)?;
    words.set("credit", &mut peer.credit)?;
    words.set("cell", &mut peer.cell_bytes)?;
    words.end()?;
    Ok(peer)
}

fn read_fault<'a>(mut words: impl Iterator<Item = &'a str>) -> Result<(Duration, Fault), String> {
    let at = words.next().and_then(|word| word.parse().ok());
    let at = Duration::from_nanos(at.ok_or("a fault has no time")?);
    let name = words.next().unwrap_or_default();
    let mut words = Words::read(words)?;
    let peer = words.take("peer")?;
    let with_peer = || peer.ok_or(format!("{name} needs a peer"));
    let fault = match name {
        "rebind" => Fault::Rebind {
            peer: with_peer()?,
            address: words.need("address")?,
        },
        "kill-client" => Fault::KillClient { peer: with_peer()? },
        "restart-server" => Fault::RestartServer,
        "forget" => Fault::Forget { peer: with_peer()? },
        "reconnect" => Fault::Reconnect { peer: with_peer()? },
        "give-up" => Fault::GiveUp {
            peer: with_peer()?,
            stream: words.need("stream")?,
        },
        "end-stream" => Fault::EndStream {
            peer: with_peer()?,
            stream: words.need("stream")?,
        },
        "cold" => Fault::Cold {
            key: words.need("key")?,
        },
        "hashless" => Fault::Hashless {
            key: words.need("key")?,
        },
        "warm" => Fault::Warm {
            key: words.need("key")?,
        },
        "credit" => Fault::Credit {
            peer: with_peer()?,
            bytes: words.need("bytes")?,
        },
        "replay" => Fault::Replay {
            back: words.need("back")?,
            from: words.need("from")?,
        },
        "too-large" => Fault::TooLarge {
            peer: with_peer()?,
            bytes: words.need("bytes")?,
        },
        other => return Err(format!("there is no fault {other:?}")),
    };
    words.end()?;
    Ok((at, fault))
}

impl FromStr for Case {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let mut seed = None;
        let mut case = Self {
            seed: 0,
            files: Vec::new(),
            peers: Vec::new(),
            schedule: Vec::new(),
        };
        for clause in line.split(';') {
            let mut words = clause.split_whitespace();
            match words.next() {
                Some("seed") => seed = words.next().and_then(|word| word.parse().ok()),
                Some("files") => {
                    let size =
                        |word: &str| word.parse().map_err(|_| format!("{word:?} is no size"));
                    case.files = words.map(size).collect::<Result<_, _>>()?;
                }
                Some("peer") => case.peers.push(read_peer(words)?),
                Some("at") => case.schedule.push(read_fault(words)?),
                other => return Err(format!("a clause can't begin with {other:?}")),
            }
        }
        case.seed = seed.ok_or("the seed is missing")?;
        Ok(case)
    }
}
