//! What a simulation plays, as plain data: drawn from a seed, or read from a line.

use std::time::Duration;

use columba_core::congestion::Algorithm;
use columba_loss_sim::{Blackhole, BurstLoss, Distribution, Impairments, Random, Reorder};

use crate::world::{CAPTURED_PACKETS, Setup};

/// One simulation: everything that distinguishes it from another.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Case {
    /// Of the files' bytes.
    pub(super) seed: u64,
    /// Sizes in bytes. Every client fetches all of them.
    pub(super) files: Vec<usize>,
    pub(super) peers: Vec<PeerCase>,
    /// What happens when, the last first.
    pub(super) schedule: Vec<(Duration, Fault)>,
}

/// A client and its path.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PeerCase {
    pub(super) seed: u64,
    pub(super) impairments: Impairments,
    /// Loss upwards, where it differs.
    pub(super) up_loss: Option<f64>,
    pub(super) initial_rtt: Option<Duration>,
    pub(super) algorithm: Algorithm,
    pub(super) plaintext: bool,
    pub(super) max_datagram: usize,
    pub(super) credit: u32,
    pub(super) cell_bytes: u16,
}

impl PeerCase {
    pub(super) fn setup(&self) -> Setup {
        let up = self.up_loss.map(|loss| Impairments {
            loss,
            ..self.impairments.clone()
        });
        Setup {
            seed: self.seed,
            impairments: self.impairments.clone(),
            up,
            initial_rtt: self.initial_rtt,
            algorithm: self.algorithm,
            plaintext: self.plaintext,
            max_datagram: self.max_datagram,
            credit: self.credit,
            cell_bytes: self.cell_bytes,
        }
    }
}

/// What happens once, beside what the links do all the time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Fault {
    /// A NAT gives the client another port, or another address too.
    Rebind {
        peer: usize,
        address: bool,
    },
    /// The client's process is killed; another comes later.
    KillClient {
        peer: usize,
    },
    /// The server's process is killed; the next one knows nothing.
    RestartServer,
    /// The server closes the association.
    Forget {
        peer: usize,
    },
    /// The client, or its process's successor, asks again.
    Reconnect {
        peer: usize,
    },
    /// The client gives a file up.
    GiveUp {
        peer: usize,
        stream: u32,
    },
    /// The server ends a stream.
    EndStream {
        peer: usize,
        stream: u32,
    },
    /// The bytes of a file are not in memory, or its hashes not known; later they are.
    Cold {
        key: u64,
    },
    Hashless {
        key: u64,
    },
    Warm {
        key: u64,
    },
    /// The client's buffer is full, or has room again.
    Credit {
        peer: usize,
        bytes: u32,
    },
    /// An eavesdropper sends one of the last packets again, perhaps before it arrives, perhaps from elsewhere.
    Replay {
        back: usize,
        from: u8,
    },
    /// The kernel refuses datagrams of this size.
    TooLarge {
        peer: usize,
        bytes: usize,
    },
}

impl Case {
    /// The case of a seed. It leaves out each fault with probability one half and draws the strength of the rest.
    pub(super) fn draw(seed: u64) -> Self {
        Draw::new(seed).case()
    }
}

fn pick<T: Copy>(random: &mut Random, choices: &[T]) -> T {
    choices[random.below(choices.len() as u64) as usize]
}

/// A case while it is drawn.
struct Draw {
    random: Random,
    seed: u64,
    files: u64,
    peers: usize,
    schedule: Vec<(Duration, Fault)>,
}

