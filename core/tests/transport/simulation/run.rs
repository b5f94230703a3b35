//! Playing a case.

use std::net::SocketAddr;
use std::time::Duration;

use columba_core::error::{CloseReason, StreamEnd};
use columba_core::limits::IDLE_TIMEOUT;
use columba_core::server::SourceKey;
use columba_loss_sim::Impairments;

use super::case::{Case, Fault};
use crate::world::{Peer, World, noise};

const UNDER_FAULTS: Duration = Duration::from_secs(5);

/// A further assertion after each event, for tests of the tests.
pub(super) type Plant = fn(&World);

struct Simulation<'a> {
    world: World,
    /// What is to come, the last first.
    schedule: &'a [(Duration, Fault)],
    rebindings: u16,
    plant: Option<Plant>,
}

/// Plays a case to its end and panics if anything is wrong; gives what two runs of it must have in common.
pub(super) fn play(case: &Case, plant: Option<Plant>) -> (u64, u64, u64) {
    let mut simulation = Simulation::new(case, plant);
    simulation.suffer();
    simulation.heal_and_finish();
    simulation.close();
    let world = &simulation.world;
    for peer in &world.peers {
        for (stream, _) in &peer.complete {
            let source = world.files.bytes(u64::from(*stream) - 1);
            assert!(peer.disk.files[stream].0 == source, "a file differs");
        }
    }
    let bytes = world.peers.iter().map(|peer| peer.bytes_down).sum();
    (world.steps, bytes, world.now.as_nanos())
}

impl<'a> Simulation<'a> {
    fn new(case: &'a Case, plant: Option<Plant>) -> Self {
        let mut world = World::new();
        for (key, size) in (0..).zip(&case.files) {
            world.files.add(key, noise(case.seed ^ key, *size));
        }
        for peer in &case.peers {
            let index = world.add_peer(&peer.setup());
            for key in 0..case.files.len() as u64 {
                world.get(index, key as u32 + 1, key, &[]);
            }
        }
        Self {
            world,
            schedule: &case.schedule,
            rebindings: 0,
            plant,
        }
    }

    fn strike(&mut self, fault: Fault) {
        let world = &mut self.world;
        let now = world.now;
        match fault {
            Fault::Rebind { peer, address } => {
                self.rebindings += 1;
                let peer = &mut world.peers[peer];
                peer.address.set_port(41_000 + self.rebindings);
                if address {
                    let [high, low] = self.rebindings.to_be_bytes();
                    peer.address.set_ip([10, 1, high, low].into());
                }
            }
            Fault::KillClient { peer } => world.peers[peer].dead = true,
            Fault::RestartServer => world.restart_server(),
            Fault::Forget { peer } => {
                let id = world.peers[peer].id;
                world.endpoint.close(now, id, CloseReason::Local);
            }
            Fault::Reconnect { peer } => world.reconnect(peer),
            Fault::GiveUp { peer, stream } => {
                let peer = &mut world.peers[peer];
                if peer.open.remove(&stream).is_some() {
                    peer.association.finish_stream(now, stream, 1);
                }
            }
            Fault::EndStream { peer, stream } => {
                let (id, end) = (world.peers[peer].id, StreamEnd::FileChanged);
                world.endpoint.end_stream(now, id, stream, end);
            }
            Fault::Cold { key } => {
                world.files.cold.insert(SourceKey(key), true);
            }
            Fault::Hashless { key } => {
                world.files.hashes.insert(SourceKey(key), 0);
            }
            Fault::Warm { key } => {
                world.files.cold.remove(&SourceKey(key));
                world.files.hashes.remove(&SourceKey(key));
                for peer in &world.peers {
                    let source = SourceKey(key);
                    world.endpoint.source_ready(now, peer.id, source);
                }
            }
            Fault::Credit { peer, bytes } => world.peers[peer].association.set_credit(bytes),
            Fault::Replay { back, from } => {
                let from = match from {
                    0 => world.peers[0].address,
                    other => SocketAddr::from(([10, 66, 6, other], 666)),
                };
                world.replay(back, from);
            }
            Fault::TooLarge { peer, bytes } => {
                let address = world.peers[peer].address;
                world.endpoint.on_too_large(now, address, bytes);
            }
        }
    }

    /// A while under faults, whatever comes of it.
    fn suffer(&mut self) {
        let start = self.world.now;
        for &(at, fault) in self.schedule.iter().rev() {
            let wait = (start + at) - self.world.now;
            self.world.run_until(wait, |_| false);
            self.world.now = self.world.now.max(start + at);
            self.strike(fault);
            if let Some(plant) = self.plant {
                plant(&self.world);
            }
        }
        self.world.run_until(UNDER_FAULTS, |world| {
            world.peers.iter().all(|peer| peer.open.is_empty())
        });
    }

    /// The links heal, and everything ends within a bounded time and number of events.
    fn heal_and_finish(&mut self) {
        let healed = Impairments {
            delay: Duration::from_millis(10),
            ..Impairments::default()
        };
        for peer in 0..self.world.peers.len() {
            self.world.impair(peer, &healed);
        }
        let before = self.world.steps;
        // Who was told, or heard nothing for the idle limit, asks again.
        let end = self.world.now + IDLE_TIMEOUT * 2;
        while self.world.now < end {
            let waiting = end - self.world.now;
            self.world.run_until(waiting, |world| {
                let mut peers = world.peers.iter();
                peers.all(|peer| peer.open.is_empty()) || world.peers.iter().any(Self::is_cut_off)
            });
            let cut_off = self.world.peers.iter().position(Self::is_cut_off);
            let Some(peer) = cut_off else { break };
            self.world.reconnect(peer);
        }
        self.world.finish(Duration::from_secs(60));
        let steps = self.world.steps - before;
        assert!(steps < 2_000_000, "too many events: {steps}");
    }

    fn is_cut_off(peer: &Peer) -> bool {
        peer.closed.is_some() && !peer.open.is_empty()
    }

    fn close(&mut self) {
        let now = self.world.now;
        for peer in &mut self.world.peers {
            peer.association.close(now);
        }
        let ended = self.world.run_until(IDLE_TIMEOUT * 2, |world| {
            world.endpoint.is_empty() && world.peers.iter().all(|peer| peer.closed.is_some())
        });
        let clients: Vec<_> = self.world.peers.iter().map(|peer| peer.closed).collect();
        let left: Vec<_> = self.world.endpoint.associations().collect();
        assert!(ended, "stay behind: {left:?}, clients {clients:?}");
    }
}
