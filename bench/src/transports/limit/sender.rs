//! The sender: trains from memory, as long as the receiver is not too far behind.

use std::io::{self, IoSlice};
use std::net::UdpSocket;

use anyhow::Result;
use columba_net::prefetch::prefetch_ahead;
use socket2::SockRef;

use super::frame::{Around, Framing};
use super::{MAX_TRAIN_BYTES, Request, Sizes, Source, Work};

/// Ticks without news after which what is on its way counts as lost.
const PATIENT_TICKS: u32 = 5;

/// Sends what is asked for.
pub(super) fn send(
    work: Work,
    sizes: Sizes,
    request: Request,
    source: &Source,
    socket: &UdpSocket,
) -> Result<()> {
    let framing = Framing::new(work)?;
    let source = source.all();
    anyhow::ensure!(source.len() >= MAX_TRAIN_BYTES, "the source is too short");
    let payload_per_train = sizes.payload * sizes.datagrams_per_train;
    let mut train = vec![0; MAX_TRAIN_BYTES];
    let (mut at, mut index, mut sent) = (0, 0, 0);
    let mut credit = Credit {
        taken: 0,
        window: request.window.max(payload_per_train as u64),
    };
    while sent < request.bytes {
        if at + payload_per_train > source.len() {
            at = 0;
        }
        let rest = usize::try_from(request.bytes - sent).unwrap_or(usize::MAX);
        let payload = &source[at..][..payload_per_train.min(rest)];
        credit.wait_for(socket, sent, payload.len() as u64)?;
        let bytes = if work == Work::Nothing {
            // The kernel copies straight from the source.
            send_whole(socket, payload)?;
            payload.len()
        } else if work == Work::Crc {
            send_gathered(&framing, sizes, index, payload, &source[at..], socket)?;
            payload.len()
        } else {
            let bytes = seal_train(&framing, sizes, index, payload, &source[at..], &mut train)?;
            send_whole(socket, &train[..bytes])?;
            payload.len()
        };
        index += sizes.datagrams_per_train as u64;
        at += bytes;
        sent += bytes as u64;
    }
    Ok(())
}

/// `source` begins with `payload`.
fn seal_train(
    framing: &Framing,
    sizes: Sizes,
    first: u64,
    payload: &[u8],
    source: &[u8],
    train: &mut [u8],
) -> Result<usize> {
    let overhead = sizes.datagram - sizes.payload;
    let mut used = 0;
    for (at, piece) in payload.chunks(sizes.payload).enumerate() {
        prefetch_ahead(source, at * sizes.payload, sizes.payload);
        let bytes = piece.len() + overhead;
        framing.seal(first + at as u64, piece, &mut train[used..][..bytes])?;
        used += bytes;
    }
    Ok(used)
}

/// The kernel gathers the train: payloads from the source, which begins with `payload`, what stands around them from here.
fn send_gathered(
    framing: &Framing,
    sizes: Sizes,
    first: u64,
    payload: &[u8],
    source: &[u8],
    socket: &UdpSocket,
) -> Result<()> {
    let pieces = || payload.chunks(sizes.payload);
    let around: Vec<Around> = pieces()
        .enumerate()
        .filter_map(|(at, piece)| {
            prefetch_ahead(source, at * sizes.payload, sizes.payload);
            framing.around(first + at as u64, piece)
        })
        .collect();
    let mut gathered = Vec::with_capacity(3 * around.len());
    for (around, piece) in around.iter().zip(pieces()) {
        gathered.extend([&around.header[..], piece, &around.tag].map(IoSlice::new));
    }
    loop {
        match SockRef::from(socket).send_vectored(&gathered) {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn send_whole(socket: &UdpSocket, train: &[u8]) -> Result<()> {
    loop {
        match socket.send(train) {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// How far the receiver is.
struct Credit {
    taken: u64,
    window: u64,
}

impl Credit {
    /// Waits until `more` bytes after `sent` are within the window.
    fn wait_for(&mut self, socket: &UdpSocket, sent: u64, more: u64) -> Result<()> {
        let mut quiet = 0;
        while sent + more > self.taken + self.window {
            let mut news = [0; 8];
            match socket.recv(&mut news) {
                Ok(8) => self.taken = self.taken.max(u64::from_be_bytes(news)),
                Ok(_) => {}
                Err(error) if is_tick(&error) => {
                    quiet += 1;
                    if quiet >= PATIENT_TICKS {
                        self.taken = sent;
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// Whether a receive call only ran into its time limit.
pub(super) fn is_tick(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}
