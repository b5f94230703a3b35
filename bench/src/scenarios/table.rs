//! The bad networks, and what must hold on each.

/// 15 ms one way, 10 Mbit/s, a queue of 25 packets of 1500 bytes.
pub(super) const BASE: &str = "--delay 15ms --rate 10mbit --queue 37500";

/// One bad network, or several of a kind, and what happens on it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scenario {
    pub(super) name: &'static str,
    /// Size of the file.
    pub(super) bytes: u64,
    /// Impairments besides [`BASE`], of which the last word on each counts. Each is a network of its own, with a server
    /// of its own.
    pub(super) networks: &'static [&'static str],
    /// Changes in mid-flow, as the simulator's scenario files have them.
    pub(super) timeline: &'static str,
    /// Downloads over each network, one after the other, each by a client process of its own.
    pub(super) runs: u32,
    /// Seconds from the clients' start to their end, all together: several times what the path needs.
    pub(super) deadline_seconds: f64,
    pub(super) play: Play,
    pub(super) check: Check,
    /// Belongs to the short set.
    pub(super) is_short: bool,
}

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Play {
    /// The file is downloaded.
    Download,
    /// The client's process is killed half-way; another one goes on.
    ClientVanishes,
    /// The server's process is killed half-way; another one takes its place.
    ServerVanishes,
}

/// What else must hold, beside identical files in time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Check {
    Nothing,
    /// DATA packets stay large: the path's MTU was not given up.
    LargePackets,
    /// This share of the erasure bound is reached, on average of all runs.
    Goodput(f64),
}

const fn download(
    name: &'static str,
    bytes: u64,
    networks: &'static [&'static str],
    deadline_seconds: f64,
) -> Scenario {
    Scenario {
        name,
        bytes,
        networks,
        timeline: "",
        runs: 1,
        deadline_seconds,
        play: Play::Download,
        check: Check::Nothing,
        is_short: false,
    }
}

impl Scenario {
    const fn timeline(self, timeline: &'static str) -> Self {
        Self { timeline, ..self }
    }

    const fn runs(self, runs: u32) -> Self {
        Self { runs, ..self }
    }

    const fn play(self, play: Play) -> Self {
        Self { play, ..self }
    }

    const fn check(self, check: Check) -> Self {
        Self { check, ..self }
    }

    const fn short(self) -> Self {
        Self {
            is_short: true,
            ..self
        }
    }
}

/// Ways to drop some of the first seven datagrams of a direction: each alone, all, and some patterns. The other ones of
/// all 127 are played in virtual time.
const FIRST_PACKETS: &[&str] = &[
    "--up-drop-nth 1",
    "--up-drop-nth 2",
    "--up-drop-nth 3",
    "--up-drop-nth 4",
    "--up-drop-nth 1-3",
    "--up-drop-nth 1-7",
    "--up-drop-nth 2,4,6",
    "--down-drop-nth 1",
    "--down-drop-nth 2",
    "--down-drop-nth 3",
    "--down-drop-nth 4",
    "--down-drop-nth 1-3",
    "--down-drop-nth 1-7",
    "--down-drop-nth 2,4,6",
    "--drop-nth 1",
    "--drop-nth 1-2",
    "--drop-nth 1-7",
    "--drop-nth 1,3,5,7",
];

/// IP packets limited to 1200 bytes, from the first second on.
const MTU_FALLS: &str = "[[step]]\nat = \"1s\"\nmax-datagram = 1172\n";

/// A round trip and a half in which nothing arrives.
const SILENCE: &str =
    "[[step]]\nat = \"1s\"\nloss = 1.0\n[[step]]\nat = \"1045ms\"\nloss = \"off\"\n";

pub(super) const SCENARIOS: &[Scenario] = &[
    download("clean", 2_000_000, &[""], 8.0),
    download("long-rtt-handshake", 1_000, &["--delay 750ms"], 20.0),
    download(
        "handshake-loss",
        1_000,
        &["--loss 30% --max-burst 3"],
        300.0,
    )
    .runs(50),
    download(
        "handshake-corruption",
        1_000,
        &["--corrupt 30% --max-burst 3"],
        300.0,
    )
    .runs(50),
    download("first-packets", 1_000, FIRST_PACKETS, 90.0).short(),
    download(
        "transfer-loss",
        2_000_000,
        &["--loss 2% --max-burst 3"],
        10.0,
    ),
    download(
        "transfer-corruption",
        2_000_000,
        &["--corrupt 2% --max-burst 3"],
        10.0,
    )
    .short(),
    download("every-2nd-dropped", 1_000_000, &["--drop-nth 2n"], 12.0),
    download("every-4th-dropped", 1_000_000, &["--drop-nth 4n"], 10.0),
    download("every-16th-dropped", 1_000_000, &["--drop-nth 16n"], 8.0),
    download("loss-1", 2_000_000, &["--loss 1%"], 10.0),
    download("loss-5", 2_000_000, &["--loss 5%"], 10.0),
    download("loss-10", 2_000_000, &["--loss 10%"], 12.0),
    download("loss-30", 2_000_000, &["--loss 30%"], 20.0).short(),
    download("loss-50", 2_000_000, &["--loss 50%"], 60.0),
    download("burst-loss", 2_000_000, &["--burst-loss 1%,30%"], 15.0),
    download("blackhole", 10_000_000, &["--blackhole 5s,2s"], 45.0),
    download("port-rebinding", 10_000_000, &["--rebind-port 2s,5s"], 30.0),
    download(
        "address-rebinding",
        10_000_000,
        &["--rebind-address 2s,5s"],
        30.0,
    ),
    download("duplicates", 2_000_000, &["--duplicate 10%"], 10.0).short(),
    download(
        "reordering",
        5_000_000,
        &["--delay 100ms --queue 250000 --reorder 10%,5ms"],
        20.0,
    ),
    download(
        "jitter",
        2_000_000,
        &["--jitter 20ms --distribution normal"],
        15.0,
    ),
    download("truncation", 2_000_000, &["--truncate 2%"], 10.0),
    download("path-of-1280", 2_000_000, &["--max-datagram 1252"], 10.0),
    download("mtu-falls-to-1200", 5_000_000, &[""], 20.0)
        .timeline(MTU_FALLS)
        .short(),
    download("one-lost-round-trip", 5_000_000, &[""], 15.0)
        .timeline(SILENCE)
        .check(Check::LargePackets),
    download("satellite", 10_000_000, &["--delay 300ms --loss 3%"], 60.0),
    download("goodput", 10_000_000, &[""], 75.0)
        .runs(5)
        .check(Check::Goodput(0.8)),
    download("vanished-client", 10_000_000, &[""], 60.0).play(Play::ClientVanishes),
    download("vanished-server", 10_000_000, &[""], 90.0).play(Play::ServerVanishes),
];
