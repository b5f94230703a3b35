//! One direction of a relayed TCP connection: bytes that wait for their time.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;

use mio::net::TcpStream;

use crate::Nanos;
use crate::link::{Link, StreamPassage};
use crate::payload::Payload;
use crate::proxy::datagram::BufferPool;
use crate::proxy::tcp_faults::Slicer;

/// Most bytes in one direction of a connection that are on their way, or that the receiver doesn't take.
const MAX_HELD_BYTES: usize = 8 * 1024 * 1024;
/// The same when there are very many connections.
const MIN_HELD_BYTES: usize = 64 * 1024;
/// Most bytes of all connections together, which share it evenly, as long as each gets the least above.
const MAX_TOTAL_BYTES: usize = 512 * 1024 * 1024;
/// Most bytes read at once.
const MAX_CHUNK_BYTES: usize = 16 * 1024;
/// Bytes of a connection that may wait for the rate: a quarter of the queue, within these bounds, so that
/// datagrams find room beside it.
const UNSENT_BYTES: std::ops::RangeInclusive<usize> = 4 * 1024..=256 * 1024;
/// Chunks read in one go, so that one connection doesn't keep the others waiting.
const READ_BUDGET: usize = 16;

/// Payload of an ordinary TCP segment, and its headers (IPv4 20, TCP 20, timestamps 12), in bytes.
const SEGMENT_BYTES: usize = 1448;
const SEGMENT_OVERHEAD_BYTES: usize = 52;

/// Bytes read together.
#[derive(Debug)]
struct Chunk {
    due: Nanos,
    bytes: Vec<u8>,
    /// How many of them have been written already.
    written: usize,
    /// Whether they are written a few at a time.
    is_sliced: bool,
}

/// How far the end of the stream has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The sender may send more.
    NotSeen,
    /// The sender has ended the stream; the receiver is to learn of it at this time.
    Due(Nanos),
    /// The receiver knows.
    Passed,
}

/// What a pipe waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Only for its sockets.
    Sockets,
    /// For this time.
    Until(Nanos),
}

/// One direction of a relayed connection.
#[derive(Debug)]
pub(crate) struct Pipe {
    chunks: VecDeque<Chunk>,
    held_bytes: usize,
    /// What has not left the queue yet: when it does, and how many bytes.
    unsent: VecDeque<(Nanos, usize)>,
    unsent_bytes: usize,
    end: End,
    slicer: Slicer,
    /// Pieces of data read since that was last asked.
    pieces_read: u32,
    /// Most bytes it may hold now.
    max_held_bytes: usize,
    /// Whether the source may have something to read, as far as events have told.
    pub(crate) readable: bool,
    /// Whether the sink may take something.
    pub(crate) writable: bool,
}

impl Pipe {
    pub(crate) fn new(slicer: Slicer) -> Self {
        Self {
            chunks: VecDeque::new(),
            held_bytes: 0,
            unsent: VecDeque::new(),
            unsent_bytes: 0,
            end: End::NotSeen,
            slicer,
            pieces_read: 0,
            max_held_bytes: MAX_HELD_BYTES,
            readable: true,
            writable: true,
        }
    }

    /// Whether everything, including the end, has passed.
    pub(crate) fn is_done(&self) -> bool {
        self.end == End::Passed
    }

    /// Sets the pipe's share of the memory for `connections` connections.
    pub(crate) fn share_memory(&mut self, connections: usize) {
        let share = MAX_TOTAL_BYTES / (2 * connections.max(1));
        self.max_held_bytes = share.clamp(MIN_HELD_BYTES, MAX_HELD_BYTES);
    }

    /// How many pieces of data have been read since the last call.
    pub(crate) fn take_pieces_read(&mut self) -> u32 {
        std::mem::take(&mut self.pieces_read)
    }

    /// Bytes on their way.
    pub(crate) fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Moves what can be moved, and says what to wait for.
    pub(crate) fn pump<P: Payload>(
        &mut self,
        now: Nanos,
        (source, sink): (&mut TcpStream, &mut TcpStream),
        link: &mut Link<P>,
        pool: &mut BufferPool,
    ) -> io::Result<Wait> {
        self.write(now, sink, pool)?;
        let budget_spent = self.read(now, source, link, pool)?;
        // Without a delay what was read can go on at once.
        self.write(now, sink, pool)?;
        if let End::Due(due) = self.end
            && due <= now
            && self.chunks.is_empty()
        {
            sink.shutdown(Shutdown::Write)?;
            self.end = End::Passed;
        }
        Ok(self.wait(now, budget_spent, link))
    }

