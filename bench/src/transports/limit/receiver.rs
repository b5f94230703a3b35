//! The receiver: whole trains, each datagram straight to its place, hashed by the megabyte.

use std::io::ErrorKind;
use std::net::{TcpStream, UdpSocket};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Instant;

use anyhow::{Context, Result};

use super::frame::Framing;
use super::sender::is_tick;
use super::{Fetched, Request, Sizes, Work};

/// Room for a train.
const TRAIN_ROOM_BYTES: usize = 65_536;
/// About the size of a file's segment.
const SLAB_BYTES: usize = 1 << 20;
/// Slabs that are filled, hashed, or wait for either.
const SLABS: usize = 8;
/// The sender hears from us so often within its window.
const NEWS_PER_WINDOW: u64 = 8;

/// Receives until everything is there, or until the sender says it was all.
pub(super) fn receive(
    work: Work,
    sizes: Sizes,
    request: Request,
    socket: &UdpSocket,
    control: &TcpStream,
) -> Result<Fetched> {
    control.set_nonblocking(true)?;
    let started = Instant::now();
    let mut last = started;
    let mut train = vec![0; TRAIN_ROOM_BYTES];
    let mut sink = Sink::new(work, sizes)?;
    let (mut received, mut told) = (0, 0);
    while received < request.bytes {
        let count = match socket.recv(&mut train) {
            Ok(count) => count,
            // The sender is done and gone, but what it sent may still wait here.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => continue,
            Err(error) if is_tick(&error) => {
                if control.peek(&mut [0]).is_ok() {
                    break;
                }
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        received += sink.take(&train[..count])?;
        if received - told >= request.window / NEWS_PER_WINDOW {
            told = received;
            // A sender that has sent everything is gone, and the kernel says so.
            let _ = socket.send(&received.to_be_bytes());
        }
        if received < request.bytes {
            continue;
        }
        last = Instant::now();
    }
    if received < request.bytes {
        last = Instant::now();
    }
    let seconds = (last - started).as_secs_f64();
    let hashing = Instant::now();
    sink.finish()?;
    Ok(Fetched {
        bytes: received,
        seconds: Some(seconds + hashing.elapsed().as_secs_f64()),
    })
}

/// Where payloads go.
struct Sink {
    work: Work,
    framing: Framing,
    datagram: usize,
    payload: usize,
    datagrams_per_slab: u64,
    /// Number of the slab that is being filled.
    slab_number: u64,
    filled: usize,
    slab: Vec<u8>,
    hasher: Option<Hashing>,
}

impl Sink {
    fn new(work: Work, sizes: Sizes) -> Result<Self> {
        let datagrams_per_slab = (SLAB_BYTES / sizes.payload).max(1);
        let slab_bytes = datagrams_per_slab * sizes.payload;
        Ok(Self {
            work,
            framing: Framing::new(work)?,
            datagram: sizes.datagram,
            payload: sizes.payload,
            datagrams_per_slab: datagrams_per_slab as u64,
            slab_number: 0,
            filled: 0,
            slab: vec![0; slab_bytes],
            hasher: if work == Work::Nothing {
                None
            } else {
                Some(Hashing::start(slab_bytes)?)
            },
        })
    }

    /// Puts a train where it belongs; returns how many bytes were good.
    fn take(&mut self, train: &[u8]) -> Result<u64> {
        if self.work == Work::Nothing {
            return Ok(train.len() as u64);
        }
        let mut good = 0;
        for datagram in train.chunks(self.datagram) {
            let Some((index, bytes)) = self.framing.look(self.work, datagram) else {
                continue;
            };
            let slab_number = index / self.datagrams_per_slab;
            if slab_number != self.slab_number {
                self.change_slab(slab_number)?;
            }
            let slot = usize::try_from(index % self.datagrams_per_slab)?;
            let at = slot * self.payload;
            let place = &mut self.slab[at..][..bytes.min(self.payload)];
            if self.framing.open(index, datagram, place) {
                self.filled = self.filled.max(at + place.len());
                good += place.len() as u64;
            }
        }
        Ok(good)
    }

    fn change_slab(&mut self, number: u64) -> Result<()> {
        if let Some(hasher) = &self.hasher {
            let slab = std::mem::take(&mut self.slab);
            self.slab = hasher.exchange(slab, self.filled)?;
        }
        self.slab_number = number;
        self.filled = 0;
        Ok(())
    }

    fn finish(mut self) -> Result<()> {
        self.change_slab(0)?;
        match self.hasher {
            Some(hasher) => hasher.finish(),
            None => Ok(()),
        }
    }
}

/// BLAKE3 on a thread of its own, as in the client.
struct Hashing {
    full: SyncSender<(Vec<u8>, usize)>,
    empty: Receiver<Vec<u8>>,
    thread: JoinHandle<()>,
}

impl Hashing {
    fn start(slab_bytes: usize) -> Result<Self> {
        let (full, to_hash) = sync_channel::<(Vec<u8>, usize)>(SLABS);
        let (hashed, empty) = sync_channel(SLABS);
        for _ in 1..SLABS {
            hashed.send(vec![0; slab_bytes])?;
        }
        let thread = std::thread::Builder::new()
            .name("hash".to_owned())
            .spawn(move || {
                for (slab, filled) in to_hash {
                    std::hint::black_box(blake3::hash(&slab[..filled]));
                    // A receiver that is done takes no more.
                    let _ = hashed.send(slab);
                }
            })?;
        Ok(Self {
            full,
            empty,
            thread,
        })
    }

    /// Gives a full slab away for an empty one.
    fn exchange(&self, slab: Vec<u8>, filled: usize) -> Result<Vec<u8>> {
        self.full
            .send((slab, filled))
            .ok()
            .context("the hashing thread is gone")?;
        self.empty.recv().context("the hashing thread is gone")
    }

    /// Waits for the last hash.
    fn finish(self) -> Result<()> {
        drop(self.full);
        self.thread
            .join()
            .ok()
            .context("the hashing thread panicked")
    }
}
