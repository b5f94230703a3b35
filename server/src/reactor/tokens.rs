//! The poll tokens that are no clients. Clients' tokens carry a generation and are never below 2³¹.

use mio::Token;

/// New control connections.
pub(super) const LISTENER: Token = Token(0);
/// Datagrams.
pub(super) const UDP: Token = Token(1);
/// The precise timer.
pub(super) const TIMER: Token = Token(2);
/// Helper threads, and whoever stops the server.
pub(super) const WAKER: Token = Token(3);
/// Signals.
pub(super) const SIGNALS: Token = Token(4);
/// New metrics connections.
pub(super) const METRICS: Token = Token(5);
/// New connections of the operator.
pub(super) const ADMIN: Token = Token(6);
/// Connections to these two, by their place.
pub(super) const FIRST_SIDE: Token = Token(16);
