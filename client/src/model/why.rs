//! Why is it this speed? One plain sentence, and the figures behind it.
//!
//! The server says what held its sending back ([`PathReport`]); the client knows its own disk, buffers
//! and kernel. Without the server's word the client's own figures decide.

use std::time::Duration;

use columba_core::stats::{LimitedBy, PathReport};

use super::units;
use crate::engine::message::NetworkSample;

/// What bounds the speed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bottleneck {
    /// The path between server and us.
    Network,
    /// A limit that somebody set: the server's operator, or we ourselves.
    Cap,
    /// The server reads or hashes the file for the first time.
    ServerDisk,
    /// The server's processor, network interface, or other clients.
    Server,
    /// Our disk or processor: what has come waits to be hashed and written.
    OurDisk,
    /// Our kernel's buffer for the socket.
    OurBuffer,
    /// Nothing does: too little is asked for to tell.
    Nothing,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Why {
    /// What bounds the speed.
    pub bottleneck: Bottleneck,
    /// One plain sentence.
    pub sentence: String,
    /// Figures behind it, each a name and a value.
    pub figures: Vec<(&'static str, String)>,
}

/// More than this share of the packets lost is worth a word.
const NOTABLE_LOSS: f64 = 0.005;
/// A round trip so much longer than the least one: a queue stands on the path.
const QUEUE_FACTOR: f64 = 1.5;
/// With less credit than so many round trips' worth the receiver is what bounds.
const SCARCE_STORAGE_BYTES: u64 = 4 << 20;

/// Why files come as fast as this; `None` when none come.
#[must_use]
pub fn explain(sample: &NetworkSample) -> Option<Why> {
    if sample.packets == 0 && sample.new_bytes == 0 && sample.storage_backlog_bytes == 0 {
        return None;
    }
    let judged = sample.sender.as_ref().and_then(|report| {
        let (by, share) = report.mostly_limited_by()?;
        Some((by, share, report))
    });
    let (bottleneck, sentence) = match judged {
        Some((by, _, report)) => by_sender(by, report, sample),
        None => by_ourselves(sample),
    };
    Some(Why {
        bottleneck,
        sentence,
        figures: figures(sample),
    })
}

fn by_sender(by: LimitedBy, report: &PathReport, sample: &NetworkSample) -> (Bottleneck, String) {
    match by {
        LimitedBy::Nothing => nothing(),
        LimitedBy::Path => network(report, sample),
        LimitedBy::ClientLimit => (
            Bottleneck::Cap,
            "This is the rate limit that you set yourself.".to_owned(),
        ),
        LimitedBy::ServerLimit if report.server_limit > 0 => {
            let limit = rate_of(report.server_limit);
            let text = format!("The server's operator allows {limit} for all downloads together.");
            (Bottleneck::Cap, text)
        }
        LimitedBy::ServerLimit => (
            Bottleneck::Cap,
            "The server's operator has limited the rate of all downloads.".to_owned(),
        ),
        LimitedBy::Receiver => receiver(sample),
        LimitedBy::Source => (
            Bottleneck::ServerDisk,
            "The server's disk is the limit: the file is being read there for the first time."
                .to_owned(),
        ),
        LimitedBy::Host => (
            Bottleneck::Server,
            "The server itself is the limit: its processor, its network interface, or its other clients."
                .to_owned(),
        ),
    }
}

fn by_ourselves(sample: &NetworkSample) -> (Bottleneck, String) {
    if sample.storage_credit_bytes < SCARCE_STORAGE_BYTES || sample.kernel_drops > 0 {
        return receiver(sample);
    }
    let loss = sample.loss();
    let text = if loss >= NOTABLE_LOSS {
        format!(
            "The network is the limit: it loses {} of the packets.",
            units::percent(loss)
        )
    } else {
        "The network or the server is the limit; this computer keeps up.".to_owned()
    };
    (Bottleneck::Network, text)
}

fn nothing() -> (Bottleneck, String) {
    (
        Bottleneck::Nothing,
        "Nothing holds it back: there is little to fetch.".to_owned(),
    )
}

fn network(report: &PathReport, sample: &NetworkSample) -> (Bottleneck, String) {
    let carries = rate_of(report.delivery_rate);
    let loss = sender_loss(report).unwrap_or_else(|| sample.loss());
    let (srtt, least) = (f64::from(report.srtt_us), f64::from(report.min_rtt_us));
    let mut text = format!("The network is the limit: it carries {carries}");
    if loss >= NOTABLE_LOSS {
        text += &format!(" and loses {} of the packets", units::percent(loss));
    }
    if least > 0.0 && srtt > least * QUEUE_FACTOR && srtt - least > 5000.0 {
        text += "; a queue stands on the way, so others use it, too";
    }
    (Bottleneck::Network, text + ".")
}

fn receiver(sample: &NetworkSample) -> (Bottleneck, String) {
    if sample.storage_credit_bytes < SCARCE_STORAGE_BYTES {
        let waiting = units::size(sample.storage_backlog_bytes);
        let text =
            format!("This computer's disk is the limit: {waiting} wait to be checked and written.");
        return (Bottleneck::OurDisk, text);
    }
    let credit = units::size(sample.credit_bytes);
    let mut text =
        format!("This computer's network buffer is the limit: it takes {credit} at a time");
    if sample.kernel_drops > 0 {
        text += &format!(", and {} packets found no room in it", sample.kernel_drops);
    }
    (Bottleneck::OurBuffer, text + ".")
}

fn sender_loss(report: &PathReport) -> Option<f64> {
    (report.sent_packets > 0)
        .then(|| f64::from(report.lost_packets) / f64::from(report.sent_packets))
}

fn rate_of(bytes_per_second: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "for display")]
    units::rate(bytes_per_second as f64)
}