    fn wait<P: Payload>(&self, now: Nanos, budget_spent: bool, link: &Link<P>) -> Wait {
        let arrival = match (self.chunks.front(), self.end) {
            // What is due already waits for its sink to become writable.
            (Some(first), _) => Some(first.due).filter(|due| *due > now),
            (None, End::Due(due)) => Some(due),
            (None, End::NotSeen | End::Passed) => None,
        };
        let wants_to_read = self.readable && self.end == End::NotSeen;
        let departure = match self.unsent.front() {
            _ if !wants_to_read || self.held_bytes >= self.max_held_bytes => None,
            Some((departure, _)) if self.unsent_bytes >= unsent_limit(link) => Some(*departure),
            _ => budget_spent.then_some(now),
        };
        match (arrival, departure) {
            (Some(one), Some(other)) => Wait::Until(one.min(other)),
            (Some(time), None) | (None, Some(time)) => Wait::Until(time),
            (None, None) => Wait::Sockets,
        }
    }

    /// Writes what is due.
    fn write(&mut self, now: Nanos, sink: &mut TcpStream, pool: &mut BufferPool) -> io::Result<()> {
        while self.writable
            && let Some(first) = self.chunks.front_mut()
            && first.due <= now
        {
            let mut rest = first.bytes.get(first.written..).unwrap_or_default();
            if first.is_sliced {
                rest = rest.get(..self.slicer.length()).unwrap_or(rest);
                first.due = now.saturating_add(Slicer::GAP);
            }
            match sink.write(rest) {
                Ok(count) => {
                    first.written += count;
                    self.held_bytes -= count;
                    if first.written == first.bytes.len()
                        && let Some(chunk) = self.chunks.pop_front()
                    {
                        pool.give_back(chunk.bytes);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.writable = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads as long as there is room. True when the budget was spent first.
    fn read<P: Payload>(
        &mut self,
        now: Nanos,
        source: &mut TcpStream,
        link: &mut Link<P>,
        pool: &mut BufferPool,
    ) -> io::Result<bool> {
        while let Some((departure, len)) = self.unsent.front()
            && *departure <= now
        {
            self.unsent_bytes -= len;
            self.unsent.pop_front();
        }
        let limit = unsent_limit(link);
        let mut space = [0; MAX_CHUNK_BYTES];
        for _ in 0..READ_BUDGET {
            if !self.readable
                || self.end != End::NotSeen
                || self.held_bytes >= self.max_held_bytes
                || self.unsent_bytes >= limit
            {
                return Ok(false);
            }
            let chunk_bytes = (limit / 4).clamp(1024, MAX_CHUNK_BYTES);
            match source.read(space.get_mut(..chunk_bytes).unwrap_or_default()) {
                Ok(0) => {
                    let fin = link.carry_stream(now, SEGMENT_OVERHEAD_BYTES as u64);
                    self.end = End::Due(fin.due);
                }
                Ok(len) => {
                    let segments = len.div_ceil(SEGMENT_BYTES);
                    let wire_bytes = len + segments * SEGMENT_OVERHEAD_BYTES;
                    let passage = link.carry_stream(now, wire_bytes as u64);
                    let bytes = pool.copy_of(space.get(..len).unwrap_or_default());
                    self.take_in(now, passage, bytes);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.readable = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn take_in(&mut self, now: Nanos, passage: StreamPassage, bytes: Vec<u8>) {
        self.pieces_read = self.pieces_read.saturating_add(1);
        self.held_bytes += bytes.len();
        if passage.departure > now {
            self.unsent.push_back((passage.departure, bytes.len()));
            self.unsent_bytes += bytes.len();
        }
        // A delay that was shortened meanwhile must not change the order.
        let earliest = self.chunks.back().map_or(0, |last| last.due);
        self.chunks.push_back(Chunk {
            due: passage.due.max(earliest),
            is_sliced: self.slicer.slices(now),
            bytes,
            written: 0,
        });
    }
}

/// Bytes of one connection that may wait for the rate of this link.
fn unsent_limit<P: Payload>(link: &Link<P>) -> usize {
    let queue_bytes = link.impairments().effective_queue_bytes();
    let quarter = queue_bytes.map_or(usize::MAX, |bytes| {
        usize::try_from(bytes / 4).unwrap_or(usize::MAX)
    });
    quarter.clamp(*UNSENT_BYTES.start(), *UNSENT_BYTES.end())
}
