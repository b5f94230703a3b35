//! UDP wherever quinn-udp runs: Windows, macOS, the BSDs, and Linux with the feature `portable-io`.
//!
//! It costs more than the Linux module: after one refusal, offload is off for the whole socket,
//! drops in the kernel stay unknown, and on Linux the ECN codepoint of a merged train is lost
//! (quinn-udp 0.6 has no room for it beside timestamp, segment size and destination).

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;

use columba_core::units::Ecn;
use quinn_udp::{EcnCodepoint, RecvMeta, Transmit, UdpSocketState};

use super::batch::{Received, RecvBatch};
use super::send::SendCall;
use super::{Family, normalise_address};

/// Slots of a batch that one call uses: as many as both sides have room for.
const SLOTS: usize = if quinn_udp::BATCH_SIZE < RecvBatch::SLOTS {
    quinn_udp::BATCH_SIZE
} else {
    RecvBatch::SLOTS
};

/// Errors of earlier sends (port unreachable) that some systems report to the receiver; this many
/// in a row are skipped before one is reported.
const SKIPPED_ERRORS: usize = 64;

/// The portable half of a [`super::UdpSocket`].
#[derive(Debug)]
pub(super) struct Io {
    family: Family,
    state: UdpSocketState,
}

impl Io {
    /// Nothing to do before binding: [`UdpSocketState::new`] sets what the platform has.
    #[expect(
        clippy::unnecessary_wraps,
        reason = "the Linux module sets options, which can fail"
    )]
    pub(super) fn configure(_socket: &socket2::Socket, _family: Family) -> io::Result<()> {
        Ok(())
    }

    pub(super) fn new(socket: &mio::net::UdpSocket, family: Family) -> io::Result<Self> {
        let state = UdpSocketState::new(socket.into())?;
        Ok(Self { family, state })
    }

    /// Always 0: the platform does not tell.
    #[expect(
        clippy::unused_self,
        reason = "the Linux module reads the kernel's count"
    )]
    pub(super) fn kernel_drops(&self) -> u64 {
        0
    }

    /// Always 0: quinn-udp drops cut datagrams itself.
    #[expect(clippy::unused_self, reason = "the Linux module counts them")]
    pub(super) fn unreadable(&self) -> u64 {
        0
    }

    pub(super) fn recv(
        &mut self,
        socket: &mio::net::UdpSocket,
        batch: &mut RecvBatch,
    ) -> io::Result<usize> {
        batch.received.clear();
        let mut metas = [RecvMeta::default(); SLOTS];
        let mut slots = batch.buffer.chunks_exact_mut(RecvBatch::SLOT_BYTES);
        let mut buffers: [IoSliceMut<'_>; SLOTS] =
            std::array::from_fn(|_| IoSliceMut::new(slots.next().unwrap_or_default()));
        let mut skipped = 0;
        let count = loop {
            let result = socket.try_io(|| {
                let socket = socket.into();
                self.state.recv(socket, &mut buffers, &mut metas)
            });
            match result {
                Err(error) if is_echo_of_a_send(&error) && skipped < SKIPPED_ERRORS => skipped += 1,
                result => break result?,
            }
        };
        for (slot, meta) in metas.iter().take(count).enumerate() {
            batch.received.push(Received {
                from: normalise_address(meta.addr),
                ecn: meta.ecn.map(from_quinn),
                segment_bytes: meta.stride,
                slot,
                bytes: meta.len,
            });
        }
        Ok(count)
    }
}

impl SendCall for Io {
    fn max_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    fn send_call(
        &mut self,
        socket: &mio::net::UdpSocket,
        to: SocketAddr,
        segment_bytes: Option<u16>,
        data: &[u8],
        ecn: Option<Ecn>,
    ) -> io::Result<()> {
        let transmit = Transmit {
            destination: self.family.wire_address(to)?,
            ecn: ecn.and_then(|ecn| EcnCodepoint::from_bits(ecn.bits())),
            contents: data,
            segment_size: segment_bytes.map(usize::from),
            src_ip: None,
        };
        socket.try_io(|| self.state.try_send(socket.into(), &transmit))
    }
}

fn is_echo_of_a_send(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, ConnectionReset, HostUnreachable, NetworkUnreachable};
    let kinds = [
        ConnectionRefused,
        ConnectionReset,
        HostUnreachable,
        NetworkUnreachable,
    ];
    kinds.contains(&error.kind())
}

fn from_quinn(ecn: EcnCodepoint) -> Ecn {
    match ecn {
        EcnCodepoint::Ect0 => Ecn::Ect0,
        EcnCodepoint::Ect1 => Ecn::Ect1,
        EcnCodepoint::Ce => Ecn::Ce,
    }
}
