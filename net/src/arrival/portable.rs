//! Systems that do not tell, or not in a common way.

use std::io::{self, Read};
use std::time::SystemTime;

use mio::net::TcpStream;

/// There is nothing to ask for.
pub(crate) fn request(_tcp: &TcpStream) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// One read.
pub(crate) fn read(
    tcp: &mut TcpStream,
    buffer: &mut [u8],
) -> io::Result<(usize, Option<SystemTime>)> {
    Ok((tcp.read(buffer)?, None))
}
