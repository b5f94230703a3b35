//! Systems with nothing to tune.

use mio::net::{TcpListener, TcpStream};

use super::TcpReport;

pub(super) const fn tune(_tcp: &TcpStream) {}

pub(super) const fn tune_listener(_tcp: &TcpListener) {}

pub(super) const fn report(_tcp: &TcpStream) -> Option<TcpReport> {
    None
}