fn figures(sample: &NetworkSample) -> Vec<(&'static str, String)> {
    let mut all = vec![
        ("rate", units::rate(sample.bytes_per_second())),
        ("round trip", units::latency(sample.srtt)),
        ("least round trip", units::latency(sample.min_rtt)),
        ("loss", units::percent(sample.loss())),
        ("credit", units::size(sample.credit_bytes)),
        (
            "waits for the disk",
            units::size(sample.storage_backlog_bytes),
        ),
        ("dropped by this computer", sample.kernel_drops.to_string()),
        ("duplicates", sample.duplicate_packets.to_string()),
    ];
    let Some(report) = &sample.sender else {
        return all;
    };
    all.extend([
        ("window", units::size(report.cwnd)),
        ("in flight", units::size(report.in_flight)),
        ("sent again", report.retransmitted_packets.to_string()),
        ("packet size", units::size(u64::from(report.datagram_bytes))),
    ]);
    if report.pacing_rate > 0 {
        all.push(("paced at", rate_of(report.pacing_rate)));
    }
    if let Some(loss) = sender_loss(report) {
        all.push(("loss seen by the server", units::percent(loss)));
    }
    if let Some((by, share)) = report.mostly_limited_by() {
        all.push((name_of(by), units::percent(share)));
    }
    let least = Duration::from_micros(u64::from(report.min_rtt_us));
    all.push(("server's least round trip", units::latency(least)));
    all
}

const fn name_of(by: LimitedBy) -> &'static str {
    match by {
        LimitedBy::Nothing => "time with nothing to send",
        LimitedBy::Path => "time the path was the limit",
        LimitedBy::ClientLimit => "time your own limit held",
        LimitedBy::ServerLimit => "time the operator's limit held",
        LimitedBy::Receiver => "time this computer was the limit",
        LimitedBy::Source => "time the server's disk was the limit",
        LimitedBy::Host => "time the server was the limit",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> NetworkSample {
        NetworkSample {
            interval: Duration::from_millis(500),
            new_bytes: 5_000_000,
            srtt: Duration::from_millis(20),
            packets: 1000,
            credit_bytes: 8 << 20,
            storage_credit_bytes: 64 << 20,
            ..NetworkSample::default()
        }
    }

    fn with(by: LimitedBy) -> NetworkSample {
        let mut report = PathReport {
            delivery_rate: 10_000_000,
            sent_packets: 100,
            lost_packets: 5,
            server_limit: 10_000_000,
            ..PathReport::default()
        };
        report.limited[LimitedBy::Nothing as usize] = 500;
        report.limited[by as usize] = 400;
        report.limited[LimitedBy::Host as usize] += 100;
        NetworkSample {
            sender: Some(report),
            ..sample()
        }
    }

    #[test]
    fn each_cause_has_its_sentence() {
        for (by, bottleneck, words) in [
            (LimitedBy::Path, Bottleneck::Network, "loses 5.0 %"),
            (LimitedBy::ClientLimit, Bottleneck::Cap, "yourself"),
            (LimitedBy::ServerLimit, Bottleneck::Cap, "10.0 MB/s"),
            (LimitedBy::Source, Bottleneck::ServerDisk, "disk"),
            (LimitedBy::Host, Bottleneck::Server, "processor"),
            (LimitedBy::Receiver, Bottleneck::OurBuffer, "8.4 MB"),
        ] {
            let why = explain(&with(by)).unwrap();
            assert_eq!(why.bottleneck, bottleneck);
            assert!(why.sentence.contains(words), "{}", why.sentence);
            assert!(why.sentence.ends_with('.'));
            assert!(why.figures.iter().any(|(_, value)| value == "10.0 MB/s"));
        }
    }

    #[test]
    fn a_full_backlog_is_the_disk() {
        let mut slow = with(LimitedBy::Receiver);
        slow.storage_credit_bytes = 0;
        slow.storage_backlog_bytes = 60_000_000;
        let why = explain(&slow).unwrap();
        assert_eq!(why.bottleneck, Bottleneck::OurDisk);
        assert!(why.sentence.contains("60.0 MB"), "{}", why.sentence);
    }

    #[test]
    fn without_the_servers_word_our_own_figures_decide() {
        assert_eq!(explain(&NetworkSample::default()), None);
        let mut own = sample();
        assert_eq!(explain(&own).unwrap().bottleneck, Bottleneck::Network);
        own.kernel_drops = 3;
        assert_eq!(explain(&own).unwrap().bottleneck, Bottleneck::OurBuffer);
        own.storage_credit_bytes = 0;
        assert_eq!(explain(&own).unwrap().bottleneck, Bottleneck::OurDisk);
    }
}
