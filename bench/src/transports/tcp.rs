//! Kernel TCP: writes of 256 KiB from memory, reads of 256 KiB.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use anyhow::{Context, Result};

use super::{Announce, Arrived, Fetched, Ready, Source, Spec, Transport, tell};

/// Bytes of a write, and room for a read.
pub(super) const PIECE_BYTES: usize = 256 << 10;

/// With this congestion control, or the kernel's default.
#[derive(Debug)]
pub(super) struct Tcp(pub(super) Option<&'static str>);

impl Transport for Tcp {
    fn settings(&self, _spec: &Spec) -> String {
        let congestion = self.0.unwrap_or("the kernel's default");
        format!("kernel TCP, congestion control {congestion}, writes and reads of 256 KiB")
    }

    fn serve(&self, _spec: &Spec, source: Source, announce: Announce<'_>) -> Result<()> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        announce(Ready {
            address: listener.local_addr()?,
            certificate: String::new(),
        })?;
        loop {
            let (stream, _) = listener.accept()?;
            tell(self.serve_one(stream, &source));
        }
    }

    fn fetch(&self, spec: &Spec, server: &Ready, _arrived: &Arrived) -> Result<Fetched> {
        let mut stream = TcpStream::connect(server.address)?;
        self.prepare(&stream)?;
        let mut buffer = vec![0; PIECE_BYTES];
        let mut bytes = 0;
        for _ in 0..spec.files {
            stream.write_all(&spec.bytes.to_be_bytes())?;
            bytes += read_exactly(&mut stream, spec.bytes, &mut buffer)?;
        }
        Ok(Fetched::bytes(bytes))
    }
}

impl Tcp {
    fn serve_one(&self, mut stream: TcpStream, source: &Source) -> Result<()> {
        self.prepare(&stream)?;
        while let Some(bytes) = read_request(&mut stream)? {
            for piece in source.pieces(bytes, PIECE_BYTES) {
                stream.write_all(&piece)?;
            }
        }
        Ok(())
    }

    fn prepare(&self, stream: &TcpStream) -> Result<()> {
        stream.set_nodelay(true)?;
        if let Some(name) = self.0 {
            set_congestion(stream, name).with_context(|| format!("TCP has no {name}"))?;
        }
        Ok(())
    }
}

/// Whether this user may have the congestion control.
pub(super) fn check_congestion(name: &str) -> std::io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let stream = TcpStream::connect(listener.local_addr()?)?;
    set_congestion(&stream, name)
}

#[cfg(target_os = "linux")]
fn set_congestion(stream: &TcpStream, name: &str) -> std::io::Result<()> {
    Ok(rustix::net::sockopt::set_tcp_congestion(stream, name)?)
}

#[cfg(not(target_os = "linux"))]
fn set_congestion(_stream: &TcpStream, _name: &str) -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}

/// How many bytes are asked for; `None` at the stream's end.
pub(super) fn read_request(stream: &mut impl Read) -> Result<Option<u64>> {
    let mut request = [0; 8];
    match stream.read_exact(&mut request) {
        Ok(()) => Ok(Some(u64::from_be_bytes(request))),
        Err(error) if is_end(error.kind()) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn is_end(kind: std::io::ErrorKind) -> bool {
    use std::io::ErrorKind;
    // A client that has all it wants may just be gone.
    kind == ErrorKind::UnexpectedEof
        || kind == ErrorKind::ConnectionReset
        || kind == ErrorKind::BrokenPipe
}

/// Reads and drops.
pub(super) fn read_exactly(stream: &mut impl Read, bytes: u64, buffer: &mut [u8]) -> Result<u64> {
    let mut left = bytes;
    while left > 0 {
        let want = usize::try_from(left).unwrap_or(usize::MAX);
        let want = want.min(buffer.len());
        let count = stream.read(&mut buffer[..want])?;
        anyhow::ensure!(count > 0, "the server ended with {left} bytes to go");
        left -= count as u64;
    }
    Ok(bytes)
}