impl Draw {
    fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            seed,
            files: 0,
            peers: 0,
            schedule: Vec::new(),
        }
    }

    fn case(mut self) -> Case {
        const SIZES: [usize; 9] = [
            0, 1, 287, 4096, 30_000, 300_000, 1_048_575, 1_048_577, 2_500_000,
        ];
        self.files = 1 + self.random.below(6);
        let files = (0..self.files)
            .map(|_| pick(&mut self.random, &SIZES))
            .collect();
        // Mostly few, sometimes many.
        let peers = if self.random.chance(0.05) {
            10 + self.random.below(20)
        } else {
            1 + self.random.below(4)
        };
        self.peers = peers as usize;
        let peers = (0..peers).map(|_| draw_peer(&mut self.random)).collect();
        self.draw_schedule();
        Case {
            seed: self.seed,
            files,
            peers,
            schedule: self.schedule,
        }
    }

    fn at(&mut self, fault: Fault) -> Duration {
        let at = Duration::from_micros(self.random.below(4_000_000));
        self.schedule.push((at, fault));
        at
    }

    fn then(&mut self, after: Duration, fault: Fault) {
        let wait = Duration::from_micros(self.random.below(3_000_000));
        self.schedule.push((after + wait, fault));
    }

    fn draw_schedule(&mut self) {
        for peer in 0..self.peers {
            if self.random.chance(0.3) {
                for _ in 0..1 + self.random.below(4) {
                    let address = self.random.chance(0.5);
                    self.at(Fault::Rebind { peer, address });
                }
            }
            if self.random.chance(0.2) {
                let killed = self.at(Fault::KillClient { peer });
                self.then(killed, Fault::Reconnect { peer });
            }
            if self.random.chance(0.1) {
                self.at(Fault::Forget { peer });
            }
            let stream = 1 + self.random.below(self.files) as u32;
            if self.random.chance(0.15) {
                self.at(Fault::GiveUp { peer, stream });
            }
            if self.random.chance(0.15) {
                self.at(Fault::EndStream { peer, stream });
            }
            if self.random.chance(0.15) {
                let bytes = pick(&mut self.random, &[0, 100, 5_000]);
                let full = self.at(Fault::Credit { peer, bytes });
                let bytes = 1 << 20;
                self.then(full, Fault::Credit { peer, bytes });
            }
            if self.random.chance(0.1) {
                let bytes = pick(&mut self.random, &[900, 1200, 1472, 9000]);
                self.at(Fault::TooLarge { peer, bytes });
            }
        }
        for key in 0..self.files {
            if self.random.chance(0.2) {
                let cold = self.random.chance(0.5);
                let fault = if cold {
                    Fault::Cold { key }
                } else {
                    Fault::Hashless { key }
                };
                let gone = self.at(fault);
                self.then(gone, Fault::Warm { key });
            }
        }
        if self.random.chance(0.3) {
            for _ in 0..self.random.below(200) {
                let furthest = pick(&mut self.random, &[1, 10, CAPTURED_PACKETS as u64]);
                let back = self.random.below(furthest) as usize;
                let from = self.random.below(4) as u8;
                self.at(Fault::Replay { back, from });
            }
        }
        if self.random.chance(0.1) {
            let killed = self.at(Fault::RestartServer);
            for peer in 0..self.peers {
                // Losing the control connection says so; otherwise the idle limit does.
                if self.random.chance(0.7) {
                    self.then(killed, Fault::Reconnect { peer });
                }
            }
        }
        // Taken from its end; of two at the same time, the one drawn first: a cause never follows its consequence.
        self.schedule.reverse();
        self.schedule.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    }
}

fn draw_peer(random: &mut Random) -> PeerCase {
    let impairments = draw_faults(random);
    let up_loss = random.chance(0.3).then(|| pick(random, &[0.0, 0.3, 0.6]));
    PeerCase {
        seed: random.next_u64(),
        impairments,
        up_loss,
        initial_rtt: random
            .chance(0.5)
            .then(|| Duration::from_millis(random.below(300))),
        algorithm: pick(random, &[Algorithm::Bbr, Algorithm::Cubic, Algorithm::Aimd]),
        plaintext: random.chance(0.3),
        max_datagram: pick(random, &[512, 1200, 1472, 9000, 65_507]),
        credit: pick(random, &[20_000, 200_000, 16 << 20]),
        cell_bytes: pick(random, &[284, 288]),
    }
}

fn draw_faults(random: &mut Random) -> Impairments {
    let mut faults = Impairments {
        delay: Duration::from_millis(random.below(60)),
        ..Impairments::default()
    };
    let mut with = |probability: f64| random.chance(probability);
    let (loss, burst, jitter, rate, duplicate, reorder, corrupt, truncate, blackhole, mtu) = (
        with(0.5),
        with(0.3),
        with(0.5),
        with(0.5),
        with(0.5),
        with(0.5),
        with(0.4),
        with(0.3),
        with(0.2),
        with(0.3),
    );
    if loss {
        faults.loss = pick(random, &[0.001, 0.01, 0.05, 0.1, 0.3, 0.5]);
    }
    if burst {
        faults.burst_loss = Some(BurstLoss::gilbert(0.01, 0.3));
    }
    if jitter {
        faults.jitter = Duration::from_millis(1 + random.below(20));
        faults.distribution = pick(
            random,
            &[
                Distribution::Uniform,
                Distribution::Normal,
                Distribution::Pareto,
            ],
        );
    }
    if rate {
        faults.rate_bits_per_second = Some(pick(random, &[1, 10, 50, 200]) * 1_000_000);
        faults.queue_bytes = Some(20_000 + random.below(400_000));
    }
    if duplicate {
        faults.duplicate = 0.1;
    }
    if reorder {
        faults.reorder = Some(Reorder {
            probability: 0.05,
            delay: Duration::from_millis(random.below(30)),
        });
    }
    if corrupt {
        faults.corrupt = pick(random, &[0.001, 0.02, 0.1]);
    }
    if truncate {
        faults.truncate = 0.02;
    }
    if blackhole {
        faults.blackhole = Some(Blackhole {
            on: Duration::from_millis(200 + random.below(3000)),
            off: Duration::from_millis(100 + random.below(2500)),
        });
    }
    if mtu {
        faults.max_datagram_bytes = Some(pick(random, &[1172, 1252, 1472, 9000]));
    }
    faults
}
