//! The limit rows: the same work per byte as a download, and no protocol.
//!
//! The sender makes trains of equal datagrams from memory (sealed in one pass, or with a CRC-32C, or as they are) and hands
//! each to the kernel in one call (`UDP_SEGMENT`). The receiver takes whole trains (`UDP_GRO`), opens each datagram in one
//! pass straight to where its bytes belong, and hashes those with BLAKE3, in pieces of about 1 MiB as files have segments.
//! Nothing is acknowledged or sent again; the receiver only says how far it is, so that its socket's buffer does not
//! overflow. What counts is what arrived.
//!
//! `frame` seals and opens one datagram, `sender` and `receiver` are the two loops, `offload` the socket options.

mod frame;
#[cfg(target_os = "linux")]
mod offload;
#[cfg(not(target_os = "linux"))]
#[path = "offload_portable.rs"]
mod offload;
mod receiver;
mod sender;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result};
use columba_core::protection::Cipher;

use super::{Announce, Arrived, Fetched, Ready, Source, Spec, Transport, tell};
pub(super) use offload::enlarge;

/// The largest UDP payload over IPv4, and the most bytes of a train.
const MAX_TRAIN_BYTES: usize = 65_507;
/// Datagrams of a train at most, on every kernel that has the offload.
const MAX_SEGMENTS: usize = 64;
/// Socket buffers asked for.
const SOCKET_BYTES: usize = 8 << 20;
/// How often either side looks up when nothing comes.
const TICK: Duration = Duration::from_millis(20);

/// What is done to each byte besides bringing it over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    /// Nothing: received and dropped.
    Nothing,
    /// CRC-32C at both ends, copied to its place, BLAKE3 at the receiver.
    Crc,
    /// The product's AEAD at both ends, BLAKE3 at the receiver.
    Aead,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Limit(pub(super) Work);

/// Sizes that follow from the largest datagram.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    datagram: usize,
    payload: usize,
    datagrams_per_train: usize,
}

impl Sizes {
    fn of(payload_limit: u16, work: Work) -> Self {
        let datagram = match payload_limit {
            0 => MAX_TRAIN_BYTES,
            limit => usize::from(limit).min(MAX_TRAIN_BYTES),
        };
        Self {
            datagram,
            payload: datagram.saturating_sub(frame::overhead(work)).max(1),
            datagrams_per_train: (MAX_TRAIN_BYTES / datagram).clamp(1, MAX_SEGMENTS),
        }
    }
}

impl Transport for Limit {
    fn settings(&self, spec: &Spec) -> String {
        let sizes = Sizes::of(spec.payload_limit, self.0);
        let work = match self.0 {
            Work::Nothing => "nothing done to the bytes",
            Work::Crc => "CRC-32C at both ends, BLAKE3 at the receiver",
            Work::Aead if Cipher::aegis_is_quick() => {
                "AEGIS-128L at both ends (libaegis), BLAKE3 at the receiver"
            }
            Work::Aead => {
                "AES-128-GCM in one pass at both ends (aws-lc-rs), BLAKE3 at the receiver"
            }
        };
        format!(
            "no protocol: trains of {} datagrams of {} bytes (GSO), received whole (GRO); {work}",
            sizes.datagrams_per_train, sizes.datagram
        )
    }

    fn serve(&self, spec: &Spec, source: Source, announce: Announce<'_>) -> Result<()> {
        let sizes = Sizes::of(spec.payload_limit, self.0);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        announce(Ready {
            address: listener.local_addr()?,
            certificate: String::new(),
        })?;
        loop {
            let (control, _) = listener.accept()?;
            tell(serve_one(self.0, sizes, &source, control));
        }
    }

    fn fetch(&self, spec: &Spec, server: &Ready, _arrived: &Arrived) -> Result<Fetched> {
        let sizes = Sizes::of(spec.payload_limit, self.0);
        let mut control = TcpStream::connect(server.address)?;
        control.set_nodelay(true)?;
        let socket = socket()?;
        let granted = enlarge(&socket, SOCKET_BYTES, SOCKET_BYTES);
        offload::receive_trains(&socket)?;
        let request = Request {
            port: socket.local_addr()?.port(),
            bytes: spec.bytes * u64::from(spec.files),
            window: window(granted),
        };
        control.write_all(&request.encode())?;
        let mut port = [0; 2];
        control.read_exact(&mut port)?;
        socket.connect((Ipv4Addr::LOCALHOST, u16::from_be_bytes(port)))?;
        control.write_all(&[0])?;
        receiver::receive(self.0, sizes, request, &socket, &control)
    }
}

fn socket() -> Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot bind")?;
    socket.set_read_timeout(Some(TICK))?;
    Ok(socket)
}

/// Bytes on their way at most: what stays in the cache, and far less than the receiver's buffer holds.
fn window(receive_buffer: usize) -> u64 {
    const WINDOW_BYTES: usize = 1 << 20;
    (receive_buffer / 4).clamp(MAX_TRAIN_BYTES, WINDOW_BYTES) as u64
}

fn serve_one(work: Work, sizes: Sizes, source: &Source, mut control: TcpStream) -> Result<()> {
    control.set_nodelay(true)?;
    let mut request = [0; Request::BYTES];
    control.read_exact(&mut request)?;
    let request = Request::decode(request);
    let socket = socket()?;
    enlarge(&socket, SOCKET_BYTES, SOCKET_BYTES);
    socket.connect(SocketAddr::from((Ipv4Addr::LOCALHOST, request.port)))?;
    offload::send_trains(&socket, sizes.datagram)?;
    control.write_all(&socket.local_addr()?.port().to_be_bytes())?;
    control.read_exact(&mut [0])?;
    sender::send(work, sizes, request, source, &socket)?;
    // Tells a receiver that lost something not to wait for it; one that has all is gone already.
    let _ = control.write_all(&[1]);
    Ok(())
}

/// What the receiver asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Request {
    port: u16,
    bytes: u64,
    /// Bytes that may be on their way.
    window: u64,
}

impl Request {
    const BYTES: usize = 18;

    fn encode(self) -> [u8; Self::BYTES] {
        let mut encoded = [0; Self::BYTES];
        encoded[..2].copy_from_slice(&self.port.to_be_bytes());
        encoded[2..10].copy_from_slice(&self.bytes.to_be_bytes());
        encoded[10..].copy_from_slice(&self.window.to_be_bytes());
        encoded
    }

    fn decode(encoded: [u8; Self::BYTES]) -> Self {
        let number = |bytes: &[u8]| {
            bytes
                .iter()
                .fold(0, |number, byte| number << 8 | u64::from(*byte))
        };
        Self {
            port: u16::from_be_bytes([encoded[0], encoded[1]]),
            bytes: number(&encoded[2..10]),
            window: number(&encoded[10..]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_read_back() {
        let request = Request {
            port: 0x1234,
            bytes: 1 << 40 | 7,
            window: 65_507,
        };
        assert_eq!(Request::decode(request.encode()), request);
    }

    #[test]
    fn trains_are_full_and_fit() {
        for (limit, datagrams) in [(1200, 54), (1472, 44), (8972, 7), (0, 1), (600, 64)] {
            let sizes = Sizes::of(limit, Work::Aead);
            assert_eq!(sizes.datagrams_per_train, datagrams);
            assert!(sizes.datagrams_per_train * sizes.datagram <= MAX_TRAIN_BYTES);
        }
    }
}
